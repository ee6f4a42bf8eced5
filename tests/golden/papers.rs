//! Objectives that no trainer at hand computes, on the pairs of `losses.json`: each value is held against the formula of
//! its authors, written down as they have it and with no care for large numbers, and each slope against difference
//! quotients of that formula.

use piref::loss::{
    Average, Baseline, BatchObjective, BatchTerm, Beta, Clip, CompletionRule, DrBeta, LossWeight, Objective,
    PairInputs, PairScores, PairSlopes, RewardDistance, Slope, Term, Weighting,
};

use super::losses::{Golden, Pair, inputs, losses};
use crate::support::golden;

const BETA: f64 = 0.3;

fn ln_sigmoid(x: f64) -> f64 {
    (1.0 / (1.0 + (-x).exp())).ln()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn beta() -> Beta {
    BETA.try_into().unwrap()
}

fn one(term: Term) -> BatchObjective {
    Objective::sum(beta(), [(LossWeight::ONE, term)]).into()
}

fn dpo() -> BatchObjective {
    one(Term::Sigmoid { label_smoothing: 0.0.try_into().unwrap() })
}

/// A pair as the papers write it.
#[derive(Clone, Copy)]
struct Symbols {
    /// ln π(y_w|x), ln π(y_l|x)
    policy: [f64; 2],
    reference: [f64; 2],
    tokens: [f64; 2],
    scores: [f64; 2],
    /// Means that weights are made of: a constant to the slopes.
    weight: f64,
}

impl Symbols {
    fn of(pair: &PairInputs<'_>) -> Self {
        let sums = &pair.sums;
        let scores = pair.scores.unwrap();
        Self {
            policy: [sums.policy.chosen, sums.policy.rejected],
            reference: [sums.reference.chosen, sums.reference.rejected],
            tokens: [sums.tokens.chosen as f64, sums.tokens.rejected as f64],
            scores: [scores.chosen, scores.rejected],
            weight: 1.0,
        }
    }

    fn ratio(&self, side: usize) -> f64 {
        self.policy[side] - self.reference[side]
    }

    fn margin(&self) -> f64 {
        BETA * (self.ratio(0) - self.ratio(1))
    }
}

/// 64 pairs of each kind, with scores.
fn pairs(of: &Golden) -> Vec<PairInputs<'_>> {
    let all: Vec<&Pair> = of.inputs.values().flatten().collect();
    assert!(all.len() >= 128);
    let score = |at: usize| ((at * 7 + 3) % 11) as f64 - 5.0;
    let scores =
        |at: usize, pair: &Pair| Some(PairScores { chosen: score(at), rejected: score(at + pair.chosen.policy.len()) });
    all.iter().enumerate().map(|(at, pair)| PairInputs { scores: scores(at, pair), ..inputs(pair) }).collect()
}

/// Difference quotient of fourth order.
fn quotient(value: impl Fn(f64) -> f64) -> f64 {
    const STEP: f64 = 2e-3;
    (8.0 * (value(STEP) - value(-STEP)) - (value(2.0 * STEP) - value(-2.0 * STEP))) / (12.0 * STEP)
}

#[track_caller]
fn near(got: f64, want: f64, relative: f64, context: &str) {
    let allowed = relative * want.abs().max(1.0);
    assert!((got - want).abs() <= allowed, "{context}: {got:e} is not {want:e}, off by {:e}", (got - want).abs());
}

/// A pair's own loss.
type Formula = Box<dyn Fn(&Symbols) -> f64>;

#[track_caller]
fn check_pair(name: &str, at: usize, got: &PairSlopes, pair: &Symbols, formula: &dyn Fn(&Symbols) -> f64) {
    let context = format!("{name}, pair {at}");
    near(got.value, formula(pair), 1e-12, &context);
    for (side, slope) in [&got.chosen, &got.rejected].into_iter().enumerate() {
        let moved = |step: f64| {
            let mut pair = *pair;
            pair.policy[side] += step;
            formula(&pair)
        };
        // All sums are multiples of 1/64, and so are corners at one: a quotient across one is no slope.
        let is_corner = |step: f64| {
            let (below, at, above) = (moved(-step), moved(0.0), moved(step));
            (above - 2.0 * at + below).abs() > 1e-2 * step
        };
        if !is_corner(4e-3) {
            near(slope.at(0), quotient(moved), 1e-8, &format!("{context}, side {side}"));
        }
    }
}

/// Objectives of one pair.
fn of_a_pair() -> Vec<(&'static str, BatchObjective, Formula)> {
    let gap = |pair: &Symbols| 0.7 * (pair.scores[0] - pair.scores[1]);
    // KL of Bernoulli distributions, given what their sigmoids are of.
    let kl =
        |a: f64, b: f64| sigmoid(a) * (sigmoid(a) / sigmoid(b)).ln() + sigmoid(-a) * (sigmoid(-a) / sigmoid(-b)).ln();
    let reward_aware = |distance| {
        let nothing = BatchObjective::new(Objective::sum(beta(), []));
        let scale = 0.7.try_into().unwrap();
        nothing.with_term(LossWeight::ONE, BatchTerm::RewardAware { distance, scale }).unwrap()
    };
    vec![
        // arXiv:2402.13228, eq. 3
        (
            "dpop",
            one(Term::Dpop { lambda: 5.0.try_into().unwrap() }),
            Box::new(|pair| {
                let penalty = 5.0 * f64::max(0.0, pair.reference[0] - pair.policy[0]);
                -ln_sigmoid(BETA * (pair.ratio(0) - pair.ratio(1) - penalty))
            }),
        ),
        // arXiv:2305.10425, eq. 1, with the chosen answer as target
        (
            "slic",
            one(Term::Slic { delta: 3.0.try_into().unwrap(), lambda: 0.5.try_into().unwrap() }),
            Box::new(|pair| f64::max(0.0, 3.0 - pair.policy[0] + pair.policy[1]) - 0.5 * pair.policy[0]),
        ),
        // arXiv:2305.18290, section 6 and appendix
        ("preferred_ft", one(Term::PreferredFt), Box::new(|pair| -pair.policy[0])),
        (
            "unlikelihood",
            one(Term::Unlikelihood { alpha: 0.25.try_into().unwrap() }),
            Box::new(|pair| -pair.policy[0] + 0.25 * pair.policy[1]),
        ),
        // arXiv:2310.12036, eq. 17, over sums
        ("ipo_sum", one(Term::IpoSum), Box::new(|pair| (pair.ratio(0) - pair.ratio(1) - 0.5 / BETA).powi(2))),
        // ericmitchell.ai/cdpo.pdf, eq. 3
        (
            "cdpo",
            one(Term::Sigmoid { label_smoothing: 0.2.try_into().unwrap() }),
            Box::new(|pair| -0.8 * ln_sigmoid(pair.margin()) - 0.2 * ln_sigmoid(-pair.margin())),
        ),
        (
            "reference_free",
            Objective::sigmoid(beta(), 0.0.try_into().unwrap()).with_baseline(Baseline::Uniform).into(),
            Box::new(|pair| -ln_sigmoid(BETA * (pair.policy[0] - pair.policy[1]))),
        ),
        // arXiv:2405.14734, eq. 6
        (
            "simpo",
            one(Term::Simpo { gamma: 0.7.try_into().unwrap(), label_smoothing: 0.0.try_into().unwrap() }),
            Box::new(|pair| {
                let mean = |side: usize| BETA / pair.tokens[side] * pair.policy[side];
                -ln_sigmoid(mean(0) - mean(1) - 0.7)
            }),
        ),
        // arXiv:2501.03884, eq. 4: the reward of a completion whose likelihood is p a token
        (
            "alphapo",
            one(Term::Alphapo {
                alpha: 0.25.try_into().unwrap(),
                gamma: 0.7.try_into().unwrap(),
                label_smoothing: 0.0.try_into().unwrap(),
            }),
            Box::new(|pair| {
                let likelihood = |side: usize| (pair.policy[side] / pair.tokens[side]).exp();
                let reward = |side: usize| BETA * (1.0 - likelihood(side).powf(-0.25)) / 0.25;
                -ln_sigmoid(reward(0) - reward(1) - 0.7)
            }),
        ),
        // arXiv:2406.08414, eq. 5
        (
            "discopop",
            one(Term::Discopop { tau: 0.5.try_into().unwrap() }),
            Box::new(|pair| {
                let (margin, weight) = (pair.margin(), sigmoid(pair.margin() / 0.5));
                (1.0 - weight) * -ln_sigmoid(margin) + weight * (-margin).exp()
            }),
        ),
        // arXiv:2406.11827, eq. 2, with the likelihood of a token as weight
        (
            "wpo_mean",
            dpo().with_weighting(Weighting::WpoMean).unwrap(),
            Box::new(|pair| pair.weight * -ln_sigmoid(pair.margin())),
        ),
        // arXiv:2502.00203, table 1
        ("rpo_sq", reward_aware(RewardDistance::Squared), Box::new(move |pair| (pair.margin() - gap(pair)).powi(2))),
        ("rpo_bwd_kl", reward_aware(RewardDistance::BackwardKl), Box::new(move |pair| kl(gap(pair), pair.margin()))),
        ("rpo_fwd_kl", reward_aware(RewardDistance::ForwardKl), Box::new(move |pair| kl(pair.margin(), gap(pair)))),
    ]
}

#[test]
fn objectives_of_a_pair_are_their_authors_formulas() {
    let golden: Golden = golden("losses.json");
    let pairs = pairs(&golden);
    for (name, objective, formula) in of_a_pair() {
        for (at, (got, pair)) in losses(&objective, &pairs).iter().zip(&pairs).enumerate() {
            let symbols = Symbols::of(pair);
            let mean = |side: usize| symbols.policy[side] / symbols.tokens[side];
            // A margin so wide that the formula itself is no number any more, or has lost its digits.
            if symbols.margin().abs() > 15.0 && !["slic", "preferred_ft", "unlikelihood", "ipo_sum"].contains(&name) {
                continue;
            }
            let symbols = Symbols { weight: (mean(0) + mean(1)).exp(), ..symbols };
            check_pair(name, at, got, &symbols, &*formula);
        }
    }
}

/// Wu et al. 2024 (arXiv:2407.07880), eq. 12: `−β′·ln mean e^(−ℓ/β′)` over the batch.
#[test]
fn dr_dpo_is_its_authors_formula_over_a_batch() {
    let golden: Golden = golden("losses.json");
    let pairs = pairs(&golden);
    let symbols: Vec<Symbols> = pairs.iter().map(Symbols::of).collect();
    for robustness in [0.5, 1.0, 5.0] {
        let dr_beta = DrBeta::try_from(robustness).unwrap();
        let got = losses(&dpo().with_average(Average::DrDpo { beta: dr_beta }), &pairs);
        let of_batch = |pairs: &[Symbols]| {
            let powers = pairs.iter().map(|pair| (ln_sigmoid(pair.margin()) / robustness).exp());
            -robustness * (powers.sum::<f64>() / pairs.len() as f64).ln()
        };
        let mean = got.iter().map(|pair| pair.value).sum::<f64>() / got.len() as f64;
        near(mean, of_batch(&symbols), 1e-12, &format!("dr_dpo, β′ {robustness}"));
        for (at, pair) in got.iter().enumerate() {
            for (side, slope) in [&pair.chosen, &pair.rejected].into_iter().enumerate() {
                let want = quotient(|step| {
                    let mut moved = symbols.clone();
                    moved[at].policy[side] += step;
                    of_batch(&moved)
                });
                near(slope.at(0), want * got.len() as f64, 1e-8, &format!("dr_dpo, pair {at}, side {side}"));
            }
        }
    }
}

/// Liu et al. 2025 (arXiv:2509.24207) as their HALOs clips: each token's log-ratio by itself, to [−1, 1.5] nats.
#[test]
fn humanline_is_its_authors_formula_over_tokens() {
    let golden: Golden = golden("losses.json");
    let objective = dpo().with_completion(CompletionRule::Humanline { clip: Clip::new(-1.0, 1.5).unwrap() });
    let mut n_clipped = 0;
    for pair in golden.inputs.values().flatten() {
        let got = &losses(&objective, &[inputs(pair)])[0];
        let sides = [&pair.chosen, &pair.rejected];
        // ln π of one token moved by a step.
        let value = |side: usize, token: usize, step: f64| {
            let sum = |at: usize| -> f64 {
                let ratios = sides[at].policy.iter().zip(&sides[at].reference).enumerate();
                let moved = |index: usize| if at == side && index == token { step } else { 0.0 };
                let clipped = ratios.map(|(index, (policy, reference))| {
                    (f64::from(*policy) - f64::from(*reference) + moved(index)).clamp(-1.0, 1.5)
                });
                clipped.sum()
            };
            -ln_sigmoid(BETA * (sum(0) - sum(1)))
        };
        near(got.value, value(0, 0, 0.0), 1e-12, "humanline");
        for (side, slope) in [&got.chosen, &got.rejected].into_iter().enumerate() {
            let Slope::Tokens(slopes) = slope else { panic!("one slope a token is expected") };
            for (token, slope) in slopes.iter().enumerate() {
                let ratio = f64::from(sides[side].policy[token]) - f64::from(sides[side].reference[token]);
                n_clipped += usize::from(!(-1.0..=1.5).contains(&ratio));
                // Exactly at a bound there is a corner.
                if ![-1.0, 1.5].contains(&ratio) {
                    near(*slope, quotient(|step| value(side, token, step)), 1e-8, &format!("humanline, {ratio}"));
                }
            }
        }
    }
    assert!(n_clipped > 100, "{n_clipped} tokens are clipped");
}

/// Jung et al. 2024 (arXiv:2404.04656), eqs. 7 and 8, with δ the mean of the rewards of the first batch.
#[test]
fn bco_with_its_shift_is_its_authors_formula() {
    let golden: Golden = golden("losses.json");
    let pairs = pairs(&golden);
    let symbols: Vec<Symbols> = pairs.iter().map(Symbols::of).collect();
    let rewards = symbols.iter().map(|pair| BETA * (pair.ratio(0) + pair.ratio(1)));
    let shift = rewards.sum::<f64>() / (2 * symbols.len()) as f64;
    let nothing = BatchObjective::new(Objective::sum(beta(), []));
    let objective = nothing.with_term(LossWeight::ONE, BatchTerm::BcoShifted).unwrap();
    for (at, (got, pair)) in losses(&objective, &pairs).iter().zip(&symbols).enumerate() {
        // The shift is a constant to the slopes.
        let formula =
            |pair: &Symbols| -ln_sigmoid(BETA * pair.ratio(0) - shift) - ln_sigmoid(-(BETA * pair.ratio(1) - shift));
        check_pair("bco_shifted", at, got, pair, &formula);
    }
}
