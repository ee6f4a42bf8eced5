//! A data file as examples and rejects, row by row; a text file as pieces of one document.

use std::collections::VecDeque;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::container::{self, RawRow, RawRows};
use super::convert::variables;
use super::example::{Example, ExampleFormat, ExampleText};
use super::message::is_sharegpt;
use super::reader::{read_sample, shortened};
use super::recipes::recognise_example;
use super::unread::Read as ReadColumns;
use super::{ColumnMap, DataError, PairReader, Reject, Role, Row, Source, detect};
use crate::io::{self, IoError};

/// Bytes of a text that are one piece of it, up to the last end of a line in them.
const PIECE: usize = 1 << 20;

/// One row of a data file.
#[derive(Debug, Clone, PartialEq)]
pub enum ExampleRow {
    /// Something to learn from.
    Example(Example),
    /// A row that is not.
    Reject(Reject),
}

/// The rows of a data file, in its order. Ends after the first error.
pub struct ExampleReader {
    source: Arc<Source>,
    format: ExampleFormat,
    map: ColumnMap,
    /// The column of a system text that goes before the turns.
    system: Option<String>,
    rows: Rows,
}

enum Rows {
    Pairs(Box<PairReader>),
    Others { sample: VecDeque<RawRow>, rows: RawRows },
    Text(Box<Pieces>),
}

/// Opens a data file of any kind that supervised training reads: preference pairs (`map` names their columns), `prompt`
/// and `completion`, `messages`, `text`, or a `.txt` file. A text file is one document, as it is; one of more than a
/// megabyte comes in pieces that end with a line.
///
/// # Errors
/// Before any row is returned: if the file cannot be opened, is empty, or holds nothing of that kind. A fault that is met
/// later is the last item of the iterator.
pub fn open_examples(path: &Path, map: &ColumnMap) -> Result<ExampleReader, DataError> {
    let source = Arc::new(Source::of(path));
    if is_text(path) {
        container::check_file(path)?;
        let rows = Rows::Text(Box::new(Pieces::open(path)?));
        let (format, map) = (ExampleFormat::TextFile, map.clone());
        return Ok(ExampleReader { source, format, map, system: None, rows });
    }
    let mut rows = container::open(path)?;
    let sample = read_sample(&mut rows)?;
    let readable: Vec<_> = sample.iter().filter_map(|row| row.object.as_ref().ok()).collect();
    let found = || readable.iter().find_map(|row| ExampleFormat::of_row(row));
    let names_answers = [Role::Chosen, Role::Rejected].into_iter().any(|role| map.column(role).is_some());
    let format = match detect::detect(path, map, &readable) {
        Err(DataError::NotPairs { path, columns, .. } | DataError::Unpaired { path, columns, .. })
            if !readable.is_empty() && !names_answers =>
        {
            let recognised = || readable.iter().find_map(|row| recognise_example(row));
            found().ok_or_else(|| DataError::NotExamples { path, columns, recognised: recognised() })?
        }
        // What is wrong with pairs, or with a file nothing can be read of, is told by their reader.
        _ => {
            let pairs = super::open(path, map)?;
            let format = ExampleFormat::Pairs(pairs.layout());
            let (map, rows) = (map.clone(), Rows::Pairs(Box::new(pairs)));
            return Ok(ExampleReader { source, format, map, system: None, rows });
        }
    };
    // As LLaMA-Factory and axolotl read ShareGPT's column; of other layouts a user says whether it is one.
    let is_sharegpt = matches!(format, ExampleFormat::Conversations { .. })
        && readable.iter().filter_map(|row| row.get(format.start()?)).any(is_sharegpt)
        && !map.ignores("system");
    let system = map.column(Role::System).or(is_sharegpt.then_some("system")).map(str::to_owned);
    columns(&format, system.as_deref(), map).check(path, &readable)?;
    let (map, rows) = (map.clone(), Rows::Others { sample, rows });
    Ok(ExampleReader { source, format, map, system, rows })
}

/// What is read of a row that is no pair.
fn columns<'a>(format: &ExampleFormat, system: Option<&'a str>, map: &'a ColumnMap) -> ReadColumns<'a> {
    let has_turns = matches!(format, ExampleFormat::Completions | ExampleFormat::Conversations { .. });
    ReadColumns { start: format.start(), system, takes_system: has_turns, has_tools: has_turns, map }
}

impl ExampleReader {
    /// What the rows were found to be.
    pub fn format(&self) -> &ExampleFormat {
        &self.format
    }

    /// What ought to be known of the rows read so far, and is no fault of theirs.
    pub fn notes(&self) -> Vec<String> {
        if let Rows::Pairs(pairs) = &self.rows { pairs.notes() } else { Vec::new() }
    }

    fn example(&self, mut row: Map<String, Value>) -> Result<(ExampleText, Option<Map<String, Value>>), String> {
        let text = self.format.text(&row, self.system.as_deref())?;
        match columns(&self.format, self.system.as_deref(), &self.map).unread(&row) {
            Some(unread) => Err(unread.rejection()),
            None => Ok((text, variables(&mut row)?)),
        }
    }

    fn row(&self, raw: RawRow) -> ExampleRow {
        let RawRow { row_idx, line, object, .. } = raw;
        let source = Arc::clone(&self.source);
        match object.and_then(|row| self.example(row)) {
            Ok((text, variables)) => ExampleRow::Example(Example { text, variables, source, row_idx, line }),
            Err(reason) => ExampleRow::Reject(Reject { source, row_idx, line, reason: shortened(reason) }),
        }
    }
}

impl Iterator for ExampleReader {
    type Item = Result<ExampleRow, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let raw = match &mut self.rows {
            Rows::Pairs(pairs) => {
                return Some(pairs.next()?.map(|row| match row {
                    Row::Pair(pair) => ExampleRow::Example(Example::of_pair(pair)),
                    Row::Reject(reject) => ExampleRow::Reject(reject),
                }));
            }
            Rows::Text(pieces) => {
                let source = Arc::clone(&self.source);
                let piece = pieces.next()?;
                return Some(piece.map(|text| {
                    ExampleRow::Example(Example { text, variables: None, source, row_idx: 0, line: None })
                }));
            }
            Rows::Others { sample, rows } => match sample.pop_front() {
                Some(raw) => Ok(raw),
                None => rows.next()?,
            },
        };
        Some(raw.map(|raw| self.row(raw)))
    }
}

/// Whether the name is that of a text file, perhaps a compressed one.
fn is_text(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let plain = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
    Path::new(plain).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("txt"))
}

/// A text file, piece by piece.
struct Pieces {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    /// Bytes that were read and not returned.
    rest: Vec<u8>,
    has_begun: bool,
    is_done: bool,
}

impl Pieces {
    fn open(path: &Path) -> Result<Self, DataError> {
        let reader = io::open_decoded(path)?;
        Ok(Self { path: path.to_owned(), reader, rest: Vec::new(), has_begun: false, is_done: false })
    }

    fn read(&mut self) -> Result<ExampleText, DataError> {
        let wanted = PIECE.saturating_sub(self.rest.len()) as u64;
        let mut bytes = std::mem::take(&mut self.rest);
        let read = (&mut self.reader).take(wanted).read_to_end(&mut bytes);
        let n_read = read.map_err(|source| IoError::new("read", &self.path, source))?;
        self.is_done = (n_read as u64) < wanted;
        if !self.is_done {
            self.rest = bytes.split_off(piece_length(&bytes));
        }
        let damaged = |source: std::string::FromUtf8Error| DataError::Damaged {
            path: self.path.clone(),
            rows: 0,
            source: source.into(),
        };
        let text = String::from_utf8(bytes).map_err(damaged)?;
        let is_start = !std::mem::replace(&mut self.has_begun, true);
        Ok(ExampleText::Document { text, is_start, is_end: self.is_done })
    }
}

impl Iterator for Pieces {
    type Item = Result<ExampleText, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let piece = self.read();
        self.is_done |= piece.is_err();
        Some(piece)
    }
}

/// How much of these bytes is a piece: up to the last end of a line, or else of a character.
fn piece_length(bytes: &[u8]) -> usize {
    if let Some(at) = bytes.iter().rposition(|&byte| byte == b'\n') {
        return at + 1;
    }
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, content: &[u8]) -> Result<(String, Vec<ExampleRow>), DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        io::write(&path, content).unwrap();
        let reader = open_examples(&path, &ColumnMap::default())?;
        let format = reader.format().to_string();
        Ok((format, reader.collect::<Result<_, _>>()?))
    }

    /// What the examples say, as `kind: texts`.
    fn said(rows: &[ExampleRow]) -> Vec<String> {
        let turns = |turns: &[crate::data::Message]| {
            turns.iter().map(|turn| format!("{}={}", turn.role, turn.content)).collect::<Vec<_>>().join(",")
        };
        let said = |row: &ExampleRow| match row {
            ExampleRow::Reject(reject) => format!("reject: {}", reject.reason),
            ExampleRow::Example(example) => match &example.text {
                ExampleText::Plain { prompt, completion } => format!("plain: {prompt}|{completion}"),
                ExampleText::Messages { prompt, completion, .. } => {
                    format!("messages: {}|{}", turns(prompt), turns(completion))
                }
                ExampleText::Conversation { messages, .. } => format!("conversation: {}", turns(messages)),
                ExampleText::Document { text, is_end, .. } => format!("document: {text}|{is_end}"),
            },
        };
        rows.iter().map(said).collect()
    }

    #[test]
    fn each_kind_of_row_is_told_by_its_columns() {
        for (line, format, want) in [
            (
                r#"{"prompt": "p", "chosen": "c", "rejected": "r", "messages": [{"role": "user", "content": "x"}]}"#,
                "the preferred answers of TRL standard with explicit prompt (`prompt`, `chosen`, `rejected`)",
                "plain: p|c",
            ),
            (r#"{"prompt": "p", "completion": "c"}"#, "answers (`prompt`, `completion`)", "plain: p|c"),
            (
                r#"{"prompt": [{"role": "user", "content": "p"}], "completion": [{"role": "assistant", "content": "c"}]}"#,
                "answers (`prompt`, `completion`)",
                "messages: user=p|assistant=c",
            ),
            (
                r#"{"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "c"}]}"#,
                "conversations (`messages`)",
                "conversation: user=p,assistant=c",
            ),
            (
                r#"{"conversations": [{"from": "human", "value": "p"}, {"from": "gpt", "value": "c"}], "text": "t"}"#,
                "conversations (`conversations`)",
                "conversation: user=p,assistant=c",
            ),
            (r#"{"text": "t", "id": 3}"#, "documents (`text`)", "document: t|true"),
        ] {
            let (found, rows) = read("a.jsonl", line.as_bytes()).unwrap();
            assert_eq!((found.as_str(), said(&rows)), (format, vec![want.to_owned()]));
        }
    }

    #[test]
    fn a_row_that_lacks_the_column_is_a_reject_with_its_place() {
        let (_, rows) = read("a.jsonl", b"{\"text\": \"t\"}\n{\"body\": 1}\n").unwrap();
        let ExampleRow::Reject(reject) = &rows[1] else { panic!("{rows:?}") };
        assert_eq!((reject.row_idx, reject.line), (1, Some(2)));
        assert_eq!(reject.reason, "column `text` is missing (found: body)");
    }

    #[test]
    fn what_holds_nothing_to_learn_is_refused_by_its_columns() {
        let error = read("a.jsonl", b"{\"question\": \"q\", \"answer\": \"a\"}").unwrap_err().to_string();
        assert!(error.contains("columns found: question, answer"), "{error}");
        // An answer with a label may be a bad one.
        let labelled = br#"{"prompt": "p", "completion": "c", "label": false}"#;
        assert!(matches!(read("a.jsonl", labelled), Err(DataError::NotExamples { recognised: Some(_), .. })));
        assert!(matches!(read("a.jsonl", b""), Err(DataError::Empty { .. })));
    }

    #[test]
    fn a_system_column_is_read_or_refused_by_name() {
        let turns = r#"[{"from": "human", "value": "p"}, {"from": "gpt", "value": "c"}]"#;
        let sharegpt = format!(r#"{{"conversations": {turns}, "system": "s"}}"#);
        assert_eq!(
            said(&read("a.jsonl", sharegpt.as_bytes()).unwrap().1),
            ["conversation: system=s,user=p,assistant=c"]
        );
        let messages = br#"{"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "c"}], "system": "s"}"#;
        assert!(matches!(read("a.jsonl", messages), Err(DataError::Unread { column, .. }) if column == "system"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let mapped = |line: &[u8], map: &str| {
            io::write(&path, line).unwrap();
            said(&open_examples(&path, &map.parse().unwrap()).unwrap().collect::<Result<Vec<_>, _>>().unwrap())
        };
        assert_eq!(mapped(messages, "system=system"), ["conversation: system=s,user=p,assistant=c"]);
        assert_eq!(mapped(messages, "ignore=system"), ["conversation: user=p,assistant=c"]);
        let answer = br#"{"prompt": "p", "completion": "c", "role": "s"}"#;
        assert_eq!(mapped(answer, "system=role"), ["messages: system=s,user=p|assistant=c"]);
        let images = br#"{"text": "t", "images": ["a.png"]}"#;
        assert!(matches!(read("a.jsonl", images), Err(DataError::Unread { .. })));
    }

    #[test]
    fn weights_of_turns_say_what_is_learnt_and_are_no_part_of_them() {
        let turn = |weight: &str| format!(r#"{{"role": "assistant", "content": "c"{weight}}}"#);
        let learnt = |weight: &str| {
            let row = format!(r#"{{"messages": [{{"role": "user", "content": "p", "weight": 0}}, {}]}}"#, turn(weight));
            match read("a.jsonl", row.as_bytes()).unwrap().1.remove(0) {
                ExampleRow::Example(Example {
                    text: ExampleText::Conversation { messages, is_learnt, .. }, ..
                }) => {
                    assert!(messages.iter().all(|turn| turn.extra.is_empty()));
                    Ok(is_learnt[1])
                }
                ExampleRow::Reject(reject) => Err(reject.reason),
                ExampleRow::Example(other) => panic!("{other:?}"),
            }
        };
        for (weight, want) in [
            ("", Ok(true)),
            (r#", "weight": 1"#, Ok(true)),
            (r#", "weight": 0"#, Ok(false)),
            (r#", "train": false"#, Ok(false)),
            (r#", "loss": true"#, Ok(true)),
            (r#", "loss_weight": 0.0"#, Ok(false)),
            (
                r#", "weight": 0, "train": true"#,
                Err("column `messages`, turn 2: `train` disagrees with another weight of the turn"),
            ),
            (
                r#", "weight": 2"#,
                Err("column `messages`, turn 2: expected `weight` to be 0, 1, `true` or `false`, found `2`"),
            ),
        ] {
            assert_eq!(learnt(weight), want.map_err(str::to_owned), "{weight}");
        }
    }

    #[test]
    fn a_label_that_is_a_name_says_nothing_of_good_and_bad() {
        let (format, _) = read("a.jsonl", br#"{"prompt": "p", "completion": "c", "label": "greeting"}"#).unwrap();
        assert_eq!(format, "answers (`prompt`, `completion`)");
    }

    #[test]
    fn a_text_is_one_document_whose_pieces_lose_nothing() {
        let (format, rows) = read("a.txt", "é\n".as_bytes()).unwrap();
        assert_eq!((format.as_str(), said(&rows)), ("one document", vec!["document: é\n|true".to_owned()]));
        // Lines that do not end at a piece's end, and a text without lines whose characters do not.
        for text in ["a line of text\n".repeat(150_000), "€".repeat(700_000)] {
            let (_, rows) = read("a.txt", text.as_bytes()).unwrap();
            let mut joined = String::new();
            for (index, row) in rows.iter().enumerate() {
                let ExampleRow::Example(Example { text: ExampleText::Document { text, is_start, is_end }, .. }) = row
                else {
                    panic!("{row:?}")
                };
                assert_eq!((*is_start, *is_end), (index == 0, index + 1 == rows.len()));
                assert!(text.len() <= PIECE);
                joined += text;
            }
            assert!(rows.len() > 1 && joined == text);
        }
        assert!(matches!(read("a.txt", b"\xff\xfe"), Err(DataError::Damaged { .. })));
    }
}
