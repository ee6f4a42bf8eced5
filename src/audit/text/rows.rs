//! The text columns of a table, batch by batch or all at once.

use arrow::array::{AsArray, RecordBatch};
use rayon::prelude::*;

use super::PairTexts;
use crate::audit::{AuditError, Context, Found, Hit, Outcome};
use crate::table::ReferenceTable;

/// Why a check of texts does not look at a table that was imported without them.
const NO_TEXT: &str = "the table has no text";

/// Columns of a table in memory.
pub(super) struct Rows(Vec<RecordBatch>);

impl Rows {
    /// A batch by itself.
    pub(super) fn of(batch: RecordBatch) -> Self {
        Self(vec![batch])
    }

    /// Reads these columns of every row.
    pub(super) fn read(table: &ReferenceTable, columns: &[&str]) -> Result<Self, AuditError> {
        Ok(Self(table.batches(columns)?.collect::<Result<_, _>>()?))
    }

    /// A column of text, null as empty.
    pub(super) fn column(&self, name: &str) -> Result<Vec<&str>, AuditError> {
        let mut texts = Vec::new();
        for batch in &self.0 {
            let column = batch.column_by_name(name).and_then(|array| array.as_string_opt::<i32>());
            let column = column.ok_or_else(|| AuditError::Internal { what: format!("column `{name}` is no text") })?;
            texts.extend(column.iter().map(Option::unwrap_or_default));
        }
        Ok(texts)
    }

    /// The texts of every pair.
    pub(super) fn pairs(&self) -> Result<Vec<PairTexts<'_>>, AuditError> {
        let answers = self.column("chosen")?.into_iter().zip(self.column("rejected")?);
        let texts = self.column("prompt")?.into_iter().zip(answers);
        Ok(texts.map(|(prompt, (chosen, rejected))| PairTexts { prompt, chosen, rejected }).collect())
    }
}

/// Looks at each pair by itself, on all threads, and hands over what is found in the order of the table. Memory is that
/// of a batch.
pub(super) fn each_pair(
    ctx: &Context<'_>,
    found: Found<'_>,
    look: impl Fn(PairTexts<'_>) -> Option<Hit> + Sync,
) -> Result<Outcome, AuditError> {
    let mut has_text_yet = false;
    for batch in ctx.table.batches(&["pair_id", "prompt", "chosen", "rejected"])? {
        let rows = Rows::of(batch?);
        let pairs = rows.pairs()?;
        has_text_yet |= has_text(&pairs);
        let hits: Vec<Option<Hit>> = pairs.par_iter().map(|&pair| look(pair)).collect();
        for (hit, pair_id) in hits.into_iter().zip(rows.column("pair_id")?) {
            if let Some(hit) = hit {
                found(Hit { pair_id: Some(pair_id.to_owned()), ..hit })?;
            }
        }
    }
    Ok(if has_text_yet || ctx.table.n_pairs() == 0 { Outcome::Done } else { no_text() })
}

/// Whether any text is more than nothing; so is none at all, where there is nothing to miss.
pub(super) fn has_text(pairs: &[PairTexts<'_>]) -> bool {
    pairs.is_empty()
        || pairs.iter().any(|pair| [pair.prompt, pair.chosen, pair.rejected].iter().any(|text| !text.is_empty()))
}

/// Says that there is nothing to look at.
pub(super) fn no_text() -> Outcome {
    Outcome::Skipped(NO_TEXT.into())
}
