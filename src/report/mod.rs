//! Pages about what piref made: one HTML file each, with its plots in it; and what an audit found, for other programs.
//!
//! [`Page`] is the frame that every report shares: facts, sections, tables and [`Figure`]s of [`Chart`]s. [`write_run`]
//! fills one with a run; that of a sweep is in [`crate::sweep`]. [`write_audit`] writes one about an audit, section by
//! section, with the pairs that were found and their tokens. [`Sarif`] tells the findings to a program that shows those of
//! linters.
//!
//! Invariant: a page needs no network, no script and no other file, and its policy forbids them; what comes out of a
//! run or a data set (names, settings, texts) is shown as text, never as markup, and what would hide in it is spelt out.
//! Light or dark follows the reader's system. Nothing is said by colour alone, and every figure has its numbers below it
//! as a table.
//!
//! The plots are drawn here, as SVG under the classes of the page's style sheet: `plotters` writes its colours and text
//! sizes into every element, so that a page could not follow the theme of its reader.

mod audit_page;
mod axis;
mod bar_chart;
mod chart;
mod error;
mod frame;
mod histogram;
mod measures;
mod numbers;
mod page;
mod panels;
mod passage;
mod run;
mod samples;
mod sarif;
mod settings;
mod table;

pub use audit_page::{AUDIT, AuditInputs, Examples, write_audit};
pub use bar_chart::{Bar, BarChart, Tones};
pub use chart::{Chart, Guide, Line, LineChart, Point};
pub use error::ReportError;
pub use histogram::{Bars, Histogram};
pub use page::{Block, Fact, Figure, Index, IndexRow, Page, Section, Table, Tone};
pub use passage::{Passage, Passages, Piece, Shade};
pub use run::{REPORT, RunInputs, run_page, write_run};
pub use sarif::Sarif;

#[cfg(test)]
mod tests;
