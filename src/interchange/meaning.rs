//! Whether foreign log-probs are sums or averages over the tokens of a completion: measured from the lengths.
//!
//! A sum grows in proportion to the number of tokens n, an average does not: with h nats a token,
//!
//! ```text
//! sums       ln(−v) = ln h + ln n         slope 1 on ln n
//! averages   ln(−v) = ln h                slope 0
//! ```
//!
//! The least-squares slope b of ln(−v) on ln n over the completions of a column tells the two apart: b > ½ is where
//! "v is proportional to n" leaves less scatter than "v does not depend on n", for Var(y − x) < Var(y) holds exactly
//! where b = Cov(x, y)/Var(x) > ½. That h falls with n (a long answer is easier a token than a short one) moves b down
//! for both alike. On hh-rlhf, UltraFeedback, LLMBar and PandaLM under SmolLM2-135M-Instruct b is 0.82 to 1.13 for sums
//! and −0.18 to 0.13 for averages. Completions of fewer than [`MIN_TOKENS`] tokens are left out: first word and end token,
//! which cost other than the rest, are most of them, and many such answers bend the line (0.64 on PandaLM). A verdict has
//! to clear ½ by [`MARGIN`] and by [`ERRORS`] standard errors, and the nats a token that
//! follow from it have to be ones that a language model has.

use serde::Serialize;

/// Fewest completions of a column that are measured.
const MIN_COMPLETIONS: usize = 32;

/// Fewest tokens of a completion that is measured.
const MIN_TOKENS: usize = 8;

/// Smallest standard deviation of ln n: about a tenth of the length.
const MIN_SPREAD: f64 = 0.1;

/// Slope at which both readings are equally good.
const MIDDLE: f64 = 0.5;

/// Distance from [`MIDDLE`] that a slope must have.
const MARGIN: f64 = 0.15;

/// The same in standard errors of the slope.
const ERRORS: f64 = 4.0;

/// Smallest median of nats a token: perplexity 1.01, on text that a model knows nearly by heart.
const MIN_NATS: f64 = 0.01;

/// Largest median of nats a token, in units of ln V, which is what guessing costs: random weights stay below 2.
const MAX_LN_VOCAB: f64 = 2.0;

/// What a log-prob of a completion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    /// Σ over its tokens.
    Sums,
    /// Σ over its tokens, divided by their number.
    Averages,
}

/// What was measured of a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence {
    /// Completions measured: those that are not too short and whose log-prob is not 0.
    pub n_completions: usize,
    /// Standard deviation of ln n.
    pub spread: f64,
    /// Slope of ln(−v) on ln n.
    pub slope: f64,
    /// Its standard error, robust to unequal scatter.
    pub slope_error: f64,
    /// Median of −v/n: nats a token if v are sums.
    pub nats_if_sums: f64,
    /// Median of −v: nats a token if v are averages.
    pub nats_if_averages: f64,
}

/// Why a column was not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// Too few completions.
    TooFew,
    /// They all have about the same length.
    NoSpread,
    /// The slope is between the two, or too uncertain.
    Slope,
    /// The slope says one thing and the nats a token say that it cannot be.
    Nats,
}

impl Evidence {
    /// Measures completions, each as its number of tokens and its log-prob.
    pub fn of(completions: impl Iterator<Item = (usize, f64)>) -> Self {
        let is_measured = |(n, v): &(usize, f64)| *n >= MIN_TOKENS && *v < 0.0;
        let measured: Vec<(f64, f64)> =
            completions.filter(is_measured).map(|(n, v)| ((n as f64).ln(), (-v).ln())).collect();
        let n = measured.len().max(1) as f64;
        let mean_x = measured.iter().map(|(x, _)| x).sum::<f64>() / n;
        let mean_y = measured.iter().map(|(_, y)| y).sum::<f64>() / n;
        let sum = |of: &dyn Fn(f64, f64) -> f64| measured.iter().map(|(x, y)| of(x - mean_x, y - mean_y)).sum::<f64>();
        let sum_xx = sum(&|x, _| x * x);
        let slope = sum(&|x, y| x * y) / sum_xx;
        // White's estimate: short completions scatter more than long ones.
        let slope_error = sum(&|x, y| (x * (y - slope * x)).powi(2)).sqrt() / sum_xx;
        Self {
            n_completions: measured.len(),
            spread: (sum_xx / n).sqrt(),
            slope,
            slope_error,
            nats_if_sums: median(measured.iter().map(|(x, y)| (y - x).exp())),
            nats_if_averages: median(measured.iter().map(|(_, y)| y.exp())),
        }
    }

    /// What the column holds, under a model with this vocabulary.
    ///
    /// # Errors
    /// If that cannot be told.
    pub fn judge(&self, vocab_size: usize) -> Result<Meaning, Doubt> {
        if self.n_completions < MIN_COMPLETIONS {
            return Err(Doubt::TooFew);
        }
        if self.spread < MIN_SPREAD {
            return Err(Doubt::NoSpread);
        }
        let distance = self.slope - MIDDLE;
        if !distance.is_finite() || distance.abs() < MARGIN.max(ERRORS * self.slope_error) {
            return Err(Doubt::Slope);
        }
        let (meaning, nats) = if distance > 0.0 {
            (Meaning::Sums, self.nats_if_sums)
        } else {
            (Meaning::Averages, self.nats_if_averages)
        };
        let is_plausible = (MIN_NATS..=max_nats(vocab_size)).contains(&nats);
        if is_plausible { Ok(meaning) } else { Err(Doubt::Nats) }
    }

    /// One line for an error or a note.
    pub(super) fn numbers(&self) -> String {
        format!(
            "slope {:.2} ± {:.2} of ln(−logps) on ln(tokens) over {} completions (sums: near 1, averages: near 0); \
             median {:.3} nats a token if they are sums, {:.3} if they are averages",
            self.slope, self.slope_error, self.n_completions, self.nats_if_sums, self.nats_if_averages
        )
    }

    /// Why a doubt is one, with its numbers.
    pub(super) fn reason(&self, doubt: Doubt, vocab_size: usize) -> String {
        match doubt {
            Doubt::TooFew => {
                format!(
                    "expected at least {MIN_COMPLETIONS} completions of {MIN_TOKENS} tokens or more, found {}",
                    self.n_completions
                )
            }
            Doubt::NoSpread => format!(
                "expected completions of different lengths, found a standard deviation of ln(tokens) of {:.3} (at least \
                 {MIN_SPREAD} is needed)",
                self.spread
            ),
            Doubt::Slope => self.numbers(),
            Doubt::Nats => {
                format!("{}; expected {MIN_NATS} to {:.1} nats a token", self.numbers(), max_nats(vocab_size))
            }
        }
    }
}

fn max_nats(vocab_size: usize) -> f64 {
    MAX_LN_VOCAB * (vocab_size.max(2) as f64).ln()
}

/// The middle value; 0 of none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
