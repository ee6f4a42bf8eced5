//! Samples of a run: what its policy answers to held-out prompts whenever it is evaluated.
//!
//! The prompts are those of the held-out table, id by id, so that an answer follows exactly what training scores a
//! completion after; the tokens of an answer are always the most likely ones. A sample changes nothing of a run.

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::base::Base;
use super::error::TrainError;
use super::plan::{Event, SamplePlan};
use crate::eval::HeldOut;
use crate::generate::{FinishReason, Generator, Sampling, Settings};
use crate::interrupt::Interrupt;
use crate::io;
use crate::model::Decoder;
use crate::table::schema::samples;
use crate::table::{StepFiles, TrainingPair};
use crate::tokenize::{TokenizerFiles, end_tokens};

/// The folder of samples in a run folder.
pub const SAMPLES: &str = "train/samples";

/// Lets the policy of a run answer.
#[derive(Debug)]
pub(super) struct Samples<'a> {
    plan: SamplePlan,
    tokenizer: &'a TokenizerFiles,
    ends: BTreeSet<u32>,
    folder: PathBuf,
}

/// One answer: a line of the file.
#[derive(Serialize)]
struct Sample<'a> {
    schema: &'static str,
    step: u64,
    pair_id: &'a str,
    prompt: String,
    completion: String,
    n_tokens: usize,
    finish_reason: FinishReason,
}

impl<'a> Samples<'a> {
    /// Of the run in the folder `out`, which starts from this model.
    ///
    /// # Errors
    /// If the model does not say which tokens end an answer in a way that can be read.
    pub(super) fn new(plan: SamplePlan, base: &'a Base, out: &Path) -> Result<Self, TrainError> {
        let ends = end_tokens(base.source.base(), &base.tokenizer.files)?;
        Ok(Self { plan, tokenizer: &base.tokenizer.files, ends, folder: out.join(SAMPLES) })
    }

    /// The answers of the policy after `step` steps, as lines; `None` if somebody has asked for the end.
    ///
    /// # Errors
    /// If the policy computes no finite numbers.
    pub(super) fn complete<M>(
        &self,
        step: u64,
        model: &Decoder,
        held_out: HeldOut<'_>,
        interrupt: &Interrupt,
        observe: &mut dyn FnMut(Event<'_, M>),
    ) -> Result<Option<Vec<u8>>, TrainError> {
        let failed = |pair: &TrainingPair<'_>| {
            let pair_id = pair.pair_id.to_owned();
            move |source| TrainError::Sample { step, pair_id, source }
        };
        // Made anew: the weights have moved since the last evaluation.
        let mut generator =
            Generator::new(model, self.ends.clone()).map_err(|source| TrainError::Sampling { step, source })?;
        let pairs = self.pairs(held_out, generator.max_length());
        let settings = Settings { sampling: Sampling::GREEDY, max_new_tokens: self.plan.max_new_tokens, seed: 0 };
        if step == 0 {
            self.notes(&generator, &pairs, observe);
        }
        let (mut lines, n_prompts) = (Vec::new(), pairs.len());
        for (n_before, pair) in pairs.iter().enumerate() {
            let completion = generator.complete_while(pair.prompt_ids, &settings, &mut |_| {
                if interrupt.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            let ControlFlow::Continue(completion) = completion.map_err(failed(pair))? else { return Ok(None) };
            let sample = Sample {
                schema: samples::VERSION,
                step,
                pair_id: pair.pair_id,
                prompt: self.tokenizer.decode(pair.prompt_ids)?,
                completion: self.tokenizer.answer(pair.prompt_ids, completion.answer())?,
                n_tokens: completion.ids.len(),
                finish_reason: completion.finish_reason,
            };
            push(&mut lines, &sample, &self.path(step))?;
            observe(Event::Sampling { step, n_completed: n_before + 1, n_prompts });
        }
        Ok(Some(lines))
    }

    /// Writes them down.
    ///
    /// # Errors
    /// If the disk refuses.
    pub(super) fn write(&self, step: u64, lines: &[u8]) -> Result<(), TrainError> {
        io::create_dir(&self.folder)?;
        Ok(io::write(&self.path(step), lines)?)
    }

    fn path(&self, step: u64) -> PathBuf {
        StepFiles::Samples.path(&self.folder, step)
    }

    /// The first pairs with prompts that no pair before has, and that leave room for an answer.
    fn pairs<'p>(&self, held_out: HeldOut<'p>, max_length: usize) -> Vec<TrainingPair<'p>> {
        let HeldOut { pairs, rows } = held_out;
        let pairs = rows.iter().filter_map(|&row| pairs.get(row as usize));
        let mut known = HashSet::new();
        let is_new = |pair: &TrainingPair<'p>| pair.prompt_ids.len() < max_length && known.insert(pair.prompt_ids);
        pairs.filter(is_new).take(self.plan.n_prompts.get()).collect()
    }

    /// What a user should know of all samples of the run.
    fn notes<M>(&self, generator: &Generator, pairs: &[TrainingPair<'_>], observe: &mut dyn FnMut(Event<'_, M>)) {
        let mut note = |text: String| observe(Event::Note(text));
        let n_asked = self.plan.n_prompts.get();
        if pairs.len() < n_asked {
            note(format!("{} samples an evaluation, not {n_asked}: so many held-out prompts differ", pairs.len()));
        }
        if self.ends.is_empty() {
            note("the model names no end token: every sample has as many tokens as it may".into());
        }
        let longest = pairs.iter().map(|pair| pair.prompt_ids.len()).max().unwrap_or_default();
        if let Some(reason) = generator.slow_because(longest.saturating_add(self.plan.max_new_tokens.get())) {
            note(format!("samples are slow, each token reads the whole text again: {reason}"));
        }
    }
}

/// Adds a line; `path` is where it will stand.
fn push(lines: &mut Vec<u8>, sample: &Sample<'_>, path: &Path) -> Result<(), TrainError> {
    serde_json::to_writer(&mut *lines, sample).map_err(|error| io::IoError::new("write", path, error.into()))?;
    lines.push(b'\n');
    Ok(())
}
