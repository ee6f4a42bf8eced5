//! C3: an answer that wins here and loses there.

use super::super::rows::{Rows, has_text, no_text};
use super::super::verdicts::verdicts;
use super::About;
use crate::audit::{AuditError, Context, Found, Hit, Outcome};
use crate::table::Level;

pub(super) const CHECK: About = About {
    id: "C3",
    level: Level::Info,
    title: "chosen here, rejected there",
    question: "Which chosen answers are rejected in another pair of the same prompt?",
    formula: "same prompt, a.chosen = b.rejected, trimmed",
    source: "rankings of more than two answers cut into pairs",
    advice: "expected where answers were ranked: all but the best and the last win and lose; elsewhere look at both pairs",
    thresholds: &[],
    method: "A graph of verdicts for each prompt: an edge from each chosen to its rejected answer. A pair is found where an \
             edge leads to its chosen answer; the value is how many do.",
    run,
};

fn run(ctx: &Context<'_>, found: Found<'_>) -> Result<Outcome, AuditError> {
    let rows = Rows::read(ctx.table, &["pair_id", "prompt", "chosen", "rejected"])?;
    let (pair_ids, pairs) = (rows.column("pair_id")?, rows.pairs()?);
    if !has_text(&pairs) {
        return Ok(no_text());
    }
    for hit in verdicts(&pairs).losing_winners {
        let (n_wins, n_losses) = (hit.n_wins, hit.n_losses);
        let other = pair_ids[hit.loses_in];
        found(Hit {
            pair_id: Some(pair_ids[hit.pair].to_owned()),
            value: Some(n_losses as f64),
            evidence: format!("the chosen answer is rejected in pair `{other}`; it wins {n_wins} and loses {n_losses}"),
            ..Hit::default()
        })?;
    }
    Ok(Outcome::Done)
}
