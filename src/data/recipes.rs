//! Layouts of preference data that are no pairs as they stand, and the query that makes pairs of each.
//!
//! Which answer is the better one is said in another column (`winner`, a rank, a score, a label), or a row holds more than
//! two answers, or a prompt is in two columns. Read as they are, half of such pairs would be the wrong way round, or their
//! prompts cut short; so they are refused with the query, and a test runs each query as it is printed.

use std::path::Path;

use serde_json::{Map, Value};

use super::message::is_turns;

/// What a file was recognised as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recognised {
    /// In words: `ranked answers`.
    pub what: &'static str,
    /// What makes pairs of it; `FROM` stands for the file. None where no query is needed, or does.
    pub(super) query: Option<String>,
    /// The columns to name, where that is enough.
    pub(super) map: Option<String>,
    /// The two columns of answers of which another column says which is better, and that column.
    pub(super) judged: Option<[String; 3]>,
}

/// Columns that hold a prompt.
const PROMPTS: [&str; 6] = ["prompt", "instruction", "question", "context", "query", "history"];

/// Columns that hold several answers.
const LISTS: [&str; 6] = ["completions", "answers", "responses", "generations", "outputs", "candidates"];

/// Where an answer of a list has its text.
const TEXTS: [&str; 6] = ["response", "completion", "answer", "text", "content", "output"];

/// Where it has what it is ordered by, best first by the order beside it.
const ORDERS: [(&str, &str); 6] = [
    ("rank", "ASC"),
    ("ranking", "ASC"),
    ("overall_score", "DESC"),
    ("score", "DESC"),
    ("rating", "DESC"),
    ("reward", "DESC"),
];

/// Two answers side by side.
const SIDES: [[&str; 2]; 15] = [
    ["conversation_a", "conversation_b"],
    ["response_a", "response_b"],
    ["answer_a", "answer_b"],
    ["completion_a", "completion_b"],
    ["output_a", "output_b"],
    ["human_ref_A", "human_ref_B"],
    ["response_0", "response_1"],
    ["answer_0", "answer_1"],
    ["completion_0", "completion_1"],
    ["response1", "response2"],
    ["response_1", "response_2"],
    ["answer_1", "answer_2"],
    ["completion_1", "completion_2"],
    ["output_1", "output_2"],
    ["answer1", "answer2"],
];

/// The prompt of Alpaca's two columns, as LLaMA-Factory joins them.
pub(super) const ALPACA_PROMPT: &str =
    "CASE WHEN input IS NULL OR input = '' THEN instruction ELSE instruction || chr(10) || input END AS prompt";

/// Makes an end of the row: pairs of the best and the worst answer of each, ties left out.
const BEST_AND_WORST: &str = "WHERE best <> worst ORDER BY id";

fn present<'a>(row: &'a Map<String, Value>, column: &str) -> Option<&'a Value> {
    row.get(column).filter(|value| !value.is_null())
}

fn recognised(what: &'static str, query: String) -> Recognised {
    Recognised { what, query: Some(query), map: None, judged: None }
}

/// What a row is that is no pair by its names.
pub(super) fn recognise(row: &Map<String, Value>) -> Option<Recognised> {
    alpaca(row)
        .or_else(|| labelled(row))
        .or_else(|| listed(row))
        .or_else(|| judged(row))
        .or_else(|| several_rejected(row))
        .or_else(|| other_case(row))
        .or_else(|| other_types(row))
        .or_else(|| one_row(row))
}

/// `instruction` and `input`, before two answers or a list of them.
fn alpaca(row: &Map<String, Value>) -> Option<Recognised> {
    let text = |name: &str| present(row, name).is_some_and(Value::is_string);
    if !text("instruction")
        || !row.contains_key("input")
        || !row.get("input").is_none_or(|v| v.is_null() || v.is_string())
    {
        return None;
    }
    let answers = present(row, "output").and_then(Value::as_array);
    if text("chosen") && text("rejected") {
        let query = format!("SELECT * EXCLUDE (instruction, input), {ALPACA_PROMPT} FROM");
        Some(recognised("Alpaca's `instruction` and `input` with two answers", query))
    } else if answers.is_some_and(|answers| answers.len() == 2 && answers.iter().all(Value::is_string)) {
        let query = format!("SELECT {ALPACA_PROMPT}, output[1] AS chosen, output[2] AS rejected FROM");
        Some(recognised("Alpaca's `instruction` and `input` with a list of two answers, the better one first", query))
    } else {
        None
    }
}

/// Single answers with a label: pairs are a good and a bad answer to one prompt.
fn labelled(row: &Map<String, Value>) -> Option<Recognised> {
    let is_good = match present(row, "label")? {
        Value::Bool(_) => "good.label AND NOT bad.label",
        Value::Number(_) => "good.label = 1 AND bad.label = 0",
        _ => return None,
    };
    (present(row, "prompt").is_some() && present(row, "completion").is_some()).then(|| {
        let query = format!(
            "SELECT good.prompt, good.completion AS chosen, bad.completion AS rejected FROM good JOIN bad ON good.prompt = \
             bad.prompt WHERE {is_good}"
        );
        recognised("unpaired answers with a label", query)
    })
}

/// A list of answers with scores or ranks, within or beside it.
fn listed(row: &Map<String, Value>) -> Option<Recognised> {
    let prompt = PROMPTS.into_iter().find(|name| present(row, name).is_some())?;
    for list in LISTS {
        let Some(answers) = present(row, list).and_then(Value::as_array) else { continue };
        let Some(first) = answers.first() else { continue };
        let (answer, order, direction, unnested) = if let Value::Object(first) = first {
            let has = |name: &str| first.get(name).is_some_and(|value| !value.is_null());
            let Some(text) = TEXTS.into_iter().find(|name| has(name)) else { continue };
            let Some((order, direction)) = ORDERS.into_iter().find(|(name, _)| has(name)) else { continue };
            let unnested = format!("unnest({list}) AS answer");
            (format!("answer['{text}']"), format!("answer['{order}']"), direction, unnested)
        } else {
            let is_numbers = |name: &str| {
                let values = present(row, name).and_then(Value::as_array);
                values.is_some_and(|v| v.len() == answers.len() && v.iter().all(Value::is_number))
            };
            let beside =
                [("scores", "DESC"), ("ratings", "DESC"), ("rewards", "DESC"), ("ranks", "ASC"), ("rank", "ASC")];
            let Some((order, direction)) = beside.into_iter().find(|(name, _)| is_numbers(name)) else { continue };
            let unnested = format!("unnest({list}) AS answer, unnest({order}) AS position");
            ("answer".to_owned(), "position".to_owned(), direction, unnested)
        };
        let reverse = if direction == "ASC" { "DESC" } else { "ASC" };
        let query = format!(
            "SELECT prompt, chosen, rejected FROM (SELECT id, first_value(prompt) AS prompt, first_value({answer} ORDER BY \
             {order} {direction}) AS chosen, first_value({answer} ORDER BY {order} {reverse}) AS rejected, max({order}) AS \
             best, min({order}) AS worst FROM (SELECT id, {prompt} AS prompt, {unnested} FROM (SELECT row_number() OVER () \
             AS id, * FROM)) GROUP BY id) {BEST_AND_WORST}"
        );
        return Some(recognised("ranked answers", query));
    }
    None
}

/// Two answers, and a column that says which one is better.
fn judged(row: &Map<String, Value>) -> Option<Recognised> {
    let [first, second] = SIDES.into_iter().find(|sides| sides.iter().all(|name| present(row, name).is_some()))?;
    let is_number = |name: &str| present(row, name).is_some_and(Value::is_number);
    let scores = ["score", "rating", "reward"].into_iter().find_map(|word| {
        let suffix = |side: &str| side.rsplit(['_']).next().map(|suffix| format!("{word}_{suffix}"));
        let names = [suffix(first)?, suffix(second)?];
        names.iter().all(|name| is_number(name)).then_some(names)
    });
    // Whether the first is better, and whether the second is.
    let (judge, better) = if present(row, "winner").is_some_and(Value::is_string) {
        let says = |side: &str| format!("lower(winner) IN ('model_{side}', '{side}')");
        let [a, b] = if first.ends_with(['a', 'A']) { ["a", "b"] } else { ["1", "2"] };
        let [a, b] = if first.ends_with('0') { ["0", "1"] } else { [a, b] };
        ("winner".to_owned(), [says(a), says(b)])
    } else if is_number("better_response_id") {
        ("better_response_id".to_owned(), ["better_response_id = 0".into(), "better_response_id = 1".into()])
    } else if is_number("winner_model_a") && is_number("winner_model_b") {
        ("winner_model_a".to_owned(), ["winner_model_a = 1".into(), "winner_model_b = 1".into()])
    } else if first == "human_ref_A" && is_number("labels") {
        ("labels".to_owned(), ["labels = 1".into(), "labels = 0".into()])
    } else if let Some(name) = ["overall_preference", "preference_strength"].into_iter().find(|name| is_number(name)) {
        (name.to_owned(), [format!("{name} < 0"), format!("{name} > 0")])
    } else if let Some([a, b]) = scores {
        (a.clone(), [format!("{a} > {b}"), format!("{b} > {a}")])
    } else {
        return None;
    };
    let quoted =
        |name: &str| if name.bytes().any(|b| b.is_ascii_uppercase()) { format!("\"{name}\"") } else { name.into() };
    let prompt = PROMPTS.into_iter().find(|name| present(row, name).is_some());
    let prompt = prompt.map(|name| format!("{name} AS prompt, ")).unwrap_or_default();
    let ([is_first, is_second], a, b) = (better, quoted(first), quoted(second));
    let query = format!(
        "SELECT {prompt}CASE WHEN {is_first} THEN {a} ELSE {b} END AS chosen, CASE WHEN {is_first} THEN {b} ELSE {a} END AS \
         rejected FROM WHERE {is_first} OR {is_second}"
    );
    Some(Recognised {
        what: "two answers and a column that says which is better",
        query: Some(query),
        map: None,
        judged: Some([first.to_owned(), second.to_owned(), judge]),
    })
}

/// Several rejected answers to one chosen one.
fn several_rejected(row: &Map<String, Value>) -> Option<Recognised> {
    let (chosen, rejected) = (present(row, "chosen")?, present(row, "rejected")?.as_array()?);
    let is_texts = !rejected.is_empty() && rejected.iter().all(Value::is_string);
    let is_conversations = !rejected.is_empty() && rejected.iter().all(|turns| turns.is_array() && is_turns(turns));
    if is_texts && chosen.is_string() || is_conversations && is_turns(chosen) {
        let query = "SELECT * EXCLUDE (rejected), unnest(rejected) AS rejected FROM";
        return Some(recognised("several rejected answers a row", query.into()));
    }
    let chosen = chosen.as_array()?;
    let is_one = chosen.len() == 1 && (is_texts && chosen[0].is_string() || is_conversations && is_turns(&chosen[0]));
    is_one.then(|| {
        let query = "SELECT * EXCLUDE (one, several), one AS chosen, unnest(several) AS rejected FROM (SELECT * EXCLUDE (chosen, \
                     rejected), chosen[1] AS one, rejected AS several FROM)";
        recognised("lists of chosen and of rejected answers", query.into())
    })
}

/// The right names in another case.
fn other_case(row: &Map<String, Value>) -> Option<Recognised> {
    let named =
        |role: &str| row.keys().find(|name| name.eq_ignore_ascii_case(role)).map(|name| (role.to_owned(), name));
    let found: Vec<_> =
        [named("prompt"), Some(named("chosen")?), Some(named("rejected")?)].into_iter().flatten().collect();
    if found.iter().all(|(role, name)| role == *name) {
        return None;
    }
    let columns = found.iter().map(|(role, name)| format!("{role}={name}")).collect::<Vec<_>>().join(",");
    let what = "pairs whose columns are written with capitals";
    Some(Recognised { what, query: None, map: Some(columns), judged: None })
}

/// The right names with numbers for texts.
fn other_types(row: &Map<String, Value>) -> Option<Recognised> {
    let is_bytes = |name: &&str| present(row, name).is_some_and(|v| v.get("bytes").is_some_and(Value::is_string));
    if let Some(what) = ["prompt", "chosen", "rejected"].iter().find(|name| is_bytes(name)).map(|name| match *name {
        "prompt" => "bytes that are no UTF-8 text in `prompt`",
        "chosen" => "bytes that are no UTF-8 text in `chosen`",
        _ => "bytes that are no UTF-8 text in `rejected`",
    }) {
        return Some(Recognised { what, query: None, map: None, judged: None });
    }
    let scalar = |name: &str| {
        present(row, name).is_some_and(|value| value.is_string() || value.is_number() || value.is_boolean())
    };
    if !["prompt", "chosen", "rejected"].into_iter().all(scalar) {
        return None;
    }
    let column = |name: &str| format!("CAST({name} AS VARCHAR) AS {name}");
    let columns = ["prompt", "chosen", "rejected"].map(column).join(", ");
    let query = format!("SELECT * EXCLUDE (prompt, chosen, rejected), {columns} FROM");
    Some(recognised("pairs with numbers or booleans where texts are expected", query))
}

/// A file that is one object: a list of rows in it, or columns as lists.
fn one_row(row: &Map<String, Value>) -> Option<Recognised> {
    let lists: Vec<(&String, &Vec<Value>)> = row.iter().filter_map(|(name, v)| Some((name, v.as_array()?))).collect();
    if let ([(name, rows)], true) = (lists.as_slice(), present(row, "prompt").is_none())
        && let Some(Value::Object(first)) = rows.first()
        && ["chosen", "rejected"].into_iter().all(|column| first.contains_key(column))
    {
        let columns = first.keys().map(|name| format!("item['{name}'] AS \"{name}\"")).collect::<Vec<_>>().join(", ");
        let query = format!("SELECT {columns} FROM (SELECT unnest(\"{name}\") AS item FROM)");
        return Some(recognised("one object with a list of pairs in it", query));
    }
    let by_column = |name: &str| present(row, name).is_some_and(|v| v.is_object() && v.get("0").is_some());
    if ["chosen", "rejected"].into_iter().all(by_column) {
        let what = "one object with an object a column, as `DataFrame.to_json` writes it: write it with \
                    `orient='records', lines=True`";
        return Some(Recognised { what, query: None, map: None, judged: None });
    }
    let is_texts =
        |name: &str| present(row, name).and_then(Value::as_array).is_some_and(|v| v.iter().all(Value::is_string));
    if ["prompt", "chosen", "rejected"].into_iter().all(is_texts) {
        let columns = row.keys().map(|name| format!("unnest(\"{name}\") AS \"{name}\"")).collect::<Vec<_>>().join(", ");
        return Some(recognised("one object with a list a column", format!("SELECT {columns} FROM")));
    }
    None
}

/// What makes examples of supervised training of a row that is none by its names.
pub(super) fn recognise_example(row: &Map<String, Value>) -> Option<Recognised> {
    let text = |name: &str| present(row, name).is_some_and(Value::is_string);
    if text("instruction") && text("output") {
        let prompt = if row.contains_key("input") { ALPACA_PROMPT } else { "instruction AS prompt" };
        return Some(recognised("Alpaca's instructions", format!("SELECT {prompt}, output AS completion FROM")));
    }
    if present(row, "label").is_some() && present(row, "completion").is_some() && present(row, "prompt").is_some() {
        let good = if present(row, "label").is_some_and(Value::is_boolean) { "label" } else { "label = 1" };
        let query = format!("SELECT prompt, completion FROM WHERE {good}");
        return Some(recognised("answers with a label, of which only the good ones are to be learnt", query));
    }
    let prompt = ["prompt", "question", "instruction", "query", "input"].into_iter().find(|name| text(name))?;
    let answer =
        ["completion", "response", "answer", "output", "target", "chosen"].into_iter().find(|name| text(name))?;
    let query = format!("SELECT {prompt} AS prompt, {answer} AS completion FROM");
    Some(recognised("prompts and answers under other names", query))
}

impl Recognised {
    /// What to do with such a file.
    pub(super) fn advice(&self, path: &Path) -> Option<String> {
        let map = self.map.as_ref().map(|map| format!("name them: `--map {map}`"));
        map.or_else(|| self.command(path).map(|command| format!("`{command}`, then read that file")))
    }

    /// The command that makes pairs of a file, into a new file beside where it is run.
    pub(super) fn command(&self, path: &Path) -> Option<String> {
        self.query.as_ref().map(|query| command(query, path))
    }
}

/// A query on a file as a command of a shell, its rows into a file there is not yet.
pub(super) fn command(query: &str, path: &Path) -> String {
    let table = format!("'{}'", path.display().to_string().replace('\'', "''"));
    // A file is named where a bare `FROM` ends, or as both sides of a join.
    let query = query
        .replace("FROM good JOIN bad", &format!("FROM {table} AS good JOIN {table} AS bad"))
        .replace("FROM WHERE", &format!("FROM {table} WHERE"))
        .replace("FROM)", &format!("FROM {table})"));
    let query = if query.ends_with("FROM") { format!("{query} {table}") } else { query };
    let quoted: String = query
        .chars()
        .flat_map(|c| ['\\', c].into_iter().skip(usize::from(!matches!(c, '"' | '$' | '`' | '\\'))))
        .collect();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split('.').next().filter(|stem| !stem.is_empty()).unwrap_or("data");
    let output = (1..).map(|n| if n == 1 { format!("{stem}.pairs.jsonl") } else { format!("{stem}.pairs-{n}.jsonl") });
    let output = output.into_iter().find(|name| !Path::new(name).exists()).unwrap_or_default();
    format!("piref sql -c \"{quoted}\" --format ndjson > {}", shell_word(&output))
}

/// A text as one word of a shell.
pub(super) fn shell_word(text: &str) -> String {
    if text.chars().all(|c| c.is_alphanumeric() || "-_./".contains(c)) && !text.starts_with('-') {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
