//! What a message says: a text, parts, or nothing beside its calls.

use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::message::parse_content;

/// The text of a message, which it derefs to, and the form in which the source has it: templates tell parts from a string,
/// and both from nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// Parts are joined as they follow each other.
    text: String,
    form: Form,
}

#[derive(Debug, Clone, PartialEq)]
enum Form {
    Text,
    /// `{"type": "text", "text": "…"}`, with whatever else the source says of them.
    Parts(Vec<Value>),
    Nothing,
}

impl Content {
    /// No content, as of a turn that only calls tools.
    pub fn nothing() -> Self {
        Self { text: String::new(), form: Form::Nothing }
    }

    /// Parts, each of which is a text.
    pub(super) fn of_parts(text: String, parts: Vec<Value>) -> Self {
        Self { text, form: Form::Parts(parts) }
    }

    /// The parts, where the source has the content in parts.
    pub fn parts(&self) -> Option<&[Value]> {
        match &self.form {
            Form::Parts(parts) => Some(parts),
            Form::Text | Form::Nothing => None,
        }
    }

    /// The content in the form the source has it.
    pub fn to_json(&self) -> Value {
        match &self.form {
            Form::Text => Value::String(self.text.clone()),
            Form::Parts(parts) => Value::Array(parts.clone()),
            Form::Nothing => Value::Null,
        }
    }
}

impl Deref for Content {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self { text, form: Form::Text }
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq<&str> for Content {
    fn eq(&self, other: &&str) -> bool {
        self.text == *other
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(Self::nothing()),
            content => parse_content(content).map_err(serde::de::Error::custom),
        }
    }
}
