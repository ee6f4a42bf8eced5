//! An audit in lines for people.

use std::collections::BTreeMap;
use std::time::Duration;

use super::progress::clock;
use super::suspects_text;
use crate::audit::{Check, CheckSummary, Checks, Info, Keep, Summary, Thresholds, numbers};
use crate::visible::line;

/// The checks there are, a line each.
pub(super) fn list(checks: &Checks) -> Vec<String> {
    checks.infos().map(|info| format!("{:<4} {:<5} {}: {}", info.id, info.level, info.title, info.question)).collect()
}

/// All that a check says about itself and its SQL, with its numbers in place: the file of a check again.
pub(super) fn explain(check: &dyn Check, thresholds: Option<&Thresholds>, beta: f64) -> String {
    let info = check.info();
    let numbers = numbers(info, thresholds.unwrap_or(&BTreeMap::new()), beta);
    format!("{}{}\n", header(info, &numbers), check.explain(&numbers))
}

/// The header as the file of a check has it.
fn header(info: &Info, numbers: &BTreeMap<String, f64>) -> String {
    let text = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut lines = vec![
        format!("id = {}", text(&info.id)),
        format!("level = {}", text(&info.level.to_string())),
        format!("title = {}", text(&info.title)),
        format!("question = {}", text(&info.question)),
        format!("formula = {}", text(&info.formula_with(numbers))),
        format!("source = {}", text(&info.source)),
        format!("advice = {}", text(&info.advice)),
    ];
    match info.keep {
        Keep::None => {}
        Keep::First => lines.push(format!("keep = {}", text("first"))),
    }
    if !info.needs.is_empty() {
        lines.push(format!("needs = [{}]", info.needs.iter().map(|name| text(name)).collect::<Vec<_>>().join(", ")));
    }
    if !info.thresholds.is_empty() {
        let one = |name: &String| Some(format!("{}.{name}={}", info.id, numbers.get(name)?));
        let flags: Vec<String> = info.thresholds.keys().filter_map(one).collect();
        lines.push(format!("# its numbers, for `--threshold`: {}", flags.join(", ")));
    }
    "-- ".to_owned() + &lines.join("\n-- ") + "\n"
}

/// What was found: every check that has findings or could not look, then the sums.
pub(super) fn lines(summary: &Summary) -> Vec<String> {
    let mut lines = Vec::new();
    for check in &summary.checks {
        lines.extend(check_lines(check));
    }
    let is_quiet = |check: &&CheckSummary| check.skipped.is_none() && check.n_all() == 0;
    let quiet: Vec<&str> = summary.checks.iter().filter(is_quiet).map(|check| check.info.id.as_str()).collect();
    if !quiet.is_empty() {
        lines.push(format!("ok     {}", quiet.join(" ")));
    }
    lines.extend(suspects_text::lines(&summary.suspects, summary.calibration.as_ref()));
    lines.push(String::new());
    if let Some(kept) = &summary.selection {
        lines.push(format!(
            "selected {} of {} pairs, without those of {}",
            kept.n_pairs,
            kept.n_pairs + kept.n_left_out,
            kept.excluded.join(", ")
        ));
    }
    let took = clock(Duration::try_from_secs_f64(summary.seconds).unwrap_or_default());
    lines.push(format!(
        "audited `{}` in {took}: pairs {}, errors {}, warnings {}, infos {}",
        summary.table.display(),
        summary.n_pairs,
        summary.n_errors,
        summary.n_warnings,
        summary.n_infos
    ));
    lines
}

fn check_lines(check: &CheckSummary) -> Vec<String> {
    let CheckSummary { info, skipped, .. } = check;
    if let Some(reason) = skipped {
        return vec![format!("skip   {:<4} {}: {reason}", info.id, info.title)];
    }
    let Some(level) = check.level() else { return Vec::new() };
    let n_quoted = check.findings.len() as u64;
    let mut lines = vec![format!("{level:<5}  {:<4} {}: {}", info.id, info.title, count(check.n_all()))];
    for finding in &check.findings {
        let pair = finding.pair_id.as_deref().map(|id| format!("{} ", line(id))).unwrap_or_default();
        lines.push(format!("            {pair}{}", line(&finding.evidence)));
    }
    if check.n_all() > n_quoted {
        lines.push(format!("            … and {} more", check.n_all() - n_quoted));
    }
    lines.push(format!("            → {}", line(&info.advice)));
    lines
}

fn count(n: u64) -> String {
    if n == 1 { "1 finding".into() } else { format!("{n} findings") }
}
