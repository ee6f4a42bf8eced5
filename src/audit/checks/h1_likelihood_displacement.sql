-- id = "H1"
-- level = "warn"
-- title = "pair that may push its chosen answer down"
-- question = "Which pairs have answers so alike inside the model that lowering one lowers the other?"
-- formula = "length-normalised CHES, ⟨S⁺,S⁻⟩/(n⁺n⁻) − ‖S⁺‖²/n⁺², in the highest {share} of all"
-- source = "likelihood displacement: arXiv 2410.08847, section 6"
-- advice = "the authors leave out the highest 5 %"
-- needs = ["ref_ches_mean"]
-- [thresholds]
-- share = 0.05
WITH ranked AS (
    SELECT pair_id, source, row_idx, ref_ches_mean AS ches, percent_rank() OVER (ORDER BY ref_ches_mean DESC) AS share
    FROM audited
    WHERE ref_ches_mean IS NOT NULL
)
SELECT pair_id, ches AS value, concat('length-normalised CHES ', round(ches, 3)) AS evidence
FROM ranked
WHERE share < {share}
ORDER BY source, row_idx
