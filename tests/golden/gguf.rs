//! GGUF files of every quantisation candle reads: what is loaded is what the file's blocks say.

use std::collections::BTreeMap;
use std::io::Cursor;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use piref::model::Decoder;
use piref::model_source::ModelSource;
use piref::ops::Backend;
use rand::{Rng, SeedableRng};

/// A width that every block size divides.
const WIDTH: usize = 256;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const VOCAB: usize = 16;

const DTYPES: [GgmlDType; 13] = [
    GgmlDType::F32,
    GgmlDType::F16,
    GgmlDType::BF16,
    GgmlDType::Q4_0,
    GgmlDType::Q4_1,
    GgmlDType::Q5_0,
    GgmlDType::Q5_1,
    GgmlDType::Q8_0,
    GgmlDType::Q2K,
    GgmlDType::Q3K,
    GgmlDType::Q4K,
    GgmlDType::Q5K,
    GgmlDType::Q6K,
];

fn shapes() -> [(&'static str, &'static str, Vec<usize>); 11] {
    let kv = WIDTH / HEADS * KV_HEADS;
    [
        ("token_embd.weight", "model.embed_tokens.weight", vec![VOCAB, WIDTH]),
        ("blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight", vec![WIDTH, WIDTH]),
        ("blk.0.attn_k.weight", "model.layers.0.self_attn.k_proj.weight", vec![kv, WIDTH]),
        ("blk.0.attn_v.weight", "model.layers.0.self_attn.v_proj.weight", vec![kv, WIDTH]),
        ("blk.0.attn_output.weight", "model.layers.0.self_attn.o_proj.weight", vec![WIDTH, WIDTH]),
        ("blk.0.ffn_gate.weight", "model.layers.0.mlp.gate_proj.weight", vec![WIDTH, WIDTH]),
        ("blk.0.ffn_up.weight", "model.layers.0.mlp.up_proj.weight", vec![WIDTH, WIDTH]),
        ("blk.0.ffn_down.weight", "model.layers.0.mlp.down_proj.weight", vec![WIDTH, WIDTH]),
        ("blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight", vec![WIDTH]),
        ("blk.0.ffn_norm.weight", "model.layers.0.post_attention_layernorm.weight", vec![WIDTH]),
        ("output_norm.weight", "model.norm.weight", vec![WIDTH]),
    ]
}

fn metadata() -> Vec<(&'static str, Value)> {
    vec![
        ("general.architecture", Value::String("llama".into())),
        ("llama.block_count", Value::U32(1)),
        ("llama.embedding_length", Value::U32(256)),
        ("llama.feed_forward_length", Value::U32(256)),
        ("llama.attention.head_count", Value::U32(4)),
        ("llama.attention.head_count_kv", Value::U32(2)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("llama.rope.freq_base", Value::F32(10_000.0)),
    ]
}

/// Rows of each head interleaved, the order of the format: written out here on its own, not with the loader's code.
fn interleave(rows: &[Vec<f32>], heads: usize) -> Vec<Vec<f32>> {
    let head_dim = rows.len() / heads;
    let place = |row: usize| {
        let (head, at) = (row / head_dim, row % head_dim);
        head * head_dim + if at % 2 == 0 { at / 2 } else { head_dim / 2 + at / 2 }
    };
    (0..rows.len()).map(|row| rows[place(row)].clone()).collect()
}

fn write(dtype: GgmlDType, path: &std::path::Path) -> BTreeMap<&'static str, Tensor> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let mut tensors = Vec::new();
    let mut want = BTreeMap::new();
    for (gguf_name, hf_name, shape) in shapes() {
        let n = shape.iter().product::<usize>();
        let values: Vec<f32> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
        let tensor = Tensor::from_vec(values, shape.as_slice(), &Device::Cpu).unwrap();
        // Norms stay f32 in every GGUF.
        let dtype = if shape.len() == 1 { GgmlDType::F32 } else { dtype };
        let heads = match gguf_name {
            "blk.0.attn_q.weight" => Some(HEADS),
            "blk.0.attn_k.weight" => Some(KV_HEADS),
            _ => None,
        };
        // A row is quantised by itself, so the rows may be moved before or after.
        let whole = QTensor::quantize(&tensor, dtype).unwrap().dequantize(&Device::Cpu).unwrap();
        let stored = match heads {
            Some(heads) => {
                let rows = interleave(&tensor.to_vec2().unwrap(), heads);
                Tensor::from_vec(rows.concat(), shape.as_slice(), &Device::Cpu).unwrap()
            }
            None => tensor,
        };
        tensors.push((gguf_name, QTensor::quantize(&stored, dtype).unwrap()));
        want.insert(hf_name, whole);
    }
    let metadata = metadata();
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let mut file = Cursor::new(Vec::new());
    gguf_file::write(&mut file, &metadata, &tensors).unwrap();
    std::fs::write(path, file.into_inner()).unwrap();
    want
}

#[test]
fn every_quantisation_loads_to_its_own_values() {
    let folder = tempfile::tempdir().unwrap();
    for dtype in DTYPES {
        let path = folder.path().join(format!("{dtype:?}.gguf"));
        let want = write(dtype, &path);
        let model = Decoder::load(&ModelSource::resolve(path.to_str().unwrap()).unwrap(), &Backend::cpu()).unwrap();
        assert_eq!(model.params().len(), want.len());
        for (_, name, tensor) in model.params().iter() {
            let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(values(tensor) == values(&want[name]), "{dtype:?}, `{name}`");
        }
    }
}
