//! The templates of a page: what stands before its sections, a section, what stands after them.
//!
//! A page that is too much for memory is written piece by piece; one that is not is a [`Page`](super::Page).

use minijinja::value::Serde;
use minijinja::{Environment, Value, escape_formatter};
use serde::Serialize;

use super::ReportError;
use super::page::{Fact, Section};
use crate::visible::visible;

/// The names end in `.html`: minijinja escapes what it puts into such templates.
const TEMPLATES: [(&str, &str); 4] = [
    ("parts.html", include_str!("templates/parts.html")),
    ("head.html", include_str!("templates/head.html")),
    ("section.html", include_str!("templates/section.html")),
    ("foot.html", include_str!("templates/foot.html")),
];

/// What stands before the sections.
#[derive(Debug, Serialize)]
pub(super) struct Head<'a> {
    pub(super) title: &'a str,
    pub(super) subtitle: &'a str,
    pub(super) facts: &'a [Fact],
    /// The way to the sections.
    pub(super) links: Vec<Link<'a>>,
}

/// A way to a section.
#[derive(Debug, Serialize)]
pub(super) struct Link<'a> {
    /// Its id.
    pub(super) section: &'a str,
    /// What the link is called.
    pub(super) name: &'a str,
}

/// The templates, read.
pub(super) struct Frame(Environment<'static>);

impl Frame {
    pub(super) fn new() -> Result<Self, ReportError> {
        let mut environment = Environment::new();
        for (name, text) in TEMPLATES {
            environment.add_template(name, text).map_err(|source| ReportError::Template { source })?;
        }
        environment.set_formatter(|out, state, value| match value.as_str() {
            Some(text) if !value.is_safe() => escape_formatter(out, state, &Value::from(visible(text).into_owned())),
            _ => escape_formatter(out, state, value),
        });
        Ok(Self(environment))
    }

    /// The page up to its first section.
    pub(super) fn head(&self, head: &Head<'_>) -> Result<String, ReportError> {
        let style = Value::from_safe_string(include_str!("templates/page.css").to_owned());
        self.fill("head.html", [("head", Value::from(Serde(head))), ("style", style)])
    }

    /// A section.
    pub(super) fn section(&self, section: &Section) -> Result<String, ReportError> {
        self.fill("section.html", [("section", Value::from(Serde(section)))])
    }

    /// The page after its last section.
    pub(super) fn foot(&self) -> Result<String, ReportError> {
        self.fill("foot.html", [])
    }

    fn fill<const N: usize>(&self, name: &str, values: [(&str, Value); N]) -> Result<String, ReportError> {
        let wrap = |source| ReportError::Template { source };
        let version = ("version", Value::from(env!("CARGO_PKG_VERSION")));
        let values = Value::from_pairs(values.into_iter().chain([version]));
        let mut text = self.0.get_template(name).and_then(|template| template.render(values)).map_err(wrap)?;
        text.push('\n');
        Ok(text)
    }
}
