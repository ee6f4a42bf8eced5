//! A data file as pairs and rejects, row by row.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use super::container::{self, RawRow, RawRows};
use super::convert::convert;
use super::format::Layout;
use super::{ColumnMap, DataError, Format, PairId, PreferencePair, Reject, Source, detect, folder};

/// Readable rows from which the format is told.
const SAMPLE_ROWS: usize = 32;

/// Rows that are tried for that, if the first ones cannot be read.
const SAMPLE_TRIED: usize = 1024;

/// Bytes after which no further row is taken into the sample.
const SAMPLE_BYTES: usize = 64 << 20;

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
    columns: Vec<String>,
    /// Rows read to tell the format.
    sample: VecDeque<RawRow>,
    rows: RawRows,
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
    let source = Arc::new(Source { path: path.to_owned(), split: folder::split(path).to_owned() });
    Ok(PairReader { source, layout, columns, sample, rows })
}

/// A reason may quote names from the row, which may be of any length.
fn shortened(mut reason: String) -> String {
    const LIMIT: usize = 400;
    if reason.len() > LIMIT {
        reason.truncate(reason.floor_char_boundary(LIMIT));
        reason.push('…');
    }
    reason
}

fn read_sample(rows: &mut RawRows) -> Result<VecDeque<RawRow>, DataError> {
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

    fn row(&self, raw: RawRow) -> Row {
        let source = Arc::clone(&self.source);
        match raw.object.and_then(|object| convert(&self.layout, object)) {
            Ok((text, extra)) => {
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
