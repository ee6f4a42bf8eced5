-- id = "E7"
-- level = "info"
-- title = "token that the reference holds for impossible"
-- question = "Which answers have a token that the reference gives next to no chance?"
-- formula = "least log-prob of a token of chosen or of rejected < −{nats}"
-- source = "one such token outweighs a hundred others in a sum; the bound is a choice: 20 nats are a chance of 2 in a billion"
-- advice = "find the token in `logps`: damaged encoding, another template, or an answer cut in mid-word"
-- needs = ["ref_chosen_min_token_logp", "ref_rejected_min_token_logp"]
-- [thresholds]
-- nats = 20
SELECT
    pair_id,
    least(ref_chosen_min_token_logp, ref_rejected_min_token_logp) AS value,
    concat('least likely token: ', round(ref_chosen_min_token_logp, 1), ' nats in chosen, ', round(ref_rejected_min_token_logp, 1),
        ' in rejected') AS evidence
FROM audited
WHERE least(ref_chosen_min_token_logp, ref_rejected_min_token_logp) < -{nats}
ORDER BY source, row_idx
