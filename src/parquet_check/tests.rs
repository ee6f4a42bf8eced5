//! Footers and page headers written by hand, since no writer makes wrong ones.

use std::io::Write as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, RecordBatch, StringArray};
use arrow::datatypes::Int32Type;
use parquet::arrow::ArrowWriter;
use parquet::basic::Encoding;
use parquet::file::properties::{WriterProperties, WriterVersion};

use super::*;

/// A file with a flat and a list column, two row groups, without compression.
fn sound() -> Vec<u8> {
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..40).map(|i| format!("text {}", i % 4))));
    let lists = (0..40).map(|i| Some((0..i % 5).map(Some).collect::<Vec<_>>()));
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists));
    let batch = RecordBatch::try_from_iter([("text", texts), ("list", lists)]).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(25)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn open_bytes(bytes: &[u8]) -> Result<Checked> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    open(file)
}

#[track_caller]
fn refused(bytes: &[u8], want: &str) {
    let error = open_bytes(bytes).err().expect("a promise over the limit was believed");
    let mut said = error.to_string();
    let mut next = std::error::Error::source(&error);
    while let Some(source) = next {
        said = format!("{said}: {source}");
        next = source.source();
    }
    assert!(said.contains(want), "{said}");
}

/// A number in the compact protocol.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f).to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
    bytes
}

fn zigzagged(value: i64) -> Vec<u8> {
    varint(((value << 1) ^ (value >> 63)).cast_unsigned())
}

/// A footer with a schema of these numbers of children, and nothing else.
fn schema(n_children: &[i64]) -> Vec<u8> {
    let mut footer = vec![0x15, 2, 0x19, 0xfc];
    footer.extend(varint(n_children.len() as u64));
    for &n_children in n_children {
        // repetition_type (3), name (4), num_children (5)
        footer.extend([0x35, 2, 0x18, 1, b'a']);
        if n_children != 0 {
            footer.push(0x15);
            footer.extend(zigzagged(n_children));
        }
        footer.push(0);
    }
    footer.push(0);
    let length = u32::try_from(footer.len()).unwrap().to_le_bytes();
    [b"PAR1", &footer[..], &length, b"PAR1"].concat()
}

#[test]
fn a_sound_file_is_opened_and_read() {
    let checked = open_bytes(&sound()).unwrap();
    assert_eq!(checked.batch_rows(128), 128);
    assert!(checked.largest_dictionary > 0);
    let rows: usize = checked.builder.build().unwrap().map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(rows, 40);
}

#[test]
fn few_rows_at_once_where_a_dictionary_is_large() {
    let mut checked = open_bytes(&sound()).unwrap();
    checked.largest_dictionary = 32 << 20;
    assert_eq!(checked.batch_rows(2048), 8);
    checked.largest_dictionary = i64::MAX;
    assert_eq!(checked.batch_rows(2048), 1);
}

#[test]
fn a_schema_too_deep_or_too_wide_is_refused_before_the_decoder_sees_it() {
    refused(&schema(&vec![1; 100_000]), "nesting of the schema: expected at most 64, found 65");
    let wide: Vec<i64> = [200_000].into_iter().chain(std::iter::repeat_n(0, 200_000)).collect();
    refused(&schema(&wide), "children of a column in the schema: expected at most 4096, found 200000");
    refused(&schema(&[i64::from(i32::MAX)]), "children of a column in the schema: expected at most");
}

/// The first header of `sound()` with `id` set to `value`: the page headers of the parquet crate begin with the fields
/// 1, 2 and 3 in this order.
fn with_first_page(change: impl Fn(&mut PageHeader)) -> Vec<u8> {
    let bytes = sound();
    let metadata = open_bytes(&bytes).unwrap().builder.metadata().clone();
    let chunk = metadata.row_group(0).column(0);
    let start = usize::try_from(chunk.dictionary_page_offset().unwrap()).unwrap();
    let mut rest = &bytes[start..];
    let mut page = PageHeader::read(&mut rest).unwrap();
    assert!(page.is_dictionary);
    let old_length = bytes.len() - start - rest.len();
    change(&mut page);
    let mut header = vec![0x15, 4, 0x15];
    header.extend(zigzagged(page.uncompressed));
    header.push(0x15);
    header.extend(zigzagged(page.compressed));
    header.extend([0x4c, 0x15]);
    header.extend(zigzagged(page.n_values));
    header.extend([0x15, 0, 0, 0]);
    assert!(header.len() <= old_length + 8);
    // In the place of the magic and the old header, so that what follows stays where it is.
    let mut damaged = bytes;
    let at = start + old_length - header.len();
    damaged[at..start + old_length].copy_from_slice(&header);
    if at != start {
        // The offset in the footer cannot be moved as easily: let the header begin where it did.
        damaged[start..start + header.len()].copy_from_slice(&header);
    }
    damaged
}

#[test]
fn a_page_that_promises_too_much_is_named_with_its_place() {
    let place = "row group 0, column `text`: ";
    let page = with_first_page(|page| page.uncompressed = i64::from(i32::MAX));
    refused(&page, &format!("{place}bytes of a dictionary: expected at most 33554432, found 2147483647"));
    let page = with_first_page(|page| page.compressed = i64::from(i32::MAX));
    refused(&page, &format!("{place}compressed bytes of a page: expected at most"));
    let page = with_first_page(|page| page.n_values = i64::from(i32::MAX));
    refused(&page, &format!("{place}values of a dictionary: expected at most"));
}

/// A file of one column of texts in this encoding, which may be null.
fn delta(encoding: Encoding, version: WriterVersion) -> Vec<u8> {
    let texts = (0..1000).map(|i| (i % 7 > 0).then(|| format!("text {i}")));
    let batch = RecordBatch::try_from_iter([("text", Arc::new(texts.collect::<StringArray>()) as ArrayRef)]).unwrap();
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_writer_version(version)
        .set_column_encoding("text".into(), encoding)
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn counts_of_delta_encoded_texts_are_checked() {
    for encoding in [Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::DELTA_BYTE_ARRAY] {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            let bytes = delta(encoding, version);
            open_bytes(&bytes).unwrap();
            // 128 values a block, four miniblocks in it, 857 values: the head of the lengths.
            let head = [0x80, 0x01, 0x04, 0xd9, 0x06];
            let heads: Vec<usize> = (0..bytes.len() - 5).filter(|at| bytes[*at..*at + 5] == head).collect();
            assert_eq!(heads.len(), if encoding == Encoding::DELTA_BYTE_ARRAY { 2 } else { 1 });
            for at in heads {
                let mut damaged = bytes.clone();
                damaged[at + 4] = 0x7f;
                refused(&damaged, "row group 0, column `text`: lengths in a page: expected at most 1000, found 16345");
            }
        }
    }
}

#[test]
fn no_wrong_byte_and_no_cut_is_a_panic() {
    let bytes = sound();
    for at in 0..bytes.len() {
        let _ = open_bytes(&bytes[..at]);
        for flip in [0x01, 0x55, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            if let Ok(checked) = open_bytes(&damaged) {
                let read = || checked.builder.build().map(|batches| batches.map_while(std::result::Result::ok).count());
                let _ = guard::catch(read);
            }
        }
    }
}
