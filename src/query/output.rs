//! Rows as text: for eyes, for spreadsheets, for programs.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::writer::{EncoderOptions, LineDelimited, make_encoder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches;

use crate::query::{QueryError, Session};

/// Rows that `table` lines up together: more come as further tables, so that memory stays bounded.
const TABLE_ROWS: usize = 1000;

/// Characters of a cell that `table` shows.
const CELL_CHARS: usize = 72;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Lined up for a terminal: long cells cut, control characters escaped.
    Table,
    /// Comma-separated under a header; lists and structs as JSON, null as nothing.
    Csv,
    /// One array of objects; null, NaN and infinities as `null`.
    Json,
    /// One object a line.
    Ndjson,
    /// A table for a README.
    Markdown,
}

/// What came of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// Rows that were written.
    pub n_rows: usize,
    /// Time from its plan to its last row, written.
    pub elapsed: Duration,
}

/// Answers the statements in `sql` one after another and writes their rows, batch by batch.
///
/// # Errors
/// At the first statement that fails; rows written before stay written. A reader that has gone away is an error too:
/// see [`QueryError::is_closed_pipe`].
pub fn run(session: &Session, sql: &str, format: Format, out: &mut dyn Write) -> Result<(), QueryError> {
    run_each(session, sql, format, out, &mut |_| {})
}

/// The same, telling after each statement what came of it.
///
/// # Errors
/// As [`run`].
pub fn run_each(
    session: &Session,
    sql: &str,
    format: Format,
    out: &mut dyn Write,
    told: &mut dyn FnMut(Answered),
) -> Result<(), QueryError> {
    let mut put = |bytes: Vec<u8>| out.write_all(&bytes).map_err(|source| QueryError::Output { source });
    for statement in session.parse(sql)? {
        let start = Instant::now();
        let rows = session.execute(statement)?;
        let schema = rows.schema();
        let has_columns = !schema.fields().is_empty();
        let mut encoder = Encoder { format, schema, rows_written: 0, waiting: Vec::new() };
        let wrap = |source| QueryError::Encode { format: format.name(), source };
        if has_columns {
            put(encoder.start().map_err(wrap)?)?;
        }
        for batch in rows {
            put(encoder.batch(&batch?).map_err(wrap)?)?;
        }
        if has_columns {
            put(encoder.finish().map_err(wrap)?)?;
        }
        told(Answered { n_rows: encoder.rows_written, elapsed: start.elapsed() });
    }
    out.flush().map_err(|source| QueryError::Output { source })
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Table => "a table",
            Self::Csv => "CSV",
            Self::Json => "JSON",
            Self::Ndjson => "JSON lines",
            Self::Markdown => "Markdown",
        }
    }
}

/// Rows of one statement on their way to text.
struct Encoder {
    format: Format,
    schema: SchemaRef,
    rows_written: usize,
    /// Cells of `table` that are not lined up yet.
    waiting: Vec<RecordBatch>,
}

impl Encoder {
    fn start(&mut self) -> Result<Vec<u8>, ArrowError> {
        match self.format {
            Format::Csv => csv(&RecordBatch::new_empty(Arc::clone(&self.schema)), true),
            Format::Json => Ok(b"[".to_vec()),
            Format::Markdown => {
                let names = self.schema.fields().iter().map(|field| markdown_cell(field.name()));
                let rule = self.schema.fields().iter().map(|_| "---".to_owned());
                Ok(format!("{}{}", markdown_row(names), markdown_row(rule)).into_bytes())
            }
            Format::Table | Format::Ndjson => Ok(Vec::new()),
        }
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        if batch.num_rows() == 0 || batch.num_columns() == 0 {
            return Ok(Vec::new());
        }
        let is_first = self.rows_written == 0;
        self.rows_written += batch.num_rows();
        match self.format {
            Format::Csv => csv(batch, false),
            Format::Ndjson => json_lines(batch),
            Format::Json => Ok(joined(&json_lines(batch)?, is_first)),
            Format::Markdown => markdown(batch),
            Format::Table => {
                self.waiting.push(self.shown(batch)?);
                let n_waiting: usize = self.waiting.iter().map(RecordBatch::num_rows).sum();
                if n_waiting >= TABLE_ROWS { self.line_up() } else { Ok(Vec::new()) }
            }
        }
    }

    fn finish(&mut self) -> Result<Vec<u8>, ArrowError> {
        match self.format {
            Format::Json => Ok(if self.rows_written == 0 { b"]\n".to_vec() } else { b"\n]\n".to_vec() }),
            Format::Table if self.rows_written == 0 => {
                self.waiting.push(self.shown(&RecordBatch::new_empty(Arc::clone(&self.schema)))?);
                self.line_up()
            }
            Format::Table if !self.waiting.is_empty() => self.line_up(),
            _ => Ok(Vec::new()),
        }
    }

    /// The cells as a terminal shows them.
    fn shown(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        // The tree of EXPLAIN is drawn over several lines.
        let is_plan = self.schema.fields().iter().any(|field| field.name() == "plan_type");
        let show = |cell: String| if is_plan { cell } else { shown_cell(&cell) };
        let mut fields = Vec::with_capacity(batch.num_columns());
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            let cells = cells(field, column, "NULL")?;
            fields.push(Field::new(shown_cell(field.name()), DataType::Utf8, false));
            columns.push(Arc::new(StringArray::from_iter_values(cells.into_iter().map(show))));
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
    }

    fn line_up(&mut self) -> Result<Vec<u8>, ArrowError> {
        let waiting = std::mem::take(&mut self.waiting);
        Ok(format!("{}\n", pretty_format_batches(&waiting)?).into_bytes())
    }
}

fn csv(batch: &RecordBatch, has_header: bool) -> Result<Vec<u8>, ArrowError> {
    let mut bytes = Vec::new();
    let flat = without_nesting(batch)?;
    arrow::csv::WriterBuilder::new().with_header(has_header).build(&mut bytes).write(&flat)?;
    Ok(bytes)
}

/// One JSON object a line; a key whose value is null is there.
fn json_lines(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let builder = arrow::json::WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

/// Lines as items of an array that is under way. A JSON object on a line has no line break inside.
fn joined(lines: &[u8], is_first: bool) -> Vec<u8> {
    let mut items = Vec::with_capacity(lines.len() + lines.len() / 64);
    let lines = lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    for (idx, line) in lines.enumerate() {
        items.extend_from_slice(if idx == 0 && is_first { b"\n" } else { b",\n" });
        items.extend_from_slice(line);
    }
    items
}

fn markdown(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        columns.push(cells(field, column, "")?);
    }
    let row = |row: usize| markdown_row(columns.iter().map(|cells| markdown_cell(&cells[row])));
    Ok((0..batch.num_rows()).map(row).collect::<String>().into_bytes())
}

fn markdown_row(cells: impl Iterator<Item = String>) -> String {
    let mut row = String::from("|");
    for cell in cells {
        row.push(' ');
        row.push_str(&cell);
        row.push_str(" |");
    }
    row.push('\n');
    row
}

fn markdown_cell(text: &str) -> String {
    text.replace('|', "\\|").replace("\r\n", "<br>").replace(['\n', '\r'], "<br>")
}

/// One line of bounded length: a text may hold line breaks, or the escape sequences of a terminal.
fn shown_cell(text: &str) -> String {
    let mut shown = String::new();
    for (idx, c) in text.chars().enumerate() {
        if idx == CELL_CHARS {
            shown.push('…');
            break;
        }
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Values as text; lists and structs as JSON.
fn cells(field: &Arc<Field>, column: &ArrayRef, null: &str) -> Result<Vec<String>, ArrowError> {
    if field.data_type().is_nested() {
        let json = as_json(field, column)?;
        return Ok(json.iter().map(|cell| cell.unwrap_or(null).to_owned()).collect());
    }
    let options = FormatOptions::default().with_null(null);
    let formatter = ArrayFormatter::try_new(column, &options)?;
    (0..column.len()).map(|row| formatter.value(row).try_to_string()).collect()
}

/// The batch with its lists and structs as JSON text: CSV has no others.
fn without_nesting(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if field.data_type().is_nested() {
            fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
            columns.push(Arc::new(as_json(field, column)?) as ArrayRef);
        } else {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(column));
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn as_json(field: &Arc<Field>, column: &ArrayRef) -> Result<StringArray, ArrowError> {
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let mut encoder = make_encoder(field, column.as_ref(), &options)?;
    let mut texts = StringBuilder::new();
    let mut bytes = Vec::new();
    for row in 0..column.len() {
        if encoder.is_null(row) {
            texts.append_null();
        } else {
            bytes.clear();
            encoder.encode(row, &mut bytes);
            texts.append_value(String::from_utf8_lossy(&bytes));
        }
    }
    Ok(texts.finish())
}
