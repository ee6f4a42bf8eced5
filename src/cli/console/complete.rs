//! What a word may become: commands, tables, columns, functions, keywords.

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use clap::ValueEnum;

use super::command::{COMMANDS, name_of};
use super::entry::{Place, scan};
use crate::query::{Format, Function, Session};

/// Words of SQL that people write often.
const KEYWORDS: [&str; 64] = [
    "ALL",
    "AND",
    "ANTI",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "COUNT",
    "CREATE",
    "CROSS",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "DROP",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "FALSE",
    "FILTER",
    "FIRST",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "ILIKE",
    "IN",
    "INNER",
    "INTERSECT",
    "IS",
    "JOIN",
    "LAST",
    "LEFT",
    "LIKE",
    "LIMIT",
    "NOT",
    "NULL",
    "NULLS",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "QUALIFY",
    "RIGHT",
    "SELECT",
    "SEMI",
    "TABLE",
    "THEN",
    "TRUE",
    "UNION",
    "UNNEST",
    "USING",
    "VALUES",
    "VIEW",
    "WHEN",
    "WHERE",
    "WINDOW",
    "WITH",
];

/// The names of a session.
#[derive(Debug, Clone, Default)]
pub(super) struct Vocabulary {
    tables: Vec<String>,
    /// Table and column.
    columns: Vec<(String, String)>,
    functions: Vec<String>,
    /// Those of piref's own.
    own_functions: Vec<&'static str>,
}

/// What may stand where the cursor is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Completion {
    /// One of these instead of what begins at this byte.
    Words {
        /// The byte.
        start: usize,
        /// Sorted.
        words: Vec<String>,
    },
    /// A path.
    Path,
}

impl Vocabulary {
    /// The names a session knows now; what cannot be asked is not completed.
    pub(super) fn of(session: &Session) -> Self {
        let columns = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' \
                       ORDER BY table_name, ordinal_position";
        let functions = "SELECT DISTINCT routine_name FROM information_schema.routines ORDER BY routine_name";
        let texts = |sql: &str, column: usize| match session.query(sql) {
            Ok(batches) => batches.iter().flat_map(|batch| column_texts(batch, column)).collect(),
            Err(_) => Vec::new(),
        };
        let mut functions: Vec<String> = texts(functions, 0);
        let own_functions: Vec<&'static str> = session.functions().iter().map(Function::name).collect();
        functions.extend(own_functions.iter().map(|&name| name.to_owned()));
        functions.sort();
        functions.dedup();
        let columns = texts(columns, 0).into_iter().zip(texts(columns, 1)).collect();
        Self { tables: session.tables(), columns, functions, own_functions }
    }

    /// What the word before the cursor may become.
    pub(super) fn complete(&self, line: &str, cursor: usize) -> Completion {
        let text = line.get(..cursor).unwrap_or(line);
        if text.starts_with('.') {
            return self.complete_command(text);
        }
        match scan(text).0 {
            Place::Text(_) => Completion::Path,
            Place::Name(start) => self.complete_word(text, start),
            Place::Code => {
                let start = text.char_indices().rev().take_while(|(_, c)| is_word(*c)).last();
                self.complete_word(text, start.map_or(text.len(), |(at, _)| at))
            }
            Place::LineComment | Place::BlockComment(_) => none(text.len()),
        }
    }

    fn complete_command(&self, text: &str) -> Completion {
        let Some((command, rest)) = text.split_once(char::is_whitespace) else {
            return matching(0, text, COMMANDS.iter().map(|(usage, _)| name_of(usage).to_owned()));
        };
        let start = text.len() - rest.trim_start().len();
        let formats = Format::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        match command {
            ".read" | ".output" => Completion::Path,
            ".schema" => matching(start, &text[start..], self.tables.iter().cloned()),
            ".functions" => matching(start, &text[start..], self.own_functions.iter().map(|&name| name.to_owned())),
            ".mode" => matching(start, &text[start..], formats.map(|value| value.get_name().to_owned())),
            ".timing" => matching(start, &text[start..], ["on", "off"].into_iter().map(str::to_owned)),
            _ => none(text.len()),
        }
    }

    /// A word of SQL that begins at this byte, perhaps with a double quote.
    fn complete_word(&self, text: &str, start: usize) -> Completion {
        let (before, word) = (&text[..start], &text[start..]);
        if let Some(before) = before.strip_suffix('.') {
            let table = before.trim_end_matches('"').rsplit(|c: char| !is_word(c)).next().unwrap_or_default();
            let is_table = self.tables.iter().any(|known| known == table);
            // Behind the alias of a table any column may come.
            let columns = self.columns.iter().filter(|(of, _)| !is_table || of == table);
            return matching(start, word, columns.map(|(_, column)| quoted(column)));
        }
        let last = before.split_whitespace().next_back().unwrap_or_default();
        if ["FROM", "JOIN", "DESCRIBE"].iter().any(|keyword| last.eq_ignore_ascii_case(keyword)) {
            return matching(start, word, self.tables.iter().map(|table| quoted(table)));
        }
        if word.is_empty() {
            return none(start);
        }
        let keyword = |keyword: &&str| {
            if word.starts_with(|c: char| c.is_lowercase()) { keyword.to_lowercase() } else { (*keyword).to_owned() }
        };
        let names = self.columns.iter().map(|(_, column)| column).chain(&self.tables).map(|name| quoted(name));
        matching(start, word, names.chain(self.functions.iter().cloned()).chain(KEYWORDS.iter().map(keyword)))
    }
}

fn column_texts(batch: &RecordBatch, column: usize) -> Vec<String> {
    match cast(batch.column(column), &DataType::Utf8) {
        Ok(texts) => texts.as_string::<i32>().iter().flatten().map(str::to_owned).collect(),
        Err(_) => Vec::new(),
    }
}

fn none(start: usize) -> Completion {
    Completion::Words { start, words: Vec::new() }
}

/// Those words that begin as `typed` does, whatever the case and whether a quote is there or not.
fn matching(start: usize, typed: &str, words: impl Iterator<Item = String>) -> Completion {
    let plain = |word: &str| word.strip_prefix('"').unwrap_or(word).to_lowercase();
    let typed = plain(typed);
    let mut words: Vec<String> = words.filter(|word| plain(word).starts_with(&typed)).collect();
    words.sort();
    words.dedup();
    Completion::Words { start, words }
}

/// A name as SQL takes it: in double quotes where it has capitals or signs.
fn quoted(name: &str) -> String {
    let is_plain = |c: char| c.is_lowercase() || c == '_' || c.is_numeric();
    if name.chars().all(is_plain) && !name.starts_with(|c: char| c.is_numeric()) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, want_start: usize, want: &[&str]) {
        let column = |table: &str, column: &str| (table.to_owned(), column.to_owned());
        let vocabulary = Vocabulary {
            tables: vec!["metrics".into(), "pairs".into(), "Other".into()],
            columns: vec![
                column("metrics", "rewards/margins"),
                column("pairs", "ref_chosen_logps"),
                column("pairs", "ref_rejected_logps"),
            ],
            functions: vec!["regr_slope".into(), "reward".into()],
            own_functions: vec!["reward", "robust_z"],
        };
        let want = Completion::Words { start: want_start, words: want.iter().map(|&word| word.to_owned()).collect() };
        assert_eq!(vocabulary.complete(line, line.len()), want, "{line}");
    }

    #[test]
    fn words_become_names_functions_and_keywords() {
        check("SELECT ref_c", 7, &["ref_chosen_logps"]);
        check(
            "SELECT re",
            7,
            &["\"rewards/margins\"", "ref_chosen_logps", "ref_rejected_logps", "regr_slope", "reward"],
        );
        check("SELECT avg(\"rew", 11, &["\"rewards/margins\"", "reward"]);
        check("sel", 0, &["select"]);
        check("SEL", 0, &["SELECT"]);
        check("SELECT ", 7, &[]);
    }

    #[test]
    fn tables_come_after_from_and_columns_after_their_table() {
        check("SELECT * FROM ", 14, &["\"Other\"", "metrics", "pairs"]);
        check("SELECT * FROM pairs join m", 25, &["metrics"]);
        check("SELECT pairs.", 13, &["ref_chosen_logps", "ref_rejected_logps"]);
        check("SELECT p.ref_r", 9, &["ref_rejected_logps"]);
    }

    #[test]
    fn commands_take_what_they_are_about() {
        check(".t", 0, &[".tables", ".timing"]);
        check(".mode m", 6, &["markdown"]);
        check(".schema p", 8, &["pairs"]);
        check(".functions rew", 11, &["reward"]);
        check("SELECT 1 -- se", 14, &[]);
    }

    #[test]
    fn a_text_in_quotes_is_a_path() {
        let vocabulary = Vocabulary::default();
        for line in ["SELECT * FROM 'runs/", ".read q", ".output "] {
            assert_eq!(vocabulary.complete(line, line.len()), Completion::Path, "{line}");
        }
    }

    #[test]
    fn a_session_tells_its_own_names() {
        let session = Session::new().unwrap();
        session.query("CREATE VIEW here AS SELECT 1 AS there").unwrap();
        let vocabulary = Vocabulary::of(&session);
        assert_eq!(vocabulary.tables, ["here"]);
        assert_eq!(vocabulary.columns, [("here".to_owned(), "there".to_owned())]);
        assert!(
            ["median", "robust_z", "mad"].iter().all(|name| vocabulary.functions.iter().any(|known| known == name))
        );
    }
}
