-- id = "D3"
-- level = "info"
-- title = "format bias"
-- question = "Does the chosen answer have lists, code, bold text or headings more often than the rejected one?"
-- formula = "share of chosen and of rejected with the mark; a warning where they are more than {gap} apart, and the pairs with the mark on one side only lean that way at z = {z} (McNemar)"
-- source = "format biases of preference data: arXiv 2409.11704; McNemar 1947 for the test"
-- advice = "a policy learns the mark before the content: balance it with `train --where`"
-- needs = ["chosen", "rejected"]
-- [thresholds]
-- gap = 0.1
-- z = 1.96
WITH marks AS (
    SELECT
        regexp_like(chosen, '(^|\n)\s*([-*•]|\d+[.)])\s') AS list_c,
        regexp_like(rejected, '(^|\n)\s*([-*•]|\d+[.)])\s') AS list_r,
        strpos(chosen, '```') > 0 AS code_c,
        strpos(rejected, '```') > 0 AS code_r,
        regexp_like(chosen, '\*\*[^*\n]+\*\*') AS bold_c,
        regexp_like(rejected, '\*\*[^*\n]+\*\*') AS bold_r,
        regexp_like(chosen, '(^|\n)#{1,6} ') AS heading_c,
        regexp_like(rejected, '(^|\n)#{1,6} ') AS heading_r
    FROM audited
),
sums AS (
    SELECT
        CAST(count(*) AS DOUBLE) AS n,
        count(*) FILTER (WHERE list_c) AS list_c, count(*) FILTER (WHERE list_r) AS list_r,
        count(*) FILTER (WHERE list_c <> list_r) AS list_d,
        count(*) FILTER (WHERE code_c) AS code_c, count(*) FILTER (WHERE code_r) AS code_r,
        count(*) FILTER (WHERE code_c <> code_r) AS code_d,
        count(*) FILTER (WHERE bold_c) AS bold_c, count(*) FILTER (WHERE bold_r) AS bold_r,
        count(*) FILTER (WHERE bold_c <> bold_r) AS bold_d,
        count(*) FILTER (WHERE heading_c) AS heading_c, count(*) FILTER (WHERE heading_r) AS heading_r,
        count(*) FILTER (WHERE heading_c <> heading_r) AS heading_d
    FROM marks
    HAVING count(*) > 0
),
shares AS (
    SELECT 'lists' AS mark, list_c / n AS c, list_r / n AS r, list_d AS d, n FROM sums
    UNION ALL SELECT 'code fences', code_c / n, code_r / n, code_d, n FROM sums
    UNION ALL SELECT 'bold text', bold_c / n, bold_r / n, bold_d, n FROM sums
    UNION ALL SELECT 'headings', heading_c / n, heading_r / n, heading_d, n FROM sums
)
SELECT
    CASE WHEN abs(c - r) > {gap} AND n * abs(c - r) > {z} * sqrt(d) THEN 'warn' ELSE 'info' END AS level,
    c - r AS value,
    concat(mark, ': in ', round(100 * c, 1), ' % of chosen and ', round(100 * r, 1), ' % of rejected') AS evidence
FROM shares
WHERE c > 0 OR r > 0
ORDER BY mark
