-- id = "I2"
-- level = "info"
-- title = "by length of the answers"
-- question = "Does the reference rank long and short pairs alike?"
-- formula = "the same by quarters of chosen_tokens + rejected_tokens"
-- source = "arXiv 2403.19159"
-- advice = "a quarter that differs much is worth a look"
WITH quarters AS (
    SELECT
        ntile(4) OVER (ORDER BY chosen_tokens + rejected_tokens, pair_id) AS quarter,
        chosen_tokens + rejected_tokens AS n_tokens, chosen_tokens, rejected_tokens, ref_margin, ref_margin_mean
    FROM audited
)
SELECT
    count(*) AS value,
    concat(min(n_tokens), ' to ', max(n_tokens), ' tokens: ', count(*), ' pairs, the reference prefers chosen in ',
        round(100 * avg(CASE WHEN ref_margin > 0 THEN 1.0 WHEN ref_margin = 0 THEN 0.5 ELSE 0.0 END), 1), ' % by sum and ',
        round(100 * avg(CASE WHEN ref_margin_mean > 0 THEN 1.0 WHEN ref_margin_mean = 0 THEN 0.5 ELSE 0.0 END), 1), ' % per token, chosen is longer in ',
        round(100 * avg(CASE WHEN chosen_tokens > rejected_tokens THEN 1.0 WHEN chosen_tokens = rejected_tokens THEN 0.5 ELSE 0.0 END), 1), ' %') AS evidence
FROM quarters
GROUP BY quarter
ORDER BY quarter
