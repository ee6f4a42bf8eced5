//! Values a setting may have: each type has one fallible constructor, used by the TOML reader and by the flags.

use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::data::ColumnMap;

/// A value outside what its key allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found `{found}`")]
pub struct ValueError {
    expected: String,
    found: String,
}

impl ValueError {
    fn new(expected: impl Display, found: impl Display) -> Self {
        Self { expected: expected.to_string(), found: found.to_string() }
    }
}

/// Reads a flag whose type is a number with a range.
pub(super) fn number<T: TryFrom<f64, Error: Display>>(text: &str) -> Result<T, String> {
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

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text, as it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = ValueError;

            fn try_from(found: String) -> Result<Self, ValueError> {
                Self::check(&found)?;
                Ok(Self(found))
            }
        }

        impl FromStr for $name {
            type Err = ValueError;

            fn from_str(found: &str) -> Result<Self, ValueError> {
                Self::try_from(found.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }
    };
}

checked_text!(
    /// Name of a run: one folder name of letters, digits, `-`, `_` and `.`, not starting with a dot.
    Name
);
checked_text!(
    /// The date a chat template may print, `YYYY-MM-DD`.
    TemplateDate
);
checked_text!(
    /// A column map as text: `chosen=better,rejected=worse`.
    MapText
);

impl Name {
    fn check(found: &str) -> Result<(), ValueError> {
        let is_allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !found.is_empty() && !found.starts_with('.') && found.chars().all(is_allowed) {
            Ok(())
        } else {
            Err(ValueError::new("a name of letters, digits, `-`, `_` and `.`, not starting with a dot", found))
        }
    }

    /// The name a pipeline file has by default: its own, without `.toml`.
    pub(super) fn of_file(path: &Path) -> Result<Self, ValueError> {
        path.file_stem().unwrap_or_default().to_string_lossy().parse()
    }
}

impl TemplateDate {
    fn check(found: &str) -> Result<(), ValueError> {
        if is_date(found) { Ok(()) } else { Err(ValueError::new("a date as `YYYY-MM-DD`", found)) }
    }
}

impl MapText {
    fn check(found: &str) -> Result<(), ValueError> {
        match found.parse::<ColumnMap>() {
            Ok(_) => Ok(()),
            Err(error) => Err(ValueError::new(format_args!("a column map ({error})"), found)),
        }
    }
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else { return false };
    let number = |part: &str, width: usize| {
        (part.len() == width && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse::<u32>().ok()).flatten()
    };
    let (Some(year), Some(month), Some(day)) = (number(year, 4), number(month, 2), number(day, 2)) else {
        return false;
    };
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => return false,
    };
    (1..=days).contains(&day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_the_calendar_and_no_others() {
        for date in ["2024-07-26", "2024-02-29", "2000-02-29", "1999-12-31"] {
            assert!(is_date(date), "{date}");
        }
        for text in
            ["2023-02-29", "1900-02-29", "2024-13-01", "2024-00-10", "2024-04-31", "2024-7-26", "+024-07-26", ""]
        {
            assert!(!is_date(text), "{text}");
        }
    }

    #[test]
    fn a_name_stays_in_its_folder() {
        for name in ["quickstart", "hh-0.1_b"] {
            assert!(name.parse::<Name>().is_ok(), "{name}");
        }
        for name in ["", "..", ".hidden", "a/b", "/tmp", "a b"] {
            assert!(name.parse::<Name>().is_err(), "{name}");
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
