//! Pairs into micro-batches in which a prompt stands once, however many pairs ask for it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::{BatchError, Group, GroupBatch, pack};

/// A preference pair as token ids.
#[derive(Debug, Clone, Copy)]
pub struct PairIds<'a> {
    /// The prompt.
    pub prompt: &'a [u32],
    /// The preferred completion.
    pub chosen: &'a [u32],
    /// The other one.
    pub rejected: &'a [u32],
}

/// What pairs of one micro-batch have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// A prompt is encoded once for all pairs that have it, and so is a completion of it.
    Prompts,
    /// Each pair is on its own: what sharing is measured against.
    Nothing,
}

/// Pairs that are run together.
#[derive(Debug, Clone)]
pub struct MicroBatch<'a> {
    /// Prompts and their completions.
    pub groups: Vec<Group<'a>>,
    /// Where the pairs lie in them.
    pub pairs: Vec<PairPlace>,
}

/// Where a pair lies in a micro-batch. Pairs that share a completion name the same sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairPlace {
    /// Which pair, of those that were asked for.
    pub pair: usize,
    /// Its chosen completion: an entry of [`super::Scored::sequences`].
    pub chosen: usize,
    /// Its rejected completion.
    pub rejected: usize,
}

impl<'a> MicroBatch<'a> {
    /// One pair alone.
    pub fn of(pair: PairIds<'a>) -> Self {
        let mut unit = Unit::new(pair.prompt);
        unit.push(0, &pair);
        joined(std::iter::once(unit))
    }

    /// Rows of the forward pass.
    pub fn n_rows(&self) -> usize {
        self.groups.iter().map(Group::n_rows).sum()
    }

    /// The micro-batch as a forward pass sees it.
    ///
    /// # Errors
    /// If a prompt or a completion is empty.
    pub fn lay_out(&self) -> Result<GroupBatch, BatchError> {
        GroupBatch::new(&self.groups)
    }
}

/// Cuts pairs into micro-batches of at most `budget` rows; a pair above the budget has one of its own.
///
/// Pairs of the same prompt follow the first of them, the others keep their order. Where the completions of a prompt do
/// not fit into the budget together, it is encoded again for those that are left.
///
/// # Examples
/// ```
/// use piref::batch::{PairIds, Sharing, micro_batches};
///
/// let pair = |rejected| PairIds { prompt: &[1, 2, 3], chosen: &[4, 5], rejected };
/// let pairs = [pair(&[6, 7]), pair(&[8, 9])];
/// let batches = micro_batches(&pairs, 64, Sharing::Prompts);
/// assert_eq!(batches.len(), 1);
/// assert_eq!(batches[0].n_rows(), 3 + 1 + 1 + 1, "prompt and chosen completion once, last tokens never");
/// ```
pub fn micro_batches<'a>(pairs: &[PairIds<'a>], budget: usize, sharing: Sharing) -> Vec<MicroBatch<'a>> {
    let families = match sharing {
        Sharing::Prompts => by_prompt(pairs),
        Sharing::Nothing => (0..pairs.len()).map(|pair| vec![pair]).collect(),
    };
    let mut units: Vec<Unit<'a>> = Vec::with_capacity(families.len());
    for family in families {
        let mut unit = Unit::new(pairs[family[0]].prompt);
        for index in family {
            let pair = &pairs[index];
            if !unit.places.is_empty() && unit.n_rows + unit.cost(pair) > budget {
                units.push(std::mem::replace(&mut unit, Unit::new(pair.prompt)));
            }
            unit.push(index, pair);
        }
        units.push(unit);
    }
    let runs = pack(units.iter().map(|unit| unit.n_rows), budget);
    let mut units = units.into_iter();
    runs.into_iter().map(|run| joined(units.by_ref().take(run.len()))).collect()
}

/// Pairs by their prompt, in the order of their first.
fn by_prompt(pairs: &[PairIds<'_>]) -> Vec<Vec<usize>> {
    let mut places: HashMap<&[u32], usize> = HashMap::new();
    let mut families: Vec<Vec<usize>> = Vec::new();
    for (index, pair) in pairs.iter().enumerate() {
        match places.entry(pair.prompt) {
            Entry::Occupied(place) => families[*place.get()].push(index),
            Entry::Vacant(place) => {
                place.insert(families.len());
                families.push(vec![index]);
            }
        }
    }
    families
}

fn joined<'a>(units: impl Iterator<Item = Unit<'a>>) -> MicroBatch<'a> {
    let (mut batch, mut n_sequences) = (MicroBatch { groups: Vec::new(), pairs: Vec::new() }, 0);
    for unit in units {
        let place = |place: PairPlace| PairPlace {
            chosen: place.chosen + n_sequences,
            rejected: place.rejected + n_sequences,
            ..place
        };
        batch.pairs.extend(unit.places.into_iter().map(place));
        n_sequences += unit.group.completions.len();
        batch.groups.push(unit.group);
    }
    batch
}

/// Pairs of one prompt that are encoded together.
struct Unit<'a> {
    group: Group<'a>,
    known: HashMap<&'a [u32], usize>,
    places: Vec<PairPlace>,
    n_rows: usize,
}

impl<'a> Unit<'a> {
    fn new(prompt: &'a [u32]) -> Self {
        let group = Group { prompt, completions: Vec::new() };
        Self { group, known: HashMap::new(), places: Vec::new(), n_rows: prompt.len() }
    }

    /// Rows that a pair adds.
    fn cost(&self, pair: &PairIds<'a>) -> usize {
        let cost = |completion: &[u32]| {
            if self.known.contains_key(completion) { 0 } else { completion.len().saturating_sub(1) }
        };
        cost(pair.chosen) + if pair.chosen == pair.rejected { 0 } else { cost(pair.rejected) }
    }

    fn push(&mut self, pair: usize, ids: &PairIds<'a>) {
        self.n_rows += self.cost(ids);
        let (chosen, rejected) = (self.sequence(ids.chosen), self.sequence(ids.rejected));
        self.places.push(PairPlace { pair, chosen, rejected });
    }

    fn sequence(&mut self, completion: &'a [u32]) -> usize {
        *self.known.entry(completion).or_insert_with(|| {
            self.group.completions.push(completion);
            self.group.completions.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn pair<'a>(prompt: &'a [u32], chosen: &'a [u32], rejected: &'a [u32]) -> PairIds<'a> {
        PairIds { prompt, chosen, rejected }
    }

    #[test]
    fn prompts_and_completions_stand_once() {
        let pairs = [
            pair(&[1, 2], &[3, 4], &[5, 6]),
            pair(&[9], &[3, 4], &[5, 6]),
            pair(&[1, 2], &[5, 6], &[7, 8]),
            pair(&[1, 2], &[3, 4], &[3, 4]),
        ];
        let batches = micro_batches(&pairs, 64, Sharing::Prompts);
        let [batch] = &batches[..] else { panic!("{batches:?}") };
        assert_eq!(batch.n_rows(), (2 + 3) + (1 + 2));
        let places: Vec<_> = batch.pairs.iter().map(|place| (place.pair, place.chosen, place.rejected)).collect();
        assert_eq!(places, [(0, 0, 1), (2, 1, 2), (3, 0, 0), (1, 3, 4)]);
        let apart = micro_batches(&pairs, 64, Sharing::Nothing);
        assert_eq!(apart[0].n_rows(), 4 + 3 + 4 + 3, "a pair of two equal completions has one");
    }

    #[test]
    fn a_prompt_whose_completions_do_not_fit_is_encoded_again() {
        let pairs = [pair(&[1, 2], &[3, 4], &[5, 6]), pair(&[1, 2], &[7, 8], &[3, 4]), pair(&[1, 2], &[9, 9], &[8, 8])];
        let batches = micro_batches(&pairs, 5, Sharing::Prompts);
        let rows: Vec<usize> = batches.iter().map(MicroBatch::n_rows).collect();
        assert_eq!(rows, [5, 4], "three completions, then two");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_pair_finds_its_own_completions(
            pairs in vec((vec(0..3_u32, 1..3), vec(0..3_u32, 1..4), vec(0..3_u32, 1..4)), 0..40),
            budget in 8..40_usize,
        ) {
            let pairs: Vec<_> = pairs.iter().map(|(prompt, chosen, rejected)| pair(prompt, chosen, rejected)).collect();
            let batches = micro_batches(&pairs, budget, Sharing::Prompts);
            let mut found = Vec::new();
            for batch in &batches {
                prop_assert!(batch.n_rows() <= budget);
                let sequences: Vec<(&[u32], &[u32])> = batch.groups.iter()
                    .flat_map(|group| group.completions.iter().map(|completion| (group.prompt, *completion))).collect();
                for place in &batch.pairs {
                    let pair = pairs[place.pair];
                    prop_assert_eq!(sequences[place.chosen], (pair.prompt, pair.chosen));
                    prop_assert_eq!(sequences[place.rejected], (pair.prompt, pair.rejected));
                    found.push(place.pair);
                }
                let laid_out = batch.lay_out().unwrap();
                prop_assert_eq!(laid_out.scored.sequences.len(), sequences.len());
                prop_assert_eq!(laid_out.ids.len(), batch.n_rows());
            }
            found.sort_unstable();
            prop_assert_eq!(found, (0..pairs.len()).collect::<Vec<_>>());
        }
    }
}
