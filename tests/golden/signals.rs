//! Signals of tiny checkpoints of every decoder family against transformers: entropies and first choices of completion
//! tokens, CHES of pairs by its authors' formula. Numbers by `fixtures/golden/signals.py`.

use std::collections::BTreeMap;
use std::path::Path;

use piref::batch::{PairIds, Sharing};
use piref::model::Decoder;
use piref::model_source::ModelSource;
use piref::ops::Backend;
use piref::precompute;
use piref::table::CompletionSignals;
use serde::Deserialize;

use crate::support::{assert_close, golden};

#[derive(Deserialize)]
struct Golden {
    models: BTreeMap<String, Vec<Pair>>,
}

#[derive(Deserialize)]
struct Pair {
    prompt_ids: Vec<u32>,
    chosen_ids: Vec<u32>,
    rejected_ids: Vec<u32>,
    chosen_token_entropies: Vec<f64>,
    rejected_token_entropies: Vec<f64>,
    chosen_token_top1: Vec<u8>,
    rejected_token_top1: Vec<u8>,
    chosen_min_token_logp: f64,
    rejected_min_token_logp: f64,
    ches: f64,
    ches_mean: f64,
    /// ‖S⁺‖² and ‖S⁻‖²
    hidden_norms: [f64; 2],
}

/// That of a log-prob: an entropy is a mean of them.
const TOKEN: f64 = 2e-5;

/// Of the size of the products: hidden states of f32, some layers deep, are off by some 1e-6 of themselves.
const PRODUCT: f64 = 1e-5;

#[test]
fn every_family_has_the_signals_of_transformers() {
    let golden: Golden = golden("signals.json");
    let folders = std::fs::read_dir(Path::new("fixtures/architectures")).unwrap();
    let n_folders = folders.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count();
    assert_eq!(golden.models.len(), n_folders + 1, "a checkpoint without numbers, or numbers without a checkpoint");
    for (name, pairs) in &golden.models {
        let source = ModelSource::resolve(&format!("fixtures/{name}")).unwrap();
        let model = Decoder::load(&source, &Backend::cpu()).unwrap();
        let ids: Vec<PairIds<'_>> = pairs
            .iter()
            .map(|pair| PairIds { prompt: &pair.prompt_ids, chosen: &pair.chosen_ids, rejected: &pair.rejected_ids })
            .collect();
        let scored = precompute::score_with_signals(&model, &ids, 10_000, Sharing::Prompts, |_| {}).unwrap();
        let mut n_top = 0;
        for (at, (found, want)) in scored.iter().zip(pairs).enumerate() {
            let signals = found.signals.as_ref().unwrap();
            let place = format!("{name}, pair {at}");
            check(&place, &signals.chosen, &want.chosen_token_entropies, &want.chosen_token_top1);
            check(&place, &signals.rejected, &want.rejected_token_entropies, &want.rejected_token_top1);
            n_top += want.chosen_token_top1.iter().chain(&want.rejected_token_top1).filter(|&&top| top == 1).count();

            let least = |logps: &[f32]| f64::from(logps.iter().copied().fold(f32::INFINITY, f32::min));
            let minima = [least(&found.logps.chosen), least(&found.logps.rejected)];
            assert_close!(minima, [want.chosen_min_token_logp, want.rejected_min_token_logp], abs = TOKEN, "{place}");

            let [chosen, rejected] = want.hidden_norms;
            let size = chosen + (chosen * rejected).sqrt();
            assert_close!([signals.ches], [want.ches], abs = PRODUCT * size, "{place}, CHES");
            let (n_chosen, n_rejected) = (want.chosen_ids.len() as f64, want.rejected_ids.len() as f64);
            let size = chosen / n_chosen.powi(2) + (chosen * rejected).sqrt() / (n_chosen * n_rejected);
            assert_close!([signals.ches_mean], [want.ches_mean], abs = PRODUCT * size, "{place}, mean CHES");
        }
        assert!(n_top >= 15, "{name}: hardly a first choice says nothing of them: {n_top}");
    }
}

#[track_caller]
fn check(place: &str, found: &CompletionSignals, entropies: &[f64], are_top: &[u8]) {
    let numbers: Vec<f64> = found.entropies.iter().map(|&entropy| f64::from(entropy)).collect();
    assert_close!(numbers, entropies, abs = TOKEN, "{place}, entropies");
    let found: Vec<u8> = found.are_top.iter().map(|&is_top| u8::from(is_top)).collect();
    assert_eq!(found, are_top, "{place}, first choices");
}
