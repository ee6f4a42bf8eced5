//! Verdicts on the answers of one prompt that do not go together.
//!
//! Each pair says that its chosen answer beats its rejected one. Among all pairs of a prompt these verdicts are a directed
//! graph on its answers. A ranking exists if and only if the graph has no cycle; Bradley–Terry, the model behind DPO,
//! has a reward for each answer, so pairs of a cycle pull against each other for ever.
//!
//! Prompts and answers are the same if they are to the letter, white space at either end apart. A pair whose two answers
//! are the same says nothing here. Time is that of sorting the pairs.

use rayon::prelude::*;

use super::PairTexts;
use super::components::Graph;

#[cfg(test)]
mod tests;

/// What does not go together, each list in the order of the pairs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Verdicts {
    /// Pairs with another of the opposite verdict.
    pub contradictions: Vec<Contradiction>,
    /// Pairs whose chosen answer is rejected elsewhere.
    pub losing_winners: Vec<LosingWinner>,
    /// Pairs on a cycle of three answers or more, contradictions left aside.
    pub cycles: Vec<OnCycle>,
}

/// A pair that others contradict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contradiction {
    /// The pair.
    pub pair: usize,
    /// The first pair of the opposite verdict.
    pub opposite: usize,
    /// Pairs of its own verdict, itself included.
    pub n_agree: usize,
    /// Pairs of the opposite verdict.
    pub n_oppose: usize,
}

/// A pair whose chosen answer loses elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LosingWinner {
    /// The pair.
    pub pair: usize,
    /// The first pair that rejects this answer.
    pub loses_in: usize,
    /// Pairs that choose it.
    pub n_wins: usize,
    /// Pairs that reject it.
    pub n_losses: usize,
}

/// A pair on a cycle: no ranking has this verdict and the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnCycle {
    /// The pair.
    pub pair: usize,
    /// Answers that are on cycles together: the component of the graph.
    pub n_answers: usize,
    /// The first pairs of a shortest cycle through one of these answers: an example, of which `pair` need not be.
    pub example: Vec<usize>,
}

/// Looks at the verdicts of each prompt.
pub fn verdicts(pairs: &[PairTexts<'_>]) -> Verdicts {
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    order.par_sort_unstable_by_key(|&pair| (pairs[pair].prompt.trim(), pair));
    let prompts: Vec<&[usize]> = order
        .chunk_by(|&a, &b| pairs[a].prompt.trim() == pairs[b].prompt.trim())
        .filter(|same| same.len() > 1)
        .collect();
    let of_prompts: Vec<Verdicts> = prompts.into_par_iter().map(|same| Prompt::of(pairs, same).verdicts()).collect();

    let mut all = Verdicts::default();
    for of_prompt in of_prompts {
        all.contradictions.extend(of_prompt.contradictions);
        all.losing_winners.extend(of_prompt.losing_winners);
        all.cycles.extend(of_prompt.cycles);
    }
    all.contradictions.sort_unstable_by_key(|found| found.pair);
    all.losing_winners.sort_unstable_by_key(|found| found.pair);
    all.cycles.sort_unstable_by_key(|found| found.pair);
    all
}

/// The verdicts on one prompt.
struct Prompt {
    n_answers: usize,
    /// Winner, loser and pair, ascending.
    verdicts: Vec<(usize, usize, usize)>,
    /// Loser and pair, ascending.
    losses: Vec<(usize, usize)>,
}

impl Prompt {
    fn of(pairs: &[PairTexts<'_>], same: &[usize]) -> Self {
        let mut answers: Vec<&str> =
            same.iter().flat_map(|&pair| [pairs[pair].chosen.trim(), pairs[pair].rejected.trim()]).collect();
        answers.sort_unstable();
        answers.dedup();
        let number = |answer: &str| answers.partition_point(|&other| other < answer.trim());
        let mut verdicts: Vec<(usize, usize, usize)> = same
            .iter()
            .map(|&pair| (number(pairs[pair].chosen), number(pairs[pair].rejected), pair))
            .filter(|(winner, loser, _)| winner != loser)
            .collect();
        verdicts.sort_unstable();
        let mut losses: Vec<(usize, usize)> = verdicts.iter().map(|&(_, loser, pair)| (loser, pair)).collect();
        losses.sort_unstable();
        Self { n_answers: answers.len(), verdicts, losses }
    }

    fn verdicts(&self) -> Verdicts {
        Verdicts { contradictions: self.contradictions(), losing_winners: self.losing_winners(), cycles: self.cycles() }
    }

    /// The verdicts for one answer over another.
    fn between(&self, winner: usize, loser: usize) -> &[(usize, usize, usize)] {
        let at = self.verdicts.partition_point(|&(a, b, _)| (a, b) < (winner, loser));
        let rest = &self.verdicts[at..];
        &rest[..rest.partition_point(|&(a, b, _)| (a, b) == (winner, loser))]
    }

    fn contradictions(&self) -> Vec<Contradiction> {
        let of = |&(winner, loser, pair): &(usize, usize, usize)| {
            let (own, other) = (self.between(winner, loser), self.between(loser, winner));
            let &(_, _, opposite) = other.first()?;
            Some(Contradiction { pair, opposite, n_agree: own.len(), n_oppose: other.len() })
        };
        self.verdicts.iter().filter_map(of).collect()
    }

    fn losing_winners(&self) -> Vec<LosingWinner> {
        let of = |&(winner, _, pair): &(usize, usize, usize)| {
            let wins_from = self.verdicts.partition_point(|&(other, ..)| other < winner);
            let wins_to = self.verdicts.partition_point(|&(other, ..)| other <= winner);
            let losses_from = self.losses.partition_point(|&(other, _)| other < winner);
            let losses_to = self.losses.partition_point(|&(other, _)| other <= winner);
            let &(_, loses_in) = self.losses[losses_from..losses_to].first()?;
            Some(LosingWinner { pair, loses_in, n_wins: wins_to - wins_from, n_losses: losses_to - losses_from })
        };
        self.verdicts.iter().filter_map(of).collect()
    }

    fn cycles(&self) -> Vec<OnCycle> {
        let mut edges: Vec<(usize, usize)> = self.verdicts.iter().map(|&(winner, loser, _)| (winner, loser)).collect();
        edges.dedup();
        // A verdict and its opposite are a contradiction and said as that; what is left has cycles of three or more.
        edges.retain(|&(winner, loser)| self.between(loser, winner).is_empty());
        let graph = Graph::new(self.n_answers, &edges);
        let components = graph.components();
        let mut members = vec![0; self.n_answers];
        for &component in &components {
            members[component] += 1;
        }
        let mut examples: Vec<Option<Vec<usize>>> = vec![None; self.n_answers];
        let on_cycle = |&&(winner, loser, _): &&(usize, usize, usize)| {
            components[winner] == components[loser] && edges.binary_search(&(winner, loser)).is_ok()
        };
        let of = |&(winner, _, pair): &(usize, usize, usize)| {
            let component = components[winner];
            let example = examples[component].get_or_insert_with(|| {
                let way = graph.cycle(winner, |answer| components[answer] == component).unwrap_or_default();
                self.pairs_of(&way)
            });
            OnCycle { pair, n_answers: members[component], example: example.clone() }
        };
        self.verdicts.iter().filter(on_cycle).map(of).collect()
    }

    /// The first pair of each step of a cycle.
    fn pairs_of(&self, way: &[usize]) -> Vec<usize> {
        let next = way.iter().cycle().skip(1);
        way.iter().zip(next).filter_map(|(&a, &b)| self.between(a, b).first().map(|&(_, _, pair)| pair)).collect()
    }
}
