//! The columns of a scored data set: which names hold log-probs and token ids, and their values in a row.

use std::str::FromStr;

use serde_json::{Map, Value};

use super::error::{InterchangeError, Place};
use crate::data::{ColumnMap, ParseColumnMapError};
use crate::error::{Hint, nearest};
use crate::table::is_logp;

/// Log-probs of completions: TRL since 0.12, and TRL before.
const LOGPS: [[&str; 2]; 2] =
    [["ref_chosen_logps", "ref_rejected_logps"], ["reference_chosen_logps", "reference_rejected_logps"]];

/// Log-probs of tokens: a table of ours.
const TOKEN_LOGPS: [&str; 2] = ["ref_chosen_token_logps", "ref_rejected_token_logps"];

/// Token ids: TRL today, and TRL before.
const IDS: [[&str; 3]; 2] =
    [["prompt_ids", "chosen_ids", "rejected_ids"], ["prompt_input_ids", "chosen_input_ids", "rejected_input_ids"]];

/// What goes with token ids and means nothing without them.
const MASKS: [&str; 5] =
    ["prompt_attention_mask", "chosen_attention_mask", "rejected_attention_mask", "chosen_labels", "rejected_labels"];

/// Roles a user can give to columns besides those of the text: those of a group only together.
const LOGPS_ROLES: [&str; 2] = ["ref_chosen_logps", "ref_rejected_logps"];

/// The same for token ids.
const IDS_ROLES: [&str; 3] = ["prompt_ids", "chosen_ids", "rejected_ids"];

/// Column names a user gives to text, log-probs and token ids: `prompt=question,ref_chosen_logps=logp_w`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportMap {
    /// The columns of the text.
    pub text: ColumnMap,
    /// Log-probs of completions, chosen first.
    logps: Option<[String; 2]>,
    /// Token ids: prompt, chosen, rejected.
    ids: Option<[String; 3]>,
}

/// A column map in text that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseImportMapError {
    /// The entries for the text.
    #[error(transparent)]
    Text(#[from] ParseColumnMapError),
    /// A role there is not.
    #[error("unknown role `{found}`: expected one of {}", roles().collect::<Vec<_>>().join(", "))]
    Role {
        /// As it was written.
        found: String,
    },
    /// A role named twice.
    #[error("role `{role}` is mapped twice")]
    RoleTwice {
        /// The role.
        role: &'static str,
    },
    /// One of roles that go together.
    #[error("role `{role}` is mapped alone: expected {} together", group.join(", "))]
    Alone {
        /// The role.
        role: &'static str,
        /// The roles it goes with, itself included.
        group: &'static [&'static str],
    },
}

impl Hint for ParseImportMapError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Text(error) => error.hint(),
            Self::Role { found } => nearest(found, roles()).map(|role| format!("did you mean `{role}`?")),
            Self::RoleTwice { .. } | Self::Alone { .. } => None,
        }
    }
}

/// Every role there is.
fn roles() -> impl Iterator<Item = &'static str> {
    ColumnMap::words().chain(LOGPS_ROLES).chain(IDS_ROLES)
}

impl FromStr for ImportMap {
    type Err = ParseImportMapError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (mut ours, mut of_text) = (Vec::new(), Vec::new());
        for entry in text.split(',') {
            match entry.split_once('=').map(|(role, column)| (role.trim(), column.trim())) {
                Some((role, column))
                    if !column.is_empty() && LOGPS_ROLES.iter().chain(&IDS_ROLES).any(|known| *known == role) =>
                {
                    ours.push((role, column));
                }
                Some((role, _)) if roles().all(|known| known != role) => {
                    return Err(ParseImportMapError::Role { found: role.to_owned() });
                }
                // What is no entry at all is for the column map to say.
                _ => of_text.push(entry),
            }
        }
        let text = if of_text.is_empty() { ColumnMap::default() } else { of_text.join(",").parse()? };
        Ok(Self { text, logps: group(&ours, &LOGPS_ROLES)?, ids: group(&ours, &IDS_ROLES)? })
    }
}

/// The columns of the roles of a group, if they are mapped.
fn group<const N: usize>(
    entries: &[(&str, &str)],
    roles: &'static [&'static str; N],
) -> Result<Option<[String; N]>, ParseImportMapError> {
    let mut columns = [const { None }; N];
    for (at, &role) in roles.iter().enumerate() {
        for (_, column) in entries.iter().filter(|(found, _)| *found == role) {
            if columns[at].replace((*column).to_owned()).is_some() {
                return Err(ParseImportMapError::RoleTwice { role });
            }
        }
    }
    let missing = columns.iter().any(Option::is_none);
    match columns.iter().position(Option::is_some) {
        Some(at) if missing => Err(ParseImportMapError::Alone { role: roles[at], group: roles }),
        Some(_) => Ok(Some(columns.map(Option::unwrap_or_default))),
        None => Ok(None),
    }
}

/// Where a file has its log-probs and token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// Of completions, chosen first.
    logps: Option<[String; 2]>,
    /// Of tokens.
    token_logps: Option<[String; 2]>,
    /// Prompt, chosen, rejected.
    ids: Option<[String; 3]>,
}

/// Log-probs and token ids of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scores {
    /// Prompt, chosen, rejected.
    pub(super) ids: Option<[Vec<u32>; 3]>,
    pub(super) chosen: CompletionLogps,
    pub(super) rejected: CompletionLogps,
}

/// What a row says of one completion: a number, the terms of it, or both.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct CompletionLogps {
    /// Sum or average.
    pub(super) whole: Option<f64>,
    /// One per token.
    pub(super) tokens: Option<Vec<f32>>,
}

impl Layout {
    /// Finds the columns of a file by the map, and then by the names that are used.
    pub(super) fn of(columns: &[String], map: &ImportMap) -> Result<Self, Vec<String>> {
        let has = |name: &str| columns.iter().any(|column| column == name);
        let known = |names: &[&str]| names.iter().all(|name| has(name));
        let logps = map.logps.clone().or_else(|| LOGPS.into_iter().find(|names| known(names)).map(owned));
        let ids = map.ids.clone().or_else(|| IDS.into_iter().find(|names| known(names)).map(owned));
        let token_logps = known(&TOKEN_LOGPS).then(|| owned(TOKEN_LOGPS));
        let missing: Vec<String> =
            logps.iter().flatten().chain(ids.iter().flatten()).filter(|name| !has(name)).cloned().collect();
        if missing.is_empty() { Ok(Self { logps, token_logps, ids }) } else { Err(missing) }
    }

    pub(super) fn has_logps(&self) -> bool {
        self.logps.is_some() || self.token_logps.is_some()
    }

    pub(super) fn has_ids(&self) -> bool {
        self.ids.is_some()
    }

    /// Name of the column with the ids of a part: 0 prompt, 1 chosen, 2 rejected.
    pub(super) fn ids_column(&self, part: usize) -> &str {
        self.ids.as_ref().map_or(IDS[0][part], |ids| &ids[part])
    }

    /// Name of the column with the log-prob of a completion: 0 chosen, 1 rejected.
    pub(super) fn logps_column(&self, side: usize) -> &str {
        self.logps.as_ref().map_or(LOGPS[0][side], |names| &names[side])
    }

    /// Name of the column with the log-probs of its tokens.
    pub(super) fn token_logps_column(&self, side: usize) -> &str {
        self.token_logps.as_ref().map_or(self.logps_column(side), |names| &names[side])
    }

    /// Takes log-probs and ids out of a row, and whatever else means nothing in a table: no column of these becomes one
    /// of the source.
    ///
    /// # Errors
    /// If a value is missing or is none.
    pub(super) fn take(&self, row: &mut Map<String, Value>, place: &Place<'_>) -> Result<Scores, InterchangeError> {
        let ids = match &self.ids {
            None => None,
            Some([prompt, chosen, rejected]) => {
                Some([ids(row, prompt, place)?, ids(row, chosen, place)?, ids(row, rejected, place)?])
            }
        };
        let scores = Scores { ids, chosen: self.completion(row, 0, place)?, rejected: self.completion(row, 1, place)? };
        let ours = self.logps.iter().flatten().chain(self.ids.iter().flatten()).map(String::as_str);
        let known = LOGPS.as_flattened().iter().chain(&TOKEN_LOGPS).chain(IDS.as_flattened()).chain(&MASKS).copied();
        for name in ours.chain(known) {
            row.shift_remove(name);
        }
        Ok(scores)
    }

    fn completion(
        &self,
        row: &Map<String, Value>,
        side: usize,
        place: &Place<'_>,
    ) -> Result<CompletionLogps, InterchangeError> {
        let mut found = CompletionLogps::default();
        if let Some(names) = &self.logps {
            // One number, or in some data sets the terms of it.
            match row.get(&names[side]) {
                Some(Value::Array(terms)) => found.tokens = Some(token_logps(terms, &names[side], place)?),
                value => found.whole = Some(logp(value, &names[side], place)?),
            }
        }
        if let Some(names) = &self.token_logps {
            let Some(Value::Array(terms)) = row.get(&names[side]) else {
                let found = row.get(&names[side]);
                return Err(place.value(&names[side], "a list of log-probs, one a token", &shown(found)));
            };
            found.tokens = Some(token_logps(terms, &names[side], place)?);
        }
        Ok(found)
    }
}

fn owned<const N: usize>(names: [&str; N]) -> [String; N] {
    names.map(str::to_owned)
}

fn logp(value: Option<&Value>, column: &str, place: &Place<'_>) -> Result<f64, InterchangeError> {
    match value.and_then(Value::as_f64) {
        Some(logp) if is_logp(logp) => Ok(logp),
        _ => Err(place.value(column, "a finite log-prob, at most 0", &shown(value))),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the table keeps token log-probs in 32 bits")]
fn token_logps(terms: &[Value], column: &str, place: &Place<'_>) -> Result<Vec<f32>, InterchangeError> {
    terms.iter().map(|term| logp(Some(term), column, place).map(|logp| logp as f32)).collect()
}

fn ids(row: &Map<String, Value>, column: &str, place: &Place<'_>) -> Result<Vec<u32>, InterchangeError> {
    let value = row.get(column);
    let Some(Value::Array(ids)) = value else {
        return Err(place.value(column, "a list of token ids", &shown(value)));
    };
    let id = |id: &Value| id.as_u64().and_then(|id| u32::try_from(id).ok());
    ids.iter()
        .map(|value| id(value).ok_or_else(|| place.value(column, "a list of token ids", &in_list(value))))
        .collect()
}

fn in_list(value: &Value) -> String {
    format!("{} in it", shown(Some(value)))
}

/// A value as an error quotes it: numbers as they are, of the rest the kind.
fn shown(value: Option<&Value>) -> String {
    match value {
        // JSON has no word for the numbers that are none.
        None | Some(Value::Null) => "none (null, NaN or infinite)".into(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(_)) => "a boolean".into(),
        Some(Value::String(name)) if matches!(name.as_str(), "NaN" | "Infinity" | "-Infinity") => name.clone(),
        Some(Value::String(_)) => "a string".into(),
        Some(Value::Array(_)) => "a list".into(),
        Some(Value::Object(_)) => "an object".into(),
    }
}

#[cfg(test)]
mod tests;
