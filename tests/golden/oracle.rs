//! Our forward pass against candle-transformers' decoder, an implementation that shares no code with it.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Llama, LlamaConfig};
use piref::batch::{Group, GroupBatch};
use piref::logprob;
use piref::model::{Decoder, Keep};
use piref::model_source::ModelSource;
use piref::ops::Backend;

use crate::support::assert_close;

#[test]
fn every_token_scores_like_candle_transformers_llama() {
    let folder = "fixtures/tiny";
    let device = Device::Cpu;
    let mut config: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(format!("{folder}/config.json")).unwrap()).unwrap();
    // candle-transformers reads the spelling of transformers 4.
    config["rope_theta"] = config["rope_parameters"]["rope_theta"].clone();
    let config: LlamaConfig = serde_json::from_value(config).unwrap();
    let config = config.into_config(false);
    let weights = candle_core::safetensors::load(format!("{folder}/model.safetensors"), &device).unwrap();
    let theirs = Llama::load(VarBuilder::from_tensors(weights, DType::F32, &device), &config).unwrap();

    let prompt: Vec<u32> = (0..20).map(|i| 100 + i * 37 % 900).collect();
    let completion: Vec<u32> = (0..30).map(|i| 50 + i * 53 % 1000).collect();
    let ours = Decoder::load(&ModelSource::resolve(folder).unwrap(), &Backend::cpu()).unwrap();
    let batch = GroupBatch::new(&[Group { prompt: &prompt, completions: vec![&completion, &prompt] }]).unwrap();
    let got = logprob::token_logps(&ours, &batch, Keep::Nothing).unwrap();

    let whole: Vec<u32> = prompt.iter().chain(&completion).copied().collect();
    let mut want = Vec::new();
    for end in prompt.len()..whole.len() {
        let ids = Tensor::new(&whole[..end], &device).unwrap().unsqueeze(0).unwrap();
        let mut cache = Cache::new(false, DType::F32, &config, &device).unwrap();
        let logits: Vec<f32> = theirs.forward(&ids, 0, &mut cache).unwrap().squeeze(0).unwrap().to_vec1().unwrap();
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        want.push(f64::from(logits[whole[end] as usize]) - sum.ln());
    }
    let got: Vec<f64> = got.logps[..completion.len()].iter().map(|&logp| f64::from(logp)).collect();
    assert_close!(got, want, abs = 1e-4);
}
