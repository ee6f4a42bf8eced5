//! `[train.eval]`: evaluations on the way, and what follows from them; and the plan of `piref eval`. A setting that
//! nothing reads is refused, unless it has its default.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, TypedValueParser};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::Pipeline;
use super::error::PipelineError;
use super::file;
use super::known;
use super::plans::need;
use super::settings::words;
use super::values::{NonNegative, number};
use crate::eval::{self, BestMetric, EarlyStopping};
use crate::ops::Backend;
use crate::train::{EvalPlan, SamplePlan};

/// `[train.eval]`: evaluations of the policy on held-out pairs while it is trained.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalSettings {
    /// Folder of a log-prob table of held-out pairs: the policy is evaluated on them before the first step, on the way and
    /// after the last. Default: the pairs that `--eval-share` holds out, if it holds out any.
    #[arg(id = "eval_table", long = "eval-table", value_name = "TABLE")]
    pub table: Option<PathBuf>,

    /// Optimiser steps from one evaluation to the next; 0 for none but the first and the last.
    #[arg(long = "eval-steps", value_name = "STEPS")]
    pub steps: Option<u64>,

    /// End the run after this many evaluations in a row without improvement. Default: never.
    #[arg(long, value_name = "EVALUATIONS")]
    pub early_stopping_patience: Option<NonZeroU64>,

    /// By how much an evaluation has to be better than the best before it to be an improvement.
    #[arg(long, value_name = "DIFFERENCE", value_parser = number::<NonNegative>)]
    pub early_stopping_threshold: Option<NonNegative>,

    /// By which metric evaluations are compared, with or without `eval_`: of `eval_loss` less is better, of the others more.
    #[arg(long, value_name = "METRIC", value_parser = MetricParser)]
    #[serde(default, deserialize_with = "metric")]
    pub metric_for_best_model: Option<BestMetric>,

    /// Write the policy of the best evaluation, not the last one; its checkpoint is kept.
    #[arg(long, num_args = 0, default_missing_value = "true")]
    pub load_best_model_at_end: Option<bool>,

    /// Let the policy complete the first held-out prompts whenever it is evaluated, this many, each token the most likely
    /// one; 0 for none. They are in `train/samples` of the run and in its report.
    #[arg(long = "eval-samples", value_name = "PROMPTS")]
    pub samples: Option<usize>,

    /// Most tokens of such an answer, its end token included.
    #[arg(long = "eval-sample-tokens", value_name = "TOKENS")]
    pub sample_tokens: Option<NonZeroUsize>,
}

impl EvalSettings {
    /// The evaluations of a run with these settings, with the defaults in them; none without held-out pairs. `holds_out`:
    /// whether some of the pairs to train on are held out.
    pub(super) fn plan(&self, holds_out: bool) -> Result<Option<EvalPlan>, PipelineError> {
        let defaults = file::defaults()?.train.eval;
        let refuse = |setting, reason| Err(PipelineError::Eval { setting, reason });
        if self.table.is_some() && holds_out {
            return refuse("table", "`train.pairs.eval_share` holds out other pairs to evaluate on");
        }
        if self.table.is_none() && !holds_out {
            let reason = "there is no `train.eval.table` or `train.pairs.eval_share` to evaluate on";
            for (setting, is_changed) in [
                ("steps", self.steps != defaults.steps),
                ("early_stopping_patience", self.early_stopping_patience.is_some()),
                ("early_stopping_threshold", self.early_stopping_threshold != defaults.early_stopping_threshold),
                ("metric_for_best_model", self.metric_for_best_model != defaults.metric_for_best_model),
                ("load_best_model_at_end", self.load_best_model_at_end != defaults.load_best_model_at_end),
                ("samples", self.samples != defaults.samples),
                ("sample_tokens", self.sample_tokens != defaults.sample_tokens),
            ] {
                if is_changed {
                    return refuse(setting, reason);
                }
            }
            return Ok(None);
        }
        let steps = NonZeroU64::new(need(self.steps, "train.eval.steps", "--eval-steps")?);
        let threshold = self.early_stopping_threshold;
        if self.early_stopping_patience.is_none() && threshold != defaults.early_stopping_threshold {
            return refuse("early_stopping_threshold", "there is no `train.eval.early_stopping_patience`");
        }
        if self.early_stopping_patience.is_some() && steps.is_none() {
            return refuse("early_stopping_patience", "`train.eval.steps` is 0: there is no evaluation on the way");
        }
        let n_samples = NonZeroUsize::new(need(self.samples, "train.eval.samples", "--eval-samples")?);
        if n_samples.is_none() && self.sample_tokens != defaults.sample_tokens {
            return refuse("sample_tokens", "`train.eval.samples` is 0: there are no samples");
        }
        let max_new_tokens = need(self.sample_tokens, "train.eval.sample_tokens", "--eval-sample-tokens")?;
        let metric = self.metric_for_best_model;
        let loads_best = self.load_best_model_at_end;
        let threshold = need(threshold, "train.eval.early_stopping_threshold", "--early-stopping-threshold")?.get();
        Ok(Some(EvalPlan {
            table: self.table.clone(),
            steps,
            metric_for_best_model: need(metric, "train.eval.metric_for_best_model", "--metric-for-best-model")?,
            early_stopping: self.early_stopping_patience.map(|patience| EarlyStopping { patience, threshold }),
            load_best_model_at_end: need(loads_best, "train.eval.load_best_model_at_end", "--load-best-model-at-end")?,
            samples: n_samples.map(|n_prompts| SamplePlan { n_prompts, max_new_tokens }),
        }))
    }
}

/// A metric with the prefix of the Hugging Face Trainer, which puts it before one that has none
/// (`Trainer._determine_best_metric`).
fn prefixed(name: &str) -> String {
    if name.starts_with("eval_") { name.to_owned() } else { format!("eval_{name}") }
}

/// Reads a metric of a pipeline file.
fn metric<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BestMetric>, D::Error> {
    let name: Option<String> = Option::deserialize(deserializer)?;
    name.map(|name| known::word(&prefixed(&name)).map_err(D::Error::custom)).transpose()
}

/// A flag with the words of [`BestMetric`], which may lack their prefix.
#[derive(Clone)]
struct MetricParser;

impl TypedValueParser for MetricParser {
    type Value = BestMetric;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<BestMetric, clap::Error> {
        let prefixed =
            value.to_str().map(prefixed).filter(|name| known::words::<BestMetric>().contains(&name.as_str()));
        match prefixed {
            Some(name) => words::<BestMetric>().parse_ref(command, argument, name.as_ref()),
            None => words::<BestMetric>().parse_ref(command, argument, value),
        }
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(known::words::<BestMetric>().iter().map(PossibleValue::new)))
    }
}

/// What an evaluation is told that no pipeline file says.
#[derive(Debug, Clone, Default)]
pub struct EvalFlags {
    /// The policy; of a pipeline, that of its run.
    pub policy: Option<String>,
    /// The adapter that goes over it.
    pub adapter: Option<PathBuf>,
    /// The held-out table; of a pipeline, that of `[train.eval]`.
    pub table: Option<PathBuf>,
    /// The file with one row a pair.
    pub out: Option<PathBuf>,
}

impl Pipeline {
    /// The plan of an evaluation: objective, number format, device and budget as in stage two. Without flags the policy is
    /// that of the run and the table that of its evaluations.
    ///
    /// # Errors
    /// If the policy or the table is not set, or the device cannot be used.
    pub fn eval_plan(&self, flags: EvalFlags) -> Result<eval::Plan, PipelineError> {
        let settings = &self.settings().train;
        let of_run = self.run_folder().map(|run: &Path| run.display().to_string());
        let table = flags.table.or_else(|| settings.eval.table.clone());
        let objective = settings.loss.objective()?;
        Ok(eval::Plan {
            model: need(flags.policy.or(of_run), "name", "--model")?,
            adapter: flags.adapter,
            table: need(table, "train.eval.table", "--table")?,
            reference: settings.reference.clone().map(String::from),
            score_columns: settings.loss.score_columns(&objective)?,
            objective,
            batch_size: need(settings.batch_size, "train.batch_size", "--batch-size")?,
            max_tokens: need(settings.max_tokens, "train.max_tokens", "--max-tokens")?,
            dtype: need(settings.dtype, "train.dtype", "--dtype")?,
            backend: Backend::best(need(settings.device, "train.device", "--device")?.open()?),
            out: flags.out,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Decay, PairsSettings, Settings, TrainSettings};
    use crate::train::Start;

    fn plan(eval: EvalSettings) -> Result<Option<EvalPlan>, String> {
        plan_of(TrainSettings { eval, ..TrainSettings::default() })
    }

    fn plan_of(train: TrainSettings) -> Result<Option<EvalPlan>, String> {
        let pipeline = Pipeline::from_flags(&Settings { model: Some("m".into()), train, ..Settings::default() });
        let plan = pipeline.unwrap().train_plan(Some(Path::new("t")), Some(Path::new("o")), Start::Resume);
        plan.map(|plan| plan.eval).map_err(|error| error.to_string())
    }

    fn on(table: &str) -> EvalSettings {
        EvalSettings { table: Some(table.into()), ..EvalSettings::default() }
    }

    #[test]
    fn a_metric_is_named_as_in_trl_and_transformers() {
        for (name, want) in [
            ("loss", BestMetric::Loss),
            ("eval_loss", BestMetric::Loss),
            ("rewards/accuracies", BestMetric::RewardsAccuracies),
            ("eval_rewards/accuracies", BestMetric::RewardsAccuracies),
            ("rewards/margins", BestMetric::RewardsMargins),
            ("logps/chosen", BestMetric::LogpsChosen),
        ] {
            let settings: EvalSettings = toml::from_str(&format!("metric_for_best_model = '{name}'")).unwrap();
            assert_eq!(settings.metric_for_best_model, Some(want), "{name}");
            let command = <EvalSettings as clap::Args>::augment_args(clap::Command::new("train"));
            let matches = command.try_get_matches_from(["train", "--metric-for-best-model", name]).unwrap();
            assert_eq!(matches.get_one::<BestMetric>("metric_for_best_model"), Some(&want), "{name}");
        }
        let error = toml::from_str::<EvalSettings>("metric_for_best_model = 'accuracy'").unwrap_err().to_string();
        assert!(error.contains("eval_rewards/accuracies"), "{error}");
    }

    #[test]
    fn nothing_is_evaluated_without_a_table() {
        assert_eq!(plan(EvalSettings::default()), Ok(None));
        let found = plan(EvalSettings { steps: Some(500), ..on("held-out") }).unwrap().unwrap();
        let want = EvalPlan {
            table: Some("held-out".into()),
            steps: NonZeroU64::new(500),
            metric_for_best_model: BestMetric::Loss,
            early_stopping: None,
            load_best_model_at_end: false,
            samples: None,
        };
        assert_eq!(found, want);
        assert_eq!(plan(EvalSettings { steps: Some(0), ..on("t") }).unwrap().unwrap().steps, None);
    }

    #[test]
    fn samples_have_a_number_of_prompts_and_of_tokens() {
        let samples = |samples, tokens| {
            let eval = EvalSettings { samples, sample_tokens: NonZeroUsize::new(tokens), ..on("t") };
            plan(eval).map(|plan| plan.unwrap().samples.map(|plan| (plan.n_prompts.get(), plan.max_new_tokens.get())))
        };
        assert_eq!(samples(None, 0), Ok(None));
        assert_eq!(samples(Some(5), 0), Ok(Some((5, 64))));
        assert_eq!(samples(Some(1), 16), Ok(Some((1, 16))));
        let error = samples(Some(0), 16).unwrap_err();
        assert!(error.contains("`train.eval.sample_tokens` is set, and `train.eval.samples` is 0"), "{error}");
    }

    #[test]
    fn pairs_that_are_held_out_are_evaluated() {
        let train = |eval| {
            let pairs = PairsSettings { eval_share: Decay::try_from(0.1).ok(), ..PairsSettings::default() };
            TrainSettings { pairs, eval, ..TrainSettings::default() }
        };
        let found = plan_of(train(EvalSettings { steps: Some(7), ..EvalSettings::default() })).unwrap().unwrap();
        assert_eq!((found.table, found.steps), (None, NonZeroU64::new(7)));
        let error = plan_of(train(on("t"))).unwrap_err();
        assert!(error.contains("`train.eval.table` is set, and `train.pairs.eval_share` holds out"), "{error}");
    }

    #[test]
    fn a_setting_that_nothing_reads_is_refused() {
        let patience = || NonZeroU64::new(2);
        for (eval, want) in [
            (EvalSettings { steps: Some(10), ..EvalSettings::default() }, "`train.eval.steps` is set, and there is no"),
            (
                EvalSettings { early_stopping_patience: patience(), ..EvalSettings::default() },
                "`train.eval.early_stopping_patience` is set, and there is no `train.eval.table` or `train.pairs.eval_share`",
            ),
            (
                EvalSettings { load_best_model_at_end: Some(true), ..EvalSettings::default() },
                "`train.eval.load_best_model_at_end` is set",
            ),
            (
                EvalSettings { samples: Some(4), ..EvalSettings::default() },
                "`train.eval.samples` is set, and there is no `train.eval.table` or `train.pairs.eval_share`",
            ),
            (
                EvalSettings { sample_tokens: NonZeroUsize::new(8), ..EvalSettings::default() },
                "`train.eval.sample_tokens` is set, and there is no `train.eval.table`",
            ),
            (
                EvalSettings { early_stopping_threshold: NonNegative::try_from(0.1).ok(), ..on("t") },
                "`train.eval.early_stopping_threshold` is set, and there is no `train.eval.early_stopping_patience`",
            ),
            (
                EvalSettings { early_stopping_patience: patience(), steps: Some(0), ..on("t") },
                "`train.eval.steps` is 0",
            ),
        ] {
            let error = plan(eval).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
    }
}
