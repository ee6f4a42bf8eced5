//! What the policy of a run answers, before it is trained and after.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use super::ReportError;
use super::numbers;
use super::page::{Block, Table};
use super::run::Tables;
use crate::query::Session;

/// The table of samples, as queries name it.
const SAMPLES: &str = "samples";

/// Prompts on the page at most; the others are in the files.
const MAX_SHOWN: usize = 20;

/// The answers at the first and at the last evaluation side by side; nothing of a run without samples.
pub(super) fn blocks(tables: &Tables) -> Result<Vec<Block>, ReportError> {
    if !tables.has_samples {
        return Ok(Vec::new());
    }
    let session = &tables.session;
    let range = numbers::row(session, SAMPLES, "SELECT min(step), max(step) FROM samples")?;
    let &[first, last] = range.as_slice() else { return Ok(Vec::new()) };
    if !first.is_finite() {
        return Ok(Vec::new());
    }
    let before = samples(session, first)?;
    let mut columns = vec!["prompt".to_owned(), format!("step {first:.0}")];
    let mut after = BTreeMap::new();
    if last > first {
        columns.push(format!("step {last:.0}"));
        after = samples(session, last)?.into_iter().map(|[pair_id, _, completion]| (pair_id, completion)).collect();
    }
    let n_prompts = before.len();
    let rows = before.into_iter().take(MAX_SHOWN).map(|[pair_id, prompt, completion]| {
        let mut row = vec![prompt, completion];
        if last > first {
            row.push(after.get(&pair_id).cloned().unwrap_or_default());
        }
        row
    });
    let table = Table { columns, rows: rows.collect() };
    let shown = if n_prompts > MAX_SHOWN { format!("; {MAX_SHOWN} of {n_prompts} are here") } else { String::new() };
    let text = format!(
        "What the policy answers to held-out prompts, each token the most likely one. Those of every evaluation are in \
         train/samples{shown}."
    );
    Ok(vec![Block::Text { text }, Block::Texts { title: "Answers to held-out prompts".into(), table }])
}

/// Pair, prompt and completion of each sample of an evaluation, in the order of its file.
fn samples(session: &Session, step: f64) -> Result<Vec<[String; 3]>, ReportError> {
    let sql = format!("SELECT pair_id, prompt, completion FROM samples WHERE step = {step:.0}");
    let mut rows = Vec::new();
    for batch in session.query(&sql)? {
        let text = |column: usize| {
            cast(batch.column(column), &DataType::Utf8)
                .map_err(|source| ReportError::Internal { table: SAMPLES, source })
        };
        let columns = [text(0)?, text(1)?, text(2)?];
        let columns = columns.each_ref().map(AsArray::as_string::<i32>);
        rows.extend((0..batch.num_rows()).map(|row| {
            columns.map(|column| if column.is_valid(row) { column.value(row).to_owned() } else { String::new() })
        }));
    }
    Ok(rows)
}
