//! Log-probs of a tiny checkpoint of every decoder family against transformers.
//! Numbers by `fixtures/golden/architectures.py`.

use std::collections::BTreeMap;
use std::path::Path;

use piref::batch::{Group, GroupBatch};
use piref::logprob;
use piref::model::{Decoder, Keep};
use piref::model_source::ModelSource;
use piref::ops::Backend;
use serde::Deserialize;

use crate::support::{assert_close, golden};

#[derive(Deserialize)]
struct Golden {
    pairs: Vec<Pair>,
    models: BTreeMap<String, Vec<Scores>>,
}

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of the file, and of the table")]
struct Pair {
    prompt_ids: Vec<u32>,
    chosen_ids: Vec<u32>,
    rejected_ids: Vec<u32>,
}

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of the file, and of the table")]
struct Scores {
    chosen_token_logps: Vec<f64>,
    chosen_logps: f64,
    rejected_token_logps: Vec<f64>,
    rejected_logps: f64,
}

/// Up to 24 f32 terms below 16 nats: 24 · 16 · 2⁻²³ ≈ 5e-5, doubled.
const SEQUENCE: f64 = 1e-4;
const TOKEN: f64 = 2e-5;

fn load(name: &str) -> Decoder {
    let source = ModelSource::resolve(&format!("fixtures/architectures/{name}")).unwrap();
    Decoder::load(&source, &Backend::cpu()).unwrap()
}

#[test]
fn every_family_scores_like_transformers() {
    let golden: Golden = golden("architectures.json");
    let folders = std::fs::read_dir(Path::new("fixtures/architectures")).unwrap();
    let n_folders = folders.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count();
    assert_eq!(golden.models.len(), n_folders, "a checkpoint without numbers, or numbers without a checkpoint");

    let groups: Vec<Group<'_>> = golden
        .pairs
        .iter()
        .map(|pair| Group { prompt: &pair.prompt_ids, completions: vec![&pair.chosen_ids, &pair.rejected_ids] })
        .collect();
    let together = GroupBatch::new(&groups).unwrap();
    for (name, want) in &golden.models {
        let model = load(name);
        let scored = logprob::token_logps(&model, &together, Keep::Nothing).unwrap();
        let sums = scored.sums(&together);
        let tokens: Vec<f64> = scored.logps.iter().map(|&logp| f64::from(logp)).collect();
        let want_tokens: Vec<f64> = want
            .iter()
            .flat_map(|pair| pair.chosen_token_logps.iter().chain(&pair.rejected_token_logps).copied())
            .collect();
        let want_sums: Vec<f64> = want.iter().flat_map(|pair| [pair.chosen_logps, pair.rejected_logps]).collect();
        assert_close!(tokens, want_tokens, abs = TOKEN, "{name}, tokens");
        assert_close!(sums, want_sums, abs = SEQUENCE, "{name}, sequences");
    }
}

/// The old and the new spelling of the rotary settings are one model: only the configuration differs.
#[test]
fn a_pair_scores_the_same_beside_others_and_alone() {
    let golden: Golden = golden("architectures.json");
    let model = load("llama-tied-gqa");
    for (pair, want) in golden.pairs.iter().zip(&golden.models["llama-tied-gqa"]) {
        for (ids, want) in [(&pair.chosen_ids, want.chosen_logps), (&pair.rejected_ids, want.rejected_logps)] {
            let alone = GroupBatch::new(&[Group { prompt: &pair.prompt_ids, completions: vec![ids] }]).unwrap();
            let sums = logprob::token_logps(&model, &alone, Keep::Nothing).unwrap().sums(&alone);
            assert_close!(sums, [want], abs = SEQUENCE);
        }
    }
}
