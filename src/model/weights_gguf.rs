//! Weights from a GGUF file, dequantised to `f32`.

use candle_core::{Device, Result as CandleResult, Tensor};

use super::config::{Architecture, DecoderConfig};
use super::error::ModelError;
use super::weights::Spec;
use crate::guard;
use crate::model_source::Gguf;

/// Where each part of a layer is called what: Hugging Face, GGUF.
const LAYER_NAMES: [(&str, &str); 11] = [
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// The tensor that says how rotary frequencies are stretched; no parameter.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// The GGUF name of a Hugging Face parameter of our decoder.
pub(super) fn gguf_name(name: &str) -> Option<String> {
    match name {
        "model.embed_tokens.weight" => return Some("token_embd.weight".into()),
        "model.norm.weight" => return Some("output_norm.weight".into()),
        "lm_head.weight" => return Some("output.weight".into()),
        _ => {}
    }
    let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (part, kind) = rest.rsplit_once('.')?;
    let (_, gguf_part) = LAYER_NAMES.into_iter().find(|(hf_part, _)| *hf_part == part)?;
    Some(format!("blk.{layer}.{gguf_part}.{kind}"))
}

pub(super) fn load(
    gguf: &Gguf,
    config: &DecoderConfig,
    specs: &[Spec],
    device: &Device,
) -> Result<Vec<Tensor>, ModelError> {
    let mut names = Vec::with_capacity(specs.len());
    for spec in specs {
        let missing = || ModelError::MissingTensor { path: gguf.path.clone(), name: spec.name.clone() };
        names.push(gguf_name(&spec.name).ok_or_else(missing)?);
    }
    let mut unknown: Vec<&String> = gguf.content.tensor_infos.keys().collect();
    unknown.retain(|name| *name != ROPE_FACTORS && !names.contains(name));
    if let Some(name) = unknown.into_iter().min() {
        return Err(ModelError::UnknownTensor {
            path: gguf.path.clone(),
            name: name.clone(),
            architecture: config.architecture.to_string(),
        });
    }
    let mut tensors = Vec::with_capacity(specs.len());
    for (spec, name) in specs.iter().zip(&names) {
        // Before its numbers are made: at two bits each they take sixteen times the room in memory.
        let found = gguf.content.tensor_infos.get(name).map(|info| info.shape.dims());
        if let Some(found) = found.filter(|found| *found != spec.shape) {
            return Err(ModelError::TensorShape {
                path: gguf.path.clone(),
                name: name.clone(),
                expected: spec.shape.clone(),
                found: found.to_vec(),
            });
        }
        let tensor = dequantised(gguf, name)?;
        let tensor = match interleaved_heads(config, name) {
            Some(heads) => half_split(&tensor, heads),
            None => Ok(tensor),
        };
        tensors
            .push(tensor.and_then(|tensor| tensor.to_device(device)).map_err(ModelError::tensor("loading weights"))?);
    }
    Ok(tensors)
}

/// All numbers of a small tensor.
pub(super) fn numbers(gguf: &Gguf, name: &str) -> Result<Vec<f32>, ModelError> {
    let tensor = dequantised(gguf, name)?;
    tensor.flatten_all().and_then(|tensor| tensor.to_vec1()).map_err(ModelError::tensor("loading weights"))
}

/// On the CPU, whatever the model runs on: its numbers are the same everywhere.
pub(super) fn dequantised(gguf: &Gguf, name: &str) -> Result<Tensor, ModelError> {
    if !gguf.content.tensor_infos.contains_key(name) {
        return Err(ModelError::MissingTensor { path: gguf.path.clone(), name: name.to_owned() });
    }
    let decode = || gguf.tensor(name)?.dequantize(&Device::Cpu);
    guard::catch(decode)
        .unwrap_or_else(|panicked| Err(candle_core::Error::wrap(panicked)))
        .map_err(ModelError::tensor("dequantising weights"))
}

/// How many heads the rows of a tensor are interleaved in, if they are.
pub(super) fn interleaved_heads(config: &DecoderConfig, gguf_name: &str) -> Option<usize> {
    match (config.architecture, gguf_name.rsplit('.').nth(1)) {
        (Architecture::Llama, Some("attn_q")) => Some(config.n_heads),
        (Architecture::Llama, Some("attn_k")) => Some(config.n_kv_heads),
        _ => None,
    }
}

/// Rows of a Llama query or key projection in the half-split order of Hugging Face.
///
/// GGUF keeps the rows of each head interleaved, as Meta's rotary embedding wants them: `(heads, d/2, 2, in)` back to
/// `(heads, 2, d/2, in)`. Biases have no `in`.
fn half_split(tensor: &Tensor, heads: usize) -> CandleResult<Tensor> {
    let dims = tensor.dims().to_vec();
    let half = dims[0] / heads / 2;
    tensor.reshape((heads, half, 2, ()))?.transpose(1, 2)?.contiguous()?.reshape(dims)
}

/// The way back: rows in the order of GGUF.
pub(super) fn interleaved(tensor: &Tensor, heads: usize) -> CandleResult<Tensor> {
    let dims = tensor.dims().to_vec();
    let half = dims[0] / heads / 2;
    tensor.reshape((heads, 2, half, ()))?.transpose(1, 2)?.contiguous()?.reshape(dims)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_llama_cpp() {
        assert_eq!(gguf_name("model.layers.3.self_attn.q_proj.bias").unwrap(), "blk.3.attn_q.bias");
        assert_eq!(gguf_name("model.layers.0.input_layernorm.weight").unwrap(), "blk.0.attn_norm.weight");
        assert_eq!(gguf_name("model.norm.weight").unwrap(), "output_norm.weight");
        assert_eq!(gguf_name("model.layers.0.experts.weight"), None);
    }

    #[test]
    fn interleaved_rows_come_back_in_halves() {
        let interleaved = Tensor::new(&[0_f32, 2., 1., 3., 10., 12., 11., 13.], &Device::Cpu).unwrap();
        let rows: Vec<f32> = half_split(&interleaved, 2).unwrap().to_vec1().unwrap();
        assert_eq!(rows, [0., 1., 2., 3., 10., 11., 12., 13.]);
        let back = super::interleaved(&half_split(&interleaved, 2).unwrap(), 2).unwrap();
        assert_eq!(back.to_vec1::<f32>().unwrap(), interleaved.to_vec1::<f32>().unwrap());
    }
}
