//! The YAML that people write for Kubernetes, and no more: block mappings and sequences, plain and quoted scalars, comments
//! on lines of their own, documents. What is not that is an error, so that a file which is read here is read alike by any
//! parser of YAML.

use serde_json::{Map, Value};

/// The documents of a file.
pub(super) fn documents(text: &str) -> Result<Vec<Value>, String> {
    text.split("\n---\n").map(document).collect()
}

/// A line that says something: its number from 1, its indent, its text.
#[derive(Clone, Copy, Debug)]
struct Line<'a> {
    number: usize,
    indent: usize,
    text: &'a str,
}

fn document(text: &str) -> Result<Value, String> {
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let text = line.trim_start_matches(' ');
        if text.contains('\t') || text.ends_with(' ') {
            return Err(format!("line {}: a tab, or a blank at the end", at + 1));
        }
        if !text.is_empty() && !text.starts_with('#') {
            lines.push(Line { number: at + 1, indent: line.len() - text.len(), text });
        }
    }
    let first = lines.first().ok_or("a document without content")?;
    let (value, rest) = block(&lines, first.indent)?;
    match rest.first() {
        None => Ok(value),
        Some(line) => Err(format!("line {}: an indent that nothing has opened", line.number)),
    }
}

/// The mapping or sequence whose lines have this indent, and the lines after it.
fn block<'a>(lines: &'a [Line<'a>], indent: usize) -> Result<(Value, &'a [Line<'a>]), String> {
    if lines.first().is_some_and(|line| line.text.starts_with("- ")) {
        sequence(lines, indent)
    } else {
        mapping(lines, indent)
    }
}

fn sequence<'a>(mut lines: &'a [Line<'a>], indent: usize) -> Result<(Value, &'a [Line<'a>]), String> {
    let mut items = Vec::new();
    while let Some(line) = lines.first().filter(|line| line.indent == indent) {
        let text = line.text.strip_prefix("- ").ok_or_else(|| format!("line {}: expected `- `", line.number))?;
        let n_more = lines[1..].iter().take_while(|line| line.indent > indent).count();
        if is_entry(text) {
            // The first entry of a mapping stands behind the dash.
            let mut inner = vec![Line { number: line.number, indent: indent + 2, text }];
            inner.extend_from_slice(&lines[1..=n_more]);
            let (value, rest) = mapping(&inner, indent + 2)?;
            if let Some(line) = rest.first() {
                return Err(format!("line {}: an indent that nothing has opened", line.number));
            }
            items.push(value);
        } else if n_more == 0 {
            items.push(scalar(*line, text)?);
        } else {
            return Err(format!("line {}: lines under a scalar", line.number));
        }
        lines = &lines[1 + n_more..];
    }
    Ok((Value::Array(items), lines))
}

fn mapping<'a>(mut lines: &'a [Line<'a>], indent: usize) -> Result<(Value, &'a [Line<'a>]), String> {
    let mut entries = Map::new();
    while let Some(line) = lines.first().filter(|line| line.indent == indent) {
        if !is_entry(line.text) {
            return Err(format!("line {}: expected `key: value`", line.number));
        }
        let (key, text) = line.text.split_once(':').unwrap_or_default();
        lines = &lines[1..];
        let value = if text.is_empty() {
            let inner = lines.first().filter(|inner| inner.indent > indent);
            let inner = inner.ok_or_else(|| format!("line {}: `{key}` without a value", line.number))?;
            let (value, rest) = block(lines, inner.indent)?;
            lines = rest;
            value
        } else {
            scalar(*line, &text[1..])?
        };
        if entries.insert(key.to_owned(), value).is_some() {
            return Err(format!("line {}: `{key}` a second time", line.number));
        }
    }
    Ok((Value::Object(entries), lines))
}

/// Whether a text is `key:` or `key: value`.
fn is_entry(text: &str) -> bool {
    text.split_once(':').is_some_and(|(key, value)| {
        let is_key = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        !key.is_empty() && key.chars().all(is_key) && (value.is_empty() || value.starts_with(' '))
    })
}

/// A number, a truth value, or a text that needs no quotes, or has them.
fn scalar(line: Line<'_>, text: &str) -> Result<Value, String> {
    if let Some(quoted) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'))
        && !quoted.contains(['"', '\\'])
    {
        return Ok(quoted.into());
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=".contains(c);
    if text.is_empty() || !text.chars().all(is_plain) || text.starts_with(':') || text.ends_with(':') {
        return Err(format!("line {}: expected a plain or quoted scalar, found `{text}`", line.number));
    }
    Ok(match text {
        "true" => true.into(),
        "false" => false.into(),
        // Words that other parsers take for no strings.
        "null" | "yes" | "no" | "on" | "off" | "y" | "n" => {
            return Err(format!("line {}: `{text}` without quotes", line.number));
        }
        text => text.parse::<i64>().map_or_else(|_| text.into(), Value::from),
    })
}

#[test]
fn what_kubernetes_files_are_made_of_is_read() {
    let text =
        "# A comment.\na: 1\nb:\n  - x: \"2\"\n    y: z/w:1\n  - x: 3\nc:\n  - --flag\n  - true\n---\nd:\n  e: f\n";
    let want = serde_json::json!([{"a": 1, "b": [{"x": "2", "y": "z/w:1"}, {"x": 3}], "c": ["--flag", true]}, {"d": {"e": "f"}}]);
    assert_eq!(Value::from(documents(text).unwrap()), want);
}

#[test]
fn what_it_does_not_know_is_refused() {
    for wrong in [
        "",
        "a",
        "a: {b: c}",
        "a: [1]",
        "a: |\n  b",
        "a:\n",
        "a: 1\na: 2",
        "a: 1\n   b: 2",
        "a: b # c",
        "a: 'b'",
        "a:\tb",
        "a: *b",
        "a: yes",
        "- a\n  b: c",
        "a: \"b",
    ] {
        assert!(documents(wrong).is_err(), "{wrong:?}: {:?}", documents(wrong));
    }
}
