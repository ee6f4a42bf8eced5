//! The tokenizer of a model with an adapter: the one beside the adapter, where there is one, which is what
//! `AutoTokenizer.from_pretrained` of transformers gives to who names the adapter.

use std::collections::HashMap;
use std::path::Path;

use super::{PolicyError, PolicySource};
use crate::io;
use crate::model_source::ModelSource;
use crate::tokenize::TokenizerFiles;

const TOKENIZER: &str = "tokenizer.json";
const TEMPLATE: &str = "chat_template.jinja";

/// A tokenizer, and where its files are.
#[derive(Debug)]
pub struct PolicyTokenizer {
    /// What it does.
    pub files: TokenizerFiles,
    /// The folder or file it was read from.
    pub source: ModelSource,
    /// What a user should know of it.
    pub notes: Vec<String>,
}

impl PolicySource {
    /// Its tokenizer and its chat template.
    ///
    /// # Errors
    /// If they cannot be read, or those beside the adapter contradict the base model.
    pub fn tokenizer(&self) -> Result<PolicyTokenizer, PolicyError> {
        let of_base = || TokenizerFiles::load(self.base());
        let Some(folder) = self.adapter() else {
            return Ok(PolicyTokenizer { files: of_base()?, source: self.base().clone(), notes: Vec::new() });
        };
        if !folder.join(TOKENIZER).is_file() {
            let files = of_base()?;
            self.refuse_template_alone(folder, &files)?;
            return Ok(PolicyTokenizer { files, source: self.base().clone(), notes: Vec::new() });
        }
        let source = ModelSource::Folder(folder.to_owned());
        let files = TokenizerFiles::load(&source)?;
        let mut notes = Vec::new();
        // A base model without a tokenizer says nothing against it.
        if let Ok(base) = of_base() {
            self.compare(folder, &files, &base)?;
            let place = folder.display();
            if files.digest() != base.digest() {
                notes.push(format!(
                    "the tokenizer is the one beside the adapter, `{place}`; that of `{}` differs",
                    self.name()
                ));
            }
            if files.template_digest() != base.template_digest() {
                notes.push(match files.template() {
                    Some(_) => format!(
                        "the chat template is the one beside the adapter, `{place}`; that of `{}` is another",
                        self.name()
                    ),
                    None => format!(
                        "the tokenizer beside the adapter, `{place}`, has no chat template: that of `{}` is not used",
                        self.name()
                    ),
                });
            }
        }
        Ok(PolicyTokenizer { files, source, notes })
    }

    /// Refuses a tokenizer that has another token for an id of the base model. It may have more of them, and other names
    /// for added ones, as trainers give to tokens that are kept in reserve.
    fn compare(&self, folder: &Path, files: &TokenizerFiles, base: &TokenizerFiles) -> Result<(), PolicyError> {
        let added = base.tokenizer().get_added_tokens_decoder();
        let tokens: HashMap<u32, String> = base
            .tokenizer()
            .get_vocab(true)
            .into_iter()
            .filter(|(_, id)| !added.contains_key(id))
            .map(|(token, id)| (id, token))
            .collect();
        let mut others: Vec<(u32, String)> = files
            .tokenizer()
            .get_vocab(true)
            .into_iter()
            .filter(|(token, id)| tokens.get(id).is_some_and(|expected| expected != token))
            .map(|(token, id)| (id, token))
            .collect();
        others.sort_unstable();
        match others.into_iter().next() {
            Some((id, found)) => Err(PolicyError::OtherVocabulary {
                path: folder.to_owned(),
                base: self.name().to_owned(),
                id,
                expected: tokens.get(&id).cloned().unwrap_or_default(),
                found,
            }),
            None => Ok(()),
        }
    }

    /// Refuses a template that stands beside an adapter without its tokenizer, unless it is the base model's.
    fn refuse_template_alone(&self, folder: &Path, base: &TokenizerFiles) -> Result<(), PolicyError> {
        let template = folder.join(TEMPLATE);
        let config = folder.join("tokenizer_config.json");
        let text = |path: &Path| io::read_text_up_to(path, io::SETTINGS_BYTES).ok();
        let in_config = text(&config).and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
        let in_config = in_config.as_ref().and_then(|config| config.get("chat_template")?.as_str().map(str::to_owned));
        for (path, found) in [(&template, text(&template)), (&config, in_config)] {
            if found.is_some_and(|found| Some(found.as_str()) != base.template()) {
                return Err(PolicyError::TemplateAlone { path: path.clone(), base: self.name().to_owned() });
            }
        }
        Ok(())
    }
}
