//! One JSON object a line of `train/metrics.jsonl` of supervised training: `schemas/sft_metrics.v1.toml`.

use super::{Column, ColumnType};

/// Schema version, as it stands in `schema` of every line.
pub const VERSION: &str = "sft_metrics.v1";

const NOT_NEGATIVE: (&str, &str) = ("1", "[0, inf)");

/// The members of a line, in their order.
pub const COLUMNS: &[Column] = &[
    Column::text("schema", "Schema version: sft_metrics.v1."),
    Column::number("step", ColumnType::Int64, ("step", "[1, inf)"), "Optimiser steps done, this one included."),
    Column::number(
        "epoch",
        ColumnType::Float64,
        ("epoch", "[0, inf)"),
        "Passes over the data done, this step included.",
    ),
    Column::number(
        "loss",
        ColumnType::Float64,
        ("nat", "[0, inf)"),
        "Cross-entropy, averaged over the learnt tokens of the step, before the update.",
    ),
    Column::number(
        "grad_norm",
        ColumnType::Float64,
        NOT_NEGATIVE,
        "Euclidean norm of the gradient over all trained parameters, before clipping.",
    ),
    Column::number("learning_rate", ColumnType::Float64, NOT_NEGATIVE, "Learning rate of this update."),
    Column::number(
        "num_tokens",
        ColumnType::Int64,
        ("token", "[0, inf)"),
        "Tokens of all sequences since the start of the run, learnt or not.",
    ),
    Column::number("n_sequences", ColumnType::Int64, ("sequence", "[1, inf)"), "Sequences in this step."),
    Column::number("n_learnt_tokens", ColumnType::Int64, ("token", "[1, inf)"), "Learnt tokens in this step."),
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
