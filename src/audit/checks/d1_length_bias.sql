-- id = "D1"
-- level = "info"
-- title = "length bias"
-- question = "Is the chosen answer the longer one more often than not?"
-- formula = "p = (longer + ties/2)/n, with the Wilson interval at z = 1.96; a warning where the interval lies above {share} or below 1 − {share}"
-- source = "DPO exploits length: arXiv 2310.03716, 2403.19159; Wilson 1927 for the interval"
-- advice = "compare with an objective that controls length (`--ld-alpha`, `--loss-type simpo`), or balance with `train --where`"
-- [thresholds]
-- share = 0.6
WITH gaps AS (
    SELECT 0 AS rank, 'all pairs, in tokens' AS part, CAST(chosen_tokens - rejected_tokens AS BIGINT) AS gap FROM audited
    UNION ALL
    SELECT 1, 'all pairs, in characters', CAST(chosen_chars - rejected_chars AS BIGINT) FROM audited
    UNION ALL
    SELECT 2, concat('`', source, '`, in tokens'), CAST(chosen_tokens - rejected_tokens AS BIGINT)
    FROM audited
    WHERE (SELECT count(DISTINCT source) FROM audited) > 1
),
shares AS (
    SELECT
        rank,
        part,
        CAST(count(*) AS DOUBLE) AS n,
        avg(CASE WHEN gap > 0 THEN 1.0 WHEN gap = 0 THEN 0.5 ELSE 0.0 END) AS p,
        count(*) FILTER (WHERE gap = 0) AS ties,
        avg(gap) AS gap
    FROM gaps
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
    CASE WHEN centre - half > {share} OR centre + half < 1 - {share} THEN 'warn' ELSE 'info' END AS level,
    p AS value,
    concat(part, ': chosen is longer in ', round(100 * p, 1), ' % (95 %: ', round(100 * (centre - half), 1), ' to ',
        round(100 * (centre + half), 1), ' %) of ', CAST(n AS BIGINT), ', ties ', ties, ', on average by ',
        round(gap, 1)) AS evidence
FROM bounds
ORDER BY rank, part
