//! What the forward pass of stage one shows of a pair beside its log-probs: `schemas/signals.v1.toml`.

use super::{Column, ColumnType, LOGPS, ROWS, SchemaRef, fixed_schema};

/// Schema version, as it stands in `piref.schema`.
pub const VERSION: &str = "signals.v1";

/// How many of the [`COLUMNS`] say which row of the part it is: as the part has them.
pub const KEY_COLUMNS: usize = 4;

const ENTROPIES: (&str, &str) = ("nat", "[0, inf)");
const SHARES: (&str, &str) = ("1", "[0, 1]");
/// Products of hidden states, whose unit is the model's own.
const SIMILARITIES: (&str, &str) = ("1", "(-inf, inf)");

/// The columns, in file order; rows are those of the part, in its order.
pub const COLUMNS: &[Column] = &[
    Column::text("pair_id", "The pair, as in the part."),
    Column::text("tokens_id", "Digest of the token ids that were scored, as in the part."),
    Column::text("source", "Source file, as in the part."),
    Column::number("row_idx", ColumnType::Int64, ROWS, "Row of the source file, as in the part."),
    Column::number(
        "ref_chosen_entropy_mean",
        ColumnType::Float64,
        ENTROPIES,
        "Mean of ref_chosen_token_entropies. Null where the log-probs are from a table without signals.",
    )
    .nullable(),
    Column::number(
        "ref_rejected_entropy_mean",
        ColumnType::Float64,
        ENTROPIES,
        "Mean of ref_rejected_token_entropies. Null where the log-probs are from a table without signals.",
    )
    .nullable(),
    Column::number(
        "ref_chosen_mean_token_accuracy",
        ColumnType::Float64,
        SHARES,
        "Share of the tokens of the preferred completion that the reference would have chosen itself: mean of ref_chosen_token_top1.",
    )
    .nullable(),
    Column::number(
        "ref_rejected_mean_token_accuracy",
        ColumnType::Float64,
        SHARES,
        "Share of the tokens of the other completion that the reference would have chosen itself: mean of ref_rejected_token_top1.",
    )
    .nullable(),
    Column::number(
        "ref_chosen_min_token_logp",
        ColumnType::Float64,
        LOGPS,
        "Log-prob of the least likely token of the preferred completion: the least of ref_chosen_token_logps.",
    ),
    Column::number(
        "ref_rejected_min_token_logp",
        ColumnType::Float64,
        LOGPS,
        "Log-prob of the least likely token of the other completion: the least of ref_rejected_token_logps.",
    ),
    Column::number(
        "ref_ches",
        ColumnType::Float64,
        SIMILARITIES,
        "Centered hidden embedding similarity (arXiv:2410.08847): ⟨S⁺, S⁻⟩ − ‖S⁺‖², S the sum of the last hidden states that predict the tokens of a completion; + the preferred one.",
    )
    .nullable(),
    Column::number(
        "ref_ches_mean",
        ColumnType::Float64,
        SIMILARITIES,
        "The same of means in place of sums, the length-normalised score of the paper: ⟨S⁺, S⁻⟩/(n⁺·n⁻) − ‖S⁺‖²/n⁺². The higher, the likelier is the pair to push its preferred completion down.",
    )
    .nullable(),
    Column::number(
        "ref_chosen_token_entropies",
        ColumnType::ListFloat32,
        ENTROPIES,
        "Entropy of the distribution that each token of chosen_ids was predicted from, −Σ π ln π over the vocabulary.",
    )
    .nullable(),
    Column::number(
        "ref_rejected_token_entropies",
        ColumnType::ListFloat32,
        ENTROPIES,
        "Entropy of the distribution that each token of rejected_ids was predicted from, −Σ π ln π over the vocabulary.",
    )
    .nullable(),
    Column::flags(
        "ref_chosen_token_top1",
        "Whether no token was likelier than this one, one per token of chosen_ids.",
    )
    .nullable(),
    Column::flags(
        "ref_rejected_token_top1",
        "Whether no token was likelier than this one, one per token of rejected_ids.",
    )
    .nullable(),
];

/// Those of the [`COLUMNS`] with one value a pair, keys left out: what `scored` has of them in SQL.
pub fn numbers() -> impl Iterator<Item = &'static Column> {
    COLUMNS[KEY_COLUMNS..].iter().filter(|column| column.data_type == ColumnType::Float64)
}

/// Arrow schema of the file.
pub fn schema() -> SchemaRef {
    fixed_schema(COLUMNS)
}
