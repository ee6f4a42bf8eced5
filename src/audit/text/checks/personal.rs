//! B10: personal data and secrets, counted.

use super::super::personal::{Count, Personal};
use super::super::rows::each_pair;
use super::About;
use crate::audit::{AuditError, Context, Found, Hit, Outcome};
use crate::table::Level;

pub(super) const CHECK: About = About {
    id: "B10",
    level: Level::Info,
    title: "personal data and secrets",
    question: "Which pairs hold strings that look like addresses, numbers of persons or keys?",
    formula: "matches in prompt + chosen + rejected > 0",
    source: "shapes of RFC 5322 addresses, E.164 numbers, ISO/IEC 7812 and ISO 13616 numbers with their check digits, \
             published key prefixes",
    advice: "replace what is real before the data are shared or trained on; the strings themselves are not shown here",
    thresholds: &[],
    method: "Regular expressions, with check digits where there are any; addresses reserved for examples do not count. \
             Counts only: no match is stored.",
    run,
};

fn run(ctx: &Context<'_>, found: Found<'_>) -> Result<Outcome, AuditError> {
    let personal = Personal::new().map_err(|error| AuditError::Internal { what: error.to_string() })?;
    each_pair(ctx, found, |pair| {
        let texts = [("prompt", pair.prompt), ("chosen", pair.chosen), ("rejected", pair.rejected)];
        let counts = texts.map(|(name, text)| (name, personal.counts(text)));
        let n: usize = counts.iter().flat_map(|(_, counts)| counts).map(|count| count.n).sum();
        let words = |(name, counts): &(&str, Vec<Count>)| {
            let kinds: Vec<String> = counts.iter().map(|count| format!("{} × {}", count.n, count.kind)).collect();
            (!kinds.is_empty()).then(|| format!("{name}: {}", kinds.join(", ")))
        };
        let evidence = counts.iter().filter_map(words).collect::<Vec<_>>().join("; ");
        (n > 0).then(|| Hit { value: Some(n as f64), evidence, ..Hit::default() })
    })
}
