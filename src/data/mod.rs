//! Preference pairs as text: what a data set says, before any tokenizer sees it.
//!
//! Invariant: a [`PreferencePair`] that leaves this module has a prompt and two completions in one of two shapes, and
//! an id that depends on nothing but that text. A row that cannot become one leaves as a [`Reject`] with its place.
//!
//! [`open`] reads one file: `container` cuts it into rows, `detect` tells the [`Format`] from the first of them,
//! `convert` makes a [`PairText`] of each with the help of `message` and `implicit`. Memory does not grow with the
//! file; [`open_prompts`] asks for no answers. Absent on purpose: tokens, chat templates, judgements on quality (empty and identical answers are kept).

mod card;
mod column_map;
mod container;
mod content;
mod convert;
mod detect;
mod error;
mod example;
mod example_reader;
mod folder;
mod format;
mod implicit;
mod message;
mod names;
mod pair_id;
mod prompts;
mod reader;
mod recipes;
mod reject_kind;
mod text;
mod unread;
mod yaml;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::Id;

pub(crate) use container::Messages as ArrowMessages;

pub use column_map::{ColumnMap, ParseColumnMapError, Role};
pub use content::Content;
pub use error::DataError;
pub use example::{Example, ExampleFormat, ExampleText};
pub use example_reader::{ExampleReader, ExampleRow, open_examples};
pub use format::Format;
pub use names::{NamedFile, file_names, named_files};
pub use prompts::{Prompt, PromptReader, PromptRow, PromptText, open_prompts};
pub use reader::{ObjectRow, ObjectRows, PairReader, Row, open, open_objects, unless_empty};
pub use recipes::Recognised;
pub use reject_kind::{Overlong, RejectKind};

/// `pair_id`: BLAKE3-128 of the canonical text pair; the same in every table, whatever the model.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairId(Id);

impl fmt::Display for PairId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for PairId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PairId({self})")
    }
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`, …
    pub role: String,
    /// What it says.
    pub content: Content,
    /// Whatever else the source says of it (`name`, `tool_calls`, …), handed to the chat template as it is.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// Prompt and completions, in the shape the source has them.
#[derive(Debug, Clone, PartialEq)]
pub enum PairText {
    /// Plain strings: tokenised as they are, no chat template.
    Plain {
        /// The prompt, with whatever ends it (`\n\nAssistant:`).
        prompt: String,
        /// The preferred completion, with its leading space if it has one.
        chosen: String,
        /// The other completion.
        rejected: String,
    },
    /// Messages: rendered by the model's chat template.
    Messages {
        /// The turns before the completion.
        prompt: Vec<Message>,
        /// The preferred turns, usually one of the assistant.
        chosen: Vec<Message>,
        /// The other turns.
        rejected: Vec<Message>,
        /// Tool definitions for the template, if the source has any.
        tools: Option<serde_json::Value>,
    },
}

/// One preference pair and the place it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct PreferencePair {
    /// Content id of [`text`](Self::text).
    pub id: PairId,
    /// Prompt and completions.
    pub text: PairText,
    /// The source file as given by the user, and the split it stands for.
    pub source: Arc<Source>,
    /// 0-based row in that file (rejected rows count).
    pub row_idx: u64,
    /// 1-based line of that file, where it has lines.
    pub line: Option<u64>,
    /// Every other column of the row, under its own name.
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// A data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Path as the user gave it.
    pub path: PathBuf,
    /// Split told by the file name or its folder (`train`, `test`, `validation`, `eval`), empty where neither tells.
    pub split: String,
}

impl Source {
    /// The file at `path`, with the split its name tells.
    pub fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), split: folder::split(path).to_owned() }
    }
}

/// A row that is not a pair, with the place and the reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Reject {
    /// The file.
    pub source: Arc<Source>,
    /// 0-based row in the file.
    pub row_idx: u64,
    /// 1-based line of the file, where the file has lines.
    pub line: Option<u64>,
    /// What is wrong with the row: lower case, no full stop.
    pub reason: String,
}
