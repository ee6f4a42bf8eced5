//! One row into one pair, by the layout of its file. Errors are reasons for a [`Reject`](super::Reject).

use serde_json::{Map, Value};

use super::container::parse_value;
use super::format::{Format, Layout};
use super::implicit::{ASSISTANT_MARK, is_assistant, plain_prompt_length, prompt_turns, transcript_prompt_length};
use super::message::{kind, parse_turns};
use super::unread::Read;
use super::{ColumnMap, Message, PairText};

type Turns = Vec<Message>;

/// The text of a row, and every column that is no part of it.
pub(super) fn convert(
    layout: &Layout,
    map: &ColumnMap,
    mut row: Map<String, Value>,
) -> Result<(PairText, Map<String, Value>), String> {
    let text = pair_text(layout, &row)?;
    if let Some(unread) = Read::pair(layout, map).unread(&row) {
        return Err(unread.rejection());
    }
    if let PairText::Messages { chosen, rejected, .. } = &text {
        for (column, turns) in [(&layout.chosen, chosen), (&layout.rejected, rejected)] {
            check_weights(column, turns)?;
        }
    }
    if let Some(variables) = variables(&mut row)? {
        row.insert(VARIABLES.into(), Value::Object(variables));
    }

    // UltraFeedback says the preferred conversation twice.
    if row.get("messages").is_some_and(|messages| row.get(&layout.chosen) == Some(messages)) {
        row.shift_remove("messages");
    }
    let input = if layout.format == Format::OpenAi { row.get("input").cloned() } else { None };
    for column in layout.columns() {
        row.shift_remove(column);
    }
    if let Some(Value::Object(mut input)) = input {
        input.retain(|name, value| !matches!(name.as_str(), "messages" | "tools") && !value.is_null());
        if !input.is_empty() {
            row.insert("input".into(), Value::Object(input));
        }
    }
    row.retain(|_, value| !value.is_null());
    Ok((text, row))
}

fn pair_text(layout: &Layout, row: &Map<String, Value>) -> Result<PairText, String> {
    match layout.format {
        Format::Standard | Format::Argilla => Ok(PairText::Plain {
            prompt: string(row, prompt_column(layout))?.to_owned(),
            chosen: string(row, &layout.chosen)?.to_owned(),
            rejected: string(row, &layout.rejected)?.to_owned(),
        }),
        Format::StandardImplicit | Format::Transcripts => implicit_plain(layout, row),
        Format::StandardWithSystem => {
            let turn = |role, column| string(row, column).map(|text| vec![message(role, text)]);
            let prompt = turn("user", prompt_column(layout))?;
            let chosen = turn("assistant", &layout.chosen)?;
            messages(layout, row, prompt, chosen, turn("assistant", &layout.rejected)?)
        }
        Format::PromptAndMessages => prompt_and_messages(layout, row),
        Format::MessagesAndTexts => {
            let answer = |column| string(row, column).map(|text| vec![message("assistant", text)]);
            let (chosen, rejected) = (answer(&layout.chosen)?, answer(&layout.rejected)?);
            messages(layout, row, turns(row, prompt_column(layout))?, chosen, rejected)
        }
        Format::MsSwift => ms_swift(layout, row),
        Format::Conversational | Format::ShareGpt => {
            let prompt = turns(row, prompt_column(layout))?;
            let chosen = without_prompt(turns(row, &layout.chosen)?, &prompt);
            let rejected = without_prompt(turns(row, &layout.rejected)?, &prompt);
            messages(layout, row, prompt, chosen, rejected)
        }
        Format::ConversationalImplicit => {
            let (prompt, chosen, rejected) = implicit_turns(layout, row)?;
            messages(layout, row, prompt, chosen, rejected)
        }
        Format::LlamaFactory => {
            let (mut prompt, mut chosen, mut rejected) = implicit_turns(layout, row)?;
            // How a trainer weighs a turn is not what the turn says.
            for turn in prompt.iter_mut().chain(&mut chosen).chain(&mut rejected) {
                turn.extra.shift_remove("loss_weight");
            }
            messages(layout, row, prompt, chosen, rejected)
        }
        Format::OpenAi => openai(layout, row),
    }
}

fn implicit_plain(layout: &Layout, row: &Map<String, Value>) -> Result<PairText, String> {
    let (chosen, rejected) = (string(row, &layout.chosen)?, string(row, &layout.rejected)?);
    let is_transcript = chosen.contains(ASSISTANT_MARK) && rejected.contains(ASSISTANT_MARK);
    let length = match (layout.format, is_transcript) {
        (Format::Transcripts, true) => transcript_prompt_length(chosen, rejected)?,
        (Format::Transcripts, false) => {
            let column = if chosen.contains(ASSISTANT_MARK) { &layout.rejected } else { &layout.chosen };
            return Err(format!(r"column `{column}`: expected a transcript, found text without `\n\nAssistant:`"));
        }
        (_, false) => plain_prompt_length(chosen, rejected)?,
        (_, true) => {
            return Err(format!(
                r"column `{}`: expected plain text, found a transcript with `\n\nAssistant:`",
                layout.chosen
            ));
        }
    };
    Ok(PairText::Plain {
        prompt: chosen[..length].to_owned(),
        chosen: chosen[length..].to_owned(),
        rejected: rejected[length..].to_owned(),
    })
}

fn implicit_turns(layout: &Layout, row: &Map<String, Value>) -> Result<(Turns, Turns, Turns), String> {
    let mut prompt = turns(row, &layout.chosen)?;
    let mut rejected = turns(row, &layout.rejected)?;
    let n_turns = prompt_turns(&prompt, &rejected)?;
    let chosen = prompt.split_off(n_turns);
    Ok((prompt, chosen, rejected.split_off(n_turns)))
}

/// UltraFeedback-binarized repeats the prompt as the first turn of both completions: it has to be the same prompt.
fn prompt_and_messages(layout: &Layout, row: &Map<String, Value>) -> Result<PairText, String> {
    let column = prompt_column(layout);
    let said = string(row, column)?;
    let chosen = turns(row, &layout.chosen)?;
    let rejected = turns(row, &layout.rejected)?;
    match (chosen.first().is_some_and(is_assistant), rejected.first().is_some_and(is_assistant)) {
        (true, true) => messages(layout, row, vec![message("user", said)], chosen, rejected),
        (false, false) => {
            let (prompt, chosen, rejected) = implicit_turns(layout, row)?;
            let repeats = |turn: &Message| turn.role == "user" && turn.content.trim() == said.trim();
            if !prompt.iter().any(repeats) {
                return Err(format!(
                    "column `{column}` disagrees with the turns that `{}` and `{}` have in common",
                    layout.chosen, layout.rejected
                ));
            }
            messages(layout, row, prompt, chosen, rejected)
        }
        (chosen_answers, _) => {
            let (with, without) =
                if chosen_answers { (&layout.rejected, &layout.chosen) } else { (&layout.chosen, &layout.rejected) };
            Err(format!("column `{with}` repeats the prompt, column `{without}` does not"))
        }
    }
}

/// A conversation and what takes the place of its last answer, or of all of it.
fn ms_swift(layout: &Layout, row: &Map<String, Value>) -> Result<PairText, String> {
    if layout.rejected == "rejected_messages" {
        let (prompt, chosen, rejected) = implicit_turns(layout, row)?;
        return messages(layout, row, prompt, chosen, rejected);
    }
    let mut prompt = turns(row, &layout.chosen)?;
    let last_other = prompt.iter().rposition(|turn| !is_assistant(turn));
    let chosen = prompt.split_off(last_other.map_or(0, |at| at + 1));
    if chosen.is_empty() || prompt.is_empty() {
        return Err(format!("column `{}`: expected a conversation that ends with an answer", layout.chosen));
    }
    let rejected = match value(row, &layout.rejected)? {
        Value::String(text) => vec![message("assistant", text)],
        turns => parse_turns(&layout.rejected, turns)?,
    };
    messages(layout, row, prompt, chosen, rejected)
}

/// The column with further variables of the chat template.
const VARIABLES: &str = "chat_template_kwargs";

/// Further variables of the chat template, from an object or the JSON text of one.
pub(super) fn variables(row: &mut Map<String, Value>) -> Result<Option<Map<String, Value>>, String> {
    let unexpected = |found: &str| Err(format!("column `{VARIABLES}`: expected an object, found {found}"));
    match row.shift_remove(VARIABLES) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(variables)) => Ok(Some(variables)),
        Some(Value::String(text)) => match parse_value(&text) {
            Ok(Value::Object(variables)) => Ok(Some(variables)),
            Ok(Value::Null) => Ok(None),
            Ok(other) => unexpected(kind(&other)),
            Err(reason) => Err(format!("column `{VARIABLES}`: the text of an object: {reason}")),
        },
        Some(other) => unexpected(kind(&other)),
    }
}

/// What trainers call the weight of a turn: OpenAI and LLaMA-Factory, axolotl, ms-swift.
const WEIGHTS: [&str; 4] = ["weight", "loss_weight", "train", "loss"];

/// Whether a turn is to be learnt, by the weight it has; none where it has none.
///
/// # Errors
/// If the weight is neither whole nor nothing, or if two weights differ.
pub(super) fn is_learnt(turn: &mut Message) -> Result<Option<bool>, String> {
    let mut found = None;
    for name in WEIGHTS {
        let Some(value) = turn.extra.shift_remove(name) else { continue };
        let learnt = match &value {
            Value::Bool(learnt) => *learnt,
            value if value.as_f64() == Some(1.0) => true,
            value if value.as_f64() == Some(0.0) => false,
            other => return Err(format!("expected `{name}` to be 0, 1, `true` or `false`, found `{other}`")),
        };
        if found.is_some_and(|known| known != learnt) {
            return Err(format!("`{name}` disagrees with another weight of the turn"));
        }
        found = Some(learnt);
    }
    Ok(found)
}

/// Answers of a pair are scored whole.
fn check_weights(column: &str, turns: &[Message]) -> Result<(), String> {
    for (at, turn) in turns.iter().enumerate() {
        let learnt =
            is_learnt(&mut turn.clone()).map_err(|reason| format!("column `{column}`, turn {}: {reason}", at + 1))?;
        if is_assistant(turn) && learnt == Some(false) {
            return Err(format!(
                "column `{column}`, turn {} is weighted with nothing: all turns of a pair are scored",
                at + 1
            ));
        }
    }
    Ok(())
}

fn openai(layout: &Layout, row: &Map<String, Value>) -> Result<PairText, String> {
    let input = value(row, prompt_column(layout))?;
    let prompt = input.get("messages").ok_or("`input.messages` is missing")?;
    let tools = parse_tools("input.tools", input.get("tools"))?;
    let mut prompt = parse_turns("input.messages", prompt)?;
    if let Some(column) = &layout.system {
        add_system(&mut prompt, row, column)?;
    }
    let (chosen, rejected) = (turns(row, &layout.chosen)?, turns(row, &layout.rejected)?);
    check_answers(layout, &chosen, &rejected)?;
    Ok(PairText::Messages { prompt, chosen, rejected, tools })
}

/// A pair of messages, with the system text and the tools that the row has in columns of their own.
fn messages(
    layout: &Layout,
    row: &Map<String, Value>,
    mut prompt: Turns,
    chosen: Turns,
    rejected: Turns,
) -> Result<PairText, String> {
    check_answers(layout, &chosen, &rejected)?;
    if let Some(column) = &layout.system {
        add_system(&mut prompt, row, column)?;
    }
    let tools = if layout.has_tools() { parse_tools("tools", row.get("tools"))? } else { None };
    Ok(PairText::Messages { prompt, chosen, rejected, tools })
}

/// Puts the system text of a row before its turns, if the row has one and they do not begin with it.
pub(super) fn add_system(prompt: &mut Turns, row: &Map<String, Value>, column: &str) -> Result<(), String> {
    if row.get(column).is_none_or(Value::is_null) {
        return Ok(());
    }
    let system = string(row, column)?;
    match prompt.first() {
        _ if system.is_empty() => {}
        Some(turn) if turn.role == "system" && turn.content == system => {}
        Some(turn) if turn.role == "system" => {
            return Err(format!("column `{column}` disagrees with the system turn of the conversation"));
        }
        _ => prompt.insert(0, message("system", system)),
    }
    Ok(())
}

/// What is compared are answers: both begin with a turn of the assistant.
fn check_answers(layout: &Layout, chosen: &[Message], rejected: &[Message]) -> Result<(), String> {
    for (column, turns) in [(&layout.chosen, chosen), (&layout.rejected, rejected)] {
        if let Some(first) = turns.first().filter(|turn| !is_assistant(turn)) {
            return Err(format!(
                "column `{column}`: expected an answer of the assistant first, found role `{}`",
                first.role
            ));
        }
    }
    Ok(())
}

/// Tools as a list, or as the JSON text of one, or as a list of such texts.
pub(super) fn parse_tools(column: &str, value: Option<&Value>) -> Result<Option<Value>, String> {
    let unexpected = |found: &str| format!("column `{column}`: expected a list of tools, found {found}");
    let in_text = |reason: &str| format!("column `{column}`: the text of tools: {reason}");
    let tools = match value {
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(Value::String(text)) => parse_value(text).map_err(|reason| in_text(&reason))?,
        Some(value) => value.clone(),
        None => return Ok(None),
    };
    let tool = |tool: Value| match tool {
        Value::String(text) => match parse_value(&text).map_err(|reason| in_text(&reason))? {
            tool @ Value::Object(_) => Ok(tool),
            _ => Err(unexpected("a list with a string that is no JSON object")),
        },
        tool => Ok(tool),
    };
    match tools {
        Value::Null => Ok(None),
        // An empty list is handed to the template as one, as TRL does: it is no tools, and not none.
        Value::Array(tools) => Ok(Some(tools.into_iter().map(tool).collect::<Result<_, _>>()?)),
        other => Err(unexpected(kind(&other))),
    }
}

/// A completion that repeats the prompt, without it.
fn without_prompt(mut turns: Turns, prompt: &[Message]) -> Turns {
    if turns.len() > prompt.len() && turns.starts_with(prompt) {
        turns.drain(..prompt.len());
    }
    turns
}

pub(super) fn message(role: &str, content: &str) -> Message {
    Message { role: role.into(), content: content.into(), extra: Map::new() }
}

pub(super) fn turns(row: &Map<String, Value>, column: &str) -> Result<Turns, String> {
    parse_turns(column, value(row, column)?)
}

fn prompt_column(layout: &Layout) -> &str {
    layout.prompt.as_deref().unwrap_or("prompt")
}

pub(super) fn string<'a>(row: &'a Map<String, Value>, column: &str) -> Result<&'a str, String> {
    let value = value(row, column)?;
    value.as_str().ok_or_else(|| expected_string(column, value))
}

fn expected_string(column: &str, found: &Value) -> String {
    format!("column `{column}`: expected a string, found {}", kind(found))
}

pub(super) fn value<'a>(row: &'a Map<String, Value>, column: &str) -> Result<&'a Value, String> {
    match row.get(column) {
        Some(Value::Null) => Err(format!("column `{column}` is null")),
        Some(value) => Ok(value),
        None if row.is_empty() => Err(format!("column `{column}` is missing (the row is empty)")),
        None => {
            let found: Vec<&str> = row.keys().map(String::as_str).collect();
            Err(format!("column `{column}` is missing (found: {})", found.join(", ")))
        }
    }
}
