-- id = "E4"
-- level = "info"
-- title = "perplexity"
-- question = "How likely are the answers under the reference, by source?"
-- formula = "exp(−log-prob a token): median, 10th and 90th percentile"
-- source = "a chosen answer of high perplexity is far from the policy: arXiv 2405.19534 on off-policy data"
-- advice = "a source with a much higher perplexity than the others needs supervised training first (`piref sft`)"
WITH usable AS (
    SELECT source, exp(-ref_chosen_logps_mean) AS c, exp(-ref_rejected_logps_mean) AS r
    FROM audited
    WHERE abs(ref_margin_mean) < 1e308
)
SELECT
    median(c) AS value,
    concat('`', source, '`: median (10 to 90 %) of chosen ', round(median(c), 2), ' (',
        round(approx_percentile_cont(0.1) WITHIN GROUP (ORDER BY c), 2), ' to ',
        round(approx_percentile_cont(0.9) WITHIN GROUP (ORDER BY c), 2), '), of rejected ', round(median(r), 2), ' (',
        round(approx_percentile_cont(0.1) WITHIN GROUP (ORDER BY r), 2), ' to ',
        round(approx_percentile_cont(0.9) WITHIN GROUP (ORDER BY r), 2), '), over ', count(*), ' pairs') AS evidence
FROM usable
GROUP BY source
ORDER BY source
