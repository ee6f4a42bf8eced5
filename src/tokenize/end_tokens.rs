//! The tokens that end an answer, from every file of a model that names one.

use std::collections::BTreeSet;

use candle_core::quantized::gguf_file::Value;
use serde_json::{Map, Value as Json};

use super::error::TokenizeError;
use super::folder::Settings;
use super::gguf::number;
use super::named_templates::ChatTemplates;
use super::template::{ChatTemplate, Ending, TemplateInput};
use super::template_date::TemplateDate;
use super::tokenizer_files::{TokenizerFiles, guarded};
use crate::model_source::{Gguf, ModelSource};

/// Metadata keys of a GGUF file: end of sequence, of turn, of message.
const GGUF_KEYS: [&str; 3] =
    ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];

/// A text no template contains.
const ANSWER: &str = "piref-answer";

/// Ids after which an answer of a model is over, as [`PromptTokenizer::ends`](super::PromptTokenizer::ends) has them, of a
/// tokenizer that is loaded already.
///
/// # Errors
/// If a file of the model cannot be read, or its chat template cannot be parsed.
pub fn end_tokens(source: &ModelSource, files: &TokenizerFiles) -> Result<BTreeSet<u32>, TokenizeError> {
    // Which token ends an answer does not depend on the day.
    let templates = files.chat_templates(TemplateDate::default())?;
    let template = templates.as_ref().and_then(ChatTemplates::default_template);
    find(source, files, template)
}

/// Ids after which an answer is over: those of `generation_config.json` (or, as in transformers, of `config.json` where
/// it has none), the tokenizer's end token, which stage one puts after plain strings, and the token that the chat
/// template puts after an assistant's turn, which is what stage one scores after messages.
pub(super) fn find(
    source: &ModelSource,
    files: &TokenizerFiles,
    template: Option<&ChatTemplate>,
) -> Result<BTreeSet<u32>, TokenizeError> {
    let mut ends = match source {
        ModelSource::Folder(folder) => {
            let mut named = BTreeSet::new();
            for file in ["generation_config.json", "config.json"] {
                if named.is_empty() {
                    named = ids(Settings::read(&folder.join(file))?.get("eos_token_id"));
                }
            }
            named
        }
        ModelSource::Gguf(path) => {
            let metadata = Gguf::open(path)?.content.metadata;
            let id = |value: &Value| number(value).and_then(|id| u32::try_from(id).ok());
            GGUF_KEYS.iter().filter_map(|key| id(metadata.get(*key)?)).collect()
        }
    };
    ends.extend(files.eos_id());
    ends.extend(template.and_then(|template| after_answer(files, template)));
    Ok(ends)
}

/// One id, or a list of them.
fn ids(value: Option<&Json>) -> BTreeSet<u32> {
    let id = |value: &Json| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Json::Array(values)) => values.iter().filter_map(id).collect(),
        Some(value) => id(value).into_iter().collect(),
        None => BTreeSet::new(),
    }
}

/// The first special token that the template writes after an answer; `None` where it writes none, or does not take
/// these messages.
fn after_answer(files: &TokenizerFiles, template: &ChatTemplate) -> Option<u32> {
    let turn = |role: &str, content: &str| {
        Map::from_iter([("role".to_owned(), Json::from(role)), ("content".to_owned(), Json::from(content))])
    };
    let input = TemplateInput {
        special_tokens: files.special_tokens(),
        tools: None,
        variables: None,
        ending: Ending::LastMessage,
    };
    let text = template.render(&[turn("user", "x"), turn("assistant", ANSWER)], input).ok()?;
    let (_, rest) = text.rsplit_once(ANSWER)?;
    let special = files.tokenizer().get_added_tokens_decoder();
    let encoding = guarded(|| files.tokenizer().encode_fast(rest, false)).ok()?;
    encoding.get_ids().iter().copied().find(|id| special.get(id).is_some_and(|token| token.special))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::io;
    use crate::tokenize::PromptTokenizer;

    const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny");

    #[track_caller]
    fn check(files: &[(&str, &str)], want: &[u32]) {
        let folder = tempfile::tempdir().unwrap();
        io::copy(&Path::new(TINY).join("tokenizer.json"), &folder.path().join("tokenizer.json")).unwrap();
        for (name, text) in files {
            io::write(&folder.path().join(name), text.as_bytes()).unwrap();
        }
        let source = ModelSource::Folder(folder.path().to_owned());
        let tokenizer = PromptTokenizer::load(&source, "2024-07-26".parse().unwrap()).unwrap();
        assert_eq!(tokenizer.ends().iter().copied().collect::<Vec<_>>(), want);
        assert_eq!(end_tokens(&source, tokenizer.files()).unwrap(), *tokenizer.ends());
    }

    #[test]
    fn a_list_of_ids_and_the_token_of_the_tokenizer_all_count() {
        check(&[("generation_config.json", r#"{"eos_token_id": [7, 5]}"#)], &[5, 7]);
        check(
            &[
                ("generation_config.json", r#"{"eos_token_id": [7, 5]}"#),
                ("config.json", r#"{"eos_token_id": 9}"#),
                ("tokenizer_config.json", r#"{"eos_token": "<|endoftext|>"}"#),
            ],
            &[0, 5, 7],
        );
        check(&[("config.json", r#"{"eos_token_id": 9}"#)], &[9]);
        check(&[], &[]);
    }

    /// A base model's tokenizer under a chat template: the answers it was trained on end as the template says.
    #[test]
    fn what_the_template_writes_after_an_answer_ends_one() {
        let template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}";
        check(
            &[("chat_template.jinja", template), ("tokenizer_config.json", r#"{"eos_token": "<|endoftext|>"}"#)],
            &[0, 2],
        );
        check(&[("chat_template.jinja", "{% for m in messages %}{{ m.content }}.\n{% endfor %}")], &[]);
    }
}
