//! The chat templates of a model by name, and which of them a conversation takes.
//!
//! The rules are those of transformers 5.24 (`_from_pretrained`, `get_chat_template`): files win over
//! `tokenizer_config.json`, whole; with tools, the template called `tool_use` is taken where there is one, else the one
//! called `default`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use super::error::{RejectReason, TokenizeError};
use super::template::ChatTemplate;
use super::template_date::TemplateDate;
use crate::digest::Digest;

/// The template of a conversation without tools.
pub(super) const DEFAULT: &str = "default";

/// The template of a conversation with tools.
const TOOL_USE: &str = "tool_use";

/// Sources of templates by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NamedTemplates(BTreeMap<String, String>);

impl NamedTemplates {
    pub(super) fn insert(&mut self, name: impl Into<String>, source: impl Into<String>) {
        self.0.insert(name.into(), source.into());
    }

    pub(super) fn default_source(&self) -> Option<&str> {
        self.0.get(DEFAULT).map(String::as_str)
    }

    /// The one called `default`, and the others.
    pub(super) fn split(mut self) -> (Option<String>, Self) {
        (self.0.remove(DEFAULT), self)
    }

    /// These, and one called `default`.
    pub(super) fn with_default(&self, source: Option<&str>) -> Self {
        let mut all = self.clone();
        if let Some(source) = source {
            all.insert(DEFAULT, source);
        }
        all
    }

    /// Names and sources, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, source)| (name.as_str(), source.as_str()))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn mentions(&self, word: &str) -> bool {
        self.0.values().any(|source| source.contains(word))
    }

    /// Digest of the sources; of an only template called `default` that of its source alone.
    pub(super) fn digest(&self) -> Option<Digest> {
        match (self.default_source(), self.0.len()) {
            (_, 0) => None,
            (Some(source), 1) => Some(Digest::of(source.as_bytes())),
            _ => Some(Digest::of_parts(self.0.iter().map(|(name, source)| (name.as_str(), source.as_bytes())))),
        }
    }

    /// Parses them. Only a default that does not parse is an error now: of the others, no conversation may ask.
    pub(super) fn parse(&self, model: &Path, date: TemplateDate) -> Result<Option<ChatTemplates>, TokenizeError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let mut by_name = BTreeMap::new();
        for (name, source) in &self.0 {
            let parsed = ChatTemplate::parse(source, date);
            if let (DEFAULT, Err(error)) = (name.as_str(), &parsed) {
                return Err(TokenizeError::Template { model: model.to_owned(), error: error.clone() });
            }
            by_name.insert(name.clone(), parsed.map_err(RejectReason::Template));
        }
        Ok(Some(ChatTemplates { model: model.to_owned(), by_name }))
    }
}

/// Whether a template of that name can be written to a file of that name.
pub(super) fn is_file_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(is_plain)
}

/// Parsed templates of a model, at least one.
#[derive(Debug, Clone)]
pub struct ChatTemplates {
    model: PathBuf,
    by_name: BTreeMap<String, Result<ChatTemplate, RejectReason>>,
}

impl ChatTemplates {
    /// The template of a conversation with these tools and template variables (`get_chat_template` of transformers): a
    /// variable called `chat_template` names one.
    ///
    /// # Errors
    /// The outer error is that of a model whose templates are for other conversations only; the inner one is about this
    /// row.
    pub(super) fn select(
        &self,
        tools: Option<&Json>,
        variables: Option<&Map<String, Json>>,
    ) -> Result<Result<&ChatTemplate, RejectReason>, TokenizeError> {
        if let Some(named) = variables.and_then(|variables| variables.get("chat_template")).filter(|it| !it.is_null()) {
            return Ok(match named.as_str().and_then(|name| self.by_name.get(name)) {
                Some(template) => template.as_ref().map_err(Clone::clone),
                None => Err(RejectReason::UnknownTemplate {
                    found: named.as_str().map_or_else(|| named.to_string(), str::to_owned),
                    known: self.names(),
                }),
            });
        }
        let has_tools = tools.is_some_and(|tools| !tools.is_null() && tools.as_str().map(str::trim) != Some("null"));
        let with_tools = self.by_name.get(TOOL_USE).filter(|_| has_tools);
        match with_tools.or_else(|| self.by_name.get(DEFAULT)) {
            Some(template) => Ok(template.as_ref().map_err(Clone::clone)),
            None => Err(TokenizeError::NoDefaultTemplate { model: self.model.clone(), known: self.names() }),
        }
    }

    /// The template of a conversation without tools, if there is one.
    pub fn default_template(&self) -> Option<&ChatTemplate> {
        self.by_name.get(DEFAULT)?.as_ref().ok()
    }

    fn names(&self) -> Vec<String> {
        self.by_name.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tokenize::{Ending, TemplateInput};

    fn templates(named: &[(&str, &str)]) -> ChatTemplates {
        let mut templates = NamedTemplates::default();
        for (name, source) in named {
            templates.insert(*name, *source);
        }
        templates.parse(Path::new("model"), TemplateDate::default()).unwrap().unwrap()
    }

    fn rendered(templates: &ChatTemplates, tools: &Json, variables: &Json) -> Result<String, RejectReason> {
        let template = templates.select(Some(tools), variables.as_object()).unwrap()?;
        let special_tokens = Map::new();
        let input = TemplateInput {
            special_tokens: &special_tokens,
            tools: None,
            variables: None,
            ending: Ending::LastMessage,
        };
        Ok(template.render(&[], input).unwrap())
    }

    #[test]
    fn tools_take_the_template_for_tools() {
        let both = templates(&[("default", "plain"), ("tool_use", "tools"), ("rag", "documents")]);
        let check = |tools: Json, want: &str| assert_eq!(rendered(&both, &tools, &json!({})).unwrap(), want, "{tools}");
        check(json!(null), "plain");
        check(json!("null"), "plain");
        check(json!([]), "tools");
        check(json!([{"name": "rain"}]), "tools");
        check(json!("[{\"name\": \"rain\"}]"), "tools");
        assert_eq!(rendered(&both, &json!([]), &json!({"chat_template": "rag"})).unwrap(), "documents");
        let one = templates(&[("default", "plain")]);
        assert_eq!(rendered(&one, &json!([{"name": "rain"}]), &json!({})).unwrap(), "plain");
    }

    #[test]
    fn a_name_that_no_template_has_is_refused() {
        let one = templates(&[("default", "plain")]);
        let reason = rendered(&one, &json!(null), &json!({"chat_template": "rag"})).unwrap_err();
        assert_eq!(reason.to_string(), "its `chat_template` is `rag`, expected one of default");
    }

    #[test]
    fn a_template_that_nobody_asks_for_may_be_broken() {
        let broken = templates(&[("default", "plain"), ("tool_use", "{% if %}")]);
        assert_eq!(rendered(&broken, &json!(null), &json!({})).unwrap(), "plain");
        assert!(matches!(rendered(&broken, &json!([]), &json!({})), Err(RejectReason::Template(_))));
    }

    #[test]
    fn without_a_default_a_conversation_without_tools_is_refused_by_name() {
        let tools = templates(&[("tool_use", "tools"), ("rag", "documents")]);
        assert_eq!(rendered(&tools, &json!([]), &json!({})).unwrap(), "tools");
        let error = tools.select(None, None).unwrap_err().to_string();
        assert_eq!(error, "`model` has chat templates called rag, tool_use, and none called default");
    }

    #[test]
    fn the_digest_of_one_template_is_that_of_its_source_and_sees_every_name() {
        let mut templates = NamedTemplates::default();
        templates.insert(DEFAULT, "a");
        assert_eq!(templates.digest(), Some(Digest::of(b"a")));
        templates.insert("tool_use", "b");
        let both = templates.digest();
        templates.insert("tool_use", "c");
        assert!(both.is_some() && templates.digest() != both);
        assert_eq!(NamedTemplates::default().digest(), None);
    }

    #[test]
    fn a_name_is_that_of_a_file() {
        for name in ["", "../x", "a/b", ".hidden", "a b"] {
            assert!(!is_file_name(name), "{name}");
        }
        assert!(is_file_name("tool_use"));
    }
}
