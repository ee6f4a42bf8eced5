//! The prompts of a plan: read, made into token ids, equal ones once.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::error::GenerateError;
use super::run::{Event, Plan};
use crate::data::{self, ColumnMap, NamedFile, PromptRow, PromptText};
use crate::tokenize::PromptTokenizer;

/// Where prompts come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompts {
    /// Texts.
    Texts(Vec<String>),
    /// Data files, or folders of them.
    Files {
        /// The paths.
        paths: Vec<PathBuf>,
        /// Their columns.
        column_map: ColumnMap,
    },
}

/// What a plain string is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainText {
    /// The text an answer follows, as it is.
    AsIs,
    /// A user's turn of a conversation.
    UserTurn,
}

/// A prompt that can be completed.
pub(super) struct Prompt {
    /// What the author wrote.
    pub(super) text: String,
    pub(super) ids: Vec<u32>,
}

/// Reads and tokenises the prompts of a plan, equal ones once.
///
/// # Errors
/// If the data cannot be read, or no row of it has a prompt that can be completed.
pub(super) fn read(
    plan: &Plan,
    tokenizer: &PromptTokenizer,
    max_length: usize,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Vec<Prompt>, GenerateError> {
    Reading { plan, tokenizer, max_length }.read(observe)
}

/// The prompts of a plan, being read.
struct Reading<'a> {
    plan: &'a Plan,
    tokenizer: &'a PromptTokenizer,
    /// Positions of the model.
    max_length: usize,
}

/// A row before it is tokenised.
struct Found {
    place: String,
    prompt: Result<(PromptText, Option<Map<String, Value>>), String>,
}

impl Reading<'_> {
    fn read(&self, observe: &mut dyn FnMut(Event<'_>)) -> Result<Vec<Prompt>, GenerateError> {
        let limit = self.plan.limit.map_or(usize::MAX, NonZeroUsize::get);
        let (mut prompts, mut known) = (Vec::new(), HashSet::new());
        let (mut n_equal, mut n_plain, mut n_rejected, mut first_rejected) = (0_u64, 0_u64, 0_u64, None);
        for found in self.rows()? {
            if prompts.len() == limit {
                break;
            }
            let Found { place, prompt } = found?;
            match prompt.map(|(text, variables)| self.prompt(text, variables.as_ref())) {
                Ok(Err(error)) => return Err(error),
                Ok(Ok(Ok((prompt, is_plain)))) => {
                    if known.insert(prompt.ids.clone()) {
                        n_plain += u64::from(is_plain);
                        prompts.push(prompt);
                    } else {
                        n_equal += 1;
                    }
                }
                Ok(Ok(Err(reason))) | Err(reason) => {
                    observe(Event::Rejected { place: &place, reason: &reason });
                    n_rejected += 1;
                    first_rejected.get_or_insert((place, reason));
                }
            }
        }
        if prompts.is_empty() {
            return Err(match first_rejected {
                Some((place, reason)) => GenerateError::NoPrompts { n_rejected, place, reason },
                None => GenerateError::NoData,
            });
        }
        if n_equal > 0 {
            observe(Event::Note(format!("{n_equal} prompts are equal to others and completed once")));
        }
        let is_file = matches!(self.plan.prompts, Prompts::Files { .. });
        if is_file && n_plain > 0 && self.tokenizer.has_template() {
            observe(Event::Note(format!(
                "{n_plain} prompts are plain strings and completed as they are, as `piref precompute` reads them: `--chat` \
                 makes user's turns of them"
            )));
        }
        Ok(prompts)
    }

    fn rows(&self) -> Result<Box<dyn Iterator<Item = Result<Found, GenerateError>> + '_>, GenerateError> {
        match &self.plan.prompts {
            Prompts::Texts(texts) => Ok(Box::new(texts.iter().enumerate().map(|(index, text)| {
                let prompt = Ok((PromptText::Plain(text.clone()), None));
                Ok(Found { place: format!("prompt {}", index + 1), prompt })
            }))),
            Prompts::Files { paths, column_map } => {
                let (mut files, mut readers) = (Vec::new(), Vec::new());
                for path in paths {
                    files.extend(data::named_files(path)?);
                }
                for NamedFile { path, .. } in &files {
                    readers.extend(data::unless_empty(data::open_prompts(path, column_map), files.len())?);
                }
                Ok(Box::new(readers.into_iter().flatten().map(|row| Ok(found(row?)))))
            }
        }
    }

    /// A prompt with its ids, and whether it is completed as it is; or why it cannot be completed.
    fn prompt(
        &self,
        text: PromptText,
        variables: Option<&Map<String, Value>>,
    ) -> Result<Result<(Prompt, bool), String>, GenerateError> {
        let text = match (text, self.plan.plain_text) {
            (PromptText::Plain(_), PlainText::UserTurn) if !self.tokenizer.has_template() => {
                return Err(GenerateError::NoTemplate { model: self.tokenizer.files().path().to_owned() });
            }
            (PromptText::Plain(text), PlainText::UserTurn) => PromptText::user(&text),
            (text, _) => text,
        };
        let is_plain = matches!(text, PromptText::Plain(_));
        let ids = match self.tokenizer.prompt_ids(&text, variables)? {
            Ok(ids) => ids,
            Err(reason) => return Ok(Err(reason.to_string())),
        };
        if ids.len() >= self.max_length {
            let too_long = GenerateError::PromptTooLong { n_tokens: ids.len(), max_length: self.max_length };
            return Ok(Err(too_long.to_string()));
        }
        Ok(Ok((Prompt { text: text.text(), ids }, is_plain)))
    }
}

fn found(row: PromptRow) -> Found {
    let (source, row_idx, line) = match &row {
        PromptRow::Prompt(prompt) => (&prompt.source, prompt.row_idx, prompt.line),
        PromptRow::Reject(reject) => (&reject.source, reject.row_idx, reject.line),
    };
    let place = match line {
        Some(line) => format!("`{}`, line {line}", source.path.display()),
        None => format!("`{}`, row {row_idx}", source.path.display()),
    };
    let prompt = match row {
        PromptRow::Prompt(prompt) => Ok((prompt.text, prompt.variables)),
        PromptRow::Reject(reject) => Err(reject.reason),
    };
    Found { place, prompt }
}
