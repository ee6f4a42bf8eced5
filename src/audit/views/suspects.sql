-- Evidence that a label is swapped, a row a pair: the higher a number, the more suspicious. Null where a pair has none.
-- Each kind of evidence changes its sign with the label. `rank_…` is from 0 to 1, among the pairs that have it.
CREATE VIEW suspects AS
WITH usable AS (
    SELECT
        pair_id, source, row_idx, truth, is_trusted, ref_margin, ref_margin_mean, implicit_margin, implicit_margin_mean,
        ref_rejected_mean_token_accuracy - ref_chosen_mean_token_accuracy AS by_accuracy,
        ref_chosen_entropy_mean - ref_rejected_entropy_mean AS by_entropy,
        ref_rejected_min_token_logp - ref_chosen_min_token_logp AS by_min_token,
        CAST(chosen_tokens - rejected_tokens AS DOUBLE) AS gap,
        -- A table without text: each pair by itself.
        coalesce(nullif(prompt, ''), pair_id) AS prompt
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
        pair_id, source, row_idx, truth, is_trusted, prompt,
        -ref_margin AS by_margin,
        -ref_margin_mean AS by_margin_mean,
        intercept + slope * gap - ref_margin AS by_residual,
        -implicit_margin AS by_implicit,
        -implicit_margin_mean AS by_implicit_mean,
        by_accuracy,
        by_entropy,
        by_min_token,
        -gap AS by_length
    FROM usable CROSS JOIN fit
),
ranks AS (
    SELECT
        *,
        percent_rank() OVER (ORDER BY by_margin) AS rank_margin,
        percent_rank() OVER (ORDER BY by_margin_mean) AS rank_margin_mean,
        percent_rank() OVER (ORDER BY by_residual) AS rank_residual,
        percent_rank() OVER (ORDER BY by_length) AS rank_length,
        CASE WHEN by_implicit IS NOT NULL THEN percent_rank() OVER (PARTITION BY by_implicit IS NULL ORDER BY by_implicit) END
            AS rank_implicit,
        CASE WHEN by_implicit_mean IS NOT NULL
            THEN percent_rank() OVER (PARTITION BY by_implicit_mean IS NULL ORDER BY by_implicit_mean) END
            AS rank_implicit_mean,
        CASE WHEN by_accuracy IS NOT NULL THEN percent_rank() OVER (PARTITION BY by_accuracy IS NULL ORDER BY by_accuracy) END
            AS rank_accuracy,
        CASE WHEN by_entropy IS NOT NULL THEN percent_rank() OVER (PARTITION BY by_entropy IS NULL ORDER BY by_entropy) END
            AS rank_entropy,
        CASE WHEN by_min_token IS NOT NULL THEN percent_rank() OVER (PARTITION BY by_min_token IS NULL ORDER BY by_min_token) END
            AS rank_min_token
    FROM evidence
)
SELECT
    *,
    CASE
        WHEN rank_implicit IS NULL THEN (rank_margin_mean + rank_residual) / 2
        ELSE (rank_margin_mean + rank_residual + rank_implicit) / 3
    END AS suspicion,
    -- P(swapped), where an audit had trusted pairs and they tell more than chance: `--output-format json` has the
    -- expression that then stands here.
    CAST(NULL AS DOUBLE) AS p_flipped
FROM ranks
