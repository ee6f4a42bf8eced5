//! A JSON file beside a tokenizer, read as strictly as transformers reads it.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};
use tokenizers::AddedToken;

use super::super::error::TokenizeError;
use crate::io;

/// The object of such a file; that of a file that is not there is empty.
#[derive(Debug, Clone)]
pub(in crate::tokenize) struct Settings {
    pub(super) path: PathBuf,
    pub(super) values: Map<String, Json>,
}

/// Longest value an error shows.
const MAX_SHOWN: usize = 80;

impl Settings {
    pub(in crate::tokenize) fn read(path: &Path) -> Result<Self, TokenizeError> {
        let values = if path.is_file() {
            serde_json::from_str(&io::read_settings(path)?)
                .map_err(|source| TokenizeError::Config { path: path.to_owned(), source })?
        } else {
            Map::new()
        };
        Ok(Self { path: path.to_owned(), values })
    }

    pub(in crate::tokenize) fn get(&self, key: &str) -> Option<&Json> {
        self.values.get(key)
    }

    /// A flag; null is as good as absent.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, TokenizeError> {
        match self.get(key) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::Bool(flag)) => Ok(Some(*flag)),
            Some(found) => Err(self.wrong(key, "true or false", found)),
        }
    }

    pub(super) fn wrong(&self, key: &str, expected: &'static str, found: &Json) -> TokenizeError {
        let mut found = found.to_string();
        if let Some((end, _)) = found.char_indices().nth(MAX_SHOWN) {
            found.truncate(end);
            found.push('…');
        }
        TokenizeError::Setting { path: self.path.clone(), key: key.to_owned(), expected, found }
    }

    pub(super) fn not_honoured(&self, key: &str, reason: &'static str) -> TokenizeError {
        TokenizeError::NotHonoured { path: self.path.clone(), key: key.to_owned(), reason }
    }

    /// The name of this file, for a note.
    pub(super) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// A token written as an object, with the defaults of `AddedToken(**object)`: what is not special is normalised.
    pub(super) fn added_token(
        &self,
        key: &str,
        value: &Json,
        is_special: Option<bool>,
    ) -> Result<AddedToken, TokenizeError> {
        let wrong = || self.wrong(key, "a token: an object with `content`", value);
        let flag = |name: &str| match value.get(name) {
            None => Ok(None),
            Some(Json::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(wrong()),
        };
        let content = value.get("content").and_then(Json::as_str).ok_or_else(wrong)?;
        let special = match is_special {
            Some(special) => special,
            None => flag("special")?.unwrap_or(false),
        };
        Ok(AddedToken {
            content: content.to_owned(),
            single_word: flag("single_word")?.unwrap_or(false),
            lstrip: flag("lstrip")?.unwrap_or(false),
            rstrip: flag("rstrip")?.unwrap_or(false),
            normalized: flag("normalized")?.unwrap_or(!special),
            special,
        })
    }
}
