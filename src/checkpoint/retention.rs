//! How many checkpoints stay.

use std::num::NonZeroUsize;
use std::path::Path;

use super::error::CheckpointError;
use super::steps;
use crate::io;

/// Deletes the oldest checkpoints in `folder` until `limit` are left, as `save_total_limit` of transformers does: the
/// newest and the one of step `best` stay, also where that makes one more than the limit.
///
/// # Errors
/// If the disk refuses.
pub fn rotate(folder: &Path, limit: NonZeroUsize, best: Option<u64>) -> Result<(), CheckpointError> {
    let mut older = steps(folder)?;
    let mut n_left = older.len();
    older.pop();
    for (step, path) in older {
        if n_left > limit.get() && best != Some(step) {
            io::remove_dir(&path)?;
            n_left -= 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Occasion, Snapshot, State, save};
    use crate::eval::{Best, EvalState};
    use crate::loss::ObjectiveState;
    use crate::model::Params;
    use crate::ops::Kernels;
    use crate::optim::{Optimizer, OptimizerParams};

    /// Writes checkpoints, each with the step of the best evaluation it knows of.
    fn save_all(folder: &Path, checkpoints: &[(u64, Occasion, Option<u64>)]) {
        let params = Params::new(Kernels::Own);
        let optimizer = Optimizer::new(OptimizerParams::default(), &params).unwrap();
        for &(step, occasion, best) in checkpoints {
            let best = best.map(|step| Best { step, value: 0.1 + 0.2 });
            let eval = EvalState { last_step: Some(step), best, n_without_improvement: 1 };
            let state = State {
                step,
                n_tokens: 0,
                objective: ObjectiveState::default(),
                eval,
                trajectory: serde_json::Map::new(),
            };
            save(folder, &Snapshot { params: &params, optimizer: &optimizer, ema: None, state: &state, occasion })
                .unwrap();
            assert_eq!(super::super::newest(folder).unwrap().unwrap().state(), &state);
        }
    }

    fn left(folder: &Path) -> Vec<u64> {
        steps(folder).unwrap().into_iter().map(|(step, _)| step).collect()
    }

    #[test]
    fn the_oldest_go_but_never_the_best_or_the_newest() {
        for (limit, best, want) in [
            (3, None, &[3, 4, 5][..]),
            (3, Some(1), &[1, 4, 5]),
            (3, Some(4), &[3, 4, 5]),
            (1, None, &[5]),
            (1, Some(2), &[2, 5]),
            (1, Some(5), &[5]),
            (9, Some(1), &[1, 2, 3, 4, 5]),
            // Of a step without a checkpoint.
            (2, Some(7), &[4, 5]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            save_all(folder.path(), &[1, 2, 3, 4, 5].map(|step| (step, Occasion::Planned, None)));
            rotate(folder.path(), NonZeroUsize::new(limit).unwrap(), best).unwrap();
            assert_eq!(left(folder.path()), want, "limit {limit}, best {best:?}");
        }
    }

    #[test]
    fn what_was_kept_as_the_best_goes_when_a_better_one_is_there() {
        let folder = tempfile::tempdir().unwrap();
        save_all(folder.path(), &[(2, Occasion::Best, Some(2)), (3, Occasion::Planned, Some(2))]);
        save_all(folder.path(), &[(4, Occasion::Interrupted, Some(2)), (5, Occasion::Planned, Some(2))]);
        assert_eq!(left(folder.path()), [2, 3, 5]);
        save_all(folder.path(), &[(6, Occasion::Best, Some(6))]);
        assert_eq!(left(folder.path()), [3, 5, 6], "those of the plan stay");
    }
}
