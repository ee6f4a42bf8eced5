//! B5: answers of a pair that hardly differ.

use super::super::edit_distance::similarity;
use super::super::rows::each_pair;
use super::{About, share};
use crate::audit::{AuditError, Context, Found, Hit, Outcome};
use crate::table::Level;

pub(super) const CHECK: About = About {
    id: "B5",
    level: Level::Warn,
    title: "near-identical answers",
    question: "Which pairs have two answers that hardly differ?",
    formula: "1 − edit distance / length of the longer in characters ≥ similarity, answers trimmed and not identical",
    source: "arXiv:2402.13228: likelihood displacement is worst where the edit distance is low",
    advice: "look whether the difference is what should be learned; drop the pair or use DPO-Positive if it is not",
    thresholds: &[("similarity", 0.95)],
    method: "Levenshtein distance of chosen and rejected in characters, exact, by furthest-reaching diagonals (Ukkonen \
             1985), given up as soon as it is too large.",
    run,
};

fn run(ctx: &Context<'_>, found: Found<'_>) -> Result<Outcome, AuditError> {
    let least = share(ctx, "similarity")?;
    each_pair(ctx, found, |pair| {
        let (chosen, rejected) = (pair.chosen.trim(), pair.rejected.trim());
        // Identical answers are another check's.
        let value = similarity(chosen, rejected, least).filter(|_| chosen != rejected)?;
        let evidence = format!("chosen and rejected differ in {:.1} % of their characters", 100.0 * (1.0 - value));
        Some(Hit { value: Some(value), evidence, ..Hit::default() })
    })
}
