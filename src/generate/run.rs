//! Prompts of texts or files, one after another, and their answers.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::error::GenerateError;
use super::generator::{Completion, FinishReason, Generator, Settings, max_length};
use super::prompts::{self, PlainText, Prompt, Prompts};
use crate::interrupt::Interrupt;
use crate::model::shapes;
use crate::ops::Backend;
use crate::policy::{PolicySource, PolicyTokenizer};
use crate::tokenize::{PromptTokenizer, TemplateDate};

/// What a decoder writes for bytes that are no character yet.
const HALF_CHARACTER: char = '\u{fffd}';

/// What to complete, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The policy: see [`PolicySource::resolve`].
    pub model: String,
    /// An adapter over it.
    pub adapter: Option<PathBuf>,
    /// The prompts.
    pub prompts: Prompts,
    /// What a plain string is.
    pub plain_text: PlainText,
    /// Prompts that are completed at most, equal ones counted once; `None` for all.
    pub limit: Option<NonZeroUsize>,
    /// How an answer is made.
    pub settings: Settings,
    /// The date a chat template prints.
    pub template_date: TemplateDate,
    /// Whether answers are told while they are made.
    pub streaming: Streaming,
    /// Where the model runs.
    pub backend: Backend,
}

/// Whether answers are told while they are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streaming {
    /// Text by text.
    Off,
    /// Token by token.
    On,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What the author wrote, as the column `prompt` of a log-prob table has it.
    pub prompt: String,
    /// The answer without its end token; other special tokens are spelt out.
    pub completion: String,
    /// Tokens that were drawn, the end token included.
    pub n_tokens: usize,
    /// Why it is over.
    pub finish_reason: FinishReason,
}

/// What happens on the way.
#[derive(Debug)]
pub enum Event<'a> {
    /// Something a user should know.
    Note(String),
    /// A row of the data without a prompt that can be completed.
    Rejected {
        /// Where.
        place: &'a str,
        /// Why.
        reason: &'a str,
    },
    /// All prompts are there; only with [`Streaming::Off`].
    Read {
        /// How many.
        n_prompts: usize,
    },
    /// Text that an answer has gained; only with [`Streaming::On`].
    Text(&'a str),
    /// An answer.
    Row {
        /// The answer.
        row: &'a Row,
        /// What there is so far.
        so_far: &'a Summary,
        /// Prompts in all.
        n_prompts: usize,
    },
}

/// How a run ends.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Every prompt has its answer.
    Finished(Summary),
    /// Somebody has asked for the end; answers that were begun are not among these.
    Interrupted(Summary),
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// Prompts that were completed.
    pub n_completed: usize,
    /// Tokens of these prompts.
    pub n_prompt_tokens: usize,
    /// Tokens that were drawn.
    pub n_tokens: usize,
    /// Time for reading prompts, which ends with the first token of each answer.
    pub prompt_time: Duration,
    /// Time for the other tokens.
    pub time: Duration,
}

impl Summary {
    /// Tokens a second, but for the first of each answer; `None` where there are no others.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let n_tokens = self.n_tokens - self.n_completed;
        let seconds = self.time.as_secs_f64();
        (n_tokens > 0 && seconds > 0.0).then(|| n_tokens as f64 / seconds)
    }

    fn add(&mut self, prompt_ids: &[u32], completion: &Completion) {
        self.n_completed += 1;
        self.n_prompt_tokens += prompt_ids.len();
        self.n_tokens += completion.ids.len();
        self.prompt_time += completion.prompt_time;
        self.time += completion.time;
    }
}

/// Most tokens of prompt and answer together, without loading the weights.
fn max_length_of(policy: &PolicySource) -> Result<usize, GenerateError> {
    let config = shapes(policy.base()).map(|(config, _)| config);
    Ok(max_length(&config.map_err(|source| GenerateError::Model { model: policy.name().to_owned(), source })?))
}

/// Completes the prompts of a plan, in their order. All are read and tokenised before the first one is completed.
///
/// # Errors
/// If the model or the data cannot be read, if no row of the data has a prompt, or if the model computes no finite
/// numbers.
pub fn run(plan: &Plan, interrupt: &Interrupt, observe: &mut dyn FnMut(Event<'_>)) -> Result<Outcome, GenerateError> {
    let policy = PolicySource::resolve(&plan.model, plan.adapter.as_deref())?;
    let PolicyTokenizer { files, notes, .. } = policy.tokenizer()?;
    for note in policy.notes().iter().cloned().chain(notes).chain(files.notes().iter().cloned()) {
        observe(Event::Note(note));
    }
    let tokenizer = PromptTokenizer::new(files, policy.base(), plan.template_date)?;
    let prompts = prompts::read(plan, &tokenizer, max_length_of(&policy)?, observe)?;
    if tokenizer.ends().is_empty() {
        observe(Event::Note("the model names no end token: every answer has as many tokens as it may".into()));
    }
    let mut generator = Generator::load(&policy, tokenizer.ends().clone(), &plan.backend)?;
    let longest = prompts.iter().map(|prompt| prompt.ids.len()).max().unwrap_or_default();
    if let Some(reason) = generator.slow_because(longest.saturating_add(plan.settings.max_new_tokens.get())) {
        observe(Event::Note(format!("no cache, each token reads the whole text again: {reason}")));
    }
    if plan.streaming == Streaming::Off {
        observe(Event::Read { n_prompts: prompts.len() });
    }
    let mut summary = Summary::default();
    for prompt in &prompts {
        let Some((row, completion)) = answer(plan, &mut generator, &tokenizer, prompt, interrupt, observe)? else {
            return Ok(Outcome::Interrupted(summary));
        };
        summary.add(&prompt.ids, &completion);
        observe(Event::Row { row: &row, so_far: &summary, n_prompts: prompts.len() });
    }
    Ok(Outcome::Finished(summary))
}

/// The answer to one prompt; `None` if somebody has asked for the end.
fn answer(
    plan: &Plan,
    generator: &mut Generator,
    tokenizer: &PromptTokenizer,
    prompt: &Prompt,
    interrupt: &Interrupt,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Option<(Row, Completion)>, GenerateError> {
    let mut stream = Stream { tokenizer, prompt_ids: &prompt.ids, n_told: 0 };
    let completion = generator.complete_while(&prompt.ids, &plan.settings, &mut |answer| {
        if interrupt.is_set() {
            return ControlFlow::Break(());
        }
        if plan.streaming == Streaming::On {
            stream.tell(answer, observe);
        }
        ControlFlow::Continue(())
    });
    let ControlFlow::Continue(completion) = completion? else { return Ok(None) };
    let text = tokenizer.answer(&prompt.ids, completion.answer())?;
    if plan.streaming == Streaming::On {
        observe(Event::Text(text.get(stream.n_told..).unwrap_or_default()));
    }
    let row = Row {
        prompt: prompt.text.clone(),
        completion: text,
        n_tokens: completion.ids.len(),
        finish_reason: completion.finish_reason,
    };
    Ok(Some((row, completion)))
}

/// The text of an answer as it grows.
struct Stream<'a> {
    tokenizer: &'a PromptTokenizer,
    prompt_ids: &'a [u32],
    /// Bytes that were told.
    n_told: usize,
}

impl Stream<'_> {
    /// Tells what is new and complete. What cannot be decoded, or changes what was told, is left for the end.
    fn tell(&mut self, answer: &[u32], observe: &mut dyn FnMut(Event<'_>)) {
        let answer = match answer.split_last() {
            Some((last, answer)) if self.tokenizer.ends().contains(last) => answer,
            _ => answer,
        };
        let Ok(text) = self.tokenizer.answer(self.prompt_ids, answer) else { return };
        let whole = text.trim_end_matches(HALF_CHARACTER);
        if let Some(new) = whole.get(self.n_told..).filter(|new| !new.is_empty()) {
            observe(Event::Text(new));
            self.n_told = whole.len();
        }
    }
}
