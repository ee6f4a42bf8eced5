//! Adapters of many forms against PEFT's own reading of them (`fixtures/golden/adapters.py`).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
use piref::batch::{Group, GroupBatch};
use piref::logprob;
use piref::model::{Decoder, Keep};
use piref::ops::Backend;
use piref::policy::PolicySource;
use serde::Deserialize;
use serde_json::Value;

use crate::support::assert_close;

#[derive(Deserialize)]
struct Golden {
    cases: BTreeMap<String, Adapter>,
    n_prompt: u32,
    n_completion: u32,
    vocab_size: u32,
}

#[derive(Deserialize)]
struct Adapter {
    config: Value,
    tensors: BTreeMap<String, Vec<usize>>,
    base: Vec<String>,
    logps: Vec<Vec<f64>>,
}

/// The formula of the script.
#[expect(clippy::cast_possible_truncation, reason = "the script rounds to f32 too")]
fn values(name: &str, shape: &[usize]) -> Tensor {
    let start = if name.ends_with("lora_magnitude_vector") { 1.0 } else { 0.0 };
    let value = |at: usize| (start + 0.3 * (0.7 * at as f64 + name.len() as f64).sin()) as f32;
    let values: Vec<f32> = (0..shape.iter().product()).map(value).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Writes the folder that PEFT has saved.
fn write(adapter: &Adapter, folder: &Path) {
    fs::write(folder.join("adapter_config.json"), adapter.config.to_string()).unwrap();
    let base = adapter.config["base_model_name_or_path"].as_str().unwrap();
    let base = PolicySource::resolve(base, None).unwrap().load(&Backend::cpu()).unwrap();
    let of_base = |name: &str| {
        let name = name.strip_prefix("base_model.model.").unwrap().replace(".base_layer", "");
        base.params().id(&name).map_or_else(|| base.head().1.clone(), |id| base.params().get(id).clone())
    };
    let tensors: Vec<(&String, Tensor)> = adapter
        .tensors
        .iter()
        .map(|(name, shape)| (name, if adapter.base.contains(name) { of_base(name) } else { values(name, shape) }))
        .collect();
    safetensors::serialize_to_file(tensors, None, &folder.join("adapter_model.safetensors")).unwrap();
}

fn logps(golden: &Golden, model: &Decoder) -> Vec<f64> {
    let n = golden.n_prompt + golden.n_completion;
    let ids = |shift: u32| -> Vec<u32> { (0..n).map(|i| (i * i * 7 + i * 31 + shift) % golden.vocab_size).collect() };
    let sequences = [ids(0), ids(17)];
    let n_prompt = golden.n_prompt as usize;
    let groups =
        sequences.each_ref().map(|ids| Group { prompt: &ids[..n_prompt], completions: vec![&ids[n_prompt..]] });
    let batch = GroupBatch::new(&groups).unwrap();
    let logps = logprob::token_logps(model, &batch, Keep::Nothing).unwrap().logps;
    logps.into_iter().map(f64::from).collect()
}

/// Beside the weights and in them. Sums of f32 in another order, over logits of up to some tens.
#[test]
fn adapters_of_every_form_score_as_peft_reads_them() {
    let golden: Golden = serde_json::from_str(&fs::read_to_string("fixtures/golden/adapters.json").unwrap()).unwrap();
    assert!(golden.cases.len() >= 30);
    for (name, adapter) in &golden.cases {
        let folder = tempfile::tempdir().unwrap();
        write(adapter, folder.path());
        let policy = PolicySource::resolve(folder.path().to_str().unwrap(), None).unwrap();
        let want: Vec<f64> = adapter.logps.concat();
        let beside = policy.load(&Backend::cpu()).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_close!(logps(&golden, &beside), want, abs = 2e-4, "{name}");
        let merged = policy.load_merged(&Backend::cpu()).unwrap();
        assert_close!(logps(&golden, &merged), want, abs = 2e-4, "{name}, merged");
    }
}
