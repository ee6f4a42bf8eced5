//! The page about an audit: what was looked at, how its numbers are distributed, what was found, with examples.
//!
//! It is written section by section: what is in memory at once are the numbers of the figures and the [`Examples`], cut
//! to a bound each. The size of the page depends on the number of checks, not on that of findings.

mod check;
mod distributions;
mod examples;
mod length;
mod pairs;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use self::pairs::Pairs;
use super::axis::number;
use super::frame::{Frame, Head, Link};
use super::page::{Block, Fact, Index, IndexRow, Section, Table, Tone};
use super::{ReportError, table};
use crate::audit::{CheckSummary, Checks, Plan, Precision, ScoreQuality, Summary};
use crate::io::{self, AtomicFile, IoError};
use crate::query::{Resources, Session};
use crate::table::{Level, ReferenceTable};

pub use self::examples::Examples;

/// The page in a run folder.
pub const AUDIT: &str = "audit.html";

/// What a page about an audit is made of.
#[derive(Clone, Copy)]
pub struct AuditInputs<'a> {
    /// What was asked for.
    pub plan: &'a Plan,
    /// What was run.
    pub checks: &'a Checks,
    /// What came of it.
    pub summary: &'a Summary,
    /// Findings to show with their pairs.
    pub examples: &'a Examples,
    /// The file that has all findings, if there is one.
    pub findings: Option<&'a Path>,
}

/// Writes the page about an audit to `out`. The tokens of answers are shaded by their log-probs where `resources` have
/// the tokenizer of the table.
///
/// # Errors
/// If the table cannot be read any more, or the disk refuses.
pub fn write_audit(inputs: &AuditInputs<'_>, resources: Resources, out: &Path) -> Result<(), ReportError> {
    let mut session = Session::with(resources)?;
    session.register_pairs(&inputs.summary.table)?;
    let pairs = Pairs::read(&session, &inputs.examples.pair_ids())?;
    let mut sections = vec![checks(inputs, &pairs)];
    sections.extend(distributions::sections(&session)?);
    sections.push(length::section(&session)?);
    sections.retain(|section| !section.blocks.is_empty());
    let found: Vec<&CheckSummary> = inputs.summary.checks.iter().filter(|check| check.n_all() > 0).collect();

    let frame = Frame::new()?;
    let title = format!("Audit of {}", inputs.summary.table.display());
    let provenance = ReferenceTable::open(&inputs.summary.table)?.provenance().clone();
    let subtitle = format!("log-probs of {}, table digest {}", provenance.model.path, inputs.summary.table_digest);
    let mut facts = table::facts(&session, "pairs")?;
    facts.extend(self::facts(inputs.summary));
    let ids: Vec<String> = found.iter().map(|check| section_id(&check.info.id)).collect();
    let of_sections = sections.iter().map(|section| Link { section: &section.id, name: &section.heading });
    let of_checks = found.iter().zip(&ids).map(|(check, id)| Link { section: id, name: &check.info.id });
    let links = of_sections.chain(of_checks).collect();

    io::remove_halves(out)?;
    let mut file = AtomicFile::create(out)?;
    let mut put = |html: String| {
        let written = file.write_all(html.as_bytes());
        written.map_err(|source| ReportError::from(IoError::new("write", out, source)))
    };
    put(frame.head(&Head { title: &title, subtitle: &subtitle, facts: &facts, links })?)?;
    for section in &sections {
        put(frame.section(section)?)?;
    }
    for check in inputs.checks.iter() {
        if let Some(ended) = found.iter().find(|ended| ended.info.id == check.info().id) {
            put(frame.section(&check::section(inputs, check, ended, &pairs))?)?;
        }
    }
    put(frame.foot()?)?;
    Ok(file.commit()?)
}

/// The id of a check's section: what is no letter or digit is spelt out, so that no two checks share one.
fn section_id(check: &str) -> String {
    let mut id = String::from("check-");
    for c in check.chars() {
        if c.is_ascii_alphanumeric() || c == '-' {
            id.push(c);
        } else {
            // Writing to a string does not fail.
            _ = write!(id, "_{:x}_", u32::from(c));
        }
    }
    id
}

/// What came of it, in numbers.
fn facts(summary: &Summary) -> Vec<Fact> {
    let n_skipped = summary.checks.iter().filter(|check| check.skipped.is_some()).count();
    let n_found = summary.checks.iter().filter(|check| check.n_all() > 0).count();
    let mut facts = vec![
        Fact::new("errors", summary.n_errors.to_string()),
        Fact::new("warnings", summary.n_warnings.to_string()),
        Fact::new("infos", summary.n_infos.to_string()),
        Fact::new("checks", summary.checks.len().to_string()),
        Fact::new("checks with findings", n_found.to_string()),
        Fact::new("checks that could not look", n_skipped.to_string()),
        Fact::new("β", number(summary.beta)),
    ];
    if let Some([chosen, rejected]) = &summary.scores {
        facts.push(Fact::new("scores", format!("{chosen}, {rejected}")));
    }
    facts
}

/// Every check in a row, those first that found the gravest.
fn checks(inputs: &AuditInputs<'_>, pairs: &Pairs) -> Section {
    let summary = inputs.summary;
    let mut rows: Vec<IndexRow> = summary.checks.iter().map(row).collect();
    // A stable sort: within a tone they stay in the order of their names.
    rows.sort_by_key(|row| row.tone);
    let columns = ["check", "title", "gravest", "found"].map(str::to_owned).into();
    let mut blocks = vec![Block::Index(Index { title: "Checks".into(), columns, rows })];
    if !summary.suspects.is_empty() {
        blocks.push(qualities(&summary.suspects));
    }
    if let Some(kept) = &summary.selection {
        let text = format!(
            "{} lists the {} of {} pairs that stay without those of {}.",
            kept.path.display(),
            kept.n_pairs,
            kept.n_pairs + kept.n_left_out,
            kept.excluded.join(", ")
        );
        blocks.push(Block::Text { text });
    }
    if !inputs.examples.pair_ids().is_empty() && !pairs.has_tokens() {
        let text = "Tokens are not shaded by their log-probs: the tokenizer of the table is not at hand (`--model` names a \
                    model that has it), or the table has no log-probs of single tokens.";
        blocks.push(Block::Text { text: text.into() });
    }
    Section { id: "checks".into(), heading: "Checks".into(), blocks }
}

fn row(check: &CheckSummary) -> IndexRow {
    let level = check.level();
    let found = match &check.skipped {
        Some(reason) => format!("skipped: {reason}"),
        None if level.is_none() => "nothing".into(),
        None => check::counts(check),
    };
    let gravest = level.map_or_else(|| "–".to_owned(), |level| level.to_string());
    IndexRow {
        section: level.map(|_| section_id(&check.info.id)),
        tone: tone(level),
        cells: vec![check.info.id.clone(), check.info.title.clone(), gravest, found],
    }
}

/// How much a finding of this level matters, or that there is none.
fn tone(level: Option<Level>) -> Tone {
    match level {
        Some(Level::Error) => Tone::Grave,
        Some(Level::Warn) => Tone::Notable,
        Some(Level::Info) => Tone::Mild,
        None => Tone::Quiet,
    }
}

/// How well scores of suspicion find labels that are known to be swapped.
fn qualities(scores: &[ScoreQuality]) -> Block {
    let heads: Vec<usize> =
        scores.first().map_or_else(Vec::new, |score| score.precision_at.iter().map(|head| head.k).collect());
    let precisions = heads.iter().map(|head| format!("precision at {head}"));
    let columns = ["score", "pairs", "swapped", "ROC AUC"].map(str::to_owned).into_iter().chain(precisions);
    let row = |score: &ScoreQuality| {
        let of = |k: &usize| score.precision_at.iter().find(|head| head.k == *k);
        let share = |head: &Precision| format!("{} ± {}", number(head.precision), number(head.se));
        let precisions = heads.iter().map(|k| of(k).map_or_else(String::new, share));
        let first = [
            score.score.clone(),
            score.n_pairs.to_string(),
            score.n_true.to_string(),
            format!("{} ± {}", number(score.roc_auc), number(score.roc_auc_se)),
        ];
        first.into_iter().chain(precisions).collect()
    };
    let table = Table { columns: columns.collect(), rows: scores.iter().map(row).collect() };
    Block::Table { title: "How well scores of suspicion find swapped labels".into(), table }
}
