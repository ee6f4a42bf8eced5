//! Columns of the data set that a check reads: a column itself, or a key inside one that holds JSON text.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use super::AuditError;
use super::views::{no_column, quoted};
use crate::query::Session;

/// Names that data sets give the scores of chosen and rejected.
const SCORES: [[&str; 2]; 5] = [
    ["score_chosen", "score_rejected"],
    ["chosen_score", "rejected_score"],
    ["chosen-rating", "rejected-rating"],
    ["chosen_rating", "rejected_rating"],
    ["rating_chosen", "rating_rejected"],
];

/// A column, or a key in the JSON text of one: the first of that name, at any depth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourceColumn {
    column: String,
    key: Option<String>,
}

impl SourceColumn {
    /// What `column` or `column.key` names; keys on the way (`metadata.noise.selected`) are not looked at.
    ///
    /// # Errors
    /// If there is no such column, or the key is not made of letters, digits, `_` and `-`.
    pub(super) fn named(name: &str, columns: &BTreeMap<String, String>) -> Result<Self, AuditError> {
        if columns.contains_key(name) {
            return Ok(Self { column: name.to_owned(), key: None });
        }
        let is_plain =
            |key: &str| !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
        match (name.split_once('.'), name.rsplit_once('.')) {
            (Some((column, _)), Some((_, key))) if columns.contains_key(column) && is_plain(key) => {
                Ok(Self { column: column.to_owned(), key: Some(key.to_owned()) })
            }
            _ => Err(no_column(name, columns)),
        }
    }

    /// Its value as a number, in SQL; null where it is none.
    pub(super) fn number(&self) -> String {
        format!("TRY_CAST({} AS DOUBLE)", self.text())
    }

    /// Its value as true or false, in SQL; null where it is neither.
    pub(super) fn truth(&self) -> String {
        truth(&self.text())
    }

    /// As a user would name it.
    pub(super) fn name(&self) -> String {
        self.key.as_ref().map_or_else(|| self.column.clone(), |key| format!("{}.{key}", self.column))
    }

    fn text(&self) -> String {
        let column = format!("CAST(s.{} AS VARCHAR)", quoted(&self.column));
        match &self.key {
            None => column,
            Some(key) => format!(r#"regexp_match({column}, '"{key}"\s*:\s*"?([-+0-9.a-zA-Z]+)')[1]"#),
        }
    }
}

/// Where the data have scores of both answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScoreColumns {
    pub(super) chosen: SourceColumn,
    pub(super) rejected: SourceColumn,
}

impl ScoreColumns {
    /// Scores under one of the usual names, as columns or in JSON text.
    pub(super) fn find(session: &Session, columns: &BTreeMap<String, String>) -> Result<Option<Self>, AuditError> {
        let is_there = |name: &&str| columns.contains_key(*name);
        if let Some([chosen, rejected]) = SCORES.iter().find(|names| names.iter().all(is_there)) {
            let column = |name: &str| SourceColumn { column: name.to_owned(), key: None };
            return Ok(Some(Self { chosen: column(chosen), rejected: column(rejected) }));
        }
        let texts = columns.iter().filter(|(name, kind)| kind.starts_with("Utf8") && !is_ours(name));
        for (column, _) in texts {
            for names in SCORES {
                let tests = names.map(|name| format!(r#"strpos({}, '"{name}":') > 0"#, quoted(column)));
                let sql = format!("SELECT count(*) FROM scored WHERE {}", tests.join(" AND "));
                let mut n_rows = 0;
                for batch in session.query(&sql)? {
                    let counts = batch.column(0).as_primitive_opt::<Int64Type>();
                    n_rows += counts.map_or(0, |counts| counts.values().iter().sum::<i64>());
                }
                if n_rows > 0 {
                    let [chosen, rejected] = names.map(|key| Self::key(column, key));
                    return Ok(Some(Self { chosen, rejected }));
                }
            }
        }
        Ok(None)
    }

    fn key(column: &str, key: &str) -> SourceColumn {
        SourceColumn { column: column.to_owned(), key: Some(key.to_owned()) }
    }
}

/// What a text in SQL says, in SQL: true, false, or null where it is neither.
pub(super) fn truth(text: &str) -> String {
    format!(
        "CASE WHEN lower({text}) IN ('true', '1', '1.0') THEN true WHEN lower({text}) IN ('false', '0', '0.0') THEN false END"
    )
}

/// Texts of the contract, which are not looked into.
fn is_ours(column: &str) -> bool {
    crate::table::schema::reference::COLUMNS.iter().any(|known| known.name == column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> BTreeMap<String, String> {
        ["metadata", "chosen_score", "a.b"].map(|name| (name.to_owned(), "Utf8".to_owned())).into()
    }

    #[test]
    fn columns_and_keys_are_named() {
        let named = |name: &str| SourceColumn::named(name, &columns()).unwrap().name();
        assert_eq!(named("chosen_score"), "chosen_score");
        assert_eq!(named("metadata.noise.selected"), "metadata.selected");
        // A column wins over a key.
        assert_eq!(named("a.b"), "a.b");
    }

    #[test]
    fn a_truth_is_true_false_or_unknown() {
        let session = Session::new().unwrap();
        for (text, want) in [
            ("'True'", Some(true)),
            ("'1'", Some(true)),
            ("'FALSE'", Some(false)),
            ("'0.0'", Some(false)),
            ("'yes'", None),
        ] {
            let batches = session.query(&format!("SELECT {}", truth(text))).unwrap();
            let found = batches[0].column(0).as_boolean();
            assert_eq!(found.iter().next().unwrap(), want, "{text}");
        }
    }

    #[test]
    fn what_is_not_there_or_no_name_is_refused() {
        for name in ["chosen_scor", "data.x", "metadata.", "metadata.a'b"] {
            assert!(matches!(SourceColumn::named(name, &columns()), Err(AuditError::NoColumn { .. })), "{name}");
        }
    }
}
