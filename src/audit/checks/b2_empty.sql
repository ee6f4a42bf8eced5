-- id = "B2"
-- level = "warn"
-- title = "empty answer"
-- question = "Does every answer say something?"
-- formula = "no character but white space"
-- source = "hh-rlhf has such rows: pull request 86 of the authors' DPO code"
-- advice = "an empty rejected answer teaches the end token's probability only, an empty chosen one teaches silence: leave these pairs out"
-- needs = ["chosen", "rejected"]
SELECT
    pair_id,
    CASE
        WHEN btrim(chosen, E' \n\r\t') <> '' THEN 'rejected is empty'
        WHEN btrim(rejected, E' \n\r\t') <> '' THEN 'chosen is empty'
        ELSE 'both answers are empty'
    END AS evidence
FROM audited
WHERE btrim(chosen, E' \n\r\t') = '' OR btrim(rejected, E' \n\r\t') = ''
ORDER BY source, row_idx
