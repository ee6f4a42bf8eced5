//! Every function answers its example, takes nulls and columns, and says what it needs.

use arrow::array::AsArray;
use arrow::util::display::array_value_to_string;

use super::*;
use crate::error::Hint;
use crate::model_source::ModelSource;
use crate::query::{QueryError, Resources, Session};

fn tokenizer() -> TokenizerFiles {
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny");
    TokenizerFiles::load(&ModelSource::Folder(tiny.into())).unwrap()
}

fn session() -> Session {
    Session::with(Resources { tokenizer: Some(tokenizer()), ..Resources::default() }).unwrap()
}

/// The one value that a query answers.
#[track_caller]
fn value(session: &Session, sql: &str) -> String {
    let batches = session.query(sql).unwrap();
    assert_eq!(batches.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), 1, "{sql}");
    let batch = batches.iter().find(|batch| batch.num_rows() == 1).unwrap();
    array_value_to_string(batch.column(0), 0).unwrap()
}

#[test]
fn every_example_has_its_answer() {
    let session = session();
    for function in FUNCTIONS {
        assert_eq!(value(&session, function.example), function.answer, "{}", function.call);
        assert!(function.example.contains(function.name()), "{}", function.call);
    }
    assert!(FUNCTIONS.is_sorted_by_key(Function::name));
}

#[test]
fn a_null_argument_makes_null() {
    let session = session();
    for call in [
        "sigmoid(NULL)",
        "reward(0.1, NULL, -1.0)",
        "dpo_loss(0.1, -1, -1, -1, NULL)",
        "jaccard('a', NULL)",
        "n_tokens(NULL)",
        "token_text(NULL)",
        "tokenize(NULL)",
    ] {
        assert_eq!(value(&session, &format!("SELECT {call} IS NULL")), "true", "{call}");
    }
}

/// A pair whose policy is its reference has loss ln 2, rewards 0 and an even chance.
#[test]
fn a_run_starts_where_the_losses_say() {
    let session = session();
    assert_eq!(value(&session, "SELECT dpo_loss(0.1, -5, -7, -5, -7)"), std::f64::consts::LN_2.to_string());
    assert_eq!(value(&session, "SELECT bt_prob(reward(0.1, -5, -5), reward(0.1, -7, -7))"), "0.5");
}

#[test]
fn columns_of_any_number_type_and_of_text_are_taken_row_by_row() {
    let session = session();
    let sql = "SELECT count(*) FILTER (WHERE abs(sigmoid(x) + sigmoid(-x) - 1) < 1e-15) \
               FROM (SELECT CAST(value AS REAL) AS x FROM generate_series(-500, 500))";
    assert_eq!(value(&session, sql), "1001");
    let sql =
        "SELECT sum(jaccard(a, b)) FROM (VALUES ('a b', 'b a'), ('a', 'b'), ('', '.'), ('A b', 'a c d')) AS t(a, b)";
    // 1 + 0 + 1 + 1/4.
    assert_eq!(value(&session, sql), "2.25");
}

#[test]
fn robust_scores_are_of_their_window() {
    let session = session();
    let values = "(VALUES ('a', 1.0), ('a', 2.0), ('a', 9.0), ('b', 5.0), ('b', 5.0), ('b', 8.0), ('c', NULL), ('a', NULL), \
                  ('a', 'NaN'::double)) AS t(g, x)";
    // Of group a: median 2, deviations 1, 0, 7, MAD 1.
    let sql = format!(
        "SELECT max(z) FILTER (WHERE NOT isnan(z)) FROM (SELECT robust_z(x) OVER (PARTITION BY g) AS z FROM {values})"
    );
    assert_eq!(value(&session, &sql), (0.6745 * 7.0).to_string());
    // Two of three are equal in b, and c knows nothing: 3 + 1 nulls, and one of a.
    let sql = format!(
        "SELECT count(*) FILTER (WHERE z IS NULL) FROM (SELECT robust_z(x) OVER (PARTITION BY g) AS z FROM {values})"
    );
    assert_eq!(value(&session, &sql), "5");
    let sql = format!(
        "SELECT string_agg(CAST(m AS VARCHAR), ',' ORDER BY g) FROM (SELECT g, mad(x) AS m FROM {values} GROUP BY g)"
    );
    assert_eq!(value(&session, &sql), "1.0,0.0");
}

/// Many batches on several threads come to one state.
#[test]
fn mad_merges_what_threads_have_seen() {
    let session = session();
    // 1..=100001: median 50001, deviations 0, 1, 1, 2, 2, …: their median is 25000.
    let sql = "SELECT mad(value) FROM generate_series(1, 100001)";
    assert_eq!(value(&session, sql), "25000.0");
}

#[test]
fn tokens_are_counted_and_spelt_out_as_the_tokenizer_has_them() {
    let (session, tokenizer) = (session(), tokenizer());
    let text = "Is it? Yes, it is.";
    let ids = tokenizer.tokenizer().encode_fast(text, false).unwrap().get_ids().to_vec();
    assert_eq!(value(&session, &format!("SELECT n_tokens('{text}')")), ids.len().to_string());
    let list = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    assert_eq!(value(&session, &format!("SELECT tokenize('{text}')")), format!("[{list}]"));
    let batches = session.query(&format!("SELECT token_text(id) AS t FROM (SELECT unnest([{list}]) AS id)")).unwrap();
    let texts: Vec<String> = batches
        .iter()
        .flat_map(|batch| batch.column(0).as_string::<i32>().iter().flatten().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert_eq!(texts.concat(), text);
}

#[test]
fn without_a_tokenizer_the_functions_say_what_is_missing() {
    let session = Session::new().unwrap();
    for call in ["n_tokens('a')", "token_text(1)", "tokenize('a')"] {
        let QueryError::Sql { source, .. } = session.query(&format!("SELECT {call}")).unwrap_err() else {
            panic!("{call}")
        };
        let datafusion::error::DataFusionError::External(inner) = source.find_root() else { panic!("{source}") };
        let inner = inner.downcast_ref::<QueryError>().unwrap();
        assert!(inner.hint().unwrap().contains("--model"), "{inner}");
        assert!(inner.to_string().contains("no model was named"), "{inner}");
    }
}
