//! How a table's numbers are distributed: over all of it, and source by source.

use super::pairs::texts;
use crate::query::Session;
use crate::report::measures::{LENGTHS, MARGIN, MARGIN_PER_TOKEN, Measure, PER_SEQUENCE, PER_TOKEN, PROMPTS};
use crate::report::numbers::{self, Groups, Measured};
use crate::report::page::{Block, Section};
use crate::report::{ReportError, table};

/// Sources with figures of their own at most, those with the most pairs; `I1` has a line for every one.
const MOST_SOURCES: usize = 6;

/// What is shown, and whether of each source, too.
const SHOWN: [(&Measure, bool); 6] = [
    (&LENGTHS, true),
    (&PROMPTS, false),
    (&PER_SEQUENCE, true),
    (&PER_TOKEN, true),
    (&MARGIN, true),
    (&MARGIN_PER_TOKEN, false),
];

/// A section for all pairs, and one for each of the largest sources where there is more than one. Those of a measure have
/// the same axis everywhere.
pub(super) fn sections(session: &Session) -> Result<Vec<Section>, ReportError> {
    let order = format!("GROUP BY source ORDER BY count(*) DESC, source LIMIT {}", MOST_SOURCES + 1);
    let mut sources = texts(session, "pairs", &format!("SELECT source FROM pairs {order}"))?;
    let has_more = sources.len() > MOST_SOURCES;
    sources.truncate(MOST_SOURCES);
    if sources.len() < 2 {
        sources.clear();
    }
    let groups = Groups::by("source", &sources);
    let mut all = Vec::new();
    let mut of_sources: Vec<Vec<Block>> = sources.iter().map(|_| Vec::new()).collect();
    for (measure, is_of_each) in SHOWN {
        let told_apart = if is_of_each { &groups } else { &Groups::none() };
        let Some(Measured { all: whole, groups }) = numbers::measured(session, "pairs", measure, told_apart)? else {
            continue;
        };
        all.push(table::figure(measure, measure.title, whole));
        for ((blocks, source), histogram) in of_sources.iter_mut().zip(&sources).zip(groups) {
            blocks.push(table::figure(measure, &format!("{} of {source}", measure.title), histogram));
        }
    }
    if has_more && !all.is_empty() {
        let text = format!("The {MOST_SOURCES} sources with the most pairs have figures of their own below.");
        all.insert(0, Block::Text { text });
    }
    let mut sections = vec![Section { id: "distributions".into(), heading: "Distributions".into(), blocks: all }];
    for (idx, (source, blocks)) in sources.into_iter().zip(of_sources).enumerate() {
        let (id, heading) = (format!("source-{}", idx + 1).into(), format!("Source {source}"));
        sections.push(Section { id, heading, blocks });
    }
    Ok(sections)
}
