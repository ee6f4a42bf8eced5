//! The header of a GGUF file, walked once before it is parsed: every length against what is left of the file, every
//! tensor against its data, nothing named twice.
//!
//! candle checks most lengths too, but not the place of a tensor, a product of dimensions or an alignment of 0, and it
//! keeps 32 bytes for each element of an array, also of bytes.

use std::collections::HashMap;
use std::ops::Range;

use candle_core::quantized::GgmlDType;

/// Elements of all arrays together: sixty times the vocabulary and merges of the largest model.
const MAX_ELEMENTS: u64 = 1 << 25;

/// Bytes of all keys and texts together.
const MAX_TEXT_BYTES: u64 = 1 << 28;

/// Arrays in arrays; no key of the format has one.
const MAX_DEPTH: usize = 4;

const MAX_DIMENSIONS: u32 = 4;

/// Number types of tensors: those candle dequantises.
const DTYPES: [GgmlDType; 15] = [
    GgmlDType::F32,
    GgmlDType::F16,
    GgmlDType::BF16,
    GgmlDType::Q4_0,
    GgmlDType::Q4_1,
    GgmlDType::Q5_0,
    GgmlDType::Q5_1,
    GgmlDType::Q8_0,
    GgmlDType::Q8_1,
    GgmlDType::Q2K,
    GgmlDType::Q3K,
    GgmlDType::Q4K,
    GgmlDType::Q5K,
    GgmlDType::Q6K,
    GgmlDType::Q8K,
];

/// The code of a number type in the format.
pub(crate) fn code(dtype: GgmlDType) -> u32 {
    match dtype {
        GgmlDType::F32 => 0,
        GgmlDType::F16 => 1,
        GgmlDType::Q4_0 => 2,
        GgmlDType::Q4_1 => 3,
        GgmlDType::Q5_0 => 6,
        GgmlDType::Q5_1 => 7,
        GgmlDType::Q8_0 => 8,
        GgmlDType::Q8_1 => 9,
        GgmlDType::Q2K => 10,
        GgmlDType::Q3K => 11,
        GgmlDType::Q4K => 12,
        GgmlDType::Q5K => 13,
        GgmlDType::Q6K => 14,
        GgmlDType::Q8K => 15,
        GgmlDType::BF16 => 30,
    }
}

/// Where the parts of a header are, for whoever copies them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Version of the format; the first one has lengths of 32 bits, the others of 64.
    pub version: u32,
    /// Every tensor begins at a multiple of so many bytes from the first.
    pub alignment: u64,
    /// The entries of the metadata in the order of the file, each with the bytes it takes, its key included.
    pub entries: Vec<Entry>,
}

/// Key and bytes of an entry of the metadata.
pub type Entry = (String, Range<usize>);

/// What is wrong, and at which byte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part}, byte {offset}: {problem}")]
pub struct HeaderError {
    /// The entry that was being read: `header`, ``metadata entry 3 of 24, `general.name` ``, ….
    part: String,
    offset: usize,
    problem: String,
}

/// Walks the header of a file.
pub(super) fn check(bytes: &[u8]) -> Result<Header, HeaderError> {
    let mut walk = Walk { bytes, at: 0, part: "header".into(), is_v1: false, n_elements: 0, n_text_bytes: 0 };
    if walk.take(4)? != b"GGUF" {
        return Err(walk.wrong("expected `GGUF` as its first four bytes"));
    }
    let version = walk.u32()?;
    match version {
        1 => walk.is_v1 = true,
        2 | 3 => {}
        version => return Err(walk.wrong(format!("expected version 1, 2 or 3, found {version}"))),
    }
    let (n_tensors, n_entries) = (walk.length()?, walk.length()?);
    let (alignment, entries) = walk.metadata(n_entries)?;
    let tensors = walk.tensors(n_tensors)?;
    walk.places(tensors, alignment)?;
    Ok(Header { version, alignment, entries })
}

/// Name, offset and length in bytes of a tensor.
type Place = (u64, u64, String);

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    part: String,
    is_v1: bool,
    n_elements: u64,
    n_text_bytes: u64,
}

impl<'a> Walk<'a> {
    /// Returns the alignment of tensors, and where each entry is.
    fn metadata(&mut self, n_entries: u64) -> Result<(u64, Vec<Entry>), HeaderError> {
        const DEFAULT_ALIGNMENT: u64 = 32;
        const U32: u32 = 4;
        let mut alignment = DEFAULT_ALIGNMENT;
        let mut seen = HashMap::new();
        let mut entries = Vec::new();
        for entry in 1..=n_entries {
            self.part = format!("metadata entry {entry} of {n_entries}");
            let start = self.at;
            let key = self.text()?;
            let name = self.name(key)?;
            self.part = format!("{}, `{}`", self.part, shown(name));
            if let Some(first) = seen.insert(name, entry) {
                return Err(self.wrong(format!("the key of entry {first} once more")));
            }
            let kind = self.u32()?;
            if name == "general.alignment" {
                if kind != U32 {
                    return Err(self.wrong(format!("expected a number of type {U32} (u32), found type {kind}")));
                }
                alignment = self.u32()?.into();
                if !alignment.is_power_of_two() {
                    return Err(self.wrong(format!("expected a power of two, found {alignment}")));
                }
            } else {
                self.value(kind, 0)?;
            }
            entries.push((name.to_owned(), start..self.at));
        }
        Ok((alignment, entries))
    }

    fn tensors(&mut self, n_tensors: u64) -> Result<Vec<Place>, HeaderError> {
        let mut places = Vec::new();
        let mut seen = HashMap::new();
        for tensor in 1..=n_tensors {
            self.part = format!("tensor {tensor} of {n_tensors}");
            let key = self.text()?;
            let name = self.name(key)?;
            self.part = format!("{}, `{}`", self.part, shown(name));
            if let Some(first) = seen.insert(name, tensor) {
                return Err(self.wrong(format!("the name of tensor {first} once more")));
            }
            let n_dimensions = self.u32()?;
            if n_dimensions > MAX_DIMENSIONS {
                return Err(self.wrong(format!("expected at most {MAX_DIMENSIONS} dimensions, found {n_dimensions}")));
            }
            let mut n_numbers = 1_u64;
            for _ in 0..n_dimensions {
                let dimension = self.length()?;
                n_numbers = n_numbers
                    .checked_mul(dimension)
                    .ok_or_else(|| self.wrong("expected fewer than 2^64 numbers, found more"))?;
            }
            // candle makes a slice of numbers out of no bytes at all, which may lie at any address.
            if n_numbers == 0 {
                return Err(self.wrong("expected dimensions of at least 1, found 0"));
            }
            let kind = self.u32()?;
            let dtype = DTYPES.into_iter().find(|dtype| code(*dtype) == kind);
            let dtype = dtype.ok_or_else(|| self.wrong(format!("unknown number type {kind}")))?;
            let block = dtype.block_size() as u64;
            if !n_numbers.is_multiple_of(block) {
                return Err(self.wrong(format!("expected a multiple of {block} numbers, found {n_numbers}")));
            }
            let n_bytes = (n_numbers / block).checked_mul(dtype.type_size() as u64);
            let n_bytes = n_bytes.ok_or_else(|| self.wrong("expected fewer than 2^64 bytes, found more"))?;
            places.push((self.u64()?, n_bytes, name.to_owned()));
        }
        Ok(places)
    }

    /// Every tensor is within the file, and no two share a byte.
    fn places(&mut self, mut places: Vec<Place>, alignment: u64) -> Result<(), HeaderError> {
        let start = (self.at as u64).next_multiple_of(alignment);
        let n_bytes = (self.bytes.len() as u64).saturating_sub(start);
        places.sort_unstable();
        let mut before: (u64, &str) = (0, "");
        for (offset, length, name) in &places {
            self.part = format!("tensor `{}`", shown(name));
            let end = offset.checked_add(*length).filter(|end| *end <= n_bytes);
            let Some(end) = end else {
                return Err(self.wrong(format!(
                    "expected its {length} bytes from {offset} on within the {n_bytes} bytes of tensor data"
                )));
            };
            if *offset < before.0 {
                let problem =
                    format!("begins at {offset}, within tensor `{}`, which ends at {}", shown(before.1), before.0);
                return Err(self.wrong(problem));
            }
            before = (end, name);
        }
        Ok(())
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<(), HeaderError> {
        const TEXT: u32 = 8;
        const ARRAY: u32 = 9;
        match kind {
            TEXT => self.text().map(drop),
            ARRAY if depth == MAX_DEPTH => Err(self.wrong(format!("arrays nested more than {MAX_DEPTH} deep"))),
            ARRAY => {
                let (kind, n_elements) = (self.u32()?, self.length()?);
                self.n_elements = self.n_elements.saturating_add(n_elements);
                if self.n_elements > MAX_ELEMENTS {
                    return Err(self.wrong(format!(
                        "expected at most {MAX_ELEMENTS} elements in all arrays, found {}",
                        self.n_elements
                    )));
                }
                (0..n_elements).try_for_each(|_| self.value(kind, depth + 1))
            }
            0 | 1 | 7 => self.take(1).map(drop),
            2 | 3 => self.take(2).map(drop),
            4..=6 => self.take(4).map(drop),
            10..=12 => self.take(8).map(drop),
            _ => Err(self.wrong(format!("unknown value type {kind}"))),
        }
    }

    fn text(&mut self) -> Result<&'a [u8], HeaderError> {
        let n_bytes = self.length()?;
        self.n_text_bytes = self.n_text_bytes.saturating_add(n_bytes);
        if self.n_text_bytes > MAX_TEXT_BYTES {
            return Err(self.wrong(format!("expected at most {MAX_TEXT_BYTES} bytes of text, found more")));
        }
        self.take(n_bytes)
    }

    fn name(&self, bytes: &'a [u8]) -> Result<&'a str, HeaderError> {
        std::str::from_utf8(bytes).map_err(|_| self.wrong("its name is not UTF-8"))
    }

    fn length(&mut self) -> Result<u64, HeaderError> {
        if self.is_v1 { self.u32().map(u64::from) } else { self.u64() }
    }

    fn u32(&mut self) -> Result<u32, HeaderError> {
        let bytes = self.take(4)?;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    fn u64(&mut self) -> Result<u64, HeaderError> {
        let bytes = self.take(8)?;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn take(&mut self, n_bytes: u64) -> Result<&'a [u8], HeaderError> {
        let rest = &self.bytes[self.at..];
        match usize::try_from(n_bytes).ok().and_then(|n_bytes| rest.get(..n_bytes)) {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => Err(self.wrong(format!("expected {n_bytes} more bytes, found {}", rest.len()))),
        }
    }

    fn wrong(&self, problem: impl Into<String>) -> HeaderError {
        HeaderError { part: self.part.clone(), offset: self.at, problem: problem.into() }
    }
}

/// A name that may be of any length.
fn shown(name: &str) -> &str {
    &name[..name.floor_char_boundary(80)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in pieces: header, metadata, tensors, data.
    struct File {
        n_tensors: u64,
        n_entries: u64,
        rest: Vec<u8>,
    }

    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
    }

    impl File {
        fn new() -> Self {
            Self { n_tensors: 0, n_entries: 0, rest: Vec::new() }
        }

        fn entry(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
            self.n_entries += 1;
            self.rest.extend([&text(key)[..], &kind.to_le_bytes(), value].concat());
            self
        }

        /// An `f32` tensor.
        fn tensor(mut self, name: &str, shape: &[u64], offset: u64) -> Self {
            self.n_tensors += 1;
            self.rest.extend([&text(name)[..], &u32::try_from(shape.len()).unwrap().to_le_bytes()].concat());
            self.rest.extend(shape.iter().flat_map(|dimension| dimension.to_le_bytes()));
            self.rest.extend([&0_u32.to_le_bytes()[..], &offset.to_le_bytes()].concat());
            self
        }

        fn bytes(&self, n_data: usize) -> Vec<u8> {
            let mut bytes =
                [&b"GGUF\x03\0\0\0"[..], &self.n_tensors.to_le_bytes(), &self.n_entries.to_le_bytes()].concat();
            bytes.extend(&self.rest);
            bytes.resize(bytes.len().next_multiple_of(32) + n_data, 0);
            bytes
        }
    }

    #[track_caller]
    fn refused(bytes: &[u8], want: &str) {
        let error = check(bytes).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }

    fn array(kind: u32, n_elements: u64) -> Vec<u8> {
        [&kind.to_le_bytes()[..], &n_elements.to_le_bytes()].concat()
    }

    #[test]
    fn a_sound_header_passes() {
        let file = File::new()
            .entry("general.name", 8, &text("x"))
            .entry("general.alignment", 4, &64_u32.to_le_bytes())
            .entry("tokens", 9, &[array(8, 2), text("a"), text("b")].concat())
            .tensor("a", &[2, 4], 0)
            .tensor("b", &[8], 64);
        let bytes = file.bytes(160);
        let header = check(&bytes).unwrap();
        assert_eq!((header.version, header.alignment), (3, 64));
        let keys: Vec<&str> = header.entries.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["general.name", "general.alignment", "tokens"]);
        let (_, name) = &header.entries[0];
        assert_eq!(bytes[name.clone()], [&text("general.name")[..], &8_u32.to_le_bytes(), &text("x")].concat());
        assert_eq!(header.entries[0].1.end, header.entries[1].1.start);
        let empty = Header { version: 3, alignment: 32, entries: Vec::new() };
        assert_eq!(check(&File::new().bytes(0)), Ok(empty));
    }

    #[test]
    fn lengths_beyond_the_file_are_named_with_their_place() {
        refused(b"GGU", "header, byte 0: expected 4 more bytes, found 3");
        refused(b"FUGG\x03\0\0\0", "expected `GGUF`");
        refused(b"GGUF\x04\0\0\0", "header, byte 8: expected version 1, 2 or 3, found 4");
        let mut counts = File::new();
        (counts.n_entries, counts.n_tensors) = (1 << 60, 0);
        refused(&counts.bytes(0), "metadata entry 1 of 1152921504606846976");
        counts.n_entries = 0;
        counts.n_tensors = 1 << 60;
        refused(&counts.bytes(0), "tensor 1 of 1152921504606846976");
        let long = File::new().entry("general.name", 8, &(1_u64 << 40).to_le_bytes());
        refused(
            &long.bytes(0),
            "metadata entry 1 of 1, `general.name`, byte 56: expected at most 268435456 bytes of text",
        );
        let wide = File::new().entry("a", 9, &array(0, 1 << 60));
        refused(&wide.bytes(0), "expected at most 33554432 elements in all arrays");
        let deep = File::new().entry("a", 9, &array(9, 1).repeat(100_000));
        refused(&deep.bytes(0), "arrays nested more than 4 deep");
    }

    #[test]
    fn names_twice_and_wrong_values_are_named() {
        let twice = File::new().entry("a", 0, &[1]).entry("a", 0, &[2]);
        refused(&twice.bytes(0), "metadata entry 2 of 2, `a`, byte 47: the key of entry 1 once more");
        let twice = File::new().tensor("t", &[1], 0).tensor("t", &[1], 32);
        refused(&twice.bytes(64), "the name of tensor 1 once more");
        for alignment in [0_u32, 3] {
            let file = File::new().entry("general.alignment", 4, &alignment.to_le_bytes());
            refused(&file.bytes(0), &format!("expected a power of two, found {alignment}"));
        }
        refused(&File::new().entry("a", 77, &[]).bytes(0), "unknown value type 77");
    }

    #[test]
    fn tensors_outside_the_file_or_over_each_other_are_named() {
        refused(
            &File::new().tensor("t", &[9], 0).bytes(32),
            "tensor `t`, byte 57: expected its 36 bytes from 0 on within",
        );
        refused(&File::new().tensor("t", &[1], u64::MAX).bytes(32), "from 18446744073709551615 on");
        let overlapping = File::new().tensor("a", &[8], 0).tensor("b", &[8], 16);
        refused(&overlapping.bytes(64), "tensor `b`, byte 90: begins at 16, within tensor `a`, which ends at 32");
        let product = File::new().tensor("t", &[1 << 40, 1 << 40], 0);
        refused(&product.bytes(0), "expected fewer than 2^64 numbers");
        let bytes = File::new().tensor("t", &[1 << 63], 0);
        refused(&bytes.bytes(0), "expected fewer than 2^64 bytes");
        refused(&File::new().tensor("t", &[1; 5], 0).bytes(0), "expected at most 4 dimensions, found 5");
        refused(&File::new().tensor("t", &[4, 0], 0).bytes(0), "expected dimensions of at least 1, found 0");
    }
}
