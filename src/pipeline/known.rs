//! The names serde knows: the keys of a section, the words of an enum. Asked of the types themselves, so that the
//! nearest-name advice, the help and the reader cannot differ.

use std::collections::BTreeMap;

use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, Visitor};

/// Keys of a section, and the sections below it.
#[derive(Debug, Default)]
pub(super) struct Section {
    /// Keys and names of sections, as serde spells them.
    pub(super) keys: &'static [&'static str],
    /// The keys that are sections themselves.
    pub(super) sections: BTreeMap<&'static str, Section>,
}

impl Section {
    /// The section `T` is read from. Every key of it must be an `Option` or a section.
    pub(super) fn of<T: DeserializeOwned>() -> Result<Self, Error> {
        let mut section = Self::default();
        T::deserialize(SectionProbe(&mut section))?;
        Ok(section)
    }

    /// Paths of the sections, this one's `path` included, that have a key of this name.
    pub(super) fn owners(&self, key: &str, path: &str) -> Vec<String> {
        let mut owners = Vec::new();
        if self.keys.contains(&key) && !self.sections.contains_key(key) {
            owners.push(path.to_owned());
        }
        for (name, section) in &self.sections {
            owners.extend(section.owners(key, &join(path, name)));
        }
        owners
    }
}

/// `train` and `loss` make `train.loss`.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The words an enum is read from.
pub(super) fn words<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut words: &[&str] = &[];
    // The probe stops at the list of variants: there is no value to make.
    let _ = T::deserialize(WordsProbe(&mut words));
    words
}

/// Reads one word of an enum.
pub(super) fn word<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    let deserializer: StrDeserializer<'_, Error> = text.into_deserializer();
    T::deserialize(deserializer)
}

/// Hands a struct every key it asks for, with nothing in it.
struct SectionProbe<'a>(&'a mut Section);

impl<'de> Deserializer<'de> for SectionProbe<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.keys = fields;
        visitor.visit_map(EmptyFields { section: self.0, next: 0 })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_none()
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("a key of a section is neither an `Option` nor a section"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct EmptyFields<'a> {
    section: &'a mut Section,
    next: usize,
}

impl<'de> MapAccess<'de> for EmptyFields<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(key) = self.section.keys.get(self.next) else { return Ok(None) };
        let deserializer: StrDeserializer<'_, Error> = (*key).into_deserializer();
        seed.deserialize(deserializer).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let mut below = Section::default();
        let value = seed.deserialize(SectionProbe(&mut below))?;
        if let Some(key) = self.section.keys.get(self.next)
            && !below.keys.is_empty()
        {
            self.section.sections.insert(key, below);
        }
        self.next += 1;
        Ok(value)
    }
}

struct WordsProbe<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for WordsProbe<'_> {
    type Error = Error;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = variants;
        Err(Error::custom("only the variants were asked for"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("not an enum"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
