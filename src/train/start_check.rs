//! The check before the first step: a seeded sample of the table, scored again by the policy.
//!
//! Every peer that trusted its cache shipped a run whose reference was not the one it named; this costs one forward
//! pass over a few pairs.

use std::ops::Range;
use std::path::Path;

use rand::seq::index;

use super::error::TrainError;
use super::order::rng;
use super::plan::{Event, Plan};
use super::step;
use crate::batch::{PairIds, Sharing};
use crate::interchange::IMPORTED;
use crate::logprob;
use crate::model::Decoder;
use crate::precompute::score;
use crate::table::{Provenance, TrainingPair, TrainingPairs};

/// Whether the policy is the model the table was made with.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Weights {
    /// Yes: its log-probs are those of the table but for `rounding`, by how much another program's arithmetic may be
    /// off, in nats a token.
    Same { rounding: f64 },
    /// Yes, scored in another number format, and that is allowed.
    SameIn { dtype: String },
    /// No, or nobody knows: that is allowed.
    Other { rounding: f64 },
}

/// How far log-probs in 16 bits may be from those in 32, in nats a token: see [`rounding`].
const DRIFT: f64 = 5e-2;

/// Fewest pairs by which two columns are told to be swapped.
const MIN_SWAPPED: usize = 4;

/// How many times nearer the policy is to the other column where they are.
const SWAPPED: f64 = 4.0;

/// By how much the log-probs of a table may differ from those of `kernel` in rounding alone, in nats a token, beyond the
/// tolerance of a sequence.
///
/// Of the same one of our own kernels, not at all; candle's operations sum in an order that depends on the batch. Of
/// another program or kernel: f32 log-softmax over 49,152 words is 8e-6 off, always to the same side (torch, candle); where
/// products round to bf16, a sum that ends beside the boundary of two moves by a whole step, which was seen to make 1e-3;
/// logits in 16 bits, as other programs have them, have steps of 1/8 from 16 to 32 (bf16), which average out in part. What
/// has to be found is larger: an average in place of a sum is whole nats off, a token.
pub(super) fn rounding(provenance: &Provenance, kernel: &str) -> f64 {
    let is_f32 = provenance.dtype == "f32";
    match provenance.kernel.as_str() {
        theirs if theirs == kernel && !logprob::is_stock(kernel) => 0.0,
        _ if is_f32 => 5e-5,
        IMPORTED => DRIFT,
        _ => 5e-3,
    }
}

/// A table as the check sees it.
#[derive(Debug, Clone)]
pub(super) struct Checked<'a> {
    /// The table.
    pub(super) path: &'a Path,
    /// Its pairs among the loaded.
    pub(super) rows: Range<usize>,
    /// Whether the policy is the model it was made with.
    pub(super) weights: &'a Weights,
}

/// Scores a sample of a table and compares.
///
/// # Errors
/// If the weights are the table's own and a sequence differs by more than the tolerance of the plan and rounding; whatever
/// the weights are, if the policy scores the chosen completions as the table has the rejected ones.
pub(super) fn run(
    plan: &Plan,
    model: &Decoder,
    pairs: &TrainingPairs,
    table: &Checked<'_>,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<(), TrainError> {
    let Checked { path, rows, weights } = table;
    let n_sampled = plan.check_pairs.min(rows.len());
    let mut sampled = index::sample(&mut rng(plan.course.seed, "start check"), rows.len(), n_sampled).into_vec();
    sampled.sort_unstable();
    let sample: Vec<TrainingPair<'_>> = sampled.iter().filter_map(|&at| pairs.get(rows.start + at)).collect();
    let ids: Vec<PairIds<'_>> = sample.iter().map(step::ids).collect();
    let scored = score(model, &ids, plan.course.max_tokens.get(), Sharing::Prompts, |_| {})
        .map_err(|source| TrainError::Model { model: plan.course.model.clone(), source })?;

    let mut deltas = Vec::with_capacity(2 * sample.len());
    let mut crossed = 0.0;
    for (logps, pair) in scored.iter().zip(&sample) {
        let (chosen, rejected) = (logprob::sum(&logps.chosen), logprob::sum(&logps.rejected));
        let reference = step::reference(pair);
        deltas.push((pair, "ref_chosen_logps", reference.chosen, chosen, pair.chosen_ids.len()));
        deltas.push((pair, "ref_rejected_logps", reference.rejected, rejected, pair.rejected_ids.len()));
        crossed += (reference.chosen - rejected).abs() + (reference.rejected - chosen).abs();
    }
    let delta = |entry: &(_, _, f64, f64, _)| (entry.2 - entry.3).abs();
    let allowed = |entry: &(_, _, _, _, usize)| {
        let rounding = match weights {
            Weights::Same { rounding } | Weights::Other { rounding } => *rounding,
            Weights::SameIn { .. } => DRIFT,
        };
        plan.check_tolerance + rounding * entry.4 as f64
    };
    let excess = |entry: &_| delta(entry) - allowed(entry);
    // A difference that is no number is larger than any.
    let Some(worst) = deltas.iter().max_by(|a, b| excess(a).total_cmp(&excess(b))) else { return Ok(()) };
    let max_delta = deltas.iter().map(delta).fold(0.0, f64::max);
    let sum = deltas.iter().map(delta).sum::<f64>();
    let mean_delta = sum / deltas.len() as f64;
    let agrees = excess(worst) <= 0.0;

    if !agrees && n_sampled >= MIN_SWAPPED && SWAPPED * crossed < sum {
        let mean_crossed = crossed / deltas.len() as f64;
        return Err(TrainError::Swapped { table: path.to_path_buf(), n_pairs: n_sampled, mean_delta, mean_crossed });
    }
    match weights {
        Weights::SameIn { dtype } if agrees => {
            observe(Event::Note(format!(
                "the table was scored in {dtype}, the policy computes in {}: at most {max_delta:.3}, on average \
                 {mean_delta:.3} nats a sequence apart before the first step, on {n_sampled} pairs",
                plan.course.dtype
            )));
            Ok(())
        }
        Weights::Other { .. } => {
            let verdict = if agrees { ": no more than rounding" } else { "" };
            observe(Event::Note(format!(
                "the policy is at most {max_delta:.3}, on average {mean_delta:.3} nats a sequence from the table's \
                 reference, on {n_sampled} pairs{verdict}"
            )));
            Ok(())
        }
        Weights::Same { .. } if agrees => {
            observe(Event::Checked { n_pairs: n_sampled, max_delta, mean_delta });
            Ok(())
        }
        Weights::Same { .. } | Weights::SameIn { .. } => Err(TrainError::StartsElsewhere {
            table: path.to_path_buf(),
            pair_id: worst.0.pair_id.to_owned(),
            column: worst.1,
            expected: worst.2,
            found: worst.3,
            n_pairs: n_sampled,
            tolerance: allowed(worst),
        }),
    }
}
