//! Columns of the data set that a check reads: a column itself, or a value inside one that holds JSON text.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::AsArray;

use super::AuditError;
use super::views::{no_column, quoted};
use crate::query::{Session, Step, scalar_paths};

/// Names that data sets give the scores of chosen and rejected.
const SCORES: [[&str; 2]; 5] = [
    ["score_chosen", "score_rejected"],
    ["chosen_score", "rejected_score"],
    ["chosen-rating", "rejected-rating"],
    ["chosen_rating", "rejected_rating"],
    ["rating_chosen", "rating_rejected"],
];

/// Paths within a column that are told apart: a map of ids has a new one in every row.
const MAX_PATHS: usize = 4096;

/// Items of a list that have a path each.
const MAX_ITEMS: usize = 16;

/// A column, or a value at a path in the JSON text of one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SourceColumn {
    column: String,
    path: Vec<Step>,
}

impl SourceColumn {
    /// What `column`, `column.key` or `column.key.key` names: the value at that path or, where no row has one, the only value
    /// whose path ends like this (`metadata.selected` for `metadata.noise.selected`). Positions in lists are numbers from 0.
    ///
    /// # Errors
    /// If there is no such column or path, or several paths end like this.
    pub(super) fn named(session: &Session, name: &str, columns: &BTreeMap<String, String>) -> Result<Self, AuditError> {
        if columns.contains_key(name) {
            return Ok(Self::whole(name));
        }
        let (mut exact, mut ending, mut known) = (Vec::new(), Vec::new(), Vec::new());
        // A column may have dots in its name, and so may a key.
        for (dot, _) in name.match_indices('.') {
            let (column, rest) = (&name[..dot], &name[dot + 1..]);
            if rest.is_empty() || !columns.get(column).is_some_and(|kind| kind.starts_with("Utf8")) {
                continue;
            }
            for path in paths(session, column)? {
                let found = Self { column: column.to_owned(), path };
                let spelt = spelt(&found.path);
                if spelt == rest {
                    exact.push(found);
                } else if spelt.strip_suffix(rest).is_some_and(|before| before.ends_with('.')) {
                    ending.push(found);
                } else {
                    known.push(found.name());
                }
            }
        }
        let found = if exact.is_empty() { ending } else { exact };
        match found.as_slice() {
            [] => Err(no_column(name, columns.keys().map(String::as_str).chain(known.iter().map(String::as_str)))),
            [one] => Ok(one.clone()),
            several => Err(AuditError::Ambiguous {
                column: name.to_owned(),
                found: several.iter().map(Self::name).collect::<Vec<_>>().join("`, `"),
            }),
        }
    }

    fn whole(column: &str) -> Self {
        Self { column: column.to_owned(), path: Vec::new() }
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
        if self.path.is_empty() { self.column.clone() } else { format!("{}.{}", self.column, spelt(&self.path)) }
    }

    fn text(&self) -> String {
        let column = format!("CAST(s.{} AS VARCHAR)", quoted(&self.column));
        if self.path.is_empty() {
            return column;
        }
        let step = |step: &Step| match step {
            Step::Key(key) => format!("'{}'", key.replace('\'', "''")),
            Step::Item(at) => at.to_string(),
        };
        format!("json_as_text({column}, {})", self.path.iter().map(step).collect::<Vec<_>>().join(", "))
    }
}

/// A path as a user writes it.
fn spelt(path: &[Step]) -> String {
    let step = |step: &Step| match step {
        Step::Key(key) => key.clone(),
        Step::Item(at) => at.to_string(),
    };
    path.iter().map(step).collect::<Vec<_>>().join(".")
}

/// The paths to scalars in the JSON texts of a column, of all rows.
fn paths(session: &Session, column: &str) -> Result<BTreeSet<Vec<Step>>, AuditError> {
    let mut paths = BTreeSet::new();
    let name = quoted(column);
    let sql =
        format!("SELECT CAST({name} AS VARCHAR) FROM scored WHERE ltrim({name}) LIKE '{{%' OR ltrim({name}) LIKE '[%'");
    for batch in session.read(&sql)? {
        let texts = arrow::compute::cast(batch?.column(0), &arrow::datatypes::DataType::Utf8);
        let Ok(texts) = texts else { continue };
        for text in texts.as_string::<i32>().iter().flatten() {
            scalar_paths(text, MAX_ITEMS, &mut |path| {
                if paths.len() < MAX_PATHS && !paths.contains(path) {
                    paths.insert(path.to_vec());
                }
            });
        }
    }
    Ok(paths)
}

/// Where the data have scores of both answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScoreColumns {
    pub(super) chosen: SourceColumn,
    pub(super) rejected: SourceColumn,
}

impl ScoreColumns {
    /// Scores under one of the usual names, as columns or in JSON text, where each name leads to one value.
    pub(super) fn find(session: &Session, columns: &BTreeMap<String, String>) -> Result<Option<Self>, AuditError> {
        let is_there = |name: &&str| columns.contains_key(*name);
        if let Some([chosen, rejected]) = SCORES.iter().find(|names| names.iter().all(is_there)) {
            return Ok(Some(Self { chosen: SourceColumn::whole(chosen), rejected: SourceColumn::whole(rejected) }));
        }
        let texts = columns.iter().filter(|(name, kind)| kind.starts_with("Utf8") && !is_ours(name));
        for (column, _) in texts {
            let paths = paths(session, column)?;
            let only = |name: &str| {
                let is_last = |path: &&Vec<Step>| matches!(path.last(), Some(Step::Key(key)) if key == name);
                let mut found = paths.iter().filter(is_last);
                let path = found.next().filter(|_| found.next().is_none())?;
                Some(SourceColumn { column: column.clone(), path: path.clone() })
            };
            for [chosen, rejected] in SCORES {
                if let (Some(chosen), Some(rejected)) = (only(chosen), only(rejected)) {
                    return Ok(Some(Self { chosen, rejected }));
                }
            }
        }
        Ok(None)
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

    /// A session whose pairs have JSON text in a column.
    fn session() -> (Session, BTreeMap<String, String>) {
        let session = Session::new().unwrap();
        let rows = [
            r#"{"noise": {"selected": true, "score": 1}, "judge": {"chosen": {"score": 9}, "rejected": {"score": 3}}, "l": [5, 7]}"#,
            r#"{"quality": {"selected": false}, "it's": "0.5", "x.y": 2, "alone": {"here": 1}}"#,
        ];
        let rows = rows.map(|row| format!("('{}')", row.replace('\'', "''"))).join(", ");
        session.query(&format!("CREATE VIEW scored AS SELECT * FROM (VALUES {rows}) AS v(metadata)")).unwrap();
        (session, ["metadata", "chosen_score", "a.b"].map(|name| (name.to_owned(), "Utf8".to_owned())).into())
    }

    /// What a name leads to, and what each row has there.
    fn named(name: &str) -> Result<(String, Vec<Option<String>>), AuditError> {
        let (session, columns) = session();
        let column = SourceColumn::named(&session, name, &columns)?;
        let batches = session.query(&format!("SELECT {} FROM scored AS s", column.text())).unwrap();
        let values = batches.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter());
        Ok((column.name(), values.map(|value| value.map(str::to_owned)).collect()))
    }

    #[test]
    fn a_value_is_found_by_its_path_and_not_by_its_last_key() {
        for (name, want, first, second) in [
            ("metadata.noise.selected", "metadata.noise.selected", Some("true"), None),
            ("metadata.quality.selected", "metadata.quality.selected", None, Some("false")),
            ("metadata.judge.chosen.score", "metadata.judge.chosen.score", Some("9"), None),
            ("metadata.chosen.score", "metadata.judge.chosen.score", Some("9"), None),
            ("metadata.here", "metadata.alone.here", None, Some("1")),
            ("metadata.it's", "metadata.it's", None, Some("0.5")),
            ("metadata.x.y", "metadata.x.y", None, Some("2")),
            ("metadata.l.1", "metadata.l.1", Some("7"), None),
        ] {
            let values = [first, second].map(|value| value.map(str::to_owned)).to_vec();
            assert_eq!(named(name).unwrap(), (want.to_owned(), values), "{name}");
        }
    }

    #[test]
    fn a_column_wins_over_a_key() {
        let (session, columns) = session();
        for name in ["chosen_score", "a.b"] {
            assert_eq!(SourceColumn::named(&session, name, &columns).unwrap().name(), name);
        }
    }

    #[test]
    fn a_key_at_several_places_is_refused_with_all_of_them() {
        let AuditError::Ambiguous { found, .. } = named("metadata.selected").unwrap_err() else { panic!() };
        assert_eq!(found, "metadata.noise.selected`, `metadata.quality.selected");
        assert!(matches!(named("metadata.score"), Err(AuditError::Ambiguous { .. })));
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
    fn what_is_not_there_is_refused_with_what_is_near() {
        for name in ["chosen_scor", "data.x", "metadata.", "metadata.nowhere", "metadata.quality", "metadata.l.9"] {
            assert!(matches!(named(name), Err(AuditError::NoColumn { .. })), "{name}");
        }
        let AuditError::NoColumn { nearest, .. } = named("metadata.noise.selectd").unwrap_err() else { panic!() };
        assert_eq!(nearest.as_deref(), Some("metadata.noise.selected"));
    }
}
