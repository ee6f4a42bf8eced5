-- id = "G1"
-- level = "info"
-- title = "margin between two models"
-- question = "Which answer do the two models' log-prob ratios prefer?"
-- formula = "m = (c' − c) − (r' − r), primed of the second model: mean, share below 0, and the same a token"
-- source = "the ratio of a strong over a weak model as a reward: arXiv 2411.02481; the implicit reward of DPO"
-- advice = "a tuned model over its base tells more than a large one over a small one"
-- needs = ["other_chosen_logps", "other_rejected_logps"]
SELECT
    avg(implicit_margin) AS value,
    concat('mean ', round(avg(implicit_margin), 3), ' nats, below 0 in ',
        round(100.0 * count(*) FILTER (WHERE implicit_margin < 0) / count(*), 1), ' % of ', count(*), ' pairs; per token ',
        round(avg(implicit_margin_mean), 4), ' nats, below 0 in ',
        round(100.0 * count(*) FILTER (WHERE implicit_margin_mean < 0) / count(*), 1), ' %') AS evidence
FROM audited
WHERE implicit_margin IS NOT NULL
HAVING count(*) > 0
