-- Evidence that a label is swapped, a row a pair: the higher a number, the more suspicious. Null where a pair has none.
CREATE VIEW suspects AS
WITH usable AS (
    SELECT
        pair_id, source, row_idx, truth, ref_margin, ref_margin_mean, implicit_margin, implicit_margin_mean,
        CAST(chosen_tokens - rejected_tokens AS DOUBLE) AS gap
    FROM audited
    WHERE abs(ref_margin) < 1e308
),
-- What length alone explains of the margin, by least squares; 0 where all lengths are the same.
fit AS (
    SELECT
        coalesce(regr_slope(ref_margin, gap), 0) AS slope,
        coalesce(regr_intercept(ref_margin, gap), 0) AS intercept
    FROM usable
),
evidence AS (
    SELECT
        pair_id, source, row_idx, truth,
        -ref_margin AS by_margin,
        -ref_margin_mean AS by_margin_mean,
        intercept + slope * gap - ref_margin AS by_residual,
        -implicit_margin AS by_implicit,
        -implicit_margin_mean AS by_implicit_mean,
        -gap AS by_length
    FROM usable CROSS JOIN fit
),
ranks AS (
    SELECT
        *,
        percent_rank() OVER (ORDER BY by_margin_mean) AS rank_margin_mean,
        percent_rank() OVER (ORDER BY by_residual) AS rank_residual,
        CASE WHEN by_implicit IS NOT NULL THEN percent_rank() OVER (PARTITION BY by_implicit IS NULL ORDER BY by_implicit) END
            AS rank_implicit
    FROM evidence
)
SELECT
    pair_id, source, row_idx, truth, by_margin, by_margin_mean, by_residual, by_implicit, by_implicit_mean, by_length,
    CASE
        WHEN rank_implicit IS NULL THEN (rank_margin_mean + rank_residual) / 2
        ELSE (rank_margin_mean + rank_residual + rank_implicit) / 3
    END AS suspicion
FROM ranks
