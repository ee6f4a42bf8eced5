//! `[train.lora]`: an adapter that is trained in place of the weights. A setting that nothing reads is refused, unless
//! it has its default.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::PipelineError;
use super::file;
use super::plans::need;
use super::values::{Decay, Positive, ValueError, number};
use crate::model::{ALL_LINEAR, LORA_MODULES, Lora};
use crate::train::Trained;

/// `[train.lora]`: an adapter in place of the weights.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraSettings {
    /// Rank of a LoRA adapter to train while the weights stay as they are. Default: the weights are trained.
    #[arg(long = "lora-r", value_name = "RANK")]
    pub r: Option<NonZeroUsize>,

    /// α of the adapter, which is multiplied with α/rank.
    #[arg(long = "lora-alpha", value_name = "ALPHA", value_parser = number::<Positive>)]
    pub alpha: Option<Positive>,

    /// Share of its input that is dropped while training, in [0, 1). With it, other `max_tokens` draw otherwise.
    #[arg(long = "lora-dropout", value_name = "SHARE", value_parser = number::<Decay>)]
    pub dropout: Option<Decay>,

    /// Multiply the adapter with α/√rank instead (rsLoRA).
    #[arg(long, num_args = 0, default_missing_value = "true")]
    pub use_rslora: Option<bool>,

    /// Linear maps of a layer that have an adapter, by their names in PEFT, e.g. `q_proj,v_proj`; `all-linear` for all.
    #[arg(long = "lora-target-modules", value_name = "NAME,…", value_delimiter = ',')]
    pub target_modules: Option<Vec<TargetModule>>,

    /// Folder of an adapter to go on from, one of PEFT's. The policy then starts elsewhere than the model, which needs
    /// `--allow-other-reference`.
    #[arg(long, value_name = "FOLDER")]
    pub adapter: Option<PathBuf>,
}

/// Name of a linear map of a layer, or the end of it after a dot, or `all-linear`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TargetModule(String);

impl TryFrom<String> for TargetModule {
    type Error = ValueError;

    fn try_from(found: String) -> Result<Self, ValueError> {
        let last = found.rsplit('.').next().unwrap_or_default();
        if found == ALL_LINEAR || LORA_MODULES.contains(&last) {
            Ok(Self(found))
        } else {
            Err(ValueError::new(format_args!("`{ALL_LINEAR}` or one of `{}`", LORA_MODULES.join("`, `")), found))
        }
    }
}

/// As a flag has it.
impl FromStr for TargetModule {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        Self::try_from(text.to_owned())
    }
}

impl From<TargetModule> for String {
    fn from(module: TargetModule) -> Self {
        module.0
    }
}

impl LoraSettings {
    /// Whether a run with these settings trains an adapter.
    pub(super) fn is_on(&self) -> bool {
        self.r.is_some() || self.adapter.is_some()
    }

    /// What these settings, with the defaults in them, train.
    pub(super) fn trained(&self) -> Result<Trained, PipelineError> {
        let defaults = file::defaults()?.train.lora;
        let shape = [
            ("r", self.r != defaults.r),
            ("alpha", self.alpha != defaults.alpha),
            ("use_rslora", self.use_rslora != defaults.use_rslora),
            ("target_modules", self.target_modules != defaults.target_modules),
        ];
        let is_dropout_set = self.dropout != defaults.dropout;
        let dropout = need(self.dropout, "train.lora.dropout", "--lora-dropout")?.get();
        match (&self.adapter, self.r) {
            (Some(path), _) => {
                refuse(&shape, "the adapter to go on from has its own")?;
                Ok(Trained::Adapter { path: path.clone(), dropout })
            }
            (None, Some(r)) => Ok(Trained::NewAdapter(self.lora(r, dropout)?)),
            (None, None) => {
                refuse(&shape, "without `r` no adapter is trained")?;
                refuse(&[("dropout", is_dropout_set)], "without `r` or `adapter` no adapter is trained")?;
                Ok(Trained::Weights)
            }
        }
    }

    fn lora(&self, r: NonZeroUsize, dropout: f64) -> Result<Lora, PipelineError> {
        let targets = need(self.target_modules.clone(), "train.lora.target_modules", "--lora-target-modules")?;
        let target_modules = if targets.iter().any(|target| target.0 == ALL_LINEAR) {
            LORA_MODULES.map(str::to_owned).to_vec()
        } else {
            targets.into_iter().map(String::from).collect()
        };
        if target_modules.is_empty() {
            return Err(PipelineError::Missing { key: "train.lora.target_modules", flag: "--lora-target-modules" });
        }
        Ok(Lora {
            r,
            alpha: need(self.alpha, "train.lora.alpha", "--lora-alpha")?.get(),
            dropout,
            use_rslora: need(self.use_rslora, "train.lora.use_rslora", "--use-rslora")?,
            target_modules,
        })
    }
}

/// Refuses the first setting that is set.
fn refuse(settings: &[(&'static str, bool)], reason: &'static str) -> Result<(), PipelineError> {
    match settings.iter().find(|(_, is_set)| *is_set) {
        Some(&(setting, _)) => Err(PipelineError::Lora { setting, reason }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trained(text: &str) -> Result<Trained, String> {
        let defaults = file::defaults().unwrap();
        let file = file::parse(&format!("[train.lora]\n{text}")).map_err(|error| error.to_string())?;
        defaults.under(&file).unwrap().train.lora.trained().map_err(|error| error.to_string())
    }

    #[test]
    fn a_rank_makes_an_adapter_on_all_linear_maps() {
        assert_eq!(trained("").unwrap(), Trained::Weights);
        let Trained::NewAdapter(lora) = trained("r = 16").unwrap() else { panic!("no adapter") };
        assert_eq!((lora.r.get(), lora.alpha, lora.dropout, lora.use_rslora), (16, 32.0, 0.0, false));
        assert_eq!(lora.target_modules, LORA_MODULES);
        let text = "r = 4\nalpha = 8\ndropout = 0.1\nuse_rslora = true\ntarget_modules = ['q_proj', 'mlp.up_proj']";
        let Trained::NewAdapter(lora) = trained(text).unwrap() else { panic!("no adapter") };
        assert_eq!((lora.r.get(), lora.alpha, lora.dropout, lora.use_rslora), (4, 8.0, 0.1, true));
        assert_eq!(lora.target_modules, ["q_proj", "mlp.up_proj"]);
    }

    #[test]
    fn an_adapter_to_go_on_from_has_its_own_shape() {
        let want = Trained::Adapter { path: "a".into(), dropout: 0.1 };
        assert_eq!(trained("adapter = 'a'\ndropout = 0.1").unwrap(), want);
    }

    #[test]
    fn what_nothing_reads_and_what_is_no_map_is_refused() {
        for (text, want) in [
            ("alpha = 8", "`train.lora.alpha` is set, and without `r` no adapter is trained"),
            ("dropout = 0.1", "`train.lora.dropout` is set, and without `r` or `adapter` no adapter is trained"),
            ("adapter = 'a'\nr = 4", "`train.lora.r` is set, and the adapter to go on from has its own"),
            (
                "r = 4\ntarget_modules = ['lm_head']",
                "line 3: `target_modules` in `[train.lora]`: expected `all-linear` or one of `q_proj`, `k_proj`, \
                 `v_proj`, `o_proj`, `gate_proj`, `up_proj`, `down_proj`, found `lm_head`",
            ),
            ("r = 4\ndropout = 1.0", "line 3: `dropout` in `[train.lora]`: expected a number in [0, 1), found `1`"),
        ] {
            assert_eq!(trained(text).unwrap_err(), want, "{text}");
        }
    }
}
