//! The columns of a scored data set: which names hold log-probs and token ids, and their values in a row.

use std::str::FromStr;

use serde_json::{Map, Value};

use super::error::{InterchangeError, Place};
use super::masks::{Kept, Masks};
use crate::data::{ColumnMap, ParseColumnMapError};
use crate::error::{Hint, nearest};
use crate::named_floats;
use crate::table::is_logp;

/// Log-probs of completions: TRL since 0.12, and TRL before.
const LOGPS: [[&str; 2]; 2] =
    [["ref_chosen_logps", "ref_rejected_logps"], ["reference_chosen_logps", "reference_rejected_logps"]];

/// Log-probs of tokens: a table of ours.
const TOKEN_LOGPS: [&str; 2] = ["ref_chosen_token_logps", "ref_rejected_token_logps"];

/// Token ids: TRL today, and TRL before.
const IDS: [[&str; 3]; 2] =
    [["prompt_ids", "chosen_ids", "rejected_ids"], ["prompt_input_ids", "chosen_input_ids", "rejected_input_ids"]];

/// Parts of a row that have token ids.
const PARTS: [&str; 3] = ["prompt", "chosen", "rejected"];

/// How a column of token ids is called after its part.
const ID_ENDINGS: [&str; 3] = ["_input_ids", "_token_ids", "_ids"];

/// How the columns beside token ids are called after the part: attention masks of tokenizers and collators, labels of TRL
/// before 0.12 and of LLaMA-Factory, masks of what is scored.
const MASK_ENDINGS: [&[&str]; 3] =
    [&["_attention_mask", "_mask"], &["_labels"], &["_loss_mask", "_completion_mask", "_assistant_masks"]];

/// Roles a user can give to columns besides those of the text: those of a group only together.
const LOGPS_ROLES: [&str; 2] = ["ref_chosen_logps", "ref_rejected_logps"];

/// The same for token ids.
const IDS_ROLES: [&str; 3] = ["prompt_ids", "chosen_ids", "rejected_ids"];

/// Roles beside token ids: any of them may be missing.
const MASK_ROLES: [&str; 5] =
    ["prompt_attention_mask", "chosen_attention_mask", "rejected_attention_mask", "chosen_labels", "rejected_labels"];

/// Column names a user gives to text, log-probs and token ids: `prompt=question,ref_chosen_logps=logp_w`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportMap {
    /// The columns of the text.
    pub text: ColumnMap,
    /// Log-probs of completions, chosen first.
    logps: Option<[String; 2]>,
    /// Token ids: prompt, chosen, rejected.
    ids: Option<[String; 3]>,
    /// What is beside them, in the order of [`MASK_ROLES`].
    masks: [Option<String>; 5],
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
    ColumnMap::words().chain(LOGPS_ROLES).chain(IDS_ROLES).chain(MASK_ROLES)
}

impl FromStr for ImportMap {
    type Err = ParseImportMapError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (mut ours, mut of_text) = (Vec::new(), Vec::new());
        for entry in text.split(',') {
            match entry.split_once('=').map(|(role, column)| (role.trim(), column.trim())) {
                Some((role, column))
                    if !column.is_empty()
                        && LOGPS_ROLES.iter().chain(&IDS_ROLES).chain(&MASK_ROLES).any(|known| *known == role) =>
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
        let masks = columns_of(&ours, &MASK_ROLES)?;
        Ok(Self { text, logps: group(&ours, &LOGPS_ROLES)?, ids: group(&ours, &IDS_ROLES)?, masks })
    }
}

/// The columns of roles, each at most once.
fn columns_of<const N: usize>(
    entries: &[(&str, &str)],
    roles: &'static [&'static str; N],
) -> Result<[Option<String>; N], ParseImportMapError> {
    let mut columns = [const { None }; N];
    for (at, &role) in roles.iter().enumerate() {
        for (_, column) in entries.iter().filter(|(found, _)| *found == role) {
            if columns[at].replace((*column).to_owned()).is_some() {
                return Err(ParseImportMapError::RoleTwice { role });
            }
        }
    }
    Ok(columns)
}

/// The columns of the roles of a group, if they are mapped.
fn group<const N: usize>(
    entries: &[(&str, &str)],
    roles: &'static [&'static str; N],
) -> Result<Option<[String; N]>, ParseImportMapError> {
    let columns = columns_of(entries, roles)?;
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
    /// Token ids.
    ids: Option<IdColumns>,
    /// Columns that mean nothing in a table and that nothing reads here.
    unread: Vec<String>,
}

/// Where a file has its token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
struct IdColumns {
    /// Of the prompt; `None` where the completions begin with it and their labels say where it ends.
    prompt: Option<String>,
    /// Of the completions, chosen first.
    completions: [String; 2],
    /// Beside the prompt, the chosen and the rejected completion.
    masks: [Masks; 3],
}

/// Why the columns of a file cannot be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LayoutError {
    /// Columns that the map names and the file does not have.
    Missing(Vec<String>),
    /// Several names for one thing.
    Ambiguous(Vec<String>),
}

/// Log-probs and token ids of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scores {
    /// Prompt, chosen, rejected, without padding and without what is not scored.
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
    pub(super) fn of(columns: &[String], map: &ImportMap) -> Result<Self, LayoutError> {
        let has = |name: &str| columns.iter().any(|column| column == name);
        let logps = match &map.logps {
            Some(names) => Some(names.clone()),
            None => one_of(&LOGPS, &has)?,
        };
        let token_logps = TOKEN_LOGPS.iter().all(|name| has(name)).then(|| owned(TOKEN_LOGPS));
        let ids = IdColumns::of(map, &has)?;
        let named = map.logps.iter().flatten().chain(map.ids.iter().flatten()).chain(map.masks.iter().flatten());
        let missing: Vec<String> = named.filter(|name| !has(name)).cloned().collect();
        if !missing.is_empty() {
            return Err(LayoutError::Missing(missing));
        }
        let mut layout = Self { logps, token_logps, ids, unread: Vec::new() };
        let is_unread = |name: &&str| has(name) && layout.read().all(|read| read != *name);
        layout.unread = known_names().iter().map(String::as_str).filter(is_unread).map(str::to_owned).collect();
        Ok(layout)
    }

    pub(super) fn has_logps(&self) -> bool {
        self.logps.is_some() || self.token_logps.is_some()
    }

    pub(super) fn has_ids(&self) -> bool {
        self.ids.is_some()
    }

    /// Whether nothing but the ids says which of a part are padding: 0 prompt, 1 chosen, 2 rejected.
    pub(super) fn is_unmasked(&self, part: usize) -> bool {
        self.ids.as_ref().is_some_and(|ids| ids.masks[part].is_empty())
    }

    /// Columns that mean nothing in a table, are left out of it, and say nothing here.
    pub(super) fn unread(&self) -> &[String] {
        &self.unread
    }

    /// Name of the column with the ids of a part: 0 prompt, 1 chosen, 2 rejected.
    pub(super) fn ids_column(&self, part: usize) -> &str {
        let found = self.ids.as_ref().and_then(|ids| match part {
            0 => ids.prompt.as_ref(),
            part => ids.completions.get(part - 1),
        });
        found.map_or(IDS[0][part], String::as_str)
    }

    /// Name of the column with the log-prob of a completion: 0 chosen, 1 rejected.
    pub(super) fn logps_column(&self, side: usize) -> &str {
        self.logps.as_ref().map_or(LOGPS[0][side], |names| &names[side])
    }

    /// Name of the column with the log-probs of its tokens.
    pub(super) fn token_logps_column(&self, side: usize) -> &str {
        self.token_logps.as_ref().map_or(self.logps_column(side), |names| &names[side])
    }

    /// The columns that are read.
    fn read(&self) -> impl Iterator<Item = &str> {
        let names = self.logps.iter().flatten().chain(self.token_logps.iter().flatten()).map(String::as_str);
        names.chain(self.ids.iter().flat_map(IdColumns::columns))
    }

    /// Takes log-probs and ids out of a row, and whatever else means nothing in a table: no column of these becomes one
    /// of the source.
    ///
    /// # Errors
    /// If a value is missing or is none.
    pub(super) fn take(&self, row: &mut Map<String, Value>, place: &Place<'_>) -> Result<Scores, InterchangeError> {
        let ids = self.ids.as_ref().map(|columns| columns.take(row, place)).transpose()?;
        let (ids, kept) = match ids {
            Some((ids, [chosen, rejected])) => (Some(ids), [Some(chosen), Some(rejected)]),
            None => (None, [None, None]),
        };
        let [mut chosen, mut rejected] = [self.completion(row, 0, place)?, self.completion(row, 1, place)?];
        for (logps, kept) in [&mut chosen, &mut rejected].into_iter().zip(kept) {
            if let (Some(terms), Some(kept)) = (&mut logps.tokens, kept) {
                // Terms are as long as the ids beside them, or are those of the scored ones alone.
                if terms.len() == kept.n_ids {
                    *terms = terms[kept.scored].to_vec();
                }
            }
        }
        for name in self.read().chain(self.unread.iter().map(String::as_str)) {
            row.shift_remove(name);
        }
        Ok(Scores { ids, chosen, rejected })
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

/// The one of several spellings that a file has.
fn one_of<const N: usize>(
    spellings: &[[&str; N]],
    has: &impl Fn(&str) -> bool,
) -> Result<Option<[String; N]>, LayoutError> {
    let mut found = spellings.iter().filter(|names| names.iter().all(|name| has(name)));
    let first = found.next();
    match (first, found.next()) {
        (Some(first), Some(second)) => Err(LayoutError::Ambiguous([first[0], second[0]].map(str::to_owned).to_vec())),
        (first, _) => Ok(first.map(|names| owned(*names))),
    }
}

/// Every name that means something here and nothing in a table.
fn known_names() -> Vec<String> {
    let endings = || MASK_ENDINGS.iter().copied().flatten();
    let masks = PARTS.iter().flat_map(|part| endings().map(move |ending| format!("{part}{ending}")));
    let names = LOGPS.as_flattened().iter().chain(&TOKEN_LOGPS).chain(IDS.as_flattened());
    names.map(|name| (*name).to_owned()).chain(masks).collect()
}

impl IdColumns {
    fn of(map: &ImportMap, has: &impl Fn(&str) -> bool) -> Result<Option<Self>, LayoutError> {
        let (prompt, completions) = match &map.ids {
            Some([prompt, chosen, rejected]) => (Some(prompt.clone()), [chosen.clone(), rejected.clone()]),
            None => match one_of(&IDS, has)? {
                Some([prompt, chosen, rejected]) => (Some(prompt), [chosen, rejected]),
                None => match one_of(&IDS.map(|[_, chosen, rejected]| [chosen, rejected]), has)? {
                    Some(completions) => (None, completions),
                    None => return Ok(None),
                },
            },
        };
        let part = |at: usize, ids: &str| Masks {
            attention: map.masks[at].clone().or_else(|| beside(ids, MASK_ENDINGS[0], has)),
            labels: match at {
                0 => None,
                at => map.masks[at + 2].clone().or_else(|| beside(ids, MASK_ENDINGS[1], has)),
            },
            scored: if at == 0 { None } else { beside(ids, MASK_ENDINGS[2], has) },
        };
        let masks = [
            prompt.as_deref().map(|ids| part(0, ids)).unwrap_or_default(),
            part(1, &completions[0]),
            part(2, &completions[1]),
        ];
        // Without a prompt, only labels say where it ends.
        let is_whole = prompt.is_some() || masks[1..].iter().all(Masks::says_what_is_scored);
        Ok(is_whole.then_some(Self { prompt, completions, masks }))
    }

    fn columns(&self) -> impl Iterator<Item = &str> {
        let ids = self.prompt.iter().chain(&self.completions).map(String::as_str);
        ids.chain(self.masks.iter().flat_map(Masks::columns))
    }

    /// Prompt, chosen and rejected, and which ids of the two completions are those.
    fn take(
        &self,
        row: &Map<String, Value>,
        place: &Place<'_>,
    ) -> Result<([Vec<u32>; 3], [Kept; 2]), InterchangeError> {
        let side = |side: usize| {
            let ids = ids(row, &self.completions[side], place)?;
            let kept = self.masks[side + 1].kept(row, &ids, place)?;
            Ok::<_, InterchangeError>((ids[kept.lead.clone()].to_vec(), ids[kept.scored.clone()].to_vec(), kept))
        };
        let (leads, completions, kept) = {
            let [(lead_w, chosen, kept_w), (lead_l, rejected, kept_l)] = [side(0)?, side(1)?];
            ([lead_w, lead_l], [chosen, rejected], [kept_w, kept_l])
        };
        let prompt = match &self.prompt {
            Some(column) => {
                let ids = ids(row, column, place)?;
                let kept = self.masks[0].kept(row, &ids, place)?;
                ids[kept.scored].to_vec()
            }
            None => leads[0].clone(),
        };
        // What is in front and not scored is the prompt once more, or is part of no prompt.
        if let Some(side) = leads.iter().position(|lead| !lead.is_empty() && *lead != prompt) {
            let n_lead = leads[side].len();
            let column = self.masks[side + 1].columns().last().unwrap_or_default().to_owned();
            return Err(InterchangeError::OtherLead { place: place.to_string(), column, n_lead });
        }
        let [chosen, rejected] = completions;
        Ok(([prompt, chosen, rejected], kept))
    }
}

/// The column beside these ids with one of these endings after the name of the part.
fn beside(ids: &str, endings: &[&str], has: &impl Fn(&str) -> bool) -> Option<String> {
    let part = ID_ENDINGS.iter().find_map(|ending| ids.strip_suffix(ending))?;
    endings.iter().map(|ending| format!("{part}{ending}")).find(|name| has(name))
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
pub(super) fn shown(value: Option<&Value>) -> String {
    match value {
        // JSON has no word for the numbers that are none.
        None | Some(Value::Null) => "none (null, NaN or infinite)".into(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(_)) => "a boolean".into(),
        Some(Value::String(name)) if named_floats::value(name).is_some() => name.clone(),
        Some(Value::String(_)) => "a string".into(),
        Some(Value::Array(_)) => "a list".into(),
        Some(Value::Object(_)) => "an object".into(),
    }
}

#[cfg(test)]
mod tests;
