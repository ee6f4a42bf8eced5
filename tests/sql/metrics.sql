-- A run that starts at the reference starts at ln 2.
SELECT abs(loss - ln(2::double)) < 1e-12 AS at_reference FROM metrics WHERE step = 1;
--= at_reference
--= true

-- Names with a slash take double quotes.
SELECT step, "rewards/margins", "rewards/accuracies" FROM metrics ORDER BY step DESC LIMIT 1;
--= step,rewards/margins,rewards/accuracies
--= 2,0.5,0.75

-- Likelihood displacement: the margin grows while the chosen answers get less likely.
SELECT step, "logps/chosen" - lag("logps/chosen") OVER (ORDER BY step) AS change, displacement FROM metrics ORDER BY step;
--= step,change,displacement
--= 1,,0.0
--= 2,-0.5,0.5
