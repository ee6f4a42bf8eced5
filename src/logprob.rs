//! The one log-prob function: both stages call it, on the same batch type, with the same kernels.
//!
//! Invariant: a reference table and a policy that starts from the same weights agree to the last bit, because there is
//! no second path. A run that starts at the reference has margin 0 and loss ln 2. The log-probs of a completion depend on
//! its own tokens and its prompt's: not on its neighbours, its place in the batch, the token budget or the number of
//! threads, to the last bit.
//!
//! To the last bit holds of our own kernels, those of the CPU. candle's operations, all there is on a GPU, sum in an order
//! that depends on the shape of a batch: there both hold up to the rounding of `f32`, and [`kernel`] has another name.

use std::ops::Range;

use candle_core::{DeviceLocation, Tensor};

use crate::batch::GroupBatch;
use crate::model::{Decoder, Gradients, Keep, ModelError, Pass, ScoringDtype, Tape};
use crate::ops::head::{self, Extras, Found};
use crate::ops::{self, Backend, Kernels, Rounding};

/// What the names of candle's operations begin with.
const STOCK: &str = "stock-";

/// Name of the code path below, as this machine runs it: it changes when the last bits of its results do.
pub fn kernel(backend: &Backend, dtype: ScoringDtype) -> String {
    if backend.kernels() == Kernels::Stock {
        let device = match backend.device().location() {
            DeviceLocation::Cpu => "cpu",
            DeviceLocation::Cuda { .. } => "cuda",
            DeviceLocation::Metal { .. } => "metal",
        };
        return format!("{STOCK}{dtype}-{device}-1");
    }
    let name = match (dtype, ops::rounding(dtype.precision())) {
        (ScoringDtype::F32, Rounding::Twice) => "groups-f32-2",
        (ScoringDtype::F32, _) => "groups-f32-fma-2",
        (ScoringDtype::Bf16, Rounding::Twice) => "groups-bf16-2",
        (ScoringDtype::Bf16, Rounding::Once) => "groups-bf16-fma-2",
        (ScoringDtype::Bf16, Rounding::Pairs) => "groups-bf16-pairs-1",
    };
    name.to_owned()
}

/// What a user should know of a number format on this machine before waiting for it.
pub fn warning(backend: &Backend, dtype: ScoringDtype) -> Option<&'static str> {
    let is_fast = backend.kernels() == Kernels::Own && ops::rounding(dtype.precision()) == Rounding::Pairs;
    (dtype == ScoringDtype::Bf16 && !is_fast).then_some(
        "products in bf16 are rounded and then made in f32 here, no faster than `--dtype f32`: they are faster only on a CPU \
         with AVX-512 BF16",
    )
}

/// Whether the name of a kernel is that of candle's operations.
pub(crate) fn is_stock(kernel: &str) -> bool {
    kernel.starts_with(STOCK)
}

/// What a scoring pass returns.
#[derive(Debug, Default)]
pub struct Scored {
    /// Log-probability of every scored token, in nats, in the order of `batch.scored`. // (N)
    pub logps: Vec<f32>,
    /// `ln Σ_v π(v)²` where each of them was predicted, if it was asked for. // (N)
    pub collisions: Option<Vec<f32>>,
    kept: Option<Kept>,
}

/// What a forward pass shows beside log-probs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Signals {
    /// Entropy of the distribution that each scored token was predicted from, in nats. // (N)
    pub entropies: Vec<f32>,
    /// Whether no token was likelier than the scored one. // (N)
    pub are_top: Vec<bool>,
    /// Sum, over the tokens of each completion, of the last hidden states (normed, as the head reads them) that predict
    /// them: those of the last token of the prompt to the one before the last of the completion. // (S, D)
    pub hidden_sums: Vec<Vec<f64>>,
}

/// What the backward of a scoring pass reads.
#[derive(Debug)]
struct Kept {
    tape: Tape,
    hidden: Tensor,   // (N, D)
    targets: Tensor,  // (N)
    log_sums: Tensor, // (N)
}

/// Log-probability of every scored token of a batch.
///
/// Row `i` of `batch.scored` names a hidden state and the token it has to predict; the last prompt position appears
/// once per completion that follows it, so no prompt is encoded twice and no logits are made for prompt tokens.
///
/// # Units
/// Nats; each at most 0, unless the model itself yields no number (see the checks of [`crate::table`]).
///
/// # Errors
/// If a token id is outside of the vocabulary.
pub fn token_logps(model: &Decoder, batch: &GroupBatch, keep: Keep) -> Result<Scored, ModelError> {
    Ok(run(model, batch, keep, Extras::None)?.map_or_else(Scored::default, |ran| ran.scored))
}

/// The same, with the collisions; the log-probs are the same to the bit.
///
/// # Errors
/// If a token id is outside of the vocabulary.
pub fn token_logps_with_collisions(model: &Decoder, batch: &GroupBatch, keep: Keep) -> Result<Scored, ModelError> {
    let Some(ran) = run(model, batch, keep, Extras::Collisions)? else { return Ok(Scored::default()) };
    let Found::Collisions(collisions) = ran.found else { return Ok(ran.scored) };
    let collisions = collisions.to_vec1().map_err(ModelError::tensor(SCORING))?;
    Ok(Scored { collisions: Some(collisions), ..ran.scored })
}

/// The same without a tape and with what else the pass shows, for a sweep over the logits that is about a third longer, not its product;
/// the log-probs are the same to the bit.
///
/// # Errors
/// If a token id is outside of the vocabulary.
pub fn token_logps_with_signals(model: &Decoder, batch: &GroupBatch) -> Result<(Scored, Signals), ModelError> {
    let Some(ran) = run(model, batch, Keep::Nothing, Extras::Entropies)? else {
        return Ok((Scored::default(), Signals::default()));
    };
    let signals = signals(batch, &ran.hidden, &ran.found).map_err(ModelError::tensor(SCORING))?;
    Ok((ran.scored, signals))
}

/// What errors say was being done.
const SCORING: &str = "scoring tokens";

/// A forward pass and its head.
struct Ran {
    scored: Scored,
    hidden: Tensor, // (N, D)
    found: Found,
}

/// Runs model and head; `None` where there is nothing to score.
fn run(model: &Decoder, batch: &GroupBatch, keep: Keep, extras: Extras) -> Result<Option<Ran>, ModelError> {
    if batch.scored.targets.is_empty() {
        return Ok(None);
    }
    let Pass { hidden, tape } = model.forward(batch, keep)?;
    let n_scored = batch.scored.targets.len();
    let targets =
        Tensor::from_slice(&batch.scored.targets, n_scored, model.device()).map_err(ModelError::tensor(SCORING))?;
    let scores = head::forward(&hidden, model.head().1, &targets, model.compute(), extras);
    let head::Scores { logps, log_sums, found } = scores.map_err(ModelError::tensor(SCORING))?;
    let logps = logps.to_vec1().map_err(ModelError::tensor(SCORING))?;
    let kept = tape.map(|tape| Kept { tape, hidden: hidden.clone(), targets, log_sums });
    Ok(Some(Ran { scored: Scored { logps, collisions: None, kept }, hidden, found }))
}

fn signals(batch: &GroupBatch, hidden: &Tensor, found: &Found) -> candle_core::Result<Signals> {
    let Found::Entropies { entropies, are_top } = found else { return Ok(Signals::default()) };
    let width = hidden.dim(1)?;
    let hidden = hidden.flatten_all()?.to_vec1::<f32>()?;
    let sum = |tokens: &Range<usize>| {
        let mut sum = vec![0.0_f64; width];
        for row in hidden[tokens.start * width..tokens.end * width].chunks_exact(width) {
            sum.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        sum
    };
    Ok(Signals {
        entropies: entropies.to_vec1()?,
        are_top: are_top.to_vec1::<u8>()?.into_iter().map(|is_top| is_top != 0).collect(),
        hidden_sums: batch.scored.sequences.iter().map(sum).collect(),
    })
}

impl Scored {
    /// Sum over the tokens of each completion, in `f64`, in the order of `batch.scored.sequences`.
    ///
    /// # Units
    /// Nats.
    pub fn sums(&self, batch: &GroupBatch) -> Vec<f64> {
        batch.scored.sequences.iter().map(|tokens| sum(&self.logps[tokens.clone()])).collect()
    }

    /// Adds the gradients of a loss in all trained parameters.
    ///
    /// # Errors
    /// If the pass was made with [`Keep::Nothing`] nothing is added; otherwise only if a tensor operation fails.
    pub fn backward(
        self,
        model: &Decoder,
        batch: &GroupBatch,
        slopes: &Slopes,
        gradients: &mut Gradients,
    ) -> Result<(), ModelError> {
        let Some(kept) = self.kept else { return Ok(()) };
        let d_hidden =
            kept.backward_head(model, slopes, gradients).map_err(ModelError::tensor("running the head backward"))?;
        model.backward(batch, kept.tape, &d_hidden, gradients)
    }
}

/// ∂loss/∂(log-prob) of every scored token of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Slopes {
    /// Those of the batch.
    sequences: Vec<Range<usize>>,
    tokens: Vec<f64>, // (N)
}

impl Slopes {
    /// All 0.
    pub fn none(batch: &GroupBatch) -> Self {
        Self { sequences: batch.scored.sequences.clone(), tokens: vec![0.0; batch.scored.targets.len()] }
    }

    /// Adds the slopes of a loss in the tokens of a sequence, an entry of `batch.scored.sequences`; its first token is
    /// token 0. A loss in the sum of a sequence has the same slope in each of its tokens.
    pub fn add(&mut self, sequence: usize, slope: impl Fn(usize) -> f64) {
        for (token, sum) in self.tokens[self.sequences[sequence].clone()].iter_mut().enumerate() {
            *sum += slope(token);
        }
    }
}

/// Sum of a sequence's token log-probs: `f32` terms, `f64` sum. The table and the training loop both use this one.
pub fn sum(token_logps: &[f32]) -> f64 {
    token_logps.iter().map(|&logp| f64::from(logp)).sum()
}

impl Kept {
    /// Adds the gradient of the head if it is trained, returns the one in the hidden states. // (N, D)
    #[expect(clippy::cast_possible_truncation, reason = "the tensors of a backward pass are f32")]
    fn backward_head(
        &self,
        model: &Decoder,
        slopes: &Slopes,
        gradients: &mut Gradients,
    ) -> candle_core::Result<Tensor> {
        let slopes: Vec<f32> = slopes.tokens.iter().map(|&slope| slope as f32).collect();
        let n_scored = slopes.len();
        let slopes = Tensor::from_vec(slopes, n_scored, model.device())?; // (N)
        let (id, weight) = model.head();
        let inputs = head::Inputs { hidden: &self.hidden, weight, targets: &self.targets, log_sums: &self.log_sums };
        if !model.params().is_trained(id) {
            return head::backward_input(&slopes, inputs, model.compute());
        }
        let mut result = None;
        gradients.update(id, weight, |sum| {
            let (d_hidden, d_weight) = head::backward_into(sum, &slopes, inputs, model.compute())?;
            result = Some(d_hidden);
            Ok(d_weight)
        })?;
        result.map_or_else(|| self.hidden.zeros_like(), Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Group;

    #[test]
    fn slopes_of_several_losses_add_up_token_by_token() {
        let group = Group { prompt: &[1], completions: vec![&[2, 3], &[4, 5, 6]] };
        let batch = GroupBatch::new(&[group]).unwrap();
        let mut slopes = Slopes::none(&batch);
        slopes.add(1, |_| 0.5);
        slopes.add(0, |token| [2.0, 3.0][token]);
        slopes.add(1, |token| token as f64);
        assert_eq!(slopes.tokens, [2.0, 3.0, 0.5, 1.5, 2.5]);
    }
}
