use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{Device, Tensor};

use super::*;

/// The metadata of a Llama of two heads, changed and with tensors of its embedding and, if asked for, its factors.
fn read_with(changes: &[(&str, Value)], has_factors: bool) -> Result<DecoderConfig, ModelError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let mut metadata = vec![
        ("general.architecture", Value::String("llama".into())),
        ("llama.context_length", Value::U32(64)),
        ("llama.embedding_length", Value::U32(32)),
        ("llama.block_count", Value::U32(2)),
        ("llama.feed_forward_length", Value::U32(40)),
        ("llama.attention.head_count", Value::U32(2)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
    ];
    metadata.retain(|(key, _)| changes.iter().all(|(changed, _)| changed != key));
    let metadata: Vec<(&str, &Value)> = metadata
        .iter()
        .map(|(key, value)| (*key, value))
        .chain(changes.iter().map(|(key, value)| (*key, value)))
        .collect();
    let tensor = |shape: &[usize]| {
        QTensor::quantize(&Tensor::full(2.0_f32, shape, &Device::Cpu).unwrap(), GgmlDType::F32).unwrap()
    };
    let mut tensors = vec![("token_embd.weight", tensor(&[96, 32]))];
    if has_factors {
        tensors.push(("rope_freqs.weight", tensor(&[8])));
    }
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let mut file = std::io::Cursor::new(Vec::new());
    gguf_file::write(&mut file, &metadata, &tensors).unwrap();
    crate::io::write(&path, &file.into_inner()).unwrap();
    read(&Gguf::open(&path).unwrap())
}

fn read_changed(changes: &[(&str, Value)]) -> Result<DecoderConfig, ModelError> {
    read_with(changes, false)
}

fn text(text: &str) -> Value {
    Value::String(text.into())
}

#[track_caller]
fn refused(key: &str, value: Value, message: &str) {
    let error = read_changed(&[(key, value)]).unwrap_err().to_string();
    assert!(error.contains(&format!("key `{key}`: {message}")), "{error}");
}

#[test]
fn scaling_is_linear_unless_it_is_said_to_be_none() {
    let scaling = |changes: &[(&str, Value)]| read_changed(changes).unwrap().rope.scaling;
    let factor = || ("llama.rope.scaling.factor", Value::F32(4.0));
    let old = || ("llama.rope.scale_linear", Value::F32(4.0));
    let linear = || RopeScaling::Linear { factor: 4.0 };
    assert_eq!(scaling(&[]), RopeScaling::None);
    assert_eq!(scaling(&[factor()]), linear());
    assert_eq!(scaling(&[old()]), linear());
    assert_eq!(scaling(&[old(), factor()]), linear());
    assert_eq!(scaling(&[("llama.rope.scaling.type", text("linear")), factor()]), linear());
    assert_eq!(scaling(&[("llama.rope.scaling.type", text("linear")), old()]), linear());
    assert_eq!(scaling(&[("llama.rope.scaling.type", text("none")), factor()]), RopeScaling::None);
    assert_eq!(scaling(&[("llama.rope.scaling.type", text("linear"))]), RopeScaling::None);
    assert_eq!(scaling(&[("llama.rope.scaling.factor", Value::F32(0.0))]), RopeScaling::None);
    assert_eq!(scaling(&[("llama.rope.scaling.factor", Value::F32(1.0))]), RopeScaling::None);
    let error = read_changed(&[factor(), ("llama.rope.scale_linear", Value::F32(2.0))]).unwrap_err().to_string();
    assert!(error.contains("`llama.rope.scale_linear`: expected 4, as `llama.rope.scaling.factor` says"), "{error}");
    refused("llama.rope.scaling.type", text("yarn"), "expected `none` or `linear`");
    refused("llama.rope.scaling.factor", Value::F32(-4.0), "expected a number, 0 or above");
}

#[test]
fn factors_of_frequencies_and_a_linear_factor_multiply() {
    let factors = |changes: &[(&str, Value)]| match read_with(changes, true).unwrap().rope.scaling {
        RopeScaling::PerFrequency { factors } => factors,
        other => panic!("{other:?}"),
    };
    assert_eq!(factors(&[]), [2.0; 8]);
    assert_eq!(factors(&[("llama.rope.scaling.factor", Value::F32(4.0))]), [8.0; 8]);
    let none = [("llama.rope.scaling.type", text("none")), ("llama.rope.scaling.factor", Value::F32(4.0))];
    assert_eq!(factors(&none), [2.0; 8]);
}

#[test]
fn keys_that_change_nothing_are_passed_over() {
    let plain = read_changed(&[]).unwrap();
    for (key, value) in [
        ("llama.vocab_size", Value::U32(96)),
        ("llama.rope.dimension_count", Value::U32(16)),
        ("llama.attention.key_length", Value::U32(16)),
        ("llama.attention.value_length", Value::U32(16)),
        ("llama.rope.scaling.attn_factor", Value::F32(1.0)),
        ("llama.rope.scaling.finetuned", Value::Bool(false)),
        ("llama.rope.scaling.original_context_length", Value::U32(8)),
        ("llama.attention.causal", Value::Bool(true)),
        ("llama.expert_count", Value::U32(0)),
        ("llama.attention.sliding_window", Value::U32(0)),
        ("llama.logit_scale", Value::F32(0.0)),
        ("llama.tensor_data_layout", text("Meta AI original pth")),
        ("general.type", text("model")),
        ("general.base_model.0.name", text("x")),
        ("quantize.imatrix.file", text("x")),
        ("mradermacher.quantize_version", text("2")),
        ("qwen2.logit_scale", Value::F32(9.0)),
    ] {
        assert_eq!(read_changed(&[(key, value)]).unwrap(), plain, "{key}");
    }
}

#[test]
fn keys_that_may_change_the_model_are_refused_by_name() {
    refused("llama.rope.scaling.attn_factor", Value::F32(2.0), "expected 1, which changes nothing");
    refused("llama.rope.scaling.yarn_ext_factor", Value::F32(1.0), "expected 0");
    refused("llama.rope.dimension_count", Value::U32(8), "expected 16, the width of a head");
    refused("llama.attention.value_length", Value::U32(8), "expected 16, the width of a head");
    refused("llama.attention.scale", Value::F32(0.1), "expected 0");
    refused("llama.attention.sliding_window", Value::U32(8), "expected 0");
    refused("llama.attention.causal", Value::Bool(false), "expected true");
    refused("llama.attention.clamp_kqv", Value::F32(0.05), "expected 0");
    refused("llama.attn_logit_softcapping", Value::F32(5.0), "expected 0");
    refused("llama.final_logit_softcapping", Value::F32(5.0), "expected 0");
    refused("llama.logit_scale", Value::F32(0.5), "expected 0 or 1");
    refused("llama.embedding_scale", Value::F32(12.0), "expected 0 or 1");
    refused("llama.expert_count", Value::U32(8), "expected 0");
    refused("llama.vocab_size", Value::U32(95), "expected 96, the rows of `token_embd.weight`");
    refused("llama.rope.dimension_sections", Value::Array(vec![Value::I32(4); 4]), "not known to piref");
    refused("llama.attention.layer_norm_epsilon", Value::F32(1e-5), "not known to piref");
    refused("general.type", text("adapter"), "expected `model`");
}
