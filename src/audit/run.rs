//! An audit: every check over one table, findings as they come, a summary at the end.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use super::checks::numbers;
use super::kept::LeftOut;
use super::views::Views;
use super::{
    AuditError, Check, CheckSummary, Checks, Context, Exclusion, Hit, Info, Outcome, Summary, Thresholds, kept,
    suspects,
};
use crate::query::moved_aside;
use crate::table::{Finding, ReferenceTable};

/// What to audit, and with which numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// A table's folder, or one part.
    pub table: PathBuf,
    /// A second model's log-probs of the same pairs: a further reference of the table by its name, or another table.
    pub reference: Option<String>,
    /// β of the checks that depend on it, in 1/nat.
    pub beta: f64,
    /// Numbers of checks that are not the default.
    pub thresholds: Thresholds,
    /// Files of evaluation prompts that the data should not have.
    pub against: Vec<PathBuf>,
    /// Columns with the scores of chosen and rejected, `column` or `column.key`; `None` for the usual names.
    pub scores: Option<Vec<String>>,
    /// Column that says which labels are known to be swapped.
    pub truth: Option<String>,
    /// File of the pairs whose truth may be learnt; `None` for all whose truth is known.
    pub trusted: Option<PathBuf>,
    /// Pairs to leave out of a list, where one is asked for.
    pub exclusion: Option<Exclusion>,
    /// Bytes that sorts, groups and joins of a check may hold together, `None` for as many as there are.
    pub memory_limit: Option<u64>,
}

/// What is said on the way.
#[derive(Debug)]
pub enum Event<'a> {
    /// Something a user should know.
    Note(String),
    /// A check begins.
    Begun(&'a Info),
    /// Something was found.
    Finding(&'a Finding),
    /// A check has ended.
    Ended(&'a CheckSummary),
}

/// Runs the checks over a table; findings come as [`Event::Finding`], each once.
///
/// # Errors
/// If the table, a file or a check cannot be read, or a name in the plan is of nothing there. What is wrong with the
/// data is a finding, and what cannot be asked of this table is told as skipped.
pub fn run(
    plan: &Plan,
    checks: &Checks,
    observe: &mut dyn FnMut(Event<'_>) -> Result<(), AuditError>,
) -> Result<Summary, AuditError> {
    let started = Instant::now();
    checks.check_thresholds(&plan.thresholds)?;
    let excluded = match &plan.exclusion {
        Some(exclusion) => checks.named(&exclusion.checks)?,
        None => BTreeSet::new(),
    };
    let table = ReferenceTable::open(&plan.table)?;
    for moved in moved_aside(table.schema()) {
        observe(Event::Note(moved.to_string()))?;
    }
    let mut views = Views::open(plan, &table)?;
    let has_truth = plan.truth.is_some() || plan.trusted.is_some();
    let measured = if has_truth { suspects::measure(&views, plan)? } else { suspects::Measured::default() };
    views.look_at(checks.infos().flat_map(|info| info.needs.iter().map(String::as_str)))?;

    // What cannot be asked is known before the first check has run.
    for check in checks.iter().filter(|check| views.lack(&check.info().needs).is_none()) {
        let info = check.info();
        let thresholds = numbers(info, &plan.thresholds, plan.beta);
        let ctx = Context { table: &table, session: &views.session, thresholds: &thresholds, against: &plan.against };
        check.look_over(&ctx).map_err(|source| AuditError::Check { id: info.id.clone(), source: Box::new(source) })?;
    }

    let mut summary = Summary {
        table: plan.table.clone(),
        table_digest: table.digest()?,
        n_pairs: table.n_pairs(),
        beta: plan.beta,
        scores: views.scores.as_ref().map(|scores| [scores.chosen.name(), scores.rejected.name()]),
        checks: Vec::new(),
        n_errors: 0,
        n_warnings: 0,
        n_infos: 0,
        suspects: measured.scores,
        calibration: measured.calibration,
        selection: None,
        seconds: 0.0,
    };
    let mut left_out = LeftOut::default();
    for check in checks.iter() {
        let info = check.info();
        let is_excluding = excluded.contains(&info.id);
        observe(Event::Begun(info))?;
        let ended = one(plan, check, &table, &views, &mut |finding| {
            if let (true, Some(pair_id)) = (is_excluding, &finding.pair_id) {
                left_out.add(pair_id, info.keep);
            }
            observe(Event::Finding(finding))
        })
        .map_err(|source| AuditError::Check { id: info.id.clone(), source: Box::new(source) })?;
        if let (true, Some(reason)) = (is_excluding, &ended.skipped) {
            return Err(AuditError::Exclude { id: info.id.clone(), reason: reason.clone() });
        }
        observe(Event::Ended(&ended))?;
        summary.count(&ended);
        summary.checks.push(ended);
    }
    if let Some(exclusion) = &plan.exclusion {
        let by: Vec<&Info> = checks.infos().filter(|info| excluded.contains(&info.id)).collect();
        summary.selection = Some(kept::write(&exclusion.path, &table, &by, &left_out)?);
    }
    summary.seconds = started.elapsed().as_secs_f64();
    Ok(summary)
}

fn one(
    plan: &Plan,
    check: &dyn Check,
    table: &ReferenceTable,
    views: &Views,
    found: &mut dyn FnMut(&Finding) -> Result<(), AuditError>,
) -> Result<CheckSummary, AuditError> {
    let started = Instant::now();
    let info = check.info();
    let mut summary = CheckSummary::new(info.clone());
    summary.skipped = views.lack(&info.needs);
    if summary.skipped.is_none() {
        let thresholds = numbers(info, &plan.thresholds, plan.beta);
        let ctx = Context { table, session: &views.session, thresholds: &thresholds, against: &plan.against };
        let outcome = check.run(&ctx, &mut |hit: Hit| {
            let finding = Finding {
                pair_id: hit.pair_id,
                check: info.id.clone().into(),
                level: hit.level.unwrap_or(info.level),
                value: hit.value.filter(|value| value.is_finite()),
                evidence: hit.evidence,
            };
            summary.push(&finding);
            found(&finding)
        })?;
        if let Outcome::Skipped(reason) = outcome {
            summary.skipped = Some(reason);
        }
    }
    summary.seconds = started.elapsed().as_secs_f64();
    Ok(summary)
}
