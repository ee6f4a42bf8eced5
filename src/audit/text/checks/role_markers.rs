//! B7: turns and template tokens inside answers.

use super::super::markers::{Marked, Markers};
use super::super::rows::each_pair;
use super::About;
use crate::audit::{AuditError, Context, Found, Hit, Outcome};
use crate::table::Level;

pub(super) const CHECK: About = About {
    id: "B7",
    level: Level::Warn,
    title: "role markers in answers",
    question: "Which answers hold turns of a conversation or tokens of a chat template as text?",
    formula: "markers in chosen + markers in rejected > 0",
    source: "hh-rlhf transcripts, where `\\n\\nHuman:` ends an answer; chat templates of Llama, Gemma, ChatML, Phi, DeepSeek",
    advice: "cut the answer before the marker, or read the file as a conversation; a play or an interview may have them by \
             right",
    thresholds: &[],
    method: "Regular expressions for `Human:`, `USER:` and the like at the start of a line, instruction headings, and the \
             special tokens of common templates; counted in both answers.",
    run,
};

fn run(ctx: &Context<'_>, found: Found<'_>) -> Result<Outcome, AuditError> {
    let markers = Markers::new().map_err(|error| AuditError::Internal { what: error.to_string() })?;
    each_pair(ctx, found, |pair| {
        let answers = [("chosen", markers.of(pair.chosen)), ("rejected", markers.of(pair.rejected))];
        let n: usize = answers.iter().flat_map(|(_, marked)| marked).map(|marked| marked.n).sum();
        let words = |(answer, marked): &(&str, Vec<Marked>)| {
            let kinds: Vec<String> = marked.iter().map(|marked| format!("{} × {}", marked.n, marked.kind)).collect();
            (!kinds.is_empty()).then(|| format!("{answer}: {}", kinds.join(", ")))
        };
        let evidence = answers.iter().filter_map(words).collect::<Vec<_>>().join("; ");
        (n > 0).then(|| Hit { value: Some(n as f64), evidence, ..Hit::default() })
    })
}
