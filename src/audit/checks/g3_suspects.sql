-- id = "G3"
-- level = "info"
-- title = "label that the evidence is against"
-- question = "Which labels are probably swapped, by all evidence there is?"
-- formula = "`suspects.suspicion`, the mean of the ranks of the scores, in the highest {share} of all"
-- source = "the view printed with this check; a negative mean preference in about a quarter of hh-rlhf: arXiv 2401.06080"
-- advice = "measure it with `--truth` before trusting it: a small reference alone was no better than chance on UltraFeedback"
-- [thresholds]
-- share = 0.02
WITH ranked AS (
    SELECT pair_id, source, row_idx, suspicion, percent_rank() OVER (ORDER BY suspicion DESC) AS share FROM suspects
)
SELECT
    pair_id,
    suspicion AS value,
    concat('suspicion ', round(suspicion, 3), ', among the highest ', round(100 * share, 1), ' %') AS evidence
FROM ranked
WHERE share < {share}
ORDER BY suspicion DESC, source, row_idx
