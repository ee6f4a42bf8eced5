//! `tokenizer.ggml.pre`: the name under which a GGUF file says how its vocabulary cuts text into words.
//!
//! The patterns are those of the models' own `tokenizer.json`. A name that is not here is refused: a wrong cut changes
//! ids, and with them log-probs, without any error.

use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior};

/// How a byte-level vocabulary expects its text.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextSplit {
    /// Where words end.
    pub(super) pattern: Pattern,
    /// Text is brought to Unicode's composed form first.
    pub(super) composes: bool,
    /// A word that is a token as a whole is that token, whatever its merges would make of it.
    pub(super) ignores_merges: bool,
    /// A text gets a begin token where the file has no flag for it.
    pub(super) begins: bool,
}

/// A way to cut words.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pattern {
    /// GPT-2's pattern.
    Gpt2,
    /// Digits one by one, then GPT-2's pattern on what is between them: white space before a digit stays together.
    DigitsThenGpt2,
    /// A pattern of the model's own.
    Own(&'static str),
}

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// `PRETOKENIZE_REGEX` of Qwen 2 and 3.
pub(super) const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The pattern of Mistral's Tekken.
pub(super) const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const PLAIN: TextSplit = TextSplit { pattern: Pattern::Gpt2, composes: false, ignores_merges: false, begins: false };
const LLAMA3_SPLIT: TextSplit =
    TextSplit { pattern: Pattern::Own(LLAMA3), ignores_merges: true, begins: true, ..PLAIN };
const QWEN2_SPLIT: TextSplit = TextSplit { pattern: Pattern::Own(QWEN2), composes: true, ..PLAIN };

/// Names of the decoder families that `model` knows, as llama.cpp writes them.
const SPLITS: [(&str, TextSplit); 10] = [
    ("gpt-2", PLAIN),
    ("smollm", TextSplit { pattern: Pattern::DigitsThenGpt2, ..PLAIN }),
    ("llama-bpe", LLAMA3_SPLIT),
    ("llama-v3", LLAMA3_SPLIT),
    ("llama3", LLAMA3_SPLIT),
    ("smaug-bpe", TextSplit { ignores_merges: false, begins: false, ..LLAMA3_SPLIT }),
    ("dbrx", TextSplit { ignores_merges: false, begins: false, ..LLAMA3_SPLIT }),
    ("qwen2", QWEN2_SPLIT),
    ("deepseek-r1-qwen", QWEN2_SPLIT),
    ("tekken", TextSplit { pattern: Pattern::Own(TEKKEN), ..LLAMA3_SPLIT }),
];

/// The split of that name.
pub(super) fn find(name: &str) -> Option<TextSplit> {
    SPLITS.iter().find(|(known, _)| *known == name).map(|(_, split)| *split)
}

/// All names, for an error that lists them.
pub(super) fn known() -> Vec<&'static str> {
    SPLITS.iter().map(|(name, _)| *name).collect()
}

impl Pattern {
    /// The pre-tokenizer that cuts so and writes bytes as characters; none of them puts a space before the text.
    pub(super) fn pre_tokenizer(self) -> tokenizers::Result<PreTokenizerWrapper> {
        let gpt2 = ByteLevel::new(false, true, true);
        Ok(match self {
            Self::Gpt2 => gpt2.into(),
            Self::DigitsThenGpt2 => Sequence::new(vec![Digits::new(true).into(), gpt2.into()]).into(),
            Self::Own(pattern) => {
                let pattern = SplitPattern::Regex(pattern.to_owned());
                let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?;
                Sequence::new(vec![split.into(), ByteLevel::new(false, true, false).into()]).into()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

    use super::*;

    #[track_caller]
    fn check(name: &str, text: &str, want: &[&str]) {
        let mut split = PreTokenizedString::from(text);
        find(name).unwrap().pattern.pre_tokenizer().unwrap().pre_tokenize(&mut split).unwrap();
        let found = split.get_splits(OffsetReferential::Original, OffsetType::Byte);
        assert_eq!(found.into_iter().map(|(word, ..)| word.to_owned()).collect::<Vec<_>>(), want, "{name}");
    }

    #[test]
    fn digits_are_cut_as_each_family_does() {
        check("gpt-2", "in  2024\n\n1.", &["in", "Ġ", "Ġ2024", "Ċ", "Ċ", "1", "."]);
        check("smollm", "in  2024\n\n1.", &["in", "ĠĠ", "2", "0", "2", "4", "ĊĊ", "1", "."]);
        check("llama-bpe", "in  2024\n\n1.", &["in", "Ġ", "Ġ", "202", "4", "ĊĊ", "1", "."]);
        check("qwen2", "in  2024\n\n1.", &["in", "Ġ", "Ġ", "2", "0", "2", "4", "ĊĊ", "1", "."]);
        check("tekken", "in  2024\n\n1.", &["in", "Ġ", "Ġ", "2", "0", "2", "4", "ĊĊ", "1", "."]);
    }

    #[test]
    fn words_and_contractions_are_cut_as_each_family_does() {
        check("gpt-2", "They'RE “ok”\t x", &["They", "'", "RE", "ĠâĢľ", "ok", "âĢĿ", "ĉ", "Ġx"]);
        check("llama3", "They'RE don't", &["They", "'RE", "Ġdon", "'t"]);
        check("tekken", "camelCase", &["camel", "Case"]);
    }

    #[test]
    fn nothing_gets_a_space_in_front() {
        for (name, _) in SPLITS {
            check(name, "a", &["a"]);
        }
    }
}
