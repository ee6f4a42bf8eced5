//! C2: two pairs of opposite verdicts.

use super::super::rows::{Rows, has_text, no_text};
use super::super::verdicts::verdicts;
use super::About;
use crate::audit::{AuditError, Context, Found, Hit, Outcome};
use crate::table::Level;

pub(super) const CHECK: About = About {
    id: "C2",
    level: Level::Warn,
    title: "contradictions",
    question: "Which pairs say the opposite of another pair of the same prompt?",
    formula: "same prompt, a.chosen = b.rejected and a.rejected = b.chosen, all trimmed",
    source: "arXiv:2401.06080: ambiguous and wrong labels in hh-rlhf",
    advice: "keep the verdict of the majority, or neither: the two pull the policy in opposite directions",
    thresholds: &[],
    method: "A graph of verdicts for each prompt: an edge from each chosen to its rejected answer. A pair is found where \
             the opposite edge is there too; the value is how many pairs say so.",
    run,
};

fn run(ctx: &Context<'_>, found: Found<'_>) -> Result<Outcome, AuditError> {
    let rows = Rows::read(ctx.table, &["pair_id", "prompt", "chosen", "rejected"])?;
    let (pair_ids, pairs) = (rows.column("pair_id")?, rows.pairs()?);
    if !has_text(&pairs) {
        return Ok(no_text());
    }
    for hit in verdicts(&pairs).contradictions {
        let (n_agree, n_oppose) = (hit.n_agree, hit.n_oppose);
        let other = pair_ids[hit.opposite];
        found(Hit {
            pair_id: Some(pair_ids[hit.pair].to_owned()),
            value: Some(n_oppose as f64),
            evidence: format!(
                "pair `{other}` has the answers swapped; {n_agree} for this verdict, {n_oppose} against it"
            ),
            ..Hit::default()
        })?;
    }
    Ok(Outcome::Done)
}
