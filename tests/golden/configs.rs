//! Edited configurations: what transformers computes is computed, or refused; never something else.

use std::fs;
use std::path::Path;

use piref::batch::{Group, GroupBatch};
use piref::logprob;
use piref::model::{Decoder, Keep, ModelError};
use piref::model_source::ModelSource;
use piref::ops::Backend;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A sum of 39 log-probs in f32, against one by another order of additions.
const TOLERANCE: f64 = 1e-3;

#[derive(Deserialize)]
struct Golden {
    ids: Vec<u32>,
    forms: Vec<Case>,
    random: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    base: String,
    edit: Map<String, Value>,
    logps: Option<f64>,
}

/// How many cases ended how.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ends {
    equal: usize,
    both_refuse: usize,
    only_we_refuse: usize,
    only_transformers_refuses: usize,
}

fn golden() -> Golden {
    serde_json::from_slice(&fs::read("fixtures/golden/configs.json").unwrap()).unwrap()
}

impl Case {
    /// The log-prob of `ids` after their first, or why the model is refused.
    fn score(&self, folder: &Path, ids: &[u32]) -> Result<f64, ModelError> {
        let original = Path::new("fixtures/architectures").join(&self.base);
        let mut config: Map<String, Value> =
            serde_json::from_slice(&fs::read(original.join("config.json")).unwrap()).unwrap();
        for (key, value) in &self.edit {
            config.remove(key);
            if value != "absent" {
                config.insert(key.clone(), value.clone());
            }
        }
        fs::write(folder.join("config.json"), serde_json::to_vec(&config).unwrap()).unwrap();
        fs::copy(original.join("model.safetensors"), folder.join("model.safetensors")).unwrap();
        let model = Decoder::load(&ModelSource::Folder(folder.to_owned()), &Backend::cpu())?;
        let batch = GroupBatch::new(&[Group { prompt: &ids[..1], completions: vec![&ids[1..]] }]).unwrap();
        let found = logprob::token_logps(&model, &batch, Keep::Nothing).unwrap();
        Ok(found.logps.iter().map(|&logp| f64::from(logp)).sum())
    }
}

/// Counts how the cases ended; none may be answered by another number than transformers'.
#[track_caller]
fn check(ids: &[u32], cases: &[Case], want: &Ends) {
    let folder = tempfile::tempdir().unwrap();
    let mut ends = Ends::default();
    let (mut wrong, mut refused) = (Vec::new(), Vec::new());
    for case in cases {
        let what = format!("{} with {}", case.base, Value::Object(case.edit.clone()));
        match (case.score(folder.path(), ids), case.logps) {
            (Ok(ours), Some(theirs)) if (ours - theirs).abs() <= TOLERANCE => ends.equal += 1,
            (Ok(ours), Some(theirs)) => wrong.push(format!("{what}: {ours}, by transformers {theirs}")),
            (Err(_), None) => ends.both_refuse += 1,
            (Err(error), Some(_)) => {
                ends.only_we_refuse += 1;
                refused.push(format!("only we refuse {what}: {error}"));
            }
            (Ok(_), None) => {
                ends.only_transformers_refuses += 1;
                refused.push(format!("only transformers refuses {what}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(ends == *want, "expected {want:?}, found {ends:?}:\n{}", refused.join("\n"));
}

#[test]
fn chosen_forms_of_a_configuration_score_like_transformers_or_are_refused() {
    let golden = golden();
    let want = Ends { equal: 149, both_refuse: 64, only_we_refuse: 48, only_transformers_refuses: 0 };
    check(&golden.ids, &golden.forms, &want);
}

#[test]
fn random_edits_of_a_configuration_score_like_transformers_or_are_refused() {
    let golden = golden();
    let want = Ends { equal: 153, both_refuse: 98, only_we_refuse: 49, only_transformers_refuses: 0 };
    check(&golden.ids, &golden.random, &want);
}
