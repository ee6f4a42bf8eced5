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
use crate::model::{ALL_LINEAR, LORA_MODULES, Lora, Modules};
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

    /// Linear maps of a layer that have an adapter, by their names in PEFT, e.g. `q_proj,v_proj`; `all-linear` for all. Or
    /// a regular expression for whole names, e.g. `.*self_attn.*`.
    #[arg(long = "lora-target-modules", value_name = "NAME,…")]
    pub target_modules: Option<ModuleNames>,

    /// Of these, linear maps that have none, told in the same way.
    #[arg(long = "lora-exclude-modules", value_name = "NAME,…")]
    pub exclude_modules: Option<ModuleNames>,

    /// Layers that have an adapter, from 0; where the maps are told by names. Default: all.
    #[arg(long = "lora-layers-to-transform", value_name = "LAYER,…", value_delimiter = ',')]
    pub layers_to_transform: Option<Vec<usize>>,

    /// Folder of an adapter to go on from, one of PEFT's. The table is then one that was scored with it, or
    /// `--allow-other-reference` is needed.
    #[arg(long, value_name = "FOLDER")]
    pub adapter: Option<PathBuf>,
}

/// Modules of a model: names of linear maps of a layer, or the ends of them after a dot, `all-linear` for all of them, or a
/// regular expression for whole names (`target_modules` of PEFT). A text is a list of names with commas, where it can be
/// one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Given", into = "Given")]
pub struct ModuleNames(Modules);

/// As a file has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Given {
    Names(Vec<String>),
    Text(String),
}

impl TryFrom<Given> for ModuleNames {
    type Error = ValueError;

    fn try_from(given: Given) -> Result<Self, ValueError> {
        let names = match given {
            Given::Names(names) => names,
            Given::Text(text) => {
                let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
                let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
                if !names.iter().all(|name| name.chars().all(is_name)) {
                    return match fancy_regex::Regex::new(&format!("(?:{text})")) {
                        Ok(_) => Ok(Self(Modules::Pattern(text))),
                        Err(_) => Err(ValueError::new("names of modules or a regular expression", text)),
                    };
                }
                names
            }
        };
        let is_map = |name: &&String| LORA_MODULES.contains(&name.rsplit('.').next().unwrap_or_default());
        if names.iter().any(|name| name == ALL_LINEAR) {
            return Ok(Self(Modules::named(LORA_MODULES)));
        }
        match names.iter().find(|name| !is_map(name)) {
            None if !names.is_empty() => Ok(Self(Modules::named(names))),
            found => Err(ValueError::new(
                format_args!("`{ALL_LINEAR}` or one of `{}`", LORA_MODULES.join("`, `")),
                found.map_or("none", String::as_str),
            )),
        }
    }
}

impl From<ModuleNames> for Given {
    fn from(names: ModuleNames) -> Self {
        if names.0 == Modules::named(LORA_MODULES) {
            return Self::Names(vec![ALL_LINEAR.to_owned()]);
        }
        match names.0 {
            Modules::Names(names) => Self::Names(names),
            Modules::Pattern(pattern) => Self::Text(pattern),
        }
    }
}

/// As a flag has it.
impl FromStr for ModuleNames {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        Self::try_from(Given::Text(text.to_owned()))
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
            ("exclude_modules", self.exclude_modules.is_some()),
            ("layers_to_transform", self.layers_to_transform.is_some()),
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
        if self.layers_to_transform.is_some() && matches!(targets.0, Modules::Pattern(_)) {
            let reason = "`target_modules` is a regular expression for whole names";
            return Err(PipelineError::Lora { setting: "layers_to_transform", reason });
        }
        let alpha = need(self.alpha, "train.lora.alpha", "--lora-alpha")?.get();
        Ok(Lora {
            dropout,
            use_rslora: need(self.use_rslora, "train.lora.use_rslora", "--use-rslora")?,
            exclude_modules: self.exclude_modules.clone().map(|names| names.0),
            layers_to_transform: self.layers_to_transform.clone(),
            ..Lora::new(r, alpha, targets.0)
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
    fn modules_are_names_or_an_expression_as_a_file_or_a_flag_has_them() {
        let target = |text: &str| text.parse::<ModuleNames>().map(|names| names.0).map_err(|error| error.to_string());
        assert_eq!(target("q_proj,v_proj"), Ok(Modules::named(["q_proj", "v_proj"])));
        assert_eq!(target("all-linear"), Ok(Modules::named(LORA_MODULES)));
        assert_eq!(target(r".*\.(q|k)_proj"), Ok(Modules::Pattern(r".*\.(q|k)_proj".into())));
        assert!(target("q_proj,lm_head").unwrap_err().contains("found `lm_head`"));
        assert!(target(".*(").unwrap_err().contains("a regular expression"));
        let text = "r = 4\ntarget_modules = '.*_proj'\nexclude_modules = ['mlp.up_proj']";
        let Trained::NewAdapter(lora) = trained(text).unwrap() else { panic!("no adapter") };
        assert_eq!(lora.target_modules, Modules::Pattern(".*_proj".into()));
        assert_eq!(lora.exclude_modules, Some(Modules::named(["mlp.up_proj"])));
        let error = trained("r = 4\ntarget_modules = '.*_proj'\nlayers_to_transform = [1]").unwrap_err();
        assert!(error.contains("`train.lora.layers_to_transform` is set"), "{error}");
    }

    #[test]
    fn a_rank_makes_an_adapter_on_all_linear_maps() {
        assert_eq!(trained("").unwrap(), Trained::Weights);
        let Trained::NewAdapter(lora) = trained("r = 16").unwrap() else { panic!("no adapter") };
        assert_eq!((lora.r.get(), lora.alpha, lora.dropout, lora.use_rslora), (16, 32.0, 0.0, false));
        assert_eq!(lora.target_modules, Modules::named(LORA_MODULES));
        let text = "r = 4\nalpha = 8\ndropout = 0.1\nuse_rslora = true\ntarget_modules = ['q_proj', 'mlp.up_proj']";
        let Trained::NewAdapter(lora) = trained(text).unwrap() else { panic!("no adapter") };
        assert_eq!((lora.r.get(), lora.alpha, lora.dropout, lora.use_rslora), (4, 8.0, 0.1, true));
        assert_eq!(lora.target_modules, Modules::named(["q_proj", "mlp.up_proj"]));
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
