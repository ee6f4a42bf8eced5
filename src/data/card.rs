//! The data files that the card of a data set repository (`README.md`) names, by the rules of `datasets`.
//!
//! `MetadataConfigs` of `datasets.utils.metadata` (5.2): a list `configs`, of which the only one, the one named `default` or
//! the one that says `default: true` is meant where none is asked for. Its `data_files` is a pattern or a list of them, all
//! of the split `train`, or a list of splits with a pattern or patterns each; `data_dir` is where they begin. Departure: a
//! file that two patterns name is read once.
//!
//! A card is a stranger's: what names files outside its folder is refused, and so are aliases and deep nesting, with which a
//! few lines of YAML stand for gigabytes.

use std::path::{Component, Path, PathBuf};

use super::DataError;
use super::folder::{self, Splits};
use super::yaml::{self, Node};
use crate::io;

/// A card's word on the files of the data set that is meant.
#[derive(Debug)]
pub(super) struct Card {
    path: PathBuf,
    /// Where the files are, within the folder.
    data_dir: Option<String>,
    /// Patterns by split; none where the names of files tell.
    patterns: Option<Vec<Patterns>>,
}

/// A split and the patterns of its files.
type Patterns = (String, Vec<String>);

impl Card {
    /// What the card in `folder` says; none where there is none, or one that says nothing of files.
    ///
    /// # Errors
    /// If it names several data sets and no default, or is not as `datasets` wants it.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, DataError> {
        let path = folder.join("README.md");
        if !path.is_file() {
            return Ok(None);
        }
        let text = io::read_settings(&path)?;
        let front = text.strip_prefix("---").and_then(|rest| rest.split("\n---").next());
        // Cards are prose, and there are those whose front matter is no YAML: what has no list of data sets names no files.
        let Some(front) = front.filter(|front| front.lines().any(|line| line.starts_with("configs:"))) else {
            return Ok(None);
        };
        let wrong = |problem: String| DataError::Card { path: path.clone(), problem };
        let root = yaml::parse(front).map_err(wrong)?;
        let Some(Node::List(configs)) = root.get("configs") else {
            return Err(wrong("expected `configs` to be a list".into()));
        };
        let Some(config) = meant(configs) else {
            if configs.is_empty() {
                return Ok(None);
            }
            return Err(DataError::Configs { path: folder.to_owned(), configs: configs.iter().map(name).collect() });
        };
        let patterns = config.get("data_files").map_or(Ok(None), patterns).map_err(wrong)?;
        let data_dir = config.get("data_dir").and_then(Node::text).map(str::to_owned);
        Ok(Some(Self { path, data_dir, patterns }).filter(|card| card.data_dir.is_some() || card.patterns.is_some()))
    }

    /// The files by split: of each the ones for its patterns, in their order.
    ///
    /// # Errors
    /// If a pattern is none, leads out of the folder, or no file is there for it.
    pub(super) fn splits(&self, folder: &Path) -> Result<Splits, DataError> {
        let Some(patterns) = &self.patterns else {
            let root = folder.join(self.within("")?);
            return Ok(folder::by_name(&root, folder::found(&root)?));
        };
        let files = folder::found(folder)?;
        let of_split = |(split, patterns): &(String, Vec<String>)| {
            let mut matched: Vec<PathBuf> = Vec::new();
            for pattern in patterns {
                let new: Vec<PathBuf> = self.matching(pattern, folder, &files)?;
                matched.extend(new.into_iter().filter(|file| !matched.contains(file)).collect::<Vec<_>>());
            }
            Ok((split.clone(), matched))
        };
        patterns.iter().map(of_split).collect()
    }

    fn matching(&self, pattern: &str, folder: &Path, files: &[PathBuf]) -> Result<Vec<PathBuf>, DataError> {
        let within = self.within(pattern)?;
        let wrong = |error: glob::PatternError| DataError::Pattern { path: within.clone(), problem: error.msg };
        let parsed = glob::Pattern::new(&within.to_string_lossy()).map_err(wrong)?;
        let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
        let is_meant =
            |file: &&PathBuf| file.strip_prefix(folder).is_ok_and(|file| parsed.matches_path_with(file, options));
        let found: Vec<PathBuf> = files.iter().filter(is_meant).cloned().collect();
        if found.is_empty() { Err(DataError::NoMatch { path: folder.join(&within) }) } else { Ok(found) }
    }

    /// A pattern as a path within the folder.
    fn within(&self, pattern: &str) -> Result<PathBuf, DataError> {
        let path = Path::new(self.data_dir.as_deref().unwrap_or_default()).join(pattern);
        let is_inside = |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if pattern.contains("://") || !path.components().all(|part| is_inside(&part)) {
            return Err(DataError::Outside { path: self.path.clone(), found: pattern.to_owned() });
        }
        Ok(path.components().filter(|part| matches!(part, Component::Normal(_))).collect())
    }
}

fn name(config: &Node) -> String {
    config.get("config_name").and_then(Node::text).unwrap_or_default().to_owned()
}

/// The only data set, or the one that is meant where none is named.
fn meant(configs: &[Node]) -> Option<&Node> {
    if let [one] = configs {
        return Some(one);
    }
    let is_default =
        |config: &&Node| name(config) == "default" || config.get("default").and_then(Node::text) == Some("true");
    let mut defaults = configs.iter().filter(is_default);
    defaults.next().filter(|_| defaults.next().is_none())
}

/// `data_files` as patterns by split.
fn patterns(files: &Node) -> Result<Option<Vec<Patterns>>, String> {
    let texts = |value: &Node| match value {
        Node::Text(text) => Some(vec![text.clone()]),
        Node::List(items) => items.iter().map(|item| item.text().map(str::to_owned)).collect(),
        Node::Map(_) => None,
    };
    let wrong = || "expected `data_files` to be a pattern, patterns, or a list of `split` and `path`".to_owned();
    let items = match files {
        // Null, in the ways YAML has for it.
        Node::Text(text) if ["", "~", "null"].contains(&text.as_str()) => return Ok(None),
        Node::List(items) if items.iter().any(|item| matches!(item, Node::Map(_))) => items,
        files => return Ok(Some(vec![("train".into(), texts(files).ok_or_else(wrong)?)])),
    };
    let of_split = |item: &Node| Some((item.get("split")?.text()?.to_owned(), texts(item.get("path")?)?));
    let splits: Vec<Patterns> = items.iter().map(of_split).collect::<Option<_>>().ok_or_else(wrong)?;
    let is_again = |at: usize| splits[..at].iter().any(|(name, _)| *name == splits[at].0);
    match (0..splits.len()).find(|at| is_again(*at)) {
        Some(at) => Err(format!("`data_files` has the split `{}` twice", splits[at].0)),
        None => Ok(Some(splits)),
    }
}
