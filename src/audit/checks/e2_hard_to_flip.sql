-- id = "E2"
-- level = "info"
-- title = "pair that DPO will hardly flip"
-- question = "Which pairs does the reference rank so wrongly that the policy ranks them right only at a tiny loss?"
-- formula = "ln(1 + exp(−β·(r − c))) < {loss}: the loss below which the policy ranks the pair right"
-- source = "from the DPO loss: ranking right needs Δθ > 0, and the loss is −ln σ(β·(Δθ − Δref)); the difficulty of arXiv 2405.19534"
-- advice = "look for swapped labels among them; they cost updates and stay wrong: `train --where 'ref_margin > −50'`"
-- [thresholds]
-- loss = 0.0067
SELECT
    pair_id,
    ln(1 + exp({beta} * ref_margin)) AS value,
    concat('the rejected answer is more likely by ', round(-ref_margin, 1), ' nats: at beta {beta} ranked right below a loss of ',
        round(ln(1 + exp({beta} * ref_margin)), 6)) AS evidence
FROM audited
WHERE ref_margin < 0 AND abs(ref_margin) < 1e308 AND ln(1 + exp({beta} * ref_margin)) < {loss}
ORDER BY source, row_idx
