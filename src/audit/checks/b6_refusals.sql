-- id = "B6"
-- level = "info"
-- title = "refusals"
-- question = "How often does an answer refuse, and which of the two?"
-- formula = "share of answers that begin with a phrase of refusal, by source"
-- source = "pairs of two refusals are those that push the chosen answer down: arXiv 2410.08847, section 5"
-- advice = "many refusals in chosen teach refusing: see whether the data mean that"
-- needs = ["chosen", "rejected"]
WITH told AS (
    SELECT
        source,
        regexp_like(chosen, '^\W*(i.?m (very |really |so )?sorry|i am (very )?sorry|sorry,|i apologi[sz]e|my apologies|i ?can(no|.)t|i ?cannot|i am (not able|unable)|i.m (not able|unable)|i won.t|i will not|as an ai\b|unfortunately, i|i do not feel comfortable|i don.t feel comfortable)', 'i') AS chosen_refuses,
        regexp_like(rejected, '^\W*(i.?m (very |really |so )?sorry|i am (very )?sorry|sorry,|i apologi[sz]e|my apologies|i ?can(no|.)t|i ?cannot|i am (not able|unable)|i.m (not able|unable)|i won.t|i will not|as an ai\b|unfortunately, i|i do not feel comfortable|i don.t feel comfortable)', 'i') AS rejected_refuses
    FROM audited
)
SELECT
    avg(CASE WHEN chosen_refuses THEN 1.0 ELSE 0.0 END) AS value,
    concat('`', source, '`: of ', count(*), ' pairs ',
        count(*) FILTER (WHERE chosen_refuses AND NOT rejected_refuses), ' with a refusal chosen, ',
        count(*) FILTER (WHERE rejected_refuses AND NOT chosen_refuses), ' with one rejected, ',
        count(*) FILTER (WHERE chosen_refuses AND rejected_refuses), ' with two') AS evidence
FROM told
GROUP BY source
HAVING count(*) FILTER (WHERE chosen_refuses OR rejected_refuses) > 0
ORDER BY source
