//! The journals in the folder of a table: what this run has left behind earlier, and what others have.

use std::path::PathBuf;

use super::error::PrecomputeError;
use super::inventory::Job;
use super::plan::{Event, Scope};
use crate::table::{Difference, Journal, Recovered, Shard, TableError, TableFolder, Task};

/// The journals in the folder of a table.
#[derive(Default)]
pub(super) struct Journals {
    /// Of an earlier run that made the same: the whole table, or this shard of it.
    pub(super) own: Option<Recovered>,
    /// Of the rest: shards beside this one, shards of another division, runs of another scope.
    pub(super) others: Vec<OtherJournal>,
}

/// A journal of somebody else, of which only the beginning is read as long as the rest is not wanted.
pub(super) struct OtherJournal {
    pub(super) path: PathBuf,
    /// `None` of a run that made the whole table.
    pub(super) shard: Option<Shard>,
    pub(super) task: Task,
}

impl Journals {
    pub(super) fn read(folder: &TableFolder) -> Result<Self, TableError> {
        let own = Journal::recover(&folder.journal_path())?;
        let mut others = Vec::new();
        for (shard, path) in folder.other_journals()? {
            if let Some(task) = Journal::task(&path)? {
                others.push(OtherJournal { path, shard, task });
            }
        }
        Ok(Self { own, others })
    }

    /// Those that may tell something of the rows of `job`: all but those of shards beside it in the same division, which
    /// have other rows.
    pub(super) fn about<'a>(&'a self, job: &'a Job<'_>) -> impl Iterator<Item = &'a OtherJournal> {
        self.others.iter().filter(|other| match (other.shard, job.plan.scope) {
            (Some(theirs), Scope::Shard(ours)) => theirs.count() != ours.count() || other.task != *job.task,
            _ => true,
        })
    }

    /// How many shards make the table; the largest number where there are journals of several divisions.
    pub(super) fn n_shards(&self) -> Option<usize> {
        self.others.iter().filter_map(|other| other.shard).map(Shard::count).max()
    }

    /// The journal of this shard.
    pub(super) fn of_shard(&self, shard: Shard) -> Option<&OtherJournal> {
        self.others.iter().find(|other| other.shard == Some(shard))
    }
}

/// Refuses to make a shard beside one that is at work on another table than this: its files would not be those of this
/// table, or be made twice. To be called when the journal of `job` is on disk: of two that differ, one at least then sees
/// the other, whichever began first.
///
/// Where the file system has no locks, or the other has come to its end, nobody is at work: what it has made is taken over
/// as far as it fits, or made again by whoever it belongs to.
pub(super) fn refuse_others_at_work(job: &Job<'_>, observe: &mut dyn FnMut(Event<'_>)) -> Result<(), PrecomputeError> {
    let Scope::Shard(ours) = job.plan.scope else { return Ok(()) };
    let mut ended = Vec::new();
    for (shard, path) in job.folder.other_journals()? {
        let (Some(theirs), Some(task)) = (shard, Journal::task(&path)?) else { continue };
        let Some(difference) = difference((ours, job.task), (theirs, &task)) else { continue };
        if job.folder.is_at_work(theirs)? {
            return Err(PrecomputeError::other_shard(job.folder, theirs, job.plan.scope, difference));
        }
        ended.push((theirs, difference));
    }
    if let [(shard, difference), more @ ..] = ended.as_slice() {
        let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        observe(Event::Note(format!(
            "shard {shard}{more} had another `{}` (`{}`, not `{}`): what fits of its work is kept",
            difference.field, difference.found, difference.expected
        )));
    }
    Ok(())
}

/// What keeps two shards from being of one job.
fn difference((ours, our_task): (Shard, &Task), (theirs, their_task): (Shard, &Task)) -> Option<Difference> {
    let of_count = || Difference {
        field: "number of shards",
        expected: ours.count().to_string(),
        found: theirs.count().to_string(),
    };
    our_task.first_difference(their_task).or_else(|| (ours.count() != theirs.count()).then(of_count))
}
