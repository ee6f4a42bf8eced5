//! Columns that belong to what is scored and that no format reads: said by name, never dropped.
//!
//! TRL 1.16 leaves these columns out without a word; the text that is scored is then another one than the author's.

use std::path::Path;

use serde_json::{Map, Value};

use super::format::{Format, Layout};
use super::{ColumnMap, DataError, recipes};

/// Columns of what is no text.
const MEDIA: [&str; 6] = ["images", "image", "videos", "video", "audios", "audio"];

/// Columns of a system text.
const SYSTEM: [&str; 3] = ["system", "system_prompt", "system_message"];

/// A column that is filled and not read, and why that matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unread {
    pub(super) column: String,
    pub(super) reason: &'static str,
}

/// What is read of a row, by the names of its columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read<'a> {
    /// The column whose text or turns begin what is read.
    pub(super) start: Option<&'a str>,
    pub(super) system: Option<&'a str>,
    /// Whether a column can be read as a system text.
    pub(super) takes_system: bool,
    /// Whether `tools` is read.
    pub(super) has_tools: bool,
    pub(super) map: &'a ColumnMap,
}

impl<'a> Read<'a> {
    /// What is read of a pair.
    pub(super) fn pair(layout: &'a Layout, map: &'a ColumnMap) -> Self {
        let start = Some(layout.prompt.as_deref().unwrap_or(&layout.chosen));
        let has_tools = layout.has_tools() || layout.format == Format::OpenAi;
        let takes_system = !matches!(layout.format, Format::StandardImplicit | Format::Transcripts);
        Self { start, system: layout.system.as_deref(), takes_system, has_tools, map }
    }

    /// The first column of a row that is not read and should be.
    pub(super) fn unread(&self, row: &Map<String, Value>) -> Option<Unread> {
        // Whatever its capitals: a name that says so says so.
        let of = |columns: &[&str], reason| {
            let is_open = |(column, value): &(&String, &Value)| {
                columns.iter().any(|known| column.eq_ignore_ascii_case(known))
                    && is_filled(value)
                    && !self.map.ignores(column)
                    && self.start != Some(column.as_str())
                    && self.system != Some(column.as_str())
            };
            let (column, _) = row.iter().find(is_open)?;
            Some(Unread { column: column.clone(), reason })
        };
        let media = of(&MEDIA, "only text is scored");
        if media.is_some() || self.start.is_none() {
            return media;
        }
        let alpaca: &[&str] = match self.start {
            Some("instruction") => &["input"],
            Some("input") => &["instruction"],
            _ => &[],
        };
        let tools: &[&str] = if self.has_tools { &["functions"] } else { &["tools", "functions"] };
        of(alpaca, "Alpaca's prompt is in both columns")
            .or_else(|| {
                of(&SYSTEM, "a system text belongs before the prompt").filter(|unread| !self.repeats(row, unread))
            })
            .or_else(|| of(&["history"], "earlier turns belong before the prompt"))
            .or_else(|| of(tools, "tools are for the template of a conversation"))
    }

    /// Whether the turns begin with the text of a column already.
    fn repeats(&self, row: &Map<String, Value>, unread: &Unread) -> bool {
        let first = self.start.and_then(|start| row.get(start)).and_then(|turns| turns.get(0));
        let member = |names: [&str; 2]| first.and_then(|turn| names.into_iter().find_map(|name| turn.get(name)));
        member(["role", "from"]).is_some_and(|role| role == "system")
            && member(["content", "value"]).is_some_and(|content| Some(content) == row.get(&unread.column))
    }

    /// The error of a file that has such a column in one of its first rows.
    pub(super) fn check(&self, path: &Path, rows: &[&Map<String, Value>]) -> Result<(), DataError> {
        let Some(unread) = rows.iter().find_map(|row| self.unread(row)) else { return Ok(()) };
        let Unread { column, reason } = unread;
        let mapped = |entry: &str| {
            let map = self.map.to_string();
            format!("`--map {map}{}{entry}={column}`", if map.is_empty() { "" } else { "," })
        };
        let leave = mapped("ignore");
        let hint = if self.takes_system && SYSTEM.iter().any(|known| column.eq_ignore_ascii_case(known)) {
            format!("{} puts it there, as a turn of a conversation; {leave} leaves it out", mapped("system"))
        } else if matches!(column.as_str(), "input" | "instruction") {
            let prompt = recipes::ALPACA_PROMPT;
            let query = format!("SELECT * EXCLUDE (instruction, input), {prompt} FROM");
            format!("`{}` joins them, then read that file as it is", recipes::command(&query, path))
        } else {
            format!("{leave} scores the text without it")
        };
        Err(DataError::Unread { path: path.to_owned(), column, reason, hint })
    }
}

impl Unread {
    /// The reason for a row that has one where the first rows had none.
    pub(super) fn rejection(self) -> String {
        format!("column `{}` is not empty, and is no part of what is read: {}", self.column, self.reason)
    }
}

fn is_filled(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.trim().is_empty() && text.trim() != "[]",
        Value::Array(items) => items.iter().any(|item| !item.is_null()),
        Value::Object(members) => members.values().any(|member| !member.is_null()),
        _ => false,
    }
}
