-- id = "B12"
-- level = "warn"
-- title = "placeholder instead of an answer"
-- question = "Is an answer only a word that stands for none?"
-- formula = "nothing but <noinput>, <nooutput>, [deleted], [removed], null or nan, letter case and white space aside"
-- source = "programs that write data leave such words: PandaLM's test set has `<noinput>` and `<nooutput>`"
-- advice = "a chosen one teaches to say the word: leave these pairs out, unless the prompt asks for it"
-- needs = ["chosen", "rejected"]
WITH told AS (
    SELECT
        pair_id, source, row_idx,
        regexp_like(chosen, '^\s*(<?no ?(in|out)put>?|\[(deleted|removed)\]|null|nan)\s*$', 'i') AS is_chosen,
        regexp_like(rejected, '^\s*(<?no ?(in|out)put>?|\[(deleted|removed)\]|null|nan)\s*$', 'i') AS is_rejected
    FROM audited
)
SELECT
    pair_id,
    CASE
        WHEN NOT is_chosen THEN 'rejected is a placeholder'
        WHEN NOT is_rejected THEN 'chosen is a placeholder'
        ELSE 'both answers are placeholders'
    END AS evidence
FROM told
WHERE is_chosen OR is_rejected
ORDER BY source, row_idx
