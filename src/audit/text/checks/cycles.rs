//! C8: verdicts that go round in a circle.

use super::super::rows::{Rows, has_text, no_text};
use super::super::verdicts::verdicts;
use super::About;
use crate::audit::{AuditError, Context, Found, Hit, Outcome};
use crate::table::Level;

/// Pairs of an example that are named.
const MOST_NAMED: usize = 8;

pub(super) const CHECK: About = About {
    id: "C8",
    level: Level::Warn,
    title: "preference cycles",
    question: "Which pairs are part of a circle a ≻ b ≻ c ≻ a among the answers of one prompt?",
    formula: "chosen and rejected in one strongly connected component of the prompt's verdicts, contradictions left aside",
    source: "Bradley–Terry gives each answer one reward, so no reward satisfies a cycle; components by Tarjan 1972",
    advice: "drop the weakest verdict of each cycle, by score or votes; a reference margin near 0 points at it",
    thresholds: &[],
    method: "A graph of verdicts for each prompt: an edge from each chosen to its rejected answer, without edges that are \
             there both ways. A pair is found where its edge is within a strongly connected component; the value is how \
             many answers that has.",
    run,
};

fn run(ctx: &Context<'_>, found: Found<'_>) -> Result<Outcome, AuditError> {
    let rows = Rows::read(ctx.table, &["pair_id", "prompt", "chosen", "rejected"])?;
    let (pair_ids, pairs) = (rows.column("pair_id")?, rows.pairs()?);
    if !has_text(&pairs) {
        return Ok(no_text());
    }
    for hit in verdicts(&pairs).cycles {
        let named: Vec<String> =
            hit.example.iter().take(MOST_NAMED).map(|&pair| format!("`{}`", pair_ids[pair])).collect();
        let more = if hit.example.len() > MOST_NAMED { ", …" } else { "" };
        found(Hit {
            pair_id: Some(pair_ids[hit.pair].to_owned()),
            value: Some(hit.n_answers as f64),
            evidence: format!(
                "{} answers beat each other in circles, one of {} pairs: {}{more}",
                hit.n_answers,
                hit.example.len(),
                named.join(", ")
            ),
            ..Hit::default()
        })?;
    }
    Ok(Outcome::Done)
}
