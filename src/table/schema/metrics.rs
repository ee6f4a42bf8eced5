//! One JSON object a line of `train/metrics.jsonl`: `schemas/metrics.v1.toml`.

use super::{Column, ColumnType, LOGPS};

/// Schema version, as it stands in `schema` of every line.
pub const VERSION: &str = "metrics.v1";

/// A number without a unit that may be any.
const ANY: (&str, &str) = ("1", "(-inf, inf)");
const SHARE: (&str, &str) = ("1", "[0, 1]");
const NOT_NEGATIVE: (&str, &str) = ("1", "[0, inf)");

/// The members of the line of a step, in their order.
pub const COLUMNS: &[Column] = &[
    Column::text("schema", "Schema version: metrics.v1."),
    Column::number("step", ColumnType::Int64, ("step", "[1, inf)"), "Optimiser steps done, this one included."),
    Column::number(
        "epoch",
        ColumnType::Float64,
        ("epoch", "[0, inf)"),
        "Passes over the table done, this step included.",
    ),
    Column::number(
        "loss",
        ColumnType::Float64,
        ANY,
        "Objective, averaged over the pairs of the step, before the update.",
    ),
    Column::number(
        "grad_norm",
        ColumnType::Float64,
        NOT_NEGATIVE,
        "Euclidean norm of the gradient over all trained parameters, before clipping.",
    ),
    Column::number("learning_rate", ColumnType::Float64, NOT_NEGATIVE, "Learning rate of this update."),
    Column::number(
        "rewards/chosen",
        ColumnType::Float64,
        ANY,
        "Mean of β·(ln π_θ(y_w | x) − ln π_ref(y_w | x)), before the update.",
    ),
    Column::number(
        "rewards/rejected",
        ColumnType::Float64,
        ANY,
        "Mean of β·(ln π_θ(y_l | x) − ln π_ref(y_l | x)), before the update.",
    ),
    Column::number("rewards/margins", ColumnType::Float64, ANY, "rewards/chosen − rewards/rejected."),
    Column::number(
        "rewards/accuracies",
        ColumnType::Float64,
        SHARE,
        "Share of pairs whose chosen reward is above the rejected one.",
    ),
    Column::number(
        "logps/chosen",
        ColumnType::Float64,
        LOGPS,
        "Mean of ln π_θ(y_w | x), summed over completion tokens, before the update.",
    ),
    Column::number(
        "logps/rejected",
        ColumnType::Float64,
        LOGPS,
        "Mean of ln π_θ(y_l | x), summed over completion tokens, before the update.",
    ),
    Column::number(
        "num_tokens",
        ColumnType::Int64,
        ("token", "[0, inf)"),
        "Tokens of prompts and completions processed since the start of the run, each prompt counted once per completion.",
    ),
    Column::number("n_pairs", ColumnType::Int64, ("pair", "[1, inf)"), "Pairs in this step."),
    Column::number(
        "displacement",
        ColumnType::Float64,
        SHARE,
        "Share of pairs whose chosen log-prob is below the reference's: ln π_θ(y_w | x) < ln π_ref(y_w | x).",
    ),
    Column::number(
        "tokens_per_second",
        ColumnType::Float64,
        ("token/s", "[0, inf)"),
        "Tokens of this step, counted as in num_tokens, by its wall time.",
    ),
    Column::number(
        "step_seconds",
        ColumnType::Float64,
        ("s", "[0, inf)"),
        "Wall time of this step: forward, backward and update.",
    ),
];

/// The members of the line of an evaluation, in their order: it has `eval_loss`, and no `loss`.
pub const EVAL_COLUMNS: &[Column] = &[
    Column::text("schema", "Schema version: metrics.v1."),
    Column::number("step", ColumnType::Int64, ("step", "[0, inf)"), "Optimiser steps done; 0 before the first."),
    Column::number("epoch", ColumnType::Float64, ("epoch", "[0, inf)"), "Passes over the table done."),
    Column::number("eval_loss", ColumnType::Float64, ANY, "Objective, averaged over the held-out pairs."),
    Column::number("eval_rewards/chosen", ColumnType::Float64, ANY, "Mean of β·(ln π_θ(y_w | x) − ln π_ref(y_w | x))."),
    Column::number(
        "eval_rewards/rejected",
        ColumnType::Float64,
        ANY,
        "Mean of β·(ln π_θ(y_l | x) − ln π_ref(y_l | x)).",
    ),
    Column::number("eval_rewards/margins", ColumnType::Float64, ANY, "eval_rewards/chosen − eval_rewards/rejected."),
    Column::number(
        "eval_rewards/accuracies",
        ColumnType::Float64,
        SHARE,
        "Share of pairs whose chosen reward is above the rejected one; a tie counts one half.",
    ),
    Column::number("eval_rewards/ties", ColumnType::Float64, SHARE, "Share of pairs whose rewards are equal."),
    Column::number(
        "eval_logps/chosen",
        ColumnType::Float64,
        LOGPS,
        "Mean of ln π_θ(y_w | x), summed over completion tokens.",
    ),
    Column::number(
        "eval_logps/rejected",
        ColumnType::Float64,
        LOGPS,
        "Mean of ln π_θ(y_l | x), summed over completion tokens.",
    ),
    Column::number(
        "eval_kl/chosen",
        ColumnType::Float64,
        ("nat/token", "(-inf, inf)"),
        "Σ(ln π_θ − ln π_ref)/Σ|y_w| over all chosen completions: estimator k1 of the KL to the reference (Schulman 2020), of completions that the policy has not written.",
    ),
    Column::number(
        "eval_kl/rejected",
        ColumnType::Float64,
        ("nat/token", "(-inf, inf)"),
        "The same of the rejected completions.",
    ),
    Column::number(
        "eval_displacement",
        ColumnType::Float64,
        SHARE,
        "Share of pairs whose chosen log-prob is below the reference's: ln π_θ(y_w | x) < ln π_ref(y_w | x).",
    ),
    Column::number(
        "eval_logps/chosen_change",
        ColumnType::Float64,
        ("nat", "(-inf, inf)"),
        "Mean of ln π_θ(y_w | x) − ln π_ref(y_w | x).",
    ),
    Column::number("eval_n_pairs", ColumnType::Int64, ("pair", "[1, inf)"), "Held-out pairs."),
    Column::number("eval_runtime", ColumnType::Float64, ("s", "[0, inf)"), "Wall time of the evaluation."),
    Column::number(
        "eval_samples_per_second",
        ColumnType::Float64,
        ("pair/s", "[0, inf)"),
        "Held-out pairs by wall time.",
    ),
];
