//! The counts in pages of delta-encoded texts: the decoders make room for as many lengths as the page says it has.

use std::fs::File;
use std::sync::Arc;

use parquet::basic::Encoding;
use parquet::column::page::{Page, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::serialized_reader::SerializedPageReader;

use super::Check;

/// Codes of the two encodings in a page header.
pub(super) const DELTA_LENGTH_BYTE_ARRAY: i64 = 6;
pub(super) const DELTA_BYTE_ARRAY: i64 = 7;

/// Decompresses the pages of a column and holds their counts of lengths against the values they promise. The sizes of
/// the pages are within the limits already.
pub(super) fn check(
    file: &File,
    group: &RowGroupMetaData,
    chunk: &ColumnChunkMetaData,
    check: Check<'_>,
) -> Result<()> {
    let n_rows = usize::try_from(group.num_rows()).map_err(super::external)?;
    let levels = [chunk.column_descr().max_rep_level(), chunk.column_descr().max_def_level()];
    let mut pages = SerializedPageReader::new(Arc::new(file.try_clone()?), chunk, n_rows, None)?;
    while let Some(page) = pages.get_next_page()? {
        let (encoding, n_values) = (page.encoding(), i64::from(page.num_values()));
        let n_blocks = match encoding {
            Encoding::DELTA_LENGTH_BYTE_ARRAY => 1,
            Encoding::DELTA_BYTE_ARRAY => 2,
            _ => continue,
        };
        let mut values = values(&page, levels).ok_or_else(damaged)?;
        for _ in 0..n_blocks {
            let block = Block::read(&mut values).ok_or_else(damaged)?;
            let n_lengths = i64::try_from(block.n_values).unwrap_or(i64::MAX);
            check("lengths in a page", n_values, n_lengths).map_err(super::external)?;
            values = block.skip(values).ok_or_else(damaged)?;
        }
    }
    Ok(())
}

/// The bytes of a data page after its levels.
fn values(page: &Page, levels: [i16; 2]) -> Option<&[u8]> {
    match page {
        Page::DataPage { buf, .. } => levels.iter().filter(|level| **level > 0).try_fold(&buf[..], |rest, _| {
            let (length, rest) = rest.split_first_chunk::<4>()?;
            rest.get(usize::try_from(u32::from_le_bytes(*length)).ok()?..)
        }),
        Page::DataPageV2 { buf, def_levels_byte_len, rep_levels_byte_len, .. } => {
            buf.get(usize::try_from(def_levels_byte_len.checked_add(*rep_levels_byte_len)?).ok()?..)
        }
        Page::DictionaryPage { .. } => None,
    }
}

/// The head of a run of delta-encoded numbers.
struct Block {
    /// Values in a miniblock.
    mini_size: u64,
    n_minis: u64,
    n_values: u64,
}

impl Block {
    fn read(input: &mut &[u8]) -> Option<Self> {
        let (size, n_minis, n_values) = (varint(input)?, varint(input)?, varint(input)?);
        varint(input)?; // the first value
        let mini_size = size.checked_div(n_minis)?;
        (mini_size > 0).then_some(Self { mini_size, n_minis, n_values })
    }

    /// What follows the numbers.
    fn skip<'a>(&self, mut input: &'a [u8]) -> Option<&'a [u8]> {
        let mut n_left = self.n_values.saturating_sub(1);
        while n_left > 0 {
            varint(&mut input)?; // the least of the deltas
            let widths;
            (widths, input) = input.split_at_checked(usize::try_from(self.n_minis).ok()?)?;
            for &width in widths {
                if n_left == 0 {
                    break;
                }
                let n_bytes = self.mini_size.checked_mul(width.into())?.div_ceil(8);
                input = input.get(usize::try_from(n_bytes).ok()?..)?;
                n_left = n_left.saturating_sub(self.mini_size);
            }
        }
        Some(input)
    }
}

fn varint(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = input.split_first()?;
        *input = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn damaged() -> ParquetError {
    ParquetError::General("a page of delta-encoded texts is damaged".into())
}
