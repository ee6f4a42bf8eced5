//! The runs of a sweep side by side: `schemas/sweep.v1.toml`.

use super::{Column, ColumnType};

/// Schema version, as it stands in `piref.schema`.
pub const VERSION: &str = "sweep.v1";

/// The columns that every sweep has, in file order. Settings and metrics follow under their own names.
pub const COLUMNS: &[Column] = &[
    Column::number(
        "rank",
        ColumnType::Int64,
        ("rank", "[1, inf)"),
        "Place by the metric of piref.rank_by, equal ones share it; null unless the run is finished and has it.",
    )
    .nullable(),
    Column::text("run", "Name of the run, made of its settings."),
    Column::text("status", "finished, interrupted, failed or pending."),
    Column::text("folder", "Folder of the run."),
    Column::text("error", "Why the run failed; null where it did not.").nullable(),
    Column::number("n_steps", ColumnType::Int64, ("step", "[0, inf)"), "Optimiser steps made."),
    Column::number(
        "seconds",
        ColumnType::Float64,
        ("s", "[0, inf)"),
        "Wall time of these steps; loading, evaluating and saving is not in it.",
    ),
];
