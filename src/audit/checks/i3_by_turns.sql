-- id = "I3"
-- level = "info"
-- title = "by turns of the user"
-- question = "Does the reference rank short and long conversations alike?"
-- formula = "the same by number of user turns, from {turns} on together; nothing where all have as many"
-- source = "data sets are mixtures: arXiv 2511.10985"
-- advice = "a part that differs much is worth a look; `train --where` selects by `conversation`"
-- [thresholds]
-- turns = 4
WITH counted AS (
    SELECT
        -- Messages, or a transcript of hh-rlhf; any other prompt is one turn.
        CASE
            WHEN conversation IS NOT NULL
            THEN (character_length(conversation) - character_length(replace(conversation, '"role":"user"', ''))) / 13
            ELSE (character_length(prompt) - character_length(replace(prompt, E'\n\nHuman:', ''))) / 8
        END AS n_turns,
        chosen_tokens, rejected_tokens, ref_margin, ref_margin_mean
    FROM audited
),
parts AS (SELECT *, CAST(least(greatest(n_turns, 1), {turns}) AS BIGINT) AS part FROM counted)
SELECT
    count(*) AS value,
    concat(part, CASE WHEN part >= {turns} THEN ' or more' ELSE '' END, CASE WHEN part = 1 THEN ' turn: ' ELSE ' turns: ' END, count(*),
        ' pairs, the reference prefers chosen in ',
        round(100 * avg(CASE WHEN ref_margin > 0 THEN 1.0 WHEN ref_margin = 0 THEN 0.5 ELSE 0.0 END), 1), ' % by sum and ',
        round(100 * avg(CASE WHEN ref_margin_mean > 0 THEN 1.0 WHEN ref_margin_mean = 0 THEN 0.5 ELSE 0.0 END), 1), ' % per token, chosen is longer in ',
        round(100 * avg(CASE WHEN chosen_tokens > rejected_tokens THEN 1.0 WHEN chosen_tokens = rejected_tokens THEN 0.5 ELSE 0.0 END), 1), ' %') AS evidence
FROM parts
WHERE (SELECT count(DISTINCT part) FROM parts) > 1
GROUP BY part
ORDER BY part
