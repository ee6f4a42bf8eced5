-- id = "E5"
-- level = "info"
-- title = "pair the reference is certain of"
-- question = "On which pairs is there nothing left to learn?"
-- formula = "c/chosen_tokens − r/rejected_tokens above {margin} nats and above the quantile {quantile} of all, over pairs whose answers have at least {tokens} tokens each"
-- source = "arXiv 2501.15109: the reference's own log-probs tell informative pairs"
-- advice = "leave them out to save steps, or look whether the chosen answer was in the reference's training data; a low entropy means that it was sure at every token"
-- [thresholds]
-- quantile = 0.995
-- margin = 0.5
-- tokens = 10
WITH usable AS (
    SELECT pair_id, source, row_idx, ref_margin_mean AS m, ref_chosen_entropy_mean AS entropy, ref_chosen_mean_token_accuracy AS share
    FROM audited
    WHERE abs(ref_margin_mean) < 1e308 AND least(chosen_tokens, rejected_tokens) >= {tokens}
),
cut AS (SELECT approx_percentile_cont({quantile}) WITHIN GROUP (ORDER BY m) AS q FROM usable)
SELECT
    pair_id,
    m AS value,
    concat('chosen is more likely by ', round(m, 3), ' nats a token',
        -- Where the table has signals.
        CASE WHEN entropy IS NOT NULL THEN concat(', at an entropy of ', round(entropy, 3), ' nats, and ', round(100 * share, 1),
            ' % of its tokens are first choices') ELSE '' END) AS evidence
FROM usable CROSS JOIN cut
WHERE m > q AND m > {margin}
ORDER BY source, row_idx
