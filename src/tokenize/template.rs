//! A model's chat template: messages in, the text the model was trained to read out.
//!
//! Templates are written for the Jinja2 of transformers; `jinja` renders them as that does, held to it by
//! `fixtures/golden/templates.json` and `fixtures/golden/jinja.json`.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use super::error::TemplateError;
use super::jinja::{Budget, Failure, Template};
use super::template_date::TemplateDate;
use crate::guard;

/// Steps that a template may spend on one rendering whatever it is given; a dialogue of a megabyte spends a tenth.
const STEPS: u64 = 2_000_000;

/// Steps for every pair of turns: many templates look through all turns at each of them, and some twice.
const STEPS_OF_TURNS: u64 = 400;

/// Steps for every byte it is given: templates split, strip and compare what they print.
const STEPS_OF_BYTES: u64 = 20;

/// Bytes that a rendering may make on the way, whatever it is given, and for every byte it is given.
const BYTES: u64 = 128 << 20;
const BYTES_OF_BYTES: u64 = 256;

/// Bytes of stack for one rendering, of which only what is used is taken: a template may put a list into a list as often
/// as its fuel lasts, and whoever prints, compares or drops it goes down all the way.
const STACK: usize = 1 << 30;

/// Time for one conversation, which takes a thousandth of it, and for a million of the steps it may take beside the
/// first: what fuel does not see ends, too.
const TIME_LIMIT: Duration = Duration::from_secs(5);
const TIME_OF_MILLION_STEPS: Duration = Duration::from_millis(500);

/// Most time for one conversation.
const MAX_TIME: Duration = Duration::from_mins(2);

/// Bytes of a template's source; the longest published ones have fifty thousand.
const MAX_SOURCE: usize = 1 << 20;

/// Names a message's reasoning goes by; templates read the first.
const REASONING_KEYS: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// A chat template, parsed once for its errors.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    template: Arc<Template>,
    date: TemplateDate,
}

/// What a template sees beside the messages.
#[derive(Debug, Clone, Copy)]
pub struct TemplateInput<'a> {
    /// `bos_token`, `eos_token`, …: those the tokenizer has.
    pub special_tokens: &'a Map<String, Json>,
    /// Tool definitions; `None` reads as `none`.
    pub tools: Option<&'a Json>,
    /// Further variables of a row (`enable_thinking`, …); they win over special tokens.
    pub variables: Option<&'a Map<String, Json>>,
    /// Whether the text ends with the head of an assistant's turn.
    pub ending: Ending,
}

/// Where a rendered conversation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// After its last message.
    LastMessage,
    /// With whatever makes the assistant speak: a prompt.
    GenerationPrompt,
}

impl ChatTemplate {
    /// Parses a template; what it prints of the date will be `date`.
    ///
    /// # Errors
    /// If it does not parse, or does not even end for a short message.
    pub fn parse(source: &str, date: TemplateDate) -> Result<Self, TemplateError> {
        if source.len() > MAX_SOURCE {
            let reason = format!("expected at most {MAX_SOURCE} bytes, found {}", source.len());
            return Err(TemplateError { line: 1, reason });
        }
        let source = source.to_owned();
        within_limits(TIME_LIMIT, move || {
            let template = Template::parse(&source).map_err(|failure| template_error(&failure))?;
            let template = Self { template: Arc::new(template), date };
            template.check_that_it_ends()?;
            Ok(template)
        })
    }

    /// Renders one message; only an endless template is an error, since the message may be none for this one.
    fn check_that_it_ends(&self) -> Result<(), TemplateError> {
        let variables = [
            ("messages", json!([{"role": "user", "content": "x"}])),
            ("tools", Json::Null),
            ("documents", Json::Null),
            ("add_generation_prompt", json!(true)),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        match self.template.render(variables, self.date, Budget { steps: STEPS, bytes: BYTES }) {
            Err(failure) if failure.is_endless() => Err(template_error(&failure)),
            _ => Ok(()),
        }
    }

    /// The conversation as text.
    ///
    /// Keys of a message that are null are not there for the template, and reasoning goes by all its names, as in
    /// transformers.
    pub fn render(&self, messages: &[Map<String, Json>], input: TemplateInput<'_>) -> Result<String, TemplateError> {
        let n_turns = u64::try_from(messages.len()).unwrap_or(u64::MAX);
        let messages = Json::Array(messages.iter().map(|message| Json::Object(as_templates_expect(message))).collect());
        let mut variables = input.special_tokens.clone();
        variables.extend(input.variables.cloned().unwrap_or_default());
        variables.insert("messages".into(), messages);
        variables.insert("tools".into(), input.tools.cloned().unwrap_or(Json::Null));
        variables.entry("documents").or_insert(Json::Null);
        variables.insert("add_generation_prompt".into(), Json::Bool(input.ending == Ending::GenerationPrompt));
        let budget = budget(n_turns, variables.values().map(json_bytes).sum());
        let template = self.clone();
        within_limits(time_for(budget), move || {
            let rendered = template.template.render(variables, template.date, budget);
            rendered.map_err(|failure| template_error(&failure))
        })
    }
}

/// What the rendering of a conversation may spend: a template that looks at all turns from each of them is no endless one,
/// however long the conversation is, and one that makes very much of little is.
fn budget(n_turns: u64, n_bytes: u64) -> Budget {
    let of_turns = STEPS_OF_TURNS.saturating_mul(n_turns.saturating_mul(n_turns));
    let steps = STEPS.saturating_add(of_turns).saturating_add(STEPS_OF_BYTES.saturating_mul(n_bytes));
    Budget { steps, bytes: BYTES.saturating_add(BYTES_OF_BYTES.saturating_mul(n_bytes)) }
}

fn time_for(budget: Budget) -> Duration {
    let millions = u32::try_from(budget.steps / 1_000_000).unwrap_or(u32::MAX);
    TIME_OF_MILLION_STEPS.saturating_mul(millions).clamp(TIME_LIMIT, MAX_TIME)
}

fn json_bytes(value: &Json) -> u64 {
    let length = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    match value {
        Json::String(text) => length(text.len()),
        Json::Array(items) => length(items.len()) + items.iter().map(json_bytes).sum::<u64>(),
        Json::Object(members) => members.iter().map(|(name, value)| length(name.len()) + json_bytes(value)).sum(),
        Json::Null | Json::Bool(_) | Json::Number(_) => 8,
    }
}

/// Runs the work of a template, and drops its values, on a thread with room for the deepest of them; a thread that
/// takes too long is left behind.
fn within_limits<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> Result<T, TemplateError> + Send + 'static,
) -> Result<T, TemplateError> {
    let failed = |reason: String| TemplateError { line: 1, reason };
    let (sender, receiver) = mpsc::channel();
    // Nobody waits for a result that comes too late.
    let worker = thread::Builder::new().stack_size(STACK).spawn(move || drop(sender.send(guard::catch(work))));
    worker.map_err(|error| failed(format!("no thread to render it: {error}")))?;
    match receiver.recv_timeout(limit) {
        Ok(Ok(result)) => result,
        Ok(Err(panicked)) => Err(failed(panicked.to_string())),
        Err(_) => Err(failed(format!("it does not end within {} s", limit.as_secs()))),
    }
}

fn template_error(failure: &Failure) -> TemplateError {
    TemplateError { line: failure.line(), reason: failure.reason().to_owned() }
}

fn as_templates_expect(message: &Map<String, Json>) -> Map<String, Json> {
    let mut message: Map<String, Json> =
        message.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.clone(), value.clone())).collect();
    if let Some(reasoning) = REASONING_KEYS.iter().find_map(|key| message.get(*key)).cloned() {
        let mut renamed = Map::from_iter([("thinking".to_owned(), reasoning.clone())]);
        renamed.append(&mut message);
        renamed.insert("reasoning_content".to_owned(), reasoning);
        message = renamed;
    }
    message
}

#[cfg(test)]
mod tests;
