-- id = "A2"
-- level = "error"
-- title = "log-prob above 0"
-- question = "Is every log-prob of the reference at most 0?"
-- formula = "c > 0 OR r > 0"
-- source = "arithmetic: the probability of a text is at most 1"
-- advice = "these numbers are no log-probs, or of another sign: look at the program that wrote them"
-- needs = ["ref_chosen_logps", "ref_rejected_logps"]
SELECT
    pair_id,
    greatest(ref_chosen_logps, ref_rejected_logps) AS value,
    concat('ref_chosen_logps ', ref_chosen_logps, ', ref_rejected_logps ', ref_rejected_logps) AS evidence
FROM audited
-- NaN is greater than every number here: that is A1.
WHERE (ref_chosen_logps > 0 AND NOT isnan(ref_chosen_logps)) OR (ref_rejected_logps > 0 AND NOT isnan(ref_rejected_logps))
ORDER BY source, row_idx
