//! The layout of a file, from its first rows: by the names of the columns and the shape of their values.

use std::path::Path;

use serde_json::{Map, Value};

use super::format::{Format, Layout};
use super::implicit::ASSISTANT_MARK;
use super::message::{is_sharegpt, is_turns};
use super::recipes::{Recognised, recognise};
use super::unread::Read;
use super::{ColumnMap, DataError, Role};

/// Columns that may hold a prompt under a name that does not say so. Beside answers without a prompt column one of
/// these makes the file ambiguous: the common beginning of two answers is not their prompt.
const MAYBE_PROMPT: [&str; 12] = [
    "input",
    "instruction",
    "question",
    "query",
    "problem",
    "context",
    "history",
    "post",
    "user",
    "messages",
    "conversation",
    "conversations",
];

/// What one row looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reading {
    Pair(Layout),
    /// More than one set of columns that would do.
    Several(Vec<Layout>),
    /// Two answers, and a column that may be their prompt.
    MaybePrompt {
        answers: Layout,
        column: String,
    },
    Unpaired,
}

/// The layout that most of the recognised rows have.
///
/// Rows that look like nothing known do not count: they become rejects, or an error where all are like that.
pub(super) fn detect(path: &Path, map: &ColumnMap, rows: &[&Map<String, Value>]) -> Result<Layout, DataError> {
    let columns = columns(rows);
    if let Some(column) = map.columns().find(|mapped| !columns.iter().any(|column| column == mapped)) {
        return Err(DataError::MissingColumn { path: path.to_owned(), column: column.to_owned(), columns });
    }
    if let Some(recognised) = judged(map, rows) {
        return Err(DataError::NotPairs { path: path.to_owned(), columns, recognised: Some(recognised) });
    }

    let mut votes: Vec<(Reading, usize)> = Vec::new();
    for row in rows {
        let Some(reading) = (if map.has_no_roles() { read_by_name(row) } else { read_by_map(row, map) }) else {
            continue;
        };
        match votes.iter_mut().find(|(known, _)| *known == reading) {
            Some((_, n_rows)) => *n_rows += 1,
            None => votes.push((reading, 1)),
        }
    }
    let most = votes.iter().map(|(_, n_rows)| *n_rows).max().unwrap_or_default();
    let mut winners = votes.into_iter().filter(|(_, n_rows)| *n_rows == most).map(|(reading, _)| reading);

    let known = || rows.iter().find_map(|row| recognise(row));
    let file = path;
    let path = path.to_owned();
    let layout = match (winners.next(), winners.next()) {
        (None, _) => return Err(DataError::NotPairs { path, columns, recognised: known() }),
        (Some(first), Some(second)) => {
            let is_open = |reading: &Reading| matches!(reading, Reading::MaybePrompt { .. });
            if let (true, Some(recognised)) = (is_open(&first) && is_open(&second), known()) {
                return Err(DataError::NotPairs { path, columns, recognised: Some(recognised) });
            }
            let readings = [first, second].into_iter().chain(winners).flat_map(readings).collect();
            return Err(DataError::Ambiguous { path, columns, readings });
        }
        (Some(Reading::Pair(layout)), None) => layout,
        (Some(Reading::MaybePrompt { answers, column }), None) => {
            if let Some(recognised) = known() {
                return Err(DataError::NotPairs { path, columns, recognised: Some(recognised) });
            }
            let read = Read { start: Some(&column), ..Read::pair(&answers, map) };
            let system = rows.iter().find_map(|row| read.unread(row)).map(|unread| unread.column);
            let system = system.filter(|column| column.to_ascii_lowercase().starts_with("system"));
            return Err(DataError::MaybePrompt { path, column, system, columns });
        }
        (Some(Reading::Unpaired), None) => return Err(DataError::Unpaired { path, columns, recognised: known() }),
        (Some(several), None) => return Err(DataError::Ambiguous { path, columns, readings: readings(several) }),
    };
    match (&layout.system, &layout.prompt) {
        (Some(column), None) if matches!(layout.format, Format::StandardImplicit | Format::Transcripts) => {
            Err(DataError::SystemWithoutPrompt { path, column: column.clone() })
        }
        _ => {
            check_names(&path, &layout, map, &columns)?;
            Read::pair(&layout, map).check(file, rows)?;
            Ok(layout)
        }
    }
}

/// What a user took for chosen and rejected answers, where another column says which is which.
fn judged(map: &ColumnMap, rows: &[&Map<String, Value>]) -> Option<Recognised> {
    let sides = [map.column(Role::Chosen)?, map.column(Role::Rejected)?];
    let recognised = rows.iter().find_map(|row| recognise(row))?;
    let [first, second, judge] = recognised.judged.as_ref()?;
    (sides.contains(&first.as_str()) && sides.contains(&second.as_str()) && !map.ignores(judge)).then_some(recognised)
}

/// Refuses a part of the pair that is there twice, once with capitals.
fn check_names(path: &Path, layout: &Layout, map: &ColumnMap, columns: &[String]) -> Result<(), DataError> {
    for part in layout.columns() {
        let is_twin = |other: &&String| *other != part && other.eq_ignore_ascii_case(part) && !map.ignores(other);
        if let (true, Some(other)) = (columns.iter().any(|column| column == part), columns.iter().find(is_twin)) {
            let (path, first, second) = (path.to_owned(), part.to_owned(), other.clone());
            return Err(DataError::SameName { path, first, second });
        }
    }
    Ok(())
}

/// Every column of the rows, as they first occur.
pub(super) fn columns(rows: &[&Map<String, Value>]) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    for name in rows.iter().flat_map(|row| row.keys()) {
        if !columns.contains(name) {
            columns.push(name.clone());
        }
    }
    columns
}

fn readings(reading: Reading) -> Vec<String> {
    match reading {
        Reading::Pair(layout) => vec![layout.to_string()],
        Reading::Several(layouts) => layouts.iter().map(Layout::to_string).collect(),
        Reading::MaybePrompt { answers, column } => {
            vec![answers.to_string(), format!("with the prompt in `{column}`")]
        }
        Reading::Unpaired => vec!["unpaired answers with a label".into()],
    }
}

/// Reads a row by the column names that data sets use.
fn read_by_name(row: &Map<String, Value>) -> Option<Reading> {
    let has = |name: &str| present(row, name).is_some();
    let turns = |name: &str| present(row, name).is_some_and(is_turns);
    let text = |name: &str| present(row, name).is_some_and(Value::is_string);
    let layout = |format, prompt: Option<&str>, chosen: &str, rejected: &str| Layout {
        format,
        prompt: prompt.map(str::to_owned),
        chosen: chosen.into(),
        rejected: rejected.into(),
        system: None,
    };

    let mut found = Vec::new();
    if present(row, "input").is_some_and(|input| input.get("messages").is_some_and(is_turns))
        && turns("preferred_output")
        && turns("non_preferred_output")
    {
        found.push(layout(Format::OpenAi, Some("input"), "preferred_output", "non_preferred_output"));
    }
    if turns("chosen_messages") && turns("rejected_messages") {
        found.push(layout(Format::LlamaFactory, None, "chosen_messages", "rejected_messages"));
    }
    if text("instruction") && text("chosen_response") && text("rejected_response") {
        found.push(layout(Format::Argilla, Some("instruction"), "chosen_response", "rejected_response"));
    }
    for rejected in ["rejected_response", "rejected_messages"] {
        if turns("messages") && !has("chosen") && (turns(rejected) || rejected == "rejected_response" && text(rejected))
        {
            found.push(layout(Format::MsSwift, None, "messages", rejected));
        }
    }
    let prompts: Vec<&str> = ["prompt", "conversations"].into_iter().filter(|name| has(name)).collect();
    let mut answers = None;
    if prompts.is_empty() {
        answers = read_columns(row, None, "chosen", "rejected");
    }
    for prompt in prompts {
        found.extend(read_columns(row, Some(prompt), "chosen", "rejected"));
    }

    match (found.pop(), found.is_empty(), answers) {
        (Some(layout), true, None) => Some(Reading::Pair(layout)),
        (None, _, Some(answers)) => Some(match maybe_prompt(row, &answers) {
            Some(column) => Reading::MaybePrompt { answers, column },
            None => Reading::Pair(answers),
        }),
        (Some(last), _, answers) => Some(Reading::Several(found.into_iter().chain([last]).chain(answers).collect())),
        (None, _, None) => (has("completion") && has("label")).then_some(Reading::Unpaired),
    }
}

/// Reads a row by the columns a user named, with the usual names for the parts that were not named.
fn read_by_map(row: &Map<String, Value>, map: &ColumnMap) -> Option<Reading> {
    let names_parts = [Role::Prompt, Role::Chosen, Role::Rejected].into_iter().any(|role| map.column(role).is_some());
    if !names_parts {
        return read_by_name(row).map(|reading| match reading {
            Reading::Pair(layout) => Reading::Pair(with_system(layout, map)),
            other => other,
        });
    }
    let usual_prompt = || ["prompt", "conversations"].into_iter().find(|name| present(row, name).is_some());
    let prompt = map.column(Role::Prompt).or_else(usual_prompt);
    let chosen = map.column(Role::Chosen).unwrap_or("chosen");
    let rejected = map.column(Role::Rejected).unwrap_or("rejected");
    let layout = read_columns(row, prompt, chosen, rejected)?;
    Some(Reading::Pair(with_system(layout, map)))
}

/// A layout with the column a user named for the system text.
fn with_system(mut layout: Layout, map: &ColumnMap) -> Layout {
    if let Some(system) = map.column(Role::System) {
        layout.system = Some(system.to_owned());
        if matches!(layout.format, Format::Standard | Format::Argilla) {
            layout.format = Format::StandardWithSystem;
        }
    }
    layout
}

/// The format of three columns, by the shape of their values.
fn read_columns(row: &Map<String, Value>, prompt: Option<&str>, chosen: &str, rejected: &str) -> Option<Layout> {
    let (first, second) = (present(row, chosen)?, present(row, rejected)?);
    let format = match (prompt.map(|column| present(row, column)), first, second) {
        (None, Value::String(first), Value::String(second)) => {
            if first.contains(ASSISTANT_MARK) && second.contains(ASSISTANT_MARK) {
                Format::Transcripts
            } else {
                Format::StandardImplicit
            }
        }
        (None, first, second) if is_turns(first) && is_turns(second) => Format::ConversationalImplicit,
        (Some(Some(Value::String(_))), Value::String(_), Value::String(_)) => Format::Standard,
        (Some(Some(prompt)), Value::String(_), Value::String(_)) if is_turns(prompt) => Format::MessagesAndTexts,
        (Some(Some(prompt)), first, second) if is_turns(first) && is_turns(second) => {
            if prompt.is_string() {
                Format::PromptAndMessages
            } else if !is_turns(prompt) {
                return None;
            } else if is_sharegpt(prompt) {
                Format::ShareGpt
            } else {
                Format::Conversational
            }
        }
        _ => return None,
    };
    Some(Layout {
        format,
        prompt: prompt.map(str::to_owned),
        chosen: chosen.into(),
        rejected: rejected.into(),
        system: (format == Format::ShareGpt).then(|| "system".into()),
    })
}

/// A column that may be the prompt of answers that have none: texts that are not transcripts, or turns that begin with
/// the assistant's.
fn maybe_prompt(row: &Map<String, Value>, answers: &Layout) -> Option<String> {
    let begins_with_answer = || {
        let turn = row.get(&answers.chosen).and_then(|turns| turns.get(0).or(Some(turns)));
        let role = turn.and_then(|turn| turn.get("role").or_else(|| turn.get("from")));
        role.and_then(Value::as_str).is_some_and(|role| matches!(role, "assistant" | "gpt"))
    };
    let may_miss_prompt = match answers.format {
        Format::StandardImplicit => true,
        Format::ConversationalImplicit => begins_with_answer(),
        _ => false,
    };
    let is_filled = |value: &Value| match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if !may_miss_prompt {
        return None;
    }
    // In the order of the names, whatever their capitals.
    let names = ["prompt"].into_iter().chain(MAYBE_PROMPT);
    let column = |name: &str| row.iter().find(|(column, value)| column.eq_ignore_ascii_case(name) && is_filled(value));
    names.into_iter().find_map(column).map(|(column, _)| column.clone())
}

fn present<'a>(row: &'a Map<String, Value>, column: &str) -> Option<&'a Value> {
    row.get(column).filter(|value| !value.is_null())
}
