//! What a page is made of; [`frame`](super::frame) puts it into markup.

use std::borrow::Cow;

use serde::Serialize;

use super::ReportError;
use super::chart::Chart;
use super::frame::{Frame, Head, Link};
use super::passage::{Passages, Shade};

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// What.
    pub name: String,
    /// How much of it.
    pub value: String,
}

/// A part of a page with a heading of its own; empty ones are left out.
#[derive(Debug, Clone, Serialize)]
pub struct Section {
    /// Name for links, of letters, digits, `-` and `_`.
    pub id: Cow<'static, str>,
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
    /// Names and sentences.
    Terms {
        /// In their order.
        terms: Vec<Fact>,
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
    /// A table of graded rows, over the width of the page, that may lead to sections.
    Index(Index),
    /// A program text, folded away under its title.
    Code {
        /// The title.
        title: String,
        /// The text.
        code: String,
    },
    /// What the shades of the passages below it mean.
    Legend {
        /// The title.
        title: String,
        /// The shades.
        samples: Vec<Shade>,
    },
    /// Texts side by side, over the width of the page.
    Passages(Passages),
    /// A plot.
    Figure(Figure),
}

/// A table of graded rows that may lead to what is told at length further down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Index {
    /// The title.
    pub title: String,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<IndexRow>,
}

/// A graded row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IndexRow {
    /// Id of the section it leads to, where there is one.
    pub section: Option<String>,
    /// How much it matters; said in a cell, too.
    pub tone: Tone,
    /// The cells; the first one bears the link.
    pub cells: Vec<String>,
}

/// How much a row matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// Something is wrong.
    Grave,
    /// Something is probably not what was meant.
    Notable,
    /// Worth knowing.
    Mild,
    /// Nothing to see.
    Quiet,
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
    /// Never on account of what the page says: the templates are part of the program.
    pub fn to_html(&self) -> Result<String, ReportError> {
        let frame = Frame::new()?;
        let sections: Vec<&Section> = self.sections.iter().filter(|section| !section.blocks.is_empty()).collect();
        let links = sections.iter().map(|section| Link { section: &section.id, name: &section.heading }).collect();
        let head = Head { title: &self.title, subtitle: &self.subtitle, facts: &self.facts, links };
        let mut html = frame.head(&head)?;
        for section in sections {
            html += &frame.section(section)?;
        }
        Ok(html + &frame.foot()?)
    }
}
