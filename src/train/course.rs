//! What every training run is told, whatever it learns from.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::passes::RecomputePolicy;
use super::plan::{Length, Order, ReportTo, Start, Trained};
use crate::checkpoint;
use crate::logprob;
use crate::model::{SaveDtype, ScoringDtype};
use crate::ops::Backend;
use crate::optim::{OptimizerParams, Schedule};
use crate::policy::{PolicyDigests, PolicyError, PolicySource};

/// How a policy is trained: model, optimiser, length, order, precision, and where the run goes.
#[derive(Debug, Clone)]
pub struct Course {
    /// The model the policy starts from: see [`PolicySource::resolve`].
    pub model: String,
    /// What of it is trained.
    pub trained: Trained,
    /// The run folder: `train/metrics.jsonl`, `train/checkpoints/`, `policy/` go there.
    pub out: PathBuf,
    /// The optimiser.
    pub optimizer: OptimizerParams,
    /// Decay of a running mean of the trained weights, which then is the policy in place of the weights themselves;
    /// `None` for no mean.
    pub ema_decay: Option<f64>,
    /// Learning rate before the schedule.
    pub learning_rate: f64,
    /// The schedule.
    pub schedule: Schedule,
    /// Gradients are scaled down to this norm; `None` never.
    pub max_grad_norm: Option<f64>,
    /// Pairs or sequences per optimiser step.
    pub batch_size: NonZeroUsize,
    /// How long.
    pub length: Length,
    /// In which order.
    pub order: Order,
    /// Seed of everything drawn but the order.
    pub seed: u64,
    /// Token budget of a micro-batch; changes memory and speed, not the result beyond rounding.
    pub max_tokens: NonZeroUsize,
    /// Which layers are run again in the backward; the result does not depend on it.
    pub recompute: RecomputePolicy,
    /// Most memory a step may take, in bytes; `None`: what is free.
    pub memory_budget: Option<u64>,
    /// A line of progress every this many steps.
    pub logging_steps: NonZeroU64,
    /// Who is told of every step.
    pub report_to: ReportTo,
    /// A checkpoint every this many steps; `None` only at the end of the run.
    pub save_steps: Option<NonZeroU64>,
    /// Most checkpoints that are kept, beside the best; `None`: all.
    pub save_total_limit: Option<NonZeroUsize>,
    /// Number type of the weights in the policy that is written; an adapter is always in `f32`.
    pub save_dtype: SaveDtype,
    /// Precision of the forward and backward pass.
    pub dtype: ScoringDtype,
    /// Where the passes run.
    pub backend: Backend,
    /// Where to start.
    pub start: Start,
}

impl Course {
    /// Finds the model it starts from, with the adapter it goes on from.
    ///
    /// # Errors
    /// If one of them is not there, or they do not belong together.
    pub fn source(&self) -> Result<PolicySource, PolicyError> {
        let adapter = match &self.trained {
            Trained::Adapter { path, .. } => Some(path.as_path()),
            Trained::Weights | Trained::NewAdapter(_) | Trained::Drawn => None,
        };
        PolicySource::resolve(&self.model, adapter)
    }

    pub(crate) fn train_folder(&self) -> PathBuf {
        self.out.join("train")
    }

    /// Where its checkpoints go.
    pub fn checkpoints(&self) -> PathBuf {
        self.train_folder().join("checkpoints")
    }

    /// Where its policy goes, once all steps are made.
    pub fn policy(&self) -> PathBuf {
        self.out.join("policy")
    }

    /// What of the [trajectory](Self::trajectory) a run that goes on may be told anew: the size of a micro-batch changes the
    /// last bits and no more, unless dropout is drawn in the order of micro-batches, and a learning rate that does not fall
    /// towards the last step is the same up to any number of steps.
    pub(crate) fn may_change(&self) -> Vec<&'static str> {
        let dropout = match &self.trained {
            Trained::Weights | Trained::Drawn => 0.0,
            Trained::NewAdapter(lora) => lora.dropout,
            Trained::Adapter { dropout, .. } => *dropout,
        };
        let micro_batch = (dropout == 0.0).then_some("max_tokens");
        let length = (!self.schedule.kind.depends_on_length()).then_some("n_steps");
        micro_batch.into_iter().chain(length).collect()
    }

    /// What of the course decides the trajectory of a run; what it learns from is added to that.
    pub(crate) fn trajectory(&self, model: &PolicyDigests, n_steps: u64) -> Map<String, Value> {
        let PolicyDigests { base: model, adapter } = model;
        let order = match self.order {
            Order::Table => json!("table"),
            Order::Shuffled { seed } => json!({ "shuffled": seed }),
        };
        let entries = [
            ("model_digest", json!(model.weights)),
            ("config_digest", json!(model.config)),
            ("model_identity", json!(model.identity.weights)),
            ("config_identity", json!(model.identity.config)),
            ("optimizer", json!(self.optimizer)),
            ("learning_rate", json!(self.learning_rate)),
            ("lr_scheduler_type", json!(self.schedule.kind)),
            ("warmup_steps", json!(self.schedule.warmup.steps(n_steps))),
            ("max_grad_norm", json!(self.max_grad_norm)),
            ("batch_size", json!(self.batch_size)),
            ("n_steps", json!(n_steps)),
            ("order", order),
            ("max_tokens", json!(self.max_tokens)),
            ("dtype", json!(self.dtype)),
            ("kernel", json!(logprob::kernel(&self.backend, self.dtype))),
        ];
        // The start of an adapter and its dropout are drawn; the seed of drawn weights is in their digest.
        let of_adapter = match &self.trained {
            Trained::Weights | Trained::Drawn => Vec::new(),
            Trained::NewAdapter(lora) => vec![("lora", json!(lora)), ("seed", json!(self.seed))],
            Trained::Adapter { dropout, .. } => {
                vec![("adapter_digest", json!(adapter)), ("lora_dropout", json!(dropout)), ("seed", json!(self.seed))]
            }
        };
        // Of a model whose adapter is in its weights.
        let beneath = adapter.filter(|_| !matches!(self.trained, Trained::Adapter { .. }));
        let beneath = beneath.map(|digest| ("model_adapter_digest", json!(digest)));
        // Not named where there are none, so that runs of earlier versions go on.
        let optim = self.optimizer.name();
        let optim = (optim != OptimizerParams::default().name()).then(|| (checkpoint::OPTIM, json!(optim)));
        let ema = self.ema_decay.map(|decay| ("ema_decay", json!(decay)));
        entries
            .into_iter()
            .chain(optim)
            .chain(ema)
            .chain(beneath)
            .chain(of_adapter)
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }
}
