//! The one log-prob function: both stages call it, on the same batch type, with the same kernels.
//!
//! Invariant: a reference table and a policy that starts from the same weights agree to the last bit, because there is
//! no second path. A run that starts at the reference has margin 0 and loss ln 2. The log-probs of a completion depend on
//! its own tokens and its prompt's: not on its neighbours, its place in the batch, the token budget or the number of
//! threads, to the last bit.
//!
//! To the last bit holds of our own kernels, those of the CPU. candle's operations, all there is on a GPU, sum in an order
//! that depends on the shape of a batch: there both hold up to the rounding of `f32`, and [`kernel`] has another name.

use candle_core::{DeviceLocation, Tensor};

use crate::batch::GroupBatch;
use crate::model::{Decoder, Gradients, Keep, ModelError, ScoringDtype, Tape};
use crate::ops::{self, Backend, Kernels, Rounding, head};

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
#[derive(Debug)]
pub struct Scored {
    /// Log-probability of every scored token, in nats, in the order of `batch.scored`. // (N)
    pub logps: Vec<f32>,
    kept: Option<Kept>,
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
    if batch.scored.targets.is_empty() {
        return Ok(Scored { logps: Vec::new(), kept: None });
    }
    let pass = model.forward(batch, keep)?;
    let doing = "scoring tokens";
    let n_scored = batch.scored.targets.len();
    let targets =
        Tensor::from_slice(&batch.scored.targets, n_scored, model.device()).map_err(ModelError::tensor(doing))?;
    let scores =
        head::forward(&pass.hidden, model.head().1, &targets, model.compute()).map_err(ModelError::tensor(doing))?;
    let logps = scores.logps.to_vec1().map_err(ModelError::tensor(doing))?;
    let keep = |tape| Kept { tape, hidden: pass.hidden, targets, log_sums: scores.log_sums };
    Ok(Scored { logps, kept: pass.tape.map(keep) })
}

impl Scored {
    /// Sum over the tokens of each completion, in `f64`, in the order of `batch.scored.sequences`.
    ///
    /// # Units
    /// Nats.
    pub fn sums(&self, batch: &GroupBatch) -> Vec<f64> {
        batch.scored.sequences.iter().map(|tokens| sum(&self.logps[tokens.clone()])).collect()
    }

    /// Adds the gradients of a loss in all parameters.
    ///
    /// `slopes` holds ∂loss/∂(log-prob of the sequence) of each completion, in the order of `batch.scored.sequences`;
    /// a sequence's log-prob is a plain sum, so each of its tokens has the same slope.
    ///
    /// # Errors
    /// If the pass was made with [`Keep::Nothing`] nothing is added; otherwise only if a tensor operation fails.
    pub fn backward(
        self,
        model: &Decoder,
        batch: &GroupBatch,
        slopes: &[f64],
        gradients: &mut Gradients,
    ) -> Result<(), ModelError> {
        let Some(kept) = self.kept else { return Ok(()) };
        let d_hidden = kept
            .backward_head(model, batch, slopes, gradients)
            .map_err(ModelError::tensor("running the head backward"))?;
        model.backward(batch, kept.tape, &d_hidden, gradients)
    }
}

/// Sum of a sequence's token log-probs: `f32` terms, `f64` sum. The table and the training loop both use this one.
pub fn sum(token_logps: &[f32]) -> f64 {
    token_logps.iter().map(|&logp| f64::from(logp)).sum()
}

impl Kept {
    /// Adds the gradient of the head, returns the one in the hidden states. // (N, D)
    #[expect(clippy::cast_possible_truncation, reason = "the tensors of a backward pass are f32")]
    fn backward_head(
        &self,
        model: &Decoder,
        batch: &GroupBatch,
        slopes: &[f64],
        gradients: &mut Gradients,
    ) -> candle_core::Result<Tensor> {
        let per_token: Vec<f32> = batch
            .scored
            .sequences
            .iter()
            .zip(slopes)
            .flat_map(|(tokens, &slope)| std::iter::repeat_n(slope as f32, tokens.len()))
            .collect();
        let n_scored = per_token.len();
        let slopes = Tensor::from_vec(per_token, n_scored, model.device())?; // (N)
        let (id, weight) = model.head();
        let inputs = head::Inputs { hidden: &self.hidden, weight, targets: &self.targets, log_sums: &self.log_sums };
        let mut result = None;
        gradients.update(id, weight, |sum| {
            let (d_hidden, d_weight) = head::backward_into(sum, &slopes, inputs, model.compute())?;
            result = Some(d_hidden);
            Ok(d_weight)
        })?;
        result.map_or_else(|| self.hidden.zeros_like(), Ok)
    }
}
