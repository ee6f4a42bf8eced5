//! B11: answers in another language than their prompt.

use super::super::language::{Certainty, other_language};
use super::super::rows::each_pair;
use super::{About, count, share};
use crate::audit::{AuditError, Context, Found, Hit, Outcome};
use crate::table::Level;

pub(super) const CHECK: About = About {
    id: "B11",
    level: Level::Info,
    title: "answer in another language",
    question: "Which chosen answers are in another language than their prompt? (a heuristic)",
    formula: "language(chosen) ≠ language(prompt), both of at least `letters` letters and told with `confidence`, the language not \
              named in the prompt nor that of both answers; a warning where language(rejected) = language(prompt)",
    source: "whatlang (trigrams and alphabets of 69 languages), as Data-Juicer filters by language",
    advice: "look whether the other language was asked for; where the rejected answer is in the prompt's, the pair teaches \
             to leave that language",
    thresholds: &[("confidence", 0.9), ("letters", 60.0)],
    method: "Language of the first 4,000 characters by whatlang, without fenced code and links. Close languages are \
             confused, and translations are found by right: a heuristic.",
    run,
};

fn run(ctx: &Context<'_>, found: Found<'_>) -> Result<Outcome, AuditError> {
    let certainty = Certainty { least_letters: count(ctx, "letters")?, least_confidence: share(ctx, "confidence")? };
    each_pair(ctx, found, |pair| {
        let found = other_language(pair, certainty)?;
        let rejected = found.rejected.map_or_else(String::new, |language| format!(", rejected in `{language}`"));
        let evidence = format!("prompt in `{}`, chosen in `{}`{rejected}", found.prompt, found.chosen);
        let level = found.rejected.filter(|rejected| *rejected == found.prompt).map(|_| Level::Warn);
        Some(Hit { level, evidence, ..Hit::default() })
    })
}
