//! The header of a check that is a file: TOML in the comment lines at its top, and the SQL below.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{AuditError, Info};

/// A number every check can use without naming it among its thresholds: the β of DPO.
pub(super) const BETA: &str = "beta";

/// Splits the text of a check into what it says about itself and its SQL.
///
/// # Errors
/// If the header is no TOML or lacks a key, or if a placeholder of the SQL or the formula has no threshold.
pub(super) fn parse(path: &Path, text: &str) -> Result<(Info, String), AuditError> {
    let n_header = text.lines().take_while(|line| line.starts_with("--")).count();
    let (header, sql): (Vec<&str>, Vec<&str>) = {
        let mut lines = text.lines();
        let header = lines.by_ref().take(n_header).map(|line| line.trim_start_matches("--").trim()).collect();
        (header, lines.collect())
    };
    let (header, sql) = (header.join("\n"), sql.join("\n").trim().to_owned());
    let info: Info = toml::from_str(&header)
        .map_err(|source| AuditError::Header { path: path.to_owned(), source: source.into() })?;
    let problem = |problem: String| AuditError::Placeholder { id: info.id.clone(), problem };
    let used: BTreeSet<&str> = placeholders(&sql).chain(placeholders(&info.formula)).collect();
    if let Some(unknown) = used.iter().find(|name| **name != BETA && !info.thresholds.contains_key(**name)) {
        return Err(problem(format!("`{{{unknown}}}` is none of its thresholds")));
    }
    if let Some(unused) = info.thresholds.keys().find(|name| !used.contains(name.as_str())) {
        return Err(problem(format!("threshold `{unused}` is nowhere in its SQL")));
    }
    if let Some((name, value)) = info.thresholds.iter().find(|(_, value)| !value.is_finite()) {
        return Err(problem(format!("expected threshold `{name}` finite, found {value}")));
    }
    Ok((info, sql))
}

/// A text with the numbers in place of `{name}`, as SQL reads them.
///
/// Nothing but finite numbers is put in, so that no text can become SQL. Braces around anything but a name of small
/// letters stay: a pattern may have `{1,6}`.
pub(super) fn filled(text: &str, numbers: &BTreeMap<String, f64>) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((start, name)) = next_placeholder(rest) {
        filled.push_str(&rest[..start]);
        let end = start + name.len() + 2;
        match numbers.get(name) {
            // Brackets: `-{x}` would otherwise begin a comment.
            Some(number) if *number < 0.0 => filled = filled + "(" + &number.to_string() + ")",
            Some(number) => filled.push_str(&number.to_string()),
            None => filled.push_str(&rest[start..end]),
        }
        rest = &rest[end..];
    }
    filled + rest
}

fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (start, name) = next_placeholder(rest)?;
        rest = &rest[start + name.len() + 2..];
        Some(name)
    })
}

/// Byte at which the next `{name}` begins, and the name.
fn next_placeholder(text: &str) -> Option<(usize, &str)> {
    text.match_indices('{').find_map(|(start, _)| {
        let (name, _) = text[start + 1..].split_once('}')?;
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        is_name.then_some((start, name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "-- id = \"X1\"\n-- level = \"warn\"\n-- title = \"t\"\n-- question = \"q\"\n-- formula = \"x > {most}\"\n\
                          -- source = \"s\"\n-- advice = \"a\"\n";

    fn parsed(text: &str) -> Result<(Info, String), AuditError> {
        parse(Path::new("x1.sql"), text)
    }

    #[test]
    fn header_and_sql_are_told_apart() {
        let text = format!("{HEADER}-- [thresholds]\n-- most = 0.5\nSELECT 1 -- not the header\nWHERE 2 > {{most}}\n");
        let (info, sql) = parsed(&text).unwrap();
        assert_eq!((info.id.as_str(), info.thresholds["most"]), ("X1", 0.5));
        assert_eq!(sql, "SELECT 1 -- not the header\nWHERE 2 > {most}");
    }

    #[test]
    fn numbers_and_placeholders_must_fit() {
        let message = |text: &str| parsed(text).unwrap_err().to_string();
        assert_eq!(message(&format!("{HEADER}SELECT 1")), "check `X1`: `{most}` is none of its thresholds");
        let unused = format!("{HEADER}-- [thresholds]\n-- most = 1\n-- least = 0\nSELECT 1");
        assert_eq!(message(&unused), "check `X1`: threshold `least` is nowhere in its SQL");
        let infinite = format!("{HEADER}-- [thresholds]\n-- most = inf\nSELECT 1");
        assert_eq!(message(&infinite), "check `X1`: expected threshold `most` finite, found inf");
    }

    #[test]
    fn a_key_nobody_knows_is_refused() {
        let error = parsed(&format!("{HEADER}-- titel = \"x\"\nSELECT 1")).unwrap_err();
        assert!(matches!(error, AuditError::Header { .. }), "{error}");
    }

    #[test]
    fn only_names_are_filled() {
        let numbers = BTreeMap::from([("z".to_owned(), 6.0), ("low".to_owned(), -0.05)]);
        assert_eq!(
            filled("x > {z} AND y > -{low} AND s ~ 'a{1,6}{ z}' {", &numbers),
            "x > 6 AND y > -(-0.05) AND s ~ 'a{1,6}{ z}' {"
        );
        assert_eq!(filled("{other}", &numbers), "{other}");
    }
}
