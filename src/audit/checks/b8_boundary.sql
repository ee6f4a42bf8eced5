-- id = "B8"
-- level = "info"
-- title = "prompt that runs into its answer"
-- question = "Do prompt and answer have the tokens together that they have apart?"
-- formula = "boundary_moved > 0, tokens of the prompt that change when an answer follows"
-- source = "TRL scores prompt and answer tokenised apart and warns of the same"
-- advice = "end prompts, or begin answers, with white space, or use the chat template"
-- [thresholds]
-- share = 0.01
SELECT
    CASE WHEN count(*) FILTER (WHERE boundary_moved > 0) > {share} * count(*) THEN 'warn' ELSE 'info' END AS level,
    count(*) FILTER (WHERE boundary_moved > 0) AS value,
    concat('`', source, '`: ', count(*) FILTER (WHERE boundary_moved > 0), ' of ', count(*), ' pairs') AS evidence
FROM audited
GROUP BY source
HAVING count(*) FILTER (WHERE boundary_moved > 0) > 0
ORDER BY source
