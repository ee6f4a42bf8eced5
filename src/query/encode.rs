//! Rows of one answer on their way to bytes, batch by batch.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::FileWriter;
use arrow::json::writer::{EncoderOptions, LineDelimited, make_encoder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;

use crate::query::format::{Cells, Form, Format};
use crate::visible::{line, screen};

/// Rows that `table` lines up together: more come as further tables, so that memory stays bounded.
const TABLE_ROWS: usize = 1000;

/// Characters of a cell that a terminal shows.
const CELL_CHARS: usize = 72;

/// Rows of one statement on their way to bytes.
pub(super) struct Encoder {
    form: Form,
    schema: SchemaRef,
    /// Rows so far, those that are not shown included.
    n_rows: usize,
    /// Rows that were written.
    rows_written: usize,
    /// Cells of `table` that are not lined up yet.
    waiting: Vec<RecordBatch>,
    binary: Option<Binary>,
}

/// A format with a writer of its own, which hands its bytes on.
enum Binary {
    Parquet(Box<ArrowWriter<Pipe>>, Pipe),
    Arrow(Box<FileWriter<Pipe>>, Pipe),
}

/// Bytes between a writer and whoever takes them.
#[derive(Debug, Clone, Default)]
struct Pipe(Arc<Mutex<Vec<u8>>>);

impl Pipe {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Encoder {
    pub(super) fn new(form: Form, schema: SchemaRef) -> Self {
        Self { form, schema, n_rows: 0, rows_written: 0, waiting: Vec::new(), binary: None }
    }

    /// Rows so far.
    pub(super) fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Rows that were counted and not written.
    pub(super) fn n_left_out(&self) -> usize {
        self.n_rows - self.rows_written
    }

    pub(super) fn start(&mut self) -> Result<Vec<u8>, ArrowError> {
        let pipe = Pipe::default();
        match self.form.format {
            Format::Csv => csv(&RecordBatch::new_empty(Arc::clone(&self.schema)), Header::Names, b','),
            Format::Tsv => csv(&RecordBatch::new_empty(Arc::clone(&self.schema)), Header::Names, b'\t'),
            Format::Json => Ok(b"[".to_vec()),
            Format::Markdown => {
                let names = self.schema.fields().iter().map(|field| markdown_cell(field.name()));
                let rule = self.schema.fields().iter().map(|_| "---".to_owned());
                Ok(format!("{}{}", markdown_row(names), markdown_row(rule)).into_bytes())
            }
            Format::Table | Format::Ndjson => Ok(Vec::new()),
            Format::Parquet => {
                let writer = ArrowWriter::try_new(pipe.clone(), Arc::clone(&self.schema), None).map_err(external)?;
                self.binary = Some(Binary::Parquet(Box::new(writer), pipe));
                Ok(Vec::new())
            }
            Format::Arrow => {
                let writer = FileWriter::try_new(pipe.clone(), &self.schema)?;
                self.binary = Some(Binary::Arrow(Box::new(writer), pipe));
                Ok(Vec::new())
            }
        }
    }

    pub(super) fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        if batch.num_rows() == 0 || batch.num_columns() == 0 {
            return Ok(Vec::new());
        }
        self.n_rows += batch.num_rows();
        let is_first = self.rows_written == 0;
        let room = self.form.max_rows.filter(|_| self.form.format == Format::Table);
        let room = room.map_or(batch.num_rows(), |most| most.saturating_sub(self.rows_written).min(batch.num_rows()));
        if room == 0 {
            return Ok(Vec::new());
        }
        let batch = &batch.slice(0, room);
        self.rows_written += room;
        match self.form.format {
            Format::Csv => csv(batch, Header::None, b','),
            Format::Tsv => csv(batch, Header::None, b'\t'),
            Format::Ndjson => json_lines(batch),
            Format::Json => Ok(joined(&json_lines(batch)?, is_first)),
            Format::Markdown => markdown(batch),
            Format::Table => {
                self.waiting.push(self.shown(batch)?);
                let n_waiting: usize = self.waiting.iter().map(RecordBatch::num_rows).sum();
                if n_waiting >= TABLE_ROWS { self.line_up() } else { Ok(Vec::new()) }
            }
            Format::Parquet | Format::Arrow => match &mut self.binary {
                Some(Binary::Parquet(writer, pipe)) => {
                    writer.write(batch).map_err(external)?;
                    writer.sync()?;
                    Ok(pipe.take())
                }
                Some(Binary::Arrow(writer, pipe)) => {
                    writer.write(batch)?;
                    Ok(pipe.take())
                }
                None => Ok(Vec::new()),
            },
        }
    }

    pub(super) fn finish(&mut self) -> Result<Vec<u8>, ArrowError> {
        match self.form.format {
            Format::Json => Ok(if self.rows_written == 0 { b"]\n".to_vec() } else { b"\n]\n".to_vec() }),
            Format::Table if self.n_rows == 0 => {
                self.waiting.push(self.shown(&RecordBatch::new_empty(Arc::clone(&self.schema)))?);
                self.line_up()
            }
            Format::Table => {
                let mut bytes = if self.waiting.is_empty() { Vec::new() } else { self.line_up()? };
                if self.n_left_out() > 0 {
                    let (shown, all) = (self.rows_written, self.n_rows);
                    bytes.extend(format!("({shown} of {all} rows shown, {} left out: `--max-rows 0`, or `.maxrows 0` in a console, shows all)\n", self.n_left_out()).into_bytes());
                }
                Ok(bytes)
            }
            _ => match self.binary.take() {
                Some(Binary::Parquet(writer, pipe)) => {
                    writer.close().map_err(external)?;
                    Ok(pipe.take())
                }
                Some(Binary::Arrow(mut writer, pipe)) => {
                    writer.finish()?;
                    Ok(pipe.take())
                }
                None => Ok(Vec::new()),
            },
        }
    }

    /// The cells as a terminal shows them.
    fn shown(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        // The tree of EXPLAIN is drawn over several lines.
        let is_plan = self.schema.fields().iter().any(|field| field.name() == "plan_type");
        let most = match self.form.cells {
            Cells::Cut => CELL_CHARS,
            Cells::Whole => usize::MAX,
        };
        let show = |cell: String| if is_plan { screen(&cell).into_owned() } else { shown_cell(&cell, most) };
        let mut fields = Vec::with_capacity(batch.num_columns());
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            let cells = cells(field, column, "NULL")?;
            fields.push(Field::new(shown_cell(field.name(), most), DataType::Utf8, false));
            columns.push(Arc::new(StringArray::from_iter_values(cells.into_iter().map(show))));
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
    }

    fn line_up(&mut self) -> Result<Vec<u8>, ArrowError> {
        let waiting = std::mem::take(&mut self.waiting);
        Ok(format!("{}\n", pretty_format_batches(&waiting)?).into_bytes())
    }
}

/// What stands above rows of separated values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Header {
    Names,
    None,
}

fn csv(batch: &RecordBatch, header: Header, delimiter: u8) -> Result<Vec<u8>, ArrowError> {
    let mut bytes = Vec::new();
    let flat = without_nesting(batch)?;
    let builder = arrow::csv::WriterBuilder::new().with_header(header == Header::Names).with_delimiter(delimiter);
    builder.build(&mut bytes).write(&flat)?;
    Ok(bytes)
}

fn external(error: ParquetError) -> ArrowError {
    ArrowError::ExternalError(Box::new(error))
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

/// One line of at most so many characters: a text may hold line breaks, or the escape sequences of a terminal.
fn shown_cell(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", line(&text[..end])),
        None => line(text).into_owned(),
    }
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
