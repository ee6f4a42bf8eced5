-- id = "F2"
-- level = "info"
-- title = "score and reference that disagree"
-- question = "On which pairs do the scores prefer one answer clearly, and the reference the other?"
-- formula = "score_chosen − score_rejected >= {gap} AND c/chosen_tokens − r/rejected_tokens < −{margin}, both answers of at least {tokens} tokens"
-- source = "two margins of one pair: arXiv 2502.14560"
-- advice = "either the hardest useful pairs or swapped labels: look at a few"
-- needs = ["score_chosen", "score_rejected"]
-- [thresholds]
-- gap = 1
-- margin = 0.5
-- tokens = 10
SELECT
    pair_id,
    ref_margin_mean AS value,
    concat('chosen has ', score_chosen, ' and rejected ', score_rejected, ', and rejected is more likely by ',
        round(-ref_margin_mean, 3), ' nats a token') AS evidence
FROM audited
WHERE score_chosen - score_rejected >= {gap} AND ref_margin_mean < -{margin}
    AND least(chosen_tokens, rejected_tokens) >= {tokens}
ORDER BY source, row_idx
