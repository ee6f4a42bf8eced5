//! candle-transformers' decoders against our own forward.

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde_json::{Value, json};

use super::cached::{Cached, unserved};
use super::uncached;
use crate::io;
use crate::model::Decoder;
use crate::model_source::ModelSource;
use crate::ops::Backend;

fn architecture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/architectures").join(name)
}

fn load(folder: &Path) -> Decoder {
    Decoder::load(&ModelSource::Folder(folder.to_owned()), &Backend::cpu()).unwrap()
}

/// A checkpoint with another configuration.
fn changed(name: &str, change: impl Fn(&mut Value)) -> Decoder {
    let folder = tempfile::tempdir().unwrap();
    let original = architecture(name);
    io::copy(&original.join("model.safetensors"), &folder.path().join("model.safetensors")).unwrap();
    let mut config = serde_json::from_str(&io::read_text(&original.join("config.json")).unwrap()).unwrap();
    change(&mut config);
    io::write(&folder.path().join("config.json"), config.to_string().as_bytes()).unwrap();
    load(folder.path())
}

fn llama3_rope() -> Decoder {
    changed("llama-tied-gqa", |config| {
        config["rope_parameters"] = json!({"rope_type": "llama3", "rope_theta": 10_000.0, "factor": 4.0,
            "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32});
    })
}

fn ids(n: u32) -> Vec<u32> {
    (0..n).map(|i| 3 + i * 37 % 90).collect()
}

#[track_caller]
fn assert_same(got: &Tensor, want: &Tensor, context: &str) {
    let (got, want): (Vec<f32>, Vec<f32>) = (got.to_vec1().unwrap(), want.to_vec1().unwrap());
    assert_eq!(got.len(), want.len(), "{context}");
    let max = got.iter().zip(&want).map(|(got, want)| (got - want).abs()).fold(0.0, f32::max);
    let size = want.iter().fold(0.0_f32, |size, logit| size.max(logit.abs()));
    // 2⁻²⁴ of the largest logit, times a few hundred roundings on the way; NaN fails too.
    assert!(max <= 1e-4 * size.max(1.0), "{context}: max |Δ| {max:e}, largest logit {size}");
}

/// Reads a text in pieces, as a prompt and as answers are read, and again from the start.
#[track_caller]
fn check(name: &str, model: &Decoder) {
    let mut cached = Cached::new(model, 64).unwrap();
    let ids = ids(30);
    let ids = &ids[..ids.len().min(cached.limit())];
    let n_prompt = ids.len() / 2 + 1;
    for round in 0..2 {
        cached.reset(ids.len()).unwrap();
        let got = cached.read_in_chunks(&ids[..n_prompt], 0, 5).unwrap();
        assert_same(&got, &uncached::next_logits(model, &ids[..n_prompt]).unwrap(), &format!("{name}, round {round}"));
        for n in n_prompt..ids.len() {
            let got = cached.read(&ids[n..=n], n).unwrap();
            let want = uncached::next_logits(model, &ids[..=n]).unwrap();
            assert_same(&got, &want, &format!("{name}, round {round}, token {n}"));
        }
    }
}

#[test]
fn every_checkpoint_that_is_served_has_our_logits() {
    let mut served = Vec::new();
    for folder in io::list(&architecture("")).unwrap().into_iter().filter(|path| path.is_dir()) {
        let (name, model) = (folder.file_name().unwrap().to_str().unwrap(), load(&folder));
        if unserved(model.config()).is_none() {
            check(name, &model);
            served.push(name.to_owned());
        }
    }
    served.sort();
    let want = ["llama-bf16-sharded", "llama-f16", "llama-tied-gqa", "mistral-sliding", "qwen2-bias", "qwen3-qknorm"];
    assert_eq!(served, want);
    check("llama3-rope", &llama3_rope());
    check("mistral", &changed("mistral-sliding", |config| config["sliding_window"] = Value::Null));
    check("tiny", &load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny")));
}

#[test]
fn a_window_limits_a_decoder_that_does_not_slide() {
    assert_eq!(Cached::new(&load(&architecture("mistral-sliding")), 64).unwrap().limit(), 8);
    assert_eq!(Cached::new(&load(&architecture("llama-tied-gqa")), 64).unwrap().limit(), 64);
}

#[test]
fn what_a_decoder_would_read_differently_is_not_given_to_it() {
    let reason = |model: &Decoder| unserved(model.config()).unwrap();
    assert!(reason(&load(&architecture("llama3-rope-untied"))).contains("biases"));
    let scaled = changed("llama-tied-gqa", |config| {
        config["rope_parameters"] = json!({"rope_type": "linear", "rope_theta": 10_000.0, "factor": 2.0});
    });
    assert!(reason(&scaled).contains("rotary scaling"));
    assert_eq!(unserved(llama3_rope().config()), None);
}
