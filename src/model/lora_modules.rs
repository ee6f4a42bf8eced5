//! Which modules of a model an adapter is on, and of which rank and weight there: the rules of PEFT 0.21
//! (`check_target_module_exists` of `peft/tuners/tuners_utils.py`, `get_pattern_key` of `peft/utils/other.py`).

use std::num::NonZeroUsize;

use fancy_regex::Regex;
use serde::{Serialize, Serializer};

use super::config::DecoderConfig;
use super::error::ModelError;
use super::lora::Lora;

/// The token embedding, as a module.
pub(super) const EMBEDDING: &str = "model.embed_tokens";

/// The head, as a module.
pub(super) const HEAD: &str = "lm_head";

/// The linear maps of a layer, by their place in it.
pub(super) const MAPS: [&str; 7] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];

/// Other modules of a layer, which can have no adapter.
const REST: [&str; 8] = [
    "self_attn",
    "mlp",
    "mlp.act_fn",
    "input_layernorm",
    "post_attention_layernorm",
    "self_attn.q_norm",
    "self_attn.k_norm",
    "self_attn.rotary_emb",
];

/// Modules of a model by their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Modules {
    /// Each a name, or the end of it after a dot; sorted, since PEFT keeps a set.
    Names(Vec<String>),
    /// A regular expression (of Python) for whole names.
    Pattern(String),
}

impl Modules {
    /// Modules of these names, or of names that end so.
    pub fn named<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        let mut names: Vec<String> = names.into_iter().map(Into::into).collect();
        names.sort();
        names.dedup();
        Self::Names(names)
    }
}

/// Values for the modules that regular expressions match at their end, after a dot or from the beginning. The first that
/// matches counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Patterns<T>(pub Vec<(String, T)>);

impl<T> Default for Patterns<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Patterns<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: Serialize> Serialize for Patterns<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(pattern, value)| (pattern, value)))
    }
}

/// The rules of an adapter, ready to be asked.
pub(super) struct Matcher<'a> {
    lora: &'a Lora,
    targets: Matching<'a>,
    excluded: Option<Matching<'a>>,
    saved: Vec<Regex>,
    layers: Vec<Regex>,
    ranks: Vec<(Regex, NonZeroUsize)>,
    alphas: Vec<(Regex, f64)>,
}

enum Matching<'a> {
    Names(&'a [String]),
    Pattern(Regex),
}

impl<'a> Matcher<'a> {
    /// # Errors
    /// If a regular expression cannot be read.
    pub(super) fn new(lora: &'a Lora) -> Result<Self, ModelError> {
        let matching = |key, modules: &'a Modules| {
            Ok::<_, ModelError>(match modules {
                Modules::Names(names) => Matching::Names(names),
                Modules::Pattern(pattern) => Matching::Pattern(compile(key, pattern, &format!(r"\A(?:{pattern})\z"))?),
            })
        };
        let at_the_end = |key, pattern: &str| compile(key, pattern, &format!(r"\A(.*\.)?({pattern})\z"));
        let layers = match lora.layers_pattern.as_slice() {
            [] => vec![compile("layers_pattern", "", r"\A.*?\.[^.]*\.(?P<index>\d+)\.")?],
            patterns => {
                let of_layer = |pattern: &String| {
                    compile("layers_pattern", pattern, &format!(r"\A(?:|.*?\.){pattern}\.(?P<index>\d+)\."))
                };
                patterns.iter().map(of_layer).collect::<Result<_, _>>()?
            }
        };
        Ok(Self {
            lora,
            targets: matching("target_modules", &lora.target_modules)?,
            excluded: lora.exclude_modules.as_ref().map(|modules| matching("exclude_modules", modules)).transpose()?,
            saved: lora
                .modules_to_save
                .iter()
                .map(|name| compile("modules_to_save", name, &format!(r"\A(|.*\.){name}(\z|\..*)")))
                .collect::<Result<_, _>>()?,
            layers,
            ranks: patterns("rank_pattern", &lora.rank_pattern, at_the_end)?,
            alphas: patterns("alpha_pattern", &lora.alpha_pattern, at_the_end)?,
        })
    }

    /// Whether a module has an adapter.
    pub(super) fn is_target(&self, module: &str) -> bool {
        if self.excluded.as_ref().is_some_and(|excluded| excluded.has(module)) || self.is_saved(module) {
            return false;
        }
        self.targets.has(module)
            && match &self.lora.layers_to_transform {
                Some(layers) if matches!(self.targets, Matching::Names(_)) => {
                    self.layer_of(module).is_some_and(|layer| layers.contains(&layer))
                }
                _ => true,
            }
    }

    /// Whether a module has no adapter since the adapter has it whole, or a part of its name says so.
    fn is_saved(&self, module: &str) -> bool {
        self.saved.iter().any(|pattern| is_match(pattern, module))
    }

    /// Whether an adapter has the module itself, or one that it is in, in place of a change of it: one whose name ends
    /// with that of a module to save, dot or no dot (`set_additional_trainable_modules` of PEFT 0.21).
    pub(super) fn is_whole(&self, module: &str) -> bool {
        let ends = module.match_indices('.').map(|(at, _)| at).chain([module.len()]);
        ends.map(|end| &module[..end]).any(|module| self.lora.modules_to_save.iter().any(|name| module.ends_with(name)))
    }

    fn layer_of(&self, module: &str) -> Option<usize> {
        let captures = self.layers.iter().find_map(|pattern| pattern.captures(module).ok().flatten())?;
        captures.name("index")?.as_str().parse().ok()
    }

    /// The rank of the adapter on a module.
    pub(super) fn rank(&self, module: &str) -> usize {
        first(&self.ranks, module).unwrap_or(self.lora.r).get()
    }

    /// What the product of the matrices of a module is multiplied with.
    pub(super) fn scaling(&self, module: &str) -> f64 {
        let alpha = first(&self.alphas, module).unwrap_or(self.lora.alpha);
        let r = self.rank(module) as f64;
        alpha / if self.lora.use_rslora { r.sqrt() } else { r }
    }

    /// The modules of a model that have an adapter, in the order of the layers.
    ///
    /// # Errors
    /// If there are none, or one of them can have no adapter.
    pub(super) fn targets(&self, config: &DecoderConfig) -> Result<Vec<String>, ModelError> {
        let of_layer = |index: usize| {
            let named = move |part: &str| format!("model.layers.{index}.{part}");
            (MAPS.into_iter().map(named), REST.into_iter().map(named).chain([format!("model.layers.{index}")]))
        };
        let layers = || (0..config.n_layers()).map(of_layer);
        let rest = ["model", "model.layers", "model.norm", "model.rotary_emb"].map(str::to_owned);
        if let Some(found) = layers().flat_map(|(_, rest)| rest).chain(rest).find(|module| self.is_target(module)) {
            return Err(ModelError::TargetModule { found, known: super::lora::LORA_MODULES.join("`, `") });
        }
        let ends = [EMBEDDING, HEAD].map(str::to_owned);
        let targets: Vec<String> =
            layers().flat_map(|(maps, _)| maps).chain(ends).filter(|module| self.is_target(module)).collect();
        if targets.is_empty() {
            let found = match &self.lora.target_modules {
                Modules::Names(names) => names.join("`, `"),
                Modules::Pattern(pattern) => pattern.clone(),
            };
            return Err(ModelError::NoTarget { found });
        }
        Ok(targets)
    }
}

impl Matching<'_> {
    fn has(&self, module: &str) -> bool {
        match self {
            Self::Names(names) => names.iter().any(|name| is_named(module, name)),
            Self::Pattern(pattern) => is_match(pattern, module),
        }
    }
}

/// Whether a name is that of a module, or the end of it after a dot.
pub(super) fn is_named(module: &str, name: &str) -> bool {
    module.strip_suffix(name).is_some_and(|start| start.is_empty() || start.ends_with('.'))
}

/// A pattern that backtracks for too long matches nothing: tensors then stand where no adapter is, and that is an error.
fn is_match(pattern: &Regex, module: &str) -> bool {
    pattern.is_match(module).unwrap_or(false)
}

fn first<T: Copy>(patterns: &[(Regex, T)], module: &str) -> Option<T> {
    patterns.iter().find(|(pattern, _)| is_match(pattern, module)).map(|(_, value)| *value)
}

fn patterns<T: Copy>(
    key: &'static str,
    patterns: &Patterns<T>,
    compiled: impl Fn(&'static str, &str) -> Result<Regex, ModelError>,
) -> Result<Vec<(Regex, T)>, ModelError> {
    patterns.0.iter().map(|(pattern, value)| Ok((compiled(key, pattern)?, *value))).collect()
}

fn compile(key: &'static str, pattern: &str, whole: &str) -> Result<Regex, ModelError> {
    Regex::new(whole).map_err(|source| ModelError::Pattern { key, found: pattern.to_owned(), source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lora() -> Lora {
        Lora::new(NonZeroUsize::new(4).unwrap(), 8.0, Modules::named(["q_proj", "v_proj"]))
    }

    fn hits(lora: &Lora, modules: &[&str]) -> Vec<bool> {
        let matcher = Matcher::new(lora).unwrap();
        modules.iter().map(|module| matcher.is_target(module)).collect()
    }

    const Q0: &str = "model.layers.0.self_attn.q_proj";
    const Q1: &str = "model.layers.1.self_attn.q_proj";
    const Q11: &str = "model.layers.11.self_attn.q_proj";
    const UP: &str = "model.layers.1.mlp.up_proj";

    #[test]
    fn a_target_is_a_name_or_the_end_of_it_after_a_dot() {
        for target in ["q_proj", "self_attn.q_proj", "layers.1.self_attn.q_proj", Q1] {
            assert!(is_named(Q1, target), "{target}");
        }
        for target in ["proj", "_proj", "k_proj", "mlp.q_proj", "layers.11.self_attn.q_proj", "x.model.layers.1"] {
            assert!(!is_named(Q1, target), "{target}");
        }
    }

    /// `check_target_module_exists` of PEFT 0.21 by hand.
    #[test]
    fn expressions_exclusions_and_layers_choose_modules() {
        let all = [Q0, Q1, Q11, UP];
        let pattern = |pattern: &str| Modules::Pattern(pattern.into());
        let with = |change: &dyn Fn(&mut Lora)| {
            let mut lora = lora();
            change(&mut lora);
            hits(&lora, &all)
        };
        assert_eq!(with(&|_| {}), [true, true, true, false]);
        // A whole name, not a part of it.
        assert_eq!(with(&|lora| lora.target_modules = pattern("q_proj")), [false; 4]);
        assert_eq!(with(&|lora| lora.target_modules = pattern(r".*\.(q|up)_proj")), [true; 4]);
        assert_eq!(with(&|lora| lora.target_modules = pattern(r"(?!.*mlp).*_proj")), [true, true, true, false]);
        assert_eq!(with(&|lora| lora.exclude_modules = Some(pattern(r".*layers\.1.*"))), [true, false, false, false]);
        let named = |name: &str| Some(Modules::named([name]));
        assert_eq!(with(&|lora| lora.exclude_modules = named("layers.1.self_attn.q_proj")), [true, false, true, false]);
        assert_eq!(with(&|lora| lora.layers_to_transform = Some(vec![1])), [false, true, false, false]);
        let layers = |lora: &mut Lora, pattern: &str| {
            lora.layers_to_transform = Some(vec![1]);
            lora.layers_pattern = vec![pattern.into()];
        };
        assert_eq!(with(&|lora| layers(lora, "layers")), [false, true, false, false]);
        assert_eq!(with(&|lora| layers(lora, "blocks")), [false; 4]);
        assert_eq!(with(&|lora| lora.modules_to_save = vec!["self_attn".into()]), [false; 4]);
    }

    #[test]
    fn a_module_is_saved_by_the_end_of_its_name_with_all_that_is_in_it() {
        let mut lora = lora();
        lora.modules_to_save = vec!["norm".into(), "self_attn".into()];
        let matcher = Matcher::new(&lora).unwrap();
        for (module, is_whole) in [
            ("model.norm", true),
            ("model.layers.0.input_layernorm", true),
            (Q0, true),
            ("model.layers.0.self_attn.k_norm", true),
            (UP, false),
            (HEAD, false),
        ] {
            assert_eq!(matcher.is_whole(module), is_whole, "{module}");
        }
    }

    /// `get_pattern_key` of PEFT 0.21: the first that matches the end after a dot; one in vain changes nothing.
    #[test]
    fn ranks_and_weights_follow_the_first_pattern_that_matches() {
        let rank = |r: usize| NonZeroUsize::new(r).unwrap();
        let mut lora = lora();
        lora.rank_pattern = Patterns(vec![
            ("nothing".into(), rank(2)),
            (r"layers\.1\.self_attn\.q_proj".into(), rank(16)),
            ("q_proj".into(), rank(8)),
        ]);
        lora.alpha_pattern = Patterns(vec![("^model.layers.0.self_attn.q_proj".into(), 64.0), ("proj".into(), 1.0)]);
        let matcher = Matcher::new(&lora).unwrap();
        assert_eq!([Q0, Q1, Q11, UP].map(|module| matcher.rank(module)), [8, 16, 8, 4]);
        assert_eq!([Q0, Q1, Q11, UP].map(|module| matcher.scaling(module)), [8.0, 0.5, 1.0, 2.0]);
        lora.use_rslora = true;
        assert_eq!(Matcher::new(&lora).unwrap().scaling(Q1), 8.0 / 16.0_f64.sqrt());
    }

    #[test]
    fn an_expression_that_is_none_is_refused_by_its_key() {
        let mut lora = lora();
        lora.exclude_modules = Some(Modules::Pattern("(".into()));
        let error = Matcher::new(&lora).err().unwrap().to_string();
        assert!(error.contains("`exclude_modules`"), "{error}");
    }
}
