//! What checks have found: `schemas/findings.v1.toml`.

use super::{Column, ColumnType, SchemaRef, fixed_schema};

/// Schema version, as it stands in `piref.schema`.
pub const VERSION: &str = "findings.v1";

/// The columns, in file order.
pub const COLUMNS: &[Column] = &[
    Column::text("pair_id", "Pair the finding is about; null where it is about something else than one pair.")
        .nullable(),
    Column::text("check", "Check that found it."),
    Column::text("level", "error, warn or info."),
    Column::number(
        "value",
        ColumnType::Float64,
        ("of the check", "(-inf, inf)"),
        "The number found: nats for log-probs, rows for keys; null where there is none or it is not finite.",
    )
    .nullable(),
    Column::text("evidence", "Place, what was expected there and what was found."),
];

/// Arrow schema of the file.
pub fn schema() -> SchemaRef {
    fixed_schema(COLUMNS)
}
