//! Where a folder keeps its chat templates, and which of them count.
//!
//! `_from_pretrained` of transformers 5.24: the files `chat_template.jinja` and `additional_chat_templates/*.jinja` replace
//! `chat_template` of `tokenizer_config.json` as soon as there is one of them. `chat_template.json` belongs to processors
//! of images and sound, and no tokenizer reads it.

use std::path::Path;

use serde_json::Value as Json;

use super::super::error::TokenizeError;
use super::super::named_templates::{DEFAULT, NamedTemplates};
use super::settings::Settings;
use crate::io;

/// The folder of all templates but the default one.
const ADDITIONAL: &str = "additional_chat_templates";

pub(super) fn read(folder: &Path, config: &Settings, notes: &mut Vec<String>) -> Result<NamedTemplates, TokenizeError> {
    let of_config = of_config(config)?;
    let mut files = NamedTemplates::default();
    let file = folder.join("chat_template.jinja");
    if file.is_file() {
        files.insert(DEFAULT, io::read_text_up_to(&file, io::SETTINGS_BYTES)?);
    }
    for (name, source) in additional(&folder.join(ADDITIONAL))? {
        files.insert(name, source);
    }
    let legacy = folder.join("chat_template.json");
    let templates = if files == NamedTemplates::default() {
        of_config
    } else {
        if of_config != NamedTemplates::default() && of_config != files {
            notes.push(format!(
                "`tokenizer_config.json` has other chat templates than the `.jinja` files beside it: as in transformers, \
                 the files count ({}), and what it says is not read",
                files.names().collect::<Vec<_>>().join(", ")
            ));
        }
        files
    };
    if legacy.is_file() {
        let legacy = Settings::read(&legacy)?;
        let same = legacy.get("chat_template").and_then(Json::as_str) == templates.default_source();
        if !same {
            notes.push(
                "`chat_template.json` is not read: as in transformers it is for processors, and a tokenizer has its template \
                 in `chat_template.jinja` or `tokenizer_config.json`"
                    .into(),
            );
        }
    }
    Ok(templates)
}

/// A text, a list of `{name, template}`, or an object from names to templates.
fn of_config(config: &Settings) -> Result<NamedTemplates, TokenizeError> {
    const KEY: &str = "chat_template";
    let expected = "a text, or a list of objects with `name` and `template`";
    let mut templates = NamedTemplates::default();
    match config.get(KEY) {
        None | Some(Json::Null) => {}
        Some(Json::String(source)) => templates.insert(DEFAULT, source),
        Some(list @ Json::Array(named)) => {
            for entry in named {
                let field = |name: &str| entry.get(name).and_then(Json::as_str);
                let (Some(name), Some(source)) = (field("name"), field("template")) else {
                    return Err(config.wrong(KEY, expected, list));
                };
                templates.insert(name, source);
            }
        }
        Some(object @ Json::Object(named)) => {
            for (name, source) in named {
                let source = source.as_str().ok_or_else(|| config.wrong(KEY, expected, object))?;
                templates.insert(name, source);
            }
        }
        Some(found) => return Err(config.wrong(KEY, expected, found)),
    }
    Ok(templates)
}

/// Names and sources of the files in the folder of templates.
fn additional(folder: &Path) -> Result<Vec<(String, String)>, TokenizeError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut templates = Vec::new();
    for path in io::list(folder)? {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".jinja"));
        // `._tool_use.jinja` is what macOS leaves behind.
        if let Some(name) = name.filter(|name| !name.starts_with("._")) {
            templates.push((name.to_owned(), io::read_text_up_to(&path, io::SETTINGS_BYTES)?));
        }
    }
    Ok(templates)
}
