//! The settings of a run, as `plan.toml` has them.

use std::path::Path;

use toml::{Table as Toml, Value};

use super::ReportError;
use super::page::{Block, Table};
use crate::io;

/// What a run was told; nothing where there is no record of it.
#[derive(Debug, Default)]
pub(super) struct RunSettings(Toml);

impl RunSettings {
    pub(super) fn load(path: &Path) -> Result<Self, ReportError> {
        if !path.is_file() {
            return Ok(Self::default());
        }
        let text = io::read_settings(path)?;
        let wrap = |source| ReportError::Plan { path: path.to_owned(), source: Box::new(source) };
        Ok(Self(toml::from_str(&text).map_err(wrap)?))
    }

    /// A setting by the path of its key.
    pub(super) fn get(&self, path: &[&str]) -> Option<String> {
        let (key, sections) = path.split_last()?;
        let mut table = &self.0;
        for section in sections {
            table = table.get(*section)?.as_table()?;
        }
        table.get(*key).map(shown)
    }

    /// One table a section.
    pub(super) fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        push_sections("", &self.0, &mut blocks);
        blocks
    }
}

/// The keys of a section, then the sections below it.
fn push_sections(path: &str, section: &Toml, blocks: &mut Vec<Block>) {
    let keys = section.iter().filter(|(_, value)| !value.is_table());
    let rows: Vec<Vec<String>> = keys.map(|(key, value)| vec![key.clone(), shown(value)]).collect();
    if !rows.is_empty() {
        let title = if path.is_empty() { "run".to_owned() } else { path.to_owned() };
        blocks.push(Block::Table { title, table: Table { columns: vec!["key".into(), "value".into()], rows } });
    }
    for (key, value) in section {
        if let Value::Table(below) = value {
            push_sections(&if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, below, blocks);
        }
    }
}

/// Texts without their quotes, lists with commas.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Float(number) => format!("{number:?}"),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        value => value.to_string(),
    }
}
