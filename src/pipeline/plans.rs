//! From settings to the plans of the stages.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use super::Pipeline;
use super::error::PipelineError;
use super::settings::{Settings, TrainSettings};
use super::values::Name;
use crate::data::{self, DataError, Overlong};
use crate::error::{Hint, nearest};
use crate::model::SaveDtype;
use crate::ops::{Backend, DeviceError, DeviceName, Kernels};
use crate::precompute::{self, Pairs, Scope, Signals, Start};
use crate::storage::{self, Location};
use crate::table::{check_reference_name, reference_folder};
use crate::tokenize::{Rules, TemplateDate};
use crate::train::{Mismatch, Recompute, RecomputePolicy, Trained};
use crate::{bench, io, train};

/// The log-prob table in a run folder.
const REFERENCE: &str = "reference";

/// Pairs scored again before the first step.
const CHECK_PAIRS: usize = 8;

/// Farthest a sequence's log-prob may be from the table's, in nats.
const CHECK_TOLERANCE: f64 = 1e-3;

impl Pipeline {
    /// The plan of stage one. `out` is the table's folder; without it, `runs/<name>/reference`. A further reference
    /// goes beside that table, over the same pairs. Its scope is the whole table.
    ///
    /// # Errors
    /// If the model, the data or the folder is not set, or a data file does not exist.
    pub fn precompute_plan(
        &self,
        out: Option<&Path>,
        reference: Option<&Name>,
        start: Start,
    ) -> Result<precompute::Plan, PipelineError> {
        let (data, precompute) = (&self.settings().data, &self.settings().precompute);
        let table = self.folder(out, REFERENCE, "--out")?;
        Location::of(&table)?;
        let (pairs, out) = match reference {
            None => (self.files()?, table),
            Some(name) => {
                check_reference_name(&table, name.as_str())?;
                let out = reference_folder(&table, name.as_str());
                (Pairs::OfTable { table, named: data.files.clone().unwrap_or_default() }, out)
            }
        };
        Ok(precompute::Plan {
            model: self.model()?,
            adapter: precompute.adapter.clone(),
            pairs,
            column_map: data.map.clone().unwrap_or_default(),
            max_reject_rate: need(data.max_reject_rate, "data.max_reject_rate", "--max-reject-rate")?.get(),
            overlong: self.overlong()?,
            out,
            reuse: precompute.reuse.clone().unwrap_or_default(),
            rules: self.rules()?,
            dtype: need(precompute.dtype, "precompute.dtype", "--dtype")?,
            backend: Backend::best(need(precompute.device, "precompute.device", "--device")?.open()?),
            max_tokens: need(precompute.max_tokens, "precompute.max_tokens", "--max-tokens")?,
            rows_per_part: need(precompute.rows_per_part, "precompute.rows_per_part", "--rows-per-part")?,
            signals: signals(need(precompute.signals, "precompute.signals", "--no-signals")?),
            start,
            scope: Scope::Whole,
        })
    }

    /// The plan of a measurement: both stages with the settings they would have, on the first pairs of the data; with
    /// the best kernels of the device, if none are named.
    ///
    /// # Errors
    /// If the model or the data is not set, if a data file does not exist, or if the device cannot be used, not with
    /// these kernels.
    pub fn bench_plan(&self, options: bench::Options) -> Result<bench::Plan, PipelineError> {
        const N_PAIRS: NonZeroU64 = NonZeroU64::MIN.saturating_add(31);
        let Settings { data, precompute, train, .. } = self.settings();
        Ok(bench::Plan {
            model: self.model()?,
            data: self.paths()?,
            column_map: data.map.clone().unwrap_or_default(),
            rules: self.rules()?,
            dtype: need(precompute.dtype, "precompute.dtype", "--dtype")?,
            backend: backend(need(precompute.device, "precompute.device", "--device")?, options.kernels)?,
            limit: data.limit.unwrap_or(N_PAIRS),
            max_tokens: need(precompute.max_tokens, "precompute.max_tokens", "--max-tokens")?,
            sharing: options.sharing,
            signals: options.signals,
            recompute: recompute(need(train.recompute, "train.recompute", "--recompute")?),
            lora: match train.lora.trained()? {
                Trained::NewAdapter(lora) => Some(lora),
                Trained::Weights | Trained::Adapter { .. } | Trained::Drawn => None,
            },
            batch_size: need(train.batch_size, "train.batch_size", "--batch-size")?,
            objective: train.loss.objective()?,
            n_repeats: options.n_repeats,
            profile: options.profile,
        })
    }

    pub(super) fn rules(&self) -> Result<Rules, PipelineError> {
        let tokenize = &self.settings().tokenize;
        Ok(Rules {
            max_length: match need(tokenize.max_length, "tokenize.max_length", "--max-length")? {
                0 => usize::MAX,
                limit => limit,
            },
            truncation_mode: need(tokenize.truncation_mode, "tokenize.truncation_mode", "--truncation-mode")?,
            template_date: self.template_date()?,
        })
    }

    pub(super) fn overlong(&self) -> Result<Overlong, PipelineError> {
        need(self.settings().tokenize.overlong, "tokenize.overlong", "--overlong")
    }

    /// The date a chat template prints.
    ///
    /// # Errors
    /// If it is not set.
    pub fn template_date(&self) -> Result<TemplateDate, PipelineError> {
        need(self.settings().tokenize.template_date, "tokenize.template_date", "--template-date")
    }

    fn files(&self) -> Result<Pairs, PipelineError> {
        Ok(Pairs::Files { paths: self.data_names()?, limit: self.settings().data.limit })
    }

    /// The data files as local ones: of objects, their copies.
    pub(super) fn paths(&self) -> Result<Vec<PathBuf>, PipelineError> {
        let names = self.data_names()?;
        names.iter().map(|name| storage::local_file(name).map_err(PipelineError::from)).collect()
    }

    /// The data files that are named, one by one: paths, and URLs of objects.
    pub(super) fn data_names(&self) -> Result<Vec<PathBuf>, PipelineError> {
        let paths = need(self.settings().data.files.as_ref(), "data.files", "--data")?.clone();
        if paths.is_empty() {
            return Err(PipelineError::Missing { key: "data.files", flag: "--data" });
        }
        data::file_names(&paths, self.settings().data.split.as_deref()).map_err(|error| match error {
            DataError::Missing { path } if error.hint().is_none() => no_data(&path),
            DataError::Storage(error) => error.into(),
            error => error.into(),
        })
    }

    /// The plan of stage two. Without `table` it trains from those of the settings, without any of these from
    /// `runs/<name>/reference`; without `out` the run is `runs/<name>`.
    ///
    /// # Errors
    /// If the model or a folder is not set, or two settings contradict each other.
    pub fn train_plan(
        &self,
        table: Option<&Path>,
        out: Option<&Path>,
        start: train::Start,
    ) -> Result<train::Plan, PipelineError> {
        let settings = &self.settings().train;
        let is_other_allowed =
            need(settings.allow_other_reference, "train.allow_other_reference", "--allow-other-reference")?;
        let is_drift_allowed = need(settings.allow_dtype_drift, "train.allow_dtype_drift", "--allow-dtype-drift")?;
        let objective = settings.loss.objective()?;
        let is_shuffled = order(settings)? != train::Order::Table;
        let pairs = settings.pairs.with_table(table);
        let (table, selection) = pairs.selection(|| self.folder(None, REFERENCE, "--table"), is_shuffled)?;
        let eval = settings.eval.plan(selection.held_out.is_some())?;
        Ok(train::Plan {
            course: self.course(out, start)?,
            table,
            selection,
            reference: settings.reference.clone().map(String::from),
            other_reference: if is_other_allowed { Mismatch::Allow } else { Mismatch::Refuse },
            other_dtype: if is_drift_allowed { Mismatch::Allow } else { Mismatch::Refuse },
            score_columns: settings.loss.score_columns(&objective)?,
            objective,
            eval,
            check_pairs: CHECK_PAIRS,
            check_tolerance: CHECK_TOLERANCE,
        })
    }

    /// How a policy is trained, whatever it learns from. Without `out` the run is `runs/<name>`.
    ///
    /// # Errors
    /// If the model or the folder is not set, or two settings contradict each other.
    pub(super) fn course(&self, out: Option<&Path>, start: train::Start) -> Result<train::Course, PipelineError> {
        let settings = &self.settings().train;
        Ok(train::Course {
            model: self.model()?,
            trained: settings.lora.trained()?,
            out: self.folder(out, "", "--out")?,
            optimizer: settings.optimizer()?,
            ema_decay: settings.ema_decay.map(f64::from),
            learning_rate: need(settings.learning_rate, "train.learning_rate", "--learning-rate")?.get(),
            schedule: settings.schedule()?,
            max_grad_norm: Some(need(settings.max_grad_norm, "train.max_grad_norm", "--max-grad-norm")?.get())
                .filter(|norm| *norm > 0.0),
            batch_size: need(settings.batch_size, "train.batch_size", "--batch-size")?,
            length: length(settings)?,
            order: order(settings)?,
            seed: need(settings.seed, "train.seed", "--seed")?,
            max_tokens: need(settings.max_tokens, "train.max_tokens", "--max-tokens")?,
            recompute: need(settings.recompute, "train.recompute", "--recompute")?,
            memory_budget: settings.memory_budget.map(|size| size.as_u64()),
            logging_steps: need(settings.logging_steps, "train.logging_steps", "--logging-steps")?,
            report_to: need(settings.report_to, "train.report_to", "--report-to")?,
            save_steps: NonZeroU64::new(need(settings.save_steps, "train.save_steps", "--save-steps")?),
            save_total_limit: settings.save_total_limit,
            save_dtype: save_dtype(settings)?,
            dtype: need(settings.dtype, "train.dtype", "--dtype")?,
            backend: Backend::best(need(settings.device, "train.device", "--device")?.open()?),
            start,
        })
    }

    pub(super) fn model(&self) -> Result<String, PipelineError> {
        need(self.settings().model.clone(), "model", "--model")
    }

    fn folder(&self, given: Option<&Path>, of_run: &str, flag: &'static str) -> Result<PathBuf, PipelineError> {
        let of_run = self.run_folder().map(|run| if of_run.is_empty() { run.to_owned() } else { run.join(of_run) });
        need(given.map(Path::to_owned).or(of_run), "name", flag)
    }
}

/// Of an adapter there is nothing to choose.
fn save_dtype(settings: &TrainSettings) -> Result<SaveDtype, PipelineError> {
    let dtype = need(settings.save_dtype, "train.save_dtype", "--save-dtype")?;
    let is_adapter = matches!(settings.lora.trained()?, Trained::NewAdapter(_) | Trained::Adapter { .. });
    if is_adapter && !matches!(dtype, SaveDtype::Auto | SaveDtype::F32) {
        return Err(PipelineError::SaveDtype);
    }
    Ok(dtype)
}

/// What a policy means for a measurement, which has no budget.
fn recompute(policy: RecomputePolicy) -> Recompute {
    match policy {
        RecomputePolicy::Auto | RecomputePolicy::None => Recompute::None,
        RecomputePolicy::Layer => Recompute::All,
    }
}

fn signals(are_wanted: bool) -> Signals {
    if are_wanted { Signals::Make } else { Signals::Skip }
}

fn backend(device: DeviceName, kernels: Option<Kernels>) -> Result<Backend, DeviceError> {
    let opened = device.open()?;
    match kernels {
        None => Ok(Backend::best(opened)),
        Some(Kernels::Stock) => Ok(Backend::stock(opened)),
        Some(Kernels::Own) if opened.is_cpu() => Ok(Backend::cpu()),
        Some(Kernels::Own) => Err(DeviceError::OwnKernels { device }),
    }
}

fn order(settings: &TrainSettings) -> Result<train::Order, PipelineError> {
    let seed = need(settings.seed, "train.seed", "--seed")?;
    let is_shuffled = need(settings.shuffle, "train.shuffle", "--no-shuffle")?;
    Ok(if is_shuffled { train::Order::Shuffled { seed } } else { train::Order::Table })
}

fn length(settings: &TrainSettings) -> Result<train::Length, PipelineError> {
    match settings.max_steps {
        Some(steps) => Ok(train::Length::Steps(steps)),
        None => Ok(train::Length::Epochs(
            need(settings.num_train_epochs, "train.num_train_epochs", "--num-train-epochs")?.get(),
        )),
    }
}

pub(super) fn need<T>(value: Option<T>, key: &'static str, flag: &'static str) -> Result<T, PipelineError> {
    value.ok_or(PipelineError::Missing { key, flag })
}

fn no_data(path: &Path) -> PipelineError {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let names: Vec<String> = io::list(folder)
        .unwrap_or_default()
        .iter()
        .filter_map(|entry| Some(entry.file_name()?.to_string_lossy().into_owned()))
        .collect();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let nearest = nearest(&name, names.iter().map(String::as_str)).map(|name| path.with_file_name(name));
    PipelineError::NoData { path: path.to_owned(), nearest }
}
