//! C6: prompts that an evaluation asks as well.

use std::path::Path;

use rayon::prelude::*;

use super::super::contamination::{Evaluation, Overlap};
use super::super::rows::Rows;
use super::{About, of_data_set, share};
use crate::audit::{AuditError, Context, Found, Hit, Outcome};
use crate::data::{ColumnMap, DataError, PromptReader, PromptRow, open_prompts};
use crate::table::Level;

/// Names evaluation sets give to their prompts, where there is no column `prompt`.
const PROMPT_COLUMNS: [&str; 4] = ["question", "instruction", "problem", "goal"];

pub(super) const CHECK: About = About {
    id: "C6",
    level: Level::Warn,
    title: "contamination",
    question: "Which prompts does an evaluation ask as well, whole or in part?",
    formula: "same words, or share_13 of the 13-grams of an evaluation prompt in common, or share_8 of its 8-grams, one of them \
              at the end of either prompt",
    source: "arXiv:2005.14165, appendix C (13-grams); arXiv:2204.02311, §8 (8-grams, 0.7); Skywork-Reward v0.2, cleaned of \
             RewardBench's prompts",
    advice: "drop these pairs before the evaluation is quoted",
    // One 13-gram in common is mostly a phrase that many tasks begin with.
    thresholds: &[("share_13", 0.5), ("share_8", 0.7)],
    method: "The files given as `--against`, prompts in lower case without punctuation (NFKC, words of UAX #29), indexed by \
             their 8-grams, 13-grams and as a whole; grams that more than 16 evaluation prompts share are their template \
             and do not count. The end is the last 13 words that count: an instruction before the question is the task's. \
             The value is the share of 8-grams, 1 of the same prompt.",
    run,
};

fn run(ctx: &Context<'_>, found: Found<'_>) -> Result<Outcome, AuditError> {
    let (least_13, least_8) = (share(ctx, "share_13")?, share(ctx, "share_8")?);
    if ctx.against.is_empty() {
        return Ok(Outcome::Skipped("no evaluation prompts to compare with: name their files with `--against`".into()));
    }
    let mut asked = Asked::default();
    for path in ctx.against {
        if let Some(hit) = asked.read(path)? {
            found(hit)?;
        }
    }
    let evaluation = Evaluation::of(asked.prompts.iter().map(String::as_str));
    let is_contaminated = |overlap: &Overlap| {
        overlap.is_same || overlap.shares_end && (overlap.share_13 >= least_13 || overlap.share_8 >= least_8)
    };
    for batch in ctx.table.batches(&["pair_id", "prompt"])? {
        let rows = Rows::of(batch?);
        let (pair_ids, prompts) = (rows.column("pair_id")?, rows.column("prompt")?);
        let overlaps: Vec<Option<Overlap>> =
            prompts.par_iter().map(|prompt| evaluation.overlap(prompt).filter(is_contaminated)).collect();
        for (overlap, pair_id) in overlaps.into_iter().zip(pair_ids) {
            if let Some(overlap) = overlap {
                found(asked.hit(pair_id, &overlap))?;
            }
        }
    }
    Ok(Outcome::Done)
}

/// The evaluation prompts and where they are.
#[derive(Default)]
struct Asked<'a> {
    prompts: Vec<String>,
    places: Vec<(&'a Path, u64)>,
}

impl<'a> Asked<'a> {
    /// Adds the prompts of a file; a finding about it where rows have none.
    fn read(&mut self, path: &'a Path) -> Result<Option<Hit>, AuditError> {
        let mut n_without = 0;
        for row in open_evaluation(path)? {
            match row? {
                PromptRow::Reject(_) => n_without += 1,
                PromptRow::Prompt(prompt) => {
                    self.prompts.push(prompt.text.text());
                    self.places.push((path, prompt.row_idx));
                }
            }
        }
        let evidence = || format!("rows without a prompt, compared with nothing, in `{}`: {n_without}", path.display());
        Ok((n_without > 0).then(|| of_data_set(Level::Warn, n_without, evidence())))
    }

    fn hit(&self, pair_id: &str, overlap: &Overlap) -> Hit {
        let (path, row) = self.places[overlap.item];
        let (share_13, share_8) = (100.0 * overlap.share_13, 100.0 * overlap.share_8);
        let what = if overlap.is_same {
            "the same prompt as".to_owned()
        } else {
            format!("{share_8:.0} % of the 8-grams and {share_13:.0} % of the 13-grams of")
        };
        Hit {
            pair_id: Some(pair_id.to_owned()),
            value: Some(if overlap.is_same { 1.0 } else { overlap.share_8 }),
            evidence: format!("{what} row {row} of `{}`", path.display()),
            ..Hit::default()
        }
    }
}

/// Opens a file for its prompts, whichever usual name their column has.
fn open_evaluation(path: &Path) -> Result<PromptReader, DataError> {
    match open_prompts(path, &ColumnMap::default().lenient()) {
        Err(DataError::NoPrompts { path, expected, columns }) => {
            let column = PROMPT_COLUMNS.into_iter().find(|name| columns.iter().any(|column| column == name));
            match column.and_then(|column| format!("prompt={column}").parse::<ColumnMap>().ok()) {
                Some(map) => open_prompts(&path, &map.lenient()),
                None => Err(DataError::NoPrompts { path, expected, columns }),
            }
        }
        opened => opened,
    }
}
