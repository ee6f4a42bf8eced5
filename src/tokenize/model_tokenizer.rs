//! What a model brings for text: its tokenizer, its special tokens by name, its chat template.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};
use tokenizers::{PostProcessorWrapper, Tokenizer};

use super::error::TokenizeError;
use super::{folder, gguf};
use crate::digest::Digest;
use crate::model_source::ModelSource;

/// The tokenizer of a model, with what its files say about special tokens and conversations.
#[derive(Debug)]
pub struct ModelTokenizer {
    /// The folder or file it was read from.
    pub path: PathBuf,
    /// Text to ids. Truncation and padding are off, whatever the file says.
    pub tokenizer: Tokenizer,
    /// `bos_token`, `eos_token`, `unk_token`, …: those the model names.
    pub special_tokens: Map<String, Json>,
    /// Jinja source of the chat template.
    pub template: Option<String>,
}

impl ModelTokenizer {
    /// Reads the tokenizer of a Hugging Face folder or a GGUF file.
    pub fn load(source: &ModelSource) -> Result<Self, TokenizeError> {
        match source {
            ModelSource::Folder(path) => folder::load(path),
            ModelSource::Gguf(path) => gguf::load(path),
        }
    }

    /// The text of the token that ends a completion.
    pub fn eos_token(&self) -> Option<&str> {
        self.special_tokens.get("eos_token")?.as_str()
    }

    /// Its id.
    pub fn eos_id(&self) -> Option<u32> {
        self.tokenizer.token_to_id(self.eos_token()?)
    }

    /// One more than the largest id, so that every id is below it.
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1)
    }

    /// Digest of all that makes ids out of text: the serialised tokenizer and the named special tokens.
    ///
    /// A folder and a GGUF of the same model have different digests where they serialise differently, even if every
    /// text has the same ids.
    pub fn digest(&self) -> Result<Digest, TokenizeError> {
        let tokenizer = self
            .tokenizer
            .to_string(false)
            .map_err(|source| TokenizeError::Tokenizer { path: self.path.clone(), source })?;
        let special_tokens: Vec<String> =
            self.special_tokens.iter().map(|(name, token)| format!("{name}={token}")).collect();
        let special_tokens = special_tokens.join("\n");
        Ok(Digest::of_parts([("tokenizer", tokenizer.as_bytes()), ("special_tokens", special_tokens.as_bytes())]))
    }

    /// Digest of the chat template's source.
    pub fn template_digest(&self) -> Option<Digest> {
        self.template.as_ref().map(|source| Digest::of(source.as_bytes()))
    }
}

/// Which named tokens a text is put between when special tokens are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Frame {
    pub(super) begin: bool,
    pub(super) end: bool,
}

/// Makes the tokenizer put begin and end token around a text, and nothing else; a token the model does not name is not
/// added.
pub(super) fn set_frame(
    tokenizer: &mut Tokenizer,
    special_tokens: &Map<String, Json>,
    frame: Frame,
    path: &Path,
) -> Result<(), TokenizeError> {
    let named = |wanted: bool, name: &str| {
        let token = special_tokens.get(name).and_then(Json::as_str).filter(|_| wanted)?;
        Some((token.to_owned(), tokenizer.token_to_id(token)?))
    };
    let (begin, end) = (named(frame.begin, "bos_token"), named(frame.end, "eos_token"));
    let mut known = Map::new();
    for (token, id) in begin.iter().chain(&end) {
        known.insert(token.clone(), json!({ "id": token, "ids": [id], "tokens": [token] }));
    }
    let special = |token: &Option<(String, u32)>, type_id: u32| {
        token.as_ref().map(|(token, _)| json!({ "SpecialToken": { "id": token, "type_id": type_id } }))
    };
    let framed = |sequence: &str, type_id: u32| -> Vec<Json> {
        let text = json!({ "Sequence": { "id": sequence, "type_id": type_id } });
        special(&begin, type_id).into_iter().chain([text]).chain(special(&end, type_id)).collect()
    };
    let single = framed("A", 0);
    let pair = [framed("A", 0), framed("B", 1)].concat();
    // Through JSON, since the builder's own notation cannot name a token with a colon in it.
    let post_processor = json!({
        "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": known,
    });
    let post_processor: PostProcessorWrapper = serde_json::from_value(post_processor)
        .map_err(|source| TokenizeError::Tokenizer { path: path.to_owned(), source: source.into() })?;
    tokenizer.with_post_processor(Some(post_processor));
    Ok(())
}
