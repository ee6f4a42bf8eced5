//! Typed access to the keys of `config.json`, as strict as transformers' dataclasses.

use std::path::Path;

use serde_json::{Map, Value};

use crate::model::error::{ModelError, shown};

/// No real checkpoint comes near this; a larger number would only overflow later.
const LARGEST: u64 = 1 << 30;

/// The keys of one table of the file.
///
/// `huggingface_hub.dataclasses.strict` takes an absent key for its default and refuses null unless the type of the field
/// has `None`: the `…_or` methods do so, the `optional_…` ones take null for absent.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) path: &'a Path,
    /// The key of the table in the file; empty for the file itself.
    pub(super) section: &'a str,
    pub(super) object: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// A value that is not null.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.object.contains_key(key)
    }

    pub(super) fn name(&self, key: &str) -> String {
        if self.section.is_empty() { key.to_owned() } else { format!("{}.{key}", self.section) }
    }

    pub(super) fn missing(&self, key: &str) -> ModelError {
        ModelError::ConfigMissing { path: self.path.to_owned(), key: self.name(key) }
    }

    pub(super) fn wrong(&self, key: &str, expected: &str) -> ModelError {
        ModelError::ConfigValue {
            path: self.path.to_owned(),
            key: self.name(key),
            expected: expected.to_owned(),
            found: shown(self.object.get(key).map_or_else(|| "nothing".to_owned(), Value::to_string)),
        }
    }

    /// A whole number, 0 included; null is absent.
    pub(super) fn optional_size(&self, key: &str) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64().filter(|&number| number <= LARGEST).and_then(|number| usize::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(key, "a whole number up to 2^30")),
        }
    }

    /// A whole number, 0 included.
    pub(super) fn size_or(&self, key: &str, default: usize) -> Result<usize, ModelError> {
        self.not_null(key, "a whole number up to 2^30")?;
        Ok(self.optional_size(key)?.unwrap_or(default))
    }

    /// A whole number above 0; null is absent.
    pub(super) fn optional_count(&self, key: &str) -> Result<Option<usize>, ModelError> {
        match self.optional_size(key)? {
            Some(0) => Err(self.wrong(key, "a number above 0")),
            size => Ok(size),
        }
    }

    /// A whole number above 0.
    pub(super) fn count_or(&self, key: &str, default: usize) -> Result<usize, ModelError> {
        self.not_null(key, "a whole number above 0")?;
        Ok(self.optional_count(key)?.unwrap_or(default))
    }

    /// A number above 0, whole or not; null is absent.
    pub(super) fn optional_number(&self, key: &str) -> Result<Option<f64>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_f64().filter(|number| number.is_finite() && *number > 0.0) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(key, "a number above 0")),
        }
    }

    /// A number above 0 that has to be there.
    pub(super) fn number(&self, key: &str) -> Result<f64, ModelError> {
        self.optional_number(key)?.ok_or_else(|| self.missing(key))
    }

    /// A number above 0; null is none.
    pub(super) fn number_not_null(&self, key: &str) -> Result<f64, ModelError> {
        self.not_null(key, "a number above 0")?;
        self.number(key)
    }

    /// A number above 0 that Python reads as a `float`: with a point or an exponent.
    pub(super) fn float_or(&self, key: &str, default: f64) -> Result<f64, ModelError> {
        match self.object.get(key) {
            None => Ok(default),
            Some(value) if value.is_f64() => Ok(self.optional_number(key)?.unwrap_or(default)),
            Some(_) => Err(self.wrong(key, "a number above 0 with a decimal point")),
        }
    }

    pub(super) fn flag_or(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        match self.object.get(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(key, "true or false")),
        }
    }

    /// A flag that is no field of this family's configuration, so that null is no error.
    pub(super) fn other_flag(&self, key: &str) -> Result<Option<bool>, ModelError> {
        self.get(key).map(|value| value.as_bool().ok_or_else(|| self.wrong(key, "true or false"))).transpose()
    }

    fn not_null(&self, key: &str, expected: &str) -> Result<(), ModelError> {
        match self.object.get(key) {
            Some(Value::Null) => Err(self.wrong(key, expected)),
            _ => Ok(()),
        }
    }
}
