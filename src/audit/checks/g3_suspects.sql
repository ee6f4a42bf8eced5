-- id = "G3"
-- level = "info"
-- title = "label that the evidence is against"
-- question = "Which labels are probably swapped, by what the models and the lengths say of them?"
-- formula = "`suspects.p_flipped` where trusted pairs calibrate it, else `suspects.suspicion`, a mean of ranks: in the highest {share} of all; a warning where p_flipped > {probability}"
-- source = "the view printed with this check; a negative mean preference in about a quarter of hh-rlhf: arXiv 2401.06080"
-- advice = "look at a hundred pairs and name them by `--trusted`: a small reference alone was no better than chance on UltraFeedback"
-- [thresholds]
-- share = 0.02
-- probability = 0.5
WITH ranked AS (
    SELECT
        pair_id, source, row_idx, suspicion, p_flipped, coalesce(p_flipped, suspicion) AS value,
        rank() OVER (ORDER BY coalesce(p_flipped, suspicion) DESC) AS place, count(*) OVER () AS n,
        percent_rank() OVER (ORDER BY coalesce(p_flipped, suspicion) DESC) AS share
    FROM suspects
)
SELECT
    pair_id,
    CASE WHEN p_flipped > {probability} THEN 'warn' ELSE 'info' END AS level,
    value,
    concat(
        CASE WHEN p_flipped IS NOT NULL THEN concat('swapped with probability ', round(p_flipped, 3), ', ') ELSE '' END,
        'suspicion ', round(suspicion, 3), ', place ', place, ' of ', n) AS evidence
FROM ranked
-- Where all have the same evidence, all are first.
WHERE (share < {share} AND value > 0) OR p_flipped > {probability}
ORDER BY value DESC, source, row_idx
