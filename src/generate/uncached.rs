//! The logits after a text by our own forward pass, which keeps nothing between tokens.

use candle_core::Tensor;

use crate::batch::{Group, GroupBatch};
use crate::model::{Decoder, Keep, ModelError};

/// Logits of the token after `ids`. // (V)
pub(super) fn next_logits(model: &Decoder, ids: &[u32]) -> Result<Tensor, ModelError> {
    // A completion of one token has no row: it only asks for the hidden state before it.
    let batch = GroupBatch::new(&[Group { prompt: ids, completions: vec![&[0]] }])?;
    let pass = model.forward(&batch, Keep::Nothing)?;
    let (_, head) = model.head();
    let logits = head.t().and_then(|head| pass.hidden.matmul(&head)?.flatten_all());
    logits.map_err(ModelError::tensor("computing logits"))
}
