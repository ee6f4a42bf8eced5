-- id = "E2"
-- level = "info"
-- title = "pairs that DPO will hardly flip"
-- question = "How many pairs does the reference rank so wrongly that the policy ranks them right only at a tiny loss?"
-- formula = "share with r > c and ln(1 + exp(−β·(r − c))) < {loss}: the loss below which the policy ranks the pair right"
-- source = "from the DPO loss: ranking right needs Δθ > 0, and the loss is −ln σ(β·(Δθ − Δref)); the difficulty of arXiv 2405.19534"
-- advice = "sums favour the shorter answer: where chosen is the longer one in nearly all of them, they are length, not labels: a loss over averages (`--loss-type ipo`) or a smaller beta, rather than fewer pairs"
-- [thresholds]
-- loss = 0.0067
WITH usable AS (
    SELECT chosen_tokens > rejected_tokens AS is_longer, ref_margin < 0 AND ln(1 + exp({beta} * ref_margin)) < {loss} AS is_hard
    FROM audited
    WHERE abs(ref_margin) < 1e308
)
SELECT
    avg(CASE WHEN is_hard THEN 1.0 ELSE 0.0 END) AS value,
    concat(count(*) FILTER (WHERE is_hard), ' of ', count(*), ' pairs, ',
        round(100.0 * count(*) FILTER (WHERE is_hard) / count(*), 1), ' %, are ranked right at beta {beta} only below a loss of {loss}; chosen is longer in ',
        round(100.0 * count(*) FILTER (WHERE is_hard AND is_longer) / count(*) FILTER (WHERE is_hard), 1), ' % of these') AS evidence
FROM usable
HAVING count(*) FILTER (WHERE is_hard) > 0
