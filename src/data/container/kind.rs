//! What a file is, told by its first bytes; its name tells what they leave open.

use std::path::Path;

/// What a file begins with that no reader here takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Foreign {
    /// What it is.
    pub(super) found: &'static str,
    /// What to do about it.
    pub(super) hint: &'static str,
}

/// The first bytes of files that are often taken for data.
const FOREIGN: &[(&[u8], &str, &str)] = &[
    (
        b"version https://git-lfs",
        "a pointer of Git LFS, not the file it stands for",
        "`git lfs pull` fetches the files",
    ),
    (b"BZh", "compressed with bzip2", "unpack it first: `bunzip2 -k FILE`"),
    (b"\xfd7zXZ\0", "compressed with xz", "unpack it first: `unxz -k FILE`"),
    (b"\x04\x22\x4d\x18", "compressed with lz4", "unpack it first: `lz4 -d FILE`"),
    (b"PK\x03\x04", "a zip archive", "unpack it first: `unzip FILE`"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first: `7z x FILE`"),
    (b"\xff\xfe\0\0", "UTF-32 text", "write it as UTF-8: `iconv -f UTF-32 -t UTF-8 FILE > NEW_FILE`"),
    (b"\xff\xfe", "UTF-16 text", "write it as UTF-8: `iconv -f UTF-16 -t UTF-8 FILE > NEW_FILE`"),
    (b"\xfe\xff", "UTF-16 text", "write it as UTF-8: `iconv -f UTF-16 -t UTF-8 FILE > NEW_FILE`"),
    (b"<!DOCTYPE", "a web page", "fetch the file itself, not the page about it"),
    (b"<!doctype", "a web page", "fetch the file itself, not the page about it"),
    (b"<html", "a web page", "fetch the file itself, not the page about it"),
    (b"SQLite format 3\0", "an SQLite database", "write its table as JSON lines or CSV"),
    (b"FEA1", "Feather of version 1", "write it anew with `pyarrow.feather.write_feather`, as version 2"),
    (b"Obj\x01", "Avro", "write it as Parquet or JSON lines"),
    (b"ORC", "ORC", "write it as Parquet or JSON lines"),
];

/// What the first bytes of a file say it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Parquet,
    Arrow,
    /// Text, or nothing: perhaps compressed.
    Text,
    Foreign(Foreign),
}

impl Content {
    /// Of a file with these first bytes.
    pub(super) fn of(head: &[u8]) -> Self {
        let foreign = FOREIGN.iter().find(|(magic, ..)| head.starts_with(magic));
        match (head, foreign) {
            (_, Some(&(_, found, hint))) => Self::Foreign(Foreign { found, hint }),
            ([b'P', b'A', b'R', b'1', ..], _) => Self::Parquet,
            ([b'A', b'R', b'R', b'O', b'W', b'1', ..] | [0xff, 0xff, 0xff, 0xff, ..], _) => Self::Arrow,
            // Text without a mark at its start.
            ([b'{' | b'[' | b' ', 0, ..] | [0, b'{' | b'[' | b' ', ..], _) => Self::Foreign(Foreign {
                found: "UTF-16 text",
                hint: "write it as UTF-8: `iconv -f UTF-16LE -t UTF-8 FILE > NEW_FILE`, or `-f UTF-16BE`",
            }),
            _ => Self::Text,
        }
    }
}

/// How a text file writes its rows, by the end of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extension {
    /// JSON, of whatever shape.
    Json,
    /// Separated values, and the separator that the name states.
    Delimited(Option<u8>),
    Parquet,
    Arrow,
}

impl Extension {
    pub(super) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let plain = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
        let is_compressed = plain.len() < name.len();
        match plain.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
            "jsonl" | "ndjson" | "json" => Some(Self::Json),
            "csv" => Some(Self::Delimited(None)),
            "tsv" => Some(Self::Delimited(Some(b'\t'))),
            "parquet" if !is_compressed => Some(Self::Parquet),
            "arrow" if !is_compressed => Some(Self::Arrow),
            _ => None,
        }
    }
}

/// How a file of JSON has its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JsonShape {
    /// One object a line, and the byte that ends a line.
    Lines(u8),
    /// One list of objects.
    List,
    /// Objects one after another, over several lines each.
    Objects,
}

impl JsonShape {
    /// Of a file that begins with `head`.
    pub(super) fn of(head: &[u8]) -> Self {
        if head.trim_ascii_start().starts_with(b"[") {
            return Self::List;
        }
        let end = if head.contains(&b'\n') { b'\n' } else { b'\r' };
        let mut lines = head.split(|byte| *byte == end).filter(|line| !line.trim_ascii().is_empty());
        let (first, second) = (lines.next().unwrap_or_default(), lines.next());
        match second {
            // Old Macs end lines so, and so do some editors.
            Some(_) if end == b'\r' && open_brackets(first) == Some(0) => Self::Lines(b'\r'),
            Some(second)
                if open_brackets(first).is_some_and(|open| open > 0)
                    && !second.trim_ascii_start().starts_with(b"{") =>
            {
                Self::Objects
            }
            _ if end == b'\r' && head.trim_ascii_end().len() < head.len() && head.ends_with(b"\r") => {
                Self::Lines(b'\r')
            }
            _ => Self::Lines(b'\n'),
        }
    }
}

/// Brackets that a line opens and does not close; none where it ends within a string.
fn open_brackets(line: &[u8]) -> Option<usize> {
    let (mut open, mut in_string, mut is_escaped) = (0_usize, false, false);
    for byte in line {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => open += 1,
            b'}' | b']' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    (!in_string).then_some(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_by_its_first_lines() {
        for (head, want) in [
            ("{\"a\": 1}\n{\"a\": 2}\n", JsonShape::Lines(b'\n')),
            ("{\"a\": 1}\r\n{\"a\": 2}\r\n", JsonShape::Lines(b'\n')),
            ("{\"a\": 1}\r{\"a\": 2}\r", JsonShape::Lines(b'\r')),
            ("{\"a\": 1}\r", JsonShape::Lines(b'\r')),
            (" \n [ {\"a\": 1}", JsonShape::List),
            ("{\n  \"a\": 1\n}\n{\n", JsonShape::Objects),
            ("{\r  \"a\": 1\r}\r{\r", JsonShape::Objects),
            ("{\"a\": [\n 1]\n}", JsonShape::Objects),
            // A first line cut short is one bad row, not the beginning of all others.
            ("{\"a\": 1,\n{\"a\": 2}\n", JsonShape::Lines(b'\n')),
            ("{\"a\": \"b\n\"c\"}\n", JsonShape::Lines(b'\n')),
            ("{\"a\": 1", JsonShape::Lines(b'\n')),
            ("", JsonShape::Lines(b'\n')),
        ] {
            assert_eq!(JsonShape::of(head.as_bytes()), want, "{head:?}");
        }
    }

    #[test]
    fn first_bytes_tell_what_a_file_is() {
        let found = |head: &[u8]| match Content::of(head) {
            Content::Foreign(foreign) => foreign.found,
            Content::Parquet => "parquet",
            Content::Arrow => "arrow",
            Content::Text => "text",
        };
        for (head, want) in [
            (&b"PAR1"[..], "parquet"),
            (b"ARROW1\0\0", "arrow"),
            (b"\xff\xff\xff\xff\x08\0\0\0", "arrow"),
            (b"{\"a\"", "text"),
            (b"", "text"),
            (b"\xff\xfe{\0", "UTF-16 text"),
            (b"{\0\"\0", "UTF-16 text"),
            (b"\0{\0\"", "UTF-16 text"),
            (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS, not the file it stands for"),
            (b"BZh91AY", "compressed with bzip2"),
        ] {
            assert_eq!(found(head), want, "{head:?}");
        }
    }
}
