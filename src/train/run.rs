//! The training loop.

use std::path::PathBuf;
use std::time::Instant;

use candle_core::Device;
use serde_json::{Map, Value};

use super::error::TrainError;
use super::metrics::{METRICS, MetricsFile, StepMetrics};
use super::order::Batches;
use super::plan::{Event, Plan, Start, Summary};
use super::start_check::{self, Weights};
use super::step::{self, StepGradient};
use crate::checkpoint::{self, Checkpoint, State};
use crate::io;
use crate::loss::{self, Objective};
use crate::model::{Decoder, Digests, ModelError, export};
use crate::model_source::ModelSource;
use crate::optim::{AdamW, clip_factor};
use crate::table::{ReferenceTable, TokenLogps, TrainingPair};
use crate::tokenize::TokenizerFiles;

/// The policy while it is written.
const PARTIAL_POLICY: &str = ".policy.partial";

/// Trains a policy as the plan says; goes on from the newest checkpoint if the plan allows it.
///
/// # Errors
/// If the model, the table or a checkpoint is not what the plan needs, if a number stops being finite, or if the disk
/// refuses. Checkpoints written before stay.
pub fn run(plan: &Plan, observe: &mut dyn FnMut(Event<'_>)) -> Result<Summary, TrainError> {
    let started = Instant::now();
    let table = ReferenceTable::open(&plan.table)?;
    let source = ModelSource::resolve(&plan.model)?;
    let in_model = |source| TrainError::Model { model: plan.model.clone(), source };
    let digests = Digests::of(&source).map_err(in_model)?;
    let tokenizer = TokenizerFiles::load(&source)?;
    tokenizer_is_the_tables(&tokenizer, &table)?;
    let pairs = table.load_pairs(None, TokenLogps::Skip)?;
    if pairs.is_empty() {
        return Err(TrainError::EmptyTable { path: plan.table.clone() });
    }
    let mut batches = Batches::new(plan.order, pairs.len(), plan.batch_size.get());
    let n_steps = batches.n_steps(plan.length);
    let trajectory = plan.trajectory(&digests.weights.to_string(), &table.digest()?.to_string(), n_steps);
    let resumed = prepare_folder(plan, &trajectory)?;

    let mut model = Decoder::load(&source, &Device::Cpu).map_err(in_model)?.with_dtype(plan.dtype);
    let (optimizer, state) = if let Some(resumed) = resumed {
        observe(Event::Resumed { step: resumed.state.step });
        (resumed.load(model.params_mut(), plan.optimizer)?, resumed.state)
    } else {
        let is_reference = table.provenance().model.weights_digest == digests.weights;
        let weights = if is_reference { Weights::Same } else { Weights::Other };
        start_check::run(plan, &model, &pairs, weights, observe)?;
        let optimizer =
            AdamW::new(plan.optimizer, model.params()).map_err(|source| TrainError::Update { step: 0, source })?;
        (optimizer, State { step: 0, n_tokens: 0, trajectory })
    };
    let n_resumed = state.step;
    let metrics_path = plan.out.join(METRICS);
    let mut metrics_file = MetricsFile::open(&metrics_path, state.step)?;

    let mut trainer = Trainer { plan, model, optimizer, state, n_steps };
    let (mut first, mut last) = (None, None);
    while trainer.state.step < n_steps {
        let rows = batches.rows(trainer.state.step).iter();
        let step_pairs: Vec<TrainingPair<'_>> = rows.filter_map(|&row| pairs.get(row)).collect();
        let metrics = trainer.step(&step_pairs, batches.epoch_after(trainer.state.step + 1))?;
        metrics_file.push(&metrics)?;
        let is_logged = [1, n_steps].contains(&metrics.step) || metrics.step.is_multiple_of(plan.logging_steps.get());
        observe(Event::Step { metrics: &metrics, n_steps, is_logged });
        if metrics.step == n_steps || plan.save_steps.is_some_and(|every| metrics.step.is_multiple_of(every.get())) {
            let Trainer { model, optimizer, state, .. } = &trainer;
            let path = checkpoint::save(&plan.checkpoints(), model.params(), optimizer, state)?;
            observe(Event::Saved { path: &path });
        }
        first.get_or_insert_with(|| metrics.clone());
        last = Some(metrics);
    }
    let policy = save_policy(plan, &trainer.model, &source, &tokenizer)?;
    observe(Event::Saved { path: &policy });
    Ok(Summary {
        n_steps,
        n_resumed,
        n_pairs: pairs.len(),
        first,
        last,
        seconds: started.elapsed().as_secs_f64(),
        metrics: metrics_path,
        policy,
    })
}

/// Ids of another tokenizer would be other words to the policy, and its folder would be saved with the wrong files.
fn tokenizer_is_the_tables(tokenizer: &TokenizerFiles, table: &ReferenceTable) -> Result<(), TrainError> {
    let (expected, found) = (table.provenance().tokenizer_digest, tokenizer.digest());
    if expected == found {
        return Ok(());
    }
    Err(TrainError::Tokenizer { table: table.path().to_owned(), expected, found })
}

/// Makes the folders of the run; finds the checkpoint to go on from, or deletes what `--fresh` asks to.
fn prepare_folder(plan: &Plan, trajectory: &Map<String, Value>) -> Result<Option<Checkpoint>, TrainError> {
    refuse_folders_of_others(plan)?;
    let checkpoints = plan.checkpoints();
    if plan.start == Start::Fresh {
        io::remove_dir(&checkpoints)?;
    }
    let newest = checkpoint::newest(&checkpoints)?;
    if let Some(found) = &newest {
        found.check(trajectory)?;
    }
    io::create_dir(&checkpoints)?;
    Ok(newest)
}

/// A run replaces `policy/` and its own checkpoints, so it must be sure that they are its own.
fn refuse_folders_of_others(plan: &Plan) -> Result<(), TrainError> {
    if !plan.out.is_dir() {
        return Ok(());
    }
    for entry in io::list(&plan.out)? {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_ours = match name.as_str() {
            "policy" => plan.train_folder().is_dir(),
            "plan.toml" | "reference" | "train" | PARTIAL_POLICY => true,
            _ => false,
        };
        if !is_ours {
            return Err(TrainError::NotOurs { path: plan.out.clone(), found: name });
        }
    }
    Ok(())
}

/// The run in memory.
struct Trainer<'a> {
    plan: &'a Plan,
    model: Decoder,
    optimizer: AdamW,
    state: State,
    n_steps: u64,
}

impl Trainer<'_> {
    /// Gradient, clipping, update; `epoch` is where the step ends.
    fn step(&mut self, pairs: &[TrainingPair<'_>], epoch: f64) -> Result<StepMetrics, TrainError> {
        let started = Instant::now();
        let plan = self.plan;
        let step = self.state.step + 1;
        let failed = |source| TrainError::Update { step, source };
        let result = step::gradient(&self.model, pairs, &plan.objective, plan.max_tokens.get())
            .map_err(|source| TrainError::Model { model: plan.model.clone(), source })?;
        let grad_norm = result.gradients.norm().map_err(failed)?;
        result.check(step, pairs, grad_norm)?;
        let factor = plan.max_grad_norm.map_or(1.0, |max_norm| clip_factor(grad_norm, max_norm));
        let learning_rate = plan.learning_rate * plan.schedule.factor(self.state.step, self.n_steps);
        self.optimizer.step(self.model.params(), &result.gradients, learning_rate, factor).map_err(failed)?;

        self.state.step = step;
        self.state.n_tokens += result.n_tokens;
        let means = Means::of(&result, pairs, &plan.objective);
        let step_seconds = started.elapsed().as_secs_f64();
        Ok(StepMetrics {
            step,
            epoch,
            loss: result.loss,
            grad_norm,
            learning_rate,
            rewards_chosen: means.rewards_chosen,
            rewards_rejected: means.rewards_rejected,
            rewards_margins: means.rewards_chosen - means.rewards_rejected,
            rewards_accuracies: means.accuracy,
            logps_chosen: means.logps_chosen,
            logps_rejected: means.logps_rejected,
            num_tokens: self.state.n_tokens,
            n_pairs: pairs.len(),
            displacement: means.displacement,
            tokens_per_second: result.n_tokens as f64 / step_seconds,
            step_seconds,
        })
    }
}

/// Means over the pairs of a step.
#[derive(Default)]
struct Means {
    rewards_chosen: f64,
    rewards_rejected: f64,
    accuracy: f64,
    logps_chosen: f64,
    logps_rejected: f64,
    displacement: f64,
}

impl Means {
    fn of(result: &StepGradient, pairs: &[TrainingPair<'_>], objective: &Objective) -> Self {
        let weight = 1.0 / pairs.len() as f64;
        let share = |holds: bool| if holds { weight } else { 0.0 };
        let mut means = Self::default();
        for (policy, pair) in result.policy.iter().zip(pairs) {
            let chosen = loss::reward(objective.beta(), policy.chosen, pair.ref_chosen_logps);
            let rejected = loss::reward(objective.beta(), policy.rejected, pair.ref_rejected_logps);
            means.rewards_chosen += weight * chosen;
            means.rewards_rejected += weight * rejected;
            means.accuracy += share(chosen > rejected);
            means.logps_chosen += weight * policy.chosen;
            means.logps_rejected += weight * policy.rejected;
            means.displacement += share(policy.chosen < pair.ref_chosen_logps);
        }
        means
    }
}

/// Writes the policy beside its name, then renames: a folder `policy` is complete.
fn save_policy(
    plan: &Plan,
    model: &Decoder,
    source: &ModelSource,
    tokenizer: &TokenizerFiles,
) -> Result<PathBuf, TrainError> {
    let policy = plan.policy();
    let partial = plan.out.join(PARTIAL_POLICY);
    io::remove_dir(&partial)?;
    io::create_dir(&partial)?;
    let in_model = |source: ModelError| TrainError::Model { model: plan.model.clone(), source };
    export(model, source, &partial).map_err(in_model)?;
    tokenizer.save(source, &partial)?;
    io::remove_dir(&policy)?;
    io::rename(&partial, &policy)?;
    Ok(policy)
}
