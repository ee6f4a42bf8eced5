//! I4: the parts of the data by the language of the prompt.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use rayon::prelude::*;

use super::super::language::{Certainty, language};
use super::super::rows::{Rows, no_text};
use super::{About, count, share};
use crate::audit::{AuditError, Context, Found, Hit, Outcome};
use crate::table::Level;

pub(super) const CHECK: About = About {
    id: "I4",
    level: Level::Info,
    title: "by language of the prompt",
    question: "Do the languages of the data differ? (a heuristic)",
    formula: "pairs, ranking accuracy by sum and per token, and share with the longer answer chosen, ties as ½, by \
              language of the prompt, of languages with at least `pairs` pairs",
    source: "whatlang (trigrams and alphabets of 69 languages), as in B11; data sets are mixtures: arXiv 2511.10985",
    advice: "a reference that ranks a language by chance does not know it: weigh it with `train --table-weights`",
    thresholds: &[("confidence", 0.9), ("letters", 60.0), ("pairs", 20.0)],
    method: "Language of the prompt as in B11; `none` are prompts that are too short or too mixed to tell.",
    run,
};

/// What is read, prompts first.
const COLUMNS: [&str; 5] = ["prompt", "ref_chosen_logps", "ref_rejected_logps", "chosen_tokens", "rejected_tokens"];

/// Counts of the pairs of a language: all, those the reference ranks right, and those with the longer answer chosen; a tie
/// is half of one.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    pairs: usize,
    by_sum: f64,
    per_token: f64,
    longer: f64,
}

impl Part {
    /// Takes in a pair: summed log-probs and numbers of tokens, chosen first.
    fn add(&mut self, [chosen, rejected, chosen_tokens, rejected_tokens]: [f64; 4]) {
        let win = |a: f64, b: f64| match a.partial_cmp(&b) {
            Some(Ordering::Greater) => 1.0,
            Some(Ordering::Equal) => 0.5,
            Some(Ordering::Less) | None => 0.0,
        };
        self.pairs += 1;
        self.by_sum += win(chosen, rejected);
        self.per_token += win(chosen / chosen_tokens, rejected / rejected_tokens);
        self.longer += win(chosen_tokens, rejected_tokens);
    }

    fn evidence(&self, language: &str) -> String {
        let percent = |n: f64| 100.0 * n / self.pairs as f64;
        format!(
            "`{language}`: {} pairs, the reference prefers chosen in {:.1} % by sum and {:.1} % per token, chosen is longer in \
             {:.1} %",
            self.pairs,
            percent(self.by_sum),
            percent(self.per_token),
            percent(self.longer)
        )
    }
}

fn run(ctx: &Context<'_>, found: Found<'_>) -> Result<Outcome, AuditError> {
    let certainty = Certainty { least_letters: count(ctx, "letters")?, least_confidence: share(ctx, "confidence")? };
    let least_pairs = count(ctx, "pairs")?;
    let mut parts: BTreeMap<&'static str, Part> = BTreeMap::new();
    let mut has_text = ctx.table.n_pairs() == 0;
    for batch in ctx.table.batches(&COLUMNS)? {
        let batch = batch?;
        let numbers = numbers(&batch)?;
        let rows = Rows::of(batch);
        let prompts = rows.column("prompt")?;
        has_text |= prompts.iter().any(|prompt| !prompt.is_empty());
        let languages: Vec<_> = prompts.par_iter().map(|prompt| language(prompt, certainty)).collect();
        for (language, numbers) in languages.into_iter().zip(numbers) {
            parts.entry(language.unwrap_or("none")).or_default().add(numbers);
        }
    }
    for (language, part) in parts.iter().filter(|(_, part)| has_text && part.pairs >= least_pairs) {
        let (value, evidence) = (Some(part.pairs as f64), part.evidence(language));
        found(Hit { value, evidence, ..Hit::default() })?;
    }
    Ok(if has_text { Outcome::Done } else { no_text() })
}

/// The numbers of every row, in the order of [`COLUMNS`].
fn numbers(batch: &RecordBatch) -> Result<Vec<[f64; 4]>, AuditError> {
    let number = |name: &str| -> Result<ArrayRef, AuditError> {
        let column = batch.column_by_name(name).and_then(|column| cast(column, &DataType::Float64).ok());
        column.ok_or_else(|| AuditError::Internal { what: format!("column `{name}` is no number") })
    };
    let columns = COLUMNS[1..].iter().map(|name| number(name)).collect::<Result<Vec<_>, _>>()?;
    let mut rows = vec![[0.0; 4]; batch.num_rows()];
    for (at, column) in columns.iter().enumerate() {
        let values = column.as_primitive_opt::<Float64Type>().into_iter().flatten();
        for (row, value) in rows.iter_mut().zip(values) {
            row[at] = value.unwrap_or(f64::NAN);
        }
    }
    Ok(rows)
}
