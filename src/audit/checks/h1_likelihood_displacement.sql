-- id = "H1"
-- level = "info"
-- title = "pair that may push its chosen answer down"
-- question = "Which pairs have answers so alike inside the model that lowering one lowers the other?"
-- formula = "length-normalised CHES, ⟨S⁺,S⁻⟩/(n⁺n⁻) − ‖S⁺‖²/n⁺², in the highest {share} of the pairs whose answers have at least {tokens} tokens each"
-- source = "likelihood displacement: arXiv 2410.08847, section 6 and its code, which keeps the 5 % with the lowest score"
-- advice = "a rank, so there are always some: the authors train on the lowest 5 % only; leave out the highest, or compare with `--loss-type dpop`"
-- needs = ["ref_ches_mean"]
-- [thresholds]
-- share = 0.05
-- tokens = 10
WITH ranked AS (
    SELECT
        pair_id, source, row_idx, ref_ches_mean AS ches, rank() OVER (ORDER BY ref_ches_mean DESC) AS place,
        count(*) OVER () AS n, percent_rank() OVER (ORDER BY ref_ches_mean DESC) AS share
    FROM audited
    WHERE ref_ches_mean IS NOT NULL AND least(chosen_tokens, rejected_tokens) >= {tokens}
)
SELECT pair_id, ches AS value, concat('length-normalised CHES ', round(ches, 3), ', place ', place, ' of ', n) AS evidence
FROM ranked
WHERE share < {share}
ORDER BY ches DESC, source, row_idx
