//! The function against stage one itself, on the embedded tiny model.

use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::util::display::array_value_to_string;
use datafusion::error::DataFusionError;

use super::*;
use crate::batch::{PairIds, Sharing};
use crate::digest::Digest;
use crate::error::{Hint, chain};
use crate::interrupt::Interrupt;
use crate::io::IoError;
use crate::model::{Decoder, ModelError, ScoringDtype};
use crate::model_source::ModelSource;
use crate::ops::Backend;
use crate::policy::PolicySource;
use crate::precompute::{Signals, score_with_signals};
use crate::query::{FUNCTIONS, Function, QueryError, Resources, Session};
use crate::table::{PairTokenLogps, TokenScores};
use crate::tokenize::TokenizerFiles;

fn tiny() -> ModelSource {
    ModelSource::Folder(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny").into())
}

fn file(max_tokens: usize) -> ModelFile {
    ModelFile {
        name: "tiny".into(),
        source: PolicySource::resolve(tiny().path().to_str().unwrap(), None).unwrap(),
        backend: Backend::cpu(),
        dtypes: vec![ScoringDtype::F32],
        max_tokens: NonZeroUsize::new(max_tokens).unwrap(),
    }
}

fn models(max_tokens: usize) -> Arc<dyn Models> {
    Arc::new(ModelFiles::new(vec![file(max_tokens)]))
}

fn session_of(models: &Arc<dyn Models>) -> Session {
    let tokenizer = Some(TokenizerFiles::load(&tiny()).unwrap());
    Session::with(Resources { tokenizer, functions: functions(models), ..Resources::default() }).unwrap()
}

fn session() -> Session {
    session_of(&models(2048))
}

/// The one column that a query answers.
fn column(session: &Session, sql: &str) -> ArrayRef {
    let batches = session.query(sql).unwrap();
    let batches: Vec<&RecordBatch> = batches.iter().filter(|batch| batch.num_rows() > 0).collect();
    let [batch] = batches[..] else { panic!("{} batches of `{sql}`", batches.len()) };
    Arc::clone(batch.column(0))
}

#[track_caller]
fn check(session: &Session, sql: &str, want: &[&str]) {
    let column = column(session, sql);
    let found: Vec<String> = (0..column.len()).map(|row| array_value_to_string(&column, row).unwrap()).collect();
    assert_eq!(found, want, "{sql}");
}

/// What the function itself said, where the engine hands it on.
#[track_caller]
fn failure(session: &Session, sql: &str) -> QueryError {
    match session.query(sql) {
        Ok(rows) => panic!("`{sql}` answers {rows:?}"),
        Err(error) => error,
    }
}

#[track_caller]
fn scoring_error(error: &QueryError) -> &ScoringError {
    let QueryError::Sql { source, .. } = error else { panic!("{error}") };
    let DataFusionError::External(inner) = source.find_root() else { panic!("{source:?}") };
    inner.downcast_ref().unwrap()
}

/// Pairs that share a prompt, a completion, and nothing; ids are below the vocabulary of any of the fixtures.
const PAIRS: [PairIds<'static>; 4] = [
    PairIds { prompt: &[5, 6, 7], chosen: &[8, 9], rejected: &[10] },
    PairIds { prompt: &[11, 12], chosen: &[13, 14, 15], rejected: &[16, 17] },
    PairIds { prompt: &[5, 6, 7], chosen: &[10], rejected: &[8, 9, 18] },
    PairIds { prompt: &[19], chosen: &[20, 20, 20, 20], rejected: &[20, 20, 20, 20] },
];

fn pairs_sql() -> String {
    let rows: Vec<String> = PAIRS
        .iter()
        .enumerate()
        .map(|(row, pair)| format!("({row}, {:?}, {:?}, {:?})", pair.prompt, pair.chosen, pair.rejected))
        .collect();
    format!("(VALUES {}) AS t(row, prompt_ids, chosen_ids, rejected_ids)", rows.join(", "))
}

fn expected() -> Vec<TokenScores> {
    let model = Decoder::load(&tiny(), &Backend::cpu()).unwrap();
    score_with_signals(&model, &PAIRS, 2048, Sharing::Prompts, |_| {}).unwrap()
}

/// Equal floats, bit for bit: `==` on `f32` that are no NaN and not both zero.
#[test]
fn numbers_are_those_of_stage_one_whatever_the_budget() {
    let want: Vec<Option<ScoredRow>> =
        expected().into_iter().map(|scores| Some(ScoredRow { scores: Some(scores), fault: None })).collect();
    for max_tokens in [1, 7, 2048] {
        let session = session_of(&models(max_tokens));
        let sql = |function: &str| {
            format!(
                "SELECT r FROM (SELECT row, {function}('', prompt_ids, chosen_ids, rejected_ids) AS r FROM {}) ORDER BY row",
                pairs_sql()
            )
        };
        assert_eq!(read_rows(&column(&session, &sql("ref_logps_with_signals"))).unwrap(), want, "{max_tokens}");
        let without: Vec<Option<ScoredRow>> = want
            .iter()
            .flatten()
            .map(|row| {
                let logps = row.scores.as_ref().map(|scores| scores.logps.clone());
                Some(ScoredRow { scores: logps.map(|logps| TokenScores { logps, signals: None }), fault: None })
            })
            .collect();
        assert_eq!(read_rows(&column(&session, &sql("ref_logps"))).unwrap(), without, "{max_tokens}");
    }
}

#[test]
fn sums_and_counts_are_those_of_the_terms() {
    let session = session();
    let call = "ref_logps(NULL, prompt_ids, chosen_ids, rejected_ids)";
    let sql =
        |field: &str| format!("SELECT r['{field}'] FROM (SELECT row, {call} AS r FROM {}) ORDER BY row", pairs_sql());
    check(&session, &sql("chosen_tokens"), &["2", "3", "1", "4"]);
    check(&session, &sql("rejected_tokens"), &["1", "2", "3", "4"]);
    check(&session, &sql("error"), &["", "", "", ""]);
    let sums: Vec<f64> = expected().iter().map(|scores| crate::logprob::sum(&scores.logps.chosen)).collect();
    let found = column(&session, &sql("ref_chosen_logps"));
    assert_eq!(found.as_primitive::<arrow::datatypes::Float64Type>().values(), &sums);
}

#[test]
fn a_row_that_cannot_be_scored_says_why_and_fails_no_other() {
    let session = session();
    let sql = "SELECT s['error'] FROM (SELECT row, ref_logps(NULL, p, c, r) AS s FROM (VALUES \
               (0, range(0), [1], [2]), (1, [1], range(0), [2]), (2, [1], [2], range(0)), (3, [1], [2], [4294967295]), (4, [-1], [2], [3]), \
               (5, [1], [2, NULL], [3]), (6, [1], [2], [3])) AS t(row, p, c, r)) ORDER BY row";
    let unknown = "unknown_token";
    let want = ["empty_prompt", "empty_completion", "empty_completion", unknown, unknown, unknown, ""];
    check(&session, sql, &want);
    let sql = "SELECT count(s['ref_chosen_logps']), count(*) FROM (SELECT ref_logps(NULL, p, c, r) AS s FROM (VALUES \
               (range(0), [1], [2]), ([1], [2], [3])) AS t(p, c, r))";
    check(&session, sql, &["1"]);
    check(&session, "SELECT ref_logps(NULL, [], [1], [2])['error']", &["empty_prompt"]);
}

#[test]
fn a_null_list_makes_null_and_a_null_digest_the_model_at_hand() {
    let session = session();
    check(&session, "SELECT ref_logps(NULL, NULL, [1], [2]) IS NULL", &["true"]);
    check(&session, "SELECT ref_logps(NULL, [1], [1], NULL) IS NULL", &["true"]);
    let sum = |digest: &str| format!("ref_logps({digest}, [1], [2, 4], [3])['ref_chosen_logps']");
    let (null, empty, own) = (sum("NULL"), sum("''"), sum("model_digest()"));
    check(&session, &format!("SELECT {null} = {own} AND {empty} = {own}"), &["true"]);
}

#[test]
fn another_model_is_refused_with_what_is_at_hand() {
    let models = models(2048);
    let session = session_of(&models);
    let other = Digest::of(b"another model");
    let error = failure(&session, &format!("SELECT ref_logps('{other}', [1], [2], [3])"));
    let said = scoring_error(&error);
    assert!(matches!(said, ScoringError::OtherModel { expected, .. } if *expected == other), "{said}");
    assert!(said.to_string().contains(&models.digest().unwrap().to_string()), "{said}");
    assert!(said.hint().unwrap().contains("model_digest()"));
    let error = failure(&session, "SELECT ref_logps('tiny', [1], [2], [3])");
    assert!(chain(scoring_error(&error)).contains("expected a digest of 64 hex digits, found `tiny`"), "{error}");
}

#[test]
fn without_a_model_or_with_several_it_says_so() {
    let none: Arc<dyn Models> = Arc::new(ModelFiles::new(Vec::new()));
    for sql in ["SELECT ref_logps(NULL, [1], [2], [3])", "SELECT model_digest()"] {
        let error = failure(&session_of(&none), sql);
        let said = scoring_error(&error);
        assert!(matches!(said, ScoringError::NoModel), "{said}");
        assert!(said.hint().unwrap().contains("--model"));
    }
    let two = ModelFile { dtypes: vec![ScoringDtype::F32, ScoringDtype::Bf16], ..file(2048) };
    let two = ModelFiles::new(vec![two]);
    assert!(matches!(two.scorer(None), Err(ScoringError::NoDigest { known }) if known.len() == 2));
    assert_eq!(two.digests().unwrap().len(), 2);
}

#[test]
fn a_model_is_loaded_once_for_each_number_format() {
    let files = ModelFiles::new(vec![ModelFile { dtypes: vec![ScoringDtype::F32, ScoringDtype::Bf16], ..file(64) }]);
    let digests = files.digests().unwrap();
    let [one, other] = digests[..] else { panic!("{digests:?}") };
    assert!(Arc::ptr_eq(&files.scorer(Some(one)).unwrap(), &files.scorer(Some(one)).unwrap()));
    assert!(!Arc::ptr_eq(&files.scorer(Some(one)).unwrap(), &files.scorer(Some(other)).unwrap()));
    let scorer = files.scorer(Some(one)).unwrap();
    assert_eq!(scorer.score(&PAIRS, Signals::Skip, &|| false).unwrap().len(), PAIRS.len());
    assert_eq!(scorer.n_scored(), 4);
}

#[test]
fn what_the_machine_refuses_is_an_input_error_and_a_wrong_model_is_none() {
    let wrap = |source| ScoringError::Model { model: "m".into(), source };
    let gone = ModelError::Io(IoError::Missing { path: "model.safetensors".into() });
    let error = DataFusionError::from(wrap(gone));
    let DataFusionError::IoError(inner) = &error else { panic!("{error:?}") };
    assert!(inner.to_string().contains("cannot use model `m`"));
    let wrong = ModelError::TwoWeights { path: "m".into() };
    assert!(matches!(DataFusionError::from(wrap(wrong)), DataFusionError::External(_)));
}

#[test]
fn a_wish_to_stop_is_heard_between_passes() {
    let models = models(1);
    let scorer = models.scorer(None).unwrap();
    let n_asked = std::cell::Cell::new(0);
    let stop_at_third = || {
        n_asked.set(n_asked.get() + 1);
        n_asked.get() == 3
    };
    assert!(matches!(scorer.score(&PAIRS, Signals::Skip, &stop_at_third), Err(ScoringError::Stopped)));
    // A budget of one row: each pair of the fixture is a pass of its own, but for those that share a prompt.
    assert_eq!(n_asked.get(), 3);
    assert_eq!(scorer.n_scored(), 2);
    let interrupt = Interrupt::default();
    interrupt.set();
    let resources = Resources { functions: functions(&models), interrupt, ..Resources::default() };
    let error = failure(&Session::with(resources).unwrap(), "SELECT ref_logps(NULL, [1], [2], [3])");
    assert!(matches!(error, QueryError::Interrupted), "{error}");
}

#[test]
fn a_row_survives_its_struct() {
    let whole = expected().swap_remove(1);
    let logps = PairTokenLogps { chosen: vec![f32::NAN], rejected: vec![0.5, -1.0] };
    let rows = [
        Some(ScoredRow { scores: Some(whole), fault: None }),
        None,
        Some(ScoredRow { scores: None, fault: Some(RowFault::UnknownToken) }),
        Some(ScoredRow { scores: Some(TokenScores { logps, signals: None }), fault: Some(RowFault::NotALogp) }),
    ];
    let column: ArrayRef = Arc::new(super::rows::structs(&rows, Signals::Make).unwrap());
    let found = read_rows(&column).unwrap();
    assert_eq!(found[..3], rows[..3]);
    // NaN is not equal to itself.
    assert_eq!(format!("{:?}", found[3]), format!("{:?}", rows[3]));
    let foreign: ArrayRef = Arc::new(arrow::array::Int32Array::from(vec![1]));
    assert!(matches!(read_rows(&foreign), Err(ScoringError::Foreign { .. })));
}

#[test]
fn every_example_has_its_answer_and_names_are_sorted() {
    let session = session();
    let extras = functions(&models(2048));
    for Function { call, example, answer, .. } in extras.iter().map(|extra| extra.function) {
        check(&session, example, &[answer]);
        assert!(example.contains(call.split('(').next().unwrap()), "{call}");
    }
    assert_eq!(session.functions().len(), FUNCTIONS.len() + extras.len());
    assert!(session.functions().is_sorted_by_key(Function::name));
}
