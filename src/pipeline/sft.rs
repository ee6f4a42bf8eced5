//! `[sft]` and the plan of supervised training. How a model is trained is in `[train]`, as for pairs; what of that knows of
//! pairs is refused.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Table;

use super::error::PipelineError;
use super::file::{self, internal};
use super::plans::need;
use super::{Pipeline, Settings, read};
use crate::sft::Plan;
use crate::tokenize::Masking;
use crate::train::{Start, Trained};

/// `[sft]`: what is learnt.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SftSettings {
    /// Start from weights drawn at random, in place of a model: a folder with `config.json` and a tokenizer. Their standard
    /// deviation is its `initializer_range`, the seed is `--seed`.
    #[arg(long, value_name = "FOLDER", conflicts_with = "model")]
    pub init: Option<PathBuf>,

    /// Learn answers alone; `false` learns prompts too. The flag is `--no-mask-prompt`.
    #[arg(skip)]
    pub completion_only_loss: Option<bool>,
}

impl Pipeline {
    /// Settings of supervised training: a pipeline file, if there is one, under flags, over the defaults of `piref sft`.
    ///
    /// # Errors
    /// As [`Pipeline::load`].
    pub fn load_sft(path: Option<&Path>, flags: &Settings) -> Result<Self, PipelineError> {
        let (file, run) = match path {
            Some(path) => read(path).map(|(file, run)| (file, Some(run)))?,
            None => (Settings::default(), None),
        };
        let mut settings = file::defaults()?.under(&layer(SFT)?)?;
        if [&file, flags].iter().any(|layer| layer.train.lora.is_on()) {
            settings = settings.under(&layer(SFT_ADAPTER)?)?;
        }
        let settings = settings.under(&file)?.under(flags)?;
        Ok(Self { settings, run })
    }

    /// The plan of supervised training. Without `out` the run goes to `runs/<name>`.
    ///
    /// # Errors
    /// If the model, the data or the folder is not set, if a data file does not exist, or if a setting is set that nothing
    /// would read.
    pub fn sft_plan(&self, out: Option<&Path>, start: Start) -> Result<Plan, PipelineError> {
        let Settings { data, sft, train, .. } = self.settings();
        let defaults = file::defaults()?;
        let is_pair_setting_set = train.loss != defaults.train.loss;
        let reason = "`piref sft` minimises the cross-entropy of answers: there is no reference and no other loss";
        for (setting, is_set) in [
            ("train.loss", is_pair_setting_set),
            ("train.reference", train.reference.is_some()),
            ("train.pairs", train.pairs != defaults.train.pairs),
            ("train.eval", train.eval != defaults.train.eval),
        ] {
            if is_set {
                return Err(PipelineError::Sft { setting, reason });
            }
        }
        let mut of_model = self.clone();
        if let Some(folder) = &sft.init {
            of_model.settings.model = Some(folder.display().to_string());
        }
        let mut course = of_model.course(out, start)?;
        if sft.init.is_some() {
            let reason = "the model starts from drawn weights";
            if self.settings().model.is_some() {
                return Err(PipelineError::Sft { setting: "model", reason });
            }
            if course.trained != Trained::Weights {
                return Err(PipelineError::Sft { setting: "train.lora", reason });
            }
            course.trained = Trained::Drawn;
        }
        let is_masked = need(sft.completion_only_loss, "sft.completion_only_loss", "--no-mask-prompt")?;
        Ok(Plan {
            course,
            data: self.paths()?,
            column_map: data.map.clone().unwrap_or_default(),
            limit: data.limit,
            max_reject_rate: need(data.max_reject_rate, "data.max_reject_rate", "--max-reject-rate")?.get(),
            overlong: self.overlong()?,
            rules: self.rules()?,
            masking: if is_masked { Masking::Prompts } else { Masking::Nothing },
        })
    }
}

const SFT: &str = include_str!("defaults_sft.toml");
const SFT_ADAPTER: &str = include_str!("defaults_sft_adapter.toml");

fn layer(text: &str) -> Result<Settings, PipelineError> {
    let table: Table = text.parse().map_err(internal)?;
    table.try_into().map_err(internal)
}

/// The defaults of `piref sft` alone, as written.
pub(super) fn default_table() -> Result<Table, PipelineError> {
    SFT.parse().map_err(internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The plan of a pipeline file with this text, on the pairs of the fixtures.
    fn plan(text: &str) -> Result<Plan, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.toml");
        let text = format!("{text}\n[data]\nfiles = ['fixtures/pairs/standard.jsonl']\n");
        crate::io::write(&path, text.as_bytes()).unwrap();
        let pipeline = Pipeline::load_sft(Some(&path), &Settings::default()).map_err(|error| error.to_string())?;
        pipeline.sft_plan(None, Start::Resume).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_those_of_supervised_training_and_the_file_wins() {
        let found = plan("model = 'm'").unwrap();
        assert_eq!((found.course.learning_rate, found.course.model.as_str()), (2e-5, "m"));
        assert_eq!((found.course.trained, found.masking), (Trained::Weights, Masking::Prompts));
        assert_eq!((found.rules.max_length, found.course.out.to_str()), (1024, Some("runs/p")));
        assert_eq!(plan("model = 'm'\n[train.lora]\nr = 4").unwrap().course.learning_rate, 1e-4);
        let found = plan("model = 'm'\n[train]\nlearning_rate = 0.5\n[sft]\ncompletion_only_loss = false").unwrap();
        assert_eq!((found.course.learning_rate, found.masking), (0.5, Masking::Nothing));
    }

    #[test]
    fn a_folder_to_start_from_stands_for_the_model() {
        let found = plan("[sft]\ninit = 'fixtures/tiny'").unwrap();
        assert_eq!((found.course.model.as_str(), found.course.trained), ("fixtures/tiny", Trained::Drawn));
    }

    #[test]
    fn what_nothing_reads_is_refused() {
        let loss = "`piref sft` minimises the cross-entropy of answers: there is no reference and no other loss";
        for (text, want) in [
            ("model = 'm'\n[train.loss]\nbeta = 0.2", format!("`train.loss` is set, and {loss}")),
            ("model = 'm'\n[train]\nreference = 'r'", format!("`train.reference` is set, and {loss}")),
            ("model = 'm'\n[sft]\ninit = 'i'", "`model` is set, and the model starts from drawn weights".into()),
            (
                "[train.lora]\nr = 4\n[sft]\ninit = 'i'",
                "`train.lora` is set, and the model starts from drawn weights".into(),
            ),
            ("", "`model` is not set".into()),
        ] {
            assert_eq!(plan(text).unwrap_err(), want, "{text}");
        }
    }
}
