//! What pages tell of a log-prob table by its rows: names, notes and expressions over the columns of the contract.

use super::numbers::Values;

/// A number of a pair, or the same number of both its completions.
#[derive(Debug)]
pub(super) struct Measure {
    pub(super) title: &'static str,
    pub(super) note: &'static str,
    /// What the values are.
    pub(super) x: &'static str,
    pub(super) values: Values,
    /// Names and expressions, at most two.
    pub(super) series: &'static [(&'static str, &'static str)],
}

pub(super) const LENGTHS: Measure = Measure {
    title: "Lengths of completions",
    note: "Pairs by tokens of their completions, as scored.",
    x: "tokens",
    values: Values::Whole,
    series: &[("chosen", "chosen_tokens"), ("rejected", "rejected_tokens")],
};

pub(super) const PROMPTS: Measure = Measure {
    title: "Lengths of prompts",
    note: "Pairs by tokens of their prompt, as scored.",
    x: "tokens",
    values: Values::Whole,
    series: &[("pairs", "prompt_tokens")],
};

pub(super) const PER_SEQUENCE: Measure = Measure {
    title: "Log-probs of completions",
    note: "Pairs by ln π_ref of a completion, summed over tokens: longer completions have less.",
    x: "nats",
    values: Values::Continuous,
    series: &[("chosen", "ref_chosen_logps"), ("rejected", "ref_rejected_logps")],
};

pub(super) const PER_TOKEN: Measure = Measure {
    title: "Log-probs per token",
    note: "Pairs by ln π_ref of a completion, divided by its tokens.",
    x: "nats per token",
    values: Values::Continuous,
    series: &[("chosen", "ref_chosen_logps / chosen_tokens"), ("rejected", "ref_rejected_logps / rejected_tokens")],
};

pub(super) const MARGIN: Measure = Measure {
    title: "Reference margin",
    note: "Pairs by ln π_ref of the chosen minus that of the rejected completion, summed over tokens: longer completions have \
           less.",
    x: "nats",
    values: Values::Continuous,
    series: &[("pairs", "ref_chosen_logps - ref_rejected_logps")],
};

pub(super) const MARGIN_PER_TOKEN: Measure = Measure {
    title: "Reference margin per token",
    note: "Pairs by the difference of the two log-probs, each divided by its tokens.",
    x: "nats per token",
    values: Values::Continuous,
    series: &[("pairs", "ref_chosen_logps / chosen_tokens - ref_rejected_logps / rejected_tokens")],
};
