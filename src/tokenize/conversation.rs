//! One conversation under a chat template: what the template sees of a row beside the turns.

use serde_json::{Map, Value as Json, json};

use super::error::{RejectReason, Side};
use super::printed::{is_printed, missing};
use super::template::{ChatTemplate, Ending, TemplateInput};
use crate::data::Message;

/// A template with the special tokens of its model, the tools and the variables of a row.
pub(super) struct Conversation<'a> {
    template: &'a ChatTemplate,
    special_tokens: &'a Map<String, Json>,
    tools: Option<Json>,
    variables: Option<&'a Map<String, Json>>,
    form: ContentForm,
}

/// How contents in parts are handed to the template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ContentForm {
    /// As the source has them, which is what transformers does.
    AsGiven,
    /// As the string that the parts make.
    Joined,
    /// Strings as one part: only to find out what a template would have read.
    Parts,
}

impl<'a> Conversation<'a> {
    /// # Errors
    /// If `tools` are a text that is not JSON.
    pub(super) fn new(
        template: &'a ChatTemplate,
        special_tokens: &'a Map<String, Json>,
        tools: Option<&Json>,
        variables: Option<&'a Map<String, Json>>,
    ) -> Result<Self, RejectReason> {
        let tools = match tools {
            Some(Json::String(text)) => {
                let parse = serde_json::from_str(text);
                Some(parse.map_err(|error| RejectReason::Tools { reason: error.to_string() })?)
            }
            tools => tools.cloned(),
        };
        Ok(Self { template, special_tokens, tools, variables, form: ContentForm::AsGiven })
    }

    /// The conversation with contents in the form its template reads. Parts are handed over as they are, unless the template
    /// fails on them, prints them as Python prints a list, or does not print them: it was written for strings. transformers
    /// hands them to such a template, too, and what that makes of them is no text of the user.
    pub(super) fn fitted(mut self, conversations: &[&[Message]]) -> Self {
        let has_parts = |turn: &&Message| turn.content.parts().is_some();
        let reads = |form: &Self, turns: &[Message]| {
            let Ok(text) = form.render(turns, Ending::LastMessage) else { return false };
            let mut parts = turns.iter().filter_map(|turn| turn.content.parts()).flatten();
            !text.contains("{'type': 'text'")
                && parts
                    .all(|part| part.get("text").and_then(Json::as_str).is_none_or(|part| is_printed(part, &text, 0)))
        };
        let mixed = conversations.iter().filter(|turns| turns.iter().any(|turn| has_parts(&turn)));
        if mixed.clone().any(|turns| !reads(&self, turns)) {
            self.form = ContentForm::Joined;
            if mixed.clone().any(|turns| !reads(&self, turns)) {
                self.form = ContentForm::AsGiven;
            }
        }
        self
    }

    /// What of the assistant's turns in `turns` the template leaves out of `text`, beyond what begins as `before` does.
    ///
    /// # Errors
    /// If it leaves out anything.
    pub(super) fn check_printed(
        &self,
        [prompt, answer]: [&[Message]; 2],
        side: Side,
        before: &str,
        text: &str,
    ) -> Result<(), RejectReason> {
        let after = before.bytes().zip(text.bytes()).take_while(|(left, right)| left == right).count();
        let after = text.floor_char_boundary(after);
        let Some(what) = missing(answer, text, after) else { return Ok(()) };
        let parts = Self { form: ContentForm::Parts, tools: self.tools.clone(), ..*self };
        let turns = [prompt, answer].concat();
        let reads_parts =
            parts.render(&turns, Ending::LastMessage).is_ok_and(|text| missing(answer, &text, 0).is_none());
        Err(RejectReason::NotPrinted { side, what, reads_parts })
    }

    /// The turns as text.
    pub(super) fn render(&self, turns: &[Message], ending: Ending) -> Result<String, RejectReason> {
        let messages: Vec<Map<String, Json>> = turns.iter().cloned().map(|turn| as_map(turn, self.form)).collect();
        let Self { special_tokens, variables, .. } = *self;
        let input = TemplateInput { special_tokens, tools: self.tools.as_ref(), variables, ending };
        self.template.render(&messages, input).map_err(RejectReason::Template)
    }
}

fn as_map(message: Message, form: ContentForm) -> Map<String, Json> {
    let Message { role, content, mut extra } = message;
    let content = match form {
        ContentForm::Joined if content.parts().is_some() => content.to_string().into(),
        ContentForm::Parts if content.parts().is_none() => json!([{"type": "text", "text": &*content}]),
        ContentForm::AsGiven | ContentForm::Joined | ContentForm::Parts => content.to_json(),
    };
    let mut map = Map::from_iter([("role".to_owned(), role.into()), ("content".to_owned(), content)]);
    map.append(&mut extra);
    map
}
