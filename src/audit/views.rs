//! What the SQL of checks is written over.
//!
//! | name | rows |
//! |---|---|
//! | `pairs`, `scored` | as in `piref sql` |
//! | `audited` | `scored`, and the columns below, null where a table has none |
//! | `suspects` | evidence that a label is swapped: `views/suspects.sql` |
//! | `other`, `other_scored` | a second model's table, where one is named |
//! | `trusted` | the file of trusted pairs, where one is named |
//!
//! Columns of `audited` beside those of `scored`: `score_chosen`, `score_rejected` (scores of the data), `truth` (whether
//! the label is known to be swapped), `is_trusted` (whether that may be learnt from), `other_chosen_logps`, `other_rejected_logps` (of the second model, nats),
//! `implicit_margin` = (c′ − c) − (r′ − r) and the same a token, `implicit_margin_mean`; the numbers of
//! `schemas/signals.v1.toml` where stage one wrote them. `suspects` has `p_flipped` where trusted pairs calibrate it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;

use super::source_columns::{ScoreColumns, SourceColumn};
use super::trusted::Trusted;
use super::{AuditError, Plan};
use crate::error::nearest;
use crate::query::{Resources, RowOrder, Session};
use crate::table::schema::signals;
use crate::table::{ReferenceTable, TableError, references};

/// Views that are the same for every table.
pub(super) const STATIC: &[(&str, &str)] = &[("suspects", include_str!("views/suspects.sql"))];

/// What `suspects` has for the probability of a swap until it is calibrated.
const NO_PROBABILITY: &str = "CAST(NULL AS DOUBLE) AS p_flipped";

/// Why a column is missing, where that can be changed.
const REASONS: [(&str, &str); 5] = [
    ("other_chosen_logps", "no second model is named: see `--reference`"),
    ("other_rejected_logps", "no second model is named: see `--reference`"),
    ("score_chosen", "no scores were found in the data: see `--score-columns`"),
    ("score_rejected", "no scores were found in the data: see `--score-columns`"),
    ("truth", "no column with the truth is named: see `--truth` and `--trusted`"),
];

/// Why a signal is missing.
const NO_SIGNALS: &str = "the table has no signals: `piref precompute --fresh` writes them";

/// The tables a check can ask, and what they have.
pub(super) struct Views {
    pub(super) session: Session,
    /// Where the scores of the data were found.
    pub(super) scores: Option<ScoreColumns>,
    /// The file of trusted pairs, where there is one.
    pub(super) trusted: Option<Trusted>,
    /// Columns of `audited`, with their type.
    columns: BTreeMap<String, String>,
    /// Columns that have a value in some row, of those that were asked for.
    filled: BTreeMap<String, bool>,
}

impl Views {
    /// # Errors
    /// If the table cannot be read, or a column or a reference that the plan names is not there.
    pub(super) fn open(plan: &Plan, table: &ReferenceTable) -> Result<Self, AuditError> {
        // Two audits of one table say the same to the bit, whatever the machine.
        let (memory_limit, row_order) = (plan.memory_limit, RowOrder::OfFiles);
        let mut session = Session::with(Resources { memory_limit, row_order, ..Resources::default() })?;
        session.register_pairs(table.path())?;
        let columns = columns(&session, "scored")?;
        let scores = match plan.scores.as_deref() {
            Some([chosen, rejected]) => Some(ScoreColumns {
                chosen: SourceColumn::named(&session, chosen, &columns)?,
                rejected: SourceColumn::named(&session, rejected, &columns)?,
            }),
            Some(others) => return Err(AuditError::ScoreColumns { found: others.join(",") }),
            None => ScoreColumns::find(&session, &columns)?,
        };
        let truth = plan.truth.as_deref().map(|name| SourceColumn::named(&session, name, &columns)).transpose()?;
        let trusted = plan.trusted.as_deref();
        let trusted = trusted.map(|path| Trusted::register(&mut session, path, truth.is_some())).transpose()?;
        let has_other = match &plan.reference {
            Some(name) => register_other(&mut session, table, name).map(|()| true)?,
            None => false,
        };
        let added = Added { scores: scores.as_ref(), truth: truth.as_ref(), trusted: trusted.as_ref(), has_other };
        session.query(&audited(&columns, &added))?;
        for (_, view) in STATIC {
            session.query(view)?;
        }
        let columns = self::columns(&session, "audited")?;
        Ok(Self { session, scores, trusted, columns, filled: BTreeMap::new() })
    }

    /// Gives `suspects` a probability of a swap, in SQL over its other columns.
    pub(super) fn calibrate(&self, probability: &str) -> Result<(), AuditError> {
        for (_, view) in STATIC.iter().filter(|(_, view)| view.contains(NO_PROBABILITY)) {
            let view = view.replacen("CREATE VIEW", "CREATE OR REPLACE VIEW", 1);
            self.session.query(&view.replacen(NO_PROBABILITY, &format!("{probability} AS p_flipped"), 1))?;
        }
        Ok(())
    }

    /// Looks once which of these columns have a value in some row.
    pub(super) fn look_at<'a>(&mut self, needs: impl Iterator<Item = &'a str>) -> Result<(), AuditError> {
        let wanted: BTreeSet<&str> = needs.filter(|column| self.columns.contains_key(*column)).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let counts: Vec<String> = wanted
            .iter()
            .map(|column| match self.columns[*column].as_str() {
                "Utf8" | "Utf8View" | "LargeUtf8" => format!("count(nullif({}, ''))", quoted(column)),
                _ => format!("count({})", quoted(column)),
            })
            .collect();
        for batch in self.session.query(&format!("SELECT {} FROM audited", counts.join(", ")))? {
            for (column, count) in wanted.iter().zip(batch.columns()) {
                let count = count.as_primitive_opt::<Int64Type>().filter(|count| !count.is_empty());
                self.filled.insert((*column).to_owned(), count.is_some_and(|count| count.value(0) > 0));
            }
        }
        Ok(())
    }

    /// Why a check with these needs cannot look; `None` where it can.
    pub(super) fn lack(&self, needs: &[String]) -> Option<String> {
        let is_lacking = |column: &&String| !self.filled.get(*column).copied().unwrap_or_default();
        let mut reasons: Vec<String> = Vec::new();
        for column in needs.iter().filter(is_lacking) {
            let reason = match REASONS.iter().find(|(known, _)| known == column) {
                Some((_, reason)) => (*reason).to_owned(),
                None if signals::numbers().any(|signal| signal.name == *column) => NO_SIGNALS.to_owned(),
                None if self.columns.contains_key(column) => format!("`{column}` is empty in every row"),
                None => format!("the table has no column `{column}`"),
            };
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }
}

/// Columns of a table with their types.
pub(super) fn columns(session: &Session, table: &str) -> Result<BTreeMap<String, String>, AuditError> {
    let sql = format!("SELECT column_name, data_type FROM information_schema.columns WHERE table_name = '{table}'");
    let mut columns = BTreeMap::new();
    for batch in session.query(&sql)? {
        let text = |at: usize| batch.column(at).as_string_opt::<i32>().into_iter().flatten();
        let pairs = text(0).zip(text(1)).filter_map(|(name, kind)| Some((name?.to_owned(), kind?.to_owned())));
        columns.extend(pairs);
    }
    Ok(columns)
}

/// Makes a second model's table `other`: a further reference by its name, or any table by its path.
fn register_other(session: &mut Session, table: &ReferenceTable, name: &str) -> Result<(), AuditError> {
    let known = references(table.path())?;
    let folder = match known.iter().find(|(known, _)| known == name) {
        Some((_, folder)) => folder.clone(),
        None if Path::new(name).is_dir() => name.into(),
        None => {
            let known = known.into_iter().map(|(name, _)| name).collect();
            return Err(TableError::NoReference { path: table.path().to_owned(), name: name.to_owned(), known }.into());
        }
    };
    session.register_as("other", &folder)?;
    Ok(())
}

/// What `audited` has beside `scored`.
struct Added<'a> {
    scores: Option<&'a ScoreColumns>,
    truth: Option<&'a SourceColumn>,
    trusted: Option<&'a Trusted>,
    has_other: bool,
}

fn audited(columns: &BTreeMap<String, String>, Added { scores, truth, trusted, has_other }: &Added<'_>) -> String {
    let number = |column: Option<&SourceColumn>| column.map_or_else(null_number, SourceColumn::number);
    let truth = truth.map(SourceColumn::truth);
    let (truth, is_trusted) = match trusted {
        // A file says of which pairs the truth may be learnt; the others measure what was learnt.
        Some(trusted) => (trusted.truth(truth), "t.trusted_id IS NOT NULL"),
        None => (truth.unwrap_or_else(|| "CAST(NULL AS BOOLEAN)".into()), "true"),
    };
    let mut added = vec![
        ("score_chosen", number(scores.map(|scores| &scores.chosen))),
        ("score_rejected", number(scores.map(|scores| &scores.rejected))),
        ("truth", truth),
        ("is_trusted", is_trusted.into()),
    ];
    if *has_other {
        added.extend([
            ("other_chosen_logps", "o.other_chosen_logps".to_owned()),
            ("other_rejected_logps", "o.other_rejected_logps".to_owned()),
            ("implicit_margin", "o.other_chosen_logps - o.other_rejected_logps - s.ref_margin".to_owned()),
            ("implicit_margin_mean", "o.other_margin_mean - s.ref_margin_mean".to_owned()),
        ]);
    } else {
        let names = ["other_chosen_logps", "other_rejected_logps", "implicit_margin", "implicit_margin_mean"];
        added.extend(names.map(|name| (name, null_number())));
    }
    let missing = signals::numbers().map(|signal| signal.name).filter(|name| !columns.contains_key(*name));
    added.extend(missing.map(|name| (name, null_number())));
    // What the source has under these names is read through them.
    let kept: Vec<String> = columns
        .keys()
        .filter(|column| !added.iter().any(|(name, _)| name == column))
        .map(|column| format!("s.{}", quoted(column)))
        .collect();
    let added: Vec<String> = added.into_iter().map(|(name, sql)| format!("{sql} AS {name}")).collect();
    // As in `by_reference`: the first row of a pair speaks for its repetitions.
    let other = "LEFT JOIN (SELECT DISTINCT ON (pair_id) pair_id AS other_pair_id, \
                 ref_chosen_logps AS other_chosen_logps, ref_rejected_logps AS other_rejected_logps, \
                 ref_chosen_logps / chosen_tokens - ref_rejected_logps / rejected_tokens AS other_margin_mean \
                 FROM other ORDER BY pair_id, source, row_idx) AS o ON s.pair_id = o.other_pair_id";
    format!(
        "CREATE VIEW audited AS SELECT {}, {} FROM scored AS s {}{}",
        kept.join(", "),
        added.join(", "),
        if *has_other { other } else { "" },
        trusted.map(Trusted::join).unwrap_or_default()
    )
}

fn null_number() -> String {
    "CAST(NULL AS DOUBLE)".into()
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The error of a column that is not there.
pub(super) fn no_column<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> AuditError {
    let nearest = nearest(name, known).map(str::to_owned);
    AuditError::NoColumn { column: name.to_owned(), nearest }
}
