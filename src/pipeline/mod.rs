//! Pipeline files and flags, turned into the checked plans of the two stages.
//!
//! Invariant: what leaves this module is a [`precompute::Plan`](crate::precompute::Plan) or a
//! [`train::Plan`](crate::train::Plan); nobody below sees a setting, a key or a default. Three layers lie over each
//! other, key by key: `defaults.toml` (with `defaults_adapter.toml`, `defaults_ordered.toml` and those of `piref sft`
//! the only place a default is written), the pipeline file, the flags.
//!
//! Paths in a pipeline file are relative to the folder the command runs in, like those of flags.

mod audit_settings;
mod error;
mod eval_settings;
mod file;
mod foreign;
mod import;
mod known;
mod lora_settings;
mod loss_settings;
mod loss_type;
mod model_file;
mod optim_settings;
mod overrides;
mod pairs_settings;
mod plans;
mod record;
mod settings;
mod sft;
mod values;

use std::path::{Path, PathBuf};

pub use audit_settings::AuditSettings;
pub use error::{FileError, PipelineError, SettingError};
pub use eval_settings::{EvalFlags, EvalSettings};
pub(crate) use foreign::advice as foreign_advice;
#[cfg(test)]
pub(crate) use foreign::names as foreign_names;
pub use import::ImportFlags;
pub use lora_settings::{LoraSettings, ModuleNames};
pub use loss_settings::{DivergenceName, LossSettings, LossSettingsError};
pub use loss_type::LossType;
pub use optim_settings::{LrSchedulerType, OptimSettingsError, OptimizerName};
pub use overrides::{Axis, Override, Overrides, SetError, read_list, short_key, value_text};
pub use pairs_settings::PairsSettings;
pub use record::{PLAN_FILE, Stage};
pub(crate) use settings::words;
pub use settings::{DataSettings, PrecomputeSettings, Settings, TokenizeSettings, TrainSettings};
pub use sft::SftSettings;
pub(crate) use values::number;
pub use values::{Decay, Name, NonNegative, Positive, Share, ValueError};

use crate::io;

/// The folder all runs of pipeline files go to, in the folder the command runs in.
pub const RUNS: &str = "runs";

/// Most bytes of a pipeline file: it has some dozen lines.
const FILE_BYTES: u64 = 1 << 20;

/// Settings of one experiment, every default filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    settings: Settings,
    /// `runs/<name>` of a pipeline file; flags alone name their own folders.
    run: Option<PathBuf>,
}

impl Pipeline {
    /// Reads a pipeline file and lays `flags` over it, key by key.
    ///
    /// # Errors
    /// If the file cannot be read, is no TOML, or has an unknown key or a wrong value: with the line and the section.
    pub fn load(path: &Path, flags: &Settings) -> Result<Self, PipelineError> {
        let (file, run) = read(path)?;
        let settings = over_defaults(&[&file, flags])?;
        Ok(Self { settings, run: Some(run) })
    }

    /// Settings from flags alone.
    pub fn from_flags(flags: &Settings) -> Result<Self, PipelineError> {
        Ok(Self { settings: over_defaults(&[flags])?, run: None })
    }

    /// The run's folder, `runs/<name>`; none without a pipeline file.
    pub fn run_folder(&self) -> Option<&Path> {
        self.run.as_deref()
    }

    /// The settings, every default filled in.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// A pipeline file, and the folder of its run.
fn read(path: &Path) -> Result<(Settings, PathBuf), PipelineError> {
    let wrap = |source| PipelineError::Load { path: path.to_owned(), source };
    let text = io::read_text_up_to(path, FILE_BYTES).map_err(|source| wrap(FileError::Io(source)))?;
    let mut file = file::parse(&text).map_err(wrap)?;
    let name = match file.name.take() {
        Some(name) => name,
        None => Name::of_file(path).map_err(|source| wrap(FileError::Name { source }))?,
    };
    let run = Path::new(RUNS).join(name.as_str());
    file.name = Some(name);
    Ok((file, run))
}

/// Layers of settings over the defaults, later ones over earlier ones.
fn over_defaults(layers: &[&Settings]) -> Result<Settings, PipelineError> {
    let mut settings = file::defaults()?;
    if layers.iter().any(|layer| layer.train.lora.is_on()) {
        settings = settings.under(&file::adapter_defaults()?)?;
    }
    if layers.iter().any(|layer| layer.train.pairs.are_ordered()) {
        settings = settings.under(&file::ordered_defaults()?)?;
    }
    for layer in layers {
        settings = settings.under(layer)?;
    }
    Ok(settings)
}

/// The defaults, as the help shows them.
#[derive(Debug, Clone)]
pub struct Defaults(toml::Table);

impl Defaults {
    /// Those of `piref sft`, where they are others.
    pub fn load_sft() -> Result<Self, PipelineError> {
        sft::default_table().map(Self)
    }

    /// Reads `defaults.toml`, which is part of the program.
    pub fn load() -> Result<Self, PipelineError> {
        file::default_table().map(Self)
    }

    /// The default of `key` in a section (`["train", "loss"]`), as a user would write it; none where it has none.
    pub fn of(&self, section: &[&str], key: &str) -> Option<String> {
        let mut table = &self.0;
        for name in section {
            table = table.get(*name)?.as_table()?;
        }
        match table.get(key)? {
            toml::Value::Table(_) => None,
            value => Some(value_text(value)),
        }
    }
}

#[cfg(test)]
mod tests;
