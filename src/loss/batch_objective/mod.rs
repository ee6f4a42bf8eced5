//! Objectives that need more than a pair's sums: its tokens, outside scores, or the whole optimiser batch.
//!
//! | setting | what | needs | from |
//! |---|---|---|---|
//! | [`BatchTerm::Aot`] | DPO on the sorted `π_w − π_l` against the sorted `ρ_w − ρ_l` | batch | arXiv:2406.05882 |
//! | [`BatchTerm::AotUnpaired`] | DPO on the sorted `r_w` against the sorted `r_l` | batch | the same |
//! | [`BatchTerm::BcoShifted`] | BCO with its reward shift δ, a running mean | batch, state | arXiv:2404.04656 |
//! | [`BatchTerm::RewardAware`] | the margin is to be the gap of two outside scores | scores | arXiv:2502.00203 |
//! | [`CompletionRule::LdDpo`] | tokens beyond the shorter completion count α | tokens | arXiv:2409.06411 |
//! | [`CompletionRule::Humanline`] | log-ratios of tokens are clipped | tokens | arXiv:2509.24207 |
//! | [`Weighting::Wpo`] | a pair counts as likely as the policy is to write it | `Σ ln Σ_v π(v)²` | arXiv:2406.11827, eq. 2 |
//! | [`Weighting::WpoMean`] | the same without alignment | – | the same |
//! | [`Average::DrDpo`] | pairs of great loss count less | batch | arXiv:2407.07880 |
//!
//! What a [`Scope::Batch`] objective says of a pair depends on the others, so it has to see the pairs of one optimiser step
//! at once; a [`Scope::Pair`] objective says the same of a pair in whatever part of them it stands.

mod average;
mod inputs;
mod reward_aware;
mod shift;
mod sorted;
mod tokens;
mod weighting;

use serde::Serialize;

pub use average::Average;
pub use inputs::{Needs, PairInputs, PairScores, PairSlopes, PairTokenLogps, Slope};
pub use reward_aware::RewardDistance;
pub use shift::{ObjectiveState, RunningMean};
pub use tokens::{Clip, CompletionRule};
pub use weighting::Weighting;

use super::numeric::Curve;
use super::objective::{Objective, Term, Weighted};
use super::pair::{BatchFacts, PairLoss, PairSums, View};
use super::params::{LabelSmoothing, LossError, LossWeight, RewardScale};

/// A term that sees more than a pair's sums.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "loss_type", rename_all = "snake_case")]
pub enum BatchTerm {
    /// The policy's gaps of log-probs are to dominate the reference's, as distributions over the batch.
    Aot {
        /// ε
        label_smoothing: LabelSmoothing,
    },
    /// The log-ratios of chosen completions are to dominate those of rejected ones.
    AotUnpaired {
        /// ε
        label_smoothing: LabelSmoothing,
    },
    /// BCO whose rewards are shifted by the running mean of all.
    BcoShifted,
    /// Reward-aware preference optimisation.
    RewardAware {
        /// How far the margin is from the gap of the scores.
        distance: RewardDistance,
        /// η
        scale: RewardScale,
    },
}

/// What an objective has to see at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Each pair by itself.
    Pair,
    /// All pairs of an optimiser step.
    Batch,
}

/// An objective over the pairs of an optimiser step. In a record of a run, one of sums alone is its [`Objective`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BatchObjective {
    #[serde(flatten)]
    objective: Objective,
    #[serde(skip_serializing_if = "is_default")]
    batch_terms: Vec<Weighted<BatchTerm>>,
    #[serde(skip_serializing_if = "is_default")]
    completion: CompletionRule,
    #[serde(skip_serializing_if = "is_default")]
    weighting: Weighting,
    #[serde(skip_serializing_if = "is_default")]
    average: Average,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl From<Objective> for BatchObjective {
    fn from(objective: Objective) -> Self {
        Self::new(objective)
    }
}

impl BatchObjective {
    /// An objective of sums alone, as one over batches.
    pub fn new(objective: Objective) -> Self {
        Self {
            objective,
            batch_terms: Vec::new(),
            completion: CompletionRule::Sum,
            weighting: Weighting::None,
            average: Average::Mean,
        }
    }

    /// The same with one more term.
    ///
    /// # Errors
    /// If pairs are weighted and the term sorts them.
    pub fn with_term(mut self, weight: LossWeight, term: BatchTerm) -> Result<Self, LossError> {
        self.batch_terms.push(Weighted { weight, term });
        self.checked()
    }

    /// The same with another rule of how log-probs of tokens add up.
    #[must_use]
    pub fn with_completion(self, completion: CompletionRule) -> Self {
        Self { completion, ..self }
    }

    /// The same with weighted pairs.
    ///
    /// # Errors
    /// If a term is of no one pair: it sorts them, or is a mean over tokens.
    pub fn with_weighting(self, weighting: Weighting) -> Result<Self, LossError> {
        Self { weighting, ..self }.checked()
    }

    /// The same with another average over the batch.
    #[must_use]
    pub fn with_average(self, average: Average) -> Self {
        Self { average, ..self }
    }

    fn checked(self) -> Result<Self, LossError> {
        if self.weighting == Weighting::None {
            return Ok(self);
        }
        let refuse = |other, reason| Err(LossError::Combination { one: "use_weighting", other, reason });
        let sorts = |term| matches!(term, BatchTerm::Aot { .. } | BatchTerm::AotUnpaired { .. });
        if self.batch_terms.iter().any(|weighted| sorts(weighted.term)) {
            return refuse("aot", "a sorted gap is of no one pair, so there is no pair whose weight it could have");
        }
        // TRL 1.16 stops with an error here, so there is nothing to agree with.
        if self.objective.terms().iter().any(|weighted| weighted.term == Term::Sft) {
            return refuse("sft", "a mean over the tokens of a batch is of no one pair");
        }
        Ok(self)
    }

    /// What it has to see at once.
    pub fn scope(&self) -> Scope {
        let has_batch_term =
            self.batch_terms.iter().any(|weighted| !matches!(weighted.term, BatchTerm::RewardAware { .. }));
        if has_batch_term || self.average != Average::Mean { Scope::Batch } else { Scope::Pair }
    }

    /// What it has to be given of a pair beside its sums.
    pub fn needs(&self) -> Needs {
        let has_scores = |weighted: &Weighted<BatchTerm>| matches!(weighted.term, BatchTerm::RewardAware { .. });
        Needs {
            tokens: self.completion != CompletionRule::Sum,
            collisions: self.weighting == Weighting::Wpo,
            scores: self.batch_terms.iter().any(has_scores),
        }
    }

    /// The part of it that is of sums.
    pub fn of_sums(&self) -> &Objective {
        &self.objective
    }

    /// The terms that see more.
    pub fn batch_terms(&self) -> &[Weighted<BatchTerm>] {
        &self.batch_terms
    }

    /// The β that rewards are reported with.
    pub fn beta(&self) -> super::Beta {
        self.objective.beta()
    }

    /// Losses of pairs, with slopes: their mean is the loss of the step, and the gradient of the step is the mean of the
    /// gradients these slopes make.
    ///
    /// `pairs` are all of an optimiser step, or any of them if the scope is [`Scope::Pair`]. The state moves on by one
    /// step where the objective has one.
    ///
    /// # Errors
    /// If a pair lacks what the objective needs, or its token log-probs are not one a token.
    pub fn losses(
        &self,
        pairs: &[PairInputs<'_>],
        facts: BatchFacts,
        state: &mut ObjectiveState,
    ) -> Result<Vec<PairSlopes>, LossError> {
        let counted = pairs
            .iter()
            .enumerate()
            .map(|(at, pair)| self.completion.count(at, pair))
            .collect::<Result<Vec<_>, _>>()?;
        let views: Vec<View> = counted.iter().map(|pair| self.objective.view(&pair.sums, facts)).collect();
        let mut preference: Vec<PairLoss> =
            counted.iter().map(|pair| self.objective.preference_loss(&pair.sums, facts)).collect();
        for weighted in &self.batch_terms {
            let losses = batch_term(weighted.term, &views, pairs, state)?;
            for (sum, loss) in preference.iter_mut().zip(losses) {
                *sum = *sum + loss.times(weighted.weight.get());
            }
        }
        // The supervised term is of all tokens alike, whatever the rule is by which the others count them.
        let mut supervised: Vec<PairLoss> =
            pairs.iter().map(|pair| self.objective.supervised_loss(&pair.sums, facts)).collect();

        for (loss, weight) in preference.iter_mut().zip(self.weighting.weights(pairs)?) {
            *loss = loss.times(weight);
        }
        self.average.apply(&mut preference, &mut supervised);
        let pairs = counted.iter().zip(preference).zip(supervised);
        Ok(pairs.map(|((counted, preference), supervised)| counted.slopes(preference, supervised)).collect())
    }
}

fn batch_term(
    term: BatchTerm,
    views: &[View],
    pairs: &[PairInputs<'_>],
    state: &mut ObjectiveState,
) -> Result<Vec<PairLoss>, LossError> {
    match term {
        BatchTerm::Aot { label_smoothing } => Ok(sorted::aot(views, label_smoothing.get())),
        BatchTerm::AotUnpaired { label_smoothing } => Ok(sorted::aot_unpaired(views, label_smoothing.get())),
        BatchTerm::BcoShifted => Ok(shift::bco(views, &mut state.bco_shift)),
        BatchTerm::RewardAware { distance, scale } => views
            .iter()
            .zip(pairs)
            .enumerate()
            .map(|(at, (view, pair))| {
                let scores = pair.scores.ok_or(LossError::Missing { pair: at, what: "outside scores" })?;
                let gap = scale.get() * (scores.chosen - scores.rejected);
                Ok(view.of_margin(|margin| -> Curve { reward_aware::loss(distance, margin, gap) }))
            })
            .collect(),
    }
}

/// A pair whose tokens were counted by a rule.
struct Counted {
    /// The sums, by the rule.
    sums: PairSums,
    /// How much each token counts; `None` where all count once.
    counts: Option<TokenCounts>,
}

/// ∂(counted log-prob)/∂(log-prob of a token), for each token.
struct TokenCounts {
    chosen: Vec<f64>,
    rejected: Vec<f64>,
}

impl Counted {
    /// Slopes in what the rule counts, as slopes in log-probs of tokens. The supervised loss is of plain sums.
    fn slopes(&self, preference: PairLoss, supervised: PairLoss) -> PairSlopes {
        let slope = |counts: Option<&[f64]>, counted: f64, plain: f64| match counts {
            None => Slope::Sequence(counted + plain),
            Some(counts) => Slope::Tokens(counts.iter().map(|count| counted * count + plain).collect()),
        };
        let counts = self.counts.as_ref();
        PairSlopes {
            value: preference.value + supervised.value,
            chosen: slope(counts.map(|counts| counts.chosen.as_slice()), preference.d_chosen, supervised.d_chosen),
            rejected: slope(
                counts.map(|counts| counts.rejected.as_slice()),
                preference.d_rejected,
                supervised.d_rejected,
            ),
        }
    }
}

#[cfg(test)]
mod tests;
