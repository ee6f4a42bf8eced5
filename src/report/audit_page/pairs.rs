//! The pairs that a page shows: the beginnings of their texts, and their tokens where there is a tokenizer for them.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};

use crate::query::Session;
use crate::report::ReportError;
use crate::report::numbers::literal;

/// Characters of a text on the page; the rest is counted.
pub(super) const MOST_CHARS: usize = 4000;

/// Tokens of an answer on the page; the rest is counted.
pub(super) const MOST_TOKENS: usize = 300;

/// A pair as far as a page shows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pair {
    pub(super) source: String,
    pub(super) row_idx: i64,
    pub(super) prompt: Text,
    pub(super) chosen: Answer,
    pub(super) rejected: Answer,
}

/// The beginning of a text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Text {
    pub(super) start: String,
    /// Characters of the whole text.
    pub(super) n_chars: i64,
}

/// An answer and what the reference says of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) text: Text,
    /// Tokens that were scored.
    pub(super) n_tokens: i64,
    /// Tokens that were cut before.
    pub(super) n_cut: i64,
    /// Their log-prob, in nats.
    pub(super) logps: f64,
    /// The first of them; none where there is no tokenizer for them, or no log-prob of each.
    pub(super) tokens: Vec<Token>,
}

/// A token as it was scored.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) text: String,
    /// In nats.
    pub(super) logp: f64,
}

/// Pairs by their id.
#[derive(Debug, Default)]
pub(super) struct Pairs(BTreeMap<String, Pair>);

impl Pairs {
    /// Reads these pairs of `pairs` in one go, with their tokens from `logps` where that has the texts of tokens. Of a pair
    /// that the data repeat it is the first row.
    ///
    /// Texts are cut inside the query: what is in memory depends on the number of pairs, not on what is in them.
    pub(super) fn read(session: &Session, pair_ids: &BTreeSet<&str>) -> Result<Self, ReportError> {
        let mut pairs = Self::default();
        if pair_ids.is_empty() {
            return Ok(pairs);
        }
        // Few of many rows are wanted: the lists and texts of the others are not even decoded. Where all rows are read, as
        // for the figures, it would cost time.
        session.query("SET datafusion.execution.parquet.pushdown_filters = true")?;
        let ids: Vec<String> = pair_ids.iter().map(|pair_id| literal(pair_id)).collect();
        let ids = ids.join(", ");
        pairs.read_texts(session, &ids)?;
        if has_token_texts(session)? {
            pairs.read_tokens(session, &ids)?;
        }
        session.query("SET datafusion.execution.parquet.pushdown_filters = false")?;
        Ok(pairs)
    }

    pub(super) fn get(&self, pair_id: &str) -> Option<&Pair> {
        self.0.get(pair_id)
    }

    /// Whether any token can be shown with its log-prob.
    pub(super) fn has_tokens(&self) -> bool {
        self.0.values().any(|pair| !(pair.chosen.tokens.is_empty() && pair.rejected.tokens.is_empty()))
    }

    fn read_texts(&mut self, session: &Session, ids: &str) -> Result<(), ReportError> {
        let text = |column: &str| format!("left({column}, {MOST_CHARS}), character_length({column})");
        let answer = |side: &str| format!("{}, {side}_tokens, {side}_cut, ref_{side}_logps", text(side));
        let sql = format!(
            "SELECT pair_id, source, row_idx, {}, {}, {} FROM pairs WHERE pair_id IN ({ids}) ORDER BY source, row_idx",
            text("prompt"),
            answer("chosen"),
            answer("rejected")
        );
        for batch in session.rows(&sql)? {
            let batch = batch?;
            let columns = Columns(&batch, "pairs");
            let [pair_ids, sources] = [columns.texts(0)?, columns.texts(1)?];
            let rows = columns.integers(2)?;
            let prompts = columns.shortened(3)?;
            let [chosen, rejected] = [columns.answers(5)?, columns.answers(10)?];
            let answers = prompts.into_iter().zip(chosen.into_iter().zip(rejected));
            for (row, (prompt, (chosen, rejected))) in answers.enumerate() {
                let (source, row_idx) = (text_at(&sources, row), integer_at(&rows, row));
                let pair = Pair { source, row_idx, prompt, chosen, rejected };
                self.0.entry(text_at(&pair_ids, row)).or_insert(pair);
            }
        }
        Ok(())
    }

    fn read_tokens(&mut self, session: &Session, ids: &str) -> Result<(), ReportError> {
        let sql = format!(
            "SELECT pair_id, source, row_idx, side = 'chosen', token, logp FROM logps WHERE pair_id IN ({ids}) AND \
             \"position\" < {MOST_TOKENS} AND logp IS NOT NULL ORDER BY pair_id, source, row_idx, side, \"position\""
        );
        for batch in session.rows(&sql)? {
            let batch = batch?;
            let columns = Columns(&batch, "logps");
            let [pair_ids, sources, tokens] = [columns.texts(0)?, columns.texts(1)?, columns.texts(4)?];
            let (rows, are_chosen, logps) = (columns.integers(2)?, columns.integers(3)?, columns.numbers(5)?);
            for row in 0..batch.num_rows() {
                let Some(pair) = self.0.get_mut(pair_ids.value(row)) else { continue };
                // Repetitions of a pair have tokens of their own.
                if pair.source != sources.value(row) || pair.row_idx != integer_at(&rows, row) {
                    continue;
                }
                let answer = if integer_at(&are_chosen, row) == 1 { &mut pair.chosen } else { &mut pair.rejected };
                answer.tokens.push(Token { text: text_at(&tokens, row), logp: logps.value(row) });
            }
        }
        Ok(())
    }
}

/// Whether the session has the tokenizer of the table.
fn has_token_texts(session: &Session) -> Result<bool, ReportError> {
    let sql = "SELECT 1 FROM information_schema.columns WHERE table_name = 'logps' AND column_name = 'token'";
    Ok(session.query(sql)?.iter().any(|batch| batch.num_rows() > 0))
}

/// The values of a column of texts that a query answers with.
pub(super) fn texts(session: &Session, table: &'static str, sql: &str) -> Result<Vec<String>, ReportError> {
    let mut values = Vec::new();
    for batch in session.query(sql)? {
        let column = Columns(&batch, table).texts(0)?;
        values.extend((0..column.len()).map(|row| text_at(&column, row)));
    }
    Ok(values)
}

/// The columns of an answer, by their place, and the table that was asked.
struct Columns<'a>(&'a RecordBatch, &'static str);

impl Columns<'_> {
    fn typed(&self, column: usize, data_type: &DataType) -> Result<arrow::array::ArrayRef, ReportError> {
        let table = self.1;
        cast(self.0.column(column), data_type).map_err(|source| ReportError::Internal { table, source })
    }

    fn texts(&self, column: usize) -> Result<StringArray, ReportError> {
        Ok(self.typed(column, &DataType::Utf8)?.as_string::<i32>().clone())
    }

    fn integers(&self, column: usize) -> Result<Int64Array, ReportError> {
        Ok(self.typed(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
    }

    fn numbers(&self, column: usize) -> Result<Float64Array, ReportError> {
        Ok(self.typed(column, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
    }

    /// Beginnings of texts, and the lengths of the texts in the next column.
    fn shortened(&self, column: usize) -> Result<Vec<Text>, ReportError> {
        let (starts, n_chars) = (self.texts(column)?, self.integers(column + 1)?);
        let text = |row| Text { start: text_at(&starts, row), n_chars: integer_at(&n_chars, row) };
        Ok((0..starts.len()).map(text).collect())
    }

    /// Answers in five columns.
    fn answers(&self, column: usize) -> Result<Vec<Answer>, ReportError> {
        let (n_tokens, n_cut) = (self.integers(column + 2)?, self.integers(column + 3)?);
        let logps = self.numbers(column + 4)?;
        let answer = |(row, text)| Answer {
            text,
            n_tokens: integer_at(&n_tokens, row),
            n_cut: integer_at(&n_cut, row),
            logps: if logps.is_valid(row) { logps.value(row) } else { f64::NAN },
            tokens: Vec::new(),
        };
        Ok(self.shortened(column)?.into_iter().enumerate().map(answer).collect())
    }
}

/// A text, null as empty.
fn text_at(column: &StringArray, row: usize) -> String {
    if column.is_valid(row) { column.value(row).to_owned() } else { String::new() }
}

/// A number, null as 0.
fn integer_at(column: &Int64Array, row: usize) -> i64 {
    if column.is_valid(row) { column.value(row) } else { 0 }
}
