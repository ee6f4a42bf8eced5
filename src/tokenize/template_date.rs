//! The date a chat template sees: given once, never the clock of the machine that renders.
//!
//! Llama 3 templates print the date. Read from the clock, it would make a log-prob table depend on the day it was made.

use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{Days, NaiveDate, NaiveTime};
use serde::{Deserialize, Serialize};

/// A day, written `2024-07-26`. `strftime_now` answers with midnight of it. By default the first of 1970, for what does not
/// depend on the day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TemplateDate(NaiveDate);

/// A text that is no date.
#[derive(Debug, thiserror::Error)]
#[error("expected a date like `2024-07-26`, found `{found}`")]
pub struct ParseTemplateDateError {
    found: String,
}

impl TemplateDate {
    /// Today in UTC: for the plan of a new table, which then keeps it.
    pub fn today() -> Self {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self(NaiveDate::default().checked_add_days(Days::new(seconds / 86_400)).unwrap_or_default())
    }

    /// The date in a `strftime` format, or `None` where the format has a code nobody knows.
    pub(crate) fn strftime(self, format: &str) -> Option<String> {
        // The result is longer than the format, and a template may make a format of any length.
        const LONGEST: usize = 256;
        if format.len() > LONGEST {
            return None;
        }
        let format = as_python_reads(format)?;
        let mut text = String::new();
        write!(text, "{}", self.0.and_time(NaiveTime::MIN).format(&format)).ok()?;
        Some(text)
    }
}

/// The format without the codes that Python writes otherwise than chrono: a date without a zone names none, and fractions
/// of a second have six digits. `None` for those that only chrono has.
fn as_python_reads(format: &str) -> Option<String> {
    let mut out = String::with_capacity(format.len());
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next()? {
            'z' | 'Z' => {}
            'f' => out.push_str("000000"),
            '+' | 'v' | 'q' | '.' | ':' | '#' | 's' | 'N' | 'L' | '0'..='9' => return None,
            code => out.extend(['%', code]),
        }
    }
    Some(out)
}

impl fmt::Display for TemplateDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TemplateDate {
    type Err = ParseTemplateDateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| ParseTemplateDateError { found: text.to_owned() })
    }
}

impl Serialize for TemplateDate {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TemplateDate {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(format: &str, want: Option<&str>) {
        let date: TemplateDate = "2024-07-06".parse().unwrap();
        assert_eq!(date.strftime(format).as_deref(), want, "{format}");
    }

    #[test]
    fn the_codes_templates_use_read_as_in_python() {
        check("%d %b %Y", Some("06 Jul 2024"));
        check("%B %-d, %Y", Some("July 6, 2024"));
        check("%A %a %j %e %y-%m %H:%M:%S 100%%", Some("Saturday Sat 188  6 24-07 00:00:00 100%"));
    }

    #[test]
    fn an_unknown_code_is_refused() {
        check("%Q", None);
        check(&"%A".repeat(1000), None);
    }

    #[test]
    fn text_round_trips_and_nonsense_is_named() {
        assert_eq!("2024-07-26".parse::<TemplateDate>().unwrap().to_string(), "2024-07-26");
        assert_eq!(
            "26 Jul".parse::<TemplateDate>().unwrap_err().to_string(),
            "expected a date like `2024-07-26`, found `26 Jul`"
        );
        assert!(TemplateDate::today() > "2024-01-01".parse().unwrap());
    }
}
