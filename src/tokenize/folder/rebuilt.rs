//! The tokenizers that classes of transformers 5 build around the vocabulary of a `tokenizer.json`.
//!
//! Vocabulary, merges and post-processor are the file's; normalizer, pre-tokenizer, decoder and the switches of the model
//! are the class's, whatever the file says (`convert_to_native_format` and the `__init__` of each class, 5.24).

use std::path::Path;

use serde::Serialize;
use serde_json::{Value as Json, json};
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{NFC, Replace};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer,
};

use super::super::error::TokenizeError;
use super::super::gguf_split::QWEN2;
use super::class::Rebuilt;
use super::settings::Settings;
use super::special_tokens::{SpecialTokens, Token};

/// `PRETOKENIZE_REGEX` of Qwen 3.5: marks belong to the letters they stand on.
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// SentencePiece writes a space as this.
const SPACE: char = '▁';

/// What a class sets itself.
struct Parts {
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: PreTokenizerWrapper,
    decoder: DecoderWrapper,
    fuse_unk: bool,
    byte_fallback: bool,
    unk_token: Option<String>,
}

/// The tokenizer of a class, without added tokens.
///
/// # Errors
/// If the file has no BPE vocabulary, or a setting is of another type than the class takes.
pub(super) fn build(
    class: Rebuilt,
    saved: &Tokenizer,
    settings: &Settings,
    special: &SpecialTokens,
    path: &Path,
) -> Result<Tokenizer, TokenizeError> {
    let wrap = |source| TokenizeError::Tokenizer { path: path.to_owned(), source };
    let no_bpe = || TokenizeError::ClassWithoutBpe { path: path.to_owned(), class: class.name() };
    let ModelWrapper::BPE(model) = saved.get_model() else { return Err(no_bpe()) };
    if model.continuing_subword_prefix.as_deref().is_some_and(|prefix| !prefix.is_empty()) {
        return Err(no_bpe());
    }
    let Parts { normalizer, pre_tokenizer, decoder, fuse_unk, byte_fallback, unk_token } =
        parts(class, settings, special, wrap)?;
    let mut model = model.clone();
    model.dropout = None;
    model.unk_token = unk_token;
    // Empty texts in transformers, which is the same.
    model.continuing_subword_prefix = None;
    model.end_of_word_suffix = None;
    model.fuse_unk = fuse_unk;
    model.byte_fallback = byte_fallback;
    model.ignore_merges = false;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_normalizer(normalizer).map_err(wrap)?;
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer));
    tokenizer.with_decoder(Some(decoder));
    tokenizer.with_post_processor(saved.get_post_processor().cloned());
    Ok(tokenizer)
}

fn parts(
    class: Rebuilt,
    settings: &Settings,
    special: &SpecialTokens,
    wrap: impl Fn(tokenizers::Error) -> TokenizeError + Copy,
) -> Result<Parts, TokenizeError> {
    let puts_space = settings.flag("add_prefix_space")?;
    // Llama's classes put one in front unless told not to; the others when told to.
    let begins_with_space = puts_space.unwrap_or(false);
    let byte_level = |normalizer: Option<NormalizerWrapper>, pre_tokenizer: PreTokenizerWrapper| Parts {
        normalizer,
        pre_tokenizer,
        decoder: ByteLevelDecoder::default().into(),
        fuse_unk: false,
        byte_fallback: false,
        unk_token: None,
    };
    let unknown = || special.find("unk_token").map_or_else(|| "None".to_owned(), |token| token.content().to_owned());
    Ok(match class {
        Rebuilt::Llama | Rebuilt::CodeLlama => {
            let begins_with_space = puts_space.unwrap_or(true);
            let is_code = class == Rebuilt::CodeLlama;
            let scheme = if !begins_with_space {
                PrependScheme::Never
            } else if !is_code && settings.flag("legacy")?.unwrap_or(false) {
                PrependScheme::Always
            } else {
                PrependScheme::First
            };
            let mut decoders = sentence_piece_decoders(wrap)?;
            if begins_with_space || is_code {
                decoders.push(Strip::new(' ', 1, 0).into());
            }
            Parts {
                normalizer: None,
                pre_tokenizer: Metaspace::new(SPACE, scheme, false).into(),
                decoder: Decoders::new(decoders).into(),
                fuse_unk: true,
                byte_fallback: true,
                unk_token: is_code.then(unknown),
            }
        }
        Rebuilt::Gemma => {
            let split = Split::new(SplitPattern::String(" ".into()), SplitDelimiterBehavior::MergedWithPrevious, false);
            Parts {
                normalizer: Some(Replace::new(" ", SPACE.to_string()).map_err(wrap)?.into()),
                pre_tokenizer: split.map_err(wrap)?.into(),
                decoder: Decoders::new(sentence_piece_decoders(wrap)?).into(),
                fuse_unk: true,
                byte_fallback: true,
                unk_token: Some(unknown()),
            }
        }
        Rebuilt::Gpt2 => byte_level(None, ByteLevel::new(begins_with_space, true, true).into()),
        Rebuilt::GptNeoX => {
            let trims = settings.flag("trim_offsets")?.unwrap_or(true);
            byte_level(Some(NFC.into()), ByteLevel::new(begins_with_space, trims, true).into())
        }
        Rebuilt::Cohere => {
            let steps = vec![Digits::new(true).into(), ByteLevel::new(begins_with_space, true, true).into()];
            byte_level(Some(NFC.into()), Sequence::new(steps).into())
        }
        Rebuilt::Qwen2 | Rebuilt::Qwen35 => {
            let pattern = if class == Rebuilt::Qwen2 { QWEN2 } else { QWEN35 };
            let pattern = SplitPattern::Regex(pattern.to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(wrap)?;
            let steps = vec![split.into(), ByteLevel::new(begins_with_space, true, false).into()];
            byte_level(Some(NFC.into()), Sequence::new(steps).into())
        }
    })
}

fn sentence_piece_decoders(
    wrap: impl Fn(tokenizers::Error) -> TokenizeError,
) -> Result<Vec<DecoderWrapper>, TokenizeError> {
    let spaces = Replace::new(SPACE.to_string(), " ").map_err(wrap)?;
    Ok(vec![spaces.into(), ByteFallback::new().into(), Fuse::new().into()])
}

/// What comes of a class after its tokens were added.
pub(super) fn finish(class: Rebuilt, tokenizer: &mut Tokenizer, special: &SpecialTokens) -> tokenizers::Result<()> {
    match class {
        Rebuilt::Qwen2 => {
            tokenizer.add_tokens(special.all().into_iter().map(|text| AddedToken::from(text, true)))?;
        }
        // `_post_init`.
        Rebuilt::Cohere => {
            let tokens = special.named.iter().map(|(_, token)| token).chain(&special.extra);
            tokenizer.add_special_tokens(tokens.map(|token| match token {
                Token::Text(text) => AddedToken::from(text.as_str(), true),
                Token::Added(token) => token.clone().special(true),
            }))?;
        }
        _ => {}
    }
    Ok(())
}

/// Names of the parts that a class replaces by others than the file's.
pub(super) fn replaced(saved: &Tokenizer, built: &Tokenizer) -> Result<Vec<&'static str>, serde_json::Error> {
    let mut parts = Vec::new();
    if part(saved.get_normalizer())? != part(built.get_normalizer())? {
        parts.push("normalizer");
    }
    if part(saved.get_pre_tokenizer())? != part(built.get_pre_tokenizer())? {
        parts.push("pre_tokenizer");
    }
    if let (ModelWrapper::BPE(saved), ModelWrapper::BPE(built)) = (saved.get_model(), built.get_model()) {
        let switches = |model: &BPE| (model.ignore_merges, model.byte_fallback);
        if switches(saved) != switches(built) {
            parts.push("model");
        }
    }
    Ok(parts)
}

/// A part as JSON, without what changes no id.
fn part(part: Option<&impl Serialize>) -> Result<Json, serde_json::Error> {
    fn without_offsets(value: &mut Json) {
        match value {
            Json::Object(values) => {
                values.shift_remove("trim_offsets");
                values.values_mut().for_each(without_offsets);
            }
            Json::Array(values) => values.iter_mut().for_each(without_offsets),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(part)?;
    without_offsets(&mut value);
    // A sequence of one step, and one of none, are what is in them.
    for name in ["normalizers", "pretokenizers"] {
        let steps = value.get(name).and_then(Json::as_array);
        if let Some([only]) = steps.map(Vec::as_slice) {
            value = only.clone();
        } else if steps.is_some_and(Vec::is_empty) {
            value = json!(null);
        }
    }
    Ok(value)
}
