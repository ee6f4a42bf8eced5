//! Which shard this process is, from what a job array says in its environment.
//!
//! | system | index | number of shards |
//! |---|---|---|
//! | Slurm (`sbatch --array`) | `SLURM_ARRAY_TASK_ID`, from `SLURM_ARRAY_TASK_MIN` in steps of `SLURM_ARRAY_TASK_STEP` | `SLURM_ARRAY_TASK_COUNT` |
//! | Kubernetes Indexed Job | `JOB_COMPLETION_INDEX`, from 0 | not told: `completions` has to be given |
//! | AWS Batch array job | `AWS_BATCH_JOB_ARRAY_INDEX`, from 0 | `AWS_BATCH_JOB_ARRAY_SIZE` |
//!
//! Sources: the manual page of `sbatch`, "Output Environment Variables"; the Kubernetes documentation, "Indexed Job for
//! Parallel Processing with Static Work Assignment"; the AWS Batch user guide, "AWS Batch job environment variables".

use std::num::NonZeroUsize;
use std::str::FromStr;

use crate::error::Hint;
use crate::table::{Shard, ShardError};

/// What says that a process is one of a Slurm array.
const SLURM: &str = "SLURM_ARRAY_TASK_ID";

/// What says that it is one of a Kubernetes Indexed Job.
const KUBERNETES: &str = "JOB_COMPLETION_INDEX";

/// What says that it is one of an AWS Batch array job.
const AWS_BATCH: &str = "AWS_BATCH_JOB_ARRAY_INDEX";

/// How a shard is asked for: `--shard`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardRequest {
    /// `1/4`: this one.
    Given(Shard),
    /// `auto`: the one that the job array says, out of as many as it says.
    Auto,
    /// `auto/4`: the one that the job array says, out of four. In a Slurm array the index is then the task's own number:
    /// what some tasks of an array are run again with.
    AutoOf(NonZeroUsize),
}

/// Why the environment does not say which shard this is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArrayJobError {
    /// No job array has set a variable.
    #[error(
        "no job array says which shard this is: expected one of `{SLURM}` (Slurm), `{KUBERNETES}` (Kubernetes), `{AWS_BATCH}` (AWS Batch), found none"
    )]
    NoArray,
    /// A variable that should be there beside another one.
    #[error("`{found}` is set and `{missing}` is not")]
    Missing {
        /// The variable that is there.
        found: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// A variable that is no number.
    #[error("expected a number in `{name}`, found `{found}`")]
    NotANumber {
        /// The variable.
        name: &'static str,
        /// What it says.
        found: String,
    },
    /// A Kubernetes job does not tell how many indexes it has.
    #[error("`{KUBERNETES}` is {index}, and no variable says of how many")]
    NoCount {
        /// The index.
        index: usize,
    },
    /// Tasks that are not those of a whole array: some of another one, run again.
    #[error(
        "the tasks of this Slurm array are no shards: expected numbers from 0 or 1 in even steps, found \
         {count} tasks from {min} to {max} in steps of {step}"
    )]
    NotWhole {
        /// `SLURM_ARRAY_TASK_COUNT`.
        count: usize,
        /// `SLURM_ARRAY_TASK_MIN`.
        min: usize,
        /// `SLURM_ARRAY_TASK_MAX`.
        max: usize,
        /// `SLURM_ARRAY_TASK_STEP`.
        step: usize,
    },
    /// Variables of two systems, or of one, that do not say the same.
    #[error("the environment says two different things: {first}, {second}")]
    Contradiction {
        /// A variable and its value.
        first: String,
        /// Another one.
        second: String,
    },
    /// An index that is too large.
    #[error("`{name}` is no shard")]
    Shard {
        /// The variable with the index.
        name: &'static str,
        /// Why not.
        #[source]
        source: ShardError,
    },
}

impl Hint for ArrayJobError {
    fn hint(&self) -> Option<String> {
        let by_hand = "`--shard I/N` names the shard, from `0/N`, and `--shard auto/N` the number of shards alone";
        Some(match self {
            Self::NoCount { .. } => "give the `completions` of the job: `--shard auto/N`".into(),
            Self::NotWhole { .. } => {
                "to run some tasks of an array again, give the number of all shards: `--shard auto/N`".into()
            }
            Self::Shard { .. } => "N shards are the tasks 0 to N-1: `--array=0-15` for `--shard auto/16`".into(),
            _ => by_hand.into(),
        })
    }
}

/// What one system says.
struct Found {
    /// The variable with the index.
    name: &'static str,
    index: usize,
    /// How many shards there are, where it says so.
    count: Option<usize>,
}

impl ShardRequest {
    /// The shard that is asked for; `lookup` is the environment.
    ///
    /// # Errors
    /// If the environment is asked, and says nothing, too little or two different things.
    pub fn resolve(self, lookup: impl Fn(&str) -> Option<String>) -> Result<Shard, ArrayJobError> {
        let given = match self {
            Self::Given(shard) => return Ok(shard),
            Self::Auto => None,
            Self::AutoOf(count) => Some(count.get()),
        };
        let systems = [slurm(&lookup, given)?, kubernetes(&lookup, given)?, aws_batch(&lookup, given)?];
        let mut systems = systems.into_iter().flatten();
        let first = systems.next().ok_or(ArrayJobError::NoArray)?;
        if let Some(other) = systems.find(|other| other.index != first.index || other.count != first.count) {
            return Err(ArrayJobError::Contradiction { first: first.to_string(), second: other.to_string() });
        }
        let count = first.count.ok_or(ArrayJobError::NoCount { index: first.index })?;
        Shard::new(first.index, count).map_err(|source| ArrayJobError::Shard { name: first.name, source })
    }
}

/// The tasks of a Slurm array in their order: the first is shard 0, whether it is called 0 or 1.
fn slurm(lookup: &impl Fn(&str) -> Option<String>, given: Option<usize>) -> Result<Option<Found>, ArrayJobError> {
    let Some(id) = number(lookup, SLURM)? else { return Ok(None) };
    if given.is_some() {
        return Ok(Some(Found { name: SLURM, index: id, count: given }));
    }
    let beside = |name| number(lookup, name)?.ok_or(ArrayJobError::Missing { found: SLURM, missing: name });
    let count = beside("SLURM_ARRAY_TASK_COUNT")?;
    let (min, max) = (beside("SLURM_ARRAY_TASK_MIN")?, beside("SLURM_ARRAY_TASK_MAX")?);
    let step = number(lookup, "SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
    // A list like 1,3,7 has a count that its ends and its step do not explain; 4-5 is a part of an array.
    let is_whole = min <= 1 && max.checked_sub(min).is_some_and(|span| span / step + 1 == count);
    let index = id.checked_sub(min).filter(|offset| offset.is_multiple_of(step)).map(|offset| offset / step);
    match index.filter(|_| is_whole && id <= max) {
        Some(index) => Ok(Some(Found { name: SLURM, index, count: Some(count) })),
        None => Err(ArrayJobError::NotWhole { count, min, max, step }),
    }
}

fn kubernetes(lookup: &impl Fn(&str) -> Option<String>, given: Option<usize>) -> Result<Option<Found>, ArrayJobError> {
    Ok(number(lookup, KUBERNETES)?.map(|index| Found { name: KUBERNETES, index, count: given }))
}

fn aws_batch(lookup: &impl Fn(&str) -> Option<String>, given: Option<usize>) -> Result<Option<Found>, ArrayJobError> {
    const SIZE: &str = "AWS_BATCH_JOB_ARRAY_SIZE";
    let Some(index) = number(lookup, AWS_BATCH)? else { return Ok(None) };
    let size = number(lookup, SIZE)?;
    match (size, given) {
        (Some(size), Some(given)) if size != given => Err(ArrayJobError::Contradiction {
            first: format!("`--shard auto/{given}`"),
            second: format!("`{SIZE}` = {size}"),
        }),
        (None, None) => Err(ArrayJobError::Missing { found: AWS_BATCH, missing: SIZE }),
        (size, given) => Ok(Some(Found { name: AWS_BATCH, index, count: size.or(given) })),
    }
}

fn number(lookup: &impl Fn(&str) -> Option<String>, name: &'static str) -> Result<Option<usize>, ArrayJobError> {
    let parse = |found: String| found.trim().parse().map_err(|_| ArrayJobError::NotANumber { name, found });
    lookup(name).map(parse).transpose()
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` is shard {} of ", self.name, self.index)?;
        match self.count {
            Some(count) => write!(f, "{count}"),
            None => f.write_str("an unknown number"),
        }
    }
}

impl FromStr for ShardRequest {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        match text.split_once('/') {
            None if text == "auto" => Ok(Self::Auto),
            Some(("auto", count)) => {
                count.parse().map(Self::AutoOf).map_err(|_| ShardError::Form { found: text.to_owned() })
            }
            _ => text.parse().map(Self::Given),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The environment in which only these variables are set.
    fn resolve(request: &str, variables: &[(&str, &str)]) -> Result<String, ArrayJobError> {
        let value = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        request.parse::<ShardRequest>().unwrap().resolve(value).map(|shard| shard.to_string())
    }

    /// What `sbatch --array` sets in one of its tasks.
    fn slurm(request: &str, [id, count, min, max, step]: [&str; 5]) -> Result<String, ArrayJobError> {
        resolve(
            request,
            &[
                ("SLURM_ARRAY_TASK_ID", id),
                ("SLURM_ARRAY_TASK_COUNT", count),
                ("SLURM_ARRAY_TASK_MIN", min),
                ("SLURM_ARRAY_TASK_MAX", max),
                ("SLURM_ARRAY_TASK_STEP", step),
            ],
        )
    }

    #[test]
    fn a_shard_by_hand_asks_nobody() {
        assert_eq!(resolve("2/7", &[("SLURM_ARRAY_TASK_ID", "5")]).as_deref(), Ok("2/7"));
        for wrong in ["auto/0", "auto/", "auto/x", "auto/-1", "Auto", "7/7", "1"] {
            assert!(wrong.parse::<ShardRequest>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn tasks_of_a_whole_slurm_array_are_shards_in_their_order() {
        // --array=0-15, 0-15%4; 1-16; 0-14:2; 0.
        assert_eq!(slurm("auto", ["5", "16", "0", "15", "1"]).as_deref(), Ok("5/16"));
        assert_eq!(slurm("auto", ["1", "16", "1", "16", "1"]).as_deref(), Ok("0/16"));
        assert_eq!(slurm("auto", ["16", "16", "1", "16", "1"]).as_deref(), Ok("15/16"));
        assert_eq!(slurm("auto", ["6", "8", "0", "14", "2"]).as_deref(), Ok("3/8"));
        assert_eq!(slurm("auto", ["0", "1", "0", "0", "1"]).as_deref(), Ok("0/1"));
    }

    #[test]
    fn some_tasks_of_an_array_are_run_again_with_the_number_of_all() {
        // --array=3,5; 4-5; 1,3,7; 0-7 without 6.
        for (id, count, min, max) in
            [("3", "2", "3", "5"), ("4", "2", "4", "5"), ("7", "3", "1", "7"), ("0", "7", "0", "7")]
        {
            let error = slurm("auto", [id, count, min, max, "1"]).unwrap_err();
            assert!(matches!(error, ArrayJobError::NotWhole { .. }), "{error}");
            assert!(error.hint().unwrap().contains("auto/N"));
            assert_eq!(slurm("auto/16", [id, count, min, max, "1"]), Ok(format!("{id}/16")));
        }
        let error = slurm("auto/16", ["16", "16", "1", "16", "1"]).unwrap_err();
        assert!(
            matches!(&error, ArrayJobError::Shard { source: ShardError::Index { index: 16, count: 16 }, .. }),
            "{error}"
        );
    }

    #[test]
    fn kubernetes_tells_the_index_alone() {
        let variables = [("JOB_COMPLETION_INDEX", "3")];
        assert_eq!(resolve("auto", &variables), Err(ArrayJobError::NoCount { index: 3 }));
        assert_eq!(resolve("auto/4", &variables).as_deref(), Ok("3/4"));
        assert!(matches!(resolve("auto/3", &variables), Err(ArrayJobError::Shard { .. })));
    }

    #[test]
    fn aws_batch_tells_both() {
        let variables = [("AWS_BATCH_JOB_ARRAY_INDEX", "0"), ("AWS_BATCH_JOB_ARRAY_SIZE", "10")];
        assert_eq!(resolve("auto", &variables).as_deref(), Ok("0/10"));
        assert_eq!(resolve("auto/10", &variables).as_deref(), Ok("0/10"));
        assert!(matches!(resolve("auto/9", &variables), Err(ArrayJobError::Contradiction { .. })));
        assert_eq!(
            resolve("auto", &variables[..1]),
            Err(ArrayJobError::Missing { found: AWS_BATCH, missing: "AWS_BATCH_JOB_ARRAY_SIZE" })
        );
    }

    #[test]
    fn an_environment_that_says_nothing_or_two_things_is_refused() {
        let error = resolve("auto", &[("PATH", "/bin")]).unwrap_err();
        assert_eq!(error, ArrayJobError::NoArray);
        for name in [SLURM, KUBERNETES, AWS_BATCH] {
            assert!(error.to_string().contains(name), "{error}");
        }
        let both =
            [("JOB_COMPLETION_INDEX", "3"), ("AWS_BATCH_JOB_ARRAY_INDEX", "2"), ("AWS_BATCH_JOB_ARRAY_SIZE", "4")];
        assert_eq!(
            resolve("auto/4", &both).unwrap_err().to_string(),
            "the environment says two different things: `JOB_COMPLETION_INDEX` is shard 3 of 4, \
             `AWS_BATCH_JOB_ARRAY_INDEX` is shard 2 of 4"
        );
        let same = [("JOB_COMPLETION_INDEX", "2"), both[1], both[2]];
        assert_eq!(resolve("auto/4", &same).as_deref(), Ok("2/4"));
        let error = resolve("auto/4", &[("JOB_COMPLETION_INDEX", "two")]).unwrap_err();
        assert_eq!(error.to_string(), "expected a number in `JOB_COMPLETION_INDEX`, found `two`");
        let alone = resolve("auto", &[("SLURM_ARRAY_TASK_ID", "1")]).unwrap_err();
        assert_eq!(alone, ArrayJobError::Missing { found: SLURM, missing: "SLURM_ARRAY_TASK_COUNT" });
    }
}
