//! Token ids after token ids.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use candle_core::Tensor;
use serde::Serialize;

use super::cached::{self, Cached};
use super::error::GenerateError;
use super::sampling::{Sampler, Sampling};
use super::uncached;
use crate::digest::Digest;
use crate::model::{Decoder, DecoderConfig, ModelError};
use crate::ops::Backend;
use crate::policy::PolicySource;

/// Positions of a model that does not say how many it was made for.
const UNSAID_LENGTH: usize = 8192;

/// How an answer is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// The rule a token is drawn by.
    pub sampling: Sampling,
    /// Most tokens of an answer, its end token included.
    pub max_new_tokens: NonZeroUsize,
    /// Seed of the draws. Each prompt has a generator of its own, from this seed and its ids.
    pub seed: u64,
}

/// Why an answer is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// The model has ended it.
    Stop,
    /// It has as many tokens as were asked for, or as the model has positions.
    Length,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// Its tokens, with the one that ended it.
    pub ids: Vec<u32>,
    /// Why it is over.
    pub finish_reason: FinishReason,
    /// Time until its first token: the prompt was read.
    pub prompt_time: Duration,
    /// Time for the others.
    pub time: Duration,
}

impl Completion {
    /// Its tokens without the one that ended it.
    pub fn answer(&self) -> &[u32] {
        match (self.finish_reason, self.ids.split_last()) {
            (FinishReason::Stop, Some((_, answer))) => answer,
            _ => &self.ids,
        }
    }
}

/// A model that completes token ids, one text at a time.
pub struct Generator {
    model: Decoder,
    cached: Option<Cached>,
    ends: BTreeSet<u32>,
    max_length: usize,
}

impl Generator {
    /// Loads a policy; an adapter is added to the weights of its base model. After one of the ids in `ends`
    /// ([`PromptTokenizer::ends`](crate::tokenize::PromptTokenizer::ends)) an answer is over.
    ///
    /// # Errors
    /// If the model or the adapter cannot be loaded.
    pub fn load(policy: &PolicySource, ends: BTreeSet<u32>, backend: &Backend) -> Result<Self, GenerateError> {
        Self::new(&policy.load(backend)?, ends)
    }

    /// Of a model in memory, whose weights are shared; an adapter is added to a copy of those it changes. To be made anew
    /// after an optimiser step.
    ///
    /// # Errors
    /// Only if a tensor operation fails.
    pub fn new(model: &Decoder, ends: BTreeSet<u32>) -> Result<Self, GenerateError> {
        let model = model.clone().merged()?;
        let max_length = max_length(model.config());
        let cached = match cached::unserved(model.config()) {
            None => Some(Cached::new(&model, max_length)?),
            Some(_) => None,
        };
        Ok(Self { model, cached, ends, max_length })
    }

    /// Most tokens of prompt and answer together: the positions the model was made for.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Why a text of this many tokens, prompt and answer, is read again for each of its tokens; `None` where it is not.
    pub fn slow_because(&self, n_tokens: usize) -> Option<String> {
        match (cached::unserved(self.model.config()), &self.cached) {
            (Some(reason), _) => Some(reason.to_owned()),
            (None, Some(cached)) if n_tokens.min(self.max_length) > cached.limit() => Some(format!(
                "candle-transformers' decoder is right up to {} tokens, the sliding window or its tables",
                cached.limit()
            )),
            (None, _) => None,
        }
    }

    /// Completes a prompt.
    ///
    /// # Errors
    /// If the prompt is empty, leaves no room for an answer or has ids the model does not know, or if the model computes
    /// no finite numbers.
    pub fn complete(&mut self, prompt_ids: &[u32], settings: &Settings) -> Result<Completion, GenerateError> {
        match self.complete_while(prompt_ids, settings, &mut |_| ControlFlow::<Infallible>::Continue(()))? {
            ControlFlow::Continue(completion) => Ok(completion),
            ControlFlow::Break(never) => match never {},
        }
    }

    /// The same, telling `observe` the answer so far after each token, which may break off.
    ///
    /// # Errors
    /// As [`complete`](Self::complete).
    pub fn complete_while<B>(
        &mut self,
        prompt_ids: &[u32],
        settings: &Settings,
        observe: &mut dyn FnMut(&[u32]) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B, Completion>, GenerateError> {
        let n_prompt = prompt_ids.len();
        let room = self.max_length.saturating_sub(n_prompt);
        if room == 0 {
            return Err(GenerateError::PromptTooLong { n_tokens: n_prompt, max_length: self.max_length });
        }
        let n_most = settings.max_new_tokens.get().min(room);
        let started = Instant::now();
        let mut reader = Reader::new(&self.model, self.cached.as_mut(), prompt_ids, n_prompt + n_most)?;
        let mut sampler = Sampler::new(settings.sampling, prompt_seed(settings.seed, prompt_ids));
        let mut ids = prompt_ids.to_vec();
        let mut prompt_time = Duration::ZERO;
        loop {
            let logits = reader.logits_after(&ids)?;
            let id = sampler.draw(&logits).map_err(ModelError::tensor("drawing a token"))?;
            if ids.len() == n_prompt {
                prompt_time = started.elapsed();
            }
            ids.push(id);
            let answer = &ids[n_prompt..];
            let finish_reason = if self.ends.contains(&id) {
                Some(FinishReason::Stop)
            } else {
                (answer.len() == n_most).then_some(FinishReason::Length)
            };
            if let ControlFlow::Break(reason) = observe(answer) {
                return Ok(ControlFlow::Break(reason));
            }
            if let Some(finish_reason) = finish_reason {
                let time = started.elapsed().saturating_sub(prompt_time);
                let ids = ids.split_off(n_prompt);
                return Ok(ControlFlow::Continue(Completion { ids, finish_reason, prompt_time, time }));
            }
        }
    }

    /// Logits of the token after these, by the decoder that completes them. // (V)
    ///
    /// # Errors
    /// As [`complete`](Self::complete).
    pub fn next_logits(&mut self, ids: &[u32]) -> Result<Vec<f32>, GenerateError> {
        let logits = Reader::new(&self.model, self.cached.as_mut(), ids, ids.len())?.logits_after(ids)?;
        Ok(logits.to_vec1().map_err(ModelError::tensor("reading logits"))?)
    }
}

/// Reads one text, token by token.
enum Reader<'a> {
    Cached { cached: &'a mut Cached, n_read: usize },
    Uncached(&'a Decoder),
}

impl<'a> Reader<'a> {
    /// Of a text that begins with `ids` and has at most `length` tokens.
    fn new(
        model: &'a Decoder,
        cached: Option<&'a mut Cached>,
        ids: &[u32],
        length: usize,
    ) -> Result<Self, GenerateError> {
        if ids.is_empty() {
            return Err(GenerateError::EmptyPrompt);
        }
        let vocab_size = model.config().vocab_size;
        if let Some(&id) = ids.iter().find(|id| **id as usize >= vocab_size) {
            return Err(ModelError::TokenOutOfRange { id, vocab_size }.into());
        }
        match cached {
            Some(cached) if length <= cached.limit() => {
                cached.reset(length).map_err(ModelError::tensor("clearing a cache"))?;
                Ok(Self::Cached { cached, n_read: 0 })
            }
            _ => Ok(Self::Uncached(model)),
        }
    }

    /// Logits after the whole text, which has grown since the last call. // (V)
    fn logits_after(&mut self, ids: &[u32]) -> Result<Tensor, GenerateError> {
        let logits = match self {
            Self::Cached { cached, n_read } => {
                let logits = cached.read(&ids[*n_read..], *n_read).map_err(ModelError::tensor("reading a token"))?;
                *n_read = ids.len();
                logits
            }
            Self::Uncached(model) => uncached::next_logits(model, ids)?,
        };
        // One number that is not finite makes the sum so.
        let sum = logits.sum_all().and_then(|sum| sum.to_scalar::<f32>());
        match sum.map_err(ModelError::tensor("checking logits"))? {
            sum if sum.is_finite() => Ok(logits),
            _ => Err(GenerateError::NotFinite { n_tokens: ids.len() }),
        }
    }
}

/// Most tokens of prompt and answer together.
pub(super) fn max_length(config: &DecoderConfig) -> usize {
    config.max_position_embeddings.unwrap_or(UNSAID_LENGTH)
}

/// Seed of the draws of one prompt: by its ids, not by its place, so that it has the same answer in any company.
fn prompt_seed(seed: u64, prompt_ids: &[u32]) -> u64 {
    let ids: Vec<u8> = prompt_ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let digest = Digest::of_parts([("seed", seed.to_le_bytes().as_slice()), ("prompt", &ids)]);
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest.as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}
