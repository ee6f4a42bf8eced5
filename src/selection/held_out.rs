//! The held-out side: prompts by a hash of their text, all pairs of a prompt together.
//!
//! Two pairs of one prompt share what a policy learns of it, so a split by rows measures memory. A hash of the prompt
//! gives every prompt its place once and for all: on every machine, under every training seed, whatever stands beside it
//! and when the data grow. A larger share holds out the prompts of a smaller one and more.

use std::collections::HashSet;

use super::error::SelectionError;
use super::rows::Rows;
use crate::digest::Digest;

/// Name of the hash: another way to draw has another.
const PURPOSE: &str = "piref.held_out.v1";

/// Which prompts are held out.
pub(super) struct Sides {
    /// By row of the tables.
    is_held_out: Vec<bool>,
    n_prompts: usize,
    n_held_out: usize,
    share: f64,
}

/// The place of a prompt, evenly spread over [0, 1): it is held out where that is below the share.
///
/// Runs of white space count as one blank and none at either end, so that no prompt is on both sides of a split for a
/// line break.
pub(super) fn place(prompt: &str) -> f64 {
    let canonical = prompt.split_whitespace().collect::<Vec<_>>().join(" ");
    let digest = Digest::of_parts([(PURPOSE, canonical.as_bytes())]);
    let (head, _) = digest.as_bytes().split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    // 53 bits: as many as a double has.
    (u64::from_le_bytes(*head) >> 11) as f64 / (1_u64 << 53) as f64
}

impl Sides {
    /// Reads the prompts of these rows.
    ///
    /// # Errors
    /// If a side is left without a prompt.
    pub(super) fn of(rows: &Rows<'_>, among: &[u32], share: f64) -> Result<Self, SelectionError> {
        let mut is_among = vec![false; rows.len as usize];
        for &row in among {
            is_among[row as usize] = true;
        }
        let mut is_held_out = vec![false; rows.len as usize];
        // A place stands for its prompt: two of 2⁵³ rarely meet, and only a count is wrong then.
        let (mut places, mut held_out) = (HashSet::new(), HashSet::new());
        rows.each_text("prompt", |row, prompt| {
            if is_among[row as usize] {
                let place = place(prompt);
                places.insert(place.to_bits());
                if place < share {
                    is_held_out[row as usize] = true;
                    held_out.insert(place.to_bits());
                }
            }
        })?;
        let (n_prompts, n_held_out) = (places.len(), held_out.len());
        match n_held_out {
            0 => Err(SelectionError::NoneHeldOut { share, n_prompts }),
            _ if n_held_out == n_prompts => Err(SelectionError::AllHeldOut { share, n_prompts }),
            _ => Ok(Self { is_held_out, n_prompts, n_held_out, share }),
        }
    }

    /// These rows by side: those to train on in their order, the held-out ones in the order of the tables.
    pub(super) fn split(&self, rows: Vec<u32>) -> (Vec<u32>, Vec<u32>) {
        let (mut held_out, train): (Vec<u32>, Vec<u32>) =
            rows.into_iter().partition(|&row| self.is_held_out[row as usize]);
        held_out.sort_unstable();
        (train, held_out)
    }

    /// How many of these rows are held out, in words.
    pub(super) fn note(&self, rows: &[u32]) -> String {
        let n_pairs = rows.iter().filter(|&&row| self.is_held_out[row as usize]).count();
        format!(
            "`--eval-share {}` holds out {} of {} prompts: {n_pairs} of {} pairs",
            self.share,
            self.n_held_out,
            self.n_prompts,
            rows.len()
        )
    }
}
