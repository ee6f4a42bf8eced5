-- id = "C4"
-- level = "warn"
-- title = "prompt in two splits"
-- question = "Does a prompt stand in more than one split?"
-- formula = "count(DISTINCT split) > 1 by prompt, letter case and white space aside"
-- source = "an evaluation on prompts that were trained on measures memory"
-- advice = "leave them out of one split"
-- needs = ["prompt"]
WITH normal AS (
    SELECT pair_id, source, row_idx, split, btrim(regexp_replace(lower(prompt), '\s+', ' ', 'g')) AS prompt
    FROM audited
),
leaks AS (
    SELECT prompt, string_agg(DISTINCT split, ', ' ORDER BY split) AS splits
    FROM normal
    GROUP BY prompt
    HAVING count(DISTINCT split) > 1
)
SELECT pair_id, concat('in `', split, '`, and its prompt in ', splits) AS evidence
FROM normal
JOIN leaks USING (prompt)
ORDER BY source, row_idx
