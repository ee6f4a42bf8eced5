//! Thrift's compact protocol, as far as Parquet writes it: fields are visited, everything else is skipped.
//!
//! Nothing is allocated, whatever a length says; what ends too early or is nested too deeply is an error.

use std::io::{self, Read};

/// Structures in structures; Parquet's own have at most five.
const MAX_DEPTH: usize = 32;

/// Type codes of the protocol.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;
const UUID: u8 = 13;

/// A field of a structure: its number and the type of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) id: i16,
    kind: u8,
}

/// A reader of the protocol.
pub(super) struct Compact<R> {
    input: R,
    depth: usize,
}

impl<R: Read> Compact<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, depth: 0 }
    }

    /// Visits the fields of a structure; `visit` has to read or skip the value of each.
    pub(super) fn structure(&mut self, mut visit: impl FnMut(&mut Self, Field) -> io::Result<()>) -> io::Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(wrong("structures nested too deeply"));
        }
        let mut id = 0_i16;
        loop {
            let head = self.byte()?;
            if head == 0 {
                self.depth -= 1;
                return Ok(());
            }
            id = match head >> 4 {
                0 => i16::try_from(zigzag(self.varint()?)).map_err(|_| wrong("a field number out of range"))?,
                step => id.checked_add(i16::from(step)).ok_or_else(|| wrong("a field number out of range"))?,
            };
            visit(self, Field { id, kind: head & 15 })?;
        }
    }

    /// Visits the elements of a list.
    pub(super) fn list(&mut self, field: Field, mut visit: impl FnMut(&mut Self) -> io::Result<()>) -> io::Result<()> {
        if field.kind != LIST {
            return Err(wrong("expected a list"));
        }
        let (n_elements, _) = self.list_head()?;
        for _ in 0..n_elements {
            visit(self)?;
        }
        Ok(())
    }

    /// A whole number.
    pub(super) fn integer(&mut self, field: Field) -> io::Result<i64> {
        match field.kind {
            I16 | I32 | I64 => Ok(zigzag(self.varint()?)),
            _ => Err(wrong("expected a whole number")),
        }
    }

    /// Passes over a value.
    pub(super) fn skip(&mut self, field: Field) -> io::Result<()> {
        match field.kind {
            TRUE | FALSE => Ok(()),
            BYTE => self.bytes(1),
            I16 | I32 | I64 => self.varint().map(drop),
            DOUBLE => self.bytes(8),
            UUID => self.bytes(16),
            BINARY => {
                let length = self.varint()?;
                self.bytes(length)
            }
            LIST | SET => {
                let (n_elements, kind) = self.list_head()?;
                self.skip_elements(n_elements, &[kind])
            }
            MAP => {
                let n_entries = self.varint()?;
                let kinds = if n_entries == 0 { 0 } else { self.byte()? };
                self.skip_elements(n_entries, &[kinds >> 4, kinds & 15])
            }
            STRUCT => self.structure(Self::skip),
            _ => Err(wrong("an unknown type")),
        }
    }

    fn skip_elements(&mut self, n_elements: u64, kinds: &[u8]) -> io::Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(wrong("lists nested too deeply"));
        }
        for _ in 0..n_elements {
            for &kind in kinds {
                // In a list a boolean has a byte of its own.
                let kind = if matches!(kind, TRUE | FALSE) { BYTE } else { kind };
                self.skip(Field { id: 0, kind })?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn list_head(&mut self) -> io::Result<(u64, u8)> {
        let head = self.byte()?;
        let n_elements = match head >> 4 {
            15 => self.varint()?,
            n_elements => n_elements.into(),
        };
        Ok((n_elements, head & 15))
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.input.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn bytes(&mut self, n_bytes: u64) -> io::Result<()> {
        match io::copy(&mut (&mut self.input).take(n_bytes), &mut io::sink())? {
            n_read if n_read == n_bytes => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(wrong("a number longer than 64 bits"))
    }
}

fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn skipped(kind: u8, bytes: &[u8]) -> io::Result<usize> {
        let mut compact = Compact::new(bytes);
        compact.skip(Field { id: 1, kind })?;
        Ok(bytes.len() - compact.input.len())
    }

    #[test]
    fn every_kind_is_skipped_whole() {
        for (kind, bytes) in [
            (TRUE, &[][..]),
            (I32, &[0x80, 0x01]),
            (DOUBLE, &[0; 8]),
            (BINARY, &[3, b'a', b'b', b'c']),
            (LIST, &[0x28, 1, b'a', 0]),
            (LIST, &[0xf1, 2, 1, 2]),
            (MAP, &[1, 0x85, 1, b'k', 7]),
            (MAP, &[0]),
            (STRUCT, &[0x15, 2, 0x18, 1, b'a', 0x0c, 8, 0x15, 4, 0, 0]),
        ] {
            assert_eq!(skipped(kind, &[bytes, b"rest"].concat()).unwrap(), bytes.len(), "{kind}: {bytes:?}");
        }
    }

    #[test]
    fn a_length_beyond_the_end_and_endless_nesting_are_errors() {
        assert!(skipped(BINARY, &[0xff, 0xff, 0xff, 0xff, 0x7f, 1]).is_err());
        assert!(skipped(LIST, &[0xf5, 0xff, 0xff, 0xff, 0xff, 0x7f, 1]).is_err());
        assert!(skipped(LIST, &vec![0x19; 1 << 20]).is_err());
        assert!(skipped(STRUCT, &vec![0x1c; 1 << 20]).is_err());
        assert!(skipped(I64, &[0xff; 11]).is_err());
    }

    #[test]
    fn numbers_are_signed() {
        assert_eq!([0, 1, 2, 3, u64::MAX].map(zigzag), [0, -1, 1, -2, i64::MIN]);
    }
}
