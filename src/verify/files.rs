//! The files of a table, one after the other: size, digest, version, footer, and then their rows.

use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};

use super::contents::Contents;
use super::coverage::{Coverage, Key};
use super::rows::{self, Place, Sample};
use super::{Event, Report, quoted};
use crate::digest::Digest;
use crate::io;
use crate::storage;
use crate::table::schema::rejects;
use crate::table::{
    Answer, FileRecord, ParquetInput, Part, PartReader, Provenance, SourceProvenance, TableError, signals_problems,
};

/// Checks every part; returns the conditions the table was made under: the manifest's, else those of its first part.
pub(super) fn check_parts(
    contents: &Contents,
    coverage: &mut Coverage,
    sample: &mut Sample,
    report: &mut Report<'_>,
) -> Option<Provenance> {
    let n_total = contents.n_rows();
    let mut check =
        PartsCheck { provenance: contents.manifest.as_ref().map(|manifest| manifest.provenance.clone()), schema: None };
    let mut part_start = 0;
    for (path, listed) in &contents.parts {
        let n_read = check.part(path, listed.as_ref(), part_start, (&mut *coverage, &mut *sample), report);
        report.summary.n_pairs += n_read;
        part_start = part_start.saturating_add(listed.as_ref().map_or(n_read, |part| part.file.rows));
        (report.observe)(Event::Read { n_pairs: report.summary.n_pairs, n_total });
    }
    check.provenance
}

/// What parts are held against: the manifest and each other.
struct PartsCheck {
    provenance: Option<Provenance>,
    schema: Option<SchemaRef>,
}

impl PartsCheck {
    /// Checks one part; returns the rows read of it.
    fn part(
        &mut self,
        path: &Path,
        listed: Option<&Part>,
        part_start: u64,
        (coverage, sample): (&mut Coverage, &mut Sample),
        report: &mut Report<'_>,
    ) -> u64 {
        if !check_bytes(path, listed.map(|part| &part.file), report) {
            return 0;
        }
        let reader = match PartReader::open(path) {
            Ok(reader) => reader,
            Err(error) => {
                report.table_error(&error);
                return 0;
            }
        };
        self.check_footer(&reader, report);
        let counted = reader.rows();
        let batches = match reader.all_batches() {
            Ok(batches) => batches,
            Err(error) => {
                report.table_error(&error);
                return 0;
            }
        };
        let mut n_read = 0_usize;
        let (mut first_pair, mut last_pair) = (None, None);
        for batch in batches {
            match batch {
                Ok(batch) => {
                    rows::check(Place { path, part_start, first_row: n_read }, &batch, coverage, sample, report);
                    n_read += batch.num_rows();
                    first_pair = first_pair.or_else(|| pair_id(&batch, 0));
                    last_pair = batch.num_rows().checked_sub(1).and_then(|row| pair_id(&batch, row)).or(last_pair);
                }
                Err(error) => report.table_error(&error),
            }
        }
        let n_read = n_read as u64;
        differs(path, "rows", &counted, &n_read, report);
        if let Some(listed) = listed {
            differs(path, "rows", &listed.file.rows, &counted, report);
            let text = |pair: Option<String>| pair.unwrap_or_else(|| "no row".into());
            differs(path, "first pair", &listed.first_pair, &text(first_pair), report);
            differs(path, "last pair", &listed.last_pair, &text(last_pair), report);
        }
        n_read
    }

    fn check_footer(&mut self, reader: &PartReader, report: &mut Report<'_>) {
        match &self.provenance {
            None => self.provenance = Some(reader.provenance.clone()),
            Some(expected) => {
                for difference in expected.contradictions(&reader.provenance) {
                    let path = reader.path.clone();
                    report.table_error(&TableError::OtherProvenance { path, difference });
                }
            }
        }
        let schema = reader.schema();
        let Some(first) = &self.schema else {
            self.schema = Some(schema.clone());
            return;
        };
        let text = |schema: &SchemaRef, name: &str| {
            schema
                .field_with_name(name)
                .map_or_else(|_| "no such column".to_owned(), |field| field.data_type().to_string())
        };
        let names = first.fields().iter().chain(schema.fields()).map(|field| field.name());
        let mut seen = Vec::new();
        for name in names {
            let (expected, found) = (text(first, name), text(schema, name));
            if expected != found && !seen.contains(&name) {
                seen.push(name);
                let (path, column) = (reader.path.clone(), name.clone());
                report.table_error(&TableError::Schema { path, column, expected, found });
            }
        }
    }
}

/// Checks every file of signals against its part.
pub(super) fn check_signals(contents: &Contents, report: &mut Report<'_>) {
    for (part, path, listed) in contents.signals() {
        if !check_bytes(&path, Some(listed), report) {
            continue;
        }
        // What is wrong with the part has been told.
        let Ok(part) = PartReader::open(part) else { continue };
        let read = signals_problems(part, &path, &mut |problem| {
            report.table_error(&problem);
            Answer::Continue(())
        });
        match read {
            Ok(n_read) => differs(&path, "rows", &listed.rows, &n_read, report),
            Err(error) => report.table_error(&error),
        }
    }
}

/// Checks the rejects file; its keys are rows of the data too.
pub(super) fn check_rejects(contents: &Contents, coverage: &mut Coverage, report: &mut Report<'_>) {
    let Some((path, listed)) = &contents.rejects else { return };
    if !check_bytes(path, listed.as_ref(), report) {
        return;
    }
    let batches = ParquetInput::open(path).and_then(|input| {
        if input.version() == Some(rejects::V1) {
            input.check_columns(rejects::V1_COLUMNS)?;
        } else {
            input.check_version(rejects::VERSION)?;
            input.check_columns(rejects::COLUMNS)?;
        }
        input.all_batches()
    });
    let batches = match batches {
        Ok(batches) => batches,
        Err(error) => return report.table_error(&error),
    };
    let mut n_read = 0_usize;
    for batch in batches {
        match batch {
            Ok(batch) => {
                see_rejects(path, n_read, &batch, coverage, report);
                n_read += batch.num_rows();
            }
            Err(error) => report.table_error(&error),
        }
    }
    report.summary.n_rejected = n_read as u64;
    if let Some(listed) = listed {
        differs(path, "rows", &listed.rows, &(n_read as u64), report);
    }
}

fn see_rejects(path: &Path, first_row: usize, batch: &RecordBatch, coverage: &mut Coverage, report: &mut Report<'_>) {
    let column = |name: &str| batch.column_by_name(name);
    let sources = column("source").and_then(|array| array.as_string_opt::<i32>());
    let rows = column("row_idx").and_then(|array| array.as_primitive_opt::<Int64Type>());
    let (Some(sources), Some(rows)) = (sources, rows) else { return };
    for column in rejects::COLUMNS.iter().filter(|column| !column.nullable) {
        let nulls = batch.column_by_name(column.name).map(|array| (0..array.len()).filter(|&row| array.is_null(row)));
        for row in nulls.into_iter().flatten() {
            let row = first_row + row;
            report.table_error(&TableError::Null { path: path.to_owned(), row, column: column.name });
        }
    }
    for row in 0..batch.num_rows() {
        let key =
            Key { source: sources.value(row), row_idx: rows.value(row), pair_id: None, path, row: first_row + row };
        coverage.see(&key, report);
    }
}

/// Holds data files against the digests the table has of them.
pub(super) fn check_data(data: &[PathBuf], sources: &[SourceProvenance], report: &mut Report<'_>) {
    for path in data {
        let given = path.display().to_string();
        let name_of = |source: &&SourceProvenance| Path::new(&source.path).file_name() == path.file_name();
        // As it was given then; else by its name, for a file that has moved.
        let source = sources.iter().find(|source| source.path == given).or_else(|| sources.iter().find(name_of));
        let Some(source) = source else {
            let names: Vec<&str> = sources.iter().map(|source| source.path.as_str()).collect();
            report.error(
                "data",
                format!("expected one of the table's data files ({}), found {}", names.join(", "), quoted(path)),
            );
            continue;
        };
        let found = storage::local_file(path).and_then(|path| Ok(io::digest(&path)?));
        match found {
            Err(error) => report.error("data", error.to_string()),
            Ok((digest, bytes)) if (digest, bytes) != (source.digest, source.bytes) => {
                report.error(
                    "data",
                    format!(
                        "{}: expected {} bytes of digest {} as the table was made from, found {bytes} of {digest}",
                        quoted(path),
                        source.bytes,
                        source.digest
                    ),
                );
            }
            Ok(_) => {}
        }
    }
}

/// Reads all bytes of a file and compares; `false` if there is nothing more to be read.
fn check_bytes(path: &Path, listed: Option<&FileRecord>, report: &mut Report<'_>) -> bool {
    if !path.is_file() {
        report.table_error(&TableError::PartMissing { path: path.to_owned() });
        return false;
    }
    // Without a list there is nothing to compare with, and the rows are read anyway.
    let Some(listed) = listed else { return true };
    let (digest, bytes): (Digest, u64) = match io::digest(path) {
        Ok(found) => found,
        Err(error) => {
            report.table_error(&error.into());
            return false;
        }
    };
    report.summary.n_bytes += bytes;
    differs(path, "bytes", &listed.bytes, &bytes, report);
    differs(path, "digest", &listed.digest, &digest, report);
    true
}

/// Tells a difference between a file and what was said of it.
fn differs<T: PartialEq + ToString>(path: &Path, what: &'static str, expected: &T, found: &T, report: &mut Report<'_>) {
    if expected != found {
        let (expected, found) = (expected.to_string(), found.to_string());
        report.table_error(&TableError::NotAsListed { path: path.to_owned(), what, expected, found });
    }
}

fn pair_id(batch: &RecordBatch, row: usize) -> Option<String> {
    let ids = batch.column_by_name("pair_id")?.as_string_opt::<i32>()?;
    (row < ids.len()).then(|| ids.value(row).to_owned())
}
