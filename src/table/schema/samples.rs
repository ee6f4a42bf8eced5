//! What a policy answers to held-out prompts, one JSON object a line: `schemas/samples.v1.toml`.

use super::{Column, ColumnType, SchemaRef, TOKENS_OF_A_COMPLETION, fixed_schema};

/// Schema version, as it stands in `schema` of every line.
pub const VERSION: &str = "samples.v1";

/// The members of a line, in their order.
pub const COLUMNS: &[Column] = &[
    Column::text("schema", "Schema version: samples.v1."),
    Column::number("step", ColumnType::Int64, ("step", "[0, inf)"), "Optimiser steps of the run done."),
    Column::text("pair_id", "The first pair of the held-out table that has this prompt."),
    Column::text(
        "prompt",
        "Prompt as the policy reads it: prompt_ids of the held-out table as text, chat template and special tokens included.",
    ),
    Column::text(
        "completion",
        "What the policy answers, always with its most likely token; the token that ends the answer is left out, other special tokens are spelt out.",
    ),
    Column::number(
        "n_tokens",
        ColumnType::Int64,
        TOKENS_OF_A_COMPLETION,
        "Tokens the policy has written, the one that ends the answer included.",
    ),
    Column::text(
        "finish_reason",
        "Why the answer is over: stop (the policy has ended it) or length (it has as many tokens as it may).",
    ),
];

/// Arrow schema of the lines.
pub fn schema() -> SchemaRef {
    fixed_schema(COLUMNS)
}
