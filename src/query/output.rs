//! Statements, one after another, and their rows: for eyes, for spreadsheets, for programs.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::SchemaRef;
use datafusion::sql::parser::{CopyToSource, CopyToStatement, Statement};
use datafusion::sql::sqlparser::ast;

use crate::query::encode::Encoder;
use crate::query::permitted::Refusal;
use crate::query::rows_file::{Replace, RowsFile};
use crate::query::{Form, Format, QueryError, Rows, Session, quoted};

/// What came of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// Rows it answered.
    pub n_rows: usize,
    /// Those of them that were not shown.
    pub n_left_out: usize,
    /// Time from its plan to its last row, written.
    pub elapsed: Duration,
}

/// Where rows go.
pub enum Sink<'a> {
    /// A stream, in this form.
    Stream(&'a mut dyn Write, Form),
    /// A file, in its own format.
    File(&'a mut RowsFile),
}

impl Sink<'_> {
    fn form(&self) -> Form {
        match self {
            Self::Stream(_, form) => *form,
            Self::File(file) => Form::whole(file.format()),
        }
    }

    fn begin_answer(&mut self) -> Result<(), QueryError> {
        match self {
            Self::Stream(..) => Ok(()),
            Self::File(file) => file.begin_answer(),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), QueryError> {
        match self {
            Self::Stream(out, _) => out.write_all(bytes).map_err(|source| QueryError::Output { source }),
            Self::File(file) => file.put(bytes),
        }
    }

    fn flush(&mut self) -> Result<(), QueryError> {
        match self {
            Self::Stream(out, _) => out.flush().map_err(|source| QueryError::Output { source }),
            Self::File(_) => Ok(()),
        }
    }
}

/// Answers the statements in `sql` one after another and writes their rows, batch by batch.
///
/// # Errors
/// At the first statement that fails; rows written before stay written. A reader that has gone away is an error too:
/// see [`QueryError::is_closed_pipe`].
pub fn run(session: &Session, sql: &str, format: Format, out: &mut dyn Write) -> Result<(), QueryError> {
    run_each(session, sql, Sink::Stream(out, Form::whole(format)), &mut |_| {})
}

/// The same, telling after each statement what came of it.
///
/// `COPY (SELECT …) TO 'FILE'` writes a new file, in the format of `STORED AS` or of its extension, and answers the number of
/// its rows as in DataFusion.
///
/// # Errors
/// As [`run`].
pub fn run_each(
    session: &Session,
    sql: &str,
    mut sink: Sink<'_>,
    told: &mut dyn FnMut(Answered),
) -> Result<(), QueryError> {
    for statement in session.parse(sql)? {
        let start = Instant::now();
        let (n_rows, n_left_out) = match statement {
            Statement::CopyTo(statement) => {
                let count: ArrayRef = Arc::new(UInt64Array::from(vec![copy(session, statement)? as u64]));
                let answer = RecordBatch::try_from_iter([("count", count)])
                    .map_err(|source| QueryError::Encode { format: "a count", source })?;
                write(&mut sink, answer.schema(), std::iter::once(Ok(answer)))?
            }
            statement => answer(session, statement, &mut sink)?,
        };
        told(Answered { n_rows, n_left_out, elapsed: start.elapsed() });
    }
    sink.flush()
}

fn answer(session: &Session, statement: Statement, sink: &mut Sink<'_>) -> Result<(usize, usize), QueryError> {
    let rows: Rows<'_> = session.execute(statement)?;
    write(sink, rows.schema(), rows)
}

/// Writes the rows of one answer; returns how many there are, and how many of them were left out.
fn write(
    sink: &mut Sink<'_>,
    schema: SchemaRef,
    rows: impl Iterator<Item = Result<RecordBatch, QueryError>>,
) -> Result<(usize, usize), QueryError> {
    let form = sink.form();
    let has_columns = !schema.fields().is_empty();
    let mut encoder = Encoder::new(form, schema);
    let wrap = |source| QueryError::Encode { format: form.format.name(), source };
    if has_columns {
        sink.begin_answer()?;
        sink.put(&encoder.start().map_err(wrap)?)?;
    }
    for batch in rows {
        sink.put(&encoder.batch(&batch?).map_err(wrap)?)?;
    }
    if has_columns {
        sink.put(&encoder.finish().map_err(wrap)?)?;
    }
    Ok((encoder.n_rows(), encoder.n_left_out()))
}

/// Writes the rows of a `COPY` into a new file; returns how many.
fn copy(session: &Session, statement: CopyToStatement) -> Result<usize, QueryError> {
    let CopyToStatement { source, target, partitioned_by, stored_as, options } = statement;
    let unsupported = |what: &str| Refusal::Unsupported { statement: format!("COPY … {what}") };
    if !partitioned_by.is_empty() {
        return Err(unsupported("PARTITIONED BY").into());
    }
    // The one option that says what is done anyway.
    let is_header = |(name, value): &(String, ast::Value)| {
        ["header", "has_header", "format.has_header"].contains(&name.to_lowercase().as_str())
            && value.to_string().trim_matches('\'').eq_ignore_ascii_case("true")
    };
    if let Some((name, _)) = options.iter().find(|option| !is_header(option)) {
        return Err(unsupported(&format!("OPTIONS ({name})")).into());
    }
    let target = Path::new(&target);
    let asked = stored_as.map(|name| stored(&name, target)).transpose()?;
    let query = match source {
        CopyToSource::Query(query) => Statement::Statement(Box::new(ast::Statement::Query(query))),
        CopyToSource::Relation(name) => {
            let name = name.0.iter().filter_map(|part| part.as_ident()).map(|part| quoted(&part.value));
            let sql = format!("SELECT * FROM {}", name.collect::<Vec<_>>().join("."));
            let mut statements = session.parse(&sql)?;
            statements.pop_front().ok_or_else(|| unsupported("of no table"))?
        }
    };
    let mut file = RowsFile::create(session, target, asked, Replace::Never)?;
    let (n_rows, _) = answer(session, query, &mut Sink::File(&mut file))?;
    file.commit(session)?;
    Ok(n_rows)
}

/// The format after `STORED AS`. DataFusion's JSON is one object a line, ours an array; the extension decides.
fn stored(name: &str, target: &Path) -> Result<Format, QueryError> {
    match name.to_uppercase().as_str() {
        "CSV" => Ok(Format::Csv),
        "PARQUET" => Ok(Format::Parquet),
        "ARROW" => Ok(Format::Arrow),
        "NDJSON" => Ok(Format::Ndjson),
        "JSON" if Format::of_file(target, None).is_ok_and(|format| format == Format::Ndjson) => Ok(Format::Ndjson),
        "JSON" => Ok(Format::Json),
        _ => Err(Refusal::Unsupported { statement: format!("COPY … STORED AS {name}") }.into()),
    }
}
