-- id = "B3"
-- level = "warn"
-- title = "cut answer"
-- question = "Were both answers scored whole?"
-- formula = "chosen_cut > 0 OR rejected_cut > 0; a warning where one of the two is cut, information where both are"
-- source = "the sum of a cut answer misses its end, so the margin compares unlike things; TRL cuts at max_length 1024"
-- advice = "raise max_length, or leave out pairs with one cut answer"
SELECT
    pair_id,
    CASE WHEN chosen_cut > 0 AND rejected_cut > 0 THEN 'info' ELSE 'warn' END AS level,
    chosen_cut + rejected_cut AS value,
    concat('tokens cut: ', chosen_cut, ' of chosen, ', rejected_cut, ' of rejected') AS evidence
FROM audited
WHERE chosen_cut > 0 OR rejected_cut > 0
ORDER BY source, row_idx
