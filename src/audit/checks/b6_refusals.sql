-- id = "B6"
-- level = "info"
-- title = "refusals"
-- question = "How often does an answer refuse, and which of the two?"
-- formula = "share of answers that say within their first 120 characters that they cannot or will not, by source; and each pair of two such answers"
-- source = "pairs of two refusals are those that push the chosen answer down: arXiv 2410.08847, section 5; a heuristic of English phrases"
-- advice = "many refusals in chosen teach refusing: see whether the data mean that"
-- needs = ["chosen", "rejected"]
WITH told AS (
    SELECT
        pair_id, source, row_idx,
        regexp_like(chosen, '(?s)^.{0,120}?\b(?:(?:i.?m|i am) (?:\w+ )?(?:unable|not able|not capable|not allowed|not comfortable|not authori[sz]ed|not programmed)|(?:sorry|afraid|apologi[sz]e|apologies|unfortunately|ai|model|assistant)\b[^?!\n]{0,60}\bi (?:can ?not|can[^\w\s]?t\b|won[^\w\s]?t\b|will not|am unable|don.t have (?:access|the (?:ability|capability)))|(?:sorry|afraid|unfortunately),? (?:but )?(?:we|i)(?:.re| are|.m| am)? (?:not allowed|can[^\w\s]?t\b|cannot|unable)|i (?:can ?not|can[^\w\s]?t\b|won[^\w\s]?t\b|will not) (?:\w+ )?(?:help|assist|provide|answer|give|tell|do (?:that|this|it)|fulfil|comply|create|generate|offer|share|support|recommend|advise|discuss|engage|respond|disclose|endorse|condone|encourage|participate|translate|write|access|speak to)|i (?:must |have to )?(?:respectfully |politely )?(?:decline|refuse)\b|i (?:do not|don.t) feel comfortable|not (?:appropriate|ethical) for me to)', 'i') AS chosen_refuses,
        regexp_like(rejected, '(?s)^.{0,120}?\b(?:(?:i.?m|i am) (?:\w+ )?(?:unable|not able|not capable|not allowed|not comfortable|not authori[sz]ed|not programmed)|(?:sorry|afraid|apologi[sz]e|apologies|unfortunately|ai|model|assistant)\b[^?!\n]{0,60}\bi (?:can ?not|can[^\w\s]?t\b|won[^\w\s]?t\b|will not|am unable|don.t have (?:access|the (?:ability|capability)))|(?:sorry|afraid|unfortunately),? (?:but )?(?:we|i)(?:.re| are|.m| am)? (?:not allowed|can[^\w\s]?t\b|cannot|unable)|i (?:can ?not|can[^\w\s]?t\b|won[^\w\s]?t\b|will not) (?:\w+ )?(?:help|assist|provide|answer|give|tell|do (?:that|this|it)|fulfil|comply|create|generate|offer|share|support|recommend|advise|discuss|engage|respond|disclose|endorse|condone|encourage|participate|translate|write|access|speak to)|i (?:must |have to )?(?:respectfully |politely )?(?:decline|refuse)\b|i (?:do not|don.t) feel comfortable|not (?:appropriate|ethical) for me to)', 'i') AS rejected_refuses
    FROM audited
),
found AS (
    SELECT
        source, CAST(NULL AS VARCHAR) AS pair_id, -1 AS row_idx,
        avg(CASE WHEN chosen_refuses THEN 1.0 ELSE 0.0 END) AS value,
        concat('`', source, '`: of ', count(*), ' pairs ',
            count(*) FILTER (WHERE chosen_refuses AND NOT rejected_refuses), ' where only chosen refuses, ',
            count(*) FILTER (WHERE rejected_refuses AND NOT chosen_refuses), ' where only rejected does, ',
            count(*) FILTER (WHERE chosen_refuses AND rejected_refuses), ' where both do') AS evidence
    FROM told
    GROUP BY source
    HAVING count(*) FILTER (WHERE chosen_refuses OR rejected_refuses) > 0
    UNION ALL
    SELECT source, pair_id, row_idx, NULL, 'both answers refuse'
    FROM told
    WHERE chosen_refuses AND rejected_refuses
)
SELECT pair_id, value, evidence
FROM found
ORDER BY source, row_idx
