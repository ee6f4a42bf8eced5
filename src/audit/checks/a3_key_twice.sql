-- id = "A3"
-- level = "error"
-- title = "row of a data file twice"
-- question = "Does every row of a data file stand in the table once?"
-- formula = "count(*) > 1 by source and row_idx"
-- source = "an interrupted or doubled write; `piref verify` also finds rows that are missing"
-- advice = "make the table again with `piref precompute --fresh`"
SELECT
    first_value(pair_id ORDER BY pair_id) AS pair_id,
    count(*) AS value,
    concat('`', source, '`, row ', row_idx, ': ', count(*), ' times') AS evidence
FROM audited
GROUP BY source, row_idx
HAVING count(*) > 1
ORDER BY source, row_idx
