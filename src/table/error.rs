//! What can be wrong with a reference table.

use std::path::{Path, PathBuf};

use arrow::error::ArrowError;
use parquet::errors::ParquetError;

use crate::error::{Hint, nearest};
use crate::guard::Panicked;
use crate::io::{IoError, shell_word};
use crate::spool::SpoolError;
use crate::storage::StorageError;
use crate::table::folder::{is_signals_name, is_table_file, is_table_folder};
use crate::table::foreign::Foreign;
use crate::table::provenance::Difference;
use crate::table::shard::Shard;

/// What can be wrong with a reference table, with the place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// A log-prob that is none.
    #[error("`{}`, row {row}, pair `{pair_id}`: expected `{column}` finite and at most 0, found {found}", path.display())]
    Logps {
        /// The part.
        path: PathBuf,
        /// 0-based row in the part.
        row: usize,
        /// Pair of that row.
        pair_id: String,
        /// Column with the value.
        column: &'static str,
        /// The value.
        found: f64,
    },
    /// Signals that are none, or of other rows than their part.
    #[error("`{}`, row {row}, pair `{pair_id}`: expected {expected} in `{column}`, found {found}", path.display())]
    Signals {
        /// The file of signals.
        path: PathBuf,
        /// 0-based row in it.
        row: usize,
        /// Pair of that row.
        pair_id: String,
        /// Column with the value.
        column: &'static str,
        /// What it has to be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A sum that is not the sum of the terms beside it.
    #[error("`{}`, row {row}, pair `{pair_id}`: expected {expected} in `{column}`, the sum of `{terms}`, found {found}", path.display())]
    Sum {
        /// The part.
        path: PathBuf,
        /// 0-based row in the part.
        row: usize,
        /// Pair of that row.
        pair_id: String,
        /// Column with the sum.
        column: &'static str,
        /// Column with its terms.
        terms: &'static str,
        /// Sum of the terms, in f64.
        expected: f64,
        /// The sum in the table.
        found: f64,
    },
    /// A list of ids or log-probs whose length is not the token count beside it.
    #[error("`{}`, row {row}, pair `{pair_id}`: expected {expected} entries in `{column}` as `{counted_by}` says, found {found}", path.display())]
    TokenCount {
        /// The part.
        path: PathBuf,
        /// 0-based row in the part.
        row: usize,
        /// Pair of that row.
        pair_id: String,
        /// Column with the list.
        column: &'static str,
        /// Column with the count.
        counted_by: &'static str,
        /// The count.
        expected: i32,
        /// Length of the list.
        found: usize,
    },
    /// A completion without a token to score.
    #[error("`{}`, row {row}, pair `{pair_id}`: expected `{column}` at least 1, found {found}", path.display())]
    EmptyCompletion {
        /// The part.
        path: PathBuf,
        /// 0-based row in the part.
        row: usize,
        /// Pair of that row.
        pair_id: String,
        /// Column with the count.
        column: &'static str,
        /// The count.
        found: i32,
    },
    /// A null where the contract has none.
    #[error("`{}`, row {row}: expected a value in `{column}`, found null", path.display())]
    Null {
        /// The part.
        path: PathBuf,
        /// 0-based row in the part.
        row: usize,
        /// Column with the null.
        column: &'static str,
    },
    /// Log-probs of single tokens that a table does not have.
    #[error("`{}`, row {row}: expected the log-prob of every token in `{column}`, found null", path.display())]
    NoTokenLogps {
        /// The part.
        path: PathBuf,
        /// 0-based row in the part.
        row: usize,
        /// The column.
        column: &'static str,
    },
    /// A score that is none.
    #[error("`{}`, row {row}, pair `{pair_id}`: expected a finite number in score column `{column}`, found {found}", path.display())]
    Score {
        /// The part.
        path: PathBuf,
        /// 0-based row in the part.
        row: usize,
        /// Pair of that row.
        pair_id: String,
        /// Column with the scores.
        column: String,
        /// The value, or `null`.
        found: String,
    },
    /// A further reference that a table does not have.
    #[error("table `{}` has no reference `{name}`", path.display())]
    NoReference {
        /// The table.
        path: PathBuf,
        /// As asked for.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// A further reference whose name is that of something else in SQL.
    #[error("reference `{name}` of table `{}` is `{in_sql}` in SQL, and so is {taken}", path.display())]
    ReferenceName {
        /// The table.
        path: PathBuf,
        /// As given.
        name: String,
        /// As columns and tables are called for it.
        in_sql: String,
        /// What has that name.
        taken: String,
    },
    /// A column that is missing or of another type.
    #[error("`{}`: expected column `{column}` of type {expected}, found {found}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// Column of the contract, or the one in which two parts differ.
        column: String,
        /// Type in the contract.
        expected: String,
        /// Type in the file, or `no such column`.
        found: String,
    },
    /// A column of the token store that does not fit the contract.
    #[error("token store: expected column `{column}` of type {expected}, found {found}")]
    Store {
        /// Column of the contract.
        column: &'static str,
        /// Type in the contract.
        expected: String,
        /// Type in the store, `no such column` or `null`.
        found: String,
    },
    /// A source column under a name that the table has taken.
    #[error("source column `{column}` has the name of a column of the table")]
    PassThrough {
        /// The name.
        column: String,
    },
    /// A column that was asked for and is not there.
    #[error("`{}` has no column `{column}`", path.display())]
    NoColumn {
        /// The table.
        path: PathBuf,
        /// As asked for.
        column: String,
        /// The nearest name that exists.
        nearest: Option<String>,
    },
    /// A Parquet file that cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the Parquet reader says.
        #[source]
        source: ParquetError,
    },
    /// A Parquet file that the reader gave up on.
    #[error("`{}` is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        #[source]
        source: Panicked,
    },
    /// Rows of a Parquet file that cannot be decoded.
    #[error("cannot decode `{}`", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What Arrow says.
        #[source]
        source: ArrowError,
    },
    /// A Parquet file that cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the Parquet writer says.
        #[source]
        source: ParquetError,
    },
    /// A file of another contract, or of an older or newer version of it.
    #[error("`{}` follows another contract: expected `{expected}`, found `{found}`", path.display())]
    SchemaVersion {
        /// The file.
        path: PathBuf,
        /// The version this program reads.
        expected: String,
        /// The version in the file.
        found: String,
    },
    /// A footer entry that is missing or unreadable.
    #[error("`{}`: expected `{key}` in the Parquet footer, found {found}", path.display())]
    Footer {
        /// The part.
        path: PathBuf,
        /// Key of the entry.
        key: &'static str,
        /// Its text, or `no such entry`.
        found: String,
    },
    /// A part or table scored under other conditions.
    #[error("`{}` was scored with another `{}`: expected `{}`, found `{}`", path.display(), difference.field, difference.expected, difference.found)]
    OtherProvenance {
        /// The part or table.
        path: PathBuf,
        /// The first field that differs.
        difference: Difference,
    },
    /// A manifest that is no JSON of ours.
    #[error("cannot parse manifest `{}`", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// A manifest of another version.
    #[error("manifest `{}` has format version {found}, expected {expected}", path.display())]
    ManifestVersion {
        /// The manifest.
        path: PathBuf,
        /// The version this program reads.
        expected: u64,
        /// The version in the file, or `none`.
        found: String,
    },
    /// A manifest whose numbers contradict each other.
    #[error("manifest `{}`: expected `{field}` to be {expected}, found {found}", path.display())]
    ManifestCount {
        /// The manifest.
        path: PathBuf,
        /// Field with the number.
        field: &'static str,
        /// What the rest of the manifest says.
        expected: u128,
        /// What the field says.
        found: u64,
    },
    /// A manifest that lists something else than a file beside it.
    #[error("manifest `{}`: expected names of files beside it, found `{found}`", path.display())]
    ManifestFile {
        /// The manifest.
        path: PathBuf,
        /// The name in the list.
        found: String,
    },
    /// A file of the table that is not as the manifest lists it.
    #[error("`{}` is not the file that the manifest lists: expected {what} {expected}, found {found}", path.display())]
    NotAsListed {
        /// The file.
        path: PathBuf,
        /// `bytes`, `rows` or `digest`.
        what: &'static str,
        /// In the manifest.
        expected: String,
        /// In the file.
        found: String,
    },
    /// A file the manifest lists and the folder lacks.
    #[error("`{}` is listed in the manifest and missing", path.display())]
    PartMissing {
        /// The file.
        path: PathBuf,
    },
    /// Parts without a manifest: stage one did not finish.
    #[error("reference table `{}` is incomplete: it has parts and no `manifest.json`", path.display())]
    Incomplete {
        /// The folder.
        path: PathBuf,
        /// How many shards it is made by, where it is.
        n_shards: Option<usize>,
    },
    /// A file or folder that is no table.
    #[error("`{}` is no log-prob table: it is {found}", path.display())]
    NotATable {
        /// The file or folder.
        path: PathBuf,
        /// What it is.
        found: Foreign,
    },
    /// A folder with files of somebody else.
    #[error("`{}` holds something else than a reference table: found `{found}`", path.display())]
    NotOurs {
        /// The folder.
        path: PathBuf,
        /// The first file that is not ours.
        found: String,
    },
    /// A shard of a table that is to be under a URL.
    #[error("shard {shard} cannot be made of `{url}`: shards share a folder")]
    HostedShard {
        /// Of the table.
        url: String,
        /// The shard.
        shard: Shard,
    },
    /// What is under a URL.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A file.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The disk under the pairs that are being trained on.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A state that the code excludes.
    #[error("internal error: {what}")]
    Internal {
        /// What happened.
        what: String,
    },
}

impl TableError {
    /// The refusal of a folder that has no manifest of ours.
    pub(super) fn not_a_table(folder: &Path) -> Self {
        Self::NotATable { path: folder.to_owned(), found: Foreign::of_folder(folder) }
    }
}

/// What to do about a damaged file of a table. It is moved and not deleted: whoever follows this to the letter in the wrong
/// folder has lost nothing.
fn repair(path: &Path) -> String {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !is_table_file(path) || !is_table_folder(folder) {
        return "the file is damaged or was cut: fetch or write it again".into();
    }
    let name = shell_word(path);
    let then =
        if is_signals_name(path) { "the table goes on without these signals" } else { "only its pairs are scored" };
    format!("`mv {name} {name}.damaged` and run the same `piref precompute` again: {then}")
}

/// Whether a file could not be read for a reason that is not in the file.
fn is_of_system(error: &ParquetError) -> bool {
    use std::io::{Error, ErrorKind};
    let ParquetError::External(inner) = error else { return false };
    let is_of_file = |kind| matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::Other);
    inner.downcast_ref::<Error>().is_some_and(|error| !is_of_file(error.kind()))
}

/// `reference` of `reference.v1`.
fn contract(version: &str) -> &str {
    version.rsplit_once(".v").map_or(version, |(name, _)| name)
}

impl Hint for TableError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Logps { .. } | Self::Sum { .. } => Some("`piref verify` checks every row of a table".into()),
            Self::PassThrough { column } => {
                Some(format!("rename the column `{column}` in the source, or drop it there"))
            }
            Self::NoColumn { nearest: Some(name), .. } => Some(format!("did you mean `{name}`?")),
            Self::Read { path, source } if is_of_system(source) => {
                Some(format!("the system does not let it read `{}`: the file itself may be sound", path.display()))
            }
            Self::Read { path, .. }
            | Self::Damaged { path, .. }
            | Self::Decode { path, .. }
            | Self::NotAsListed { path, .. }
            | Self::Signals { path, .. } => Some(repair(path)),
            Self::PartMissing { path } if is_signals_name(path) => {
                Some("run the same `piref precompute` again: the table goes on without these signals".into())
            }
            Self::OtherProvenance { .. } => {
                Some("another `--out` keeps this table; `--fresh` replaces it by one under the new settings".into())
            }
            Self::SchemaVersion { expected, found, .. } if contract(expected) != contract(found) => {
                Some("name the folder that `piref precompute --out` wrote".into())
            }
            Self::ManifestVersion { .. } | Self::SchemaVersion { .. } => {
                Some("read it with the version of piref that wrote it, or score the pairs into another `--out`".into())
            }
            Self::Incomplete { n_shards: Some(n_shards), .. } => Some(format!(
                "it is made by {n_shards} shards: `piref precompute` with their settings and `--finish` names those that \
                 are not done, or finishes the table"
            )),
            Self::PartMissing { .. } | Self::Incomplete { n_shards: None, .. } => {
                Some("run the same `piref precompute` again: it scores only what is missing".into())
            }
            Self::NotATable { path, found } => Some(found.hint(path)),
            Self::NotOurs { .. } => Some("name an empty or new folder".into()),
            Self::HostedShard { .. } => {
                Some("name a folder on a file system that all machines have, and copy the finished table".into())
            }
            Self::Internal { .. } => Some("this is a bug in piref: please report it with the command".into()),
            Self::NoTokenLogps { .. } => Some(
                "losses that cut or clamp a completion (LD-DPO, humanline) need them: `piref precompute` writes them, \
                 an imported table has only sums"
                    .into(),
            ),
            Self::Score { .. } => Some(
                "an objective of outside scores needs both of every pair: score those that have none, or take them out \
                 of the data"
                    .into(),
            ),
            Self::ReferenceName { .. } => {
                Some("give it another name: `--as NAME` for a new one, a new name of its folder for one that is there".into())
            }
            Self::NoReference { known, .. } if known.is_empty() => Some(
                "it has none beside its own: `piref precompute --as NAME` scores the same pairs with another model"
                    .into(),
            ),
            Self::NoReference { name, known, .. } => Some(match nearest(name, known.iter().map(String::as_str)) {
                Some(known) => format!("did you mean `{known}`?"),
                None => {
                    format!("there are {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
                }
            }),
            Self::Io(error) => error.hint(),
            Self::Spool(error) => error.hint(),
            Self::Storage(error) => error.hint(),
            _ => None,
        }
    }
}
