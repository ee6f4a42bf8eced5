//! `[train.loss]`: which objective, and the settings of it. A setting that the chosen objective does not read is refused,
//! unless it has its default.

use serde::{Deserialize, Serialize};

use super::error::PipelineError;
use super::file;
use super::loss_type::{LossType, LossTypeParser, one_or_more};
use super::plans::need;
use super::settings::words;
use super::values::number;
use crate::error::Hint;
use crate::loss::{
    AlphapoAlpha, Baseline, Beta, CpoAlpha, DiscopopTau, Divergence, DivergenceAlpha, DpopLambda, ExoSmoothing,
    LabelSmoothing, LossError, LossWeight, Objective, SimpoGamma, SlicDelta, SlicLambda, Term, UnlikelihoodAlpha,
};

/// `[train.loss]`: the objective.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossSettings {
    /// Objective; sigmoid is the loss of the DPO paper. Repeated (in a file: a list), it is a sum of several, e.g. sigmoid and
    /// sft.
    #[arg(long, value_name = "NAME", value_parser = LossTypeParser)]
    #[serde(default, with = "one_or_more", skip_serializing_if = "Option::is_none")]
    pub loss_type: Option<Vec<LossType>>,

    /// Weights of several objectives, in their order, e.g. `0.8,0.2,1`. Default: 1 each.
    #[arg(long, value_name = "WEIGHT,…", value_delimiter = ',', value_parser = number::<LossWeight>)]
    pub loss_weights: Option<Vec<LossWeight>>,

    /// β, the strength of the pull towards the reference: above 0, in 1/nat.
    #[arg(long, value_name = "BETA", value_parser = number::<Beta>)]
    pub beta: Option<Beta>,

    /// Share of the labels taken to be flipped, in [0, 0.5). Read by sigmoid, robust, exo_pair, cpo, simpo and alphapo.
    #[arg(long, value_name = "SHARE", value_parser = number::<LabelSmoothing>)]
    pub label_smoothing: Option<LabelSmoothing>,

    /// Divergence that holds the policy to the reference, for the objectives of a difference of rewards.
    #[arg(long, value_name = "NAME", value_parser = words::<DivergenceName>())]
    pub f_divergence_type: Option<DivergenceName>,

    /// α of the α-divergence.
    #[arg(long, value_name = "ALPHA", value_parser = number::<DivergenceAlpha>)]
    pub f_alpha_divergence_coef: Option<DivergenceAlpha>,

    /// Take every completion as equally likely under the reference, for the objectives of a difference of rewards.
    #[arg(long, num_args = 0, default_missing_value = "true")]
    pub reference_free: Option<bool>,

    /// τ of discopop, in (0, 1].
    #[arg(long, value_name = "TAU", value_parser = number::<DiscopopTau>)]
    pub discopop_tau: Option<DiscopopTau>,

    /// λ of dpop: how much a loss of likelihood of the chosen completion counts.
    #[arg(long, value_name = "LAMBDA", value_parser = number::<DpopLambda>)]
    pub dpop_lambda: Option<DpopLambda>,

    /// γ of simpo and alphapo: the margin aimed at.
    #[arg(long, value_name = "GAMMA", value_parser = number::<SimpoGamma>)]
    pub simpo_gamma: Option<SimpoGamma>,

    /// α of alphapo, the curvature of its reward; 0 is simpo.
    #[arg(long, value_name = "ALPHA", value_parser = number::<AlphapoAlpha>)]
    pub alphapo_alpha: Option<AlphapoAlpha>,

    /// Weight of the likelihood term of cpo.
    #[arg(long, value_name = "WEIGHT", value_parser = number::<CpoAlpha>)]
    pub cpo_alpha: Option<CpoAlpha>,

    /// δ of slic: the gap of log-probs aimed at, in nats.
    #[arg(long, value_name = "NATS", value_parser = number::<SlicDelta>)]
    pub slic_delta: Option<SlicDelta>,

    /// Weight of the likelihood term of slic.
    #[arg(long, value_name = "WEIGHT", value_parser = number::<SlicLambda>)]
    pub slic_lambda: Option<SlicLambda>,

    /// Weight of the rejected completion in unlikelihood, in [0, 1].
    #[arg(long, value_name = "WEIGHT", value_parser = number::<UnlikelihoodAlpha>)]
    pub unlikelihood_alpha: Option<UnlikelihoodAlpha>,
}

/// Name of a divergence, as TRL has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is explained at `loss::Divergence`")]
pub enum DivergenceName {
    ReverseKl,
    ForwardKl,
    JsDivergence,
    AlphaDivergence,
}

/// Loss types that are functions of a difference of scores, and `sft`, which no divergence touches.
const OF_DIFFERENCE: &[LossType] = &[
    LossType::Sigmoid,
    LossType::SigmoidNorm,
    LossType::Hinge,
    LossType::Ipo,
    LossType::IpoSum,
    LossType::ExoPair,
    LossType::Robust,
    LossType::Discopop,
    LossType::Sft,
];

/// Settings that make no objective.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LossSettingsError {
    /// A setting that none of the chosen losses reads.
    #[error("`{setting}` is set, and loss type `{loss_types}` does not read it")]
    NotRead {
        /// The setting.
        setting: &'static str,
        /// What was chosen.
        loss_types: String,
        /// Whose setting it is.
        readers: String,
    },
    /// A setting that one of the chosen losses cannot have.
    #[error("`{setting}` cannot be combined with loss type `{loss_type}`")]
    NotWith {
        /// The setting.
        setting: &'static str,
        /// The loss.
        loss_type: &'static str,
    },
    /// A setting without the one it belongs to.
    #[error("`{setting}` is set, and it is read only with {with}")]
    Without {
        /// The setting.
        setting: &'static str,
        /// What it needs.
        with: &'static str,
    },
    /// Another number of weights than of losses.
    #[error("expected {expected} of `loss_weights`, one a loss type, found {found}")]
    Weights {
        /// Loss types.
        expected: usize,
        /// Weights.
        found: usize,
    },
    /// A value that the chosen loss cannot have.
    #[error(transparent)]
    Value(LossError),
}

impl Hint for LossSettingsError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NotRead { readers, .. } => Some(format!("it is a setting of {readers}")),
            Self::NotWith { .. } => Some(format!("it can be combined with {}", names(OF_DIFFERENCE))),
            Self::Without { .. } | Self::Weights { .. } => None,
            Self::Value(error) => error.hint(),
        }
    }
}

impl LossSettings {
    /// The objective these settings, with the defaults in them, describe.
    pub(super) fn objective(&self) -> Result<Objective, PipelineError> {
        let loss_types = need(self.loss_type.as_deref(), "train.loss.loss_type", "--loss-type")?;
        let wrap = |source| PipelineError::Loss { source };
        self.check(loss_types, &file::defaults()?.train.loss).map_err(wrap)?;
        let beta = need(self.beta, "train.loss.beta", "--beta")?;
        let mut terms = Vec::new();
        for (at, loss_type) in loss_types.iter().enumerate() {
            let weight = self.loss_weights.as_ref().and_then(|weights| weights.get(at).copied());
            for (factor, term) in self.terms(*loss_type, beta)? {
                terms.push((weight.unwrap_or(LossWeight::ONE).times(factor), term));
            }
        }
        let is_free = need(self.reference_free, "train.loss.reference_free", "--reference-free")?;
        let baseline = if is_free { Baseline::Uniform } else { Baseline::Reference };
        Ok(Objective::sum(beta, terms).with_divergence(self.divergence()?).with_baseline(baseline))
    }

    /// What a loss type stands for: terms with their weights.
    fn terms(&self, loss_type: LossType, beta: Beta) -> Result<Vec<(f64, Term)>, PipelineError> {
        let label_smoothing = need(self.label_smoothing, "train.loss.label_smoothing", "--label-smoothing")?;
        let gamma = need(self.simpo_gamma, "train.loss.simpo_gamma", "--simpo-gamma")?;
        let one = |term| Ok(vec![(1.0, term)]);
        match loss_type {
            LossType::Sigmoid => one(Term::Sigmoid { label_smoothing }),
            LossType::Hinge => one(Term::Hinge),
            LossType::Ipo => one(Term::Ipo),
            LossType::IpoSum => one(Term::IpoSum),
            LossType::ExoPair => {
                let label_smoothing = ExoSmoothing::try_from(label_smoothing.get())
                    .map_err(|error| PipelineError::Loss { source: LossSettingsError::Value(error) })?;
                one(Term::ExoPair { label_smoothing })
            }
            LossType::NcaPair => one(Term::NcaPair),
            LossType::Robust => one(Term::Robust { label_smoothing }),
            LossType::BcoPair => one(Term::BcoPair),
            LossType::SppoHard => one(Term::SppoHard),
            LossType::ApoZero => one(Term::ApoZero),
            LossType::ApoDown => one(Term::ApoDown),
            LossType::Discopop => {
                one(Term::Discopop { tau: need(self.discopop_tau, "train.loss.discopop_tau", "--discopop-tau")? })
            }
            LossType::Sft => one(Term::Sft),
            LossType::SigmoidNorm => one(Term::SigmoidNorm),
            LossType::Dpop => {
                one(Term::Dpop { lambda: need(self.dpop_lambda, "train.loss.dpop_lambda", "--dpop-lambda")? })
            }
            LossType::Simpo => one(Term::Simpo { gamma, label_smoothing }),
            LossType::Cpo => {
                let alpha = need(self.cpo_alpha, "train.loss.cpo_alpha", "--cpo-alpha")?.get();
                Ok(vec![(1.0, Term::Cpo { label_smoothing }), (alpha, Term::Sft)])
            }
            // The odds ratio has no β of its own, so TRL calls its weight β.
            LossType::Orpo => Ok(vec![(1.0, Term::Sft), (beta.get(), Term::OddsRatio)]),
            LossType::Alphapo => {
                let alpha = need(self.alphapo_alpha, "train.loss.alphapo_alpha", "--alphapo-alpha")?;
                one(Term::Alphapo { alpha, gamma, label_smoothing })
            }
            LossType::Slic => one(Term::Slic {
                delta: need(self.slic_delta, "train.loss.slic_delta", "--slic-delta")?,
                lambda: need(self.slic_lambda, "train.loss.slic_lambda", "--slic-lambda")?,
            }),
            LossType::PreferredFt => one(Term::PreferredFt),
            LossType::Unlikelihood => one(Term::Unlikelihood {
                alpha: need(self.unlikelihood_alpha, "train.loss.unlikelihood_alpha", "--unlikelihood-alpha")?,
            }),
        }
    }

    fn divergence(&self) -> Result<Divergence, PipelineError> {
        Ok(match need(self.f_divergence_type, "train.loss.f_divergence_type", "--f-divergence-type")? {
            DivergenceName::ReverseKl => Divergence::ReverseKl,
            DivergenceName::ForwardKl => Divergence::ForwardKl,
            DivergenceName::JsDivergence => Divergence::JsDivergence,
            DivergenceName::AlphaDivergence => Divergence::AlphaDivergence(need(
                self.f_alpha_divergence_coef,
                "train.loss.f_alpha_divergence_coef",
                "--f-alpha-divergence-coef",
            )?),
        })
    }

    /// Refuses what would be ignored.
    fn check(&self, loss_types: &[LossType], defaults: &Self) -> Result<(), LossSettingsError> {
        for (setting, is_changed, readers) in self.readers(defaults) {
            if is_changed && !loss_types.iter().any(|loss_type| readers.contains(loss_type)) {
                let (loss_types, readers) = (names(loss_types), names(readers));
                return Err(LossSettingsError::NotRead { setting, loss_types, readers });
            }
        }
        if let Some(weights) = &self.loss_weights
            && weights.len() != loss_types.len()
        {
            return Err(LossSettingsError::Weights { expected: loss_types.len(), found: weights.len() });
        }
        let has_divergence = self.f_divergence_type != Some(DivergenceName::ReverseKl);
        let is_free = self.reference_free == Some(true);
        for (setting, is_set) in [("f_divergence_type", has_divergence), ("reference_free", is_free)] {
            if is_set && let Some(other) = loss_types.iter().find(|loss_type| !OF_DIFFERENCE.contains(loss_type)) {
                return Err(LossSettingsError::NotWith { setting, loss_type: other.name() });
            }
        }
        if has_divergence && is_free {
            let with = "`f_divergence_type = \"reverse_kl\"`: a divergence is from a reference";
            return Err(LossSettingsError::Without { setting: "reference_free", with });
        }
        let is_alpha = self.f_divergence_type == Some(DivergenceName::AlphaDivergence);
        if self.f_alpha_divergence_coef != defaults.f_alpha_divergence_coef && !is_alpha {
            let with = "`f_divergence_type = \"alpha_divergence\"`";
            return Err(LossSettingsError::Without { setting: "f_alpha_divergence_coef", with });
        }
        Ok(())
    }

    /// The settings that only some loss types read: whether each differs from its default, and who reads it.
    fn readers(&self, defaults: &Self) -> [(&'static str, bool, &'static [LossType]); 9] {
        use LossType::{Alphapo, Cpo, Discopop, Dpop, ExoPair, Robust, Sigmoid, Simpo, Slic, Unlikelihood};
        [
            (
                "label_smoothing",
                self.label_smoothing != defaults.label_smoothing,
                &[Sigmoid, Robust, ExoPair, Cpo, Simpo, Alphapo],
            ),
            ("discopop_tau", self.discopop_tau != defaults.discopop_tau, &[Discopop]),
            ("dpop_lambda", self.dpop_lambda != defaults.dpop_lambda, &[Dpop]),
            ("simpo_gamma", self.simpo_gamma != defaults.simpo_gamma, &[Simpo, Alphapo]),
            ("alphapo_alpha", self.alphapo_alpha != defaults.alphapo_alpha, &[Alphapo]),
            ("cpo_alpha", self.cpo_alpha != defaults.cpo_alpha, &[Cpo]),
            ("slic_delta", self.slic_delta != defaults.slic_delta, &[Slic]),
            ("slic_lambda", self.slic_lambda != defaults.slic_lambda, &[Slic]),
            ("unlikelihood_alpha", self.unlikelihood_alpha != defaults.unlikelihood_alpha, &[Unlikelihood]),
        ]
    }
}

fn names(loss_types: &[LossType]) -> String {
    loss_types.iter().map(|loss_type| loss_type.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
