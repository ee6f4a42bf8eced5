-- id = "E6"
-- level = "info"
-- title = "answer the reference knows by heart"
-- question = "Which long answers does the reference predict almost without doubt?"
-- formula = "log-prob a token > −{nats}, over more than {tokens} tokens"
-- source = "a sign of contamination; the bound is a choice: 0.05 nats are a perplexity of 1.05"
-- advice = "look whether the answer is in the reference's training data, or repeats itself"
-- [thresholds]
-- nats = 0.05
-- tokens = 50
SELECT
    pair_id,
    greatest(
        CASE WHEN chosen_tokens > {tokens} THEN ref_chosen_logps_mean END,
        CASE WHEN rejected_tokens > {tokens} THEN ref_rejected_logps_mean END
    ) AS value,
    concat('nats a token: chosen ', round(ref_chosen_logps_mean, 4), ' over ', chosen_tokens, ' tokens, rejected ',
        round(ref_rejected_logps_mean, 4), ' over ', rejected_tokens,
        -- Where the table has signals.
        CASE WHEN ref_chosen_mean_token_accuracy IS NOT NULL THEN concat('; first choices ',
            round(100 * ref_chosen_mean_token_accuracy, 1), ' % of chosen, ', round(100 * ref_rejected_mean_token_accuracy, 1),
            ' % of rejected') ELSE '' END) AS evidence
FROM audited
WHERE abs(ref_margin_mean) < 1e308
    AND ((chosen_tokens > {tokens} AND ref_chosen_logps_mean > -{nats})
        OR (rejected_tokens > {tokens} AND ref_rejected_logps_mean > -{nats}))
ORDER BY source, row_idx
