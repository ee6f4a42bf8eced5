//! Text to token ids, by TRL's rules, with every departure said.
//!
//! [`PairTokenizer`] makes a [`TokenizedPair`] of a preference pair: texts (plain, or rendered by the model's
//! [`ChatTemplate`]) are tokenised jointly, prompt + completion, cut apart where a completion starts, and truncated.
//! [`PromptTokenizer`] makes the ids of a prompt alone, for an answer to follow.
//! [`StoreWriter`] keeps the result of a whole data set in a file, [`TokenStore`] maps it.
//!
//! What TRL 1.16 does and this does not: a pair whose prompt has no token is rejected (TRL leaves the first completion
//! token unscored), and [`TruncationMode::KeepEnd`] cuts the prompt once for both answers.
//!
//! Invariant: the ids in a [`TokenizedPair`] are those that are scored. Nothing downstream tokenises again.

mod boundary;
mod conversation;
mod end_tokens;
mod error;
mod folder;
mod gguf;
mod gguf_split;
mod growth;
mod jinja;
mod named_templates;
mod pair_tokenizer;
mod pass_through;
mod patterns;
mod printed;
mod prompt_tokenizer;
mod remarks;
mod sequence_tokenizer;
mod store;
mod store_rows;
mod template;
mod template_date;
mod tokenizer_files;
mod truncation;

pub use end_tokens::end_tokens;
pub use error::{RejectReason, Side, TemplateError, TokenizeError};
pub use named_templates::ChatTemplates;
pub use pair_tokenizer::{BOUNDARY_RULE, EOS_RULE, PairTokenizer, Rules, TokenizedPair, TokensId};
pub use pass_through::{PassThrough, PassThroughKind};
pub use prompt_tokenizer::PromptTokenizer;
pub use sequence_tokenizer::{Masking, Sequence, SequenceTokenizer, Tokenized};
pub use store::{StoreWriter, TokenStore};
pub use template::{ChatTemplate, Ending, TemplateInput};
pub use template_date::{ParseTemplateDateError, TemplateDate};
pub use tokenizer_files::TokenizerFiles;
pub use truncation::TruncationMode;
