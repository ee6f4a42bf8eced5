//! A shard: the parts of a table that one job of several makes, and the names of what it leaves beside them.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::error::Hint;

/// What names of the lock files of shards begin with.
const LOCK_START: &str = ".piref-shard-";

/// What they end with.
const LOCK_END: &str = ".lock";

/// What is no shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    /// Not two numbers with a slash between.
    #[error("expected a shard like `0/4`, its index and their number, found `{found}`")]
    Form {
        /// As given.
        found: String,
    },
    /// An index that is too large; shards are counted from 0.
    #[error("expected a shard from `0/{count}` to `{}/{count}`, found `{index}/{count}`", count - 1)]
    Index {
        /// As given.
        index: usize,
        /// Number of shards, at least 1.
        count: usize,
    },
}

impl Hint for ShardError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Form { .. } => None,
            Self::Index { .. } => Some("shards are counted from 0, like `--array=0-15` of sixteen".into()),
        }
    }
}

/// Shard `index` of `count`, counted from 0: every part of the table whose number leaves the remainder `index` when
/// divided by `count`.
///
/// Whose a pair is, is known from the number of pairs before it, whatever comes after; and shards of one count have no
/// part in common.
///
/// # Examples
/// ```
/// use piref::table::Shard;
///
/// let shard: Shard = "1/4".parse()?;
/// assert!(shard.owns(1) && shard.owns(5) && !shard.owns(4));
/// assert!("4/4".parse::<Shard>().is_err());
/// # Ok::<(), piref::table::ShardError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard {
    count: usize,
    index: usize,
}

impl Shard {
    /// The one shard that is the whole table.
    pub const WHOLE: Self = Self { count: 1, index: 0 };

    /// Shard `index` of `count`.
    ///
    /// # Errors
    /// If `index` is not below `count`.
    pub fn new(index: usize, count: usize) -> Result<Self, ShardError> {
        match count {
            0 => Err(ShardError::Form { found: format!("{index}/{count}") }),
            count if index < count => Ok(Self { count, index }),
            count => Err(ShardError::Index { index, count }),
        }
    }

    /// Its place among the shards, from 0.
    pub fn index(self) -> usize {
        self.index
    }

    /// How many shards there are.
    pub fn count(self) -> usize {
        self.count
    }

    /// Whether part number `part_idx`, from 0, is one of its parts.
    pub fn owns(self, part_idx: usize) -> bool {
        part_idx % self.count == self.index
    }

    /// The shard, of as many, that part number `part_idx` belongs to.
    pub fn of_part(part_idx: usize, count: usize) -> Self {
        let count = count.max(1);
        Self { count, index: part_idx % count }
    }

    /// Name of its lock file.
    pub(super) fn lock_name(self) -> String {
        format!("{LOCK_START}{}{LOCK_END}", self.in_names())
    }

    /// The shard whose lock file has this name.
    pub(super) fn of_lock(name: &str) -> Option<Self> {
        Self::of_name(name.strip_prefix(LOCK_START)?.strip_suffix(LOCK_END)?)
    }

    /// Name of a file like `file`, but of this shard: `.piref-journal-0-of-4`.
    pub(super) fn name_of(self, file: &str) -> String {
        format!("{file}-{}", self.in_names())
    }

    /// The shard whose file like `file` has this name.
    pub(super) fn of_file(name: &str, file: &str) -> Option<Self> {
        Self::of_name(name.strip_prefix(file)?.strip_prefix('-')?)
    }

    fn in_names(self) -> String {
        format!("{}-of-{}", self.index, self.count)
    }

    fn of_name(text: &str) -> Option<Self> {
        let (index, count) = text.split_once("-of-")?;
        Self::new(number(index)?, number(count)?).ok()
    }
}

/// `0/4`.
impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let (index, count) = text
            .split_once('/')
            .and_then(|(index, count)| Some((number(index)?, number(count)?)))
            .ok_or_else(|| ShardError::Form { found: text.to_owned() })?;
        Self::new(index, count)
    }
}

/// As it is displayed.
impl Serialize for Shard {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A number in digits alone: no sign, no blank.
fn number(text: &str) -> Option<usize> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) { None } else { text.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_read_as_they_are_written_and_counted_from_0() {
        for (text, index, count) in [("0/1", 0, 1), ("3/4", 3, 4), ("0/10000", 0, 10_000)] {
            let shard: Shard = text.parse().unwrap();
            assert_eq!((shard.index(), shard.count(), &*shard.to_string()), (index, count, text));
        }
        assert_eq!("4/4".parse::<Shard>(), Err(ShardError::Index { index: 4, count: 4 }));
        let message = "4/4".parse::<Shard>().unwrap_err().to_string();
        assert_eq!(message, "expected a shard from `0/4` to `3/4`, found `4/4`");
        for wrong in ["", "1", "1/", "/4", "-1/4", "+1/4", " 1/4", "1/4/7", "0/0", "a/b", "0/99999999999999999999"] {
            assert_eq!(wrong.parse::<Shard>(), Err(ShardError::Form { found: wrong.to_owned() }), "{wrong}");
        }
    }

    #[test]
    fn every_part_has_one_shard() {
        for count in 1..8 {
            let shards: Vec<Shard> = (0..count).map(|index| Shard::new(index, count).unwrap()).collect();
            for part_idx in 0..20 {
                let owners: Vec<&Shard> = shards.iter().filter(|shard| shard.owns(part_idx)).collect();
                assert_eq!(owners, [&Shard::of_part(part_idx, count)], "part {part_idx} of {count} shards");
            }
        }
    }

    #[test]
    fn names_of_files_say_whose_they_are() {
        let shard = Shard::new(2, 16).unwrap();
        assert_eq!(shard.lock_name(), ".piref-shard-2-of-16.lock");
        assert_eq!(Shard::of_lock(".piref-shard-2-of-16.lock"), Some(shard));
        assert_eq!(shard.name_of(".piref-journal"), ".piref-journal-2-of-16");
        assert_eq!(Shard::of_file(".piref-journal-2-of-16", ".piref-journal"), Some(shard));
        for other in [".piref-journal", ".piref-journal-16-of-2", ".piref-journal-2-of-16.partial", ".piref-journal-2"]
        {
            assert_eq!(Shard::of_file(other, ".piref-journal"), None, "{other}");
        }
    }
}
