//! Examples of supervised training to token ids, and which of them are learnt.
//!
//! What TRL 1.16 does (`SFTTrainer`): a plain text ends with the end token; prompt and answer are tokenised together and
//! the answer starts where the joint ids leave those of the prompt alone, as in a pair. Departure: of a conversation TRL
//! learns every token unless the template marks answers with `{% generation %}`; here a turn of the assistant is what the
//! template writes after the head that makes the assistant speak, where its text grows by appending, and the last answer
//! alone where it does not (a template that drops the reasoning of earlier turns).

use std::ops::Range;

use rayon::prelude::*;
use tokenizers::Encoding;

use super::boundary::shared_beginning;
use super::conversation::Conversation;
use super::error::{RejectReason, Side, TokenizeError};
use super::named_templates::ChatTemplates;
use super::pair_tokenizer::Rules;
use super::printed::missing;
use super::remarks::Remarks;
use super::template::Ending;
use super::tokenizer_files::TokenizerFiles;
use super::truncation::TruncationMode;
use crate::data::{Example, ExampleText, Message};
use crate::guard;

/// Which tokens are learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masking {
    /// Those of answers; all of a document, which has no prompt.
    Prompts,
    /// All but the first, which nothing predicts.
    Nothing,
}

/// A sequence as it is learnt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// Its tokens.
    pub ids: Vec<u32>,
    /// The tokens that are learnt: ascending ranges that do not overlap, at least one token in all, never the first.
    pub scored: Vec<Range<usize>>,
    /// Tokens dropped by truncation.
    pub n_cut: usize,
    /// Whether earlier answers of the conversation are not learnt because the template does not tell where they are.
    pub is_last_answer_only: bool,
}

/// What an example is as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tokenized {
    /// A sequence of its own.
    Sequence(Sequence),
    /// A document or a piece of one, end token included: to be cut into blocks with what stands before and after it.
    Document(Vec<u32>),
}

/// A model's tokenizer and chat template under a plan's rules.
#[derive(Debug)]
pub struct SequenceTokenizer<'a> {
    files: &'a TokenizerFiles,
    templates: Option<ChatTemplates>,
    rules: Rules,
    masking: Masking,
    remarks: Remarks,
}

impl<'a> SequenceTokenizer<'a> {
    /// Parses the chat template of a model.
    pub fn new(files: &'a TokenizerFiles, rules: Rules, masking: Masking) -> Result<Self, TokenizeError> {
        let templates = files.chat_templates(rules.template_date)?;
        Ok(Self { files, templates, rules, masking, remarks: Remarks::default() })
    }

    /// What the chat template did to answers of the examples so far that a user may not expect, in words.
    pub fn remarks(&self) -> Vec<String> {
        self.remarks.lines("examples")
    }

    /// Tokenises examples over all cores; results are in the order of the examples.
    ///
    /// # Errors
    /// The outer error says that no example of this kind can be tokenised: the run cannot go on. The inner one is about one
    /// example.
    pub fn tokenize_batch(&self, examples: &[Example]) -> Result<Vec<Result<Tokenized, RejectReason>>, TokenizeError> {
        examples.par_iter().map(|example| self.tokenize(example)).collect()
    }

    /// Tokenises one example.
    ///
    /// # Errors
    /// As [`tokenize_batch`](Self::tokenize_batch).
    pub fn tokenize(&self, example: &Example) -> Result<Result<Tokenized, RejectReason>, TokenizeError> {
        match &example.text {
            ExampleText::Document { text, is_start, is_end } => {
                let text = if *is_end { self.ended(text)? } else { text.clone() };
                let frame = if *is_start { Frame::Tokenizer } else { Frame::Text };
                Ok(self.ids(&text, frame).map(Tokenized::Document))
            }
            ExampleText::Plain { prompt, completion } => {
                let joint = prompt.clone() + &self.ended(completion)?;
                Ok(self.answer(prompt, &joint, Frame::Tokenizer).map(Tokenized::Sequence))
            }
            ExampleText::Messages { prompt, completion, tools } => {
                let conversation = self.conversation(example, tools.as_ref())?;
                Ok(conversation.and_then(|conversation| {
                    let turns = [prompt.as_slice(), completion].concat();
                    let conversation = conversation.fitted(&[&turns]);
                    self.last_answer(&conversation, prompt, &turns).map(Tokenized::Sequence)
                }))
            }
            ExampleText::Conversation { messages, is_learnt, tools } => {
                let conversation = self.conversation(example, tools.as_ref())?;
                Ok(conversation.and_then(|conversation| {
                    self.answers(&conversation.fitted(&[messages]), messages, is_learnt).map(Tokenized::Sequence)
                }))
            }
        }
    }

    /// A text with the end token after it, unless it ends with it.
    fn ended(&self, text: &str) -> Result<String, TokenizeError> {
        let eos = self.files.eos_token().ok_or_else(|| TokenizeError::NoEnd { model: self.files.path.clone() })?;
        Ok(if text.ends_with(eos) { text.to_owned() } else { [text, eos].concat() })
    }

    fn conversation<'b>(
        &'b self,
        example: &'b Example,
        tools: Option<&serde_json::Value>,
    ) -> Result<Result<Conversation<'b>, RejectReason>, TokenizeError> {
        let Some(templates) = &self.templates else {
            return Err(TokenizeError::NoTemplate { model: self.files.path.clone() });
        };
        let variables = example.variables.as_ref();
        Ok(match templates.select(tools, variables)? {
            Ok(template) => Conversation::new(template, &self.files.special_tokens, tools, variables),
            Err(reason) => Err(reason),
        })
    }

    /// A conversation whose turns after `prompt` are the answer.
    fn last_answer(
        &self,
        conversation: &Conversation<'_>,
        prompt: &[Message],
        turns: &[Message],
    ) -> Result<Sequence, RejectReason> {
        let head = conversation.render(prompt, Ending::GenerationPrompt)?;
        let joint = conversation.render(turns, Ending::LastMessage)?;
        let answer = &turns[prompt.len()..];
        conversation.check_printed([prompt, answer], Side::Chosen, &head, &joint)?;
        self.remarks.count(&[(answer, &joint)]);
        self.answer(&head, &joint, Frame::Text)
    }

    /// A conversation, of which every turn of the assistant is an answer that is learnt unless the source says otherwise.
    fn answers(
        &self,
        conversation: &Conversation<'_>,
        turns: &[Message],
        is_learnt: &[bool],
    ) -> Result<Sequence, RejectReason> {
        let last = turns.iter().rposition(|turn| turn.role == "assistant").ok_or(RejectReason::NothingToLearn)?;
        let is_learnt = |at: usize| is_learnt.get(at).copied().unwrap_or(true);
        let text = conversation.render(turns, Ending::LastMessage)?;
        if self.masking == Masking::Nothing && (0..turns.len()).all(is_learnt) {
            conversation.check_printed([&turns[..last], &turns[last..=last]], Side::Chosen, "", &text)?;
            self.remarks.count(&[(turns, &text)]);
            return self.answer("", &text, Frame::Text);
        }
        let Some(spans) = spans(conversation, turns, &text) else {
            if !is_learnt(last) {
                return Err(RejectReason::NothingToLearn);
            }
            let sequence = self.last_answer(conversation, &turns[..last], &turns[..=last])?;
            let is_last_answer_only = turns[..last].iter().any(|turn| turn.role == "assistant");
            return Ok(Sequence { is_last_answer_only, ..sequence });
        };
        self.remarks.count(&[(turns, &text)]);
        let encoding = encoded(|| self.files.tokenizer.encode(text.as_str(), false))?;
        // Offsets are in bytes. A token that lies across the start of an answer is the answer's, as in a pair.
        let place = |at: usize| encoding.get_offsets().partition_point(|&(_, end)| end <= at);
        let scored: Vec<Range<usize>> = match self.masking {
            Masking::Prompts => {
                let learnt = spans.into_iter().filter(|(turn, _)| is_learnt(*turn));
                learnt.map(|(_, span)| place(span.start)..place(span.end)).collect()
            }
            // All but the answers that are not to be learnt.
            Masking::Nothing => {
                let (mut ranges, mut start) = (Vec::new(), 0);
                for (_, span) in spans.into_iter().filter(|(turn, _)| !is_learnt(*turn)) {
                    ranges.push(start..place(span.start));
                    start = place(span.end);
                }
                ranges.push(start..encoding.len());
                ranges
            }
        };
        self.cut(encoding.get_ids().to_vec(), scored)
    }

    /// A prompt and the text that begins with it.
    fn answer(&self, prompt: &str, joint: &str, frame: Frame) -> Result<Sequence, RejectReason> {
        let ids = self.ids(joint, frame)?;
        let start = match self.masking {
            Masking::Nothing => 0,
            Masking::Prompts => shared_beginning(&self.ids(prompt, frame)?, &ids),
        };
        let scored = std::iter::once(start..ids.len()).collect();
        self.cut(ids, scored)
    }

    fn ids(&self, text: &str, frame: Frame) -> Result<Vec<u32>, RejectReason> {
        let encoding = encoded(|| self.files.tokenizer.encode_fast(text, frame == Frame::Tokenizer))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// A sequence within `max_length`.
    fn cut(&self, mut ids: Vec<u32>, mut scored: Vec<Range<usize>>) -> Result<Sequence, RejectReason> {
        let (n_tokens, max_length) = (ids.len(), self.rules.max_length);
        let n_cut = n_tokens.saturating_sub(max_length);
        let dropped = match self.rules.truncation_mode {
            TruncationMode::KeepStart => 0,
            TruncationMode::KeepEnd => n_cut,
        };
        ids.drain(..dropped);
        ids.truncate(self.rules.max_length);
        for range in &mut scored {
            let place = |at: usize| at.saturating_sub(dropped).min(ids.len());
            *range = place(range.start).max(1)..place(range.end);
        }
        scored.retain(|range| !range.is_empty());
        match (scored.is_empty(), n_cut) {
            (true, 0) => return Err(RejectReason::NothingToLearn),
            (true, _) => return Err(RejectReason::NoAnswerWithin { max_length, n_tokens }),
            (false, _) => {}
        }
        Ok(Sequence { ids, scored, n_cut, is_last_answer_only: false })
    }
}

/// Who frames a text with special tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    /// The tokenizer, as for any text.
    Tokenizer,
    /// The text has them: a template wrote it, or it is a piece of one that has begun.
    Text,
}

/// The assistant's turns and their places in the text of a conversation; none where it does not grow turn by turn.
fn spans(conversation: &Conversation<'_>, turns: &[Message], text: &str) -> Option<Vec<(usize, Range<usize>)>> {
    let mut spans = Vec::new();
    for (index, turn) in turns.iter().enumerate().filter(|(_, turn)| turn.role == "assistant") {
        let head = conversation.render(&turns[..index], Ending::GenerationPrompt).ok()?;
        let whole = conversation.render(&turns[..=index], Ending::LastMessage).ok()?;
        let grows = whole.starts_with(&head) && text.starts_with(&whole);
        let grows = grows && missing(std::slice::from_ref(turn), &whole, head.len()).is_none();
        if !grows {
            return None;
        }
        spans.push((index, head.len()..whole.len()));
    }
    Some(spans)
}

/// A regular expression that goes on for too long is a panic of the library.
fn encoded(encode: impl FnOnce() -> tokenizers::Result<Encoding>) -> Result<Encoding, RejectReason> {
    let encoding = guard::catch(encode).unwrap_or_else(|panicked| Err(panicked.into()));
    encoding.map_err(|error| RejectReason::Encode { reason: error.to_string() })
}

#[cfg(test)]
mod tests;
