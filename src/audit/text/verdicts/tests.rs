use proptest::prelude::*;

use super::*;

/// Pairs of one prompt, `ab` for a over b.
fn verdicts_of(pairs: &[&str]) -> Verdicts {
    let pairs: Vec<PairTexts<'_>> =
        pairs.iter().map(|pair| PairTexts { prompt: "q", chosen: &pair[..1], rejected: &pair[1..] }).collect();
    verdicts(&pairs)
}

fn on_cycles(found: &Verdicts) -> Vec<usize> {
    found.cycles.iter().map(|found| found.pair).collect()
}

#[test]
fn an_opposite_verdict_is_a_contradiction_with_its_votes() {
    let found = verdicts_of(&["ab", "ac", "ba", "ab"]);
    let by = |pair, opposite, n_agree, n_oppose| Contradiction { pair, opposite, n_agree, n_oppose };
    assert_eq!(found.contradictions, [by(0, 2, 2, 1), by(2, 0, 1, 2), by(3, 2, 2, 1)]);
    assert_eq!(found.cycles, []);
}

#[test]
fn a_ranking_has_winners_that_lose_and_nothing_else() {
    let found = verdicts_of(&["ab", "bc", "ac"]);
    assert_eq!(found.contradictions, []);
    assert_eq!(found.losing_winners, [LosingWinner { pair: 1, loses_in: 0, n_wins: 1, n_losses: 1 }]);
    assert_eq!(found.cycles, []);
}

#[test]
fn three_answers_that_beat_each_other_in_turn_are_a_cycle() {
    let found = verdicts_of(&["cd", "ab", "bc", "ca", "ab"]);
    assert_eq!(found.contradictions, []);
    assert_eq!(on_cycles(&found), [1, 2, 3, 4]);
    assert!(found.cycles.iter().all(|found| found.n_answers == 3 && found.example == [1, 2, 3]));
}

#[test]
fn contradictions_alone_make_no_cycle() {
    // a ⇄ b ⇄ c: every way round goes back over an edge.
    let found = verdicts_of(&["ab", "ba", "bc", "cb"]);
    assert_eq!(found.contradictions.len(), 4);
    assert_eq!(found.cycles, []);
}

#[test]
fn other_prompts_and_identical_answers_say_nothing() {
    let pair = |prompt, chosen, rejected| PairTexts { prompt, chosen, rejected };
    let found = verdicts(&[pair("p", "a", "b"), pair("q", "b", "a"), pair("p", "a", " a\n"), pair("p", "c", "d")]);
    assert_eq!(found, Verdicts::default());
}

#[test]
fn white_space_at_the_ends_does_not_hide_a_contradiction() {
    let pair = |prompt, chosen, rejected| PairTexts { prompt, chosen, rejected };
    let found = verdicts(&[pair("p ", " a", "b"), pair("p", "b\n", "a")]);
    assert_eq!(
        found.contradictions.iter().map(|found| (found.pair, found.opposite)).collect::<Vec<_>>(),
        [(0, 1), (1, 0)]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// On random tournaments with repeated and opposite verdicts, against all walks.
    #[test]
    fn pairs_on_cycles_are_those_whose_loser_beats_its_winner_by_way_of_others(
        drawn in prop::collection::vec((0..6_usize, 0..6_usize), 0..16)
    ) {
        const ANSWERS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
        let texts: Vec<PairTexts<'_>> = drawn
            .iter()
            .map(|&(winner, loser)| PairTexts { prompt: "q", chosen: ANSWERS[winner], rejected: ANSWERS[loser] })
            .collect();
        let found = verdicts(&texts);

        let contradicted = |(a, b): (usize, usize)| a != b && drawn.contains(&(b, a));
        let wanted: Vec<usize> = (0..drawn.len()).filter(|&pair| contradicted(drawn[pair])).collect();
        prop_assert_eq!(found.contradictions.iter().map(|found| found.pair).collect::<Vec<_>>(), wanted);

        let edges: Vec<(usize, usize)> =
            drawn.iter().copied().filter(|&(a, b)| a != b && !contradicted((a, b))).collect();
        let mut reaches = [[false; 6]; 6];
        for &(a, b) in &edges {
            reaches[a][b] = true;
        }
        for via in 0..6 {
            for a in 0..6 {
                for b in 0..6 {
                    reaches[a][b] |= reaches[a][via] && reaches[via][b];
                }
            }
        }
        let wanted: Vec<usize> =
            (0..drawn.len()).filter(|&pair| edges.contains(&drawn[pair]) && reaches[drawn[pair].1][drawn[pair].0]).collect();
        prop_assert_eq!(on_cycles(&found), wanted);
        for on_cycle in &found.cycles {
            let steps: Vec<(usize, usize)> = on_cycle.example.iter().map(|&pair| drawn[pair]).collect();
            prop_assert!(steps.len() >= 3);
            prop_assert!(steps.iter().zip(steps.iter().cycle().skip(1)).all(|(step, next)| step.1 == next.0));
        }
    }
}
