//! Where a completion starts: prompt and completion are tokenised together, and cut apart by the ids they share.
//!
//! A tokenizer may merge the end of a prompt with the beginning of an answer (`Fran` + `ce` is one token). The ids of
//! the joint text are what a model reads, so they are kept; the prompt alone only tells where to cut.

use super::error::{RejectReason, Side};

/// A pair as ids: one prompt, two completions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SplitPair {
    pub(crate) prompt_ids: Vec<u32>,
    pub(crate) chosen_ids: Vec<u32>,
    pub(crate) rejected_ids: Vec<u32>,
    /// Tokens of the prompt alone that are not in `prompt_ids`, because the joint text has others there.
    pub(crate) boundary_moved: usize,
}

/// Cuts two joint texts where the first of them leaves the prompt, as TRL 1.16 does.
///
/// One cut for both: if only the chosen answer merges with the prompt, the rejected one starts with the same prompt
/// tokens. What both answers begin with stays in the completions: the cut is never beyond the prompt.
///
/// # Errors
/// If no prompt token or no completion token is left.
pub(crate) fn split(
    prompt_alone: &[u32],
    mut prompt_chosen: Vec<u32>,
    mut prompt_rejected: Vec<u32>,
) -> Result<SplitPair, RejectReason> {
    let chosen_shares = shared_beginning(prompt_alone, &prompt_chosen);
    let rejected_shares = shared_beginning(prompt_alone, &prompt_rejected);
    let cut = chosen_shares.min(rejected_shares);
    if prompt_alone.is_empty() {
        return Err(RejectReason::EmptyPrompt);
    }
    if cut == 0 {
        let side = if chosen_shares == 0 { Side::Chosen } else { Side::Rejected };
        return Err(RejectReason::MergedPrompt { prompt_tokens: prompt_alone.len(), side });
    }
    let chosen_ids = prompt_chosen.split_off(cut);
    let rejected_ids = prompt_rejected.split_off(cut);
    for (side, ids) in [(Side::Chosen, &chosen_ids), (Side::Rejected, &rejected_ids)] {
        if ids.is_empty() {
            return Err(RejectReason::EmptyCompletion { side });
        }
    }
    Ok(SplitPair { prompt_ids: prompt_chosen, chosen_ids, rejected_ids, boundary_moved: prompt_alone.len() - cut })
}

/// How many ids two texts begin with alike.
pub(crate) fn shared_beginning(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prompt: &[u32], chosen: &[u32], rejected: &[u32], want: (&[u32], &[u32], &[u32], usize)) {
        let found = split(prompt, chosen.to_vec(), rejected.to_vec()).unwrap();
        let (prompt_ids, chosen_ids, rejected_ids, boundary_moved) = want;
        assert_eq!(found.prompt_ids, prompt_ids);
        assert_eq!(found.chosen_ids, chosen_ids);
        assert_eq!(found.rejected_ids, rejected_ids);
        assert_eq!(found.boundary_moved, boundary_moved);
    }

    #[test]
    fn a_prefix_is_the_prompt() {
        check(&[1, 2], &[1, 2, 3], &[1, 2, 4, 5], (&[1, 2], &[3], &[4, 5], 0));
    }

    #[test]
    fn a_merge_in_one_answer_cuts_both_earlier() {
        check(&[1, 2, 3], &[1, 2, 9], &[1, 2, 3, 4], (&[1, 2], &[9], &[3, 4], 1));
    }

    #[test]
    fn a_common_beginning_of_both_answers_stays_theirs() {
        check(&[1], &[1, 7, 8], &[1, 7, 9], (&[1], &[7, 8], &[7, 9], 0));
    }

    #[test]
    fn an_end_token_after_the_prompt_alone_is_cut_off() {
        check(&[1, 5, 2], &[1, 5, 6, 2], &[1, 5, 7, 2], (&[1, 5], &[6, 2], &[7, 2], 1));
    }

    #[test]
    fn what_leaves_nothing_to_score_from_is_rejected() {
        assert_eq!(split(&[], vec![1], vec![2]), Err(RejectReason::EmptyPrompt));
        assert_eq!(
            split(&[1, 2], vec![1, 3], vec![9]),
            Err(RejectReason::MergedPrompt { prompt_tokens: 2, side: Side::Rejected })
        );
        assert_eq!(
            split(&[1, 2], vec![1, 2, 3], vec![1, 2]),
            Err(RejectReason::EmptyCompletion { side: Side::Rejected })
        );
    }
}
