-- id = "B1"
-- level = "warn"
-- title = "identical answers"
-- question = "Do chosen and rejected differ at all?"
-- formula = "trim(chosen) = trim(rejected)"
-- source = "the gradient of the loss is 0 and its value ln 2 for ever; TRL issue 6703"
-- advice = "leave them out"
-- needs = ["chosen", "rejected"]
SELECT pair_id, concat('both answers are the same ', character_length(trim(chosen)), ' characters') AS evidence
FROM audited
WHERE btrim(chosen, E' \n\r\t') = btrim(rejected, E' \n\r\t') AND (chosen <> '' OR rejected <> '')
ORDER BY source, row_idx
