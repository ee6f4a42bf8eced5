//! The frame of a page, filled by `page.html` and dressed by `page.css`.

use minijinja::value::Serde;
use minijinja::{Environment, Value};
use serde::Serialize;

use super::ReportError;
use super::chart::Chart;

/// The name ends in `.html`: minijinja escapes what it puts into such a template.
const TEMPLATE: &str = "page.html";

/// A page.
#[derive(Debug, Clone, Serialize)]
pub struct Page {
    /// What it is about.
    pub title: String,
    /// Where that is.
    pub subtitle: String,
    /// What a reader wants to know first.
    pub facts: Vec<Fact>,
    /// The rest, in order.
    pub sections: Vec<Section>,
}

/// A name and a value.
#[derive(Debug, Clone, Serialize)]
pub struct Fact {
    /// What.
    pub name: String,
    /// How much of it.
    pub value: String,
}

/// A part of a page with a heading of its own; empty ones are left out.
#[derive(Debug, Clone, Serialize)]
pub struct Section {
    /// Name for links, of letters.
    pub id: &'static str,
    /// The heading.
    pub heading: String,
    /// What is in it.
    pub blocks: Vec<Block>,
}

/// A piece of a section.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Block {
    /// A paragraph.
    Text {
        /// Its text.
        text: String,
    },
    /// Names and values.
    Facts {
        /// In their order.
        facts: Vec<Fact>,
    },
    /// A table under a title.
    Table {
        /// The title.
        title: String,
        /// The table.
        table: Table,
    },
    /// A table of long texts, over the width of the page; their lines stay as they are.
    Texts {
        /// The title.
        title: String,
        /// The table.
        table: Table,
    },
    /// A plot.
    Figure(Figure),
}

/// Rows of text under the names of their columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The cells, row by row.
    pub rows: Vec<Vec<String>>,
}

/// A plot with its numbers.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    title: String,
    note: String,
    /// Markup, and therefore made by [`Figure::new`] alone.
    svg: String,
    key: Vec<Sample>,
    numbers: Table,
}

/// How a curve is drawn, and its name.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Sample {
    pub(super) name: String,
    /// Classes of the style sheet.
    pub(super) style: String,
}

impl Figure {
    /// Draws a chart; `note` says what a reader has to know of it, and may be empty.
    pub fn new(title: impl Into<String>, note: impl Into<String>, chart: &Chart) -> Self {
        let title = title.into();
        Self { svg: chart.svg(&title), key: chart.key(), numbers: chart.numbers(), note: note.into(), title }
    }
}

impl Fact {
    /// A fact.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

impl Page {
    /// The page as one HTML file.
    ///
    /// # Errors
    /// Never on account of what the page says: the template is part of the program.
    pub fn to_html(&self) -> Result<String, ReportError> {
        let wrap = |source| ReportError::Template { source };
        let environment = Environment::new();
        let template = environment.template_from_named_str(TEMPLATE, include_str!("page.html")).map_err(wrap)?;
        let sections: Vec<&Section> = self.sections.iter().filter(|section| !section.blocks.is_empty()).collect();
        let context = Value::from_pairs([
            ("page", Value::from(Serde(self))),
            ("sections", Value::from(Serde(sections))),
            ("style", Value::from_safe_string(include_str!("page.css").to_owned())),
            ("version", Value::from(env!("CARGO_PKG_VERSION"))),
        ]);
        template.render(context).map_err(wrap)
    }
}
