//! Views that come with a table.

use arrow::datatypes::Schema;

use crate::table::schema::signals;

/// What stands behind the name of a column of the data where a view has a column of its own under that name: as in a table
/// whose own columns have it.
const IN_DATA: &str = "_in_data";

/// Columns of `scored` beside those of `pairs`, with their SQL. Lengths are in characters, averages in nats a token.
const SCORED: [(&str, &str); 7] = [
    ("ref_margin", "ref_chosen_logps - ref_rejected_logps"),
    ("ref_chosen_logps_mean", "ref_chosen_logps / chosen_tokens"),
    ("ref_rejected_logps_mean", "ref_rejected_logps / rejected_tokens"),
    ("ref_margin_mean", "ref_chosen_logps / chosen_tokens - ref_rejected_logps / rejected_tokens"),
    ("prompt_chars", "character_length(prompt)"),
    ("chosen_chars", "character_length(chosen)"),
    ("rejected_chars", "character_length(rejected)"),
];

/// Statement that makes the view `name` over the table `pairs`, and over that of its signals where it has any.
///
/// A column of the data that has a name of ours is there under another one, [`moved_aside`]: whoever asks for `ref_margin`
/// gets what the reference said, whatever a data set calls so.
///
/// Signals are a function of the token ids, so a row finds its own by `tokens_id`, in whichever row of the table they
/// stand; one of several equal ones speaks for all, and no row is joined twice. Lists stay in the table of the signals.
pub(super) fn scored(name: &str, pairs: &str, schema: &Schema, signals: Option<&str>) -> String {
    let moved = moved_aside(schema);
    let own = |column: &str| match moved.iter().find(|moved| moved.column == column) {
        Some(moved) => format!("p.{} AS {}", quoted(column), quoted(&moved.name)),
        None => format!("p.{}", quoted(column)),
    };
    let mut columns: Vec<String> = schema.fields().iter().map(|field| own(field.name())).collect();
    columns.extend(SCORED.iter().map(|(column, sql)| format!("{sql} AS {column}")));
    let Some(signals) = signals else {
        return format!("CREATE VIEW {} AS SELECT {} FROM {} AS p", quoted(name), columns.join(", "), quoted(pairs));
    };
    let numbers: Vec<&str> = signals::numbers().map(|column| column.name).collect();
    columns.extend(numbers.iter().map(|column| format!("s.{column}")));
    let equal_ones: Vec<String> = numbers.iter().map(|column| format!("min({column}) AS {column}")).collect();
    format!(
        "CREATE VIEW {} AS SELECT {} FROM {} AS p LEFT JOIN (SELECT tokens_id AS signals_of, {} FROM {} GROUP \
         BY tokens_id) AS s ON p.tokens_id = s.signals_of",
        quoted(name),
        columns.join(", "),
        quoted(pairs),
        equal_ones.join(", "),
        quoted(signals)
    )
}

/// A column of the data under another name than in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedAside {
    /// In the table, and in `pairs`.
    pub column: String,
    /// In `scored`, and in whatever is read through it.
    pub name: String,
}

impl std::fmt::Display for MovedAside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { column, name } = self;
        write!(f, "the data's column `{column}` is `{name}` in `scored`, where `{column}` is what piref computes")
    }
}

/// The columns of a table that `scored` has under another name, for it has one of its own under theirs. The signals are
/// columns of its own in a table without signals too: what a data set calls `ref_ches` is never the reference's.
pub fn moved_aside(schema: &Schema) -> Vec<MovedAside> {
    let is_ours = |column: &str| {
        SCORED.iter().any(|(ours, _)| *ours == column) || signals::numbers().any(|ours| ours.name == column)
    };
    let mut moved: Vec<MovedAside> = Vec::new();
    for field in schema.fields().iter().filter(|field| is_ours(field.name())) {
        let mut name = field.name().clone();
        while is_ours(&name) || schema.field_with_name(&name).is_ok() || moved.iter().any(|moved| moved.name == name) {
            name.push_str(IN_DATA);
        }
        moved.push(MovedAside { column: field.name().clone(), name });
    }
    moved
}

/// Statement that makes the view `name`: one row a completion token of the table `pairs`, with its log-prob in nats, null
/// in a table that was imported without them. `with_text` adds the text of the token.
pub(super) fn logps(name: &str, pairs: &str, with_text: bool) -> String {
    let side = |side: &str| {
        format!(
            "SELECT pair_id, source, row_idx, '{side}' AS side, unnest(range(0, CAST({side}_tokens AS BIGINT))) AS position, \
             unnest({side}_ids) AS token_id, unnest(ref_{side}_token_logps) AS logp FROM {}",
            quoted(pairs)
        )
    };
    let text = if with_text { "token_text(token_id) AS token, " } else { "" };
    format!(
        "CREATE VIEW {} AS SELECT pair_id, source, row_idx, side, position, token_id, {text}logp FROM ({} UNION ALL {})",
        quoted(name),
        side("chosen"),
        side("rejected")
    )
}

/// A further reference, as the view over all of them names it.
pub(super) struct FurtherReference {
    /// Its table.
    pub(super) pairs: String,
    /// What its columns begin with.
    pub(super) prefix: String,
}

/// Statement that makes the view `name`: the rows of the table `pairs`, each beside what further references say of its
/// pair, null where they do not have it.
///
/// A pair that a data set repeats is in every table several times. Its repetitions differ by rounding at most, so the
/// first of them speaks for all, and no row is joined twice.
pub(super) fn by_reference(name: &str, pairs: &str, further: &[FurtherReference]) -> String {
    let own =
        ["pair_id", "source", "row_idx", "chosen_tokens", "rejected_tokens", "ref_chosen_logps", "ref_rejected_logps"];
    let mut columns: Vec<String> = own.map(|column| format!("p.{column}")).to_vec();
    columns.push("p.ref_chosen_logps - p.ref_rejected_logps AS ref_margin".into());
    let mut joins = Vec::new();
    for (idx, FurtherReference { pairs, prefix }) in further.iter().enumerate() {
        let of = format!("r{idx}");
        for (column, sql) in [
            ("chosen_logps", format!("{of}.ref_chosen_logps")),
            ("rejected_logps", format!("{of}.ref_rejected_logps")),
            ("margin", format!("{of}.ref_chosen_logps - {of}.ref_rejected_logps")),
            ("chosen_tokens", format!("{of}.chosen_tokens")),
            ("rejected_tokens", format!("{of}.rejected_tokens")),
        ] {
            columns.push(format!("{sql} AS {}", quoted(&format!("{prefix}_{column}"))));
        }
        joins.push(format!(
            "LEFT JOIN (SELECT DISTINCT ON (pair_id) pair_id, ref_chosen_logps, ref_rejected_logps, chosen_tokens, \
             rejected_tokens FROM {} ORDER BY pair_id, source, row_idx) AS {of} ON p.pair_id = {of}.pair_id",
            quoted(pairs)
        ));
    }
    format!(
        "CREATE VIEW {} AS SELECT {} FROM {} AS p {}",
        quoted(name),
        columns.join(", "),
        quoted(pairs),
        joins.join(" ")
    )
}

/// A name as SQL takes it, whatever is in it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
