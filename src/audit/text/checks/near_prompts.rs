//! C5: prompts that say nearly the same.

use super::super::near_duplicates::{Likeness, near_duplicates};
use super::super::rows::{Rows, no_text};
use super::{About, count, of_data_set, share};
use crate::audit::{AuditError, Context, Found, Hit, Outcome};
use crate::table::Level;

pub(super) const CHECK: About = About {
    id: "C5",
    level: Level::Warn,
    title: "near-duplicate prompts",
    question: "Which prompts say nearly the same as another, without being it?",
    formula: "Jaccard similarity of the sets of word n-grams ≥ similarity",
    source: "MinHash: Broder 1997; bands: Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, §3.4; thresholds as \
             in text-dedup and distilabel",
    advice: "see to it that a cluster is on one side of a split, or keep one prompt of it: `--exclude C5` leaves out all of them",
    thresholds: &[("ngram", 5.0), ("similarity", 0.8)],
    method: "Prompts in lower case without punctuation (NFKC, words of UAX #29) as sets of word n-grams; 128 MinHash values \
             cut into the most selective bands that find 99 % of pairs at the threshold (21 bands of 6 at 0.8, which find \
             99.8 %); what meets in a band is compared exactly; clusters by union-find.",
    run,
};

fn run(ctx: &Context<'_>, found: Found<'_>) -> Result<Outcome, AuditError> {
    let likeness = Likeness { words: count(ctx, "ngram")?, least: share(ctx, "similarity")? };
    let rows = Rows::read(ctx.table, &["pair_id", "prompt"])?;
    let (pair_ids, prompts) = (rows.column("pair_id")?, rows.column("prompt")?);
    if !prompts.is_empty() && prompts.iter().all(|prompt| prompt.is_empty()) {
        return Ok(no_text());
    }
    let duplicates = near_duplicates(&prompts, likeness);
    let mut sizes = vec![0_usize; duplicates.n_clusters];
    for member in &duplicates.members {
        sizes[member.cluster] += 1;
    }
    for member in &duplicates.members {
        found(Hit {
            pair_id: Some(pair_ids[member.text].to_owned()),
            value: Some(member.jaccard),
            evidence: format!(
                "nearest prompt is that of pair `{}`, Jaccard {:.3}; cluster {} of {} pairs",
                pair_ids[member.nearest],
                member.jaccard,
                member.cluster + 1,
                sizes[member.cluster]
            ),
            ..Hit::default()
        })?;
    }
    if duplicates.n_left_out > 0 {
        let n = duplicates.n_left_out;
        found(of_data_set(Level::Info, n, format!("{n} comparisons left out: too many prompts share a phrase")))?;
    }
    Ok(Outcome::Done)
}
