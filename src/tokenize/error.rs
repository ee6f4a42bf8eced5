//! What can stop tokenisation, and what can be wrong with one pair.

use std::fmt;
use std::path::PathBuf;

use crate::data::RejectKind;
use crate::error::{Hint, nearest};
use crate::io::IoError;
use crate::model_source::ModelSourceError;
use crate::spool::SpoolError;

/// Why a model's tokenizer cannot be used, or why no pair of this kind can be tokenised with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizeError {
    /// A model folder without a tokenizer.
    #[error("model folder `{}` has no `tokenizer.json`", folder.display())]
    NoTokenizer {
        /// The folder.
        folder: PathBuf,
    },
    /// A `tokenizer.json` the tokenizers library cannot read.
    #[error("`{}` is not a tokenizer: {source}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What the library says.
        source: tokenizers::Error,
    },
    /// A token far behind the others.
    #[error("`{}`: a token has the id {found}, expected ids below {limit}", path.display())]
    LargeId {
        /// The file.
        path: PathBuf,
        /// What ids are below.
        limit: u32,
        /// The largest one.
        found: u32,
    },
    /// A regular expression that goes back and forth over a text.
    #[error(
        "`{}`: its regular expressions take {found:.0?} for a line of {length} times {character:?}, expected at most {limit:.0?}",
        path.display()
    )]
    SlowPattern {
        /// The file.
        path: PathBuf,
        /// Characters of the line.
        length: usize,
        /// The character.
        character: char,
        /// Longest time that is allowed.
        limit: std::time::Duration,
        /// How long it took.
        found: std::time::Duration,
    },
    /// A tokenizer that puts many ids around every text.
    #[error("`{}`: its post-processor puts {found} ids around a text, expected at most {limit}", path.display())]
    AddedIds {
        /// The file.
        path: PathBuf,
        /// Most ids that are allowed.
        limit: usize,
        /// How many there are.
        found: usize,
    },
    /// A tokenizer that makes a long text of a short one.
    #[error("`{}`: its {part} may make {found} bytes of one, expected at most {limit}", path.display())]
    Growth {
        /// The file.
        path: PathBuf,
        /// Which part of the tokenizer.
        part: &'static str,
        /// Most bytes that are allowed.
        limit: f64,
        /// What its steps multiply to.
        found: f64,
    },
    /// A file beside the tokenizer that is not the JSON object it should be.
    #[error("`{}` is not a JSON object: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Where it stops being one.
        #[source]
        source: serde_json::Error,
    },
    /// A setting of another type than it has.
    #[error("`{}`: `{key}` is {found}, expected {expected}", path.display())]
    Setting {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A setting that changes ids in a way piref does not follow.
    #[error("`{}`: `{key}` is not supported: {reason}", path.display())]
    NotHonoured {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What it would do.
        reason: &'static str,
    },
    /// Two added tokens that the normalizer makes the same.
    #[error(
        "`{}`: the added tokens `{}` and `{}` are the same text after its normalizer, so that it is chance which of them a \
         text has",
        path.display(), tokens[0], tokens[1]
    )]
    EqualTokens {
        /// The tokenizer.
        path: PathBuf,
        /// Their texts.
        tokens: [String; 2],
    },
    /// A class of transformers that does not take `tokenizer.json` as it is, and that piref does not build.
    #[error(
        "`{}`: `tokenizer_class` is `{class}`, which transformers builds another tokenizer for than `tokenizer.json` says",
        path.display()
    )]
    ClassNotBuilt {
        /// The file that names it.
        path: PathBuf,
        /// The class.
        class: String,
    },
    /// A class that needs another vocabulary than the file has.
    #[error("`{}`: expected a BPE vocabulary without a prefix of subwords for `{class}`", path.display())]
    ClassWithoutBpe {
        /// The tokenizer.
        path: PathBuf,
        /// The class.
        class: &'static str,
    },
    /// A tokenizer in Python code.
    #[error("`{}`: `auto_map` names `{class}`, Python code that piref does not run", path.display())]
    OwnCode {
        /// The file that names it.
        path: PathBuf,
        /// The class.
        class: String,
    },
    /// A metadata key of a GGUF file that is missing or of another type.
    #[error("GGUF file `{}`: expected {expected} under `{key}`", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What should be there.
        expected: &'static str,
    },
    /// A metadata value of a GGUF file that names something piref has no tokenizer for.
    #[error("GGUF file `{}`: `{key}` is `{found}`, expected one of {}", path.display(), known.join(", "))]
    UnknownTokenizer {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// Values there is code for.
        known: Vec<&'static str>,
    },
    /// Vocabulary and merges of a GGUF file that do not make a tokenizer.
    #[error("GGUF file `{}`: its vocabulary makes no tokenizer: {source}", path.display())]
    Vocabulary {
        /// The file.
        path: PathBuf,
        /// What the tokenizers library says.
        source: tokenizers::Error,
    },
    /// A chat template that does not parse.
    #[error("chat template of `{}`, {error}", model.display())]
    Template {
        /// The model.
        model: PathBuf,
        /// Line and reason.
        error: TemplateError,
    },
    /// Conversations without tools, and a model whose templates are for others.
    #[error("`{}` has chat templates called {}, and none called default", model.display(), known.join(", "))]
    NoDefaultTemplate {
        /// The model.
        model: PathBuf,
        /// Names of its templates.
        known: Vec<String>,
    },
    /// Conversations, and a model that does not say how to write them down.
    #[error("the data has messages, and `{}` has no chat template", model.display())]
    NoTemplate {
        /// The model.
        model: PathBuf,
    },
    /// Plain strings, and a model that has no token to end them.
    #[error("the data has plain strings, and `{}` names no end token to put after a completion", model.display())]
    NoEnd {
        /// The model.
        model: PathBuf,
    },
    /// A text the tokenizers library cannot encode.
    #[error("the tokenizer of `{}` cannot encode a text: {source}", model.display())]
    Encode {
        /// The model.
        model: PathBuf,
        /// What the library says.
        source: tokenizers::Error,
    },
    /// Token ids the tokenizers library cannot decode.
    #[error("the tokenizer of `{}` cannot decode token ids: {source}", model.display())]
    Decode {
        /// The model.
        model: PathBuf,
        /// What the library says.
        source: tokenizers::Error,
    },
    /// Rows that make no batch of the token store.
    #[error("token store: {source}")]
    Store {
        /// What Arrow says.
        source: arrow::error::ArrowError,
    },
    /// The disk under the token store.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A row that no Arrow array takes.
    #[error("`{}`, row {row_idx}: expected at most a gigabyte of text and token ids, found {n_bytes} bytes", path.display())]
    RowTooLarge {
        /// The data file.
        path: PathBuf,
        /// Row in it, from 0.
        row_idx: u64,
        /// Size of the row.
        n_bytes: usize,
    },
    /// What cannot happen.
    #[error("internal error: {what}; please report it")]
    Internal {
        /// What happened.
        what: String,
    },
    /// Where the model is.
    #[error(transparent)]
    Source(#[from] ModelSourceError),
    /// A file of the model.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl Hint for TokenizeError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoTokenizer { .. } => {
                Some("load the model once in transformers and `save_pretrained` it: that writes `tokenizer.json`".into())
            }
            Self::NoTemplate { .. } => Some(
                "put a `chat_template.jinja` into the model folder, name an instruction-tuned model, or give the data as \
                 plain strings"
                    .into(),
            ),
            Self::NoDefaultTemplate { .. } => Some(
                "call the one for conversations without tools `default`, or put it into `chat_template.jinja`".into(),
            ),
            Self::ClassNotBuilt { .. } => Some(
                "if `tokenizer.json` is right as it is, write `TokenizersBackend` as `tokenizer_class` in a copy of the \
                 folder: transformers then takes it so, too"
                    .into(),
            ),
            Self::EqualTokens { .. } => {
                Some("set `normalized` to false for both, in a copy of the folder, or take one of them out".into())
            }
            Self::OwnCode { .. } => Some(
                "if `tokenizer.json` alone makes the same ids, take `auto_map` out of `tokenizer_config.json` in a copy of \
                 the folder"
                    .into(),
            ),
            Self::NoEnd { model } if model.extension().is_some_and(|extension| extension == "gguf") => {
                Some("use the model's Hugging Face folder, and name it as `eos_token` in `tokenizer_config.json`".into())
            }
            Self::NoEnd { .. } => Some(
                "name it as `eos_token` in `tokenizer_config.json`: an id in `config.json` or `generation_config.json` names \
                 no token to a tokenizer"
                    .into(),
            ),
            Self::UnknownTokenizer { found, known, .. } => Some(match nearest(found, known.iter().copied()) {
                Some(word) => format!("`{word}` is supported; else use the model's Hugging Face folder"),
                None => "use the model's Hugging Face folder: its `tokenizer.json` says everything".into(),
            }),
            Self::Spool(error) => error.hint(),
            Self::Source(error) => error.hint(),
            Self::Io(error) => error.hint(),
            _ => None,
        }
    }
}

/// What is wrong in a chat template or with the messages given to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct TemplateError {
    /// 1-based line of the template.
    pub line: usize,
    /// What happened there.
    pub reason: String,
}

/// The answer a reason is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The preferred completion.
    Chosen,
    /// The other one.
    Rejected,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chosen => "chosen",
            Self::Rejected => "rejected",
        })
    }
}

/// Why a pair cannot be scored. It goes to the rejects, with this as its reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RejectReason {
    /// No prompt token: nothing predicts the first token of a completion.
    #[error("its prompt has no tokens, so nothing predicts the first token of a completion")]
    EmptyPrompt,
    /// The first token of prompt and answer differs from the first of the prompt alone.
    #[error("its prompt of {prompt_tokens} tokens merges into the {side} answer as a whole, no prompt token is left")]
    MergedPrompt {
        /// Tokens of the prompt alone.
        prompt_tokens: usize,
        /// The answer it merges with.
        side: Side,
    },
    /// A completion without a token, as some templates make of no message.
    #[error("its {side} answer has no tokens")]
    EmptyCompletion {
        /// Which.
        side: Side,
    },
    /// Keep-start truncation would leave no completion.
    #[error("its prompt alone fills max_length {max_length} (prompt has {prompt_tokens} tokens)")]
    PromptTooLong {
        /// The limit.
        max_length: usize,
        /// Tokens of the prompt.
        prompt_tokens: usize,
    },
    /// Keep-end truncation would leave no prompt.
    #[error("its {side} answer alone fills max_length {max_length} (it has {completion_tokens} tokens)")]
    CompletionTooLong {
        /// The limit.
        max_length: usize,
        /// Which answer.
        side: Side,
        /// Its tokens.
        completion_tokens: usize,
    },
    /// A conversation without an answer.
    #[error("it has no token to learn: no answer of the assistant")]
    NothingToLearn,
    /// Truncation would leave no token of an answer.
    #[error("no answer lies within max_length {max_length} (it has {n_tokens} tokens)")]
    NoAnswerWithin {
        /// The limit.
        max_length: usize,
        /// Tokens before truncation.
        n_tokens: usize,
    },
    /// A template it names, and the model does not have.
    #[error("its `chat_template` is `{found}`, expected one of {}", known.join(", "))]
    UnknownTemplate {
        /// The name.
        found: String,
        /// Names of the model's templates.
        known: Vec<String>,
    },
    /// The template stopped at these messages.
    #[error("chat template, {0}")]
    Template(TemplateError),
    /// An answer that the template leaves out of its text.
    #[error(
        "the chat template leaves out of its {side} answer what it says: {what}{}",
        if *reads_parts { "; it reads content in parts, `[{\"type\": \"text\", \"text\": …}]`" } else { "" }
    )]
    NotPrinted {
        /// The answer.
        side: Side,
        /// What was looked for.
        what: String,
        /// Whether the template prints it where content is a list of parts.
        reads_parts: bool,
    },
    /// A text the tokenizers library cannot encode.
    #[error("the tokenizer cannot encode it: {reason}")]
    Encode {
        /// What the library says.
        reason: String,
    },
    /// Tools given as text that is not JSON.
    #[error("its tools are not JSON: {reason}")]
    Tools {
        /// Where they stop being it.
        reason: String,
    },
}

impl RejectReason {
    /// Whether the row is no pair, or is one that does not fit.
    pub fn kind(&self) -> RejectKind {
        match self {
            Self::PromptTooLong { .. } | Self::CompletionTooLong { .. } | Self::NoAnswerWithin { .. } => {
                RejectKind::Overlong
            }
            _ => RejectKind::Malformed,
        }
    }
}
