//! What supervised training learns from one row: an answer, a conversation, or plain text.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::convert::{add_system, is_learnt, message, parse_tools, string, turns};
use super::message::is_turns;
use super::{Message, PairText, PreferencePair, Source};

/// Something to learn from, and the place it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// What is said.
    pub text: ExampleText,
    /// Further variables of the chat template, from a column `chat_template_kwargs`.
    pub variables: Option<Map<String, Value>>,
    /// The source file as given by the user.
    pub source: Arc<Source>,
    /// 0-based row in that file (rejected rows count).
    pub row_idx: u64,
    /// 1-based line of that file, where it has lines.
    pub line: Option<u64>,
}

/// What is said, in the shape the source has it.
#[derive(Debug, Clone, PartialEq)]
pub enum ExampleText {
    /// A prompt and its answer, as plain strings.
    Plain {
        /// The prompt, with whatever ends it.
        prompt: String,
        /// The answer.
        completion: String,
    },
    /// A prompt and its answer, as messages for the chat template.
    Messages {
        /// The turns before the answer.
        prompt: Vec<Message>,
        /// The answer, usually one turn of the assistant.
        completion: Vec<Message>,
        /// Tool definitions for the template, if the source has any.
        tools: Option<Value>,
    },
    /// A whole conversation, of which the turns of the assistant are answers.
    Conversation {
        /// All turns.
        messages: Vec<Message>,
        /// Of each turn whether it is learnt if it is an answer: not where the source weighs it with nothing.
        is_learnt: Vec<bool>,
        /// Tool definitions for the template, if the source has any.
        tools: Option<Value>,
    },
    /// A text without a prompt, or a piece of a long one.
    Document {
        /// The text.
        text: String,
        /// Whether it begins here: a piece before it belongs to another one.
        is_start: bool,
        /// Whether it ends here.
        is_end: bool,
    },
}

/// How the rows of a file say what is to be learnt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExampleFormat {
    /// Preference pairs, of which the preferred answer counts; the layout, in words.
    Pairs(String),
    /// `prompt` and `completion`, strings or messages.
    Completions,
    /// A column of messages.
    Conversations {
        /// Its name.
        column: &'static str,
    },
    /// A column `text`.
    Documents,
    /// A text file, one document.
    TextFile,
}

impl fmt::Display for ExampleFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pairs(layout) => write!(f, "the preferred answers of {layout}"),
            Self::Completions => f.write_str("answers (`prompt`, `completion`)"),
            Self::Conversations { column } => write!(f, "conversations (`{column}`)"),
            Self::Documents => f.write_str("documents (`text`)"),
            Self::TextFile => f.write_str("one document"),
        }
    }
}

impl Example {
    /// The preferred answer of a pair.
    pub(super) fn of_pair(pair: PreferencePair) -> Self {
        let PreferencePair { text, source, row_idx, line, extra, .. } = pair;
        let variables = extra.get("chat_template_kwargs").and_then(Value::as_object).cloned();
        let text = match text {
            PairText::Plain { prompt, chosen, .. } => ExampleText::Plain { prompt, completion: chosen },
            PairText::Messages { prompt, chosen, tools, .. } => {
                ExampleText::Messages { prompt, completion: chosen, tools }
            }
        };
        Self { text, variables, source, row_idx, line }
    }

    /// Bytes of its texts, about.
    pub fn n_bytes(&self) -> usize {
        let of = |turns: &[Message]| turns.iter().map(|turn| turn.role.len() + turn.content.len()).sum::<usize>();
        match &self.text {
            ExampleText::Plain { prompt, completion } => prompt.len() + completion.len(),
            ExampleText::Messages { prompt, completion, .. } => of(prompt) + of(completion),
            ExampleText::Conversation { messages, .. } => of(messages),
            ExampleText::Document { text, .. } => text.len(),
        }
    }
}

impl ExampleFormat {
    /// What a row without a pair in it looks like.
    pub(super) fn of_row(row: &Map<String, Value>) -> Option<Self> {
        let column = |name: &str| row.get(name).filter(|value| !value.is_null());
        let has_text = |name| column(name).is_some_and(Value::is_string);
        let has_turns = |name| column(name).is_some_and(is_turns);
        if (has_text("prompt") && has_text("completion")) || (has_turns("prompt") && has_turns("completion")) {
            // Of answers with a label that may say good or bad nothing says that they are good; a name of a class does not.
            return column("label").is_none_or(Value::is_string).then_some(Self::Completions);
        }
        let conversation = ["messages", "conversations"].into_iter().find(|name| has_turns(name));
        match conversation {
            Some(column) => Some(Self::Conversations { column }),
            None => has_text("text").then_some(Self::Documents),
        }
    }

    /// The column that what is learnt begins with.
    pub(super) fn start(&self) -> Option<&'static str> {
        match self {
            Self::Completions => Some("prompt"),
            Self::Conversations { column } => Some(*column),
            Self::Documents | Self::Pairs(_) | Self::TextFile => None,
        }
    }

    /// The text of a row, or why it has none; `system` is the column of a system text.
    pub(super) fn text(&self, row: &Map<String, Value>, system: Option<&str>) -> Result<ExampleText, String> {
        let tools = || parse_tools("tools", row.get("tools"));
        match self {
            Self::Completions => {
                let (mut prompt, completion) = match (row.get("prompt"), row.get("completion")) {
                    (Some(Value::String(prompt)), _) if system.is_none() => {
                        let (prompt, completion) = (prompt.clone(), string(row, "completion")?.to_owned());
                        return Ok(ExampleText::Plain { prompt, completion });
                    }
                    (Some(Value::String(prompt)), _) => {
                        (vec![message("user", prompt)], vec![message("assistant", string(row, "completion")?)])
                    }
                    _ => (turns(row, "prompt")?, turns(row, "completion")?),
                };
                if let Some(column) = system {
                    add_system(&mut prompt, row, column)?;
                }
                Ok(ExampleText::Messages { prompt, completion, tools: tools()? })
            }
            Self::Conversations { column } => {
                let mut messages = turns(row, column)?;
                if let Some(column) = system {
                    add_system(&mut messages, row, column)?;
                }
                let learnt = |(at, turn): (usize, &mut Message)| {
                    let reason = |reason| format!("column `{column}`, turn {}: {reason}", at + 1);
                    Ok(is_learnt(turn).map_err(reason)?.unwrap_or(true))
                };
                let is_learnt = messages.iter_mut().enumerate().map(learnt).collect::<Result<_, String>>()?;
                Ok(ExampleText::Conversation { messages, is_learnt, tools: tools()? })
            }
            Self::Documents | Self::Pairs(_) | Self::TextFile => {
                Ok(ExampleText::Document { text: string(row, "text")?.to_owned(), is_start: true, is_end: true })
            }
        }
    }
}
