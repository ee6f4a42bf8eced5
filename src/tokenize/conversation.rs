//! One conversation under a chat template: what the template sees of a row beside the turns.

use serde_json::{Map, Value as Json};

use super::error::RejectReason;
use super::template::{ChatTemplate, Ending, TemplateInput};
use crate::data::Message;

/// A template with the special tokens of its model, the tools and the variables of a row.
pub(super) struct Conversation<'a> {
    template: &'a ChatTemplate,
    special_tokens: &'a Map<String, Json>,
    tools: Option<Json>,
    variables: Option<&'a Map<String, Json>>,
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
        Ok(Self { template, special_tokens, tools, variables })
    }

    /// The turns as text.
    pub(super) fn render(&self, turns: &[Message], ending: Ending) -> Result<String, RejectReason> {
        let messages: Vec<Map<String, Json>> = turns.iter().cloned().map(as_map).collect();
        let Self { special_tokens, variables, .. } = *self;
        let input = TemplateInput { special_tokens, tools: self.tools.as_ref(), variables, ending };
        self.template.render(&messages, input).map_err(RejectReason::Template)
    }
}

fn as_map(message: Message) -> Map<String, Json> {
    let Message { role, content, mut extra } = message;
    let mut map = Map::from_iter([("role".to_owned(), role.into()), ("content".to_owned(), content.into())]);
    map.append(&mut extra);
    map
}
