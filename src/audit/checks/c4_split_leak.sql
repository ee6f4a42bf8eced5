-- id = "C4"
-- level = "warn"
-- title = "prompt in two splits"
-- question = "Does a prompt stand in more than one split?"
-- formula = "min(split) <> max(split) by prompt, letter case and white space aside"
-- source = "an evaluation on prompts that were trained on measures memory"
-- advice = "leave them out of one split"
-- needs = ["prompt"]
WITH normal AS (
    SELECT pair_id, source, row_idx, split, btrim(regexp_replace(lower(prompt), '\s+', ' ', 'g')) AS prompt
    FROM audited
),
-- Of every prompt only what is small to hold; the list of its splits for the few that need one.
in_several AS (SELECT prompt FROM normal GROUP BY prompt HAVING min(split) <> max(split)),
leaks AS (
    SELECT prompt, string_agg(DISTINCT split, ', ' ORDER BY split) AS splits
    FROM normal
    JOIN in_several USING (prompt)
    GROUP BY prompt
)
SELECT pair_id, concat('in `', split, '`, and its prompt in ', splits) AS evidence
FROM normal
JOIN leaks USING (prompt)
ORDER BY source, row_idx
