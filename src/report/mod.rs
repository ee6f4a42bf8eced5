//! Pages about what piref made: one HTML file each, with its plots in it.
//!
//! [`Page`] is the frame that every report shares: facts, sections, tables and [`Figure`]s of [`Chart`]s. [`write_run`]
//! fills one with a run; that of a sweep is in [`crate::sweep`].
//!
//! Invariant: a page needs no network, no script and no other file, and its policy forbids them; what comes out of a
//! run (names, settings, paths) is shown as text, never as markup. Light or dark follows the reader's system. Nothing is
//! said by colour alone, and every figure has its numbers below it as a table.
//!
//! The plots are drawn here, as SVG under the classes of the page's style sheet: `plotters` writes its colours and text
//! sizes into every element, so that a page could not follow the theme of its reader.

mod axis;
mod bar_chart;
mod chart;
mod error;
mod histogram;
mod numbers;
mod page;
mod panels;
mod run;
mod samples;
mod settings;
mod table;

pub use bar_chart::{Bar, BarChart};
pub use chart::{Chart, Guide, Line, LineChart, Point};
pub use error::ReportError;
pub use histogram::{Bars, Histogram};
pub use page::{Block, Fact, Figure, Page, Section, Table};
pub use run::{REPORT, RunInputs, run_page, write_run};

#[cfg(test)]
mod tests;
