-- id = "C1"
-- level = "info"
-- title = "repeated prompts"
-- question = "How many pairs share their prompt with another pair?"
-- formula = "count(*) > 1 by prompt"
-- source = "rankings of several answers become several pairs of one prompt"
-- advice = "hold out prompts, not rows: `piref train --eval-share` does"
-- needs = ["prompt"]
WITH prompts AS (SELECT prompt, count(*) AS n_pairs FROM audited GROUP BY prompt)
SELECT
    sum(n_pairs) FILTER (WHERE n_pairs > 1) AS value,
    concat(sum(n_pairs) FILTER (WHERE n_pairs > 1), ' of ', sum(n_pairs), ' pairs share their prompt with another: repeated prompts ',
        count(*) FILTER (WHERE n_pairs > 1), ', most pairs of one ', max(n_pairs), ', pairs whose prompt came before ',
        sum(n_pairs - 1)) AS evidence
FROM prompts
HAVING max(n_pairs) > 1
