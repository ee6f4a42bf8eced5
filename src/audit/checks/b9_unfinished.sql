-- id = "B9"
-- level = "info"
-- title = "chosen answer that stops in mid-sentence"
-- question = "Does the chosen answer end where the rejected one does?"
-- formula = "chosen of at least {chars} characters ends with a letter or a comma, rejected with a mark that ends a sentence; last lines that are short, items of a list, headings or links aside"
-- source = "answers cut by a generator's length limit; a heuristic of spelling, which code, verse and scripts without such marks escape"
-- advice = "look at a few: a model trained on cut answers learns to stop anywhere"
-- needs = ["chosen", "rejected"]
-- [thresholds]
-- chars = 200
SELECT
    pair_id,
    character_length(chosen) AS value,
    concat('chosen has ', character_length(chosen), ' characters and ends with `', right(btrim(chosen, E' \n\r\t'), 12), '`') AS evidence
FROM audited
WHERE character_length(chosen) >= {chars}
    AND regexp_like(right(btrim(chosen, E' \n\r\t'), 1), '^[a-z,]$')
    AND regexp_like(right(btrim(rejected, E' \n\r\t'), 1), '^[.!?…"”)]$')
    -- An item of a list, a heading, a link or a tag may end so; so may a last line of a few words (`Answer: yes`).
    AND NOT regexp_like(btrim(chosen, E' \n\r\t'), '(^|\n)[ \t]*([-*•#|>]|\d+[.)]|\w[.)] )[^\n]*$|(^|\n)[^\n]{0,39}$|[/#@_=\\][^\s]*$')
ORDER BY source, row_idx
