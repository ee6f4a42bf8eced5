//! What a check is: what it asks, and how it answers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{AuditError, header};
use crate::query::Session;
use crate::table::{Level, ReferenceTable};

/// What a check says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Info {
    /// Its name: a letter for the family and a number (`B1`), or a user's own.
    pub id: String,
    /// Level of its findings, where a finding does not say another.
    pub level: Level,
    /// A few words, as a headline.
    pub title: String,
    /// What it asks of the data.
    pub question: String,
    /// When it finds something, as a formula over columns.
    pub formula: String,
    /// Where the check or its number comes from.
    pub source: String,
    /// What to do about a finding.
    pub advice: String,
    /// What stays of a pair that was found where an exclusion names the check.
    #[serde(default)]
    pub keep: Keep,
    /// Columns it reads that not every table has, as `table.column`: without one of them it is skipped.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Its numbers by name, with their defaults.
    #[serde(default)]
    pub thresholds: BTreeMap<String, f64>,
}

impl Info {
    /// The formula with these numbers in place.
    pub fn formula_with(&self, numbers: &BTreeMap<String, f64>) -> String {
        header::filled(&self.formula, numbers)
    }
}

/// Rows of a found pair that an exclusion leaves in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// None: the pair itself is at fault.
    #[default]
    None,
    /// The first of the table: its repetitions are at fault.
    First,
}

/// A finding before it has the name of its check.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Hit {
    /// Pair it is about; `None` for the data set.
    pub pair_id: Option<String>,
    /// Its level, where it is not the check's.
    pub level: Option<Level>,
    /// The number found, finite.
    pub value: Option<f64>,
    /// What was found, in words that quote no more of the data than needed.
    pub evidence: String,
}

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It has looked at everything.
    Done,
    /// It could not look, and why.
    Skipped(String),
}

/// What a check looks at.
pub struct Context<'a> {
    /// The table, for code that reads rows.
    pub table: &'a ReferenceTable,
    /// SQL over it: see [`views`](super::views) for the names there are.
    pub session: &'a Session,
    /// The numbers of this check by name, every one of [`Info::thresholds`].
    pub thresholds: &'a BTreeMap<String, f64>,
    /// Files of evaluation prompts that the data should not have.
    pub against: &'a [PathBuf],
}

impl Context<'_> {
    /// A number of the check.
    ///
    /// # Errors
    /// If the check has none of this name: a mistake in the check.
    pub fn threshold(&self, name: &str) -> Result<f64, AuditError> {
        self.thresholds.get(name).copied().ok_or_else(|| AuditError::NoThreshold { name: name.to_owned() })
    }
}

/// Where a check puts what it finds, as it finds it: memory does not grow with the findings.
pub type Found<'a> = &'a mut dyn FnMut(Hit) -> Result<(), AuditError>;

/// A question about preference data that a machine can answer.
pub trait Check: Send + Sync {
    /// What it says about itself.
    fn info(&self) -> &Info;

    /// Looks, and hands over every finding, in an order that depends on the table only.
    ///
    /// # Errors
    /// If the table cannot be read. What cannot be asked of this table is [`Outcome::Skipped`].
    fn run(&self, ctx: &Context<'_>, found: Found<'_>) -> Result<Outcome, AuditError>;

    /// Looks whether it can be asked at all, before any check is run.
    ///
    /// # Errors
    /// If it cannot: SQL that is none, or that would answer differently each time.
    fn look_over(&self, _: &Context<'_>) -> Result<(), AuditError> {
        Ok(())
    }

    /// What it runs, for a reader: its SQL, with these numbers in place, or the method in words.
    fn explain(&self, thresholds: &BTreeMap<String, f64>) -> String;
}
