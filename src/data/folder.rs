//! The data files of a folder and the splits they are of, by the rules of `datasets`; and what a name says of a split.
//!
//! A folder of `save_to_disk` lists its files and its splits. Of any other the files are those that
//! its card names, or else those of `datasets.data_files.get_data_patterns` (5.2), in its order: `data/SPLIT-00000-of-00001…`, then the names of folders,
//! then of files that say `train`, `validation` or `test`, then all. Hidden files, folders that begin with `__`, the files
//! of `FILES_TO_IGNORE` and `cache-….arrow`, which `Dataset.map` leaves behind, are no data. Departure: where files are of
//! several kinds `datasets` takes the kind that most are of, and so leaves out the others without a word; here the folder
//! is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::card::Card;
use super::{DataError, container};
use crate::io;

/// Names that are data to nobody: `datasets.data_files.FILES_TO_IGNORE`, and the list of a saved data set.
const IGNORED: [&str; 7] = [
    "README.md",
    "config.json",
    "dataset_info.json",
    "dataset_infos.json",
    "dummy_data.zip",
    "dataset_dict.json",
    "state.json",
];

/// The words for a split: `datasets.data_files.SPLIT_KEYWORDS`.
const KEYWORDS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "dev", "val"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// Every split, which is asked for by this name as in `datasets`.
const ALL: &str = "all";

/// Folders in folders.
const DEPTH: usize = 16;

/// Files of a folder by split, in the order of its list or of `datasets`.
pub(super) type Splits = Vec<(String, Vec<PathBuf>)>;

/// The data files of a folder: those of its only split, or of the split that is asked for.
pub(super) fn files(folder: &Path, split: Option<&str>) -> Result<Vec<PathBuf>, DataError> {
    let (state, dictionary) = (folder.join("state.json"), folder.join("dataset_dict.json"));
    let splits = if state.is_file() {
        let (name, files) = listed(&state, folder)?;
        // A part of a saved data set that has no name is whatever is asked for.
        vec![(name.or_else(|| split.map(str::to_owned)).unwrap_or_else(|| "train".into()), files)]
    } else if dictionary.is_file() {
        let Dictionary { splits: names } = read_json(&dictionary)?;
        let mut splits = Vec::new();
        for name in names {
            // A split has files and no splits: a folder that names itself leads nowhere.
            let folder = inside(&dictionary, folder, &name)?;
            let (_, files) = listed(&folder.join("state.json"), &folder)?;
            splits.push((name, files));
        }
        splits
    } else {
        let splits = match Card::read(folder)? {
            Some(card) => card.splits(folder)?,
            None => by_name(folder, found(folder)?),
        };
        for (_, files) in &splits {
            let kinds: BTreeSet<&str> = files.iter().filter_map(|file| container::kind_of(file)).collect();
            if kinds.len() > 1 {
                return Err(DataError::MixedFolder { path: folder.to_owned(), kinds: kinds.into_iter().collect() });
            }
        }
        splits
    };
    chosen(folder, splits, split)
}

/// The files of the split that is asked for, or of the only one.
fn chosen(folder: &Path, mut splits: Splits, split: Option<&str>) -> Result<Vec<PathBuf>, DataError> {
    let path = folder.to_owned();
    let names = || splits.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let files = match (split, splits.len()) {
        (Some(wanted), _) => match splits.iter().position(|(name, _)| name == wanted) {
            Some(at) => splits.swap_remove(at).1,
            None if wanted == ALL => splits.into_iter().flat_map(|(_, files)| files).collect(),
            None => return Err(DataError::NoSplit { path, split: wanted.to_owned(), splits: names() }),
        },
        (None, 0 | 1) => splits.pop().map(|(_, files)| files).unwrap_or_default(),
        (None, _) => return Err(DataError::Splits { path, splits: names() }),
    };
    if files.is_empty() {
        return Err(DataError::EmptyFolder { path, expected: container::EXTENSIONS });
    }
    Ok(files)
}

/// The split and the files that a `state.json` lists.
fn listed(state: &Path, folder: &Path) -> Result<(Option<String>, Vec<PathBuf>), DataError> {
    let State { data_files, split } = read_json(state)?;
    let files = data_files.iter().map(|file| inside(state, folder, &file.filename)).collect::<Result<_, _>>()?;
    Ok((split, files))
}

/// A name that `list` gives, in its folder: a data set somebody sent does not get to name other files of ours.
fn inside(list: &Path, folder: &Path, name: &str) -> Result<PathBuf, DataError> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(part)), None) if part == name => Ok(folder.join(name)),
        _ => Err(DataError::Outside { path: list.to_owned(), found: name.to_owned() }),
    }
}

/// Every data file under a folder, by its path within.
pub(super) fn found(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((inner, depth)) = folders.pop() {
        for path in io::list(&inner)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                if !name.starts_with("__") && depth < DEPTH {
                    folders.push((path, depth + 1));
                }
            } else if path.is_file() && is_data(&path) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Whether the name of a file in a folder says that it is data.
pub(super) fn is_data(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_cache = name.starts_with("cache-") && name.ends_with(".arrow");
    container::is_readable(path) && !is_cache && !IGNORED.contains(&&*name)
}

/// Files by the split their names tell; all of them one split where no name tells any.
pub(super) fn by_name(folder: &Path, files: Vec<PathBuf>) -> Splits {
    let within = |path: &Path| path.strip_prefix(folder).unwrap_or(path).to_owned();
    let rules: [fn(&Path) -> Vec<String>; 3] = [sharded, of_folders, of_file];
    let mut splits: Splits = Vec::new();
    for rule in rules {
        let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for file in &files {
            for split in rule(&within(file)) {
                found.entry(split).or_default().push(file.clone());
            }
        }
        if !found.is_empty() {
            let usual = KEYWORDS.iter().filter_map(|(split, _)| found.remove_entry(*split)).collect::<Vec<_>>();
            splits = usual.into_iter().chain(found).collect();
            break;
        }
    }
    if splits.is_empty() {
        splits = vec![("train".into(), files)];
    }
    splits
}

/// `data/SPLIT-00000-of-00001…`.
fn sharded(path: &Path) -> Vec<String> {
    let is_in_data = path.parent() == Some(Path::new("data"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let split = name.split_once("-of-").and_then(|(start, end)| {
        let (split, shard) = start.rsplit_once('-')?;
        let is_number = |text: &str| text.len() >= 5 && text.bytes().take(5).all(|byte| byte.is_ascii_digit());
        (is_number(shard) && shard.len() == 5 && is_number(end) && !split.is_empty()).then(|| split.to_owned())
    });
    split.filter(|_| is_in_data).into_iter().collect()
}

/// The splits that the folders of a file tell.
fn of_folders(path: &Path) -> Vec<String> {
    let folders = path.parent().into_iter().flat_map(Path::components);
    let names: Vec<String> = folders.map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    splits_in(|keyword| names.iter().any(|name| has_word(name, keyword, WordEnd::Anything)))
}

/// The splits that the name of a file tells.
fn of_file(path: &Path) -> Vec<String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    splits_in(|keyword| has_word(&name, keyword, WordEnd::Separator))
}

fn splits_in(has: impl Fn(&str) -> bool) -> Vec<String> {
    let is_told = |(_, keywords): &&(&str, &[&str])| keywords.iter().any(|keyword| has(keyword));
    KEYWORDS.iter().filter(is_told).map(|(split, _)| (*split).to_owned()).collect()
}

/// What may follow the word for a split.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WordEnd {
    Separator,
    /// A separator or the end of the name.
    Anything,
}

/// Whether a word stands in a name between separators: `[-._ 0-9]` of `datasets`.
fn has_word(name: &str, word: &str, end: WordEnd) -> bool {
    let is_separator = |c: char| matches!(c, '-' | '.' | '_' | ' ') || c.is_ascii_digit();
    name.match_indices(word).any(|(at, _)| {
        let (before, after) = (&name[..at], &name[at + word.len()..]);
        let ends = after.starts_with(is_separator) || (end == WordEnd::Anything && after.is_empty());
        ends && (before.is_empty() || before.ends_with(is_separator))
    })
}

/// The split that a file name tells, or else the folder it is in; empty if neither does.
pub(super) fn split(path: &Path) -> &'static str {
    let names = [path.file_name(), path.parent().and_then(Path::file_name)];
    names
        .into_iter()
        .flatten()
        .flat_map(|name| name.to_str().unwrap_or_default().split(|c: char| !c.is_ascii_alphanumeric()))
        .find_map(|word| match word.to_ascii_lowercase().as_str() {
            "train" => Some("train"),
            "test" => Some("test"),
            "validation" | "valid" | "val" | "dev" => Some("validation"),
            "eval" => Some("eval"),
            _ => None,
        })
        .unwrap_or_default()
}

#[derive(Deserialize)]
struct State {
    #[serde(rename = "_data_files")]
    data_files: Vec<DataFile>,
    #[serde(rename = "_split", default)]
    split: Option<String>,
}

#[derive(Deserialize)]
struct DataFile {
    filename: String,
}

#[derive(Deserialize)]
struct Dictionary {
    splits: Vec<String>,
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, DataError> {
    let text = io::read_settings(path)?;
    serde_json::from_str(&text).map_err(|source| DataError::SaveToDisk { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these files, each of a few bytes.
    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            io::create_dir(path.parent().unwrap()).unwrap();
            io::write(&path, b"{}").unwrap();
        }
        folder
    }

    /// The files of a split by their paths within, or the error without the path of the folder.
    fn within(folder: &tempfile::TempDir, split: Option<&str>) -> Result<Vec<String>, String> {
        let root = folder.path().to_str().unwrap();
        let shown = |path: PathBuf| path.to_str().unwrap().replace(&format!("{root}/"), "");
        files(folder.path(), split)
            .map(|files| files.into_iter().map(shown).collect())
            .map_err(|error| error.to_string().replace(root, "DIR"))
    }

    #[test]
    fn names_tell_the_split() {
        for (path, want) in [
            ("hh/harmless-base.test.mild.jsonl.gz", "test"),
            ("train_prefs-00000-of-00001.parquet", "train"),
            ("ds/train/data-00000-of-00001.arrow", "train"),
            ("train/eval.jsonl", "eval"),
            ("x-dev.jsonl", "validation"),
            ("val.jsonl", "validation"),
            ("contest/latest.jsonl", ""),
            ("pairs.jsonl", ""),
        ] {
            assert_eq!(split(Path::new(path)), want, "{path}");
        }
    }

    #[test]
    fn a_saved_data_set_lists_its_files_and_one_of_its_splits_is_read() {
        let folder = folder(&["train/cache-0123.arrow", "test/x"]);
        let root = folder.path();
        for split in ["train", "test"] {
            let state = format!(
                r#"{{"_split": "{split}", "_data_files": [{{"filename": "{split}-1.arrow"}}, {{"filename": "{split}-0.arrow"}}]}}"#
            );
            io::write(&root.join(split).join("state.json"), state.as_bytes()).unwrap();
        }
        io::write(&root.join("dataset_dict.json"), br#"{"splits": ["train", "test"]}"#).unwrap();
        assert_eq!(within(&folder, None).unwrap_err(), "`DIR` has several splits: train, test");
        assert_eq!(within(&folder, Some("test")).unwrap(), ["test/test-1.arrow", "test/test-0.arrow"]);
        assert_eq!(within(&folder, Some("all")).unwrap().len(), 4);
        assert_eq!(within(&folder, Some("dev")).unwrap_err(), "`DIR` has no split `dev` (found: train, test)");
        let want = ["train-1.arrow", "train-0.arrow"].map(|name| root.join("train").join(name));
        assert_eq!(files(&root.join("train"), None).unwrap(), want);
        assert!(matches!(files(&root.join("train"), Some("test")), Err(DataError::NoSplit { .. })));

        io::write(&root.join("dataset_dict.json"), br#"{"splits": ["train"]}"#).unwrap();
        assert_eq!(within(&folder, None).unwrap(), ["train/train-1.arrow", "train/train-0.arrow"]);
        io::write(&root.join("dataset_dict.json"), b"{}").unwrap();
        assert!(matches!(files(root, None), Err(DataError::SaveToDisk { .. })));
    }

    #[test]
    fn a_saved_data_set_names_nothing_but_what_is_in_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for split in [".", "..", "a/b", "/tmp", ""] {
            let splits = serde_json::json!({"splits": [split]}).to_string();
            io::write(&root.join("dataset_dict.json"), splits.as_bytes()).unwrap();
            assert!(matches!(files(root, None), Err(DataError::Outside { found, .. }) if found == split), "{split}");
        }
        for file in ["../a.arrow", "/etc/passwd", "a/../b.arrow"] {
            let state = serde_json::json!({"_data_files": [{"filename": file}]}).to_string();
            io::write(&root.join("state.json"), state.as_bytes()).unwrap();
            assert!(matches!(files(root, None), Err(DataError::Outside { found, .. }) if found == file), "{file}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn splits_that_lead_back_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        io::write(&root.join("dataset_dict.json"), br#"{"splits": ["a", "b"]}"#).unwrap();
        for name in ["a", "b"] {
            std::os::unix::fs::symlink(root, root.join(name)).unwrap();
        }
        assert!(matches!(files(root, None), Err(DataError::Io(io::IoError::Missing { .. }))));
        // Nor are folders within folders without end.
        io::remove(&root.join("dataset_dict.json")).unwrap();
        assert!(matches!(files(root, None), Err(DataError::EmptyFolder { .. })));
    }

    #[test]
    fn a_folder_gives_what_datasets_takes_for_data() {
        let check = |names: &[&str], want: Result<&[&str], &str>| {
            let found = within(&folder(names), None);
            let want = want.map(|names| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
            assert_eq!(found, want.map_err(str::to_owned), "{names:?}");
        };
        check(&["b.jsonl.gz", "a.jsonl", "README.md", "c.parquet.gz"], Ok(&["a.jsonl", "b.jsonl.gz"]));
        let ignored = ["dataset_infos.json", ".hidden.jsonl", "._a.jsonl", "__MACOSX/a.jsonl", ".cache/a.jsonl"];
        check(&[&["a.jsonl"], &ignored[..]].concat(), Ok(&["a.jsonl"]));
        check(
            &["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "old/x.parquet"],
            Ok(&["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]),
        );
        check(
            &["data/train_prefs-00000-of-00001.parquet", "data/test_prefs-00000-of-00001.parquet"],
            Err("`DIR` has several splits: test_prefs, train_prefs"),
        );
        check(&["train.jsonl", "test.jsonl", "x.jsonl"], Err("`DIR` has several splits: train, test"));
        check(&["train/a.jsonl", "eval/b.jsonl"], Err("`DIR` has several splits: train, test"));
        check(&["train/a.jsonl", "x/b.jsonl"], Ok(&["train/a.jsonl"]));
        check(&["my_train_1.jsonl", "training.jsonl", "contest.jsonl"], Ok(&["my_train_1.jsonl", "training.jsonl"]));
        check(&["dataset_info.json", "x-train.arrow", "cache-0f.arrow"], Ok(&["x-train.arrow"]));
        check(&["sub/a.jsonl", "b.jsonl"], Ok(&["b.jsonl", "sub/a.jsonl"]));
        check(&["a.jsonl", "b.parquet"], Err("`DIR` has data files of several kinds: JSON, Parquet"));
        let nothing = format!("`DIR` holds no data file: expected one of {}", container::EXTENSIONS);
        check(&["README.md"], Err(&nothing));
    }

    /// `datasets` itself, on folders drawn at random: `fixtures/golden/data_folders.py`.
    #[test]
    fn splits_are_those_of_datasets() {
        #[derive(Deserialize)]
        struct Golden {
            folders: Vec<Drawn>,
        }
        #[derive(Deserialize)]
        struct Drawn {
            files: Vec<String>,
            splits: BTreeMap<String, Vec<String>>,
        }
        let text = std::fs::read_to_string("fixtures/golden/data_folders.json").unwrap();
        for Drawn { files: names, splits } in serde_json::from_str::<Golden>(&text).unwrap().folders {
            let folder = folder(&names.iter().map(String::as_str).collect::<Vec<_>>());
            let found = by_name(folder.path(), found(folder.path()).unwrap());
            let within = |path: PathBuf| path.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned();
            let sorted =
                |files: Vec<PathBuf>| files.into_iter().map(within).collect::<BTreeSet<_>>().into_iter().collect();
            let found: BTreeMap<String, Vec<String>> =
                found.into_iter().filter(|(_, f)| !f.is_empty()).map(|(split, files)| (split, sorted(files))).collect();
            assert_eq!(found, splits, "{names:?}");
        }
    }

    /// As above, on cards written by hand.
    #[test]
    fn files_that_a_card_names_are_those_of_datasets() {
        #[derive(Deserialize)]
        struct Golden {
            card_files: Vec<String>,
            cards: Vec<Drawn>,
        }
        #[derive(Deserialize)]
        struct Drawn {
            card: String,
            splits: Option<BTreeMap<String, Vec<String>>>,
        }
        let text = std::fs::read_to_string("fixtures/golden/data_folders.json").unwrap();
        let Golden { card_files, cards } = serde_json::from_str(&text).unwrap();
        let folder = folder(&card_files.iter().map(String::as_str).collect::<Vec<_>>());
        for Drawn { card, splits } in cards {
            io::write(&folder.path().join("README.md"), format!("---\n{card}\n---\n# Pairs\n").as_bytes()).unwrap();
            let Some(splits) = splits else {
                assert!(within(&folder, None).is_err(), "{card}");
                continue;
            };
            for (split, mut files) in splits {
                files.dedup();
                let mut found = within(&folder, Some(&split)).unwrap_or_else(|error| panic!("{card}: {error}"));
                found.sort();
                assert_eq!(found, files, "{card}: {split}");
            }
        }
        // A pattern of a stranger leads nowhere else.
        for outside in
            ["/etc/passwd", "../x.json", "data/../../x.json", "https://host/x.json", "hf://datasets/a/b/x.json"]
        {
            let card = format!("---\nconfigs:\n- config_name: a\n  data_files: '{outside}'\n---\n");
            io::write(&folder.path().join("README.md"), card.as_bytes()).unwrap();
            assert!(within(&folder, None).unwrap_err().contains(outside), "{outside}");
        }
    }

    #[test]
    fn several_data_sets_in_one_folder_are_refused() {
        let folder = folder(&["en/train.jsonl", "de/train.jsonl"]);
        let card = "---\nlicense: mit\ndataset_info:\n- config_name: other\nconfigs:\n- config_name: en\n  data_files:\n  - \
                    split: train\n    path: en/*\n- config_name: \"de\"\n  data_files: de/*\ntags:\n- config_name: x\n---\n# Card\n";
        io::write(&folder.path().join("README.md"), card.as_bytes()).unwrap();
        assert_eq!(within(&folder, None).unwrap_err(), "`DIR` holds several data sets: en, de");
    }
}
