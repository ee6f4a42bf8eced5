-- id = "C7"
-- level = "info"
-- title = "pair that stands several times"
-- question = "Is a pair in the data more than once?"
-- formula = "count(*) > 1 by pair_id, the digest of its text"
-- source = "each repetition counts in every epoch"
-- advice = "intended weights are fine; a mistake of joining files is not: `--exclude C7` leaves each pair once"
-- keep = "first"
SELECT
    pair_id,
    count(*) AS value,
    concat(count(*), ' times, first `', first_value(source ORDER BY source, row_idx), '`, row ',
        first_value(row_idx ORDER BY source, row_idx)) AS evidence
FROM audited
GROUP BY pair_id
HAVING count(*) > 1
ORDER BY first_value(source ORDER BY source, row_idx), first_value(row_idx ORDER BY source, row_idx)
