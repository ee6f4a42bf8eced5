//! The tokenizer of a trained policy, as files that transformers opens.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::error::TokenizeError;
use super::model_tokenizer::ModelTokenizer;
use crate::io;
use crate::model_source::ModelSource;

/// What a Hugging Face folder may hold besides weights and `config.json`.
const FILES: [&str; 8] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
    "vocab.json",
    "merges.txt",
];

impl ModelTokenizer {
    /// Puts the tokenizer of `source` into `folder`: a folder's files are copied as they are, a GGUF's metadata is
    /// written as `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja`.
    pub fn save(&self, source: &ModelSource, folder: &Path) -> Result<(), TokenizeError> {
        match source {
            ModelSource::Folder(original) => {
                for file in FILES {
                    let path = original.join(file);
                    if path.is_file() {
                        io::copy(&path, &folder.join(file))?;
                    }
                }
                Ok(())
            }
            ModelSource::Gguf(_) => self.write_files(folder),
        }
    }

    fn write_files(&self, folder: &Path) -> Result<(), TokenizeError> {
        let path = folder.join("tokenizer.json");
        let text = self
            .tokenizer
            .to_string(true)
            .map_err(|source| TokenizeError::Tokenizer { path: path.clone(), source })?;
        io::write(&path, text.as_bytes())?;

        let mut config = self.special_tokens.clone();
        config.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
        config.insert("clean_up_tokenization_spaces".into(), json!(false));
        let text = format!("{:#}\n", Json::Object(config));
        io::write(&folder.join("tokenizer_config.json"), text.as_bytes())?;

        if let Some(template) = &self.template {
            io::write(&folder.join("chat_template.jinja"), template.as_bytes())?;
        }
        Ok(())
    }
}
