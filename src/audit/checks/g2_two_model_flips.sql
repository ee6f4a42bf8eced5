-- id = "G2"
-- level = "info"
-- title = "label that two models doubt"
-- question = "Which labels are probably swapped, by the ratio of two models?"
-- formula = "implicit margin below 0 and in the lowest {share} of all"
-- source = "a negative mean preference in about a quarter of hh-rlhf: arXiv 2401.06080"
-- advice = "read some: their precision depends on the two models"
-- needs = ["other_chosen_logps", "other_rejected_logps"]
-- [thresholds]
-- share = 0.1
WITH ranked AS (
    SELECT pair_id, source, row_idx, implicit_margin AS m, percent_rank() OVER (ORDER BY implicit_margin) AS share
    FROM audited
    WHERE implicit_margin IS NOT NULL
)
SELECT pair_id, m AS value, concat('implicit margin ', round(m, 2), ' nats') AS evidence
FROM ranked
WHERE m < 0 AND share < {share}
ORDER BY source, row_idx
