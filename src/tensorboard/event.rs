//! `tensorboard.Event` (`tensorboard/compat/proto/event.proto`, `summary.proto`) in the wire format of protocol buffers.

use std::time::Duration;

const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED_32: u64 = 5;

/// `Event.step`.
const STEP: u64 = 2;
/// `Event.summary`.
const SUMMARY: u64 = 5;

/// What an event says.
pub(super) enum Content<'a> {
    /// The version of the format, which a file begins with.
    FileVersion,
    /// A writer starts: readers forget the events they have of this step and later ones.
    SessionStart,
    /// Numbers under their tags.
    Scalars(&'a [(String, f64)]),
}

/// What is read of an event.
pub(super) struct Head {
    /// Its step.
    pub(super) step: u64,
    /// Whether it carries values.
    pub(super) has_summary: bool,
}

/// The event as a message; `time` is since 1970.
pub(super) fn encode(time: Duration, step: u64, content: &Content<'_>) -> Vec<u8> {
    let mut event = Vec::new();
    push_key(&mut event, 1, FIXED_64);
    event.extend(time.as_secs_f64().to_le_bytes());
    push_key(&mut event, STEP, VARINT);
    push_varint(&mut event, step);
    match content {
        Content::FileVersion => push_bytes(&mut event, 3, b"brain.Event:2"),
        Content::SessionStart => {
            let mut session = Vec::new();
            push_key(&mut session, 1, VARINT);
            // `SessionLog.START`.
            push_varint(&mut session, 1);
            push_bytes(&mut event, 7, &session);
        }
        Content::Scalars(scalars) => {
            let mut summary = Vec::new();
            for (tag, value) in *scalars {
                push_bytes(&mut summary, 1, &scalar(tag, *value));
            }
            push_bytes(&mut event, SUMMARY, &summary);
        }
    }
    event
}

/// `Summary.Value` with `simple_value`.
fn scalar(tag: &str, value: f64) -> Vec<u8> {
    let mut message = Vec::new();
    push_bytes(&mut message, 1, tag.as_bytes());
    push_key(&mut message, 2, FIXED_32);
    #[expect(clippy::cast_possible_truncation, reason = "the format has f32")]
    message.extend((value as f32).to_le_bytes());
    message
}

/// Reads an event; `None` if it is none.
pub(super) fn head(mut event: &[u8]) -> Option<Head> {
    let mut head = Head { step: 0, has_summary: false };
    while !event.is_empty() {
        let key = take_varint(&mut event)?;
        match (key >> 3, key & 7) {
            (STEP, VARINT) => head.step = take_varint(&mut event)?,
            (_, VARINT) => drop(take_varint(&mut event)?),
            (_, FIXED_64) => drop(take(&mut event, 8)?),
            (_, FIXED_32) => drop(take(&mut event, 4)?),
            (field, LENGTH) => {
                let length = take_varint(&mut event)?;
                take(&mut event, length)?;
                head.has_summary |= field == SUMMARY;
            }
            _ => return None,
        }
    }
    Some(head)
}

fn push_key(message: &mut Vec<u8>, field: u64, wire_type: u64) {
    push_varint(message, field << 3 | wire_type);
}

fn push_bytes(message: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    push_key(message, field, LENGTH);
    push_varint(message, bytes.len() as u64);
    message.extend(bytes);
}

/// Seven bits a byte, the low ones first; the eighth says that more follow.
fn push_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    message.push(value.to_le_bytes()[0]);
}

fn take_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(message: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(usize::try_from(length).ok()?)?;
    *message = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Event(wall_time=1.5, step=300, summary=Summary(value=[Summary.Value(tag="a", simple_value=0.5)]))` as the
    /// protobuf package of Python writes it (`SerializeToString`, protobuf 7.36).
    #[test]
    fn an_event_has_the_bytes_of_the_protobuf_library() {
        let want = [
            [0x09, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0x10, 0xac, 0x02].as_slice(),
            &[0x2a, 0x0a, 0x0a, 0x08, 0x0a, 0x01, 0x61, 0x15, 0, 0, 0, 0x3f],
        ];
        let event = encode(Duration::from_millis(1500), 300, &Content::Scalars(&[("a".to_owned(), 0.5)]));
        assert_eq!(event, want.concat());
    }

    #[test]
    fn steps_are_read_back() {
        for step in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX >> 1] {
            let summary = encode(Duration::ZERO, step, &Content::Scalars(&[]));
            assert!(head(&summary).is_some_and(|head| head.step == step && head.has_summary), "{step}");
            let start = encode(Duration::ZERO, step, &Content::SessionStart);
            assert!(head(&start).is_some_and(|head| head.step == step && !head.has_summary), "{step}");
            assert!(head(&summary[..summary.len() - 1]).is_none());
        }
    }
}
