-- id = "F3"
-- level = "info"
-- title = "score that is given often"
-- question = "Is one score given to a great part of the answers?"
-- formula = "share of one value of score_chosen or score_rejected above {share}, by source"
-- source = "a default or a parsing error shows as one frequent score: card of argilla/ultrafeedback-binarized-preferences"
-- advice = "read some answers of that score"
-- needs = ["score_chosen", "score_rejected"]
-- [thresholds]
-- share = 0.4
WITH scores AS (
    SELECT source, 'score_chosen' AS side, score_chosen AS score FROM audited WHERE score_chosen IS NOT NULL
    UNION ALL
    SELECT source, 'score_rejected', score_rejected FROM audited WHERE score_rejected IS NOT NULL
),
counted AS (SELECT source, side, score, count(*) AS n FROM scores GROUP BY source, side, score),
shares AS (SELECT *, CAST(n AS DOUBLE) / sum(n) OVER (PARTITION BY source, side) AS share FROM counted)
SELECT
    share AS value,
    concat('`', source, '`: ', side, ' is ', score, ' in ', round(100 * share, 1), ' % of the pairs') AS evidence
FROM shares
WHERE share > {share}
ORDER BY source, side, share DESC
