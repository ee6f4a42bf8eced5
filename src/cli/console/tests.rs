//! A console without a terminal: what it answers to entries one after another.

use tempfile::TempDir;

use super::*;
use crate::query::FUNCTIONS;

/// What an entry put on the screen, what was said, and what came of it.
struct Shown {
    screen: String,
    notes: Vec<String>,
    next: anyhow::Result<Next>,
}

fn console() -> Console {
    Console::new(Session::new().unwrap(), Form::whole(Format::Csv), Timing::Off)
}

fn enter(console: &mut Console, entry: &str) -> Shown {
    let (mut screen, mut notes) = (Vec::new(), Vec::new());
    let next = console.enter(entry, &mut screen, &mut |note| notes.push(note));
    Shown { screen: String::from_utf8(screen).unwrap(), notes, next }
}

#[track_caller]
fn check(console: &mut Console, entry: &str, screen: &str) {
    let shown = enter(console, entry);
    assert_eq!(shown.next.unwrap(), Next::Entry, "{entry}");
    assert_eq!(shown.screen, screen, "{entry}");
}

fn file(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    io::write(&path, text.as_bytes()).unwrap();
    path
}

#[test]
fn statements_and_commands_share_a_session() {
    let mut console = console();
    check(&mut console, "CREATE VIEW v AS SELECT 1 AS a, 'x' AS b;", "");
    check(&mut console, "SELECT a + 1 AS n FROM v; SELECT 3 AS c;", "n\n2\nc\n3\n");
    check(&mut console, ".tables", "name,kind\nv,view\n");
    check(&mut console, ".schema", "table_name,column_name,data_type\nv,a,Int64\nv,b,Utf8\n");
    check(&mut console, ".schema v", "column_name,data_type,is_nullable\na,Int64,NO\nb,Utf8,NO\n");
    check(&mut console, ".mode ndjson", "");
    check(&mut console, "SELECT a FROM v;", "{\"a\":1}\n");
    assert_eq!(enter(&mut console, ".mode").notes, ["mode ndjson"]);
    assert_eq!(enter(&mut console, ".quit").next.unwrap(), Next::End);
}

#[test]
fn the_schema_of_a_file_needs_no_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "it's.csv", "id\n1\n");
    let shown = enter(&mut console(), &format!(".schema {}", path.display()));
    assert_eq!(shown.screen, "column_name,data_type,is_nullable\nid,Int64,YES\n");
}

#[test]
fn an_error_leaves_the_console_as_it_was() {
    let mut console = console();
    check(&mut console, "CREATE VIEW v AS SELECT 1 AS a;", "");
    assert!(enter(&mut console, "SELECT b FROM v;").next.is_err());
    assert!(enter(&mut console, ".nonsense").next.is_err());
    check(&mut console, "SELECT a FROM v;", "a\n1\n");
}

#[test]
fn timing_tells_rows_of_each_statement() {
    let mut console = console();
    assert!(enter(&mut console, "SELECT 1;").notes.is_empty());
    check(&mut console, ".timing on", "");
    let notes = enter(&mut console, "SELECT 1; SELECT value FROM generate_series(1, 7);").notes;
    assert!(notes[0].starts_with("1 row in ") && notes[1].starts_with("7 rows in "), "{notes:?}");
    // What a command asks by itself is nobody's query.
    assert!(enter(&mut console, ".tables").notes.is_empty());
}

#[test]
fn rows_go_to_a_file_that_is_complete_at_the_next_output() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.csv");
    let mut console = console();
    check(&mut console, &format!(".output {}", path.display()), "");
    check(&mut console, "SELECT 1 AS a;", "");
    check(&mut console, "SELECT 2 AS b;", "");
    assert!(!path.exists());
    check(&mut console, ".output", "");
    assert_eq!(io::read_text(&path).unwrap(), "a\n1\nb\n2\n");
    check(&mut console, "SELECT 3 AS c;", "c\n3\n");
}

#[test]
fn a_file_is_read_as_if_it_were_typed() {
    let folder = tempfile::tempdir().unwrap();
    let text = "-- two lines\nSELECT 1\n  AS a;\n.mode ndjson\nSELECT ';' AS b; SELECT 2 AS c;\n\nSELECT 3 AS d";
    let path = file(&folder, "q.sql", text);
    let mut console = console();
    check(&mut console, &format!(".read {}", path.display()), "a\n1\n{\"b\":\";\"}\n{\"c\":2}\n{\"d\":3}\n");

    let path = file(&folder, "wrong.sql", "SELECT 1 AS a;\n\nSELECT\n  nothing;\nSELECT 2 AS b;\n");
    let shown = enter(&mut console, &format!(".read '{}'", path.display()));
    assert_eq!(shown.screen, "{\"a\":1}\n");
    assert!(shown.next.unwrap_err().to_string().ends_with("wrong.sql`, line 3"));

    let path = file(&folder, "end.sql", ".quit\nSELECT 1;\n");
    assert_eq!(enter(&mut console, &format!(".read {}", path.display())).next.unwrap(), Next::End);
}

#[test]
fn files_that_read_themselves_come_to_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("loop.sql");
    io::write(&path, format!(".read {}\n", path.display()).as_bytes()).unwrap();
    let error = enter(&mut console(), &format!(".read {}", path.display())).next.unwrap_err();
    assert!(error.root_cause().to_string().contains("at most 16 files"), "{error:?}");
}

#[test]
fn help_names_every_command_and_functions_every_function() {
    let mut console = console();
    let help = enter(&mut console, ".help").screen;
    assert!(COMMANDS.iter().all(|(usage, doc)| help.contains(usage) && help.contains(doc)), "{help}");
    let text = enter(&mut console, ".functions").screen;
    assert!(FUNCTIONS.iter().all(|function| text.contains(function.call) && text.contains(function.example)), "{text}");
    let one = enter(&mut console, ".functions MAD").screen;
    assert_eq!(one.lines().count(), 3, "{one}");
    assert!(enter(&mut console, ".functions sum").screen.contains("none of piref's own functions"));
}
