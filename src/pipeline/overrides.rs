//! Settings laid over a pipeline file from outside it: `--set KEY=VALUE,…`, and lists of runs.
//!
//! Both go through the reader of pipeline files, so an unknown key names its neighbour and a wrong value what was
//! expected. A value is one of TOML; what is none, like a word without quotes, is a text.

use std::path::Path;

use toml::{Table, Value};

use super::error::{FileError, PipelineError, SettingError};
use super::file::{self, internal};
use super::known::Section;
use super::settings::Settings;
use super::{FILE_BYTES, Pipeline};
use crate::error::Hint;
use crate::io;

/// One setting: its dotted key, as a pipeline file spells it, and its value, as it is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    /// `train.loss.beta`.
    pub key: String,
    /// The value in the type the setting has: `1` for a setting in fractions is `1.0`.
    pub value: Value,
}

/// Settings of one run over those of a file, in the order in which they were given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    settings: Settings,
    entries: Vec<Override>,
}

/// One setting and the values it takes in turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    options: Vec<Overrides>,
}

/// Why a `--set` sets nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// No key and value.
    #[error("expected `KEY=VALUE` or `KEY=VALUE,VALUE…`")]
    Form,
    /// Several settings at once.
    #[error("`{key}` is a section: expected one of its keys")]
    Section {
        /// The section.
        key: String,
    },
    /// A value that is there already.
    #[error("the value {value} is given twice")]
    Twice {
        /// The value.
        value: String,
    },
    /// No setting, or a value it cannot have.
    #[error(transparent)]
    Setting(SettingError),
}

impl Hint for SetError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Form => Some("a key is dotted, as in `--set train.loss.beta=0.05,0.1,0.5`".into()),
            Self::Setting(error) => error.hint(),
            Self::Section { .. } | Self::Twice { .. } => None,
        }
    }
}

impl Axis {
    /// Reads `KEY=VALUE,VALUE…`; commas in brackets and in quotes part nothing.
    ///
    /// # Errors
    /// If there is no such setting, if it cannot have one of the values, or has one of them twice.
    pub fn parse(given: &str) -> Result<Self, PipelineError> {
        Self::read(given).map_err(|source| PipelineError::Set { given: given.to_owned(), source })
    }

    /// The setting with each of its values.
    pub fn options(&self) -> &[Overrides] {
        &self.options
    }

    fn read(given: &str) -> Result<Self, SetError> {
        let (key, values) = given.split_once('=').ok_or(SetError::Form)?;
        let key = key.trim();
        let mut options: Vec<Overrides> = Vec::new();
        for text in items(values) {
            if key.is_empty() || text.is_empty() {
                return Err(SetError::Form);
            }
            let option = setting(key, value(text)).map_err(SetError::Setting)?;
            if option.entries.len() != 1 || option.entries.iter().any(|entry| entry.key != key) {
                return Err(SetError::Section { key: key.to_owned() });
            }
            if options.contains(&option) {
                return Err(SetError::Twice { value: text.to_owned() });
            }
            options.push(option);
        }
        Ok(Self { options })
    }
}

impl Overrides {
    /// As a layer over a pipeline file: [`Pipeline::load`].
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The settings, one by one.
    pub fn entries(&self) -> &[Override] {
        &self.entries
    }

    /// These settings and then `more`, which win.
    ///
    /// # Errors
    /// Only if settings that were checked cannot be combined, which is a bug.
    pub fn and(&self, more: &Self) -> Result<Self, PipelineError> {
        let mut entries = self.entries.clone();
        for entry in &more.entries {
            match entries.iter_mut().find(|earlier| earlier.key == entry.key) {
                Some(earlier) => earlier.value = entry.value.clone(),
                None => entries.push(entry.clone()),
            }
        }
        Ok(Self { settings: self.settings.under(&more.settings)?, entries })
    }

    fn of(settings: Settings) -> Result<Self, PipelineError> {
        let mut entries = Vec::new();
        flatten("", Table::try_from(&settings).map_err(internal)?, &mut entries);
        Ok(Self { settings, entries })
    }
}

impl Pipeline {
    /// The value of a setting by its dotted key, if it has one.
    pub fn value(&self, key: &str) -> Result<Option<Value>, PipelineError> {
        let settings = Value::try_from(self.settings()).map_err(internal)?;
        Ok(key.split('.').try_fold(&settings, |value, name| value.get(name)).cloned())
    }
}

/// Reads a list of runs: a TOML file with one `[[run]]` for each, and its settings below that.
///
/// # Errors
/// As of a pipeline file, with the line.
pub fn read_list(path: &Path) -> Result<Vec<Overrides>, PipelineError> {
    let wrap = |source| PipelineError::List { path: path.to_owned(), source };
    let text = io::read_text_up_to(path, FILE_BYTES).map_err(|source| wrap(FileError::Io(source)))?;
    file::parse_list(&text).map_err(wrap)?.into_iter().map(Overrides::of).collect()
}

/// The shortest end of a dotted key that names the setting among those of its top-level section.
pub fn short_key(key: &str) -> &str {
    let Some((top, below)) = key.split_once('.') else { return key };
    let name = key.rsplit('.').next().unwrap_or(key);
    let is_of_top = |owner: &String| owner.split('.').next() == Some(top);
    match Section::of::<Settings>() {
        Ok(known) if known.owners(name, "").iter().filter(|owner| is_of_top(owner)).count() == 1 => name,
        _ => below,
    }
}

/// A value as a flag has it.
pub fn value_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        // `{:?}` writes 0.000001 as 1e-6.
        Value::Float(number) => format!("{number:?}"),
        Value::Array(items) => items.iter().map(value_text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// One setting, checked as if it stood in a pipeline file.
fn setting(key: &str, value: Value) -> Result<Overrides, SettingError> {
    let wrong = |error: &dyn std::error::Error| {
        let message = error.to_string();
        SettingError::Value { key: key.to_owned(), section: String::new(), message }
    };
    let nested = key.rsplit('.').fold(value, |value, name| Value::Table(Table::from_iter([(name.to_owned(), value)])));
    let text = toml::to_string(&nested).map_err(|error| wrong(&error))?;
    let settings = file::parse(&text).map_err(|error| match error {
        FileError::Setting { source, .. } => source,
        error => wrong(&error),
    })?;
    Overrides::of(settings).map_err(|error| wrong(&error))
}

fn flatten(path: &str, table: Table, entries: &mut Vec<Override>) {
    for (name, value) in table {
        let key = super::known::join(path, &name);
        match value {
            Value::Table(below) => flatten(&key, below, entries),
            value => entries.push(Override { key, value }),
        }
    }
}

/// A value of TOML, a list of values without quotes, or a text.
fn value(text: &str) -> Value {
    match text.parse() {
        // No setting is a date, and some are texts that look like one.
        Ok(Value::Datetime(_)) => Value::String(text.to_owned()),
        Ok(value) => value,
        Err(_) => match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            Some(list) => Value::Array(items(list).into_iter().map(value).collect()),
            None => Value::String(text.to_owned()),
        },
    }
}

/// Parts a text at its commas, but not within brackets or quotes.
fn items(text: &str) -> Vec<&str> {
    let (mut found, mut start, mut depth, mut quote) = (Vec::new(), 0, 0_usize, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                found.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(text[start..].trim());
    found
}

#[cfg(test)]
mod tests;
