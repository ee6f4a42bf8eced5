//! TFRecord: length, its checksum, the payload, its checksum; all little-endian.
//!
//! The format is that of `tensorflow/core/lib/io/record_writer.h`: checksums are CRC-32C (Castagnoli; RFC 3720, B.4),
//! rotated and shifted so that a record within a record does not look like its own checksum.

/// CRC-32C of every byte.
const TABLE: [u32; 256] = table();

/// A record in the bytes of a file.
pub(super) struct Record<'a> {
    /// What it carries.
    pub(super) payload: &'a [u8],
    /// All of it.
    pub(super) framed: &'a [u8],
}

/// The payload as a record.
pub(super) fn framed(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_le_bytes();
    [&length, masked(&length).as_slice(), payload, &masked(payload)].concat()
}

/// The records at the start of `bytes`, up to the first that is cut off or damaged.
pub(super) fn read(mut bytes: &[u8]) -> impl Iterator<Item = Record<'_>> {
    std::iter::from_fn(move || {
        let (record, rest) = split_first(bytes)?;
        bytes = rest;
        Some(record)
    })
}

fn split_first(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (length_sum, rest) = rest.split_first_chunk::<4>()?;
    if *length_sum != masked(length) {
        return None;
    }
    let (payload, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let (payload_sum, rest) = rest.split_first_chunk::<4>()?;
    let framed = bytes.get(..bytes.len() - rest.len())?;
    (*payload_sum == masked(payload)).then_some((Record { payload, framed }, rest))
}

fn masked(bytes: &[u8]) -> [u8; 4] {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8))
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0_u32;
    while byte < 256 {
        let mut crc = byte;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, appendix B.4, and the check value of the catalogue of CRCs.
    #[test]
    fn checksums_are_those_of_the_standard() {
        let ascending: Vec<u8> = (0..32).collect();
        for (bytes, want) in [
            (&[0; 32][..], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&ascending, 0x46dd_794e),
            (b"123456789", 0xe306_9283),
        ] {
            assert_eq!(crc32c(bytes), want, "{bytes:?}");
        }
    }

    #[test]
    fn records_are_read_as_they_were_written_up_to_the_first_wrong_byte() {
        let bytes: Vec<u8> = ["one", "", "three"].iter().flat_map(|text| framed(text.as_bytes())).collect();
        let payloads = |bytes: &[u8]| read(bytes).map(|record| record.payload.to_vec()).collect::<Vec<_>>();
        assert_eq!(payloads(&bytes), [b"one".to_vec(), Vec::new(), b"three".to_vec()]);
        assert_eq!(read(&bytes).flat_map(|record| record.framed.to_vec()).collect::<Vec<_>>(), bytes);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(payloads(&damaged).len() < 3, "byte {at}");
            assert!(payloads(&bytes[..at]).len() < 3, "cut at {at}");
        }
    }
}
