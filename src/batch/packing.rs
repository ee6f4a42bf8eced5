//! Which items go into which micro-batch.

use std::ops::Range;

/// Cuts consecutive items into runs whose costs sum to at most `budget`.
///
/// Order is kept, so that results are written in the order they were asked for; an item above the budget has a run of
/// its own. A batch without padding costs the sum of its rows, so there is nothing to gain from sorting by length.
///
/// # Examples
/// ```
/// assert_eq!(piref::batch::pack([4, 4, 5, 90], 8), [0..2, 2..3, 3..4]);
/// ```
pub fn pack(costs: impl IntoIterator<Item = usize>, budget: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut used = 0;
    for (index, cost) in costs.into_iter().enumerate() {
        match runs.last_mut() {
            Some(run) if used + cost <= budget => {
                run.end = index + 1;
                used += cost;
            }
            _ => {
                runs.push(index..index + 1);
                used = cost;
            }
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_items_make_no_runs() {
        assert!(pack([], 8).is_empty());
    }

    #[test]
    fn an_exact_fit_shares_a_run_and_one_more_starts_another() {
        assert_eq!(pack([4, 4, 9], 8), [0..2, 2..3]);
        assert_eq!(pack([4, 5], 8), [0..1, 1..2]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_item_is_in_one_run_and_runs_fit(costs in vec(1..=64_usize, 0..200), budget in 64..=256_usize) {
            let runs = pack(costs.iter().copied(), budget);
            let items: Vec<usize> = runs.iter().cloned().flatten().collect();
            prop_assert_eq!(items, (0..costs.len()).collect::<Vec<_>>());
            prop_assert!(runs.iter().all(|run| costs[run.clone()].iter().sum::<usize>() <= budget));
        }
    }
}
