//! Where a file that a user names for a command to write may be: outside of tables, runs and models, whose files are
//! written by the commands that make them and by nothing else.

use std::path::{Path, PathBuf};

use crate::error::Hint;
use crate::io;
use crate::table::folder::is_table_folder;

/// Folders above a file that are looked at: a run has its files two folders deep, a table its references.
const ANCESTORS: usize = 4;

/// Files that a user may name in a run folder: pages and findings, which lie there unless another place is named.
const OF_RUN: [&str; 3] = ["report.html", "audit.html", "findings.parquet"];

/// A place that is not for this.
#[derive(Debug, thiserror::Error)]
#[error("cannot write `{}`: {why}", path.display())]
pub struct NotOutside {
    /// The file.
    pub path: PathBuf,
    /// What stands there, or around it.
    pub why: &'static str,
}

impl Hint for NotOutside {
    fn hint(&self) -> Option<String> {
        Some("name a new file, in a folder of your own".into())
    }
}

/// Refuses a file in a table, a run or a model, and a folder.
///
/// # Errors
/// [`NotOutside`].
pub fn check_outside(path: &Path) -> Result<(), NotOutside> {
    let refuse = |why: &'static str| Err(NotOutside { path: path.to_owned(), why });
    if path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return refuse("it is a folder");
    }
    // What a link leads to is what is written.
    let target = io::resolved(path);
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // One that is not there yet belongs to whatever the folder above it does.
    let existing = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    let Ok(folder) = existing.canonicalize() else { return Ok(()) };
    let is_of_run = target.file_name().is_some_and(|name| OF_RUN.iter().any(|known| name == *known));
    for (depth, above) in folder.ancestors().take(ANCESTORS).enumerate() {
        if is_table_folder(above) {
            return refuse("it would be inside a log-prob table");
        }
        if is_run(above) && !(depth == 0 && is_of_run) {
            return refuse("it would be inside a run folder");
        }
    }
    if is_model(&folder) { refuse("it would be inside a model folder") } else { Ok(()) }
}

fn is_run(folder: &Path) -> bool {
    folder.join("plan.toml").is_file() && ["reference", "train", "policy"].iter().any(|part| folder.join(part).is_dir())
}

/// Whether a folder has a configuration beside what it configures.
fn is_model(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    let is_weights =
        |path: &PathBuf| path.extension().is_some_and(|extension| extension == "safetensors" || extension == "gguf");
    let has_weights = || io::list(folder).is_ok_and(|entries| entries.iter().any(is_weights));
    (has("config.json") || has("adapter_config.json")) && (has("tokenizer.json") || has_weights())
}
