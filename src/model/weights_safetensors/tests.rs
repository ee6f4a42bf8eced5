use std::collections::HashMap;

use super::*;
use crate::batch::{Group, GroupBatch};
use crate::error::Hint;
use crate::logprob;
use crate::model::{DEFAULT_SHARD_BYTES, Decoder, Export, Keep, NamedIds, SaveDtype, export};
use crate::model_source::ModelSource;
use crate::ops::Backend;

/// A model whose head is its embedding.
const TIED: &str = "fixtures/architectures/llama-tied-gqa";

type Tensors = HashMap<String, Tensor>;

/// The model of a fixture with other tensors.
fn changed(change: impl FnOnce(&mut Tensors)) -> (tempfile::TempDir, ModelSource) {
    let folder = tempfile::tempdir().unwrap();
    io::copy(&Path::new(TIED).join("config.json"), &folder.path().join("config.json")).unwrap();
    let mut tensors = candle_core::safetensors::load(Path::new(TIED).join(SINGLE), &Device::Cpu).unwrap();
    change(&mut tensors);
    candle_core::safetensors::save(&tensors, folder.path().join(SINGLE)).unwrap();
    let source = ModelSource::Folder(folder.path().to_owned());
    (folder, source)
}

fn logps(source: &ModelSource) -> Result<Vec<f32>, ModelError> {
    let model = Decoder::load(source, &Backend::cpu())?;
    let batch = GroupBatch::new(&[Group { prompt: &[3, 4], completions: vec![&[5, 6, 7, 8]] }]).unwrap();
    Ok(logprob::token_logps(&model, &batch, Keep::Nothing).unwrap().logps)
}

fn own_head(tensors: &mut Tensors) {
    let head = (&tensors[EMBEDDING] * 2.0).unwrap();
    tensors.insert(HEAD.into(), head);
}

#[test]
fn a_head_that_is_not_the_embedding_is_kept_and_the_policy_says_so() {
    let (_folder, source) = changed(own_head);
    let model = Decoder::load(&source, &Backend::cpu()).unwrap();
    assert!(!model.config().tie_word_embeddings && model.params().id(HEAD).is_some());
    let found = logps(&source).unwrap();
    assert_ne!(found, logps(&ModelSource::Folder(TIED.into())).unwrap());

    // The policy, whose configuration no longer contradicts its weights.
    let out = tempfile::tempdir().unwrap();
    let how = Export { dtype: SaveDtype::F32, shard_bytes: DEFAULT_SHARD_BYTES };
    export(&model, &source, &NamedIds::default(), how, out.path()).unwrap();
    let policy = ModelSource::Folder(out.path().to_owned());
    assert_eq!(logps(&policy).unwrap(), found);
    let config = io::read_text(&out.path().join("config.json")).unwrap();
    assert!(config.contains("\"tie_word_embeddings\": false"), "{config}");
}

#[test]
fn a_head_that_equals_the_embedding_is_the_embedding() {
    let want = logps(&ModelSource::Folder(TIED.into())).unwrap();
    let copy = |tensors: &mut Tensors| {
        tensors.insert(HEAD.into(), tensors[EMBEDDING].clone());
    };
    let only_head = |tensors: &mut Tensors| {
        let embedding = tensors.remove(EMBEDDING).unwrap();
        tensors.insert(HEAD.into(), embedding);
    };
    // In another number type, which holds them all.
    let wider = |tensors: &mut Tensors| {
        tensors.insert(HEAD.into(), tensors[EMBEDDING].to_dtype(DType::F64).unwrap());
    };
    for change in [&copy as &dyn Fn(&mut Tensors), &only_head, &wider] {
        let (_folder, source) = changed(change);
        let model = Decoder::load(&source, &Backend::cpu()).unwrap();
        assert!(model.config().tie_word_embeddings && model.params().id(HEAD).is_none());
        assert_eq!(logps(&source).unwrap(), want);
    }
    let (_folder, source) = changed(|tensors| drop(tensors.remove(EMBEDDING)));
    assert!(logps(&source).unwrap_err().to_string().contains("tensor `model.embed_tokens.weight` is missing"));
}

#[test]
fn names_of_a_bare_decoder_and_numbers_in_f64_are_read() {
    let want = logps(&ModelSource::Folder(TIED.into())).unwrap();
    let (_folder, source) = changed(|tensors| {
        let bare = tensors.drain().map(|(name, tensor)| (name.strip_prefix("model.").unwrap().to_owned(), tensor));
        *tensors = bare.collect();
    });
    assert_eq!(logps(&source).unwrap(), want);
    let (_folder, source) = changed(|tensors| {
        let wide = tensors.drain().map(|(name, tensor)| (name, tensor.to_dtype(DType::F64).unwrap()));
        *tensors = wide.collect();
    });
    assert_eq!(logps(&source).unwrap(), want);
}

#[test]
fn a_tensor_under_both_of_its_names_is_refused() {
    let (_folder, source) = changed(|tensors| {
        tensors.insert("norm.weight".into(), tensors["model.norm.weight"].clone());
    });
    assert!(matches!(logps(&source), Err(ModelError::TensorTwice { .. })));
}

#[test]
fn two_sets_of_weights_are_refused() {
    let (folder, source) = changed(|_| {});
    io::write(&folder.path().join(INDEX), br#"{"weight_map": {"a": "model-00001-of-00001.safetensors"}}"#).unwrap();
    let error = logps(&source).unwrap_err();
    assert!(error.to_string().contains("two sets of weights"), "{error}");
    assert!(error.hint().unwrap().starts_with("move the set that is not meant"));
}

#[test]
fn weights_in_another_form_are_answered_with_what_to_do() {
    let of = |name: &str| {
        let (folder, source) = changed(|_| {});
        std::fs::rename(folder.path().join(SINGLE), folder.path().join(name)).unwrap();
        let error = logps(&source).unwrap_err();
        assert!(error.to_string().ends_with(&format!(", found `{name}`")), "{error}");
        (folder.path().display().to_string(), error.hint().unwrap())
    };
    let (folder, hint) = of("pytorch_model.bin");
    assert!(
        hint.contains(&format!("[c.from_pretrained('{folder}').save_pretrained('{folder}-safetensors') for c in")),
        "{hint}"
    );
    let (_, hint) = of("model-00001-of-00002.safetensors");
    assert!(hint.contains("`model.safetensors.index.json`, which names the shards, is missing"), "{hint}");
    let (folder, hint) = of("model-q4.gguf");
    assert_eq!(hint, format!("name the file itself: `{folder}/model-q4.gguf`"));
}
