//! The methods of this module as checks of a table: a file a check.

mod by_language;
mod contamination;
mod contradictions;
mod cycles;
mod language;
mod losing_winners;
mod near_answers;
mod near_prompts;
mod personal;
mod role_markers;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::audit::{AuditError, Check, Context, Found, Hit, Info, Keep, Outcome};
use crate::table::Level;

/// Every check of this module, in the order of their names.
pub fn checks() -> Vec<Box<dyn Check>> {
    let checks = [
        near_answers::CHECK,
        role_markers::CHECK,
        personal::CHECK,
        language::CHECK,
        contradictions::CHECK,
        losing_winners::CHECK,
        near_prompts::CHECK,
        contamination::CHECK,
        cycles::CHECK,
        by_language::CHECK,
    ];
    checks.into_iter().map(|about| Box::new(TextCheck::new(&about)) as Box<dyn Check>).collect()
}

/// What a file of this folder says of its check.
struct About {
    id: &'static str,
    level: Level,
    title: &'static str,
    question: &'static str,
    formula: &'static str,
    source: &'static str,
    advice: &'static str,
    thresholds: &'static [(&'static str, f64)],
    /// How the answer is found, for [`Check::explain`].
    method: &'static str,
    run: fn(&Context<'_>, Found<'_>) -> Result<Outcome, AuditError>,
}

/// A check whose answer is code.
struct TextCheck {
    info: Info,
    method: &'static str,
    run: fn(&Context<'_>, Found<'_>) -> Result<Outcome, AuditError>,
}

impl TextCheck {
    fn new(about: &About) -> Self {
        let info = Info {
            id: about.id.into(),
            level: about.level,
            title: about.title.into(),
            question: about.question.into(),
            formula: about.formula.into(),
            source: about.source.into(),
            advice: about.advice.into(),
            keep: Keep::None,
            needs: Vec::new(),
            thresholds: about.thresholds.iter().map(|&(name, value)| (name.to_owned(), value)).collect(),
        };
        Self { info, method: about.method, run: about.run }
    }
}

impl Check for TextCheck {
    fn info(&self) -> &Info {
        &self.info
    }

    fn run(&self, ctx: &Context<'_>, found: Found<'_>) -> Result<Outcome, AuditError> {
        (self.run)(ctx, found)
    }

    fn explain(&self, thresholds: &BTreeMap<String, f64>) -> String {
        let mut text = self.method.to_owned();
        // β is among the numbers of every check.
        for (name, value) in thresholds.iter().filter(|(name, _)| self.info.thresholds.contains_key(*name)) {
            text.extend(["\n", name, " = ", &value.to_string()]);
        }
        text
    }
}

/// A finding about no pair in particular.
fn of_data_set(level: Level, value: usize, evidence: String) -> Hit {
    Hit { pair_id: None, level: Some(level), value: Some(value as f64), evidence }
}

/// A threshold that is a share or a similarity.
fn share(ctx: &Context<'_>, name: &str) -> Result<f64, AuditError> {
    let found = ctx.threshold(name)?;
    let is_share = found > 0.0 && found <= 1.0;
    is_share.then_some(found).ok_or_else(|| out_of_range(name, "a share above 0 and at most 1", found))
}

/// A threshold that is a whole number from 1 on.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number in range was asked for")]
fn count(ctx: &Context<'_>, name: &str) -> Result<usize, AuditError> {
    let found = ctx.threshold(name)?;
    let is_count = (1.0..=1e9).contains(&found) && found.fract() == 0.0;
    is_count.then_some(found as usize).ok_or_else(|| out_of_range(name, "a whole number from 1 on", found))
}

fn out_of_range(name: &str, expected: &'static str, found: f64) -> AuditError {
    AuditError::Threshold { name: name.to_owned(), expected, found }
}
