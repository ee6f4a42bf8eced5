-- id = "I1"
-- level = "info"
-- title = "by source"
-- question = "Do the sources of the data differ?"
-- formula = "pairs, ranking accuracy by sum and per token, and share with the longer answer chosen, ties as ½, by source"
-- source = "data sets are mixtures: arXiv 2511.10985"
-- advice = "weigh sources with `train --table-weights`, or select them with `train --where`"
SELECT
    count(*) AS value,
    concat('`', source, '`: ', count(*), ' pairs, the reference prefers chosen in ',
        round(100 * avg(CASE WHEN ref_margin > 0 THEN 1.0 WHEN ref_margin = 0 THEN 0.5 ELSE 0.0 END), 1), ' % by sum and ',
        round(100 * avg(CASE WHEN ref_margin_mean > 0 THEN 1.0 WHEN ref_margin_mean = 0 THEN 0.5 ELSE 0.0 END), 1), ' % per token, chosen is longer in ',
        round(100 * avg(CASE WHEN chosen_tokens > rejected_tokens THEN 1.0 WHEN chosen_tokens = rejected_tokens THEN 0.5 ELSE 0.0 END), 1), ' %') AS evidence
FROM audited
GROUP BY source
ORDER BY source
