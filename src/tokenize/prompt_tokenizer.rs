//! A prompt alone to token ids, as stage one makes them, and the ids of an answer back to text.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::conversation::Conversation;
use super::end_tokens;
use super::error::{RejectReason, TokenizeError};
use super::named_templates::ChatTemplates;
use super::template::Ending;
use super::template_date::TemplateDate;
use super::tokenizer_files::TokenizerFiles;
use crate::data::PromptText;
use crate::guard;
use crate::model_source::ModelSource;

/// A model's tokenizer, its chat template and the tokens that end its answers.
#[derive(Debug)]
pub struct PromptTokenizer {
    files: TokenizerFiles,
    templates: Option<ChatTemplates>,
    ends: BTreeSet<u32>,
}

impl PromptTokenizer {
    /// Loads the tokenizer and the chat template of a model; what the template prints of the date is `date`.
    pub fn load(source: &ModelSource, date: TemplateDate) -> Result<Self, TokenizeError> {
        Self::new(TokenizerFiles::load(source)?, source, date)
    }

    /// Takes a tokenizer that is loaded already; which tokens end an answer, `source` says, too.
    pub fn new(files: TokenizerFiles, source: &ModelSource, date: TemplateDate) -> Result<Self, TokenizeError> {
        let templates = files.chat_templates(date)?;
        let template = templates.as_ref().and_then(ChatTemplates::default_template);
        let ends = end_tokens::find(source, &files, template)?;
        Ok(Self { files, templates, ends })
    }

    /// Tokenizer, special tokens and template source.
    pub fn files(&self) -> &TokenizerFiles {
        &self.files
    }

    /// Whether the model says how to write down a conversation.
    pub fn has_template(&self) -> bool {
        self.templates.is_some()
    }

    /// Ids after which an answer is over.
    pub fn ends(&self) -> &BTreeSet<u32> {
        &self.ends
    }

    /// The ids an answer follows: a plain string between the tokenizer's special tokens but for one at the end, messages
    /// as the chat template writes them, with the head of the assistant's turn.
    ///
    /// # Errors
    /// The outer error says that no prompt of this kind can be tokenised. The inner one is about this prompt.
    pub fn prompt_ids(
        &self,
        prompt: &PromptText,
        variables: Option<&Map<String, Json>>,
    ) -> Result<Result<Vec<u32>, RejectReason>, TokenizeError> {
        let ids = match prompt {
            PromptText::Plain(text) => self.plain(text),
            PromptText::Messages { turns, tools } => {
                let Some(templates) = &self.templates else {
                    return Err(TokenizeError::NoTemplate { model: self.files.path.clone() });
                };
                let template = templates.select(tools.as_ref(), variables)?;
                let conversation = template.and_then(|template| {
                    Conversation::new(template, &self.files.special_tokens, tools.as_ref(), variables)
                });
                let rendered = conversation.and_then(|it| it.fitted(&[turns]).render(turns, Ending::GenerationPrompt));
                rendered.and_then(|text| Ok(self.encode(&text, false)?.0))
            }
        };
        Ok(ids.and_then(|ids| if ids.is_empty() { Err(RejectReason::EmptyPrompt) } else { Ok(ids) }))
    }

    fn plain(&self, text: &str) -> Result<Vec<u32>, RejectReason> {
        let (mut ids, is_frame) = self.encode(text, true)?;
        // Some tokenizers end every text; an answer goes on.
        let is_end = |(id, is_frame): &(&u32, &bool)| **is_frame && self.ends.contains(*id);
        let n_ends = ids.iter().zip(&is_frame).rev().take_while(is_end).count();
        ids.truncate(ids.len() - n_ends);
        Ok(ids)
    }

    /// Ids, and which of them the tokenizer has put around the text.
    fn encode(&self, text: &str, adds_special_tokens: bool) -> Result<(Vec<u32>, Vec<bool>), RejectReason> {
        // A regular expression that goes on for too long is a panic of the library.
        let encoding = guard::catch(|| self.files.tokenizer.encode_fast(text, adds_special_tokens));
        let encoding = encoding
            .unwrap_or_else(|panicked| Err(panicked.into()))
            .map_err(|error| RejectReason::Encode { reason: error.to_string() })?;
        let is_frame = encoding.get_special_tokens_mask().iter().map(|flag| *flag == 1).collect();
        Ok((encoding.get_ids().to_vec(), is_frame))
    }

    /// The text an answer adds to its prompt, special tokens spelt out.
    pub fn answer(&self, prompt_ids: &[u32], ids: &[u32]) -> Result<String, TokenizeError> {
        self.files.answer(prompt_ids, ids)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::data::{PairText, PreferencePair, open};
    use crate::io;
    use crate::tokenize::{PairTokenizer, Rules, TruncationMode};

    const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny");

    fn tiny() -> PromptTokenizer {
        PromptTokenizer::load(&ModelSource::resolve(TINY).unwrap(), "2024-07-26".parse().unwrap()).unwrap()
    }

    fn pairs(name: &str) -> Vec<PreferencePair> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pairs").join(name);
        let rows = open(&path, &crate::data::ColumnMap::default()).unwrap();
        rows.filter_map(|row| match row.unwrap() {
            crate::data::Row::Pair(pair) => Some(pair),
            crate::data::Row::Reject(_) => None,
        })
        .collect()
    }

    #[test]
    fn a_prompt_has_the_ids_that_stage_one_scores_after() {
        let source = ModelSource::resolve(TINY).unwrap();
        let rules = Rules {
            max_length: usize::MAX,
            truncation_mode: TruncationMode::KeepStart,
            template_date: "2024-07-26".parse().unwrap(),
        };
        let (stage_one, prompts) = (PairTokenizer::load(&source, rules).unwrap(), tiny());
        let mut n_checked = 0;
        for name in ["standard.jsonl", "conversational.jsonl", "openai.jsonl"] {
            for pair in pairs(name) {
                let Ok(want) = stage_one.tokenize(&pair).unwrap() else { continue };
                let is_plain = matches!(pair.text, PairText::Plain { .. });
                let got = prompts.prompt_ids(&pair.text.into(), None).unwrap().unwrap();
                // Joint tokenisation may give the last tokens of a plain prompt to its completions.
                assert!(got.starts_with(&want.prompt_ids), "{name}, row {}", pair.row_idx);
                let n_moved = got.len() - want.prompt_ids.len();
                assert!(n_moved == want.boundary_moved as usize && (is_plain || n_moved == 0), "{name}");
                n_checked += 1;
            }
        }
        assert!(n_checked > 40, "{n_checked}");
    }

    #[test]
    fn a_tokenizer_that_ends_every_text_does_not_end_a_prompt() {
        let folder = tempfile::tempdir().unwrap();
        io::copy(&Path::new(TINY).join("tokenizer.json"), &folder.path().join("tokenizer.json")).unwrap();
        let config = json!({"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "add_bos_token": true,
                            "add_eos_token": true});
        io::write(&folder.path().join("special_tokens_map.json"), config.to_string().as_bytes()).unwrap();
        let source = ModelSource::Folder(folder.path().to_owned());
        let tokenizer = PromptTokenizer::load(&source, "2024-07-26".parse().unwrap()).unwrap();
        let ids = |text: &str| tokenizer.prompt_ids(&PromptText::Plain(text.into()), None).unwrap().unwrap();
        let plain = tiny().prompt_ids(&PromptText::Plain("a b".into()), None).unwrap().unwrap();
        assert_eq!(ids("a b"), [vec![1], plain].concat());
        assert_eq!(ids(""), [1]);
        // An end token in the text itself is the author's.
        assert_eq!(ids("a<|im_end|>").last(), Some(&2));
    }

    #[test]
    fn nothing_to_follow_is_no_prompt_and_a_model_may_know_no_conversations() {
        assert_eq!(tiny().prompt_ids(&PromptText::Plain(String::new()), None).unwrap(), Err(RejectReason::EmptyPrompt));
        let folder = tempfile::tempdir().unwrap();
        io::copy(&Path::new(TINY).join("tokenizer.json"), &folder.path().join("tokenizer.json")).unwrap();
        let source = ModelSource::Folder(folder.path().to_owned());
        let base = PromptTokenizer::load(&source, "2024-07-26".parse().unwrap()).unwrap();
        assert!(matches!(base.prompt_ids(&PromptText::user("q"), None), Err(TokenizeError::NoTemplate { .. })));
    }

    #[test]
    fn an_answer_is_what_the_text_gains() {
        let tokenizer = tiny();
        let ids = |text: &str| tokenizer.encode(text, false).unwrap().0;
        let (prompt, answer) = (ids("Answer:"), ids(" Eight — é."));
        assert_eq!(tokenizer.answer(&prompt, &answer).unwrap(), " Eight — é.");
        assert_eq!(tokenizer.answer(&prompt, &[2]).unwrap(), "<|im_end|>");
        assert_eq!(tokenizer.answer(&prompt, &[]).unwrap(), "");
    }
}
