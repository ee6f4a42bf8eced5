//! Objectives: value and slopes in closed form, in `f64`; no tensors, no files.
//!
//! Invariant: the slopes a run follows are the slopes of the value it reports. The backward pass starts from them, so
//! no autograd ever sees a softplus.
//!
//! # The objectives
//!
//! `π`, `ρ`: log-probs under policy and reference, summed over completion tokens; `r = π − ρ`; `m = β·(r_w − r_l)`; a bar
//! is a mean a token; `s(x) = ln(1 + eˣ)`. *Start* is the value where policy and reference agree, with ε for label
//! smoothing.
//!
//! | [`Term`] | value | start | from |
//! |---|---|---|---|
//! | `Sigmoid` | `(1−ε)·s(−m) + ε·s(m)` | ln 2 | DPO, arXiv:2305.18290, eq. 7; cDPO |
//! | `Robust` | `[(1−ε)·s(−m) − ε·s(m)]/(1−2ε)` | ln 2 | arXiv:2403.00409 |
//! | `Hinge` | `max(0, 1−m)` | 1 | RSO, arXiv:2309.06657 |
//! | `Ipo` | `(r̄_w − r̄_l − 1/(2β))²` | 1/(4β²) | arXiv:2310.12036, eq. 17 |
//! | `IpoSum` | `(r_w − r_l − 1/(2β))²` | 1/(4β²) | the same |
//! | `ExoPair` | `KL(σ(m) ‖ 1−ε)` of Bernoulli | −ln 2 − ½·ln(ε(1−ε)) | arXiv:2402.00856, eq. 16 |
//! | `Discopop` | `(1−w)·s(−m) + w·e⁻ᵐ`, `w = σ(m/τ)` | ½·ln 2 + ½ | arXiv:2406.08414, eq. 5 |
//! | `SigmoidNorm` | `s(−β·(r̄_w − r̄_l))` | ln 2 | Tülu 3, arXiv:2411.15124 |
//! | `Dpop` | `s(−β·(r_w − r_l − λ·max(0, −r_w)))` | ln 2 | arXiv:2402.13228 |
//! | `NcaPair` | `s(−βr_w) + ½·s(βr_w) + ½·s(βr_l)` | 2·ln 2 | arXiv:2402.05369 |
//! | `BcoPair` | `s(−βr_w) + s(βr_l)` | 2·ln 2 | arXiv:2404.04656, without its shift |
//! | `SppoHard` | `(r_w − 1/(2β))² + (r_l + 1/(2β))²` | 1/(2β²) | arXiv:2405.00675, eq. 4.7 |
//! | `ApoZero` | `1 − σ(βr_w) + σ(βr_l)` | 1 | arXiv:2408.06266, eq. 7 |
//! | `ApoDown` | `σ(βr_w) + 1 − σ(m)` | 1 | the same, eq. 8 |
//! | `Sft` | `−Σπ_w/Σ\|y_w\|`, sums over the batch | NLL | RPO, MPO, CPO, ORPO |
//! | `PreferredFt` | `−π_w` | NLL | DPO, section 6 |
//! | `Unlikelihood` | `−π_w + α·π_l` | – | DPO, section 6 |
//! | `Cpo` | `s(−β·(π_w − π_l))`, with ε | – | arXiv:2401.08417, eq. 3 |
//! | `Simpo` | `s(γ − β·(π̄_w − π̄_l))`, with ε | – | arXiv:2405.14734 |
//! | `Alphapo` | the same of `(1 − e^(−απ̄))/α` | – | arXiv:2501.03884 |
//! | `OddsRatio` | `s(o_l − o_w)`, `o = π̄ − ln(1 − e^π̄)` | – | ORPO, arXiv:2403.07691, eqs. 4, 7 |
//! | `Slic` | `max(0, δ − π_w + π_l) − λ·π_w` | – | arXiv:2305.10425 |
//!
//! Sums of terms make RPO (`Sigmoid` + α·`Sft`), MPO (0.8·`Sigmoid` + 0.2·`BcoPair` + `Sft`), CPO (`Cpo` + α·`Sft`) and ORPO
//! (λ·`OddsRatio` + `Sft`). A [`Divergence`] replaces `r` in the terms of a score difference; [`Baseline::Uniform`] sets
//! `ρ = 0`.
//!
//! All these need a pair's sums and token counts, and nothing of another pair: [`Objective`]. What needs more, the tokens,
//! outside scores or the whole optimiser batch, is [`BatchObjective`], which holds an [`Objective`].
//!
//! # Range
//!
//! Value and slopes are finite wherever log-probs and their differences are below 10⁶ nats, farther than any text is.
//!
//! # Rewards
//!
//! Metrics report `β·(π − ρ)` whatever the objective is, reference-free ones too, so that runs with different objectives
//! can be compared. TRL's CPO and ORPO trainers report `β·π` instead.
//!
//! # Not supported
//!
//! TDPO (arXiv:2404.11999) needs the reference's whole next-token distribution at each position, and a table holds the
//! log-prob of the token that is there. TPO (arXiv:2405.16681) needs a third completion.

mod apart;
mod batch_objective;
mod divergence;
mod likelihood;
mod margin;
mod numeric;
mod objective;
mod pair;
mod params;
mod reference_free;
mod squared;
#[cfg(test)]
mod tests;

pub use batch_objective::{
    Average, BatchObjective, BatchTerm, Clip, CompletionRule, Needs, ObjectiveState, PairInputs, PairScores,
    PairSlopes, PairTokenLogps, RewardDistance, RunningMean, Scope, Slope, Weighting,
};
pub use divergence::Divergence;
pub use numeric::{log_sigmoid, sigmoid, softplus};
pub use objective::{Baseline, Objective, Term, Weighted};
pub use pair::{BatchFacts, PairLogps, PairLoss, PairSums, PairTokens};
pub use params::{
    AlphapoAlpha, Beta, CpoAlpha, DiscopopTau, DivergenceAlpha, DpopLambda, DrBeta, ExoSmoothing, LabelSmoothing,
    LdAlpha, LossError, LossWeight, RewardScale, SimpoGamma, SlicDelta, SlicLambda, UnlikelihoodAlpha,
};

/// Implicit reward `β·(ln π_θ − ln π_ref)`, in β·nats (eq. 5 without its partition term, which cancels in a pair).
pub fn reward(beta: Beta, policy_logps: f64, reference_logps: f64) -> f64 {
    beta.get() * (policy_logps - reference_logps)
}
