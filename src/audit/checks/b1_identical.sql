-- id = "B1"
-- level = "warn"
-- title = "identical answers"
-- question = "Do chosen and rejected differ at all, and does what is scored of them?"
-- formula = "trim(chosen) = trim(rejected), or chosen_ids = rejected_ids"
-- source = "the gradient of the loss is 0 and its value ln 2 for ever; TRL issue 6703; answers cut alike: rlhf-book issue 503"
-- advice = "leave them out; where only the tokens are the same, raise max_length or look at what the chat template leaves out"
-- needs = ["chosen", "rejected"]
SELECT
    pair_id,
    CASE
        WHEN btrim(chosen, E' \n\r\t') = btrim(rejected, E' \n\r\t')
            THEN concat('both answers are the same ', character_length(trim(chosen)), ' characters')
        ELSE concat('both answers are scored as the same ', chosen_tokens, ' tokens, though their texts differ')
    END AS evidence
FROM audited
WHERE (btrim(chosen, E' \n\r\t') = btrim(rejected, E' \n\r\t') OR chosen_ids = rejected_ids)
    AND (chosen <> '' OR rejected <> '')
ORDER BY source, row_idx
