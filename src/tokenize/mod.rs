//! Text to token ids.
mod boundary;
mod error;
mod folder;
mod gguf;
mod gguf_split;
mod pair_tokenizer;
mod pass_through;
mod store;
mod store_rows;
mod template;
mod template_date;
mod template_json;
mod template_methods;
mod tokenizer_files;
mod truncation;

pub use error::{RejectReason, Side, TemplateError, TokenizeError};
pub use pair_tokenizer::{BOUNDARY_RULE, EOS_RULE, PairTokenizer, Rules, TokenizedPair, TokensId};
pub use pass_through::{PassThrough, PassThroughKind};
pub use store::{StoreWriter, TokenStore};
pub use template::{ChatTemplate, Ending, TemplateInput};
pub use template_date::{ParseTemplateDateError, TemplateDate};
pub use tokenizer_files::TokenizerFiles;
pub use truncation::TruncationMode;
