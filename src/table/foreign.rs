//! What a path is where a log-prob table was expected: a data set, a model, a run, …
//!
//! Its files are the user's: what is said of them is what they are and which command takes them, never to delete anything.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::io;
use crate::table::parquet_input::ParquetInput;
use crate::table::{MANIFEST, TableError, folder};

/// What is there instead of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// Pairs, or other rows: a file, or a folder of such files.
    Data(&'static str),
    /// Weights, a tokenizer, an adapter.
    Model,
    /// A run folder without a table where it was looked for.
    Run,
    /// A pipeline file.
    Pipeline,
    /// Something else.
    Unknown,
}

/// How Parquet files begin.
const PARQUET: &[u8; 4] = b"PAR1";

/// How GGUF files begin.
const GGUF: &[u8; 4] = b"GGUF";

/// Extensions of rows, each with what such a file is called. Compressed ones have theirs in front of `.gz` or `.zst`.
const DATA: [(&str, &str); 8] = [
    ("jsonl", "a data file (JSON lines)"),
    ("ndjson", "a data file (JSON lines)"),
    ("json", "a data file (JSON)"),
    ("csv", "a data file (CSV)"),
    ("tsv", "a data file (TSV)"),
    ("txt", "a text file"),
    ("arrow", "a data file (Arrow)"),
    ("parquet", "a Parquet file that piref did not write"),
];

/// Refuses a file that is no part of a table; one that may be, damaged or not, is left to whoever reads it.
///
/// # Errors
/// [`TableError::NotATable`] with what the file is.
pub(crate) fn refuse_foreign(path: &Path) -> Result<(), TableError> {
    Foreign::of_file(path).map_or(Ok(()), |found| Err(TableError::NotATable { path: path.to_owned(), found }))
}

impl Foreign {
    /// What a file is that is no part of a table; `None` of what may be one, damaged or not.
    fn of_file(path: &Path) -> Option<Self> {
        // Under a name of ours in a folder of ours, it is a part that something has happened to.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if folder::is_table_file(path) && folder::is_table_folder(folder) {
            return None;
        }
        let mut start = Vec::new();
        let n_read = io::open(path).ok()?.take(4).read_to_end(&mut start);
        n_read.ok()?;
        if start == PARQUET {
            let input = ParquetInput::open(path).ok()?;
            return input.version().is_none().then_some(Self::Data("a Parquet file that piref did not write"));
        }
        if start == GGUF {
            return Some(Self::Model);
        }
        Some(Self::by_name(path))
    }

    fn by_name(path: &Path) -> Self {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_lowercase();
        let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        match extension {
            "gguf" | "safetensors" | "bin" | "pt" => Self::Model,
            "toml" => Self::Pipeline,
            extension => {
                DATA.iter().find(|(known, _)| *known == extension).map_or(Self::Unknown, |(_, what)| Self::Data(what))
            }
        }
    }

    /// What a folder is that is no table.
    pub(super) fn of_folder(path: &Path) -> Self {
        let has = |name: &str| path.join(name).exists();
        if has("plan.toml") || has("reference") {
            return Self::Run;
        }
        if has("config.json") || has("adapter_config.json") {
            return Self::Model;
        }
        let is_ours =
            |entry: &Path| folder::is_table_file(entry) || entry.file_name().is_some_and(|name| name == MANIFEST);
        let is_data =
            |entry: &PathBuf| matches!(Self::by_name(entry), Self::Data(_)) && entry.is_file() && !is_ours(entry);
        if io::list(path).is_ok_and(|entries| entries.iter().any(is_data)) {
            return Self::Data("a folder of data files");
        }
        Self::Unknown
    }

    /// The command that takes it.
    pub(super) fn hint(self, path: &Path) -> String {
        let name = io::shell_word(path);
        match self {
            Self::Data(_) => format!(
                "`piref precompute --model MODEL --data {name} --out TABLE` scores its pairs; `TABLE` is what this command \
                 takes"
            ),
            Self::Model => format!(
                "`piref precompute --model {name} --data FILE --out TABLE` scores pairs with it; `TABLE` is what this command \
                 takes"
            ),
            Self::Run if path.join("reference").is_dir() => {
                format!("the table of the run is `{}`", path.join("reference").display())
            }
            Self::Pipeline => format!("`piref precompute {name}` makes its table, in the folder it names"),
            Self::Run | Self::Unknown => "name the folder that `piref precompute --out` wrote".into(),
        }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Data(what) => what,
            Self::Model => "a model",
            Self::Run => "a run folder",
            Self::Pipeline => "a pipeline file",
            Self::Unknown => "something else",
        })
    }
}
