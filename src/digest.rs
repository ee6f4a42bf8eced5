//! Digests of bytes and files, and the 128-bit ids of pairs: BLAKE3 everywhere.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bytes read at once: enough for every core to have its share.
const CHUNK_BYTES: usize = 1 << 20;

/// BLAKE3-256 of some bytes, written as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Digest of many bytes, over all cores.
    pub fn of_many(bytes: &[u8]) -> Self {
        Self(*blake3::Hasher::new().update_rayon(bytes).finalize().as_bytes())
    }

    /// Digest of named parts, in the order given; the lengths are hashed too, so no two lists collide by joining.
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for (name, bytes) in parts {
            update_with_length(&mut hasher, name.as_bytes());
            update_with_length(&mut hasher, bytes);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// Digest of all that `reader` gives, over all cores, and how many bytes that was. Memory does not grow with it.
    pub fn of_reader(reader: &mut impl Read) -> io::Result<(Self, u64)> {
        let mut hasher = blake3::Hasher::new();
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        loop {
            chunk.clear();
            reader.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
            if chunk.is_empty() {
                return Ok((Self(*hasher.finalize().as_bytes()), hasher.count()));
            }
            hasher.update_rayon(&chunk);
        }
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A digest in the making, of bytes that come bit by bit.
#[derive(Debug, Default)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// Adds these bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Digest of all that was added.
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Which model something is of, by what it computes: equal for one that was moved, saved again by another version or cut
/// into other files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelIdentity {
    /// Of the tensors: name, number type, shape and numbers of each.
    pub weights: Digest,
    /// Of the settings that decide numbers.
    pub config: Digest,
}

/// A digest in text that is not 64 hex digits.
#[derive(Debug, thiserror::Error)]
#[error("expected a digest of 64 hex digits, found `{found}`")]
pub struct ParseDigestError {
    found: String,
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        blake3::Hash::from_hex(text)
            .map(|hash| Self(*hash.as_bytes()))
            .map_err(|_| ParseDigestError { found: text.to_owned() })
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The first 128 bits of a BLAKE3 digest, written as 32 hex digits: the width of `pair_id` and `tokens_id`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 16]);

impl Id {
    /// Id of a sequence of parts in a `domain`; the same parts in another domain have another id.
    pub fn of_parts<'a>(domain: &str, parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = blake3::Hasher::new();
        update_with_length(&mut hasher, domain.as_bytes());
        for part in parts {
            update_with_length(&mut hasher, part);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(id)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({self})")
    }
}

fn update_with_length(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_separate_parts_that_join_to_the_same_bytes() {
        let joined = Id::of_parts("pair", [b"ab".as_slice(), b"c"]);
        let shifted = Id::of_parts("pair", [b"a".as_slice(), b"bc"]);
        assert_ne!(joined, shifted);
        assert_eq!(joined.to_string().len(), 32);
    }

    #[test]
    fn digest_text_round_trips() {
        let digest = Digest::of(b"piref");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert!("9f2c".parse::<Digest>().is_err());
    }

    #[test]
    fn chunks_give_the_same_digest() {
        for n_bytes in [0, 1, CHUNK_BYTES, 2 * CHUNK_BYTES + 7] {
            let bytes: Vec<u8> = (0..=255).cycle().take(n_bytes).collect();
            let found = Digest::of_reader(&mut bytes.as_slice()).unwrap();
            assert_eq!(found, (Digest::of(&bytes), n_bytes as u64));
            let mut hasher = Hasher::default();
            bytes.chunks(1000).for_each(|chunk| hasher.update(chunk));
            assert_eq!(hasher.finish(), Digest::of(&bytes));
            assert_eq!(Digest::of_many(&bytes), Digest::of(&bytes));
        }
    }
}
