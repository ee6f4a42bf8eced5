//! A data file as pairs and rejects, row by row.

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::container::{self, RawRow, RawRows};
use super::convert::convert;
use super::format::Layout;
use super::{ColumnMap, DataError, Format, PairId, PairText, PreferencePair, Reject, Source, detect};

/// Readable rows from which the format is told.
const SAMPLE_ROWS: usize = 32;

/// Rows that are tried for that, if the first ones cannot be read.
const SAMPLE_TRIED: usize = 1024;

/// Bytes after which no further row is taken into the sample.
const SAMPLE_BYTES: usize = 16 << 20;

/// Different columns that the rows of a file have beside those of the pair: each becomes a column of a table.
const MAX_COLUMNS: usize = 4096;

/// One row of a data file.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "rows are handed on one by one, and most are pairs")]
pub enum Row {
    /// A pair.
    Pair(PreferencePair),
    /// A row that is none.
    Reject(Reject),
}

/// The rows of a data file, in its order. Ends after the first error.
pub struct PairReader {
    source: Arc<Source>,
    layout: Layout,
    map: ColumnMap,
    notes: Notes,
    columns: Vec<String>,
    /// Every other column that a row has had.
    extra_columns: HashSet<String>,
    /// Rows read to tell the format.
    sample: VecDeque<RawRow>,
    rows: RawRows,
}

/// A row before anything is known of its columns.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectRow {
    /// 0-based row of the file.
    pub row_idx: u64,
    /// 1-based line of the file, where it has lines.
    pub line: Option<u64>,
    /// The columns, or the reason why there are none.
    pub object: Result<Map<String, Value>, String>,
}

/// The rows of a data file whatever they hold. Ends after the first error.
pub type ObjectRows = Box<dyn Iterator<Item = Result<ObjectRow, DataError>> + Send>;

/// Opens a data file as rows of named values: for files that are no text pairs.
///
/// # Errors
/// If the file cannot be opened; a fault that is met later is the last item of the iterator.
pub fn open_objects(path: &Path) -> Result<ObjectRows, DataError> {
    let rows = container::open(path)?;
    Ok(Box::new(rows.map(|row| {
        let RawRow { row_idx, line, object, .. } = row?;
        Ok(ObjectRow { row_idx, line, object: object.map_err(shortened) })
    })))
}

/// Opens a data file and tells its format from its first rows.
///
/// # Errors
/// Before any row is returned: if the file cannot be opened, is empty, or if its columns are no preference pairs or
/// leave open what they are. A fault that is met later is the last item of the iterator.
pub fn open(path: &Path, map: &ColumnMap) -> Result<PairReader, DataError> {
    let mut rows = container::open(path)?;
    let sample = read_sample(&mut rows)?;
    let Some(first) = sample.front() else {
        return Err(DataError::Empty { path: path.to_owned() });
    };
    let readable: Vec<_> = sample.iter().filter_map(|row| row.object.as_ref().ok()).collect();
    if let (true, Err(reason)) = (readable.is_empty(), &first.object) {
        let (rows, line, reason) = (sample.len() as u64, first.line, shortened(reason.clone()));
        return Err(DataError::NoReadableRow { path: path.to_owned(), rows, line, reason });
    }
    let layout = detect::detect(path, map, &readable)?;
    let columns = detect::columns(&readable);
    let source = Arc::new(Source::of(path));
    let (map, notes) = (map.clone(), Notes::default());
    Ok(PairReader { source, layout, map, notes, columns, extra_columns: HashSet::new(), sample, rows })
}

/// A reason may quote names from the row, which may be of any length.
pub(super) fn shortened(mut reason: String) -> String {
    const LIMIT: usize = 400;
    if reason.len() > LIMIT {
        reason.truncate(reason.floor_char_boundary(LIMIT));
        reason.push('…');
    }
    reason
}

pub(super) fn read_sample(rows: &mut RawRows) -> Result<VecDeque<RawRow>, DataError> {
    let mut sample = VecDeque::new();
    let (mut n_readable, mut n_bytes) = (0, 0);
    while n_readable < SAMPLE_ROWS && sample.len() < SAMPLE_TRIED && n_bytes < SAMPLE_BYTES {
        let Some(row) = rows.next().transpose()? else { break };
        n_readable += usize::from(row.object.is_ok());
        n_bytes += row.n_bytes;
        sample.push_back(row);
    }
    Ok(sample)
}

impl PairReader {
    /// The same rows as those of another name: what was read is a copy of what a user named.
    #[must_use]
    pub fn named(mut self, path: &Path) -> Self {
        self.source = Arc::new(Source::of(path));
        self
    }

    /// What the rows were found to be.
    pub fn format(&self) -> Format {
        self.layout.format
    }

    /// The format and the columns that are read as its parts, in words.
    pub fn layout(&self) -> String {
        self.layout.to_string()
    }

    /// The columns of the first rows, as they first occur.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The file, and the split its name tells.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// What ought to be known of the rows read so far, and is no fault of theirs.
    pub fn notes(&self) -> Vec<String> {
        self.notes.lines(&self.source.path)
    }

    fn row(&mut self, raw: RawRow) -> Row {
        let source = Arc::clone(&self.source);
        let pair = raw.object.and_then(|object| convert(&self.layout, &self.map, object));
        match pair.and_then(|(text, extra)| self.with_known_columns(&extra).map(|()| (text, extra))) {
            Ok((text, extra)) => {
                self.notes.observe(&text, &extra);
                let (id, row_idx, line) = (PairId::of(&text), raw.row_idx, raw.line);
                Row::Pair(PreferencePair { id, text, source, row_idx, line, extra })
            }
            Err(reason) => {
                let reason = shortened(reason);
                Row::Reject(Reject { source, row_idx: raw.row_idx, line: raw.line, reason })
            }
        }
    }
}

impl PairReader {
    /// Notes the other columns of a row; an error where they would be too many.
    fn with_known_columns(&mut self, extra: &Map<String, Value>) -> Result<(), String> {
        let mut new = extra.keys().filter(|name| !self.extra_columns.contains(*name)).peekable();
        if let Some(first) = new.peek().copied() {
            let new: Vec<String> = new.cloned().collect();
            if self.extra_columns.len() + new.len() > MAX_COLUMNS {
                return Err(format!(
                    "column `{first}` is new: the rows before have {} others",
                    self.extra_columns.len()
                ));
            }
            self.extra_columns.extend(new);
        }
        Ok(())
    }
}

/// Numbers of rows that are read as they are, which their author may not expect.
#[derive(Debug, Default)]
struct Notes {
    /// Calls with arguments that are null: a schema that all rows share gives each the arguments of the others.
    null_arguments: u64,
    /// Pairs with a text that is the text of turns: a column of lists that a program wrote as JSON, or Python as `str`.
    turns_as_text: u64,
    /// Pairs whose column `status` calls them a tie, as in `distilabel-intel-orca-dpo-pairs`.
    ties: u64,
}

impl Notes {
    fn observe(&mut self, text: &PairText, extra: &Map<String, Value>) {
        self.ties += u64::from(extra.get("status").is_some_and(|status| status == "tie"));
        let is_turns_as_text = match text {
            PairText::Plain { prompt, chosen, rejected } => {
                [prompt, chosen, rejected].into_iter().any(|text| is_text_of_turns(text))
            }
            PairText::Messages { prompt, chosen, rejected, .. } => {
                let turns = || prompt.iter().chain(chosen).chain(rejected);
                let has_null = turns().any(|turn| turn.extra.get("tool_calls").is_some_and(has_null_argument));
                self.null_arguments += u64::from(has_null);
                turns().any(|turn| is_text_of_turns(&turn.content))
            }
        };
        self.turns_as_text += u64::from(is_turns_as_text);
    }

    fn lines(&self, path: &Path) -> Vec<String> {
        let path = path.display();
        let mut lines = Vec::new();
        if self.null_arguments > 0 {
            lines.push(format!(
                "`{path}`: calls of {} pairs have arguments that are null, and are scored with them, as in TRL: columns that \
                 rows share give each call the arguments of all others; the type `Json` of `datasets` keeps them apart",
                self.null_arguments
            ));
        }
        if self.turns_as_text > 0 {
            lines.push(format!(
                "`{path}`: a text of {} pairs is itself a list of turns, written as text; it is scored as it stands, as in \
                 TRL, with its brackets and names: a column of lists is what makes a conversation of it",
                self.turns_as_text
            ));
        }
        if self.ties > 0 {
            lines.push(format!(
                "`{path}`: the column `status` calls {} pairs a tie; they are scored like others",
                self.ties
            ));
        }
        lines
    }
}

/// Whether a text begins as a list of turns does, in JSON or as Python prints one.
fn is_text_of_turns(text: &str) -> bool {
    let list = text.trim_start().strip_prefix('[').map(str::trim_start);
    let Some(turn) = list.and_then(|list| list.strip_prefix('{')).map(str::trim_start) else { return false };
    ["role", "content", "from", "value"].into_iter().any(|name| {
        ['"', '\''].into_iter().any(|quote| {
            turn.strip_prefix(quote)
                .and_then(|turn| turn.strip_prefix(name))
                .is_some_and(|rest| rest.starts_with(quote))
        })
    })
}

fn has_null_argument(calls: &Value) -> bool {
    let arguments = |call: &Value| call.get("function").unwrap_or(call).get("arguments").cloned().unwrap_or_default();
    let has_null =
        |call: &Value| arguments(call).as_object().is_some_and(|members| members.values().any(Value::is_null));
    calls.as_array().is_some_and(|calls| calls.iter().any(has_null))
}

/// A reader, or none of a file without rows that is one of several: an empty shard.
///
/// # Errors
/// Of the reader, but for an empty file among others.
pub fn unless_empty<R>(opened: Result<R, DataError>, n_files: usize) -> Result<Option<R>, DataError> {
    match opened {
        Ok(reader) => Ok(Some(reader)),
        Err(DataError::Empty { .. }) if n_files > 1 => Ok(None),
        Err(error) => Err(error),
    }
}

impl Iterator for PairReader {
    type Item = Result<Row, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let raw = match self.sample.pop_front() {
            Some(raw) => Ok(raw),
            None => self.rows.next()?,
        };
        Some(raw.map(|raw| self.row(raw)))
    }
}
