//! The folder of a policy: what is written when a run ends, and proven to be usable before it begins.
//!
//! A run of days must not end with a folder that nothing can read. So everything the folder will hold but the values of
//! the weights is written to a temporary place before the first step and read back: the configuration has to be that of
//! the model that is trained, the tokenizer has to make the same ids of a text, and the same tokens have to end an answer.

use std::collections::BTreeSet;
use std::path::Path;

use super::base::Base;
use super::error::TrainError;
use crate::io;
use crate::model::{
    self, Adapter, Decoder, DecoderConfig, Export, ModelError, NamedIds, SaveDtype, SavedWeights, check_config,
    export_adapter, export_config,
};
use crate::model_source::ModelSource;
use crate::policy::PolicyTokenizer;
use crate::tokenize::{TokenizerFiles, end_tokens};

/// Texts that a tokenizer is told by, beside its chat template: blanks, digits, punctuation, several scripts.
const TEXTS: [&str; 4] = [
    " The year 2024,  and 31415 more:\tif (x != \"y\") { return; }\r\n\n",
    "Größe, naïve café; 東京 и Москва, مرحبا 🙂",
    "don't WE'LL they've\u{a0}it’s…",
    "",
];

/// Ids of the tokens that a model names.
///
/// # Errors
/// If a file of the model cannot be read.
pub(super) fn named_ids(source: &ModelSource, tokenizer: &TokenizerFiles) -> Result<NamedIds, TrainError> {
    let id = |name: &str| {
        let token = tokenizer.special_tokens().get(name)?.as_str()?;
        tokenizer.tokenizer().token_to_id(token)
    };
    let ends = end_tokens(source, tokenizer)?;
    Ok(NamedIds { bos: id("bos_token"), eos: id("eos_token"), pad: id("pad_token"), ends })
}

/// Proves that a whole policy of this model can be written and read back, its weights aside.
///
/// # Errors
/// If a file cannot be written, or is read back as something else.
pub(super) fn prove_whole(
    config: &DecoderConfig,
    source: &ModelSource,
    tokenizer: &PolicyTokenizer,
    ids: &NamedIds,
    dtype: SaveDtype,
) -> Result<(), TrainError> {
    let PolicyTokenizer { files: tokenizer, source: tokenizer_source, .. } = tokenizer;
    let folder = io::temporary_folder()?;
    let in_model = |error: ModelError| TrainError::Model { model: source.path().display().to_string(), source: error };
    export_config(config, source, ids, dtype, folder.path()).map_err(in_model)?;
    check_config(config, folder.path()).map_err(in_model)?;
    tokenizer.save(tokenizer_source, folder.path())?;
    let written = ModelSource::Folder(folder.path().to_owned());
    let found = TokenizerFiles::load(&written)?;
    let differs = |what: &'static str, expected: String, found: String| TrainError::ReadBack { what, expected, found };
    if found.special_tokens() != tokenizer.special_tokens() {
        let text = |files: &TokenizerFiles| format!("{:?}", files.special_tokens());
        return Err(differs("the named tokens", text(tokenizer), text(&found)));
    }
    if found.template() != tokenizer.template() {
        let text = |files: &TokenizerFiles| files.template().map_or("none", |_| "another one").to_owned();
        return Err(differs("the chat template", "that of the model".into(), text(&found)));
    }
    if found.digest() != tokenizer.digest() {
        let template = tokenizer.template().unwrap_or_default();
        for text in TEXTS.into_iter().chain([template]) {
            let (expected, found) = (tokenizer.encode(text)?, found.encode(text)?);
            if expected != found {
                return Err(differs("the tokens of a text", format!("{expected:?}"), format!("{found:?}")));
            }
        }
    }
    let found = end_tokens(&written, &found)?;
    if found != ids.ends {
        let text = |ends: &BTreeSet<u32>| format!("{ends:?}");
        return Err(differs("the tokens that end an answer", text(&ids.ends), text(&found)));
    }
    Ok(())
}

/// Proves that the adapter of a model, if it has one, can be written and read back.
///
/// # Errors
/// If a file cannot be written, or is read back as something else.
pub(super) fn prove_adapter(model: &Decoder, base: &Base, name: &str) -> Result<(), TrainError> {
    let in_model = |source: ModelError| TrainError::Model { model: name.to_owned(), source };
    let Some(adapter) = base.adapter_of(model).map_err(in_model)? else { return Ok(()) };
    let folder = io::temporary_folder()?;
    let digests = &base.digests.base;
    export_adapter(&adapter, &base.source.base_name(), digests, folder.path()).map_err(in_model)?;
    let found = Adapter::read(folder.path(), model, digests).map_err(in_model)?;
    if found.lora() == adapter.lora() {
        return Ok(());
    }
    let text = |adapter: &Adapter| format!("{:?}", adapter.lora());
    Err(TrainError::ReadBack { what: "the adapter", expected: text(&adapter), found: text(&found) })
}

/// Writes a model without an adapter, its tokenizer beside it, into `folder`.
///
/// # Errors
/// If a file cannot be written.
pub(super) fn write_whole(
    model: &Decoder,
    source: &ModelSource,
    tokenizer: &PolicyTokenizer,
    ids: &NamedIds,
    how: Export,
    folder: &Path,
) -> Result<SavedWeights, TrainError> {
    let in_model = |error: ModelError| TrainError::Model { model: source.path().display().to_string(), source: error };
    let saved = model::export(model, source, ids, how, folder).map_err(in_model)?;
    tokenizer.files.save(&tokenizer.source, folder)?;
    Ok(saved)
}

/// What a user should know of weights whose number type is coarser than what was learnt.
pub(super) fn lost(saved: &SavedWeights) -> Option<String> {
    // Rounding that undoes all of a training is as large as it.
    let trained = saved.trained.filter(|trained| *trained < 2.0 * saved.rounded)?;
    Some(format!(
        "the policy is written in {}: that moves its weights by {:.1e} of their norm, training has moved them by {trained:.1e}; \
         `--save-dtype f32` keeps every number",
        saved.dtype, saved.rounded
    ))
}
