//! What a Parquet file promises, held against what it can hold, before a decoder allocates for it.
//!
//! The decoders of the parquet crate believe the numbers in a file: a page header that says two gigabytes gets them, a
//! schema nested a hundred thousand deep overflows the stack. [`open`] reads the footer and every page header first and
//! refuses a file over the limits below; no real data set comes near them.

mod delta;
mod thrift;

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};

use crate::guard;
use thrift::Compact;

/// Nesting of columns in columns.
const SCHEMA_DEPTH: usize = 64;

/// Columns, of the file and of each column that has some.
const COLUMNS: i64 = 4096;

/// Bytes of a page once it is decompressed; writers aim at one megabyte.
const PAGE_BYTES: i64 = 256 << 20;

/// Bytes of a decompressed dictionary, each entry of which may stand for any number of rows.
const DICTIONARY_BYTES: i64 = 32 << 20;

/// Bytes of a value of fixed length, which null takes too.
const VALUE_BYTES: i64 = 1 << 20;

/// Bytes of the largest pages of all columns of a row group together: a reader holds one of each.
const PAGES_BYTES: i64 = 1 << 30;

/// Elements in all lists of a row group, which a single row may hold all of.
const LIST_VALUES: i64 = 1 << 27;

/// Rows for each byte of a file; columns that say something need more than that.
const ROWS_PER_BYTE: i64 = 1000;

/// Bytes that the rows of a batch may repeat from dictionaries.
const BATCH_BYTES: i64 = 256 << 20;

/// A promise over one of the limits, or one that the file cannot keep.
#[derive(Debug, thiserror::Error)]
enum Promise {
    /// Of the file or its schema.
    #[error("{what}: expected at most {limit}, found {found}")]
    File { what: &'static str, limit: i64, found: i64 },
    /// Of a column in a row group, both from 0.
    #[error("row group {row_group}, column `{column}`: {what}: expected at most {limit}, found {found}")]
    Column { row_group: usize, column: String, what: &'static str, limit: i64, found: i64 },
    /// Pages that are packed in a way that is not read here.
    #[error("row group {row_group}, column `{column}`: compression: expected SNAPPY, ZSTD or none, found {found}")]
    Compression { row_group: usize, column: String, found: String },
}

/// A Parquet file whose footer is read and whose promises are within the limits.
pub struct Checked {
    /// Reads its rows.
    pub builder: ParquetRecordBatchReaderBuilder<File>,
    largest_dictionary: i64,
}

impl Checked {
    /// Rows to decode at once: as many as `wanted`, fewer where a dictionary has entries so large that these rows may
    /// fill the memory.
    pub fn batch_rows(&self, wanted: usize) -> usize {
        let rows = BATCH_BYTES / self.largest_dictionary.max(1);
        usize::try_from(rows).unwrap_or(wanted).clamp(1, wanted.max(1))
    }
}

/// Opens a Parquet file after a look at everything that says how much is in it.
///
/// # Errors
/// If it is no Parquet file, is cut short, or promises more than it can hold: with the row group and the column.
pub fn open(mut file: File) -> Result<Checked> {
    let n_bytes = signed(file.seek(SeekFrom::End(0))?);
    check_schema(&mut file, n_bytes)?;
    let builder = guard::catch(|| ParquetRecordBatchReaderBuilder::try_new(file.try_clone()?)).map_err(external)??;
    let largest_dictionary = check_rows(&file, n_bytes, builder.metadata())?;
    Ok(Checked { builder, largest_dictionary })
}

/// The nesting of the schema, from the footer's own bytes. What is no footer at all is left to the decoder to say.
fn check_schema(file: &mut File, n_bytes: i64) -> Result<()> {
    const TAIL: i64 = 8;
    const SCHEMA: i16 = 2;
    const N_CHILDREN: i16 = 5;
    let mut tail = [0; 8];
    if n_bytes < TAIL {
        return Ok(());
    }
    file.seek(SeekFrom::End(-TAIL))?;
    file.read_exact(&mut tail)?;
    let [a, b, c, d, magic @ ..] = tail;
    let n_footer = i64::from(u32::from_le_bytes([a, b, c, d]));
    if magic != *b"PAR1" || n_footer > n_bytes - TAIL {
        return Ok(());
    }
    file.seek(SeekFrom::End(-TAIL - n_footer))?;

    // Children that are still to come, of each group that is open.
    let mut open: Vec<i64> = Vec::new();
    let mut footer = Compact::new(BufReader::new(file.take(n_footer.unsigned_abs())));
    let result = footer.structure(|footer, field| {
        if field.id != SCHEMA {
            return footer.skip(field);
        }
        footer.list(field, |footer| {
            let mut n_children = 0;
            footer.structure(|footer, field| {
                if field.id == N_CHILDREN {
                    n_children = footer.integer(field)?;
                    Ok(())
                } else {
                    footer.skip(field)
                }
            })?;
            if let Some(left) = open.last_mut() {
                *left -= 1;
            }
            // Each child takes more than a byte of the footer.
            at_most("children of a column in the schema", n_footer.min(COLUMNS), n_children)
                .map_err(io::Error::other)?;
            if n_children > 0 {
                open.push(n_children);
            }
            while open.last() == Some(&0) {
                open.pop();
            }
            at_most("nesting of the schema", signed(SCHEMA_DEPTH as u64), signed(open.len() as u64))
                .map_err(io::Error::other)
        })
    });
    result.map_err(|error| match error.downcast::<Promise>() {
        Ok(promise) => external(promise),
        Err(error) => ParquetError::General(format!("the footer is damaged: {error}")),
    })
}

/// The rows and pages of all row groups; returns the size of the largest dictionary.
fn check_rows(file: &File, n_bytes: i64, metadata: &ParquetMetaData) -> Result<i64> {
    let rows_limit = n_bytes.saturating_mul(ROWS_PER_BYTE);
    at_most("rows", rows_limit, metadata.file_metadata().num_rows()).map_err(external)?;
    let mut largest_dictionary = 0;
    let mut n_rows = 0_i64;
    for (row_group, group) in metadata.row_groups().iter().enumerate() {
        n_rows = n_rows.saturating_add(group.num_rows().max(0));
        at_most("rows", rows_limit, n_rows).map_err(external)?;
        let (mut n_page_bytes, mut n_list_values) = (0_i64, 0_i64);
        for chunk in group.columns() {
            let place = |what, limit, found| Promise::Column {
                row_group,
                column: chunk.column_path().string(),
                what,
                limit,
                found,
            };
            if !matches!(chunk.compression(), Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::ZSTD(_)) {
                let (column, found) = (chunk.column_path().string(), chunk.compression().to_string());
                return Err(external(Promise::Compression { row_group, column, found }));
            }
            let check = |what, limit, found| if found > limit { Err(place(what, limit, found)) } else { Ok(()) };
            let pages = pages(file, n_bytes, group, chunk, &check)?;
            n_page_bytes = n_page_bytes.saturating_add(pages.largest).saturating_add(pages.dictionary);
            check("bytes of pages held at once", PAGES_BYTES, n_page_bytes).map_err(external)?;
            if chunk.column_descr().max_rep_level() > 0 {
                n_list_values = n_list_values.saturating_add(pages.n_values);
                check("elements of lists", LIST_VALUES, n_list_values).map_err(external)?;
            }
            largest_dictionary = largest_dictionary.max(pages.dictionary);
            if pages.has_lengths {
                guard::catch(|| delta::check(file, group, chunk, &check)).map_err(external)??;
            }
        }
    }
    Ok(largest_dictionary)
}

/// What the page headers of a column say.
#[derive(Default)]
struct Pages {
    /// Bytes of the largest data page.
    largest: i64,
    /// Bytes of the dictionary.
    dictionary: i64,
    /// Values in all pages.
    n_values: i64,
    /// Whether a page has texts with delta-encoded lengths.
    has_lengths: bool,
}

type Check<'a> = &'a dyn Fn(&'static str, i64, i64) -> std::result::Result<(), Promise>;

fn pages(
    file: &File,
    n_bytes: i64,
    group: &RowGroupMetaData,
    chunk: &ColumnChunkMetaData,
    check: Check<'_>,
) -> Result<Pages> {
    let start = chunk.dictionary_page_offset().filter(|&offset| offset > 0).unwrap_or(chunk.data_page_offset());
    let mut n_left = chunk.compressed_size();
    check("end of its pages", n_bytes, start.max(0).saturating_add(n_left)).map_err(external)?;
    let start = u64::try_from(start).map_err(external)?;
    check("width of a value", VALUE_BYTES, chunk.column_descr().type_length().into()).map_err(external)?;
    let mut file = BufReader::with_capacity(1 << 12, file);
    file.seek(SeekFrom::Start(start))?;
    let mut pages = Pages::default();
    while n_left > 0 && pages.n_values < chunk.num_values() {
        let n_before = n_left.unsigned_abs();
        let mut header = (&mut file).take(n_before);
        let page = PageHeader::read(&mut header)
            .map_err(|error| ParquetError::General(format!("a page header is damaged: {error}")))?;
        n_left = signed(header.limit());
        check("compressed bytes of a page", n_left, page.compressed).map_err(external)?;
        if page.is_dictionary {
            check("bytes of a dictionary", DICTIONARY_BYTES, page.uncompressed).map_err(external)?;
            // Only a value of a fixed length 0 takes no byte, and no writer makes a dictionary of those.
            check("values of a dictionary", page.uncompressed, page.n_values).map_err(external)?;
            pages.dictionary = pages.dictionary.max(page.uncompressed);
        } else {
            check("bytes of a page", PAGE_BYTES, page.uncompressed).map_err(external)?;
            if chunk.column_descr().max_rep_level() == 0 {
                check("values of a page", group.num_rows(), page.n_values).map_err(external)?;
            }
            pages.largest = pages.largest.max(page.uncompressed);
            pages.n_values = pages.n_values.saturating_add(page.n_values);
            pages.has_lengths |= matches!(page.encoding, delta::DELTA_LENGTH_BYTE_ARRAY | delta::DELTA_BYTE_ARRAY);
        }
        file.seek_relative(page.compressed)?;
        n_left -= page.compressed;
    }
    Ok(pages)
}

/// The head of a page, as far as it says how much is in it; negative numbers are left to the decoder.
#[derive(Debug, Default, PartialEq, Eq)]
struct PageHeader {
    is_dictionary: bool,
    uncompressed: i64,
    compressed: i64,
    n_values: i64,
    encoding: i64,
}

impl PageHeader {
    fn read(input: impl Read) -> io::Result<Self> {
        const DATA: i16 = 5;
        const DICTIONARY: i16 = 7;
        const DATA_V2: i16 = 8;
        let mut page = Self::default();
        Compact::new(input).structure(|header, field| {
            match field.id {
                2 => page.uncompressed = header.integer(field)?.max(0),
                3 => page.compressed = header.integer(field)?.max(0),
                DATA | DICTIONARY | DATA_V2 => {
                    page.is_dictionary |= field.id == DICTIONARY;
                    let encoding = if field.id == DATA_V2 { 4 } else { 2 };
                    header.structure(|header, field| {
                        match field.id {
                            1 => page.n_values = header.integer(field)?.max(0),
                            id if id == encoding => page.encoding = header.integer(field)?,
                            _ => header.skip(field)?,
                        }
                        Ok(())
                    })?;
                }
                _ => header.skip(field)?,
            }
            Ok(())
        })?;
        Ok(page)
    }
}

fn at_most(what: &'static str, limit: i64, found: i64) -> std::result::Result<(), Promise> {
    if found > limit { Err(Promise::File { what, limit, found }) } else { Ok(()) }
}

fn external(error: impl std::error::Error + Send + Sync + 'static) -> ParquetError {
    ParquetError::External(Box::new(error))
}

fn signed(n_bytes: u64) -> i64 {
    i64::try_from(n_bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
