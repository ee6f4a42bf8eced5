//! The prompts of a data file: those of its preference pairs, or a column of prompts where there are no answers.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::convert::{add_system, message, parse_tools, value, variables};
use super::message::{kind, parse_turns};
use super::reader::{ObjectRow, ObjectRows, PairReader, Row, open, open_objects};
use super::text::turns_text;
use super::unread::Read;
use super::{ColumnMap, DataError, Message, PairText, Reject, Role, Source};

/// What a completion follows, in the shape the source has it.
#[derive(Debug, Clone, PartialEq)]
pub enum PromptText {
    /// A plain string.
    Plain(String),
    /// The turns before the completion.
    Messages {
        /// The turns.
        turns: Vec<Message>,
        /// Tool definitions for the template, if the source has any.
        tools: Option<Value>,
    },
}

/// One prompt and the place it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// The prompt.
    pub text: PromptText,
    /// The file.
    pub source: Arc<Source>,
    /// 0-based row in that file (rejected rows count).
    pub row_idx: u64,
    /// 1-based line of that file, where it has lines.
    pub line: Option<u64>,
    /// Variables of the chat template that the row sets (`chat_template_kwargs`).
    pub variables: Option<Map<String, Value>>,
}

/// One row of a file of prompts.
#[derive(Debug, Clone, PartialEq)]
pub enum PromptRow {
    /// A prompt.
    Prompt(Prompt),
    /// A row that has none.
    Reject(Reject),
}

/// The prompts of a data file, in its order. Ends after the first error.
pub struct PromptReader {
    rows: Rows,
}

enum Rows {
    Pairs(PairReader),
    Column { column: String, system: Option<String>, map: ColumnMap, source: Arc<Source>, rows: ObjectRows },
}

/// Opens a data file for its prompts: any file [`open`] reads, or one with a column `prompt` (or whichever `map` names)
/// of strings or messages and no answers.
///
/// # Errors
/// As [`open`], and if there is no such column either.
pub fn open_prompts(path: &Path, map: &ColumnMap) -> Result<PromptReader, DataError> {
    let needs_answers = [Role::Chosen, Role::Rejected].into_iter().any(|role| map.column(role).is_some());
    let rows = match open(path, map) {
        Ok(pairs) => Rows::Pairs(pairs),
        Err(DataError::NotPairs { path, columns, .. } | DataError::Unpaired { path, columns, .. })
            if !needs_answers =>
        {
            let column = map.column(Role::Prompt).unwrap_or(Role::Prompt.name()).to_owned();
            if !columns.contains(&column) {
                return Err(DataError::NoPrompts { path, expected: column, columns });
            }
            let system = map.column(Role::System).map(str::to_owned);
            let (map, source) = (map.clone(), Arc::new(Source::of(&path)));
            Rows::Column { column, system, map, source, rows: open_objects(&path)? }
        }
        Err(error) => return Err(error),
    };
    Ok(PromptReader { rows })
}

impl PromptText {
    /// A user's turn that says this.
    pub fn user(text: &str) -> Self {
        Self::Messages { turns: vec![message("user", text)], tools: None }
    }

    /// What the author wrote, as the column `prompt` of a log-prob table has it: see [`PairText::prompt_text`].
    pub fn text(&self) -> String {
        match self {
            Self::Plain(text) => text.clone(),
            Self::Messages { turns, .. } => turns_text(turns, "user"),
        }
    }
}

impl From<PairText> for PromptText {
    fn from(text: PairText) -> Self {
        match text {
            PairText::Plain { prompt, .. } => Self::Plain(prompt),
            PairText::Messages { prompt, tools, .. } => Self::Messages { turns: prompt, tools },
        }
    }
}

impl Iterator for PromptReader {
    type Item = Result<PromptRow, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.rows {
            Rows::Pairs(pairs) => Some(pairs.next()?.map(|row| match row {
                Row::Reject(reject) => PromptRow::Reject(reject),
                Row::Pair(pair) => PromptRow::Prompt(Prompt {
                    text: pair.text.into(),
                    source: pair.source,
                    row_idx: pair.row_idx,
                    line: pair.line,
                    variables: pair.extra.get("chat_template_kwargs").and_then(Value::as_object).cloned(),
                }),
            })),
            Rows::Column { column, system, map, source, rows } => {
                let (start, system) = (Some(column.as_str()), system.as_deref());
                let read = Read { start, system, takes_system: true, has_tools: true, map };
                Some(rows.next()?.map(|row| from_column(column, &read, source, row)))
            }
        }
    }
}

fn from_column(column: &str, read: &Read<'_>, source: &Arc<Source>, row: ObjectRow) -> PromptRow {
    let (source, ObjectRow { row_idx, line, object }) = (Arc::clone(source), row);
    let prompt = object.and_then(|mut object| match read.unread(&object) {
        Some(unread) => Err(unread.rejection()),
        None => Ok((text(column, read.system, &object)?, variables(&mut object)?)),
    });
    match prompt {
        Ok((text, variables)) => PromptRow::Prompt(Prompt { text, source, row_idx, line, variables }),
        Err(reason) => PromptRow::Reject(Reject { source, row_idx, line, reason }),
    }
}

fn text(column: &str, system: Option<&str>, row: &Map<String, Value>) -> Result<PromptText, String> {
    let mut turns = match (value(row, column)?, system) {
        (Value::String(text), None) => return Ok(PromptText::Plain(text.clone())),
        (Value::String(text), Some(_)) => vec![message("user", text)],
        (turns @ (Value::Array(_) | Value::Object(_)), _) => parse_turns(column, turns)?,
        (other, _) => return Err(format!("column `{column}`: expected a string or messages, found {}", kind(other))),
    };
    if let Some(system) = system {
        add_system(&mut turns, row, system)?;
    }
    Ok(PromptText::Messages { turns, tools: parse_tools("tools", row.get("tools"))? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io;

    fn rows(text: &str, map: &str) -> Result<Vec<PromptRow>, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prompts.jsonl");
        io::write(&path, text.as_bytes()).unwrap();
        let map = if map.is_empty() { ColumnMap::default() } else { map.parse().unwrap() };
        open_prompts(&path, &map)?.collect()
    }

    fn texts(text: &str, map: &str) -> Vec<Result<PromptText, String>> {
        let row = |row| match row {
            PromptRow::Prompt(prompt) => Ok(prompt.text),
            PromptRow::Reject(reject) => Err(reject.reason),
        };
        rows(text, map).unwrap().into_iter().map(row).collect()
    }

    #[test]
    fn the_prompts_of_pairs_are_those_of_the_pairs() {
        let text = "{\"prompt\": \"q\", \"chosen\": \" y\", \"rejected\": \" n\"}\n{\"prompt\": 1}\n";
        let found = texts(text, "");
        assert_eq!(found[0], Ok(PromptText::Plain("q".into())));
        assert!(found[1].is_err() && found.len() == 2, "{found:?}");
    }

    #[test]
    fn a_column_of_prompts_needs_no_answers() {
        let text = "{\"prompt\": \"q\"}\n{\"prompt\": [{\"role\": \"user\", \"content\": \"m\"}], \"tools\": []}\n\
                    {\"prompt\": 3}\n{\"other\": 1}\n";
        let want = [
            Ok(PromptText::Plain("q".into())),
            Ok(PromptText::Messages { turns: vec![message("user", "m")], tools: Some(Value::Array(Vec::new())) }),
            Err("column `prompt`: expected a string or messages, found a number".to_owned()),
            Err("column `prompt` is missing (found: other)".to_owned()),
        ];
        assert_eq!(texts(text, ""), want);
    }

    #[test]
    fn a_column_of_another_name_and_a_system_text_are_mapped() {
        let text = "{\"question\": \"q\", \"role\": \"Be brief.\"}\n";
        let found = texts(text, "prompt=question,system=role").remove(0).unwrap();
        assert_eq!(found.text(), "system: Be brief.\n\nuser: q");
    }

    #[test]
    fn a_file_without_prompts_names_its_columns() {
        let error = rows("{\"question\": \"q\"}\n", "").unwrap_err();
        assert!(matches!(&error, DataError::NoPrompts { columns, .. } if columns == &["question"]), "{error}");
        assert!(matches!(rows("{\"prompt\": \"q\"}\n", "chosen=prompt"), Err(DataError::NotPairs { .. })));
    }
}
