//! Values a setting may have: each type has one fallible constructor, used by the TOML reader and by the flags.

use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A value outside what its key allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found `{found}`")]
pub struct ValueError {
    expected: String,
    found: String,
}

impl ValueError {
    pub(super) fn new(expected: impl Display, found: impl Display) -> Self {
        Self { expected: expected.to_string(), found: found.to_string() }
    }
}

/// Reads a flag whose type is a number with a range.
pub(crate) fn number<T: TryFrom<f64, Error: Display>>(text: &str) -> Result<T, String> {
    let number: f64 = text.parse().map_err(|_| ValueError::new("a number", text).to_string())?;
    T::try_from(number).map_err(|error| error.to_string())
}

macro_rules! checked_number {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
        #[serde(try_from = "f64", into = "f64")]
        pub struct $name(f64);

        impl $name {
            /// The number.
            pub fn get(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = ValueError;

            fn try_from(found: f64) -> Result<Self, ValueError> {
                let check: fn(f64) -> bool = $check;
                // Every range is closed against NaN: comparisons with it are false.
                if check(found) && found.is_finite() { Ok(Self(found)) } else { Err(ValueError::new($expected, found)) }
            }
        }

        impl From<$name> for f64 {
            fn from(number: $name) -> Self {
                number.0
            }
        }
    };
}

checked_number!(
    /// Finite and above 0.
    Positive,
    "a finite number above 0",
    |x| x > 0.0
);
checked_number!(
    /// Finite and at least 0.
    NonNegative,
    "a finite number of at least 0",
    |x| x >= 0.0
);
checked_number!(
    /// Decay of a moving average: in `[0, 1)`.
    Decay,
    "a number in [0, 1)",
    |x| (0.0..1.0).contains(&x)
);
checked_number!(
    /// Part of a whole: in `[0, 1]`.
    Share,
    "a number in [0, 1]",
    |x| (0.0..=1.0).contains(&x)
);

/// Name of a run or of a reference: one folder name of letters, digits, `-`, `_` and `.`, not starting with a dot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The text, as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name a pipeline file has by default: its own, without `.toml`.
    pub(super) fn of_file(path: &Path) -> Result<Self, ValueError> {
        Self::try_from(path.file_stem().unwrap_or_default().to_string_lossy().into_owned())
    }
}

impl TryFrom<String> for Name {
    type Error = ValueError;

    fn try_from(found: String) -> Result<Self, ValueError> {
        let is_allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !found.is_empty() && !found.starts_with('.') && found.chars().all(is_allowed) {
            Ok(Self(found))
        } else {
            Err(ValueError::new("a name of letters, digits, `-`, `_` and `.`, not starting with a dot", found))
        }
    }
}

/// As a flag has it.
impl FromStr for Name {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        Self::try_from(text.to_owned())
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

/// A key whose value is written as text, in a file as in a flag: for serde's `with`.
pub(super) mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde hands over the field by reference")]
    pub(in crate::pipeline) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::pipeline) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_in_its_folder() {
        for name in ["quickstart", "hh-0.1_b"] {
            assert!(Name::try_from(name.to_owned()).is_ok(), "{name}");
        }
        for name in ["", "..", ".hidden", "a/b", "/tmp", "a b"] {
            assert!(Name::try_from(name.to_owned()).is_err(), "{name}");
        }
    }

    #[test]
    fn ranges_are_closed_against_nan_and_infinity() {
        for number in [f64::NAN, f64::INFINITY, -1.0] {
            assert!(Positive::try_from(number).is_err(), "{number}");
            assert!(NonNegative::try_from(number).is_err(), "{number}");
            assert!(Decay::try_from(number).is_err(), "{number}");
            assert!(Share::try_from(number).is_err(), "{number}");
        }
        assert!(Positive::try_from(0.0).is_err());
        assert!(NonNegative::try_from(0.0).is_ok());
        assert!(Decay::try_from(1.0).is_err());
        assert!(Share::try_from(1.0).is_ok());
    }
}
