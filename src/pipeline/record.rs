//! `plan.toml` in the run folder: what each finished stage ran with, every default written out; itself a pipeline
//! file.

use std::path::Path;

use toml::Table;

use super::error::PipelineError;
use super::file::{self, internal};
use super::{FILE_BYTES, Pipeline, Settings};
use crate::io;

/// Name of the record in a run folder.
pub const PLAN_FILE: &str = "plan.toml";

/// The stages that leave a run folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// `piref precompute`.
    Precompute,
    /// `piref train`.
    Train,
    /// `piref sft`.
    Sft,
}

impl Stage {
    /// Whether the stage reads this key or section of the top level.
    pub fn reads(self, key: &str) -> bool {
        match self {
            Self::Precompute => key != "train" && key != "sft" && key != "audit",
            Self::Train => matches!(key, "name" | "model" | "train"),
            Self::Sft => key != "precompute" && key != "audit",
        }
    }
}

impl Pipeline {
    /// The settings as a pipeline file, every default written out.
    pub fn to_toml(&self) -> Result<String, PipelineError> {
        toml::to_string(self.settings()).map_err(internal)
    }

    /// Whether `folder` has a record of these settings, as far as `stage` reads them.
    pub fn is_recorded(&self, stage: Stage, folder: &Path) -> Result<bool, PipelineError> {
        let path = folder.join(PLAN_FILE);
        if !path.is_file() {
            return Ok(false);
        }
        let text = io::read_text_up_to(&path, FILE_BYTES).map_err(|source| PipelineError::Record { source })?;
        // A record of another version's settings is of another run.
        let Ok(recorded) = file::parse(&text) else { return Ok(false) };
        let part = |settings: &Settings| {
            let mut table = Table::try_from(settings).map_err(internal)?;
            table.retain(|key, _| stage.reads(key));
            Ok::<_, PipelineError>(table)
        };
        Ok(part(&recorded)? == part(self.settings())?)
    }

    /// Writes `plan.toml` into `folder`, which is created if need be.
    ///
    /// An earlier record keeps the sections that only the other stage reads: flags of `piref precompute` are not lost
    /// when `piref train` runs without them.
    pub fn record(&self, stage: Stage, folder: &Path) -> Result<(), PipelineError> {
        let wrap = |source| PipelineError::Record { source };
        let path = folder.join(PLAN_FILE);
        let mut table = Table::try_from(self.settings()).map_err(internal)?;
        // Flags alone say nothing about the other stage.
        if self.run_folder().is_none() {
            table.retain(|key, _| stage.reads(key));
        }
        // A record that is no pipeline file any more, or of another version's, has nothing to keep.
        if path.exists()
            && let Ok(earlier) = file::parse(&io::read_text(&path).map_err(wrap)?)
        {
            table.retain(|key, _| stage.reads(key));
            let earlier = Table::try_from(&earlier).map_err(internal)?;
            table.extend(earlier.into_iter().filter(|(key, _)| !stage.reads(key)));
        }
        let settings: Settings = table.try_into().map_err(internal)?;
        let text = toml::to_string(&settings).map_err(internal)?;
        io::create_dir(folder).map_err(wrap)?;
        let header = format!(
            "# The resolved plan of this run, written by piref {}: a pipeline file.\n\n",
            env!("CARGO_PKG_VERSION")
        );
        io::remove_halves(&path).map_err(wrap)?;
        io::write(&path, (header + &text).as_bytes()).map_err(wrap)
    }
}
