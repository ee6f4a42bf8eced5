-- id = "C9"
-- level = "info"
-- title = "prompt that is the beginning of another prompt"
-- question = "Which prompts are an earlier turn of another pair's conversation?"
-- formula = "starts_with(another prompt, prompt), white space or a message next, of prompts with at least {chars} characters; a warning where the two are in different splits"
-- source = "hh-rlhf has pairs for several turns of one conversation: a split by rows puts its turns on both sides"
-- advice = "split by conversation: pairs of one dialogue on two sides measure memory"
-- needs = ["prompt"]
-- [thresholds]
-- chars = 20
WITH texts AS (
    SELECT
        pair_id, source, row_idx, split, conversation IS NOT NULL AS is_messages,
        -- Of messages the JSON up to the end of the prompt: as text, a first turn alone has no tag of its role.
        CASE
            WHEN conversation IS NOT NULL THEN split_part(conversation, '],"chosen":', 1)
            ELSE rtrim(prompt, E' \n\r\t')
        END AS prompt
    FROM audited
    WHERE character_length(prompt) >= {chars}
),
prompts AS (
    SELECT
        prompt, is_messages, first_value(pair_id ORDER BY source, row_idx) AS pair_id,
        string_agg(DISTINCT split, ', ' ORDER BY split) AS splits
    FROM texts
    GROUP BY prompt, is_messages
),
-- What begins with a prompt follows it in order, and what goes on with white space comes first of that.
pairs_of_prompts AS (
    SELECT
        prompt, splits,
        lead(prompt) OVER (ORDER BY prompt) AS next_prompt, lead(pair_id) OVER (ORDER BY prompt) AS next_pair,
        lead(splits) OVER (ORDER BY prompt) AS next_splits, is_messages
    FROM prompts
),
beginnings AS (
    SELECT prompt, splits, next_pair, next_splits, character_length(next_prompt) - character_length(prompt) AS n_more
    FROM pairs_of_prompts
    WHERE starts_with(next_prompt, prompt)
        AND (is_messages OR strpos(E' \n\r\t', substr(next_prompt, character_length(prompt) + 1, 1)) > 0)
)
SELECT
    pair_id,
    CASE WHEN splits <> next_splits THEN 'warn' ELSE 'info' END AS level,
    n_more AS value,
    concat('the prompt of pair `', next_pair, '` goes on from it for ', n_more, ' characters',
        CASE WHEN splits <> next_splits THEN concat('; in ', splits, ', the other in ', next_splits) ELSE '' END) AS evidence
FROM beginnings
JOIN texts USING (prompt)
ORDER BY source, row_idx
