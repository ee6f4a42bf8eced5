//! What to do about what the engine says: names that are near, names that need quotes.

use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::sql::parser::DFParser;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer, Word};

use crate::error::{nearest, of_open_files};
use crate::query::quoted;

/// What an error and its causes say.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The advice on an error of the engine, in a session with these tables, on this statement.
pub(super) fn of_engine(error: &DataFusionError, tables: &[String], sql: Option<&str>) -> Option<String> {
    match error.find_root() {
        DataFusionError::ObjectStore(error) => of_open_files(&chain(error.as_ref())),
        DataFusionError::SchemaError(error, _) => match error.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => column_hint(&field.name, valid_fields, sql),
            _ => None,
        },
        DataFusionError::Plan(message) => {
            if let Some(name) = message.strip_prefix("Invalid function '") {
                return instead(name.split('\'').next()?);
            }
            let table = message.strip_prefix("table '")?.split_once("' not found")?.0;
            // DataFusion puts its catalogue and schema before the name.
            Some(table_hint(table.splitn(3, '.').last().unwrap_or(table), tables))
        }
        DataFusionError::SQL(error, _) => sql.and_then(|sql| keyword_hint(&error.to_string(), sql)),
        DataFusionError::NotImplemented(message) if message.starts_with("Dot access not supported") => Some(
            "a file in quotes is a table only behind `FROM`: give it a name there (`FROM 'FILE' AS d`) and write `d.column`".into(),
        ),
        // Ballista's words for a plan with a table that only this process can read.
        DataFusionError::Internal(message) if message.starts_with("failed to serialize logical plan") => Some(
            "a cluster reads Parquet files alone, under the paths they have here; without `--cluster` every table can be read"
                .into(),
        ),
        DataFusionError::ResourcesExhausted(_) => Some("`--memory-limit` sets how much memory a query may take".into()),
        _ => None,
    }
}

/// What does here what functions of other databases do.
fn instead(function: &str) -> Option<String> {
    let call = match function {
        "regexp_extract" | "regexp_substr" => "regexp_match(text, pattern)[1]",
        "quantile" | "percentile" => "percentile_cont(0.5) WITHIN GROUP (ORDER BY x)",
        "len" | "strlen" => "length(text)",
        "split" | "str_split" => "string_to_array(text, ' ')",
        "word_count" => "array_length(string_to_array(text, ' '))",
        "if" | "iif" => "CASE WHEN condition THEN a ELSE b END",
        "ilike" => "text ILIKE pattern",
        "like" => "text LIKE pattern",
        "hash" | "sha1" | "sha512" => "sha256(text)",
        "sample" => "ORDER BY random() LIMIT n",
        "json_extract_string" | "json_value" | "get_json_object" => "json_as_text(json, key, …)",
        "json_extract_path" => "json_get(json, key, …)",
        "mode" => "count(*) … GROUP BY x ORDER BY count(*) DESC LIMIT 1",
        "printf" | "format" => "concat(a, b, …)",
        "date_format" | "strftime" => "to_char(time, '%Y-%m-%d')",
        _ => return None,
    };
    Some(format!("`{call}` does that here"))
}

fn table_hint(name: &str, tables: &[String]) -> String {
    if !name.contains(['.', '/']) && std::path::Path::new(name).exists() {
        return format!("`FROM './{name}'` reads what lies under that name");
    }
    if name.contains(['.', '/']) {
        return format!("as a path, `{name}` leads nowhere");
    }
    match nearest(name, tables.iter().map(String::as_str)) {
        Some(table) => format!("did you mean `{table}`?"),
        None if tables.is_empty() => "name a table, run or data file on the command line".into(),
        None => format!("there are {}", tables.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    }
}

fn column_hint(name: &str, valid: &[Column], sql: Option<&str>) -> Option<String> {
    let names = || valid.iter().map(|column| column.name.as_str());
    let names_quoted: Vec<&str> = names().filter(|name| needs_quotes(name)).collect();
    if let Some(sql) = sql.and_then(|sql| requoted(sql, &names_quoted, |word| names().any(|name| name == word))) {
        return Some(format!("names with capitals, slashes, dots or blanks need double quotes: `{sql}`"));
    }
    let same = names().find(|column| column.eq_ignore_ascii_case(name));
    let column = same.or_else(|| nearest(name, names()))?;
    let spelt = if needs_quotes(column) { quoted(column) } else { column.to_owned() };
    Some(format!("did you mean `{spelt}`?"))
}

/// A word of SQL that stands where a name has to be in quotes: `SELECT order FROM …`.
fn keyword_hint(message: &str, sql: &str) -> Option<String> {
    let tokens = tokens(sql)?;
    let words = tokens.iter().enumerate().filter(|(_, token)| is_keyword(token));
    // One of them alone, so that what is quoted is the least.
    let repaired = words.filter_map(|(at, token)| {
        let text = with_replaced(&tokens, at..at + 1, &quoted(&token.to_string()));
        DFParser::parse_sql(&text).is_ok().then(|| (token.to_string(), text))
    });
    let repaired: Vec<(String, String)> =
        repaired.filter(|(word, _)| !STRUCTURE.contains(&word.to_uppercase().as_str())).collect();
    match repaired.as_slice() {
        // A hint is one line.
        [(word, text)] if message.contains("Expected") && !text.contains('\n') => {
            Some(format!("`{word}` is a word of SQL: as a name it needs double quotes: `{text}`"))
        }
        _ => None,
    }
}

/// Words that a query is built of: quoted, they would be names of something else.
const STRUCTURE: [&str; 12] = ["SELECT", "FROM", "WHERE", "AS", "AND", "OR", "NOT", "IN", "ON", "JOIN", "BY", "LIMIT"];

fn is_keyword(token: &Token) -> bool {
    use datafusion::sql::sqlparser::keywords::Keyword;
    matches!(token, Token::Word(Word { quote_style: None, keyword, .. }) if *keyword != Keyword::NoKeyword)
}

fn tokens(sql: &str) -> Option<Vec<Token>> {
    Tokenizer::new(&GenericDialect {}, sql).tokenize().ok()
}

fn with_replaced(tokens: &[Token], range: std::ops::Range<usize>, with: &str) -> String {
    let text = |tokens: &[Token]| tokens.iter().map(Token::to_string).collect::<String>();
    format!("{}{with}{}", text(&tokens[..range.start]), text(&tokens[range.end..]))
}

/// The statement with double quotes around each of these names; `None` if none of them is in it without, or if one could as
/// well be what it says (`is_known`).
fn requoted(sql: &str, names: &[&str], is_known: impl Fn(&str) -> bool) -> Option<String> {
    let mut tokens = tokens(sql)?;
    let mut is_changed = false;
    for name in names {
        let Some(spelt) = self::tokens(name) else { continue };
        let spelt: Vec<Token> = without_blanks(&spelt).map(|(_, token)| token.clone()).collect();
        let mut from = 0;
        while let Some(range) = find(&tokens, from, &spelt) {
            let written: String = tokens[range.clone()].iter().map(Token::to_string).collect();
            from = range.start + 1;
            let folded = written.to_lowercase();
            let is_another = folded != **name && is_known(&folded);
            if written == quoted(name) || is_another {
                continue;
            }
            tokens.splice(range, [Token::make_word(name, Some('"'))]);
            is_changed = true;
        }
    }
    is_changed.then(|| tokens.iter().map(Token::to_string).collect())
}

fn without_blanks(tokens: &[Token]) -> impl Iterator<Item = (usize, &Token)> {
    tokens.iter().enumerate().filter(|(_, token)| !matches!(token, Token::Whitespace(_)))
}

/// Where a name stands, as its tokens, whatever their case.
fn find(tokens: &[Token], from: usize, name: &[Token]) -> Option<std::ops::Range<usize>> {
    // A name with a blank was read as a name and its alias, and is printed with the `AS` that was left out.
    let is_as = |token: &Token| matches!(token, Token::Word(word) if word.value.eq_ignore_ascii_case("as"));
    let places: Vec<(usize, &Token)> =
        without_blanks(tokens).filter(|(at, token)| *at >= from && !is_as(token)).collect();
    let is_same = |(found, wanted): (&(usize, &Token), &Token)| match (found.1, wanted) {
        (Token::Word(found), Token::Word(wanted)) => found.value.eq_ignore_ascii_case(&wanted.value),
        (found, wanted) => found == wanted,
    };
    let window = places.windows(name.len().max(1)).find(|window| window.iter().zip(name).all(is_same))?;
    Some(window.first()?.0..window.last()?.0 + 1)
}

/// Whether SQL reads a name as another one without quotes.
fn needs_quotes(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_digit())
        || name.chars().any(|c| c.is_uppercase() || !(c.is_alphanumeric() || c == '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sql: &str, want: Option<&str>) {
        let columns = ["userId", "Rating", "rating2", "a b", "x.y", "rewards/margins", "plain"];
        let names: Vec<&str> = columns.into_iter().filter(|name| needs_quotes(name)).collect();
        let found = requoted(sql, &names, |word| columns.contains(&word));
        assert_eq!(found.as_deref(), want, "{sql}");
    }

    #[test]
    fn names_that_sql_would_fold_or_split_are_put_in_quotes() {
        check("SELECT userId FROM 'd.jsonl'", Some(r#"SELECT "userId" FROM 'd.jsonl'"#));
        check("SELECT USERID, plain FROM d", Some(r#"SELECT "userId", plain FROM d"#));
        check(r#"SELECT "userid" FROM d"#, Some(r#"SELECT "userId" FROM d"#));
        check("SELECT avg(userId) FROM d GROUP BY Rating", Some(r#"SELECT avg("userId") FROM d GROUP BY "Rating""#));
        check("SELECT d.userId FROM d", Some(r#"SELECT d."userId" FROM d"#));
        check("SELECT x.y, a AS b FROM d", Some(r#"SELECT "x.y", "a b" FROM d"#));
        check("SELECT rewards/margins FROM d", Some(r#"SELECT "rewards/margins" FROM d"#));
        check(r#"SELECT "userId", rating2, 'Rating' FROM d"#, None);
    }

    #[test]
    fn a_word_of_sql_as_a_name_is_put_in_quotes() {
        let hint = keyword_hint("Expected: an expression", "SELECT order FROM d").unwrap();
        assert!(hint.ends_with(r#"`SELECT "order" FROM d`"#), "{hint}");
    }
}
