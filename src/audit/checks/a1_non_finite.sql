-- id = "A1"
-- level = "error"
-- title = "log-prob that is no number"
-- question = "Is every log-prob of the reference finite?"
-- formula = "NOT (|c| < ∞ AND |r| < ∞), c and r the summed log-probs of chosen and rejected"
-- source = "a single NaN makes the loss of its batch NaN"
-- advice = "score these pairs again: `piref verify --model` tells which other rows are off"
-- needs = ["ref_chosen_logps", "ref_rejected_logps"]
SELECT
    pair_id,
    -- NaN is greater than every number here, so the comparison is false of it.
    concat('ref_chosen_logps ', ref_chosen_logps, ', ref_rejected_logps ', ref_rejected_logps) AS evidence
FROM audited
WHERE NOT (abs(ref_chosen_logps) < 1e308 AND abs(ref_rejected_logps) < 1e308)
ORDER BY source, row_idx
