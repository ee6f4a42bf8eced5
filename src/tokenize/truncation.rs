//! `max_length`: how a pair that is too long is cut, and what is cut is counted.

use serde::{Deserialize, Serialize};

use super::boundary::SplitPair;
use super::error::{RejectReason, Side};

/// Which end of a sequence survives truncation; TRL's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TruncationMode {
    /// The beginning: completions lose their last tokens, the end token first. TRL's default.
    #[default]
    KeepStart,
    /// The end: the prompt loses its first tokens.
    ///
    /// Departs from TRL, which cuts chosen and rejected apart, so that one pair is compared under two prompts (in DPO
    /// the partition function cancels under one prompt only), and which leaves the first completion token unscored
    /// when the prompt is gone. Here the prompt is cut once, for the longer answer.
    KeepEnd,
}

impl TruncationMode {
    /// The name in a pipeline file and in a table's provenance.
    pub fn name(self) -> &'static str {
        match self {
            Self::KeepStart => "keep_start",
            Self::KeepEnd => "keep_end",
        }
    }
}

/// Tokens dropped from each part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cuts {
    pub(crate) prompt: usize,
    pub(crate) chosen: usize,
    pub(crate) rejected: usize,
}

/// Cuts a pair so that prompt and completion together have at most `max_length` tokens, on either side.
///
/// # Errors
/// If a completion would keep no token, or the prompt none.
pub(crate) fn truncate(pair: &mut SplitPair, max_length: usize, mode: TruncationMode) -> Result<Cuts, RejectReason> {
    match mode {
        TruncationMode::KeepStart => keep_start(pair, max_length),
        TruncationMode::KeepEnd => keep_end(pair, max_length),
    }
}

fn keep_start(pair: &mut SplitPair, max_length: usize) -> Result<Cuts, RejectReason> {
    let prompt_tokens = pair.prompt_ids.len();
    if prompt_tokens >= max_length {
        return Err(RejectReason::PromptTooLong { max_length, prompt_tokens });
    }
    let room = max_length - prompt_tokens;
    let cuts = Cuts {
        prompt: 0,
        chosen: pair.chosen_ids.len().saturating_sub(room),
        rejected: pair.rejected_ids.len().saturating_sub(room),
    };
    pair.chosen_ids.truncate(room);
    pair.rejected_ids.truncate(room);
    Ok(cuts)
}

fn keep_end(pair: &mut SplitPair, max_length: usize) -> Result<Cuts, RejectReason> {
    let (side, completion_tokens) = if pair.chosen_ids.len() >= pair.rejected_ids.len() {
        (Side::Chosen, pair.chosen_ids.len())
    } else {
        (Side::Rejected, pair.rejected_ids.len())
    };
    if completion_tokens >= max_length {
        return Err(RejectReason::CompletionTooLong { max_length, side, completion_tokens });
    }
    let cut = pair.prompt_ids.len().saturating_sub(max_length - completion_tokens);
    pair.prompt_ids.drain(..cut);
    Ok(Cuts { prompt: cut, chosen: 0, rejected: 0 })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn pair(prompt: usize, chosen: usize, rejected: usize) -> SplitPair {
        let ids = |from: u32, n: usize| (from..).take(n).collect();
        SplitPair {
            prompt_ids: ids(0, prompt),
            chosen_ids: ids(1000, chosen),
            rejected_ids: ids(2000, rejected),
            boundary_moved: 0,
        }
    }

    struct Case {
        name: &'static str,
        lengths: (usize, usize, usize),
        max_length: usize,
        mode: TruncationMode,
        want: Result<(usize, usize, usize), &'static str>,
    }

    const CASES: &[Case] = &[
        Case {
            name: "an exact fit loses nothing",
            lengths: (4, 4, 2),
            max_length: 8,
            mode: TruncationMode::KeepStart,
            want: Ok((0, 0, 0)),
        },
        Case {
            name: "each answer is cut on its own",
            lengths: (4, 6, 3),
            max_length: 6,
            mode: TruncationMode::KeepStart,
            want: Ok((0, 4, 1)),
        },
        Case {
            name: "a prompt that leaves room for one token is kept",
            lengths: (7, 6, 1),
            max_length: 8,
            mode: TruncationMode::KeepStart,
            want: Ok((0, 5, 0)),
        },
        Case {
            name: "a prompt that leaves no room is rejected",
            lengths: (700, 6, 1),
            max_length: 512,
            mode: TruncationMode::KeepStart,
            want: Err("its prompt alone fills max_length 512 (prompt has 700 tokens)"),
        },
        Case {
            name: "the prompt is cut once, for the longer answer",
            lengths: (6, 2, 4),
            max_length: 7,
            mode: TruncationMode::KeepEnd,
            want: Ok((3, 0, 0)),
        },
        Case {
            name: "an answer that leaves no prompt is rejected",
            lengths: (6, 2, 7),
            max_length: 7,
            mode: TruncationMode::KeepEnd,
            want: Err("its rejected answer alone fills max_length 7 (it has 7 tokens)"),
        },
    ];

    #[test]
    fn cuts_are_where_they_should_be() {
        for case in CASES {
            let (prompt, chosen, rejected) = case.lengths;
            let found = truncate(&mut pair(prompt, chosen, rejected), case.max_length, case.mode);
            let found = found.map(|cuts| (cuts.prompt, cuts.chosen, cuts.rejected)).map_err(|error| error.to_string());
            assert_eq!(found, case.want.map_err(str::to_owned), "{}", case.name);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_kept_fits_and_what_is_cut_is_counted(
            lengths in vec(1..40_usize, 3),
            max_length in 1..60_usize,
            keep_end: bool,
        ) {
            let mode = if keep_end { TruncationMode::KeepEnd } else { TruncationMode::KeepStart };
            let mut found = pair(lengths[0], lengths[1], lengths[2]);
            if let Ok(cuts) = truncate(&mut found, max_length, mode) {
                prop_assert_eq!(found.prompt_ids.len() + cuts.prompt, lengths[0]);
                prop_assert_eq!(found.chosen_ids.len() + cuts.chosen, lengths[1]);
                prop_assert_eq!(found.rejected_ids.len() + cuts.rejected, lengths[2]);
                for side in [&found.chosen_ids, &found.rejected_ids] {
                    prop_assert!(!side.is_empty() && found.prompt_ids.len() + side.len() <= max_length);
                }
                prop_assert!(!found.prompt_ids.is_empty());
            }
        }
    }
}
