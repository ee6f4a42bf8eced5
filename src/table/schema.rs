//! The columns of the tables, as `schemas/*.toml` has them: a test holds the two equal.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};

use crate::table::TableError;

pub mod evals;
pub mod findings;
pub mod metrics;
pub mod samples;
pub mod sft_metrics;
pub mod signals;
pub mod sweep;

/// Version of every contract that is read, as files carry it.
pub const VERSIONS: [&str; 10] = [
    reference::VERSION,
    signals::VERSION,
    rejects::VERSION,
    findings::VERSION,
    metrics::VERSION,
    evals::VERSION,
    samples::VERSION,
    sweep::VERSION,
    sft_metrics::VERSION,
    // After its successor, which is the one to be named where a version is unknown.
    rejects::V1,
];

/// A column of a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Name in Parquet, in SQL and in the docs.
    pub name: &'static str,
    /// Type of its values.
    pub data_type: ColumnType,
    /// Whether a value may be missing.
    pub nullable: bool,
    /// Unit of its numbers.
    pub unit: Option<&'static str>,
    /// Where its numbers lie, as an interval; of a list, each of its items.
    pub range: Option<&'static str>,
    /// What a value says.
    pub doc: &'static str,
}

/// The types a contract uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// Text.
    Utf8,
    /// Counts of tokens.
    Int32,
    /// Rows and lines.
    Int64,
    /// Sums.
    Float64,
    /// Token ids, none of them null.
    ListUInt32,
    /// Per-token values, none of them null.
    ListFloat32,
    /// Per-token answers, none of them null.
    ListBoolean,
}

impl ColumnType {
    /// The Arrow type. Lists name their items `element`, as the Parquet specification does.
    pub fn arrow(self) -> DataType {
        let list = |item| DataType::List(Arc::new(Field::new("element", item, false)));
        match self {
            Self::Utf8 => DataType::Utf8,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Float64 => DataType::Float64,
            Self::ListUInt32 => list(DataType::UInt32),
            Self::ListFloat32 => list(DataType::Float32),
            Self::ListBoolean => list(DataType::Boolean),
        }
    }
}

/// As the contract writes it.
impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Utf8 => "Utf8",
            Self::Int32 => "Int32",
            Self::Int64 => "Int64",
            Self::Float64 => "Float64",
            Self::ListUInt32 => "List<UInt32>",
            Self::ListFloat32 => "List<Float32>",
            Self::ListBoolean => "List<Boolean>",
        })
    }
}

impl Column {
    const fn text(name: &'static str, doc: &'static str) -> Self {
        Self { name, data_type: ColumnType::Utf8, nullable: false, unit: None, range: None, doc }
    }

    const fn flags(name: &'static str, doc: &'static str) -> Self {
        Self { name, data_type: ColumnType::ListBoolean, nullable: false, unit: None, range: None, doc }
    }

    const fn number(
        name: &'static str,
        data_type: ColumnType,
        (unit, range): (&'static str, &'static str),
        doc: &'static str,
    ) -> Self {
        Self { name, data_type, nullable: false, unit: Some(unit), range: Some(range), doc }
    }

    const fn nullable(self) -> Self {
        Self { nullable: true, ..self }
    }

    /// The Arrow field, with unit, range and doc in its metadata.
    pub fn field(&self) -> Field {
        let mut metadata = HashMap::from([("doc".to_owned(), self.doc.to_owned())]);
        let entries = [("unit", self.unit), ("range", self.range)];
        metadata.extend(entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))));
        Field::new(self.name, self.data_type.arrow(), self.nullable).with_metadata(metadata)
    }
}

/// Unit and range that several columns share.
const ROWS: (&str, &str) = ("row", "[0, inf)");
const TOKENS: (&str, &str) = ("token", "[0, inf)");
const TOKENS_OF_A_COMPLETION: (&str, &str) = ("token", "[1, inf)");
const TOKEN_IDS: (&str, &str) = ("token id", "[0, 4294967295]");
const LOGPS: (&str, &str) = ("nat", "(-inf, 0]");

/// Schema of a contract without further columns.
fn fixed_schema(columns: &[Column]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(Column::field).collect::<Vec<_>>()))
}

/// The log-prob table: `schemas/reference.v1.toml`.
pub mod reference {
    use super::{
        Arc, Column, ColumnType, DataType, FieldRef, LOGPS, ROWS, Schema, SchemaRef, TOKEN_IDS, TOKENS,
        TOKENS_OF_A_COMPLETION, TableError,
    };

    /// Schema version, as it stands in `piref.schema`.
    pub const VERSION: &str = "reference.v1";

    /// How many of the [`COLUMNS`] come from the token store: the rest are log-probs.
    pub const STORE_COLUMNS: usize = 19;

    /// The columns, in file order. Pass-through columns follow.
    pub const COLUMNS: &[Column] = &[
        Column::text(
            "pair_id",
            "BLAKE3-128 of the canonical text pair, 32 hex digits: the same in every table, whatever the model.",
        ),
        Column::text(
            "tokens_id",
            "BLAKE3-128 of prompt_ids, chosen_ids and rejected_ids, 32 hex digits: what was scored, and the key for reuse.",
        ),
        Column::number("row_idx", ColumnType::Int64, ROWS, "Row of the source file, from 0; rejected rows count."),
        Column::text("source", "Source file, as it was given."),
        Column::text("split", "Split told by the name of the source file, empty where it tells none."),
        Column::text(
            "prompt",
            "Prompt as its author wrote it, before chat template; several turns as role-tagged paragraphs.",
        ),
        Column::text("chosen", "Preferred completion as its author wrote it, before chat template and end token."),
        Column::text("rejected", "The other completion as its author wrote it, before chat template and end token."),
        Column::text("conversation", "The messages as read, in JSON; null where the source has plain strings.")
            .nullable(),
        Column::number(
            "prompt_ids",
            ColumnType::ListUInt32,
            TOKEN_IDS,
            "Prompt as it was scored, chat template included: training never tokenises again.",
        ),
        Column::number(
            "chosen_ids",
            ColumnType::ListUInt32,
            TOKEN_IDS,
            "Preferred completion as it was scored, end token included.",
        ),
        Column::number(
            "rejected_ids",
            ColumnType::ListUInt32,
            TOKEN_IDS,
            "The other completion as it was scored, end token included.",
        ),
        Column::number("prompt_tokens", ColumnType::Int32, TOKENS, "Length of prompt_ids."),
        Column::number(
            "chosen_tokens",
            ColumnType::Int32,
            TOKENS_OF_A_COMPLETION,
            "Length of chosen_ids: the number of terms in ref_chosen_logps.",
        ),
        Column::number(
            "rejected_tokens",
            ColumnType::Int32,
            TOKENS_OF_A_COMPLETION,
            "Length of rejected_ids: the number of terms in ref_rejected_logps.",
        ),
        Column::number("prompt_cut", ColumnType::Int32, TOKENS, "Prompt tokens dropped to fit max_length."),
        Column::number(
            "chosen_cut",
            ColumnType::Int32,
            TOKENS,
            "Tokens of the preferred completion dropped to fit max_length. Above 0 the log-prob is of the cut text.",
        ),
        Column::number(
            "rejected_cut",
            ColumnType::Int32,
            TOKENS,
            "Tokens of the other completion dropped to fit max_length. Above 0 the log-prob is of the cut text.",
        ),
        Column::number(
            "boundary_moved",
            ColumnType::Int32,
            TOKENS,
            "Prompt tokens that joint tokenisation changed at the boundary; above 0 the completion starts where the two tokenisations diverge.",
        ),
        Column::number(
            "ref_chosen_logps",
            ColumnType::Float64,
            LOGPS,
            "ln π_ref(y_w | x), summed over completion tokens; prompt excluded, end token included.",
        ),
        Column::number(
            "ref_rejected_logps",
            ColumnType::Float64,
            LOGPS,
            "ln π_ref(y_l | x), summed over completion tokens; prompt excluded, end token included.",
        ),
        Column::number(
            "ref_chosen_token_logps",
            ColumnType::ListFloat32,
            LOGPS,
            "Terms of ref_chosen_logps, one per token of chosen_ids; their sum in f64 is that column. Null in a table that was imported without them.",
        )
        .nullable(),
        Column::number(
            "ref_rejected_token_logps",
            ColumnType::ListFloat32,
            LOGPS,
            "Terms of ref_rejected_logps, one per token of rejected_ids; their sum in f64 is that column. Null in a table that was imported without them.",
        )
        .nullable(),
    ];

    /// Arrow schema of a table with these pass-through columns.
    ///
    /// # Errors
    /// If a pass-through column has the name of another column.
    pub fn schema(pass_through: &[FieldRef]) -> Result<SchemaRef, TableError> {
        let mut fields: Vec<FieldRef> = COLUMNS.iter().map(|column| Arc::new(column.field())).collect();
        for field in pass_through {
            if fields.iter().any(|known| known.name() == field.name()) {
                return Err(TableError::PassThrough { column: field.name().clone() });
            }
            fields.push(Arc::clone(field));
        }
        Ok(Arc::new(Schema::new(fields)))
    }

    /// Whether `found` may stand where the contract has `column`: list items may have another name.
    pub(crate) fn fits(column: &Column, found: &DataType) -> bool {
        match (column.data_type.arrow(), found) {
            (DataType::List(expected), DataType::List(found)) => expected.data_type() == found.data_type(),
            (expected, found) => expected == *found,
        }
    }
}

/// Rows that could not be scored: `schemas/rejects.v2.toml`.
pub mod rejects {
    use super::{Column, ColumnType, ROWS, SchemaRef, fixed_schema};

    /// Schema version, as it stands in `piref.schema`.
    pub const VERSION: &str = "rejects.v2";

    /// The version before, which did not tell rows that do not fit `max_length` from rows that are no pairs: it has no
    /// `kind`. It is still read.
    pub const V1: &str = "rejects.v1";

    /// The columns, in file order.
    pub const COLUMNS: &[Column] = &[
        Column::text("source", "Source file, as it was given."),
        Column::number("row_idx", ColumnType::Int64, ROWS, "Row of the source file, from 0."),
        Column::number(
            "line",
            ColumnType::Int64,
            ("line", "[1, inf)"),
            "Line of the source file, from 1; null where the file has no lines.",
        )
        .nullable(),
        Column::text("reason", "What is wrong with the row."),
        Column::text(
            "kind",
            "`malformed`: the row is no pair; `overlong`: it is one, and `max_length` leaves nothing of it to score.",
        ),
    ];

    /// The columns of [`V1`].
    pub const V1_COLUMNS: &[Column] = COLUMNS.split_at(COLUMNS.len() - 1).0;

    /// Arrow schema of the file.
    pub fn schema() -> SchemaRef {
        fixed_schema(COLUMNS)
    }
}
