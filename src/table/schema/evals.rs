//! What a policy says of held-out pairs: `schemas/evals.v1.toml`.

use super::{Column, ColumnType, LOGPS, SchemaRef, TOKENS_OF_A_COMPLETION, fixed_schema};

/// Schema version, as it stands in `piref.schema`.
pub const VERSION: &str = "evals.v1";

/// A number without a unit that may be any.
const ANY: (&str, &str) = ("1", "(-inf, inf)");

/// The columns, in file order.
pub const COLUMNS: &[Column] = &[
    Column::number(
        "step",
        ColumnType::Int64,
        ("step", "[0, inf)"),
        "Optimiser steps of the run done; null of a policy that was evaluated outside of one.",
    )
    .nullable(),
    Column::text("pair_id", "The pair, as in the held-out table."),
    Column::text("tokens_id", "Digest of the token ids that were scored, as in the held-out table."),
    Column::number("chosen_tokens", ColumnType::Int32, TOKENS_OF_A_COMPLETION, "Terms in the chosen log-probs."),
    Column::number("rejected_tokens", ColumnType::Int32, TOKENS_OF_A_COMPLETION, "Terms in the rejected log-probs."),
    Column::number(
        "policy_chosen_logps",
        ColumnType::Float64,
        LOGPS,
        "ln π_θ(y_w | x), summed over completion tokens; prompt excluded, end token included.",
    ),
    Column::number(
        "policy_rejected_logps",
        ColumnType::Float64,
        LOGPS,
        "ln π_θ(y_l | x), summed over completion tokens; prompt excluded, end token included.",
    ),
    Column::number("ref_chosen_logps", ColumnType::Float64, LOGPS, "ln π_ref(y_w | x), as in the held-out table."),
    Column::number("ref_rejected_logps", ColumnType::Float64, LOGPS, "ln π_ref(y_l | x), as in the held-out table."),
    Column::number(
        "margin",
        ColumnType::Float64,
        ANY,
        "Chosen reward − rejected reward: β·((ln π_θ − ln π_ref)(y_w | x) − (ln π_θ − ln π_ref)(y_l | x)).",
    ),
    Column::number(
        "loss",
        ColumnType::Float64,
        ANY,
        "Objective of the pair; of an objective of the whole batch, its share.",
    ),
];

/// Arrow schema of the file.
pub fn schema() -> SchemaRef {
    fixed_schema(COLUMNS)
}
