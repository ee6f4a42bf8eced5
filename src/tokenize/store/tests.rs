use std::sync::Arc;

use arrow::array::{Array, Int32Array};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::*;
use crate::data::{Message, PairId, PairText, Source};
use crate::tokenize::TokensId;

fn pair(row_idx: u64, text: PairText, extra: &Json) -> PreferencePair {
    let source = Arc::new(Source { path: "data/rows.jsonl".into(), split: "train".into() });
    PreferencePair {
        id: PairId::of(&text),
        text,
        source,
        row_idx,
        line: None,
        extra: extra.as_object().unwrap().clone(),
    }
}

fn plain(prompt: &str, chosen: &str, rejected: &str) -> PairText {
    PairText::Plain { prompt: prompt.into(), chosen: chosen.into(), rejected: rejected.into() }
}

fn tokens(prompt_ids: Vec<u32>, chosen_ids: Vec<u32>, rejected_ids: Vec<u32>) -> TokenizedPair {
    TokenizedPair {
        tokens_id: TokensId::of(&prompt_ids, &chosen_ids, &rejected_ids),
        prompt_ids,
        chosen_ids,
        rejected_ids,
        prompt_cut: 1,
        chosen_cut: 2,
        rejected_cut: 3,
        boundary_moved: 4,
    }
}

fn write(folder: &Path, rows: &[(PreferencePair, TokenizedPair)]) -> TokenStore {
    let mut writer = StoreWriter::create(folder).unwrap();
    for (pair, tokens) in rows {
        writer.push(pair, tokens).unwrap();
    }
    writer.finish().unwrap()
}

fn text(batch: &RecordBatch, column: &str, row: usize) -> String {
    batch.column_by_name(column).unwrap().as_string::<i32>().value(row).to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_row_comes_back(
        rows in vec((".{0,40}", ".{0,40}", vec(any::<u32>(), 1..9), vec(any::<u32>(), 1..9), any::<i64>()), 0..40),
        cut in 0..40_usize,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let rows: Vec<_> = (0..)
            .zip(rows)
            .map(|(row_idx, (prompt, chosen, prompt_ids, chosen_ids, score))| {
                let extra = json!({"score": score, "note": chosen});
                let tokens = tokens(prompt_ids, chosen_ids.clone(), chosen_ids);
                (pair(row_idx, plain(&prompt, &chosen, ""), &extra), tokens)
            })
            .collect();
        let store = write(folder.path(), &rows);

        prop_assert_eq!(store.len(), rows.len());
        for (row, (pair, tokens)) in rows.iter().enumerate() {
            let TokenizedPair { prompt_ids, chosen_ids, rejected_ids, .. } = tokens;
            prop_assert_eq!(store.ids(row), (prompt_ids.as_slice(), chosen_ids.as_slice(), rejected_ids.as_slice()));
            prop_assert_eq!(store.lengths(row), (prompt_ids.len(), chosen_ids.len(), rejected_ids.len()));
            prop_assert_eq!(store.pair_id(row), pair.id.to_string());
            prop_assert_eq!(store.tokens_id(row), tokens.tokens_id.to_string());
        }
        let cut = cut.min(rows.len());
        let slice = store.slice(cut..rows.len()).unwrap();
        prop_assert_eq!(slice.num_rows(), rows.len() - cut);
        let pass_through = store.pass_through_columns(&slice).unwrap();
        for (row, (pair, _)) in rows[cut..].iter().enumerate() {
            prop_assert_eq!(text(&slice, "prompt", row), pair.text.prompt_text());
            prop_assert_eq!(text(&slice, "extra", row), Json::Object(pair.extra.clone()).to_string());
            prop_assert_eq!(Json::from(pass_through[0].1.as_primitive::<arrow::datatypes::Int64Type>().value(row)),
                pair.extra["score"].clone());
            prop_assert_eq!(pass_through[1].1.as_string::<i32>().value(row), pair.extra["note"].as_str().unwrap());
        }
    }
}

#[test]
fn rows_are_found_across_batches_and_slices_are_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let n_rows = 2 * BATCH_ROWS + 7;
    let rows: Vec<_> = (0..n_rows)
        .map(|row| {
            let id = u32::try_from(row).unwrap();
            (pair(row as u64, plain(&row.to_string(), "b", "c"), &json!({})), tokens(vec![id], vec![id, 1], vec![id]))
        })
        .collect();
    let store = write(folder.path(), &rows);

    assert_eq!(store.rows.batches().len(), 3);
    for row in [0, BATCH_ROWS - 1, BATCH_ROWS, 2 * BATCH_ROWS, n_rows - 1] {
        assert_eq!(store.ids(row).0, [u32::try_from(row).unwrap()]);
    }
    for range in [0..1, BATCH_ROWS - 1..BATCH_ROWS + 1, 0..n_rows, 5..5] {
        let slice = store.slice(range.clone()).unwrap();
        let found: Vec<String> = (0..slice.num_rows()).map(|row| text(&slice, "prompt", row)).collect();
        assert_eq!(found, range.map(|row| row.to_string()).collect::<Vec<_>>());
    }
}

#[test]
fn a_batch_is_closed_before_it_is_too_large() {
    let folder = tempfile::tempdir().unwrap();
    let long = "x".repeat(BATCH_BYTES / 2);
    let rows: Vec<_> =
        (0..3).map(|row| (pair(row, plain(&long, "b", "c"), &json!({})), tokens(vec![1], vec![2], vec![3]))).collect();
    let store = write(folder.path(), &rows);
    assert_eq!(store.rows.batches().map(|(start, _)| start).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn columns_are_the_first_of_the_log_prob_table() {
    use crate::table::schema::reference::{COLUMNS, STORE_COLUMNS};
    let expected =
        COLUMNS[..STORE_COLUMNS].iter().map(|column| (column.name, column.data_type.arrow(), column.nullable));
    let found = SCHEMA.fields()[..STORE_COLUMNS].iter();
    let found = found.map(|field| (field.name().as_str(), field.data_type().clone(), field.is_nullable()));
    assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    assert_eq!(LATER_COLUMNS.to_vec(), COLUMNS[STORE_COLUMNS..].iter().map(|column| column.name).collect::<Vec<_>>());
}

#[test]
fn messages_are_kept_as_they_were_and_plain_strings_have_none() {
    let folder = tempfile::tempdir().unwrap();
    let turn = |role: &str, content: &str| Message { role: role.into(), content: content.into(), extra: Map::new() };
    let messages = PairText::Messages {
        prompt: vec![turn("user", "Hello")],
        chosen: vec![turn("assistant", "Hi")],
        rejected: vec![turn("assistant", "No")],
        tools: None,
    };
    let ids = || tokens(vec![1, 2], vec![3], vec![4]);
    let rows = [(pair(0, messages.clone(), &json!({})), ids()), (pair(7, plain("q", "a", "b"), &json!({})), ids())];
    let slice = write(folder.path(), &rows).slice(0..2).unwrap();

    assert_eq!(Some(text(&slice, "conversation", 0)), messages.conversation_json());
    assert!(slice.column_by_name("conversation").unwrap().is_null(1));
    assert_eq!(text(&slice, "split", 1), "train");
    let counts =
        |column: &str| slice.column_by_name(column).unwrap().as_any().downcast_ref::<Int32Array>().unwrap().value(1);
    let columns = ["prompt_tokens", "chosen_tokens", "prompt_cut", "chosen_cut", "rejected_cut", "boundary_moved"];
    assert_eq!(columns.map(counts), [2, 1, 1, 2, 3, 4]);
}

#[test]
fn an_empty_store_is_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = write(folder.path(), &[]);
    assert!(store.is_empty());
    assert_eq!((store.len(), store.slice(0..0).unwrap().num_rows()), (0, 0));
    assert!(store.pass_through().is_empty());
}

#[test]
fn names_of_the_log_prob_table_are_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    let extra = json!({"source": "web", "ref_chosen_logps": -1.5, "score": 2});
    let store = write(folder.path(), &[(pair(0, plain("a", "b", "c"), &extra), tokens(vec![1], vec![2], vec![3]))]);
    let columns = store.pass_through_columns(&store.slice(0..1).unwrap()).unwrap();
    let names: Vec<&str> = columns.iter().map(|(field, _)| field.name().as_str()).collect();
    assert_eq!(names, ["source_in_data", "ref_chosen_logps_in_data", "score"]);
    assert_eq!(columns[0].1.as_string::<i32>().value(0), "web");
}
