//! What a model brings for text: its tokenizer, its special tokens by name, its chat template.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};
use tokenizers::{PostProcessorWrapper, Tokenizer};

use super::error::TokenizeError;
use super::named_templates::{ChatTemplates, NamedTemplates};
use super::template_date::TemplateDate;
use super::{folder, gguf};
use crate::digest::Digest;
use crate::guard;
use crate::io;
use crate::model_source::ModelSource;

/// Files of a folder that make its tokenizer, the first of them always; the others say how to use it. These are what
/// transformers (`vocab_files_names` of its tokenizers, `chat_template_utils`) and vLLM look for in the folder of a model.
const FILES: [&str; 12] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "tokenizer.model",
    "tokenizer.model.v3",
    "tekken.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
];

/// Further chat templates by name, one a file: `CHAT_TEMPLATE_DIR` of transformers.
const TEMPLATES: &str = "additional_chat_templates";

/// The tokenizer of a model, with what its files say about special tokens and conversations.
#[derive(Debug)]
pub struct TokenizerFiles {
    pub(super) path: PathBuf,
    pub(super) tokenizer: Tokenizer,
    pub(super) special_tokens: Map<String, Json>,
    /// The chat template of conversations without tools.
    pub(super) template: Option<String>,
    pub(super) other_templates: NamedTemplates,
    pub(super) notes: Vec<String>,
    digest: Digest,
}

impl TokenizerFiles {
    /// Reads the tokenizer of a Hugging Face folder or a GGUF file.
    pub fn load(source: &ModelSource) -> Result<Self, TokenizeError> {
        // Its parts panic on each other: a post-processor on a token that it does not list.
        let load = || match source {
            ModelSource::Folder(path) => folder::load(path),
            ModelSource::Gguf(path) => gguf::load(path),
        };
        guard::catch(load).unwrap_or_else(|panicked| {
            Err(TokenizeError::Tokenizer { path: source.path().to_owned(), source: panicked.into() })
        })
    }

    /// What a loader has read, with the digest of it.
    pub(super) fn new(
        path: &Path,
        tokenizer: Tokenizer,
        special_tokens: Map<String, Json>,
        templates: NamedTemplates,
    ) -> Result<Self, TokenizeError> {
        let serialised = tokenizer.to_string(false);
        let serialised = serialised.map_err(|source| TokenizeError::Tokenizer { path: path.to_owned(), source })?;
        let named = Json::Object(special_tokens.clone()).to_string();
        let mut parts = vec![("tokenizer", serialised.as_bytes()), ("special_tokens", named.as_bytes())];
        // Not in what is serialised.
        if tokenizer.get_encode_special_tokens() {
            parts.push(("split_special_tokens", b"true"));
        }
        let digest = Digest::of_parts(parts);
        let (template, other_templates) = templates.split();
        let notes = Vec::new();
        Ok(Self { path: path.to_owned(), tokenizer, special_tokens, template, other_templates, notes, digest })
    }

    /// The text that ids stand for, special tokens spelt out.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizeError> {
        let wrap = |source| TokenizeError::Decode { model: self.path.clone(), source };
        guarded(|| self.tokenizer.decode(ids, false)).map_err(wrap)
    }

    /// The text that the ids of an answer add to the prompt before them, special tokens spelt out.
    ///
    /// They are decoded after the last id of the prompt: some tokenizers drop a space at the beginning of a text, which the
    /// beginning of an answer is not.
    pub fn answer(&self, prompt_ids: &[u32], ids: &[u32]) -> Result<String, TokenizeError> {
        let last = &prompt_ids[prompt_ids.len().saturating_sub(1)..];
        let whole = self.decode(&[last, ids].concat())?;
        match whole.strip_prefix(&self.decode(last)?) {
            Some(answer) => Ok(answer.to_owned()),
            None => self.decode(ids),
        }
    }

    /// Tokens of a text by itself: no special tokens, no chat template.
    pub fn count(&self, text: &str) -> Result<usize, TokenizeError> {
        let wrap = |source| TokenizeError::Encode { model: self.path.clone(), source };
        Ok(guarded(|| self.tokenizer.encode_fast(text, false)).map_err(wrap)?.len())
    }

    /// Ids of the tokens of a text by itself: no special tokens, no chat template.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizeError> {
        let wrap = |source| TokenizeError::Encode { model: self.path.clone(), source };
        Ok(guarded(|| self.tokenizer.encode_fast(text, false)).map_err(wrap)?.get_ids().to_vec())
    }

    /// Text that a token adds to a text, its blank in front included; its name in the vocabulary where it is no whole
    /// character or nothing at all, `None` where there is no such token.
    pub fn token_text(&self, id: u32) -> Option<String> {
        let name = self.tokenizer.id_to_token(id)?;
        // Decoded alone, some tokenizers strip the blank: what it adds to itself has it.
        let (Ok(once), Ok(twice)) = (self.decode(&[id]), self.decode(&[id, id])) else { return Some(name) };
        let added = twice.strip_prefix(&once).unwrap_or(&once);
        Some(if added.is_empty() || added.contains('\u{fffd}') { name } else { added.to_owned() })
    }

    /// The folder or file it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Text to ids and back. Truncation and padding are off, whatever the file says.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// `bos_token`, `eos_token`, `unk_token`, …: those the model names.
    pub fn special_tokens(&self) -> &Map<String, Json> {
        &self.special_tokens
    }

    /// What its files say that does not count, and what counts instead: to be told to whoever uses it.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Jinja source of the chat template for conversations without tools.
    pub fn template(&self) -> Option<&str> {
        self.template.as_deref()
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
    pub fn digest(&self) -> Digest {
        self.digest
    }

    fn templates(&self) -> NamedTemplates {
        self.other_templates.with_default(self.template.as_deref())
    }

    /// The chat templates, which print this date where they print one; `None` of a model without a template.
    pub(super) fn chat_templates(&self, date: TemplateDate) -> Result<Option<ChatTemplates>, TokenizeError> {
        self.templates().parse(&self.path, date)
    }

    /// Digest of the source of the chat template, or of all of them where there are several.
    pub fn template_digest(&self) -> Option<Digest> {
        self.templates().digest()
    }

    /// Whether [`save`](Self::save) may write something of that name.
    pub fn saves(name: &str) -> bool {
        FILES.contains(&name) || name == TEMPLATES
    }

    /// Writes the files of the tokenizer into a model folder, for whoever loads the model from there: copies, where
    /// `source` is a folder; what `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja` have to say, where
    /// it is a GGUF file.
    pub fn save(&self, source: &ModelSource, folder: &Path) -> Result<(), TokenizeError> {
        match source {
            ModelSource::Folder(from) => {
                for name in FILES {
                    if from.join(name).is_file() {
                        io::copy(&from.join(name), &folder.join(name))?;
                    }
                }
                if from.join(TEMPLATES).is_dir() {
                    io::create_dir(&folder.join(TEMPLATES))?;
                    for template in io::list(&from.join(TEMPLATES))? {
                        if let Some(name) = template.file_name().filter(|_| template.is_file()) {
                            io::copy(&template, &folder.join(TEMPLATES).join(name))?;
                        }
                    }
                }
            }
            ModelSource::Gguf(_) => {
                let wrap = |source| TokenizeError::Tokenizer { path: self.path.clone(), source };
                let tokenizer = self.tokenizer.to_string(false).map_err(wrap)?;
                io::write(&folder.join("tokenizer.json"), tokenizer.as_bytes())?;
                let mut config = self.special_tokens.clone();
                // Some classes name tokens of their own where a file has no word about them.
                for name in folder::NAMES {
                    config.entry(name).or_insert(Json::Null);
                }
                config.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
                // transformers otherwise rewrites spaces before punctuation when it decodes.
                config.insert("clean_up_tokenization_spaces".into(), false.into());
                io::write(&folder.join("tokenizer_config.json"), format!("{:#}\n", Json::Object(config)).as_bytes())?;
                if let Some(template) = &self.template {
                    io::write(&folder.join("chat_template.jinja"), template.as_bytes())?;
                }
                for (name, source) in self.other_templates.iter() {
                    let templates = folder.join("additional_chat_templates");
                    io::create_dir(&templates)?;
                    io::write(&templates.join(format!("{name}.jinja")), source.as_bytes())?;
                }
            }
        }
        Ok(())
    }
}

/// Runs a tokenizer, which panics where its parts do not fit each other or a text.
pub(super) fn guarded<T>(run: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    guard::catch(run).unwrap_or_else(|panicked| Err(panicked.into()))
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
