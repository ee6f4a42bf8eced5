//! C3: answers that win here and lose there.

use super::super::rows::{Rows, has_text, no_text};
use super::super::verdicts::verdicts;
use super::{About, of_data_set};
use crate::audit::{AuditError, Context, Found, Outcome};
use crate::table::Level;

pub(super) const CHECK: About = About {
    id: "C3",
    level: Level::Info,
    title: "chosen here, rejected there",
    question: "How many chosen answers are rejected in another pair of the same prompt?",
    formula: "same prompt, a.chosen = b.rejected, trimmed",
    source: "rankings of more than two answers cut into pairs",
    advice: "expected where answers were ranked: all but the best and the last win and lose; what no ranking has is in C2 and C8",
    thresholds: &[],
    method: "A graph of verdicts for each prompt: an edge from each chosen to its rejected answer. A pair counts where an \
             edge leads to its chosen answer; the value is how many pairs do.",
    run,
};

fn run(ctx: &Context<'_>, found: Found<'_>) -> Result<Outcome, AuditError> {
    let rows = Rows::read(ctx.table, &["prompt", "chosen", "rejected"])?;
    let pairs = rows.pairs()?;
    if !has_text(&pairs) {
        return Ok(no_text());
    }
    let losing = verdicts(&pairs).losing_winners;
    if let Some(most) = losing.iter().map(|pair| pair.n_losses).max() {
        let (n, n_pairs) = (losing.len(), pairs.len());
        let evidence = format!(
            "{n} of {n_pairs} pairs choose an answer that other pairs of the prompt reject; most losses of one: {most}"
        );
        found(of_data_set(Level::Info, n, evidence))?;
    }
    Ok(Outcome::Done)
}
