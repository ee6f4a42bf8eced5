//! TensorBoard's event file: scalars by step, as `torch.utils.tensorboard` writes them.
//!
//! Invariant: a folder has one event file of ours, with no step twice. A writer that starts anew takes over the events
//! up to the step it goes on from under a name that sorts after the old one, and deletes that. The new file begins with
//! a start of session at step 0, so that a TensorBoard that is open forgets what it has read of the old one.
//!
//! The bytes are written here: a TFRecord is sixteen bytes around a message, and an event of scalars has five fields.
//! `tensorboard-rs` has had no release since 2020 and brings an image codec and an old protobuf; `crc32fast` has another
//! polynomial than the format.

mod event;
mod record;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::io::{self, IoError};
use event::Content;

/// What TensorBoard looks for in a name.
const PREFIX: &str = "events.out.tfevents.";

/// What tells our files from those of others.
const SUFFIX: &str = ".piref";

/// An open event file.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

/// How much of an earlier event file stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The last step that stays; 0 for nothing at all.
    pub step: u64,
    /// Events of that step that stay: one of the step, one of an evaluation after it.
    pub n_of_step: usize,
}

/// An event file, and how far what it took over goes.
#[derive(Debug)]
pub struct Resumed {
    /// The file, at its end.
    pub file: EventFile,
    /// The last step in it.
    pub last_step: Option<u64>,
}

impl EventFile {
    /// Starts the event file of `folder` for what follows `kept`, with the events up to there of the file that is there.
    /// What a killed process left half written is dropped.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn open(folder: &Path, kept: Kept) -> Result<Resumed, IoError> {
        remove_halves(folder)?;
        let earlier = files(folder)?;
        let now = since_epoch();
        let mut bytes = record::framed(&event::encode(now, 0, &Content::FileVersion));
        bytes.extend(record::framed(&event::encode(now, 0, &Content::SessionStart)));
        let (mut last_step, mut n_of_last) = (None, 0);
        if let Some(newest) = earlier.last()
            && kept.step > 0
        {
            for record in record::read(&io::read(newest)?) {
                let Some(head) = event::head(record.payload) else { break };
                if !head.has_summary {
                    continue;
                }
                n_of_last += usize::from(head.step == kept.step);
                if head.step > kept.step || n_of_last > kept.n_of_step {
                    break;
                }
                bytes.extend(record.framed);
                last_step = Some(head.step);
            }
        }
        let path = folder.join(name(now));
        io::write(&path, &bytes)?;
        for file in earlier.iter().filter(|file| **file != path) {
            io::remove(file)?;
        }
        Ok(Resumed { file: Self { file: io::append(&path)?, path }, last_step })
    }

    /// Deletes the event files of ours in `folder`.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn remove(folder: &Path) -> Result<(), IoError> {
        files(folder)?.iter().try_for_each(|file| io::remove(file))
    }

    /// Adds the scalars of a step under their tags. TensorBoard has them as f32, so a count above 2^24 is rounded.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn push(&mut self, step: u64, scalars: &[(String, f64)]) -> Result<(), IoError> {
        let record = record::framed(&event::encode(since_epoch(), step, &Content::Scalars(scalars)));
        self.file.write_all(&record).map_err(|source| IoError::new("write", &self.path, source))
    }

    /// Makes the events durable.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn sync(&self) -> Result<(), IoError> {
        self.file.sync_data().map_err(|source| IoError::new("sync", &self.path, source))
    }
}

/// The event files of ours in a folder, oldest first.
fn files(folder: &Path) -> Result<Vec<PathBuf>, IoError> {
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(PREFIX) && name.ends_with(SUFFIX)
    };
    Ok(io::list(folder)?.into_iter().filter(is_ours).collect())
}

/// Deletes what a process that was killed while it started a file left of it.
fn remove_halves(folder: &Path) -> Result<(), IoError> {
    for path in io::list(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(&format!(".{PREFIX}")) && name.contains(SUFFIX) && name.ends_with(".partial") {
            io::remove(&path)?;
        }
    }
    Ok(())
}

/// A name that sorts by time: TensorBoard reads the files of a folder in the order of their names.
fn name(now: Duration) -> String {
    format!("{PREFIX}{:010}.{:06}{SUFFIX}", now.as_secs(), now.subsec_micros())
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Kept = Kept { step: 0, n_of_step: 0 };

    fn steps(folder: &Path) -> Vec<u64> {
        let bytes = io::read(&files(folder).unwrap().pop().unwrap()).unwrap();
        let heads = record::read(&bytes).map(|record| event::head(record.payload).unwrap());
        heads.filter(|head| head.has_summary).map(|head| head.step).collect()
    }

    fn push(events: &mut Resumed, steps: std::ops::RangeInclusive<u64>) {
        for step in steps {
            events.file.push(step, &[("train/loss".to_owned(), 0.5)]).unwrap();
        }
    }

    #[test]
    fn a_resumed_run_has_every_step_once_in_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = EventFile::open(folder.path(), NOTHING).unwrap();
        assert_eq!(events.last_step, None);
        push(&mut events, 1..=5);
        // As a kill leaves it.
        events.file.file.write_all(b"\x20\0\0\0\0\0\0\0half").unwrap();

        let mut events = EventFile::open(folder.path(), Kept { step: 3, n_of_step: 1 }).unwrap();
        assert_eq!(events.last_step, Some(3));
        push(&mut events, 4..=6);
        assert_eq!(steps(folder.path()), [1, 2, 3, 4, 5, 6]);
        assert_eq!(files(folder.path()).unwrap().len(), 1);
    }

    #[test]
    fn an_evaluation_stays_if_its_line_does() {
        for (n_of_step, want) in [(1, [0, 1, 2].as_slice()), (2, &[0, 1, 2, 2])] {
            let folder = tempfile::tempdir().unwrap();
            let mut events = EventFile::open(folder.path(), NOTHING).unwrap();
            for (step, tag) in
                [(0, "eval/loss"), (1, "train/loss"), (2, "train/loss"), (2, "eval/loss"), (3, "train/loss")]
            {
                events.file.push(step, &[(tag.to_owned(), 0.5)]).unwrap();
            }
            EventFile::open(folder.path(), Kept { step: 2, n_of_step }).unwrap();
            assert_eq!(steps(folder.path()), want);
        }
    }

    #[test]
    fn a_fresh_run_keeps_nothing_and_touches_no_file_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("events.out.tfevents.1700000000.host.1.0");
        io::write(&other, b"theirs").unwrap();
        io::write(&folder.path().join(".events.out.tfevents.1.piref.x.partial"), b"half").unwrap();
        push(&mut EventFile::open(folder.path(), NOTHING).unwrap(), 1..=2);
        push(&mut EventFile::open(folder.path(), NOTHING).unwrap(), 1..=1);
        assert_eq!(steps(folder.path()), [1]);
        EventFile::remove(folder.path()).unwrap();
        assert_eq!(io::list(folder.path()).unwrap(), [other]);
    }

    #[test]
    fn of_a_damaged_file_the_events_before_the_damage_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        push(&mut EventFile::open(folder.path(), NOTHING).unwrap(), 1..=4);
        let path = files(folder.path()).unwrap().pop().unwrap();
        let mut bytes = io::read(&path).unwrap();
        let length = bytes.len();
        // In the last event.
        bytes[length - 8] ^= 1;
        io::write(&path, &bytes).unwrap();
        assert_eq!(EventFile::open(folder.path(), Kept { step: 4, n_of_step: 1 }).unwrap().last_step, Some(3));
    }

    #[test]
    fn names_sort_by_time() {
        let names = [(9, 999_999), (10, 2), (10, 11), (1_700_000_000, 0)]
            .map(|(seconds, micros)| name(Duration::new(seconds, micros * 1000)));
        assert!(names.is_sorted(), "{names:?}");
    }
}
