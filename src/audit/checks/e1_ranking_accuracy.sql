-- id = "E1"
-- level = "info"
-- title = "ranking accuracy of the reference"
-- question = "How often does the reference already prefer the chosen answer?"
-- formula = "share with c > r, and with c/chosen_tokens > r/rejected_tokens, ties as ½; Wilson interval at z = 1.96"
-- source = "arXiv 2405.19534: most tuned models are below 60 %; Wilson 1927"
-- advice = "sums favour the shorter answer and averages the longer one: read both"
WITH usable AS (SELECT ref_margin, ref_margin_mean FROM audited WHERE abs(ref_margin) < 1e308),
wins AS (
    SELECT 0 AS rank, 'by sum' AS part, ref_margin AS m FROM usable
    UNION ALL
    SELECT 1, 'per token', ref_margin_mean FROM usable
),
shares AS (
    SELECT rank, part, CAST(count(*) AS DOUBLE) AS n,
        avg(CASE WHEN m > 0 THEN 1.0 WHEN m = 0 THEN 0.5 ELSE 0.0 END) AS p
    FROM wins
    GROUP BY rank, part
),
bounds AS (
    SELECT
        *,
        (p + 1.9208 / n) / (1 + 3.8416 / n) AS centre,
        1.96 * sqrt(p * (1 - p) / n + 0.9604 / (n * n)) / (1 + 3.8416 / n) AS half
    FROM shares
)
SELECT
    p AS value,
    concat(part, ': ', round(100 * p, 1), ' % (95 %: ', round(100 * (centre - half), 1), ' to ', round(100 * (centre + half), 1),
        ' %) of ', CAST(n AS BIGINT), ' pairs') AS evidence
FROM bounds
ORDER BY rank
