-- id = "E8"
-- level = "info"
-- title = "distance from what the reference would write"
-- question = "Could the answers be the reference's own, by source?"
-- formula = "mean of −log-prob a token − entropy a token: near 0 of text that the reference draws, above of other text, below of the likeliest"
-- source = "of a token drawn from a distribution −ln π is its entropy on average; typical text: arXiv 2202.00666; what is off policy is learnt otherwise: arXiv 2404.14367"
-- advice = "far above 0 the answers are another model's or a person's: train on the chosen ones first (`piref sft`)"
-- needs = ["ref_chosen_entropy_mean", "ref_rejected_entropy_mean"]
SELECT
    avg(-ref_chosen_logps_mean - ref_chosen_entropy_mean) AS value,
    concat('`', source, '`: nats a token above the entropy: chosen ',
        round(avg(-ref_chosen_logps_mean - ref_chosen_entropy_mean), 3), ', rejected ',
        round(avg(-ref_rejected_logps_mean - ref_rejected_entropy_mean), 3), ', over ', count(*), ' pairs; first choices of the reference: ',
        round(100 * avg(ref_chosen_mean_token_accuracy), 1), ' % of the tokens of chosen, ',
        round(100 * avg(ref_rejected_mean_token_accuracy), 1), ' % of rejected') AS evidence
FROM audited
WHERE abs(ref_margin) < 1e308 AND ref_chosen_entropy_mean IS NOT NULL
GROUP BY source
ORDER BY source
