//! Views that come with a table.

use arrow::datatypes::Schema;

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

/// Statement that makes the view `name` over the table `pairs`.
///
/// A column of the source that has a name of ours stays, and ours is left out: the source wins, as in the table.
pub(super) fn scored(name: &str, pairs: &str, schema: &Schema) -> String {
    let columns: Vec<String> = SCORED
        .iter()
        .filter(|(column, _)| schema.field_with_name(column).is_err())
        .map(|(column, sql)| format!("{sql} AS {column}"))
        .collect();
    format!("CREATE VIEW {} AS SELECT *, {} FROM {}", quoted(name), columns.join(", "), quoted(pairs))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
