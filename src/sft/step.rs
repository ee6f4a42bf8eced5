//! One optimiser step up to its gradient: micro-batches, losses, slopes.

use crate::batch::{GroupBatch, SequenceIds, pack};
use crate::interrupt::Interrupt;
use crate::logprob::{self, Slopes};
use crate::model::{Decoder, Gradients, Keep, ModelError};
use crate::ops::dropout::Dropout;
use crate::train::Passes;

/// What the sequences of a step amount to.
#[derive(Debug)]
pub struct SequenceGradient {
    /// Gradient of the loss.
    pub gradients: Gradients,
    /// Mean of −ln π over the learnt tokens of all sequences, in nats.
    pub loss: f64,
    /// Learnt tokens.
    pub n_learnt: usize,
    /// All tokens, learnt or not.
    pub n_tokens: u64,
}

/// Runs the sequences of a step in micro-batches, without dropout.
///
/// The slopes are those of the mean over all learnt tokens of the step, so that cutting it differently changes nothing but
/// the rounding of sums.
///
/// # Errors
/// If a token id is outside of the vocabulary, or a sequence has nothing to learn.
pub fn gradient(
    model: &Decoder,
    sequences: &[SequenceIds<'_>],
    passes: Passes,
) -> Result<SequenceGradient, ModelError> {
    let step = run(model, sequences, passes, Dropout::Off, &Interrupt::default())?;
    // Nobody can set an interrupt that nobody else has.
    Ok(step.unwrap_or_else(|| SequenceGradient::none(model)))
}

/// The same with dropout before an adapter, drawn anew for each micro-batch; `None` if it was asked to stop.
pub(super) fn run(
    model: &Decoder,
    sequences: &[SequenceIds<'_>],
    passes: Passes,
    dropout: Dropout,
    interrupt: &Interrupt,
) -> Result<Option<SequenceGradient>, ModelError> {
    let mut step = SequenceGradient::none(model);
    step.n_learnt = sequences.iter().map(SequenceIds::n_scored).sum();
    step.n_tokens = sequences.iter().map(|sequence| sequence.ids.len() as u64).sum();
    let weight = 1.0 / step.n_learnt as f64;
    let micro_batches = pack(sequences.iter().map(SequenceIds::n_rows), passes.max_tokens);
    for (index, rows) in (0..).zip(micro_batches) {
        if interrupt.is_set() {
            return Ok(None);
        }
        let batch = GroupBatch::of_sequences(&sequences[rows])?;
        let n_recomputed = passes.recompute.n_layers(&model.training_memory(), batch.ids.len());
        let keep = Keep::Tape { n_recomputed, dropout: dropout.at(index) };
        let scored = logprob::token_logps(model, &batch, keep)?;
        let mut slopes = Slopes::none(&batch);
        for sequence in 0..batch.scored.sequences.len() {
            slopes.add(sequence, |_| -weight);
        }
        step.loss -= weight * scored.sums(&batch).iter().sum::<f64>();
        scored.backward(model, &batch, &slopes, &mut step.gradients)?;
    }
    Ok(Some(step))
}

impl SequenceGradient {
    fn none(model: &Decoder) -> Self {
        Self { gradients: Gradients::new(model.params()), loss: 0.0, n_learnt: 0, n_tokens: 0 }
    }
}
