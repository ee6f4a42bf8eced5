-- id = "B4"
-- level = "warn"
-- title = "answer that begins the other"
-- question = "Is one answer the beginning of the other?"
-- formula = "starts_with(longer, shorter), the shorter one not empty"
-- source = "the pair then says only whether to stop there; TRL issue 6472"
-- advice = "look whether the shorter answer was cut by the program that made the data"
-- needs = ["chosen", "rejected"]
SELECT
    pair_id,
    character_length(chosen) - character_length(rejected) AS value,
    CASE
        WHEN character_length(chosen) > character_length(rejected)
        THEN concat('rejected is the beginning of chosen, which goes on for ', character_length(chosen) - character_length(rejected), ' characters')
        ELSE concat('chosen is the beginning of rejected, which goes on for ', character_length(rejected) - character_length(chosen), ' characters')
    END AS evidence
FROM audited
WHERE (starts_with(chosen, btrim(rejected, E' \n\r\t')) OR starts_with(rejected, btrim(chosen, E' \n\r\t')))
    AND btrim(chosen, E' \n\r\t') <> btrim(rejected, E' \n\r\t')
    AND btrim(chosen, E' \n\r\t') <> '' AND btrim(rejected, E' \n\r\t') <> ''
ORDER BY source, row_idx
