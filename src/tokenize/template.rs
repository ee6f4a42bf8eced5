//! A model's chat template: messages in, the text the model was trained to read out.
//!
//! Templates are written for the Jinja2 of transformers. minijinja renders them with the repairs below; each is held
//! to what transformers renders by `fixtures/golden/templates.json`.
//!
//! # Not supported
//! `'%s' % value`: an error that names the line.

use std::borrow::Cow;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};
use serde_json::{Map, Value as Json};

use super::error::TemplateError;
use super::template_date::TemplateDate;
use super::{template_json, template_methods};
use crate::guard;

/// Instructions and bytes (64 for one) a template may spend on one rendering; a dialogue of a megabyte spends a
/// tenth of it. It bounds the time, and with its bytes the memory: what runs out is a template that does not end.
const FUEL: u64 = 2_000_000;

/// Bytes of stack for one rendering, of which only what is used is taken: a template may put a list into a list as often
/// as its fuel lasts, and whoever prints, compares or drops it goes down all the way.
const STACK: usize = 1 << 30;

/// Time for one conversation, which takes a thousandth of it: fuel does not see all that minijinja does, and a list
/// that holds itself twice, many times over, is printed for as long as there is a machine.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Bytes of a template's source; the longest published ones have fifty thousand.
const MAX_SOURCE: usize = 1 << 20;

/// Macros in macros; enough for any schema a template walks, and below what a thread's stack holds.
const MAX_RECURSION: usize = 100;

/// Names a message's reasoning goes by; templates read the first.
const REASONING_KEYS: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// A chat template, parsed once for its errors.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    source: Arc<str>,
    environment: Environment<'static>,
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
        let source = generation_tags_as_scopes(source).into();
        let environment = environment(date).map_err(|error| template_error(&error))?;
        let template = Self { source, environment };
        let copy = template.clone();
        within_limits(move || copy.check_that_it_ends())?;
        Ok(template)
    }

    /// Renders one message; only an endless template is an error, since the message may be none for this one.
    fn check_that_it_ends(&self) -> Result<(), TemplateError> {
        let compiled = self.compiled()?;
        let message = Value::from_pairs([("role", "user"), ("content", "x")]);
        let context = [
            ("messages", Value::from(vec![message])),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
            ("add_generation_prompt", Value::from(true)),
        ];
        match compiled.render(Value::from_pairs(context)) {
            Err(error) if innermost(&error).kind() == ErrorKind::OutOfFuel => Err(template_error(&error)),
            _ => Ok(()),
        }
    }

    /// The conversation as text.
    ///
    /// Keys of a message that are null are not there for the template, and reasoning goes by all its names, as in
    /// transformers.
    pub fn render(&self, messages: &[Map<String, Json>], input: TemplateInput<'_>) -> Result<String, TemplateError> {
        let messages: Vec<Map<String, Json>> = messages.iter().map(as_templates_expect).collect();
        let mut variables = input.special_tokens.clone();
        variables.extend(input.variables.cloned().unwrap_or_default());
        let tools = input.tools.cloned();
        let is_prompt = input.ending == Ending::GenerationPrompt;
        let template = self.clone();
        within_limits(move || {
            let variables = variables.into_iter().map(|(name, value)| (name, Value::from(Serde(value))));
            let context = variables.chain([
                ("messages".to_owned(), Value::from(Serde(messages))),
                ("tools".to_owned(), Value::from(Serde(tools))),
                ("documents".to_owned(), Value::from(())),
                ("add_generation_prompt".to_owned(), Value::from(is_prompt)),
            ]);
            let context = Value::from_pairs(context.collect::<Vec<_>>());
            template.compiled()?.render(context).map_err(|error| template_error(&error))
        })
    }

    fn compiled(&self) -> Result<minijinja::Template<'_, '_>, TemplateError> {
        self.environment.template_from_named_str("chat_template", &self.source).map_err(|error| template_error(&error))
    }
}

/// Runs the work of a template, and drops its values, on a thread with room for the deepest of them; a thread that
/// takes too long is left behind.
fn within_limits<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TemplateError> + Send + 'static,
) -> Result<T, TemplateError> {
    let failed = |reason: String| TemplateError { line: 1, reason };
    let (sender, receiver) = mpsc::channel();
    // Nobody waits for a result that comes too late.
    let worker = thread::Builder::new().stack_size(STACK).spawn(move || drop(sender.send(guard::catch(work))));
    worker.map_err(|error| failed(format!("no thread to render it: {error}")))?;
    match receiver.recv_timeout(TIME_LIMIT) {
        Ok(Ok(result)) => result,
        Ok(Err(panicked)) => Err(failed(panicked.to_string())),
        Err(_) => Err(failed(format!("it does not end within {} s", TIME_LIMIT.as_secs()))),
    }
}

fn environment(date: TemplateDate) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(MAX_RECURSION);
    environment.set_unknown_method_callback(template_methods::call);
    environment.add_filter("tojson", template_json::tojson);
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, "raised by the template").with_source(Raised(message)))
    });
    environment.add_function("strftime_now", move |format: &str| {
        date.strftime(format)
            .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, format!("unknown date format `{format}`")))
    });
    Ok(environment)
}

/// What a template says about messages it does not take.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

/// The failure that made the others.
fn innermost(error: &Error) -> &Error {
    let mut innermost = error;
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        innermost = source.downcast_ref().unwrap_or(innermost);
        next = source.source();
    }
    innermost
}

/// Line and reason of the innermost failure.
fn template_error(error: &Error) -> TemplateError {
    let mut line = error.line();
    let mut reason = described(error);
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        if let Some(Raised(message)) = source.downcast_ref() {
            reason.clone_from(message);
        } else if let Some(inner) = source.downcast_ref::<Error>() {
            line = inner.line().or(line);
            reason = described(inner);
        }
        next = source.source();
    }
    TemplateError { line: line.unwrap_or(1), reason }
}

fn described(error: &Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
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

/// `{% generation %}` marks the assistant's words for training masks; minijinja has no such tag. To the text it is a
/// scope and nothing more, which is what `{% with %}` is; white-space marks stay where they are.
fn generation_tags_as_scopes(source: &str) -> Cow<'_, str> {
    const TAGS: [(&str, &str); 2] = [("endgeneration", "endwith"), ("generation", "with")];
    let mut out = String::new();
    let mut copied = 0;
    for (start, _) in source.match_indices("{%") {
        let inner = source[start + 2..].trim_start_matches(['-', '+']).trim_start();
        let Some((tag, scope)) = TAGS.into_iter().find(|(tag, _)| inner.starts_with(tag)) else { continue };
        let after = inner[tag.len()..].trim_start();
        if after.trim_start_matches(['-', '+']).starts_with("%}") {
            let tag_start = source.len() - inner.len();
            out.push_str(&source[copied..tag_start]);
            out.push_str(scope);
            copied = tag_start + tag.len();
        }
    }
    if copied == 0 {
        return Cow::Borrowed(source);
    }
    out.push_str(&source[copied..]);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests;
