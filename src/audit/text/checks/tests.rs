//! What the checks say of small tables, and what they refuse.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use tempfile::TempDir;

use super::*;
use crate::io;
use crate::query::Session;
use crate::table::tests::{batch, provenance};
use crate::table::{Manifest, ReferenceTable, TableFolder, write_part};

/// A table of these prompts, chosen and rejected answers; its pairs are `pair-0`, `pair-1` and so on.
fn table(folder: &Path, pairs: &[[&str; 3]]) -> ReferenceTable {
    let rows = batch(0..u32::try_from(pairs.len()).unwrap());
    let mut columns = rows.columns().to_vec();
    for (at, name) in ["prompt", "chosen", "rejected"].into_iter().enumerate() {
        let texts: StringArray = pairs.iter().map(|pair| Some(pair[at])).collect();
        columns[rows.schema().index_of(name).unwrap()] = Arc::new(texts) as ArrayRef;
    }
    let rows = RecordBatch::try_new(rows.schema(), columns).unwrap();
    let table = TableFolder::claim(folder).unwrap();
    let part = write_part(&table.part_path(0), &rows, &provenance()).unwrap();
    table.finish(&Manifest::new(provenance(), vec![part], None)).unwrap();
    ReferenceTable::open(folder).unwrap()
}

struct Case {
    folder: TempDir,
    table: ReferenceTable,
    against: Vec<PathBuf>,
    changed: Vec<(&'static str, f64)>,
}

impl Case {
    fn of(pairs: &[[&str; 3]]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let table = table(&folder.path().join("table"), pairs);
        Self { folder, table, against: Vec::new(), changed: Vec::new() }
    }

    fn threshold(mut self, name: &'static str, value: f64) -> Self {
        self.changed.push((name, value));
        self
    }

    fn against(mut self, name: &str, lines: &str) -> Self {
        let path = self.folder.path().join(name);
        io::write(&path, lines.as_bytes()).unwrap();
        self.against.push(path);
        self
    }

    fn run(&self, id: &str) -> Result<(Outcome, Vec<Hit>), AuditError> {
        let check = checks().into_iter().find(|check| check.info().id == id).unwrap();
        let mut thresholds = check.info().thresholds.clone();
        for &(name, value) in &self.changed {
            assert!(thresholds.insert(name.to_owned(), value).is_some(), "`{id}` has no threshold `{name}`");
        }
        let session = Session::new().unwrap();
        let ctx = Context { table: &self.table, session: &session, thresholds: &thresholds, against: &self.against };
        let mut hits = Vec::new();
        let mut found = |hit| {
            hits.push(hit);
            Ok(())
        };
        let outcome = check.run(&ctx, &mut found)?;
        Ok((outcome, hits))
    }

    /// Pairs and evidence, of a check that has looked.
    #[track_caller]
    fn found(&self, id: &str) -> Vec<(String, String)> {
        let (outcome, hits) = self.run(id).unwrap();
        assert_eq!(outcome, Outcome::Done);
        hits.into_iter().map(|hit| (hit.pair_id.unwrap_or_else(|| "data".into()), hit.evidence)).collect()
    }

    #[track_caller]
    fn check(&self, id: &str, want: &[(&str, &str)]) {
        let found = self.found(id);
        let found: Vec<(&str, &str)> = found.iter().map(|(pair, words)| (pair.as_str(), words.as_str())).collect();
        assert_eq!(found, want);
    }
}

#[test]
fn every_check_has_a_name_of_its_own_and_says_everything_of_itself() {
    let checks = checks();
    let mut ids: Vec<&str> = checks.iter().map(|check| check.info().id.as_str()).collect();
    assert_eq!(ids, ["B5", "B7", "B10", "B11", "C2", "C3", "C5", "C6", "C8", "I4"]);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), checks.len());
    for check in &checks {
        let info = check.info();
        for words in [&info.title, &info.question, &info.formula, &info.source, &info.advice] {
            assert!(!words.is_empty(), "{}", info.id);
        }
        let explained = check.explain(&info.thresholds);
        assert!(info.thresholds.keys().all(|name| explained.contains(&format!("{name} = "))), "{explained}");
    }
}

#[test]
fn answers_that_hardly_differ_are_found_but_not_identical_ones() {
    let case = Case::of(&[
        ["q", "the quick brown fox jumps", " the quick brown fox jumpt\n"],
        ["q", "the same", "the same "],
        ["q", "one thing", "another"],
    ]);
    // One of 25 characters.
    case.check("B5", &[("pair-0", "chosen and rejected differ in 4.0 % of their characters")]);
    assert_eq!(case.threshold("similarity", 0.97).found("B5"), []);
}

#[test]
fn turns_in_answers_and_personal_strings_are_counted_and_not_shown() {
    let case = Case::of(&[
        ["q", "Yes.\n\nHuman: And?", "no"],
        ["mail jane@uni-jena.de", "sure", "Call +49 30 901820<|im_end|>, jane@uni-jena.de"],
    ]);
    case.check(
        "B7",
        &[("pair-0", "chosen: 1 × role at the start of a line"), ("pair-1", "rejected: 1 × ChatML token")],
    );
    case.check("B10", &[("pair-1", "prompt: 1 × mail address; rejected: 1 × mail address, 1 × phone number")]);
}

#[test]
fn an_answer_in_another_language_is_found() {
    let english =
        "Please explain in a few sentences why the sky looks blue during the day, and why the light turns red.";
    let german = "Das Licht der Sonne wird in der Luft gestreut, und zwar das blaue viel stärker als das rote Licht.";
    let case = Case::of(&[[english, german, english], [english, english, german], [english, "Nein.", german]]);
    case.check("B11", &[("pair-0", "prompt in `eng`, chosen in `deu`, rejected in `eng`")]);
    // What leaves the language of the prompt won against what kept it.
    assert_eq!(case.run("B11").unwrap().1[0].level, Some(Level::Warn));
    let russian =
        "Солнечный свет рассеивается в воздухе, причём синий сильнее красного, поэтому днём небо кажется нам голубым.";
    let neither = Case::of(&[[english, german, russian], [english, german, german]]);
    neither.check("B11", &[("pair-0", "prompt in `eng`, chosen in `deu`, rejected in `rus`")]);
    assert_eq!(neither.run("B11").unwrap().1[0].level, None);
    assert_eq!(case.threshold("letters", 1000.0).found("B11"), []);
}

#[test]
fn languages_of_prompts_are_counted_apart() {
    let english =
        "Please explain in a few sentences why the sky looks blue during the day, and why the light turns red.";
    let german = "Das Licht der Sonne wird in der Luft gestreut, und zwar das blaue viel stärker als das rote Licht.";
    let case = Case::of(&[[english, "a", "b"], [german, "a", "b"], ["Hm.", "a", "b"], [english, "c", "d"]]);
    assert_eq!(case.found("I4"), [], "all are fewer than 20");
    // Pair i has i + 1 chosen tokens at −0.5 nats and 2 rejected ones at −1.25: sums −0.5·(i + 1) and −2.5. The two answers
    // of pair 1 are as long: half a pair.
    case.threshold("pairs", 1.0).check(
        "I4",
        &[
            ("data", "`deu`: 1 pairs, the reference prefers chosen in 100.0 % by sum and 100.0 % per token, chosen is longer in 50.0 %"),
            ("data", "`eng`: 2 pairs, the reference prefers chosen in 100.0 % by sum and 100.0 % per token, chosen is longer in 50.0 %"),
            ("data", "`none`: 1 pairs, the reference prefers chosen in 100.0 % by sum and 100.0 % per token, chosen is longer in 100.0 %"),
        ],
    );
}

#[test]
fn verdicts_that_do_not_go_together_name_each_other() {
    let case = Case::of(&[
        ["p", "a", "b"],
        ["p", "b ", "a"],
        ["q", "x", "y"],
        ["q", "y", "z"],
        ["q", "z", "x"],
        ["r", "x", "z"],
    ]);
    case.check(
        "C2",
        &[
            ("pair-0", "pair `pair-1` has the answers swapped; 1 for this verdict, 1 against it"),
            ("pair-1", "pair `pair-0` has the answers swapped; 1 for this verdict, 1 against it"),
        ],
    );
    // All but `x` of `r`; `b` and `a` lose once, and so do `x`, `y` and `z` of `q`.
    let line = "5 of 6 pairs choose an answer that other pairs of the prompt reject; most losses of one: 1";
    case.check("C3", &[("data", line)]);
    assert_eq!(Case::of(&[["p", "a", "b"], ["q", "b", "a"]]).found("C3"), []);
    let circle = "3 answers beat each other in circles, one of 3 pairs: `pair-2`, `pair-3`, `pair-4`";
    case.check("C8", &[("pair-2", circle), ("pair-3", circle), ("pair-4", circle)]);
}

#[test]
fn prompts_that_say_nearly_the_same_are_a_cluster_with_their_repetitions() {
    let case = Case::of(&[
        ["Tell me about the moon, please!", "a", "b"],
        ["Name three rivers of France.", "a", "b"],
        ["tell me about the moon please", "a", "b"],
        ["Tell me about the moon, please!", "c", "d"],
    ]);
    case.check(
        "C5",
        &[
            ("pair-0", "nearest prompt is that of pair `pair-2`, Jaccard 1.000; cluster 1 of 3 pairs"),
            ("pair-2", "nearest prompt is that of pair `pair-0`, Jaccard 1.000; cluster 1 of 3 pairs"),
            ("pair-3", "nearest prompt is that of pair `pair-2`, Jaccard 1.000; cluster 1 of 3 pairs"),
        ],
    );
}

#[test]
fn prompts_of_an_evaluation_are_found_with_their_place() {
    // Fourteen words: seven 8-grams, two 13-grams; the second prompt has the first nine, two 8-grams.
    let question = "which of these rivers is the longest one in the north of old france";
    let part = "which of these rivers is the longest one in asia";
    let asked =
        format!("{{\"question\": \"Who wrote Hamlet?\"}}\n{{\"question\": \"{question}\"}}\n{{\"other\": 1}}\n");
    let pairs = [["who wrote hamlet", "a", "b"], [part, "a", "b"], [question, "a", "b"], ["who wrote it", "a", "b"]];
    let case = Case::of(&pairs).against("asked.jsonl", &asked);
    let path = case.against[0].display().to_string();
    case.check(
        "C6",
        &[
            ("data", &format!("rows without a prompt, compared with nothing, in `{path}`: 1")),
            ("pair-0", &format!("the same prompt as row 0 of `{path}`")),
            ("pair-2", &format!("the same prompt as row 1 of `{path}`")),
        ],
    );
    let found = case.threshold("share_8", 0.25).found("C6");
    assert_eq!(
        found[2],
        ("pair-1".into(), format!("29 % of the 8-grams and 0 % of the 13-grams of row 1 of `{path}`"))
    );
}

#[test]
fn a_phrase_in_common_with_an_evaluation_is_not_its_prompt() {
    // Eighteen words have six 13-grams and eleven 8-grams; the first thirteen have one and six of them.
    let part = "write a short story of a child who walks to the old mill";
    let question = format!("{part} by night and is lost");
    let case = Case::of(&[[part, "a", "b"]]).against("asked.jsonl", &format!("{{\"prompt\": \"{question}\"}}\n"));
    assert_eq!(case.found("C6"), []);
    let path = case.against[0].display().to_string();
    let found = format!("55 % of the 8-grams and 17 % of the 13-grams of row 0 of `{path}`");
    case.threshold("share_13", 0.15).check("C6", &[("pair-0", &found)]);
}

#[test]
fn a_check_that_cannot_look_says_why() {
    let (outcome, hits) = Case::of(&[["q", "a", "b"]]).run("C6").unwrap();
    assert!(matches!(outcome, Outcome::Skipped(why) if why.contains("`--against`")));
    assert_eq!(hits, []);
    for check in checks().iter().filter(|check| check.info().id != "C6") {
        let (outcome, hits) = Case::of(&[["", "", ""], ["", "", ""]]).run(&check.info().id).unwrap();
        assert_eq!(outcome, Outcome::Skipped("the table has no text".into()), "{}", check.info().id);
        assert_eq!(hits, []);
    }
}

#[test]
fn thresholds_out_of_range_are_refused() {
    let refused =
        |id, name, value| Case::of(&[["q", "a", "b"]]).threshold(name, value).run(id).unwrap_err().to_string();
    assert_eq!(
        refused("C5", "similarity", 0.0),
        "threshold `similarity`: expected a share above 0 and at most 1, found 0"
    );
    assert_eq!(refused("C5", "ngram", 2.5), "threshold `ngram`: expected a whole number from 1 on, found 2.5");
    assert!(refused("B5", "similarity", f64::NAN).ends_with("found NaN"));
}
