//! `[train.loss]`: which objective, and the settings of it. A setting that the chosen objective does not read is refused,
//! unless it has its default.

mod check;

use serde::{Deserialize, Serialize};

use super::error::PipelineError;
use super::file;
use super::loss_type::{LossType, LossTypeParser, one_or_more};
use super::plans::need;
use super::settings::words;
use super::values::number;
use crate::loss::{
    AlphapoAlpha, Average, Baseline, BatchObjective, BatchTerm, Beta, Clip, CompletionRule, CpoAlpha, DiscopopTau,
    Divergence, DivergenceAlpha, DpopLambda, DrBeta, ExoSmoothing, LabelSmoothing, LdAlpha, LossError, LossWeight,
    Objective, RewardDistance, RewardScale, SimpoGamma, SlicDelta, SlicLambda, Term, UnlikelihoodAlpha, Weighting,
};
use crate::table::ScoreColumns;

pub use check::LossSettingsError;

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

    /// Share of the labels taken to be flipped, in [0, 0.5). Read by sigmoid, robust, exo_pair, cpo, simpo, alphapo, aot,
    /// aot_unpaired, dr_dpo and wpo.
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

    /// β′ of dr_dpo, above 0: the smaller, the less a pair of great loss counts.
    #[arg(long, value_name = "BETA", value_parser = number::<DrBeta>)]
    pub dr_beta: Option<DrBeta>,

    /// Shift the rewards of bco_pair by their running mean.
    #[arg(long, num_args = 0, default_missing_value = "true")]
    pub bco_shift: Option<bool>,

    /// η of rpo_sq, rpo_bwd_kl and rpo_fwd_kl: nats of margin per unit of score.
    #[arg(long, value_name = "SCALE", value_parser = number::<RewardScale>)]
    pub gt_reward_scale: Option<RewardScale>,

    /// Column of the table with the scores of the preferred answers, for rpo_sq, rpo_bwd_kl and rpo_fwd_kl.
    #[arg(long, value_name = "COLUMN")]
    pub chosen_score_column: Option<String>,

    /// Column of the table with the scores of the other answers.
    #[arg(long, value_name = "COLUMN")]
    pub rejected_score_column: Option<String>,

    /// α of LD-DPO, in [0, 1]: how much the tokens of an answer count that lie beyond the length of the shorter one.
    /// Default: as much as the others.
    #[arg(long, value_name = "ALPHA", value_parser = number::<LdAlpha>)]
    pub ld_alpha: Option<LdAlpha>,

    /// Weight each pair by how likely the policy is to write it (WPO).
    #[arg(long, num_args = 0, default_missing_value = "true")]
    pub use_weighting: Option<bool>,

    /// Clip the log-ratio of policy and reference of every token (humanline).
    #[arg(long, num_args = 0, default_missing_value = "true")]
    pub humanline: Option<bool>,

    /// Least log-ratio of a token under humanline, in nats: at most 0.
    #[arg(long, value_name = "NATS", value_parser = number::<f64>)]
    pub log_epsilon_p: Option<f64>,

    /// Greatest log-ratio of a token under humanline, in nats: at least 0.
    #[arg(long, value_name = "NATS", value_parser = number::<f64>)]
    pub log_epsilon_r: Option<f64>,
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

/// A part of an objective: of a pair's sums, or of more.
enum Part {
    OfSums(Term),
    OfBatch(BatchTerm),
}

impl From<Term> for Part {
    fn from(term: Term) -> Self {
        Self::OfSums(term)
    }
}

impl From<BatchTerm> for Part {
    fn from(term: BatchTerm) -> Self {
        Self::OfBatch(term)
    }
}

/// Parts of an objective with their weights.
type Parts = Vec<(f64, Part)>;

fn one(part: impl Into<Part>) -> Parts {
    vec![(1.0, part.into())]
}

impl LossSettings {
    /// The objective these settings, with the defaults in them, describe.
    pub(super) fn objective(&self) -> Result<BatchObjective, PipelineError> {
        let loss_types = need(self.loss_type.as_deref(), "train.loss.loss_type", "--loss-type")?;
        self.check(loss_types, &file::defaults()?.train.loss).map_err(|source| PipelineError::Loss { source })?;
        let beta = need(self.beta, "train.loss.beta", "--beta")?;
        let (mut of_sums, mut of_batch) = (Vec::new(), Vec::new());
        for (at, loss_type) in loss_types.iter().enumerate() {
            let weight = self.loss_weights.as_ref().and_then(|weights| weights.get(at).copied());
            let weight = weight.unwrap_or(LossWeight::ONE);
            for (factor, part) in self.parts(*loss_type, beta)? {
                match part {
                    Part::OfSums(term) => of_sums.push((weight.times(factor), term)),
                    Part::OfBatch(term) => of_batch.push((weight.times(factor), term)),
                }
            }
        }
        let is_free = need(self.reference_free, "train.loss.reference_free", "--reference-free")?;
        let baseline = if is_free { Baseline::Uniform } else { Baseline::Reference };
        let of_sums = Objective::sum(beta, of_sums).with_divergence(self.divergence()?).with_baseline(baseline);
        let mut objective = BatchObjective::new(of_sums)
            .with_completion(self.completion()?)
            .with_average(self.average(loss_types)?)
            .with_weighting(self.weighting(loss_types)?)
            .map_err(value)?;
        for (weight, term) in of_batch {
            objective = objective.with_term(weight, term).map_err(value)?;
        }
        Ok(objective)
    }

    /// Where the outside scores are, for an objective that needs them.
    pub(super) fn score_columns(&self, objective: &BatchObjective) -> Result<Option<ScoreColumns>, PipelineError> {
        if !objective.needs().scores {
            return Ok(None);
        }
        let (chosen, rejected) = (self.chosen_score_column.clone(), self.rejected_score_column.clone());
        Ok(Some(ScoreColumns {
            chosen: need(chosen, "train.loss.chosen_score_column", "--chosen-score-column")?,
            rejected: need(rejected, "train.loss.rejected_score_column", "--rejected-score-column")?,
        }))
    }

    /// What a loss type stands for: terms with their weights.
    fn parts(&self, loss_type: LossType, beta: Beta) -> Result<Parts, PipelineError> {
        let label_smoothing = need(self.label_smoothing, "train.loss.label_smoothing", "--label-smoothing")?;
        let gamma = need(self.simpo_gamma, "train.loss.simpo_gamma", "--simpo-gamma")?;
        Ok(match loss_type {
            // What sets the last two apart is no term: an average, and a weighting.
            LossType::Sigmoid | LossType::DrDpo | LossType::Wpo => one(Term::Sigmoid { label_smoothing }),
            LossType::Hinge => one(Term::Hinge),
            LossType::Ipo => one(Term::Ipo),
            LossType::IpoSum => one(Term::IpoSum),
            LossType::ExoPair => {
                one(Term::ExoPair { label_smoothing: ExoSmoothing::try_from(label_smoothing.get()).map_err(value)? })
            }
            LossType::NcaPair => one(Term::NcaPair),
            LossType::Robust => one(Term::Robust { label_smoothing }),
            LossType::BcoPair => {
                let is_shifted = need(self.bco_shift, "train.loss.bco_shift", "--bco-shift")?;
                if is_shifted { one(BatchTerm::BcoShifted) } else { one(Term::BcoPair) }
            }
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
                vec![(1.0, Term::Cpo { label_smoothing }.into()), (alpha, Term::Sft.into())]
            }
            // The odds ratio has no β of its own, so TRL calls its weight β.
            LossType::Orpo => vec![(1.0, Term::Sft.into()), (beta.get(), Term::OddsRatio.into())],
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
            LossType::Aot => one(BatchTerm::Aot { label_smoothing }),
            LossType::AotUnpaired => one(BatchTerm::AotUnpaired { label_smoothing }),
            LossType::RpoSq => self.reward_aware(RewardDistance::Squared)?,
            LossType::RpoBwdKl => self.reward_aware(RewardDistance::BackwardKl)?,
            LossType::RpoFwdKl => self.reward_aware(RewardDistance::ForwardKl)?,
        })
    }

    fn reward_aware(&self, distance: RewardDistance) -> Result<Parts, PipelineError> {
        let scale = need(self.gt_reward_scale, "train.loss.gt_reward_scale", "--gt-reward-scale")?;
        Ok(one(BatchTerm::RewardAware { distance, scale }))
    }

    fn completion(&self) -> Result<CompletionRule, PipelineError> {
        if need(self.humanline, "train.loss.humanline", "--humanline")? {
            let low = need(self.log_epsilon_p, "train.loss.log_epsilon_p", "--log-epsilon-p")?;
            let high = need(self.log_epsilon_r, "train.loss.log_epsilon_r", "--log-epsilon-r")?;
            return Ok(CompletionRule::Humanline { clip: Clip::new(low, high).map_err(value)? });
        }
        Ok(self.ld_alpha.map_or(CompletionRule::Sum, |alpha| CompletionRule::LdDpo { alpha }))
    }

    fn average(&self, loss_types: &[LossType]) -> Result<Average, PipelineError> {
        if !loss_types.contains(&LossType::DrDpo) {
            return Ok(Average::Mean);
        }
        Ok(Average::DrDpo { beta: need(self.dr_beta, "train.loss.dr_beta", "--dr-beta")? })
    }

    fn weighting(&self, loss_types: &[LossType]) -> Result<Weighting, PipelineError> {
        let is_weighted = need(self.use_weighting, "train.loss.use_weighting", "--use-weighting")?;
        Ok(if is_weighted {
            Weighting::Wpo
        } else if loss_types.contains(&LossType::Wpo) {
            Weighting::WpoMean
        } else {
            Weighting::None
        })
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
}

fn value(error: LossError) -> PipelineError {
    PipelineError::Loss { source: LossSettingsError::Value(error) }
}

#[cfg(test)]
mod tests;
