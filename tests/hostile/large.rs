//! Input that is only hostile by its size: made here, since no repository should hold it.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{MEGABYTES, check_refusal, pairs, refused, refused_data, with_model};
use crate::support::Case;

/// Writes a file in pieces.
fn write(path: &Path, pieces: impl IntoIterator<Item = Vec<u8>>) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    for piece in pieces {
        file.write_all(&piece).unwrap();
    }
    file.flush().unwrap();
}

/// A sound row, a text of so many megabytes as a row, a sound row.
fn with_long_row(megabytes: usize) -> impl Iterator<Item = Vec<u8>> {
    let start = pairs(1) + "{\"prompt\": \"";
    let end = "\", \"chosen\": \"a\", \"rejected\": \"b\"}\n".to_owned() + &pairs(1);
    let middle = std::iter::repeat_n(vec![b'x'; 1 << 20], megabytes);
    [start.into_bytes()].into_iter().chain(middle).chain([end.into_bytes()])
}

#[test]
fn a_line_of_a_hundred_megabytes_is_a_reject_with_its_place() {
    let case = Case::new();
    let model = with_model(&case);
    write(&case.path().join("pairs.jsonl"), with_long_row(100));
    refused(&case, &model, 1, &["1 of 3 rows rejected", "row 1 (line 2): the row is longer than 16777216 bytes"]);
    check_refusal(&case.run_within(MEGABYTES, ["sql", "pairs.jsonl", "-c", "SELECT 1"]), 1, &["pairs.jsonl"]);
}

#[test]
fn a_bomb_is_cut_off_at_the_limit_of_a_row() {
    const TIMES: usize = 24;
    let case = Case::new();
    let model = with_model(&case);
    // Members and frames may follow each other: one is made, and repeated.
    let member = vec![b'x'; 16 << 20];
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&member).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(&member[..], 1).unwrap();
    for (name, frame) in [("bomb.jsonl.gz", gzip), ("bomb.jsonl.zst", zstd)] {
        write(&case.path().join(name), std::iter::repeat_n(frame, TIMES));
        let want = "no row of the first 1 of `bomb.jsonl";
        refused_data(&case, &model, name, 1, &[want, "the row is longer than 16777216 bytes"]);
    }
}

#[test]
fn nesting_of_a_hundred_thousand_is_a_reject_with_its_place() {
    let deep = format!("{{\"prompt\": {}\n", "[".repeat(100_000));
    let case = Case::new().file("pairs.jsonl", &format!("{}{deep}{}", pairs(1), pairs(1)));
    let model = with_model(&case);
    refused(&case, &model, 1, &["1 of 3 rows rejected", "row 1 (line 2): nested too deeply"]);
}

/// A column of its own in every row would be a table of as many columns as rows.
#[test]
fn columns_that_never_end_are_rejects() {
    let row = |i| format!("{{\"prompt\": \"Question {i}?\", \"chosen\": \"a\", \"rejected\": \"b\", \"c{i}\": {i}}}\n");
    let case = Case::new().file("pairs.jsonl", &(0..5000).map(row).collect::<String>());
    let model = with_model(&case);
    let place = "row 4096 (line 4097): column `c4096` is new: the rows before have 4096 others";
    refused(&case, &model, 1, &["904 of 5000 rows rejected", place]);
}

#[test]
fn settings_of_any_length_are_not_read_to_their_end() {
    let case = Case::new().file("pairs.jsonl", &pairs(1));
    let model = with_model(&case);
    for (name, megabytes) in [("tokenizer_config.json", 17), ("chat_template.jinja", 17), ("tokenizer.json", 130)] {
        let path = Path::new(&model).join(name);
        let before = fs::read(&path).unwrap();
        write(&path, std::iter::repeat_n(vec![b' '; 1 << 20], megabytes));
        refused(&case, &model, 1, &[name, "is too large: expected at most"]);
        fs::write(&path, before).unwrap();
    }
    write(&case.path().join("p.toml"), [vec![b'#'; 2 << 20]]);
    check_refusal(&case.run(["precompute", "p.toml"]), 2, &["`p.toml` is too large: expected at most 1048576 bytes"]);
    check_refusal(&case.run(["precompute", "/dev/zero"]), 2, &["`/dev/zero` is a device: expected a file"]);
}
