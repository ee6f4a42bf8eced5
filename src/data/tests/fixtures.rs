//! Every file of `fixtures/pairs`: what it is found to be, how many pairs and rejects it has.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::json;

use super::{shown, split};
use crate::data::{ColumnMap, PairReader, PairText, PreferencePair, Reject, open};

fn open_fixture(name: &str, map: &str) -> PairReader {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/pairs").join(name);
    open(&path, &if map.is_empty() { ColumnMap::default() } else { map.parse().unwrap() }).unwrap()
}

fn read_fixture(name: &str, map: &str) -> (Vec<PreferencePair>, Vec<Reject>) {
    split(open_fixture(name, map))
}

/// The number of turns of the prompt and the two completions; 0 for plain text.
fn n_turns(pair: &PreferencePair) -> [usize; 3] {
    match &pair.text {
        PairText::Plain { .. } => [0; 3],
        PairText::Messages { prompt, chosen, rejected, .. } => [prompt.len(), chosen.len(), rejected.len()],
    }
}

const FILES: [(&str, &str, &str, usize); 8] = [
    ("standard.jsonl", "", "TRL standard with explicit prompt", 42),
    ("conversational.jsonl", "", "TRL conversational with explicit prompt", 40),
    ("implicit.jsonl", "", "TRL conversational with implicit prompt", 17),
    ("transcripts.jsonl.gz", "", "hh-rlhf transcripts", 24),
    ("sharegpt.json", "", "ShareGPT conversations", 16),
    ("ultrafeedback.jsonl.zst", "", "prompt string with message completions (UltraFeedback)", 16),
    ("openai.jsonl", "", "OpenAI preference pairs", 10),
    ("columns.parquet", "prompt=question,chosen=better,rejected=worse", "TRL standard with explicit prompt", 10),
];

#[test]
fn every_good_row_is_a_pair_of_its_own() {
    let mut ids = BTreeSet::new();
    for (name, map, format, n_pairs) in FILES {
        let reader = open_fixture(name, map);
        assert_eq!(reader.format().to_string(), format, "{name}");
        let (pairs, rejects) = split(reader);
        assert_eq!(rejects, [], "{name}");
        assert_eq!(pairs.len(), n_pairs, "{name}");
        for (row_idx, pair) in (0..).zip(&pairs) {
            assert_eq!(pair.row_idx, row_idx, "{name}");
            assert!(
                !pair.text.prompt_text().is_empty() && !pair.text.chosen_text().is_empty(),
                "{name}, row {row_idx}"
            );
            assert_ne!(pair.text.chosen_text(), pair.text.rejected_text(), "{name}, row {row_idx}");
            assert!(ids.insert(pair.id), "{name}, row {row_idx} repeats another row");
        }
    }
}

#[test]
fn prompts_end_where_the_last_answers_begin() {
    for name in ["conversational.jsonl", "implicit.jsonl", "sharegpt.json", "ultrafeedback.jsonl.zst", "openai.jsonl"] {
        for pair in read_fixture(name, "").0 {
            let PairText::Messages { prompt, .. } = &pair.text else { panic!("{name}") };
            assert_eq!(prompt.last().unwrap().role, "user", "{name}, row {}", pair.row_idx);
            assert_eq!(n_turns(&pair)[1..], [1, 1], "{name}, row {}", pair.row_idx);
        }
    }
    for pair in read_fixture("transcripts.jsonl.gz", "").0 {
        let PairText::Plain { prompt, chosen, rejected } = &pair.text else { panic!("messages") };
        assert!(prompt.starts_with("\n\nHuman: ") && prompt.ends_with("\n\nAssistant:"), "{prompt:?}");
        for completion in [chosen, rejected] {
            assert!(completion.starts_with(' ') && !completion.contains("\n\nHuman:"), "{completion:?}");
        }
    }
}

#[test]
fn the_other_columns_are_passed_on() {
    let extra = |name, map| serde_json::Value::Object(read_fixture(name, map).0[1].extra.clone());
    assert_eq!(extra("columns.parquet", "prompt=question,chosen=better,rejected=worse"), json!({"votes": 17}));
    let (pairs, _) = read_fixture("ultrafeedback.jsonl.zst", "");
    for pair in pairs {
        let columns: Vec<&str> = pair.extra.keys().map(String::as_str).collect();
        assert!(columns.contains(&"prompt_id") && columns.contains(&"score_chosen"), "{columns:?}");
        assert!(
            !columns.iter().any(|column| ["prompt", "chosen", "rejected", "messages"].contains(column)),
            "{columns:?}"
        );
    }
}

#[test]
fn awkward_rows_are_pairs() {
    let (pairs, rejects) = read_fixture("edge.jsonl", "");
    assert_eq!((pairs.len(), rejects), (16, vec![]));
    for pair in &pairs {
        assert!(pair.extra.contains_key("case"), "{pair:?}");
    }
    assert_eq!(shown(&pairs[0].text)[1], "");
    assert_eq!(pairs[2].text.chosen_text(), pairs[2].text.rejected_text());
}

#[test]
fn each_bad_row_is_rejected_with_its_line_and_reason() {
    let reader = open_fixture("bad.jsonl", "");
    assert_eq!(reader.format().to_string(), "TRL standard with explicit prompt");
    let (pairs, rejects) = split(reader);
    assert_eq!(pairs.iter().map(|pair| pair.row_idx).collect::<Vec<_>>(), [0, 6, 12]);
    let found: Vec<_> = rejects.iter().map(|reject| (reject.line.unwrap(), reject.reason.as_str())).collect();
    let want = [
        (2, "column `rejected` is missing (found: prompt, chosen)"),
        (3, "column `rejected`: expected a string, found a number"),
        (4, "not JSON: expected value at byte 1"),
        (5, "not JSON: EOF while parsing a string at byte 87"),
        (6, "column `chosen` is null"),
        (8, "column `prompt` is missing (the row is empty)"),
        (9, "column `prompt`: expected a string, found a list"),
        (10, "column `prompt`: expected a string, found a list"),
        (11, "expected a JSON object, found a list"),
        (12, "column `prompt`: expected a string, found an object"),
    ];
    assert_eq!(found, want);
}
