//! What the log-prob table of a run is like.

use super::ReportError;
use super::chart::Chart;
use super::numbers::{self, Values};
use super::page::{Block, Fact, Figure};
use super::run::Tables;

/// Holds for every row.
const ALL: &str = "true";

/// Facts and histograms of the table; nothing of an empty one.
pub(super) fn blocks(tables: &Tables) -> Result<Vec<Block>, ReportError> {
    let Some(pairs) = tables.pairs else { return Ok(Vec::new()) };
    let session = &tables.session;
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
    let facts = vec![
        Fact::new("pairs", format!("{n_pairs:.0}")),
        Fact::new("tokens", format!("{n_tokens:.0}")),
        Fact::new("pairs that were cut", percent(cut)),
        Fact::new("reference prefers chosen, by sum", percent(by_sum)),
        Fact::new("reference prefers chosen, per token", percent(by_token)),
    ];
    let mut blocks = vec![Block::Facts { facts }];
    let figure = |title: &str, note: &str, x: &str, values: Values, series: &[(&str, &str, &str)]| {
        let chart = numbers::histogram(session, pairs, x, values, series)?;
        Ok::<_, ReportError>(chart.map(|chart| Block::Figure(Figure::new(title, note, &Chart::Histogram(chart)))))
    };
    blocks.extend(figure(
        "Log-probs per token",
        "Pairs by ln π_ref of a completion, divided by its tokens.",
        "nats per token",
        Values::Continuous,
        &[
            ("chosen", "ref_chosen_logps / chosen_tokens", ALL),
            ("rejected", "ref_rejected_logps / rejected_tokens", ALL),
        ],
    )?);
    blocks.extend(figure(
        "Reference margin",
        "Pairs by ln π_ref of the chosen minus that of the rejected completion, summed over tokens: longer completions have \
         less.",
        "nats",
        Values::Continuous,
        &[("pairs", "ref_chosen_logps - ref_rejected_logps", ALL)],
    )?);
    blocks.extend(figure(
        "Lengths of completions",
        "Pairs by tokens of their completions, as scored.",
        "tokens",
        Values::Whole,
        &[("chosen", "chosen_tokens", ALL), ("rejected", "rejected_tokens", ALL)],
    )?);
    blocks.extend(figure(
        "Lengths of prompts",
        "Pairs by tokens of their prompt, as scored.",
        "tokens",
        Values::Whole,
        &[("pairs", "prompt_tokens", ALL)],
    )?);
    Ok(blocks)
}

/// 1 where one is above the other, ½ where they are equal.
fn above(one: &str, other: &str) -> String {
    format!("CASE WHEN {one} > {other} THEN 1.0 WHEN {one} = {other} THEN 0.5 ELSE 0.0 END")
}
