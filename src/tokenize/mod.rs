//! Text to token ids.
mod boundary;
mod error;
mod folder;
mod gguf;
mod gguf_split;
mod model_tokenizer;
mod pair_tokenizer;
mod save;
mod template;
mod template_date;
mod template_json;
mod template_methods;
mod truncation;

pub use error::{RejectReason, Side, TemplateError, TokenizeError};
pub use model_tokenizer::ModelTokenizer;
pub use pair_tokenizer::{PairTokenizer, Rules, TokenizedPair, TokensId};
pub use template::{ChatTemplate, Ending, TemplateInput};
pub use template_date::{ParseTemplateDateError, TemplateDate};
pub use truncation::TruncationMode;
