-- id = "E3"
-- level = "warn"
-- title = "answer of an unusual log-prob"
-- question = "Which answers are far from the others in log-prob a token?"
-- formula = "|0.6745·(x − median)/MAD| > {z}, x the log-prob a token of chosen or of rejected, of answers with at least {tokens} tokens"
-- source = "modified z-score: Iglewicz and Hoaglin 1993, section 3.3"
-- advice = "very low: noise, encoding damage, a language the reference hardly knows, or a string that was asked for; very high: text the reference has seen"
-- [thresholds]
-- z = 6
-- tokens = 10
WITH usable AS (
    SELECT
        pair_id, source, row_idx,
        CASE WHEN chosen_tokens >= {tokens} THEN ref_chosen_logps_mean END AS c,
        CASE WHEN rejected_tokens >= {tokens} THEN ref_rejected_logps_mean END AS r
    FROM audited
    WHERE abs(ref_margin_mean) < 1e308
),
centre AS (SELECT median(c) AS c, median(r) AS r FROM usable),
spread AS (
    SELECT median(abs(usable.c - centre.c)) AS c, median(abs(usable.r - centre.r)) AS r FROM usable CROSS JOIN centre
),
-- An answer of few tokens has no `c` or `r` and is not unusual.
scored_z AS (
    SELECT
        pair_id, source, row_idx, usable.c AS c, usable.r AS r,
        CASE WHEN usable.c IS NOT NULL AND spread.c > 0 THEN 0.6745 * (usable.c - centre.c) / spread.c ELSE 0 END AS zc,
        CASE WHEN usable.r IS NOT NULL AND spread.r > 0 THEN 0.6745 * (usable.r - centre.r) / spread.r ELSE 0 END AS zr
    FROM usable CROSS JOIN centre CROSS JOIN spread
)
SELECT
    pair_id,
    CASE WHEN abs(zc) >= abs(zr) THEN zc ELSE zr END AS value,
    concat('nats a token: chosen ', CASE WHEN c IS NULL THEN 'too short' ELSE concat(round(c, 3), ' (z ', round(zc, 1), ')') END,
        ', rejected ', CASE WHEN r IS NULL THEN 'too short' ELSE concat(round(r, 3), ' (z ', round(zr, 1), ')') END) AS evidence
FROM scored_z
WHERE abs(zc) > {z} OR abs(zr) > {z}
ORDER BY greatest(abs(zc), abs(zr)) DESC, source, row_idx
