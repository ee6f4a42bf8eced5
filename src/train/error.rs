//! Why a training run is refused or stops.

use std::path::PathBuf;

use super::passes::gb;
use crate::checkpoint::CheckpointError;
use crate::digest::Digest;
use crate::error::Hint;
use crate::eval::EvalError;
use crate::generate::GenerateError;
use crate::io::IoError;
use crate::loss::LossError;
use crate::model::ModelError;
use crate::policy::PolicyError;
use crate::selection::SelectionError;
use crate::table::{Difference, TableError};
use crate::tokenize::TokenizeError;

/// What can go wrong in stage two.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A table without pairs.
    #[error("table `{}` holds no pairs", path.display())]
    EmptyTable {
        /// The table.
        path: PathBuf,
    },
    /// The largest micro-batch does not fit into the memory it may take.
    #[error(
        "a micro-batch of {n_rows} tokens needs about {:.2} GB with {n_recomputed} of {n_layers} layers run again, \
         expected at most {:.2} GB",
        gb(*needed), gb(*budget)
    )]
    OverBudget {
        /// Estimate, in bytes.
        needed: u64,
        /// As the user gave it, in bytes.
        budget: u64,
        /// Rows of the largest micro-batch.
        n_rows: usize,
        /// Layers run again.
        n_recomputed: usize,
        /// Layers of the model.
        n_layers: usize,
    },
    /// The run folder holds something a run does not make.
    #[error("`{}` is not a run folder of piref: found `{found}` in it", path.display())]
    NotOurs {
        /// The folder.
        path: PathBuf,
        /// What is in it.
        found: String,
    },
    /// A run would replace what it reads.
    #[error("`{}` is in `{}`, which the run replaces", input.display(), folder.display())]
    InputReplaced {
        /// What it reads.
        input: PathBuf,
        /// What it replaces.
        folder: PathBuf,
    },
    /// The policy has the reference's weights and scores the table differently.
    #[error(
        "the policy has the weights of the table's reference and scores `{}` differently: \
         expected {expected} for `{column}` of pair `{pair_id}`, found {found} \
         (largest difference of {n_pairs} pairs, tolerance {tolerance} nats a sequence)",
        table.display()
    )]
    StartsElsewhere {
        /// The table.
        table: PathBuf,
        /// The pair with the largest difference.
        pair_id: String,
        /// Its column.
        column: &'static str,
        /// In the table.
        expected: f64,
        /// Scored now.
        found: f64,
        /// Pairs scored.
        n_pairs: usize,
        /// Largest difference allowed.
        tolerance: f64,
    },
    /// The log-probs of a table are on the wrong side.
    #[error(
        "the log-probs of `{}` look swapped: the policy is {mean_delta:.3} nats a sequence from them as they stand, and \
         {mean_crossed:.3} with `ref_chosen_logps` and `ref_rejected_logps` exchanged, on {n_pairs} pairs",
        table.display()
    )]
    Swapped {
        /// The table.
        table: PathBuf,
        /// Pairs scored.
        n_pairs: usize,
        /// Mean difference as the columns stand, in nats a sequence.
        mean_delta: f64,
        /// Mean difference with the columns exchanged.
        mean_crossed: f64,
    },
    /// The model brings another tokenizer than the one the table was made with.
    #[error("table `{}` was made with another tokenizer: expected `{expected}`, found `{found}`", table.display())]
    Tokenizer {
        /// The table.
        table: PathBuf,
        /// The table's.
        expected: Digest,
        /// The model's.
        found: Digest,
    },
    /// The model is another one than the table was scored with.
    #[error(
        "the policy starts from another model than table `{}` was scored with: expected `{}` `{}`, found `{}`",
        table.display(), difference.field, difference.expected, difference.found
    )]
    OtherReference {
        /// The table.
        table: PathBuf,
        /// The first field that differs: expected in the table, found in the model.
        difference: Difference,
    },
    /// What would be written at the end is not what is trained.
    #[error("the policy of this model would be read back as another one: {what}: expected {expected}, found {found}")]
    ReadBack {
        /// What differs.
        what: &'static str,
        /// Of the model.
        expected: String,
        /// As it would be read back.
        found: String,
    },
    /// A whole policy, which does not say which model it comes from.
    #[error("the policy in `{}` does not name its base model", path.display())]
    NoBase {
        /// The folder.
        path: PathBuf,
    },
    /// A model without the metadata that a GGUF file needs.
    #[error("the base model `{}` is a folder: expected a `.gguf` file, whose metadata and tokenizer to keep", path.display())]
    NoGguf {
        /// The folder.
        path: PathBuf,
    },
    /// Something is where a model is to be written.
    #[error("`{}` is there already: expected a new name", path.display())]
    Taken {
        /// As given.
        path: PathBuf,
    },
    /// A number that is none.
    #[error("step {step}: {what} is {found}; pairs of the step: {pair_ids}")]
    NotFinite {
        /// The step, from 1.
        step: u64,
        /// What is not finite.
        what: &'static str,
        /// The number.
        found: f64,
        /// The pairs concerned.
        pair_ids: String,
    },
    /// A metrics file that is not ours.
    #[error("`{}`, line {line}: expected a JSON object with `step`", path.display())]
    Metrics {
        /// The file.
        path: PathBuf,
        /// 1-based line.
        line: usize,
    },
    /// A metrics file of an older or newer version.
    #[error("`{}`, line {line}: expected `schema` `{expected}`, found {found}", path.display())]
    MetricsVersion {
        /// The file.
        path: PathBuf,
        /// 1-based line.
        line: usize,
        /// The version this program writes.
        expected: &'static str,
        /// What the line says, in JSON, or `none`.
        found: String,
    },
    /// The model.
    #[error("cannot use model `{model}`")]
    Model {
        /// As the user gave it.
        model: String,
        /// Why.
        #[source]
        source: ModelError,
    },
    /// Where the model is, and its adapter.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The model's tokenizer.
    #[error(transparent)]
    Tokenize(#[from] TokenizeError),
    /// The table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Which pairs are trained on.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file of the run.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The objective cannot be evaluated on the pairs of a step.
    #[error("step {step}: cannot evaluate the objective")]
    Objective {
        /// The step, from 1.
        step: u64,
        /// Why not.
        #[source]
        source: LossError,
    },
    /// The objective needs outside scores, and the plan names no columns of them.
    #[error("the objective needs outside scores of every pair, and no columns of them are named")]
    NoScores,
    /// The held-out pairs cannot be used.
    #[error(transparent)]
    HeldOut(#[from] EvalError),
    /// The policy cannot be evaluated.
    #[error("step {step}: cannot evaluate the policy")]
    Evaluation {
        /// Optimiser steps done.
        step: u64,
        /// Why not.
        #[source]
        source: EvalError,
    },
    /// The policy cannot be made to answer.
    #[error("step {step}: cannot sample the policy")]
    Sampling {
        /// Optimiser steps done.
        step: u64,
        /// Why not.
        #[source]
        source: GenerateError,
    },
    /// A held-out prompt cannot be completed.
    #[error("step {step}: cannot complete the prompt of pair `{pair_id}`")]
    Sample {
        /// Optimiser steps done.
        step: u64,
        /// The pair.
        pair_id: String,
        /// Why not.
        #[source]
        source: GenerateError,
    },
    /// The update failed.
    #[error("step {step}: cannot update the parameters")]
    Update {
        /// The step, from 1.
        step: u64,
        /// What candle says.
        #[source]
        source: candle_core::Error,
    },
}

/// Why a step has no gradient.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The objective.
    #[error(transparent)]
    Loss(#[from] LossError),
}

impl Hint for StepError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Model(error) => error.hint(),
            Self::Loss(error) => error.hint(),
        }
    }
}

impl Hint for TrainError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::EmptyTable { .. } => Some("`piref precompute` says how many rows it rejected, and why".into()),
            Self::StartsElsewhere { .. } => Some(
                "the table is stale, was made by another version, or was imported as something that it is not (`piref import \
                 --logps`): `piref precompute` into a new folder scores the pairs again"
                    .into(),
            ),
            Self::Swapped { .. } => Some(
                "exchange the two where they were written and import them again: `piref import --map \
                 ref_chosen_logps=ref_rejected_logps,ref_rejected_logps=ref_chosen_logps`"
                    .into(),
            ),
            Self::NotOurs { .. } => {
                Some("name a new or empty folder with `--out`, or move what is not the run's to another place".into())
            }
            Self::InputReplaced { .. } => Some("name another `--out`".into()),
            Self::ReadBack { .. } => Some(
                "the model says one thing in two places that differ, or this is a fault of piref: compare the special tokens in \
                 its files, and report it if they agree"
                    .into(),
            ),
            Self::NoBase { .. } => Some("name it with `--model`".into()),
            Self::NoGguf { .. } => Some(
                "`--model` may name a GGUF file of the same model (an adapter is merged first, `--merge`); without one, `convert_hf_to_gguf.py` of llama.cpp makes \
                 a GGUF file of a policy that is a whole model"
                    .into(),
            ),
            Self::Taken { .. } => Some("name another place with `--out`".into()),
            Self::Tokenizer { .. } => {
                Some("run `piref precompute` with this model, or train the model the table was made with".into())
            }
            Self::OtherReference { difference, .. } => Some(other_reference(difference)),
            Self::OverBudget { .. } => Some(
                "micro-batches of fewer tokens need less (`--max-tokens`, down to the longest pair), and so does \
                 `--recompute layer`"
                    .into(),
            ),
            Self::NotFinite { .. } => Some("lower `--learning-rate`, or look at these pairs in the table".into()),
            Self::MetricsVersion { .. } => {
                Some("go on with the version of piref that wrote it, or start again with `--fresh`".into())
            }
            Self::Metrics { .. } | Self::Update { .. } => None,
            Self::NoScores => Some("`--chosen-score-column` and `--rejected-score-column` name them".into()),
            Self::Objective { source, .. } => source.hint(),
            Self::Model { source, .. } => source.hint(),
            Self::Evaluation { source, .. } => source.hint(),
            Self::Sampling { source, .. } | Self::Sample { source, .. } => source.hint(),
            Self::HeldOut(error) => error.hint(),
            Self::Policy(error) => error.hint(),
            Self::Tokenize(error) => error.hint(),
            Self::Table(error) => error.hint(),
            Self::Selection(error) => error.hint(),
            Self::Checkpoint(error) => error.hint(),
            Self::Io(error) => error.hint(),
        }
    }
}

fn other_reference(difference: &Difference) -> String {
    let agree = match difference.field {
        "dtype" => {
            return format!(
                "`--dtype {}` computes as the table was; `--allow-dtype-drift` trains all the same, and says how far the \
                 policy is from its reference before the first step",
                difference.expected
            );
        }
        "model.adapter_digest" if difference.found == "none" => {
            "name the adapter the table was scored with: `--adapter` trains it further, `--model` trains a new one over it"
        }
        "model.adapter_digest" => {
            "score the pairs with the adapter (`piref precompute --model ADAPTER`, beside the table with `--as NAME`)"
        }
        "chat_template.digest" => "give the model the chat template the table was rendered with",
        _ => "name the model of the table with `--model`, or score the pairs with this one (`piref precompute`)",
    };
    format!("{agree}; `--allow-other-reference` trains against the table's reference all the same")
}
