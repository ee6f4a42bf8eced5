-- id = "D2"
-- level = "info"
-- title = "margin that is length"
-- question = "How much of the reference's margin does the length of the answers explain?"
-- formula = "R² and slope of c − r over chosen_tokens − rejected_tokens, by least squares"
-- source = "a sum of log-probs falls with every token: arXiv 2403.19159"
-- advice = "near 1, compare answers per token (`ref_margin_mean`), not by sums"
WITH usable AS (
    SELECT ref_margin AS y, CAST(chosen_tokens - rejected_tokens AS DOUBLE) AS x
    FROM audited
    WHERE abs(ref_margin) < 1e308
)
SELECT
    regr_r2(y, x) AS value,
    concat('R² ', round(regr_r2(y, x), 3), ', ', round(regr_slope(y, x), 3), ' nats for each token more, over ', count(*), ' pairs') AS evidence
FROM usable
HAVING regr_r2(y, x) IS NOT NULL
