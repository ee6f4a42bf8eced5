use serde_json::json;

use super::*;
use crate::model::config::{Rope, RopeScaling};

fn base(model_type: &str) -> Value {
    json!({
        "model_type": model_type, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 100, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 256,
    })
}

fn read(config: &Value) -> Result<DecoderConfig, ModelError> {
    parse(Path::new("config.json"), config.as_object().unwrap())
}

/// The configuration of a family with some keys changed.
fn changed(model_type: &str, changes: &Value) -> Result<DecoderConfig, ModelError> {
    let mut config = base(model_type);
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    read(&config)
}

/// The configuration of a family without a key.
fn without(model_type: &str, key: &str) -> Result<DecoderConfig, ModelError> {
    let mut config = base(model_type);
    config.as_object_mut().unwrap().remove(key).unwrap();
    read(&config)
}

#[track_caller]
fn refused(model_type: &str, changes: &Value, message: &str) {
    let error = changed(model_type, changes).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn an_absent_key_has_the_default_of_its_family() {
    for (model_type, vocab_size, kv, head_dim) in
        [("llama", 32_000, 4, 16), ("mistral", 32_000, 8, 16), ("qwen2", 151_936, 32, 16), ("qwen3", 151_936, 32, 128)]
    {
        assert_eq!(without(model_type, "vocab_size").unwrap().vocab_size, vocab_size, "{model_type}");
        assert_eq!(without(model_type, "head_dim").unwrap().head_dim, head_dim, "{model_type}");
        assert_eq!(without(model_type, "rms_norm_eps").unwrap().rms_norm_eps, 1e-6, "{model_type}");
        let mut config = base(model_type);
        config["num_attention_heads"] = json!(32);
        config.as_object_mut().unwrap().remove("num_key_value_heads");
        let want = if model_type == "llama" { 32 } else { kv };
        assert_eq!(read(&config).unwrap().n_kv_heads, want, "{model_type}");
    }
    let whole = read(&json!({"model_type": "llama"})).unwrap();
    assert_eq!((whole.hidden_size, whole.n_layers(), whole.n_heads), (4096, 32, 32));
    assert_eq!(whole.rope, Rope { theta: 10_000.0, scaling: RopeScaling::None });
    assert!(!whole.tie_word_embeddings);
}

#[test]
fn null_is_a_value_only_where_the_field_has_none() {
    assert_eq!(changed("llama", &json!({"num_key_value_heads": null})).unwrap().n_kv_heads, 4);
    assert_eq!(changed("qwen2", &json!({"num_key_value_heads": null})).unwrap().n_kv_heads, 4);
    refused("mistral", &json!({"num_key_value_heads": null}), "key `num_key_value_heads`: expected a whole number");
    assert_eq!(changed("mistral", &json!({"head_dim": null})).unwrap().head_dim, 16);
    refused("qwen2", &json!({"head_dim": null}), "key `head_dim`");
    refused("qwen3", &json!({"head_dim": null}), "key `head_dim`");
    for key in
        ["tie_word_embeddings", "attention_bias", "mlp_bias", "hidden_act", "rms_norm_eps", "vocab_size", "use_cache"]
    {
        refused("llama", &json!({key: null}), &format!("key `{key}`"));
    }
}

#[test]
fn values_of_another_type_are_refused_as_by_transformers() {
    for (key, value) in [
        ("hidden_size", json!(64.0)),
        ("hidden_size", json!("64")),
        ("hidden_size", json!(true)),
        ("hidden_size", json!(-64)),
        ("num_hidden_layers", json!(2.5)),
        ("rms_norm_eps", json!(1)),
        ("rms_norm_eps", json!("1e-5")),
        ("rms_norm_eps", json!(-1e-5)),
        ("tie_word_embeddings", json!("true")),
        ("tie_word_embeddings", json!(1)),
        ("rope_theta", json!("10000")),
        ("rope_theta", json!(null)),
        ("eos_token_id", json!("2")),
        ("eos_token_id", json!([2, "5"])),
        ("attention_dropout", json!("0")),
        ("rope_scaling", json!("linear")),
        ("rope_parameters", json!([1])),
    ] {
        refused("llama", &json!({key: value}), &format!("key `{key}`"));
    }
    changed("llama", &json!({"eos_token_id": [2, 5], "bos_token_id": null, "attention_dropout": 0})).unwrap();
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    refused("llama", &json!({"num_key_value_heads": 3}), "a divisor of 4");
    refused("llama", &json!({"num_attention_heads": 3, "num_key_value_heads": 3}), "a divisor of `hidden_size`");
    refused("llama", &json!({"head_dim": 15}), "an even number");
    refused("llama", &json!({"num_hidden_layers": 1_000_000_000}), "at most 4096 layers, found `1000000000`");
    refused("llama", &json!({"vocab_size": u64::MAX}), "a whole number up to 2^30");
    refused("llama", &json!({"hidden_act": "gelu"}), "expected `silu`, found `\"gelu\"`");
    refused("llama", &json!({"hidden_act": "x".repeat(1 << 20)}), "xxx…`");
}

#[test]
fn the_model_type_decides_and_another_class_is_refused() {
    for classes in [
        json!(null),
        json!([]),
        json!(["LlamaForCausalLM"]),
        json!(["LlamaModel"]),
        json!(["LLaMAForCausalLM"]),
        json!("LlamaForCausalLM"),
    ] {
        let config = changed("llama", &json!({"architectures": classes})).unwrap();
        assert_eq!(config.architecture, Architecture::Llama);
    }
    changed("qwen2", &json!({"architectures": ["Qwen2ForSequenceClassification"]})).unwrap();
    changed("llama", &json!({"auto_map": {"AutoModelForCausalLM": "modeling_x.XForCausalLM"}})).unwrap();
    let contradicts = "key `architectures`: expected `MistralForCausalLM`, the class of model_type `mistral`";
    refused("mistral", &json!({"architectures": ["LlamaForCausalLM"]}), contradicts);
    refused("mistral", &json!({"architectures": ["MistralForCausalLM", "LlamaForCausalLM"]}), contradicts);
    refused("llama", &json!({"architectures": ["Qwen2ForCausalLM"]}), "key `architectures`");
    refused("qwen2", &json!({"architectures": ["Qwen2MoeForCausalLM"]}), "unknown architecture `Qwen2MoeForCausalLM`");
    refused("granite", &json!({"architectures": ["LlamaForCausalLM"]}), "unknown architecture `granite`");
    refused("llama", &json!({"architectures": ["GPT2LMHeadModel"]}), "unknown architecture `GPT2LMHeadModel`");
    refused("llama", &json!({"architectures": [7]}), "key `architectures`: expected a list of names");
    refused("llama", &json!({"model_type": null}), "key `model_type` is missing");
    refused("llama", &json!({"model_type": 7}), "key `model_type`: expected text");
}

#[test]
fn keys_that_change_nothing_are_passed_over() {
    for changes in [
        json!({"pretraining_tp": 2, "use_cache": false, "torch_dtype": "float16", "dtype": "bfloat16"}),
        json!({"_name_or_path": "x", "transformers_version": "4.40.0", "unsloth_version": "1", "is_llama_config": true}),
        json!({"rope_interleaved": false, "use_mrope": false, "no_rope_layers": [1, 1], "is_decoder": true}),
        json!({"attn_logit_softcapping": null, "clip_qkv": null, "quantization_config": null, "text_config": null}),
        json!({"logit_scale": 1.0, "embedding_multiplier": 1, "final_logit_softcapping": 0.0, "num_experts": 0}),
        json!({"temperature": 0.6, "top_p": 0.9, "max_length": 20, "id2label": {"0": "a"}, "unheard_of": null}),
        json!({"unheard_of": {}, "another": [], "a_third": "", "transformers.js_config": {"dtype": "fp16"}}),
    ] {
        assert_eq!(changed("llama", &changes).unwrap(), read(&base("llama")).unwrap(), "{changes}");
    }
}

#[test]
fn keys_that_may_change_the_model_are_refused_by_name() {
    for (changes, message) in [
        (json!({"logit_scale": 0.5}), "key `logit_scale`: expected 1"),
        (json!({"embedding_multiplier": 12.0}), "key `embedding_multiplier`: expected 1"),
        (json!({"attn_logit_softcapping": 50.0}), "key `attn_logit_softcapping`: expected 0"),
        (json!({"clip_qkv": 0.05}), "key `clip_qkv`: expected null"),
        (json!({"use_qk_norm": true}), "key `use_qk_norm`: expected false"),
        (json!({"no_rope_layers": [1, 0]}), "key `no_rope_layers`: expected only ones"),
        (json!({"is_causal": false}), "key `is_causal`: expected true"),
        (json!({"rope_interleaved": true}), "key `rope_interleaved`"),
        (json!({"partial_rotary_factor": 0.5}), "key `partial_rotary_factor`: expected 1"),
        (json!({"num_local_experts": 8}), "key `num_local_experts`: expected 0"),
        (json!({"per_layer_config": {"0": {"num_key_value_heads": 4}}}), "key `per_layer_config`"),
        (json!({"quantization_config": {"bits": 4}}), "key `quantization_config`: expected no quantisation"),
        (json!({"compression_config": {"format": "x"}}), "key `compression_config`"),
        (json!({"text_config": {"hidden_size": 64}}), "key `text_config`"),
        (json!({"hidden_activation": "gelu"}), "key `hidden_activation`: expected `silu`"),
        (json!({"transformers_weights": "other.safetensors"}), "key `transformers_weights`"),
        (json!({"configuration_files": ["config.4.0.0.json"]}), "key `configuration_files`"),
        (json!({"layer_norm_eps": 1e-5}), "key `layer_norm_eps`: not known to piref, found `0.00001`"),
        (json!({"unheard_of": 0}), "key `unheard_of`: not known to piref"),
        (json!({"unheard_of": false}), "key `unheard_of`: not known to piref"),
    ] {
        refused("llama", &changes, message);
    }
    refused("mistral", &json!({"attention_bias": true}), "key `attention_bias`: expected false");
    refused("qwen3", &json!({"use_qk_norm": false}), "key `use_qk_norm`: expected true");
    changed("qwen3", &json!({"use_qk_norm": true})).unwrap();
    // No fields of these families: null is nothing.
    changed("mistral", &json!({"attention_bias": null, "mlp_bias": null, "use_sliding_window": null})).unwrap();
    changed("qwen2", &json!({"attention_bias": null})).unwrap();
    refused("mistral", &json!({"attention_dropout": null}), "key `attention_dropout`: expected a number");
    changed("llama", &json!({"attention_dropout": null})).unwrap();
    refused("qwen2", &json!({"mlp_bias": true}), "key `mlp_bias`: expected false");
}

#[test]
fn biases_follow_the_family() {
    let of = |model_type: &str, bias: bool| {
        let config = changed(model_type, &json!({"attention_bias": bias})).unwrap();
        (config.qkv_bias, config.output_bias)
    };
    assert_eq!((of("llama", true), of("llama", false)), ((true, true), (false, false)));
    assert_eq!((of("qwen3", true), of("qwen3", false)), ((true, true), (false, false)));
    assert_eq!((of("qwen2", true), of("qwen2", false)), ((true, false), (true, false)));
    assert_eq!(of("mistral", false), (false, false));
    assert!(changed("llama", &json!({"mlp_bias": true})).unwrap().mlp_bias);
}

#[test]
fn sliding_windows_follow_the_family() {
    let windows = |model_type: &str, changes: Value| changed(model_type, &changes).unwrap().windows;
    assert_eq!(windows("mistral", json!({})), [Some(4096), Some(4096)]);
    assert_eq!(windows("mistral", json!({"sliding_window": null})), [None, None]);
    assert_eq!(windows("mistral", json!({"sliding_window": 8})), [Some(8), Some(8)]);
    let types = json!(["full_attention", "sliding_attention"]);
    assert_eq!(windows("mistral", json!({"sliding_window": 8, "layer_types": types})), [None, Some(8)]);
    refused("mistral", &json!({"sliding_window": [8, null]}), "key `sliding_window`");
    refused("mistral", &json!({"sliding_window": 8, "use_sliding_window": false}), "key `use_sliding_window`");
    refused("mistral", &json!({"sliding_window": 8, "max_window_layers": 1}), "key `max_window_layers`");

    for model_type in ["qwen2", "qwen3"] {
        let qwen = |changes: Value| windows(model_type, changes);
        assert_eq!(qwen(json!({"sliding_window": 8, "max_window_layers": 1})), [None, None]);
        let used = json!({"sliding_window": 8, "max_window_layers": 1, "use_sliding_window": true});
        assert_eq!(qwen(used), [None, Some(8)]);
        assert_eq!(qwen(json!({"sliding_window": 8, "use_sliding_window": true})), [None, None]);
        assert_eq!(qwen(json!({"use_sliding_window": true, "max_window_layers": 0})), [Some(4096), Some(4096)]);
        assert_eq!(
            qwen(json!({"use_sliding_window": true, "sliding_window": null, "max_window_layers": 0})),
            [None, None]
        );
        let both =
            json!({"use_sliding_window": true, "sliding_window": 8, "max_window_layers": 0, "layer_types": types});
        assert_eq!(qwen(both), [None, Some(8)]);
        refused(model_type, &json!({"layer_types": types}), "`sliding_attention` with a window");
        refused(model_type, &json!({"use_sliding_window": null}), "key `use_sliding_window`");
        refused(model_type, &json!({"max_window_layers": null}), "key `max_window_layers`");
    }
    refused("llama", &json!({"sliding_window": 8}), "key `sliding_window`: expected none");
    refused(
        "llama",
        &json!({"sliding_window": 8, "use_sliding_window": true}),
        "key `use_sliding_window`: expected none",
    );
    assert_eq!(windows("llama", json!({"sliding_window": 256})), [None, None]);
    assert_eq!(windows("llama", json!({"sliding_window": 8, "use_sliding_window": false})), [None, None]);
    refused("llama", &json!({"layer_types": types}), "key `layer_types`");
    refused("llama", &json!({"layer_types": ["full_attention"]}), "a list of 2 layer types");
    assert_eq!(windows("llama", json!({"layer_types": ["full_attention", "attention"]})), [None, None]);
}

#[test]
fn both_spellings_of_rope_are_one() {
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                        "original_max_position_embeddings": 32});
    let mut whole = llama3.clone();
    whole["rope_theta"] = json!(500.0);
    let new = changed("llama", &json!({"rope_parameters": whole})).unwrap();
    let old = changed("llama", &json!({"rope_theta": 500.0, "rope_scaling": llama3})).unwrap();
    assert_eq!(new, old);
}

#[test]
fn tables_of_rope_that_would_be_passed_over_are_refused() {
    for (table, message) in [
        (json!({"rope_type": "yarn", "factor": 4.0}), "key `rope_parameters.rope_type`: expected `default`, `linear`"),
        (json!({"type": "linear"}), "key `rope_parameters.factor` is missing"),
        (json!({"type": "linear", "rope_type": "default"}), "key `rope_parameters.type`: expected `default`"),
        (json!({"rope_type": null, "type": "linear", "factor": 2.0}), "key `rope_parameters.rope_type`: expected text"),
        (json!({"type": "mrope", "mrope_section": [2, 3, 3]}), "key `rope_parameters.type`"),
        (json!({"rope_type": "default", "factor": 4.0}), "key `rope_parameters.factor`: expected 1"),
        (
            json!({"rope_type": "linear", "factor": 4.0, "attention_factor": 2.0}),
            "key `rope_parameters.attention_factor`",
        ),
        (json!({"rope_type": "default", "partial_rotary_factor": 0.5}), "key `rope_parameters.partial_rotary_factor`"),
        (
            json!({"full_attention": {"rope_type": "default"}}),
            "key `rope_parameters.full_attention`: expected one table",
        ),
        (json!({"rope_type": "default", "unheard_of": 3}), "key `rope_parameters.unheard_of`: not known to piref"),
        (json!({"rope_type": "linear", "factor": "4"}), "key `rope_parameters.factor`"),
        (json!({"rope_theta": null}), "key `rope_parameters.rope_theta`"),
    ] {
        refused("llama", &json!({"rope_parameters": table}), message);
    }
    let plain = changed("qwen2", &json!({})).unwrap();
    let null = json!({"rope_scaling": {"type": null, "rope_type": "default"}});
    assert_eq!(changed("qwen2", &null).unwrap(), plain);
    let mrope = json!({"type": "mrope", "rope_type": "default", "mrope_section": [2, 3, 3]});
    assert_eq!(changed("qwen2", &json!({"rope_scaling": mrope})).unwrap(), plain);
}

#[test]
fn a_byte_order_mark_is_passed_over_and_another_value_than_a_table_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    io::write(&path, format!("\u{feff}{}", base("llama")).as_bytes()).unwrap();
    assert_eq!(super::read(&path).unwrap(), read(&base("llama")).unwrap());
    io::write(&path, b"[]").unwrap();
    assert!(super::read(&path).unwrap_err().to_string().ends_with("config.json`: expected a JSON object"));
}

#[test]
fn configurations_of_published_models_are_read() {
    let llama_31 = json!({
        "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
        "bos_token_id": 128_000, "eos_token_id": [128_001, 128_008, 128_009], "hidden_act": "silu", "hidden_size": 4096,
        "initializer_range": 0.02, "intermediate_size": 14_336, "max_position_embeddings": 131_072, "mlp_bias": false,
        "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
        "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"},
        "rope_theta": 500_000.0, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
        "transformers_version": "4.42.3", "use_cache": true, "vocab_size": 128_256,
    });
    let smollm2 = json!({
        "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1,
        "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.041_666_666_666_666_664,
        "intermediate_size": 1536, "is_llama_config": true, "max_position_embeddings": 8192, "mlp_bias": false,
        "model_type": "llama", "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3,
        "pad_token_id": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_interleaved": false, "rope_scaling": null,
        "rope_theta": 100_000, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
        "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}}, "transformers_version": "4.42.3",
        "use_cache": true, "vocab_size": 49_152,
    });
    let mistral_nemo = json!({
        "architectures": ["MistralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
        "head_dim": 128, "hidden_act": "silu", "hidden_size": 5120, "initializer_range": 0.02,
        "intermediate_size": 14_336, "max_position_embeddings": 1_024_000, "model_type": "mistral",
        "num_attention_heads": 32, "num_hidden_layers": 40, "num_key_value_heads": 8, "rms_norm_eps": 1e-5,
        "rope_theta": 1_000_000.0, "sliding_window": null, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
        "transformers_version": "4.43.0.dev0", "use_cache": true, "vocab_size": 131_072,
    });
    let qwen_distilled = json!({
        "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151_643,
        "eos_token_id": 151_643, "hidden_act": "silu", "hidden_size": 1536, "initializer_range": 0.02,
        "intermediate_size": 8960, "max_position_embeddings": 131_072, "max_window_layers": 21, "model_type": "qwen2",
        "num_attention_heads": 12, "num_hidden_layers": 28, "num_key_value_heads": 2, "rms_norm_eps": 1e-6,
        "rope_theta": 10_000, "sliding_window": 4096, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
        "transformers_version": "4.44.0", "use_cache": true, "use_mrope": false, "use_sliding_window": false,
        "vocab_size": 151_936,
    });
    let qwen3_saved_again = json!({
        "_name_or_path": "base", "_attn_implementation_autoset": true, "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": false, "attention_dropout": 0.0, "dtype": "bfloat16", "eos_token_id": 151_645,
        "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024, "initializer_range": 0.02,
        "intermediate_size": 3072, "layer_types": ["full_attention", "full_attention"],
        "max_position_embeddings": 40_960, "max_window_layers": 28, "model_type": "qwen3", "num_attention_heads": 16,
        "num_hidden_layers": 2, "num_key_value_heads": 8, "pad_token_id": 151_643, "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_theta": 1_000_000, "rope_type": "default"}, "sliding_window": null,
        "tie_word_embeddings": true, "transformers_version": "5.24.0", "unsloth_fixed": true,
        "unsloth_version": "2026.1.1", "use_cache": true, "use_sliding_window": false, "vocab_size": 151_936,
    });
    for config in [llama_31, smollm2, mistral_nemo, qwen_distilled, qwen3_saved_again] {
        let read = read(&config).unwrap();
        assert!(read.windows.iter().all(Option::is_none), "{config}");
        assert_eq!(read.n_heads, usize::try_from(config["num_attention_heads"].as_u64().unwrap()).unwrap());
    }
}
