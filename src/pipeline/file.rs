//! From TOML text to settings: unknown names and wrong values are refused with their line and section.

use serde::Deserialize;
use serde::de::value::Error as ProbeError;
use toml::Table;
use toml::de::{DeTable, DeValue};

use super::error::{FileError, PipelineError, SettingError, UnknownName, section_name};
use super::foreign;
use super::known::{Section, join};
use super::settings::Settings;
use crate::error::nearest;

/// Reads a pipeline file.
pub(super) fn parse(text: &str) -> Result<Settings, FileError> {
    let document = DeTable::parse(text).map_err(|error| syntax(text, &error))?;
    let known = Section::of::<Settings>().map_err(|error| probe(&error))?;
    check_names(text, document.get_ref(), &known, &known, "")?;
    toml::from_str(text).map_err(|error| value(text, &[document.get_ref()], &error))
}

/// Reads a list of runs: one `[[run]]` each, with its settings as a pipeline file has them.
pub(super) fn parse_list(text: &str) -> Result<Vec<Settings>, FileError> {
    #[derive(Deserialize)]
    struct List {
        #[serde(default)]
        run: Vec<Settings>,
    }
    let document = DeTable::parse(text).map_err(|error| syntax(text, &error))?;
    let known = Section::of::<Settings>().map_err(|error| probe(&error))?;
    let mut runs = Vec::new();
    for (key, value) in document.get_ref() {
        let name = key.get_ref().as_ref();
        if name != "run" {
            let kind = unknown(name, value.get_ref());
            let advice = "a list has one `[[run]]` for each run, and its settings below that".into();
            let source = SettingError::Unknown { kind, section: String::new(), advice };
            return Err(FileError::Setting { line: line(text, key.span().start), source });
        }
        if let DeValue::Array(items) = value.get_ref() {
            runs.extend(items.iter().filter_map(|item| item.get_ref().as_table()));
        }
    }
    for run in &runs {
        check_names(text, run, &known, &known, "")?;
    }
    toml::from_str::<List>(text).map(|list| list.run).map_err(|error| value(text, &runs, &error))
}

/// The defaults, as settings.
pub(super) fn defaults() -> Result<Settings, PipelineError> {
    default_table()?.try_into().map_err(internal)
}

/// The defaults of a run that trains an adapter, where they are others.
pub(super) fn adapter_defaults() -> Result<Settings, PipelineError> {
    let table: Table = include_str!("defaults_adapter.toml").parse().map_err(internal)?;
    table.try_into().map_err(internal)
}

/// The defaults of a run whose pairs have an order, where they are others.
pub(super) fn ordered_defaults() -> Result<Settings, PipelineError> {
    let table: Table = include_str!("defaults_ordered.toml").parse().map_err(internal)?;
    table.try_into().map_err(internal)
}

/// The defaults, as written.
pub(super) fn default_table() -> Result<Table, PipelineError> {
    include_str!("defaults.toml").parse().map_err(internal)
}

impl Settings {
    /// These settings with every key that `over` gives replaced.
    pub(super) fn under(&self, over: &Self) -> Result<Self, PipelineError> {
        let mut table = Table::try_from(self).map_err(internal)?;
        overlay(&mut table, Table::try_from(over).map_err(internal)?);
        table.try_into().map_err(internal)
    }
}

/// Replaces the keys of `under` that `over` has, section by section.
fn overlay(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => overlay(under, over),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

pub(super) fn internal(source: impl std::error::Error + Send + Sync + 'static) -> PipelineError {
    PipelineError::Internal { source: Box::new(source) }
}

fn check_names(
    text: &str,
    table: &DeTable<'_>,
    section: &Section,
    root: &Section,
    path: &str,
) -> Result<(), FileError> {
    // The map is sorted by name; the first error a user sees should be the first in the file.
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        let name = key.get_ref().as_ref();
        if !section.keys.contains(&name) {
            let kind = unknown(name, value.get_ref());
            let owners = if matches!(kind, UnknownName::Section(_)) { Vec::new() } else { root.owners(name, "") };
            let advice = advice(name, section, path, &owners);
            let source = SettingError::Unknown { kind, section: path.to_owned(), advice };
            return Err(FileError::Setting { line: line(text, key.span().start), source });
        }
        if let (DeValue::Table(table), Some(below)) = (value.get_ref(), section.sections.get(name)) {
            check_names(text, table, below, root, &join(path, name))?;
        }
    }
    Ok(())
}

fn unknown(name: &str, value: &DeValue<'_>) -> UnknownName {
    if value.is_table() { UnknownName::Section(name.into()) } else { UnknownName::Key(name.into()) }
}

/// What an unknown name may have been meant to be: a key of `owners`, the nearest of its section, or any of them.
fn advice(name: &str, section: &Section, path: &str, owners: &[String]) -> String {
    if !owners.is_empty() {
        let owners: Vec<String> = owners.iter().map(|owner| section_name(owner)).collect();
        return format!("it is a key of {}", owners.join(" and of "));
    }
    if let Some(advice) = foreign::advice(name) {
        return advice.to_owned();
    }
    match nearest(name, section.keys.iter().copied()) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("{} knows: {}", section_name(path), section.keys.join(", ")),
    }
}

fn syntax(text: &str, error: &toml::de::Error) -> FileError {
    let start = error.span().map_or(0, |span| span.start);
    FileError::Syntax { line: line(text, start), message: error.message().to_owned() }
}

fn probe(error: &ProbeError) -> FileError {
    FileError::Syntax { line: 1, message: error.to_string() }
}

/// A wrong value in one of these tables of settings.
fn value(text: &str, tables: &[&DeTable<'_>], error: &toml::de::Error) -> FileError {
    let start = error.span().map_or(0, |span| span.start);
    let found = tables.iter().find_map(|table| owner(table, start, ""));
    let (section, key) = found.unwrap_or_else(|| (String::new(), "run".into()));
    let source = SettingError::Value { key, section, message: expected_found(error.message()) };
    FileError::Setting { line: line(text, start), source }
}

/// Section and key of the value at byte `at`.
fn owner(table: &DeTable<'_>, at: usize, path: &str) -> Option<(String, String)> {
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        if let DeValue::Table(below) = value.get_ref()
            && let Some(found) = owner(below, at, &join(path, name))
        {
            return Some(found);
        }
        if value.span().contains(&at) {
            return Some((path.to_owned(), name.to_owned()));
        }
    }
    None
}

/// serde's "invalid type: string "x", expected f64" in the words of this crate.
fn expected_found(message: &str) -> String {
    let body = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    match body.and_then(|body| body.split_once(", expected ")) {
        Some((found, expected)) => format!("expected {}, found {found}", plain_type(expected)),
        None => message.to_owned(),
    }
}

fn plain_type(rust: &str) -> &str {
    match rust {
        "f64" => "a number",
        "usize" | "u64" => "a whole number of at least 0",
        "a nonzero usize" | "a nonzero u64" => "a whole number of at least 1",
        "a boolean" => "`true` or `false`",
        "a sequence" => "a list `[…]`",
        other if other.starts_with("struct ") => "a section",
        other => other,
    }
}

/// 1-based line of byte `at`.
fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}
