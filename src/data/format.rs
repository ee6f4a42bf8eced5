//! The formats of preference data, and the columns in which a file has its parts.

use std::fmt;

/// How the rows of a file say prompt, preferred and other answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// `prompt`, `chosen`, `rejected`: strings.
    Standard,
    /// The same with a system text beside them (`--map system=…`): becomes messages.
    StandardWithSystem,
    /// `chosen`, `rejected`: strings that both begin with the prompt.
    StandardImplicit,
    /// `prompt`, `chosen`, `rejected`: messages; `tools`.
    Conversational,
    /// `chosen`, `rejected`: messages that both begin with the prompt.
    ConversationalImplicit,
    /// `prompt`: a string; `chosen`, `rejected`: messages, which may repeat it as their first turn.
    PromptAndMessages,
    /// `prompt`: messages; `chosen`, `rejected`: strings, each a turn of the assistant. TRL has no such format.
    MessagesAndTexts,
    /// `messages` that end with the preferred answer, `rejected_response`: a string or messages, or `rejected_messages`: the
    /// whole conversation once more.
    MsSwift,
    /// `chosen`, `rejected`: whole dialogues with `\n\nHuman:` and `\n\nAssistant:`.
    Transcripts,
    /// `conversations`, `chosen`, `rejected`: turns of `from` and `value`; `system`, `tools`.
    ShareGpt,
    /// `chosen_messages`, `rejected_messages`: messages with typed content.
    LlamaFactory,
    /// `input.messages`, `preferred_output`, `non_preferred_output`; `input.tools`.
    OpenAi,
    /// `instruction`, `chosen_response`, `rejected_response`: strings.
    Argilla,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Standard => "TRL standard with explicit prompt",
            Self::StandardWithSystem => "TRL standard with explicit prompt and system text, read as messages",
            Self::StandardImplicit => "TRL standard with implicit prompt",
            Self::Conversational => "TRL conversational with explicit prompt",
            Self::ConversationalImplicit => "TRL conversational with implicit prompt",
            Self::PromptAndMessages => "prompt string with message completions (UltraFeedback)",
            Self::MessagesAndTexts => "messages with answers as strings",
            Self::MsSwift => "ms-swift messages with a rejected answer",
            Self::Transcripts => "hh-rlhf transcripts",
            Self::ShareGpt => "ShareGPT conversations",
            Self::LlamaFactory => "LLaMA-Factory v1 messages",
            Self::OpenAi => "OpenAI preference pairs",
            Self::Argilla => "argilla instruction with two responses",
        })
    }
}

/// A format and the columns it is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) format: Format,
    /// `None` where the completions begin with the prompt.
    pub(super) prompt: Option<String>,
    pub(super) chosen: String,
    pub(super) rejected: String,
    /// A column with a system text, which a row may leave out.
    pub(super) system: Option<String>,
}

impl Layout {
    /// Whether `tools` are taken from the row.
    pub(super) fn has_tools(&self) -> bool {
        matches!(
            self.format,
            Format::Conversational
                | Format::ConversationalImplicit
                | Format::PromptAndMessages
                | Format::MessagesAndTexts
                | Format::MsSwift
                | Format::ShareGpt
                | Format::LlamaFactory
        )
    }

    /// The columns that are used up by the pair.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        let tools = self.has_tools().then_some("tools");
        [self.prompt.as_deref(), Some(&self.chosen), Some(&self.rejected), self.system.as_deref(), tools]
            .into_iter()
            .flatten()
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (", self.format)?;
        if let Some(prompt) = &self.prompt {
            write!(f, "`{prompt}`, ")?;
        }
        write!(f, "`{}`, `{}`)", self.chosen, self.rejected)
    }
}
