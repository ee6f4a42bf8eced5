//! Answers drawn from a model: candle-transformers' decoders with their cache of keys and values, where they compute
//! what ours computes, and our own forward, token by token over the whole text, where they do not.
//!
//! Invariant: what is drawn follows the logits of the decoder that is scored and trained. A configuration that a decoder
//! of candle-transformers would read differently never reaches it (see `cached`), and tests hold the logits of those that
//! do to ours. A draw depends on the seed and on the ids of the prompt, not on other prompts or their order.
//!
//! [`Generator`] completes token ids, of a model on disk or of one in memory, be it in training; [`run()`] makes prompts of
//! texts and files, and answers of them.
//!
//! # Not supported
//! The sampling settings of `generation_config.json` (temperature, penalties, …): what is not asked for is not applied, so
//! that by default the draws are those of the model's own distribution. candle's decoders of quantised weights: they round
//! activations to eight bits, and so are another model than the one whose log-probs are in a table.

mod cached;
mod error;
mod generator;
mod prompts;
mod run;
mod sampling;
mod uncached;

#[cfg(test)]
mod tests;

pub use error::GenerateError;
pub use generator::{Completion, FinishReason, Generator, Settings};
pub use prompts::{PlainText, Prompts};
pub use run::{Event, Outcome, Plan, Row, Streaming, Summary, run};
pub use sampling::Sampling;
