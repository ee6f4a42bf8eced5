//! What runs and tables leave behind, and what asks them: their readers, and files as they are written.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use arrow::array::AsArray;
use candle_core::{Device, Tensor};
use piref::audit::SqlCheck;
use piref::checkpoint::{self, Checkpoint, Occasion, Snapshot, State};
use piref::data::Overlong;
use piref::digest::{Digest, Id};
use piref::eval::EvalState;
use piref::interchange::{ImportDtype, ImportMap, ImportPlan, Logps};
use piref::interrupt::Interrupt;
use piref::loss::ObjectiveState;
use piref::model::Params;
use piref::ops::Kernels;
use piref::optim::{Optimizer, OptimizerParams};
use piref::precompute::Start;
use piref::query::{FUNCTIONS, Resources, Session};
use piref::report::{RunInputs, run_page};
use piref::selection::{PassOrder, Selection, select};
use piref::table::{Journal, Manifest, Provenance, ReferenceTable, signals_name};
use serde_json::{Value, json};

use super::seeds;
use crate::support::stages;

/// How long a query runs before it is interrupted.
const QUERY_TIME: Duration = Duration::from_millis(100);

pub(super) fn read_manifest(path: &Path, _: &[u8]) {
    let folder = path.parent().unwrap();
    let _ = Manifest::load(folder);
    let _ = ReferenceTable::open(folder);
}

/// Values of footer entries, one a line.
pub(super) fn provenance_seeds() -> Vec<Vec<u8>> {
    let manifest: Value = serde_json::from_slice(&seeds::whole(&["hostile/manifest/rows-overflow.json"])[0]).unwrap();
    let provenance: Provenance = serde_json::from_value(manifest["provenance"].clone()).unwrap();
    let values: Vec<String> = provenance.to_footer().into_iter().map(|(_, value)| value).collect();
    vec![values.join("\n").into_bytes()]
}

pub(super) fn read_provenance(path: &Path, bytes: &[u8]) {
    const KEYS: [&str; 18] = [
        "piref.schema",
        "piref.crate_version",
        "piref.model.path",
        "piref.model.architecture",
        "piref.model.weights_digest",
        "piref.model.config_digest",
        "piref.model.weights_identity",
        "piref.model.config_identity",
        "piref.tokenizer_digest",
        "piref.chat_template.digest",
        "piref.chat_template.date",
        "piref.dtype",
        "piref.kernel",
        "piref.max_length",
        "piref.truncation_mode",
        "piref.eos_rule",
        "piref.boundary_rule",
        "piref.sources",
    ];
    let text = String::from_utf8_lossy(bytes);
    let values: Vec<&str> = text.lines().collect();
    let value = |key: &str| values.get(KEYS.iter().position(|known| *known == key)?).copied();
    let _ = Provenance::from_footer(path, value);
}

pub(super) fn read_table_part(path: &Path, _: &[u8]) {
    let Ok(table) = ReferenceTable::open(path) else { return };
    let columns: Vec<&str> = table.schema().fields().iter().map(|field| field.name().as_str()).collect();
    if let Ok(batches) = table.batches(&columns) {
        let _ = batches.take(100).map_while(Result::ok).count();
    }
}

pub(super) fn sql_query() -> impl Fn(&Path, &[u8]) + Send {
    let session = Session::new().unwrap();
    move |path, _| {
        let _ = session.query(&format!("SELECT * FROM '{}' LIMIT 10000", path.display()));
    }
}

/// Queries: examples of the functions, and what other tests take for hostile.
pub(super) fn sql_seeds() -> Vec<Vec<u8>> {
    FUNCTIONS.iter().map(|function| function.example.as_bytes().to_vec()).collect()
}

/// Runs a query, and stops it after a while as Ctrl-C does.
pub(super) fn sql_text() -> impl Fn(&Path, &[u8]) + Send {
    let interrupt = Interrupt::default();
    let resources = Resources { memory_limit: Some(64 << 20), interrupt: interrupt.clone(), ..Resources::default() };
    let session = Session::with(resources).unwrap();
    let n_queries = Arc::new(AtomicU64::new(0));
    let (watched, last) = (Arc::downgrade(&n_queries), interrupt.clone());
    thread::spawn(move || {
        let mut before = 0;
        while let Some(n_queries) = watched.upgrade() {
            let now = n_queries.load(Ordering::Relaxed);
            if now == before {
                last.set();
            }
            before = now;
            drop(n_queries);
            thread::sleep(QUERY_TIME);
        }
    });
    move |_, bytes| {
        n_queries.fetch_add(1, Ordering::Relaxed);
        interrupt.clear();
        if let Ok(rows) = session.read(&String::from_utf8_lossy(bytes)) {
            let _ = rows.take(100).map_while(Result::ok).count();
        }
    }
}

/// The signals of a small table.
pub(super) fn signals_seeds() -> Vec<Vec<u8>> {
    let table = seeds::table();
    vec![fs::read(table.path().join("table").join(signals_name(0))).unwrap()]
}

/// Registers that table with other signals.
pub(super) fn read_signals() -> impl Fn(&Path, &[u8]) + Send {
    let table = seeds::table();
    let folder = table.path().join("table");
    move |_, bytes| {
        let _ = &table;
        fs::write(folder.join(signals_name(0)), bytes).unwrap();
        let mut session = Session::new().unwrap();
        if session.register(&folder).is_ok() {
            for name in session.tables().iter().filter(|name| name.contains("signals")) {
                let _ = session.query(&format!("SELECT * FROM {name}"));
            }
        }
    }
}

/// Entries without their digests, one a line.
pub(super) fn journal_seeds() -> Vec<Vec<u8>> {
    let manifest: Value = serde_json::from_slice(&seeds::manifests().pop().unwrap()).unwrap();
    let mut begin = manifest["provenance"].clone();
    begin["layout"] = json!({"rows_per_part": 8, "signals": true});
    // Two log-probs a completion; signals are five bytes a token and two numbers.
    let scored =
        json!({"tokens_id": "t", "chosen": "bf8a1c22bf8a1c22", "rejected": "bf8a1c22", "signals": "00".repeat(31)});
    let entries = [json!({"begin": begin}), json!({"part": manifest["parts"][0]}), json!({"scored": scored})];
    let lines: Vec<String> = entries.iter().map(Value::to_string).collect();
    vec![lines.join("\n").into_bytes()]
}

/// Reads a journal as it is, and with the digest of each line.
pub(super) fn read_journal(path: &Path, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let sealed = path.with_file_name("sealed");
    let line = |line: &str| format!("{} {line}\n", Id::of_parts("journal", [line.as_bytes()]));
    fs::write(&sealed, text.lines().map(line).collect::<String>()).unwrap();
    for path in [path, &sealed] {
        let _ = Journal::task(path);
        let _ = Journal::recover(path);
        let _ = Journal::scored(path).unwrap().count();
    }
}

fn params() -> Params {
    let mut params = Params::new(Kernels::Own);
    params.push("w".into(), Tensor::new(&[[1_f32, 2.0]], &Device::Cpu).unwrap());
    params
}

/// Writes a checkpoint of two numbers.
fn write_checkpoint(folder: &Path) {
    let params = params();
    let optimizer = Optimizer::new(OptimizerParams::default(), &params).unwrap();
    let (objective, eval) = (ObjectiveState::default(), EvalState::default());
    let trajectory =
        json!({"seed": 7, "lr_scheduler_type": "cosine", "model_digest": "x"}).as_object().unwrap().clone();
    let state = State { step: 3, n_tokens: 30, objective, eval, trajectory };
    let snapshot =
        Snapshot { params: &params, optimizer: &optimizer, ema: None, state: &state, occasion: Occasion::Planned };
    checkpoint::save(folder, &snapshot).unwrap();
}

/// A file of a checkpoint.
pub(super) fn checkpoint_seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    write_checkpoint(folder.path());
    vec![fs::read(checkpoint::path_of(folder.path(), 3).join(name)).unwrap()]
}

/// Puts the digest of a state into it, if it is one.
fn sealed(state: &[u8]) -> Option<Vec<u8>> {
    let mut state: Value = serde_json::from_slice(state).ok()?;
    state.as_object_mut()?.shift_remove("digest");
    let digest = Digest::of(&serde_json::to_vec(&state).ok()?);
    state["digest"] = serde_json::to_value(digest).ok()?;
    Some(state.to_string().into_bytes())
}

/// Opens a checkpoint with another state, as it is and with its digest, and goes on from it.
pub(super) fn read_checkpoint_state() -> impl Fn(&Path, &[u8]) + Send {
    let folder = tempfile::tempdir().unwrap();
    write_checkpoint(folder.path());
    move |_, bytes| {
        let path = checkpoint::path_of(folder.path(), 3);
        for state in [Some(bytes.to_vec()), sealed(bytes)].into_iter().flatten() {
            fs::write(path.join("state.json"), state).unwrap();
            if let Ok(Some(checkpoint)) = checkpoint::newest(folder.path()) {
                let _ = checkpoint.check(&checkpoint.state().trajectory, &["seed"]);
                let _ = checkpoint.load(&mut params(), OptimizerParams::default());
                let _ = checkpoint.load_ema(&params(), 0.9);
            }
        }
    }
}

/// Loads a checkpoint with other weights, whose digest is right.
pub(super) fn read_checkpoint_tensors() -> impl Fn(&Path, &[u8]) + Send {
    let folder = tempfile::tempdir().unwrap();
    write_checkpoint(folder.path());
    let path = checkpoint::path_of(folder.path(), 3);
    let state: Value = serde_json::from_slice(&fs::read(path.join("state.json")).unwrap()).unwrap();
    move |_, bytes| {
        let _ = &folder;
        for name in ["weights", "moments"] {
            let mut state = state.clone();
            state[format!("{name}_digest")] = serde_json::to_value(Digest::of(bytes)).unwrap();
            fs::write(path.join("state.json"), sealed(state.to_string().as_bytes()).unwrap()).unwrap();
            let file = path.join(format!("{name}.safetensors"));
            let before = fs::read(&file).unwrap();
            fs::write(&file, bytes).unwrap();
            let checkpoint = Checkpoint::open(&path).unwrap();
            let _ = checkpoint.load(&mut params(), OptimizerParams::default());
            fs::write(&file, before).unwrap();
        }
    }
}

/// Lines of steps and an evaluation.
pub(super) fn metrics_seeds() -> Vec<Vec<u8>> {
    let step = |step: u32| {
        let names = [
            "epoch",
            "loss",
            "grad_norm",
            "learning_rate",
            "rewards/chosen",
            "rewards/rejected",
            "rewards/margins",
            "rewards/accuracies",
            "logps/chosen",
            "logps/rejected",
            "num_tokens",
            "n_pairs",
            "displacement",
            "tokens_per_second",
            "step_seconds",
        ];
        let mut line = json!({"schema": "piref.metrics.v1", "step": step});
        for (name, at) in names.into_iter().zip(1_u32..) {
            line[name] = json!(f64::from(at * step));
        }
        line.to_string()
    };
    let evaluation =
        json!({"schema": "piref.metrics.v1", "step": 2, "epoch": 0.5, "eval_loss": 0.6, "eval_runtime": 1.0});
    vec![[step(1), step(2), evaluation.to_string(), step(3)].join("\n").into_bytes()]
}

/// Makes the page of a run with other metrics.
pub(super) fn read_metrics(path: &Path, bytes: &[u8]) {
    let run = path.with_file_name("run");
    fs::create_dir_all(run.join("train")).unwrap();
    fs::write(run.join("train").join("metrics.jsonl"), bytes).unwrap();
    let page = run_page(&RunInputs { run: &run, table: None });
    let _ = page.and_then(|page| page.to_html());
}

/// The same with other settings.
pub(super) fn read_run_settings(path: &Path, _: &[u8]) {
    let run = path.parent().unwrap();
    let metrics = run.join("train").join("metrics.jsonl");
    if !metrics.exists() {
        fs::create_dir_all(run.join("train")).unwrap();
        fs::write(metrics, &metrics_seeds()[0]).unwrap();
    }
    let page = run_page(&RunInputs { run, table: None });
    let _ = page.and_then(|page| page.to_html());
}

/// Ids of pairs, with a header, a comment and an empty line.
pub(super) fn curriculum_seeds() -> Vec<Vec<u8>> {
    let table = seeds::table();
    let table = ReferenceTable::open(&table.path().join("table")).unwrap();
    let ids = table.batches(&["pair_id"]).unwrap().flat_map(|batch| {
        let batch = batch.unwrap();
        let ids = batch.column(0).as_string::<i32>();
        ids.iter().flatten().map(str::to_owned).collect::<Vec<_>>()
    });
    let ids: Vec<String> = ids.collect();
    vec![format!("pair_id\n# first\n{}\n\n{}\n", ids.join("\n"), ids[0]).into_bytes()]
}

pub(super) fn read_curriculum() -> impl Fn(&Path, &[u8]) + Send {
    let folder = seeds::table();
    let tables = [ReferenceTable::open(&folder.path().join("table")).unwrap()];
    move |path, _| {
        let _ = &folder;
        let selection = Selection { pass_order: PassOrder::Curriculum(path.to_owned()), ..Selection::default() };
        let _ = select(&selection, &tables);
    }
}

pub(super) fn read_audit_check(path: &Path, bytes: &[u8]) {
    let _ = SqlCheck::parse(path, &String::from_utf8_lossy(bytes));
}

/// Scored pairs: sums, sums of tokens, and token ids beside them.
pub(super) fn import_rows() -> Vec<Vec<u8>> {
    let row = |at: u32| {
        json!({"prompt": format!("p {at}"), "chosen": format!("a {at}"), "rejected": format!("b {at} c"),
            "ref_chosen_logps": -3.5 - f64::from(at), "ref_rejected_logps": -7.25 - f64::from(at)})
    };
    let with_ids = |at: u32| {
        let mut row = row(at);
        row["prompt_ids"] = json!([5, 6]);
        row["chosen_ids"] = json!([7, 8, 2]);
        row["rejected_ids"] = json!([9, at, 2]);
        row["chosen_attention_mask"] = json!([1, 1, 1]);
        row
    };
    let with_tokens = |at: u32| {
        let mut row = with_ids(at);
        row["ref_chosen_token_logps"] = json!([-0.5, -1.0, -2.0]);
        row["ref_rejected_token_logps"] = json!([-0.5, -1.0, -2.0]);
        row
    };
    let file =
        |row: &dyn Fn(u32) -> Value| (3..7).map(|at| row(at).to_string()).collect::<Vec<_>>().join("\n").into_bytes();
    vec![file(&row), file(&with_ids), file(&with_tokens)]
}

/// The same in columns.
pub(super) fn import_csv() -> Vec<Vec<u8>> {
    let text =
        "prompt,chosen,rejected,ref_chosen_logps,ref_rejected_logps\np,a,b c,-3.5,-7.25\nq,\"d\n\",e,-1e1,-0.0\n";
    vec![text.as_bytes().to_vec()]
}

/// Makes a table of a scored file.
pub(super) fn import() -> impl Fn(&Path, &[u8]) + Send {
    let folder = tempfile::tempdir().unwrap();
    let rules = stages::precompute_plan(folder.path()).rules;
    move |path, _| {
        for logps in [Logps::Detect, Logps::Average] {
            let plan = ImportPlan {
                model: "fixtures/tiny".into(),
                data: vec![path.to_owned()],
                map: ImportMap::default(),
                max_reject_rate: 0.5,
                overlong: Overlong::Drop,
                limit: None,
                out: folder.path().join("table"),
                rules,
                dtype: ImportDtype::F32,
                logps,
                rows_per_part: NonZeroUsize::new(2).unwrap(),
                start: Start::Fresh,
            };
            let _ = piref::interchange::import(&plan, &mut |_| {});
        }
    }
}
