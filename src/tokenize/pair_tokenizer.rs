//! Pairs to token ids, by the rules of one model and one plan.

use std::fmt;

use serde_json::{Map, Value as Json};
use tokenizers::Encoding;

use super::boundary::{SplitPair, split};
use super::conversation::Conversation;
use super::error::{RejectReason, Side, TokenizeError};
use super::named_templates::ChatTemplates;
use super::remarks::Remarks;
use super::template::{ChatTemplate, Ending};
use super::template_date::TemplateDate;
use super::tokenizer_files::TokenizerFiles;
use super::truncation::{TruncationMode, truncate};
use crate::data::{Message, PairText, PreferencePair};
use crate::digest::Id;
use crate::guard;
use crate::model_source::ModelSource;

/// How the end token gets into a completion, for a table's provenance.
pub const EOS_RULE: &str = "plain strings: the end token is appended unless the completion ends with it; messages: what \
                            the chat template writes, nothing is appended";

/// Where a completion starts, for a table's provenance.
pub const BOUNDARY_RULE: &str = "prompt and completion are tokenised together; the completion starts where either of the \
                                 pair's joint texts leaves the tokens of the prompt alone";

/// Pairs tokenised at once: enough texts for every core, little memory.
const CHUNK: usize = 256;

/// Bytes of the pairs tokenised at once, but for one pair that is larger: a token takes a hundred bytes on the way.
const CHUNK_BYTES: usize = 1 << 20;

/// What a plan says about tokenisation; all of it is in the provenance of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Most tokens of prompt and completion together; `usize::MAX` for no limit.
    pub max_length: usize,
    /// Which end is kept of what is longer.
    pub truncation_mode: TruncationMode,
    /// The date a chat template prints.
    pub template_date: TemplateDate,
}

impl Rules {
    /// Most tokens of prompt and completion together, where there is a limit.
    pub fn limit(self) -> Option<u64> {
        u64::try_from(self.max_length).ok().filter(|_| self.max_length != usize::MAX)
    }

    /// Cuts ids that another program made of a pair, as the pair's own are cut; `[prompt, chosen, rejected]`.
    ///
    /// # Errors
    /// If one of them is empty, or `max_length` leaves nothing to score.
    pub fn cut(self, [prompt_ids, chosen_ids, rejected_ids]: [Vec<u32>; 3]) -> Result<TokenizedPair, RejectReason> {
        if prompt_ids.is_empty() {
            return Err(RejectReason::EmptyPrompt);
        }
        for (side, ids) in [(Side::Chosen, &chosen_ids), (Side::Rejected, &rejected_ids)] {
            if ids.is_empty() {
                return Err(RejectReason::EmptyCompletion { side });
            }
        }
        self.cut_split(SplitPair { prompt_ids, chosen_ids, rejected_ids, boundary_moved: 0 })
    }

    fn cut_split(self, mut pair: SplitPair) -> Result<TokenizedPair, RejectReason> {
        let cuts = truncate(&mut pair, self.max_length, self.truncation_mode)?;
        let SplitPair { prompt_ids, chosen_ids, rejected_ids, boundary_moved } = pair;
        Ok(TokenizedPair {
            tokens_id: TokensId::of(&prompt_ids, &chosen_ids, &rejected_ids),
            prompt_ids,
            chosen_ids,
            rejected_ids,
            prompt_cut: count(cuts.prompt),
            chosen_cut: count(cuts.chosen),
            rejected_cut: count(cuts.rejected),
            boundary_moved: count(boundary_moved),
        })
    }
}

/// `tokens_id`: BLAKE3-128 of the three id lists; equal ids have equal log-probs under one model.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokensId(Id);

impl TokensId {
    /// Id of the tokens that are scored.
    pub fn of(prompt_ids: &[u32], chosen_ids: &[u32], rejected_ids: &[u32]) -> Self {
        let parts = [prompt_ids, chosen_ids, rejected_ids]
            .map(|ids| ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>());
        Self(Id::of_parts("tokens", parts.iter().map(Vec::as_slice)))
    }
}

impl fmt::Display for TokensId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TokensId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokensId({self})")
    }
}

/// A pair as it is scored. Every list has at least one token, and every id is below the vocabulary's size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizedPair {
    /// The prompt both completions follow, chat template included.
    pub prompt_ids: Vec<u32>,
    /// The preferred completion, end token included.
    pub chosen_ids: Vec<u32>,
    /// The other completion, end token included.
    pub rejected_ids: Vec<u32>,
    /// Prompt tokens dropped by truncation.
    pub prompt_cut: u32,
    /// Tokens of the preferred completion dropped by truncation.
    pub chosen_cut: u32,
    /// Tokens of the other completion dropped by truncation.
    pub rejected_cut: u32,
    /// Tokens of the prompt alone that joint tokenisation replaced: they are part of the completions.
    pub boundary_moved: u32,
    /// Id of the three lists.
    pub tokens_id: TokensId,
}

/// A model's tokenizer and chat template under a plan's rules.
#[derive(Debug)]
pub struct PairTokenizer {
    files: TokenizerFiles,
    templates: Option<ChatTemplates>,
    rules: Rules,
    remarks: Remarks,
}

/// The three texts of a pair that are tokenised.
struct JointTexts {
    prompt: String,
    prompt_chosen: String,
    prompt_rejected: String,
    /// Whether the tokenizer frames them with its own special tokens; a template has already written them.
    frame: SpecialTokens,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SpecialTokens {
    FromTokenizer,
    FromTemplate,
}

impl PairTokenizer {
    /// Loads the tokenizer and the chat template of a model.
    pub fn load(source: &ModelSource, rules: Rules) -> Result<Self, TokenizeError> {
        Self::new(TokenizerFiles::load(source)?, rules)
    }

    /// Takes a tokenizer that is loaded already, and parses its chat template.
    pub fn new(files: TokenizerFiles, rules: Rules) -> Result<Self, TokenizeError> {
        let templates = files.chat_templates(rules.template_date)?;
        Ok(Self { files, templates, rules, remarks: Remarks::default() })
    }

    /// Tokenizer, special tokens and template source.
    pub fn files(&self) -> &TokenizerFiles {
        &self.files
    }

    /// The parsed chat template of conversations without tools, if the model has one.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.templates.as_ref()?.default_template()
    }

    /// What the chat template did to answers of the pairs so far that a user may not expect, in words.
    pub fn remarks(&self) -> Vec<String> {
        self.remarks.lines("pairs")
    }

    /// Tokenises one pair.
    ///
    /// # Errors
    /// The outer error says that no pair of this kind can be tokenised: the run cannot go on. The inner one is about
    /// this pair.
    pub fn tokenize(&self, pair: &PreferencePair) -> Result<Result<TokenizedPair, RejectReason>, TokenizeError> {
        let mut results = self.tokenize_batch(std::slice::from_ref(pair))?;
        results.pop().ok_or_else(|| TokenizeError::Internal { what: "no result for a pair".into() })
    }

    /// Tokenises pairs over all cores; results are in the order of the pairs, and the same as one by one.
    ///
    /// # Errors
    /// As [`tokenize`](Self::tokenize).
    pub fn tokenize_batch(
        &self,
        pairs: &[PreferencePair],
    ) -> Result<Vec<Result<TokenizedPair, RejectReason>>, TokenizeError> {
        let mut results = Vec::with_capacity(pairs.len());
        let mut rest = pairs;
        while !rest.is_empty() {
            let chunk;
            (chunk, rest) = rest.split_at(chunk_length(rest));
            let texts: Vec<Result<JointTexts, RejectReason>> =
                chunk.iter().map(|pair| self.texts(pair)).collect::<Result<_, _>>()?;
            match self.encode_chunk(&texts) {
                Ok(ids) => results.extend(ids),
                // The library says no more than that one of the texts was too much for it: find out which.
                Err(_) => results.extend(texts.iter().map(|texts| self.encode_alone(texts))),
            }
        }
        if results.len() != pairs.len() {
            return Err(TokenizeError::Internal { what: "a pair without a result".into() });
        }
        Ok(results)
    }

    /// Ids of the pairs of a chunk, in its order.
    fn encode_chunk(
        &self,
        texts: &[Result<JointTexts, RejectReason>],
    ) -> tokenizers::Result<Vec<Result<TokenizedPair, RejectReason>>> {
        let mut framed = self.encode(texts, SpecialTokens::FromTokenizer)?;
        let mut unframed = self.encode(texts, SpecialTokens::FromTemplate)?;
        texts
            .iter()
            .map(|texts| match texts {
                Ok(texts) => {
                    let ids = match texts.frame {
                        SpecialTokens::FromTokenizer => framed.next(),
                        SpecialTokens::FromTemplate => unframed.next(),
                    };
                    Ok(self.cut(ids.ok_or("a text without ids")?))
                }
                Err(reason) => Ok(Err(reason.clone())),
            })
            .collect()
    }

    fn encode_alone(&self, texts: &Result<JointTexts, RejectReason>) -> Result<TokenizedPair, RejectReason> {
        let refused = |error: tokenizers::Error| RejectReason::Encode { reason: error.to_string() };
        let ids = self.encode_chunk(std::slice::from_ref(texts)).map_err(refused)?;
        ids.into_iter().next().unwrap_or_else(|| Err(RejectReason::Encode { reason: "no ids".into() }))
    }

    /// What TRL tokenises for this pair.
    fn texts(&self, pair: &PreferencePair) -> Result<Result<JointTexts, RejectReason>, TokenizeError> {
        match &pair.text {
            PairText::Plain { prompt, chosen, rejected } => {
                let eos =
                    self.files.eos_token().ok_or_else(|| TokenizeError::NoEnd { model: self.files.path.clone() })?;
                let joint = |completion: &str| {
                    // On the text, before tokenisation: `</s>` at the end of an answer is not doubled.
                    let end = if completion.ends_with(eos) { "" } else { eos };
                    [prompt, completion, end].concat()
                };
                Ok(Ok(JointTexts {
                    prompt: prompt.clone(),
                    prompt_chosen: joint(chosen),
                    prompt_rejected: joint(rejected),
                    frame: SpecialTokens::FromTokenizer,
                }))
            }
            PairText::Messages { prompt, chosen, rejected, tools } => {
                let Some(templates) = &self.templates else {
                    return Err(TokenizeError::NoTemplate { model: self.files.path.clone() });
                };
                if prompt.is_empty() {
                    return Ok(Err(RejectReason::EmptyPrompt));
                }
                let variables = pair.extra.get("chat_template_kwargs").and_then(Json::as_object);
                Ok(match templates.select(tools.as_ref(), variables)? {
                    Ok(template) => self.rendered(template, [prompt, chosen, rejected], tools.as_ref(), variables),
                    Err(reason) => Err(reason),
                })
            }
        }
    }

    fn rendered(
        &self,
        template: &ChatTemplate,
        [prompt, chosen, rejected]: [&Vec<Message>; 3],
        tools: Option<&Json>,
        variables: Option<&Map<String, Json>>,
    ) -> Result<JointTexts, RejectReason> {
        let [joint_chosen, joint_rejected] = [chosen, rejected].map(|answer| [prompt.as_slice(), answer].concat());
        let conversation = Conversation::new(template, &self.files.special_tokens, tools, variables)?
            .fitted(&[&joint_chosen, &joint_rejected]);
        let before = conversation.render(prompt, Ending::GenerationPrompt)?;
        let joint = |side: Side, answer: &[Message], turns: &[Message]| {
            let text = conversation.render(turns, Ending::LastMessage)?;
            conversation.check_printed([prompt, answer], side, &before, &text)?;
            Ok(text)
        };
        let prompt_chosen = joint(Side::Chosen, chosen, &joint_chosen)?;
        let prompt_rejected = joint(Side::Rejected, rejected, &joint_rejected)?;
        self.remarks.count(&[(chosen, &prompt_chosen), (rejected, &prompt_rejected)]);
        Ok(JointTexts { prompt: before, prompt_chosen, prompt_rejected, frame: SpecialTokens::FromTemplate })
    }

    /// Ids of prompt, prompt + chosen, prompt + rejected of every pair whose special tokens come from `frame`.
    fn encode(
        &self,
        texts: &[Result<JointTexts, RejectReason>],
        frame: SpecialTokens,
    ) -> tokenizers::Result<impl Iterator<Item = [Encoding; 3]> + use<>> {
        let of_frame = texts.iter().flatten().filter(|texts| texts.frame == frame);
        let inputs: Vec<&str> =
            of_frame.flat_map(|texts| [texts.prompt.as_str(), &texts.prompt_chosen, &texts.prompt_rejected]).collect();
        let encode = || self.files.tokenizer.encode_batch_fast(inputs, frame == SpecialTokens::FromTokenizer);
        // A regular expression that goes on for too long is a panic of the library.
        let encodings = guard::catch(encode).unwrap_or_else(|panicked| Err(panicked.into()))?;
        let mut encodings = encodings.into_iter();
        Ok(std::iter::from_fn(move || Some([encodings.next()?, encodings.next()?, encodings.next()?])))
    }

    fn cut(&self, [prompt, chosen, rejected]: [Encoding; 3]) -> Result<TokenizedPair, RejectReason> {
        let pair = split(prompt.get_ids(), chosen.get_ids().to_vec(), rejected.get_ids().to_vec())?;
        self.rules.cut_split(pair)
    }
}

/// How many of these pairs are tokenised at once: at least one.
fn chunk_length(pairs: &[PreferencePair]) -> usize {
    let mut n_bytes = 0;
    let fits = |pair: &&PreferencePair| {
        n_bytes += pair.n_bytes();
        n_bytes <= CHUNK_BYTES
    };
    pairs.iter().take(CHUNK).take_while(fits).count().max(1)
}

/// A number of tokens; no text in memory has more of them than u32 counts.
fn count(n_tokens: usize) -> u32 {
    u32::try_from(n_tokens).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
