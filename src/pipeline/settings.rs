//! The settings: each struct is a section of a pipeline file and a group of flags; the doc comment of a field is its
//! manual. A flag is the key in kebab case; where it differs, `long` says so.
//!
//! A field without a value is a key nobody gave. Defaults are in `defaults.toml`, and only there.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use bytesize::ByteSize;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::audit_settings::AuditSettings;
use super::eval_settings::EvalSettings;
use super::known;
use super::lora_settings::LoraSettings;
use super::loss_settings::LossSettings;
use super::optim_settings::{LrSchedulerType, OptimizerName};
use super::pairs_settings::PairsSettings;
use super::sft::SftSettings;
use super::values::{Decay, Name, NonNegative, Positive, Share, as_text, number};
use crate::data::{ColumnMap, Overlong};
use crate::model::{SaveDtype, ScoringDtype};
use crate::ops::DeviceName;
use crate::tokenize::{TemplateDate, TruncationMode};
use crate::train::{RecomputePolicy, ReportTo};

/// A whole pipeline file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Name of the run: everything goes to `runs/<name>`. Default: the name of the file.
    pub name: Option<Name>,
    /// The model both stages start from: a Hugging Face folder, a `.gguf` file, `org/name` or `org/name@revision` in the
    /// local cache, the folder of an adapter, or a run folder.
    pub model: Option<String>,
    /// What to read.
    #[serde(default)]
    pub data: DataSettings,
    /// How a pair becomes token ids.
    #[serde(default)]
    pub tokenize: TokenizeSettings,
    /// Stage one.
    #[serde(default)]
    pub precompute: PrecomputeSettings,
    /// Stage two.
    #[serde(default)]
    pub train: TrainSettings,
    /// Supervised training, which reads `[train]` too.
    #[serde(default)]
    pub sft: SftSettings,
    /// Checks of a table.
    #[serde(default, skip_serializing_if = "AuditSettings::is_empty")]
    pub audit: AuditSettings,
}

/// `[data]`: what to read.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSettings {
    /// Preference data: `.jsonl`, `.json`, `.csv`, `.tsv` (`.gz`, `.zst`), Parquet or Arrow IPC; files, folders, saved data
    /// sets, patterns (`'part-*.jsonl'`), `org/name` in the local cache, or URLs (`s3://…`, `gs://…`, `az://…`).
    #[arg(id = "files", long = "data", value_name = "FILE", num_args = 1..)]
    pub files: Option<Vec<PathBuf>>,

    /// Split to read of a folder with several, e.g. `train`; `all` for every one.
    #[arg(long, value_name = "SPLIT")]
    pub split: Option<String>,

    /// Columns of the source by what they are, e.g. `prompt=question,chosen=better,rejected=worse`; `system=…` for a system
    /// turn, `ignore=…` for one that is none of these.
    #[arg(long, value_name = "ROLE=COLUMN,…")]
    #[serde(default, with = "as_text", skip_serializing_if = "Option::is_none")]
    pub map: Option<ColumnMap>,

    /// Share of rows that may be rejected before the run fails, in [0, 1].
    #[arg(long, value_name = "SHARE", value_parser = number::<Share>)]
    pub max_reject_rate: Option<Share>,

    /// Take only the first pairs of the data, this many.
    #[arg(long, value_name = "PAIRS")]
    pub limit: Option<NonZeroU64>,
}

/// `[tokenize]`: how a pair becomes token ids.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizeSettings {
    /// Longest prompt and completion together, in tokens; what is longer is cut. 0 for no limit.
    #[arg(long, value_name = "TOKENS")]
    pub max_length: Option<usize>,

    /// Which end of a sequence that is too long is kept.
    #[arg(long, value_name = "END", value_parser = words::<TruncationMode>())]
    pub truncation_mode: Option<TruncationMode>,

    /// What to do with a row whose prompt alone fills `--max-length`, which leaves nothing to score. Such rows are
    /// counted and listed apart; `--max-reject-rate` does not count them.
    #[arg(long, value_name = "WHAT", value_parser = words::<Overlong>())]
    pub overlong: Option<Overlong>,

    /// The date a chat template prints, if it prints one (Llama 3's does).
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub template_date: Option<TemplateDate>,
}

/// `[precompute]`: stage one.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrecomputeSettings {
    /// Adapter over the model, which is the reference with it: a PEFT folder, or a run that trained one. Not needed where
    /// the model is an adapter or a run, unless its base model is elsewhere now.
    #[arg(long, value_name = "FOLDER")]
    pub adapter: Option<PathBuf>,

    /// Number format the reference computes in.
    #[arg(long, value_parser = words::<ScoringDtype>())]
    pub dtype: Option<ScoringDtype>,

    /// Where the reference runs: `cpu`, `cuda` (`cuda:1` for the second GPU) or `metal`. GPUs need a build
    /// with the feature of that name.
    #[arg(long)]
    #[serde(default, with = "as_text", skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceName>,

    /// Tokens in one forward pass: a matter of speed and memory, never of the result.
    #[arg(long, value_name = "TOKENS")]
    pub max_tokens: Option<NonZeroUsize>,

    /// Pairs in one file of the table.
    #[arg(long, value_name = "PAIRS")]
    pub rows_per_part: Option<NonZeroUsize>,

    /// Write what the forward passes show beside log-probs into files beside the table: entropies, whether a token was
    /// the first choice, the least likely token, and CHES. The flag is `--no-signals`.
    #[arg(skip)]
    pub signals: Option<bool>,

    /// Another table, whose log-probs are taken where they are of the same tokens; repeat for more.
    #[arg(long, value_name = "TABLE")]
    pub reuse: Option<Vec<PathBuf>>,
}

/// `[train]`: stage two.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSettings {
    /// Further reference of the table to train against, by the name `piref precompute --as` gave it. Default: the
    /// table's own.
    #[arg(long, value_name = "NAME")]
    pub reference: Option<Name>,

    /// Train although the table's reference is another model than the policy starts from. The flag is
    /// `--allow-other-reference`.
    #[arg(skip)]
    pub allow_other_reference: Option<bool>,

    /// Train although the table was scored in another number format than the policy computes in; how far the two are
    /// apart is said. The flag is `--allow-dtype-drift`.
    #[arg(skip)]
    pub allow_dtype_drift: Option<bool>,

    /// Number type of the policy in its folder: `auto` is that of the model it comes from (of a `.gguf` file and of mixed
    /// types f32), `f32` keeps every number. 16 bits round: `eval` of the policy may differ in the last digits from the
    /// run's own, and where rounding moves the weights farther than training did, that is said. Checkpoints are f32.
    #[arg(long, value_name = "DTYPE", value_parser = words::<SaveDtype>())]
    pub save_dtype: Option<SaveDtype>,

    /// Number format the policy computes in.
    #[arg(long, value_parser = words::<ScoringDtype>())]
    pub dtype: Option<ScoringDtype>,

    /// Where the policy runs: `cpu`, `cuda` (`cuda:1` for the second GPU) or `metal`. GPUs need a build
    /// with the feature of that name.
    #[arg(long)]
    #[serde(default, with = "as_text", skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceName>,

    /// Highest learning rate of the schedule. With an adapter the default is 1e-5.
    #[arg(long, value_name = "RATE", value_parser = number::<Positive>)]
    pub learning_rate: Option<Positive>,

    /// Shape of the learning rate after the warm-up. With one, `constant` is `constant_with_warmup`.
    #[arg(long, value_name = "SHAPE", value_parser = words::<LrSchedulerType>())]
    pub lr_scheduler_type: Option<LrSchedulerType>,

    /// Lowest learning rate of `cosine_with_min_lr`.
    #[arg(long, value_name = "RATE", value_parser = number::<NonNegative>)]
    pub min_lr: Option<NonNegative>,

    /// The same as a share of the learning rate, in [0, 1].
    #[arg(long, value_name = "SHARE", value_parser = number::<Share>)]
    pub min_lr_rate: Option<Share>,

    /// Optimiser steps in which the learning rate rises from 0.
    #[arg(long, value_name = "STEPS")]
    pub warmup_steps: Option<u64>,

    /// The same as a share of all steps, in [0, 1], rounded up; in place of `warmup_steps`.
    #[arg(long, value_name = "SHARE", value_parser = number::<Share>)]
    pub warmup_ratio: Option<Share>,

    /// Optimiser that turns gradients into steps: those of torch, with its defaults.
    #[arg(long, value_name = "NAME", value_parser = words::<OptimizerName>())]
    pub optim: Option<OptimizerName>,

    /// Weight decay of all but biases and norms; 0 for none. AdamW's is decoupled, per unit of learning rate; RMSprop and
    /// SGD add this share of a weight to its gradient.
    #[arg(long, value_name = "DECAY", value_parser = number::<NonNegative>)]
    pub weight_decay: Option<NonNegative>,

    /// Decay of AdamW's first moment, in [0, 1).
    #[arg(long, value_name = "BETA1", value_parser = number::<Decay>)]
    pub adam_beta1: Option<Decay>,

    /// Decay of AdamW's second moment, in [0, 1).
    #[arg(long, value_name = "BETA2", value_parser = number::<Decay>)]
    pub adam_beta2: Option<Decay>,

    /// AdamW's ε, added to the root of the second moment.
    #[arg(long, value_name = "EPS", value_parser = number::<Positive>)]
    pub adam_epsilon: Option<Positive>,

    /// Decay of RMSprop's mean square, in [0, 1).
    #[arg(long, value_name = "ALPHA", value_parser = number::<Decay>)]
    pub rmsprop_alpha: Option<Decay>,

    /// RMSprop's ε, added to the root of the mean square.
    #[arg(long, value_name = "EPS", value_parser = number::<Positive>)]
    pub rmsprop_epsilon: Option<Positive>,

    /// Momentum of RMSprop and SGD, in [0, 1); 0 for none.
    #[arg(long, value_name = "MOMENTUM", value_parser = number::<Decay>)]
    pub momentum: Option<Decay>,

    /// Decay of a running mean of the trained weights (EMA), in [0, 1), e.g. 0.99: the policy then is the mean, and
    /// checkpoints hold both. Default: no mean.
    #[arg(long, value_name = "DECAY", value_parser = number::<Decay>)]
    pub ema_decay: Option<Decay>,

    /// Norm the gradient is clipped to; 0 for no clipping.
    #[arg(long, value_name = "NORM", value_parser = number::<NonNegative>)]
    pub max_grad_norm: Option<NonNegative>,

    /// Pairs in one optimiser step.
    #[arg(long, value_name = "PAIRS")]
    pub batch_size: Option<NonZeroUsize>,

    /// Optimiser steps of the run; given, it counts instead of the epochs.
    #[arg(long, value_name = "STEPS")]
    pub max_steps: Option<NonZeroU64>,

    /// Passes over the selected pairs; may be a fraction.
    #[arg(long, value_name = "EPOCHS", value_parser = number::<Positive>)]
    pub num_train_epochs: Option<Positive>,

    /// Draw the order of the pairs anew each epoch; `false` keeps the table's. The flag is `--no-shuffle`.
    #[arg(skip)]
    pub shuffle: Option<bool>,

    /// Seed of everything that is drawn.
    #[arg(long, value_name = "SEED", value_parser = clap::value_parser!(u64).range(..=i64::MAX.unsigned_abs()))]
    pub seed: Option<u64>,

    /// Tokens in one forward and backward pass: a matter of speed and memory; of the result it changes the last bits. A run
    /// may go on with another number.
    #[arg(long, value_name = "TOKENS")]
    pub max_tokens: Option<NonZeroUsize>,

    /// Layers whose intermediate results are made again in the backward: a matter of speed and memory, never of the
    /// result.
    #[arg(long, value_name = "LAYERS", value_parser = words::<RecomputePolicy>())]
    pub recompute: Option<RecomputePolicy>,

    /// Most memory a step may take, e.g. `6GB`. Default: what is free.
    #[arg(long, value_name = "SIZE")]
    pub memory_budget: Option<ByteSize>,

    /// Optimiser steps from one line of metrics to the next.
    #[arg(long, value_name = "STEPS")]
    pub logging_steps: Option<NonZeroU64>,

    /// Who is told of every step besides `train/metrics.jsonl`: `tensorboard` writes an event file beside it.
    #[arg(long, value_name = "NAME", value_parser = words::<ReportTo>())]
    pub report_to: Option<ReportTo>,

    /// Optimiser steps from one checkpoint to the next; 0 for none but the last.
    #[arg(long, value_name = "STEPS")]
    pub save_steps: Option<u64>,

    /// Checkpoints to keep, at most: the oldest go, the newest and the best stay. Default: all.
    #[arg(long, value_name = "CHECKPOINTS")]
    pub save_total_limit: Option<NonZeroUsize>,

    /// Which pairs.
    #[command(flatten)]
    #[serde(default)]
    pub pairs: PairsSettings,

    /// The objective.
    #[command(flatten)]
    #[serde(default)]
    pub loss: LossSettings,

    /// The adapter.
    #[command(flatten)]
    #[serde(default)]
    pub lora: LoraSettings,

    /// Evaluations on the way.
    #[command(flatten)]
    #[serde(default)]
    pub eval: EvalSettings,
}

/// A flag with the words of a serde enum.
pub(crate) fn words<T: DeserializeOwned + Clone + Send + Sync + 'static>() -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(known::words::<T>()).try_map(|text| known::word::<T>(&text))
}
