//! What the log-prob table of a run is like.

use super::ReportError;
use super::chart::Chart;
use super::measures::{LENGTHS, MARGIN, Measure, PER_TOKEN, PROMPTS};
use super::numbers::{self, Groups};
use super::page::{Block, Fact, Figure};
use super::run::Tables;
use crate::query::Session;

/// Facts and histograms of the table; nothing of an empty one.
pub(super) fn blocks(tables: &Tables) -> Result<Vec<Block>, ReportError> {
    let Some(pairs) = tables.pairs else { return Ok(Vec::new()) };
    let facts = facts(&tables.session, pairs)?;
    if facts.is_empty() {
        return Ok(Vec::new());
    }
    let mut blocks = vec![Block::Facts { facts }];
    for measure in [&PER_TOKEN, &MARGIN, &LENGTHS, &PROMPTS] {
        let measured = numbers::measured(&tables.session, pairs, measure, &Groups::none())?;
        blocks.extend(measured.map(|measured| figure(measure, measure.title, measured.all)));
    }
    Ok(blocks)
}

/// The histogram of a measure under a title.
pub(super) fn figure(measure: &Measure, title: &str, histogram: super::Histogram) -> Block {
    Block::Figure(Figure::new(title, measure.note, &Chart::Histogram(histogram)))
}

/// What a reader wants to know first of the table `pairs`; nothing of an empty one.
pub(super) fn facts(session: &Session, pairs: &'static str) -> Result<Vec<Fact>, ReportError> {
    let sql = format!(
        "SELECT count(*), sum(prompt_tokens + chosen_tokens + rejected_tokens), \
         avg(CASE WHEN chosen_cut > 0 OR rejected_cut > 0 OR prompt_cut > 0 THEN 1.0 ELSE 0.0 END), \
         avg({}), avg({}) FROM {pairs}",
        above("ref_chosen_logps", "ref_rejected_logps"),
        above("ref_chosen_logps / chosen_tokens", "ref_rejected_logps / rejected_tokens"),
    );
    let row = numbers::row(session, pairs, &sql)?;
    let &[n_pairs, n_tokens, cut, by_sum, by_token] = row.as_slice() else { return Ok(Vec::new()) };
    if n_pairs == 0.0 {
        return Ok(Vec::new());
    }
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    Ok(vec![
        Fact::new("pairs", format!("{n_pairs:.0}")),
        Fact::new("tokens", format!("{n_tokens:.0}")),
        Fact::new("pairs that were cut", percent(cut)),
        Fact::new("reference prefers chosen, by sum", percent(by_sum)),
        Fact::new("reference prefers chosen, per token", percent(by_token)),
    ])
}

/// 1 where one is above the other, ½ where they are equal.
fn above(one: &str, other: &str) -> String {
    format!("CASE WHEN {one} > {other} THEN 1.0 WHEN {one} = {other} THEN 0.5 ELSE 0.0 END")
}
