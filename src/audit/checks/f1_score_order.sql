-- id = "F1"
-- level = "warn"
-- title = "score that does not prefer the chosen answer"
-- question = "Do the scores of the data agree with its labels?"
-- formula = "score_chosen <= score_rejected; a warning where it is below, information where both are the same"
-- source = "UltraFeedback gave the score 10 to answers rated 1, found by sorting: card of argilla/ultrafeedback-binarized-preferences"
-- advice = "leave ties out; look at the source of inverted ones"
-- needs = ["score_chosen", "score_rejected"]
SELECT
    pair_id,
    CASE WHEN score_chosen = score_rejected THEN 'info' ELSE 'warn' END AS level,
    score_chosen - score_rejected AS value,
    CASE
        WHEN score_chosen = score_rejected THEN concat('a tie: both have ', score_chosen)
        ELSE concat('inverted: chosen has ', score_chosen, ', rejected ', score_rejected)
    END AS evidence
FROM audited
WHERE score_chosen <= score_rejected
ORDER BY value, source, row_idx
