//! What masks and labels beside token ids say: which ids are padding, and which are scored.
//!
//! An attention mask has 1 where an id is part of the sequence and 0 where it is padding, at either end. Labels have the
//! id where it is scored and −100 where it is not (`ignore_index` of torch's cross-entropy): TRL before 0.12 writes prompt
//! and completion together and labels the prompt −100. A table scores every token of a completion and none of a prompt, so
//! what is not scored has to be the prompt, or come after the last scored token, where it changes no log-prob.

use std::ops::Range;

use serde_json::{Map, Value};

use super::columns::shown;
use super::error::{InterchangeError, Place};

/// What torch's cross-entropy leaves out.
const IGNORED: i64 = -100;

/// The columns beside the ids of one part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Masks {
    /// 1 for what is part of the sequence, 0 for padding.
    pub(super) attention: Option<String>,
    /// The id where it is scored, −100 elsewhere.
    pub(super) labels: Option<String>,
    /// 1 where an id is scored, 0 elsewhere.
    pub(super) scored: Option<String>,
}

/// Which ids of a list count: those before `scored` are in front of what is scored, the others are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    /// Ids in front that are no padding and not scored.
    pub(super) lead: Range<usize>,
    /// Ids that are scored; of a prompt, all that are no padding.
    pub(super) scored: Range<usize>,
    /// Ids in the list.
    pub(super) n_ids: usize,
}

impl Masks {
    /// Whether nothing says which ids count.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether something says which ids are scored.
    pub(super) fn says_what_is_scored(&self) -> bool {
        self.labels.is_some() || self.scored.is_some()
    }

    /// The columns.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        [&self.attention, &self.labels, &self.scored].into_iter().flatten().map(String::as_str)
    }

    /// Which of these ids of a row count.
    ///
    /// # Errors
    /// If a mask has another length than the ids or a value that is none, if it has a gap, or if labels are other ids.
    pub(super) fn kept(
        &self,
        row: &Map<String, Value>,
        ids: &[u32],
        place: &Place<'_>,
    ) -> Result<Kept, InterchangeError> {
        let visible = match &self.attention {
            None => 0..ids.len(),
            Some(column) => {
                let mask = flags(row, column, ids.len(), place)?;
                let visible = ones(&mask);
                match mask[visible.clone()].iter().position(|&is_one| !is_one) {
                    None => visible,
                    Some(at) => {
                        let expected = "zeros at the ends only, where padding is";
                        let found = format!("0 between ones, at place {}", visible.start + at);
                        return Err(place.value(column, expected, &found));
                    }
                }
            }
        };
        let Some((column, mut is_scored)) = self.is_scored(row, ids, place)? else {
            return Ok(Kept { lead: visible.start..visible.start, scored: visible, n_ids: ids.len() });
        };
        // A label on padding is what a collator leaves there, not a token.
        for (at, is_scored) in is_scored.iter_mut().enumerate() {
            *is_scored &= visible.contains(&at);
        }
        let scored = ones(&is_scored);
        if let Some(at) = is_scored[scored.clone()].iter().position(|&is_one| !is_one) {
            let at = scored.start + at;
            return Err(InterchangeError::PartlyScored { place: place.to_string(), column: column.to_owned(), at });
        }
        let start = if scored.is_empty() { visible.end } else { scored.start };
        Ok(Kept { lead: visible.start..start, scored: start..scored.end.max(start), n_ids: ids.len() })
    }

    /// Which ids are scored, by the column that says so.
    fn is_scored(
        &self,
        row: &Map<String, Value>,
        ids: &[u32],
        place: &Place<'_>,
    ) -> Result<Option<(&str, Vec<bool>)>, InterchangeError> {
        let labels = match self.labels.as_deref() {
            Some(column) => Some((column, labels(row, column, ids, place)?)),
            None => None,
        };
        let scored = match self.scored.as_deref() {
            Some(column) => Some((column, flags(row, column, ids.len(), place)?)),
            None => None,
        };
        match (labels, scored) {
            (Some((labels, by_labels)), Some((column, by_mask))) if by_labels != by_mask => {
                let at = by_labels.iter().zip(&by_mask).position(|(one, other)| one != other).unwrap_or_default();
                let expected = format!("the tokens that `{labels}` has");
                Err(place.value(column, &expected, &format!("another at place {at}")))
            }
            (labels, scored) => Ok(labels.or(scored)),
        }
    }
}

/// From the first that is set to the last; empty where none is.
fn ones(flags: &[bool]) -> Range<usize> {
    let start = flags.iter().position(|&is_one| is_one).unwrap_or_default();
    start..flags.iter().rposition(|&is_one| is_one).map_or(start, |last| last + 1)
}

fn list<'a>(
    row: &'a Map<String, Value>,
    column: &str,
    n_ids: usize,
    place: &Place<'_>,
) -> Result<&'a [Value], InterchangeError> {
    let expected = || format!("a list of {n_ids}, one for each token id");
    match row.get(column) {
        Some(Value::Array(values)) if values.len() == n_ids => Ok(values),
        Some(Value::Array(values)) => Err(place.value(column, &expected(), &format!("a list of {}", values.len()))),
        found => Err(place.value(column, &expected(), &shown(found))),
    }
}

fn flags(
    row: &Map<String, Value>,
    column: &str,
    n_ids: usize,
    place: &Place<'_>,
) -> Result<Vec<bool>, InterchangeError> {
    let flag = |value: &Value| match (value.as_bool(), value.as_f64()) {
        (Some(flag), _) => Ok(flag),
        (None, Some(number)) if number == 0.0 || number == 1.0 => Ok(number == 1.0),
        _ => Err(place.value(column, "0 or 1 for each token id", &format!("{} in it", shown(Some(value))))),
    };
    list(row, column, n_ids, place)?.iter().map(flag).collect()
}

fn labels(
    row: &Map<String, Value>,
    column: &str,
    ids: &[u32],
    place: &Place<'_>,
) -> Result<Vec<bool>, InterchangeError> {
    let labels = list(row, column, ids.len(), place)?;
    let is_scored = labels.iter().zip(ids).map(|(label, id)| match label.as_i64() {
        Some(IGNORED) => Ok(false),
        Some(label) if label == i64::from(*id) => Ok(true),
        _ => {
            let found = format!("{} in it", shown(Some(label)));
            Err(place.value(column, &format!("the token id {id} at its place, or −100 where it is not scored"), &found))
        }
    });
    is_scored.collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn masks() -> Masks {
        Masks { attention: Some("mask".into()), labels: Some("labels".into()), scored: Some("scored".into()) }
    }

    /// What is in front, and what is scored, of the ids 10, 11, …
    fn kept(masks: &Masks, n_ids: u32, row: &Value) -> Result<(Range<usize>, Range<usize>), String> {
        let ids: Vec<u32> = (10..10 + n_ids).collect();
        let place = Place { path: Path::new("f"), row_idx: 0, line: None };
        let kept = masks.kept(row.as_object().unwrap(), &ids, &place);
        kept.map(|kept| (kept.lead, kept.scored)).map_err(|error| error.to_string())
    }

    #[test]
    fn padding_is_cut_at_either_end_and_nowhere_else() {
        let masks = Masks { attention: Some("mask".into()), ..Masks::default() };
        for (mask, want) in [
            (json!([1, 1, 1, 0]), Ok((0..0, 0..3))),
            (json!([0, 0, 1, 1]), Ok((2..2, 2..4))),
            (json!([false, true, true, false]), Ok((1..1, 1..3))),
            (json!([1.0, 1.0, 0.0, 0.0]), Ok((0..0, 0..2))),
            (json!([0, 0, 0, 0]), Ok((0..0, 0..0))),
            (
                json!([1, 0, 0, 1]),
                Err("expected zeros at the ends only, where padding is, found 0 between ones, at place 1"),
            ),
            (json!([1, 1, 1]), Err("expected a list of 4, one for each token id, found a list of 3")),
            (json!([1, 1, 2, 0]), Err("expected 0 or 1 for each token id, found 2 in it")),
            (json!(null), Err("expected a list of 4, one for each token id, found none (null, NaN or infinite)")),
        ] {
            let want = want.map_err(|why| format!("`f`, row 0, column `mask`: {why}"));
            assert_eq!(kept(&masks, 4, &json!({ "mask": mask })), want, "{mask}");
        }
    }

    #[test]
    fn labels_say_what_is_scored_and_have_no_gap() {
        let masks = Masks { labels: Some("labels".into()), ..Masks::default() };
        for (labels, want) in [
            (json!([-100, -100, 12, 13]), Ok((0..2, 2..4))),
            (json!([10, 11, 12, 13]), Ok((0..0, 0..4))),
            // What comes after the last scored token changes no log-prob.
            (json!([-100, 11, -100, -100]), Ok((0..1, 1..2))),
            (json!([-100, -100, -100, -100]), Ok((0..4, 4..4))),
            (json!([10, -100, 12, 13]), Err("the token at place 1 is not scored, and some before and after it are")),
            (
                json!([10, 11, 12, 9]),
                Err("expected the token id 13 at its place, or −100 where it is not scored, found 9 in it"),
            ),
        ] {
            let want = want.map_err(|why| format!("`f`, row 0, column `labels`: {why}"));
            assert_eq!(kept(&masks, 4, &json!({ "labels": labels })), want, "{labels}");
        }
    }

    #[test]
    fn a_mask_and_labels_hold_together_and_two_answers_to_one_question_are_refused() {
        let both =
            |mask: Value, labels: Value, scored: Value| json!({"mask": mask, "labels": labels, "scored": scored});
        let row = both(json!([0, 1, 1, 1, 0]), json!([-100, -100, 12, 13, -100]), json!([0, 0, 1, 1, 0]));
        assert_eq!(kept(&masks(), 5, &row), Ok((1..2, 2..4)));
        let row = both(json!([1, 1, 1, 1, 0]), json!([-100, -100, 12, 13, 14]), json!([0, 0, 1, 1, 1]));
        assert_eq!(kept(&masks(), 5, &row), Ok((0..2, 2..4)), "a label on padding");
        let row = both(json!([1, 1, 1]), json!([-100, 11, 12]), json!([0, 0, 1]));
        let error = kept(&masks(), 3, &row).unwrap_err();
        assert!(error.ends_with("column `scored`: expected the tokens that `labels` has, found another at place 1"));
    }
}
