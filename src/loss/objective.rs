//! An objective: a weighted sum of terms, each a function of a pair's sums.

use serde::Serialize;

use super::numeric::Curve;
use super::pair::{BatchFacts, PairLogps, PairLoss, PairSums, View};
use super::params::{
    AlphapoAlpha, Beta, DiscopopTau, DpopLambda, ExoSmoothing, LabelSmoothing, LossWeight, SimpoGamma, SlicDelta,
    SlicLambda, UnlikelihoodAlpha,
};
use super::{Divergence, apart, likelihood, margin, reference_free, squared};

/// One objective on a pair's sums; what each is, and where it comes from, stands at its function and in the table of
/// [`crate::loss`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "loss_type", rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "the settings are documented at their types, the objectives in the table of the module"
)]
pub enum Term {
    Sigmoid { label_smoothing: LabelSmoothing },
    Robust { label_smoothing: LabelSmoothing },
    Hinge,
    Ipo,
    IpoSum,
    ExoPair { label_smoothing: ExoSmoothing },
    NcaPair,
    BcoPair,
    SppoHard,
    ApoZero,
    ApoDown,
    Discopop { tau: DiscopopTau },
    SigmoidNorm,
    Dpop { lambda: DpopLambda },
    Sft,
    PreferredFt,
    Unlikelihood { alpha: UnlikelihoodAlpha },
    Cpo { label_smoothing: LabelSmoothing },
    Simpo { gamma: SimpoGamma, label_smoothing: LabelSmoothing },
    Alphapo { alpha: AlphapoAlpha, gamma: SimpoGamma, label_smoothing: LabelSmoothing },
    OddsRatio,
    Slic { delta: SlicDelta, lambda: SlicLambda },
}

impl Term {
    /// Whether the term is a function of the difference of the two scores, so that a divergence may shape them and the
    /// reference may be left out.
    pub fn is_of_score_difference(self) -> bool {
        matches!(
            self,
            Self::Sigmoid { .. }
                | Self::Robust { .. }
                | Self::Hinge
                | Self::Ipo
                | Self::IpoSum
                | Self::ExoPair { .. }
                | Self::Discopop { .. }
                | Self::SigmoidNorm
        )
    }

    fn loss(self, pair: &View) -> PairLoss {
        match self {
            Self::Sigmoid { label_smoothing } => pair.of_margin(|m| margin::logistic(m, label_smoothing.get())),
            Self::Robust { label_smoothing } => pair.of_margin(|m| margin::robust(m, label_smoothing.get())),
            Self::Hinge => pair.of_margin(margin::hinge),
            Self::ExoPair { label_smoothing } => pair.of_margin(|m| margin::exo(m, label_smoothing.get())),
            Self::Discopop { tau } => pair.of_margin(|m| margin::discopop(m, tau.get())),
            Self::SigmoidNorm => pair.of_mean_margin(|m| margin::logistic(m, 0.0)),
            Self::Dpop { lambda } => margin::dpop(pair, lambda.get()),
            Self::Ipo => squared::ipo(pair),
            Self::IpoSum => squared::ipo_sum(pair),
            Self::SppoHard => squared::sppo_hard(pair),
            Self::NcaPair => apart::nca(pair),
            Self::BcoPair => apart::bco(pair, 0.0),
            Self::ApoZero => apart::apo_zero(pair),
            Self::ApoDown => apart::apo_down(pair),
            Self::Sft => likelihood::sft(pair),
            Self::PreferredFt => likelihood::preferred_ft(pair),
            Self::Unlikelihood { alpha } => likelihood::unlikelihood(pair, alpha.get()),
            Self::Cpo { label_smoothing } => reference_free::cpo(pair, label_smoothing.get()),
            Self::Simpo { gamma, label_smoothing } => reference_free::simpo(pair, gamma.get(), label_smoothing.get()),
            Self::Alphapo { alpha, gamma, label_smoothing } => {
                reference_free::alphapo(pair, alpha.get(), gamma.get(), label_smoothing.get())
            }
            Self::OddsRatio => reference_free::odds_ratio(pair),
            Self::Slic { delta, lambda } => reference_free::slic(pair, delta.get(), lambda.get()),
        }
    }
}

/// A term of a sum.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Weighted<T> {
    /// What it is multiplied by.
    pub weight: LossWeight,
    /// The term.
    #[serde(flatten)]
    pub term: T,
}

/// What stands for ln π_ref in the terms that ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    /// The table's log-probs.
    Reference,
    /// 0: a reference to which everything is equally likely, `reference_free` of DPO's authors.
    Uniform,
}

/// What a run minimises: a sum of terms, averaged over the pairs of an optimiser batch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Objective {
    beta: Beta,
    divergence: Divergence,
    baseline: Baseline,
    terms: Vec<Weighted<Term>>,
}

impl Objective {
    /// DPO: `−ln σ(margin)`, with label smoothing cDPO.
    pub fn sigmoid(beta: Beta, label_smoothing: LabelSmoothing) -> Self {
        Self::sum(beta, [(LossWeight::ONE, Term::Sigmoid { label_smoothing })])
    }

    /// A sum of terms under one β, with reverse KL to the table's reference.
    pub fn sum(beta: Beta, terms: impl IntoIterator<Item = (LossWeight, Term)>) -> Self {
        let terms = terms.into_iter().map(|(weight, term)| Weighted { weight, term }).collect();
        Self { beta, divergence: Divergence::ReverseKl, baseline: Baseline::Reference, terms }
    }

    /// The same with another divergence. It shapes the terms of the score difference; others do not see it.
    #[must_use]
    pub fn with_divergence(self, divergence: Divergence) -> Self {
        Self { divergence, ..self }
    }

    /// The same with another baseline.
    #[must_use]
    pub fn with_baseline(self, baseline: Baseline) -> Self {
        Self { baseline, ..self }
    }

    /// Loss of one pair.
    pub fn loss(&self, pair: &PairSums, facts: BatchFacts) -> PairLoss {
        let view = self.view(pair, facts);
        self.sum_of(&view, |_| true)
    }

    /// Loss of one pair without its [`Term::Sft`].
    pub(super) fn preference_loss(&self, pair: &PairSums, facts: BatchFacts) -> PairLoss {
        self.sum_of(&self.view(pair, facts), |term| term != Term::Sft)
    }

    /// [`Term::Sft`] of one pair, 0 if the objective has none.
    pub(super) fn supervised_loss(&self, pair: &PairSums, facts: BatchFacts) -> PairLoss {
        self.sum_of(&self.view(pair, facts), |term| term == Term::Sft)
    }

    /// The β that rewards are reported with.
    pub fn beta(&self) -> Beta {
        self.beta
    }

    /// The terms.
    pub fn terms(&self) -> &[Weighted<Term>] {
        &self.terms
    }

    pub(super) fn view(&self, pair: &PairSums, facts: BatchFacts) -> View {
        let reference = match self.baseline {
            Baseline::Reference => pair.reference,
            Baseline::Uniform => PairLogps { chosen: 0.0, rejected: 0.0 },
        };
        let ratios = PairLogps {
            chosen: pair.policy.chosen - reference.chosen,
            rejected: pair.policy.rejected - reference.rejected,
        };
        let score = |ratio| -> Curve { self.divergence.score(ratio) };
        View {
            beta: self.beta.get(),
            policy: pair.policy,
            ratios,
            chosen_score: score(ratios.chosen),
            rejected_score: score(ratios.rejected),
            tokens: pair.tokens,
            facts,
        }
    }

    fn sum_of(&self, view: &View, is_asked: impl Fn(Term) -> bool) -> PairLoss {
        self.terms
            .iter()
            .filter(|weighted| is_asked(weighted.term))
            .map(|weighted| weighted.term.loss(view).times(weighted.weight.get()))
            .fold(PairLoss::NONE, |sum, loss| sum + loss)
    }
}
