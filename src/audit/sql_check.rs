//! Checks that SQL can say: a file each.
//!
//! The query answers with `evidence`, and where they apply `pair_id`, `level` and `value`: a finding a row.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};

use super::header::{self, filled};
use super::{AuditError, Check, Context, Found, Hit, Info, Outcome, views};
use crate::table::Level;

/// What a level can be.
const LEVELS: &str = "`error`, `warn` or `info`";

/// The column that every answer has.
const EVIDENCE: &str = "evidence";

/// A check that is a query.
#[derive(Debug, Clone)]
pub struct SqlCheck {
    info: Info,
    sql: String,
}

impl SqlCheck {
    /// The check in the text of a file.
    ///
    /// # Errors
    /// If its header is none, or its numbers do not fit its SQL.
    pub fn parse(path: &Path, text: &str) -> Result<Self, AuditError> {
        let (info, sql) = header::parse(path, text)?;
        Ok(Self { info, sql })
    }
}

impl Check for SqlCheck {
    fn info(&self) -> &Info {
        &self.info
    }

    fn run(&self, ctx: &Context<'_>, found: Found<'_>) -> Result<Outcome, AuditError> {
        for batch in ctx.session.read(&filled(&self.sql, ctx.thresholds))? {
            let answer = Answer::of(&batch?)?;
            for row in 0..answer.n_rows {
                found(answer.hit(row)?)?;
            }
        }
        Ok(Outcome::Done)
    }

    fn look_over(&self, ctx: &Context<'_>) -> Result<(), AuditError> {
        let columns = ctx.session.look_at(&filled(&self.sql, ctx.thresholds))?;
        columns.field_with_name(EVIDENCE).map(|_| ()).map_err(|_| no_evidence())
    }

    fn explain(&self, thresholds: &BTreeMap<String, f64>) -> String {
        let mut text = filled(&self.sql, thresholds);
        for (name, view) in views::STATIC {
            if self.sql.contains(name) {
                // As a comment, so that what is printed is a check.
                text = text + "\n\n-- `" + name + "` is:\n-- " + &view.trim().replace('\n', "\n-- ");
            }
        }
        text
    }
}

/// A batch of a query's answer.
struct Answer {
    n_rows: usize,
    pair_id: Option<StringArray>,
    level: Option<StringArray>,
    value: Option<Float64Array>,
    evidence: StringArray,
}

impl Answer {
    fn of(batch: &RecordBatch) -> Result<Self, AuditError> {
        let text = |name: &'static str| -> Result<Option<StringArray>, AuditError> {
            let array = typed(batch, name, &DataType::Utf8, "text")?;
            Ok(array.and_then(|array| array.as_string_opt::<i32>().cloned()))
        };
        let evidence = text(EVIDENCE)?;
        let value = typed(batch, "value", &DataType::Float64, "a number")?;
        Ok(Self {
            n_rows: batch.num_rows(),
            pair_id: text("pair_id")?,
            level: text("level")?,
            value: value.and_then(|array| array.as_primitive_opt::<Float64Type>().cloned()),
            evidence: evidence.ok_or_else(no_evidence)?,
        })
    }

    fn hit(&self, row: usize) -> Result<Hit, AuditError> {
        let text = |array: &StringArray| array.is_valid(row).then(|| array.value(row).to_owned());
        // One that is none would take the level of the header, and `--fail-on` would pass it.
        let level = self.level.as_ref().and_then(text);
        let level = level.map(|found| {
            Level::named(&found).ok_or(AuditError::Answer {
                column: "level",
                expected: LEVELS,
                found: format!("`{found}`"),
            })
        });
        let value = self.value.as_ref().filter(|array| array.is_valid(row)).map(|array| array.value(row));
        Ok(Hit {
            pair_id: self.pair_id.as_ref().and_then(text),
            level: level.transpose()?,
            value: value.filter(|value| value.is_finite()),
            evidence: text(&self.evidence).unwrap_or_default(),
        })
    }
}

fn no_evidence() -> AuditError {
    AuditError::Answer { column: EVIDENCE, expected: "text", found: "no such column".into() }
}

/// A column of the answer as a type, if it is there.
fn typed(
    batch: &RecordBatch,
    name: &'static str,
    data_type: &DataType,
    expected: &'static str,
) -> Result<Option<ArrayRef>, AuditError> {
    let Some(array) = batch.column_by_name(name) else { return Ok(None) };
    let wrong = |_| AuditError::Answer { column: name, expected, found: array.data_type().to_string() };
    cast(array, data_type).map(Some).map_err(wrong)
}
