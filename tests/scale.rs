//! A table of any size: verified, queried and trained from in memory that does not grow with it.
//!
//! By hand: `PIREF_SCALE_ROWS=1000000 PIREF_SCALE_OUT=/some/folder cargo test --test it scale`. The folder keeps the
//! table for the next time, and `scale.json` with what was measured.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, AsArray, Int32Array, Int64Array, ListBuilder, RecordBatch, StringArray, UInt32Builder, new_null_array,
};
use arrow::datatypes::{Float64Type, Int64Type};
use piref::digest::Digest;
use piref::model_source::ModelSource;
use piref::query::Session;
use piref::table::schema::reference;
use piref::table::{
    Manifest, ModelProvenance, PairTokenLogps, Provenance, ReferenceTable, SourceProvenance, TableFolder, TokenLogps,
    assemble, write_part,
};
use piref::tokenize::{TokenizerFiles, TokensId};
use piref::train;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::support::assert_close;

/// Rows of a part.
const PART_ROWS: usize = 1000;

/// Data files.
const N_SOURCES: usize = 3;

/// Ids of the tiny model.
const VOCABULARY: u32 = 1200;

/// What may stand in memory for a row more: 4 bytes of order, the list of parts, the heads of the spool's batches.
const BYTES_A_ROW: u64 = 32;

/// What two runs of the same program on the same table may differ by: threads, allocator.
const NOISE_BYTES: u64 = 6 << 20;

/// One row: nobody but this file knows it, and this file can make it again.
struct Row {
    number: usize,
    prompt: Vec<u32>,
    chosen: Vec<u32>,
    rejected: Vec<u32>,
    logps: PairTokenLogps,
}

impl Row {
    /// Lengths as preference data has them: a prompt of some hundred tokens, answers of some sixty.
    fn new(number: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(number as u64);
        let mut ids = |lengths: std::ops::Range<usize>| -> Vec<u32> {
            (0..rng.random_range(lengths)).map(|_| rng.random_range(3..VOCABULARY)).collect()
        };
        let (prompt, chosen, rejected) = (ids(20..180), ids(10..110), ids(10..110));
        let mut logps = |n: usize| (0..n).map(|_| -6.0 * rng.random::<f32>()).collect();
        let logps = PairTokenLogps { chosen: logps(chosen.len()), rejected: logps(rejected.len()) };
        Self { number, prompt, chosen, rejected, logps }
    }

    fn source(&self) -> String {
        source(self.number % N_SOURCES)
    }

    /// Row of its source.
    fn row_idx(&self) -> usize {
        self.number / N_SOURCES
    }

    fn tokens_id(&self) -> String {
        TokensId::of(&self.prompt, &self.chosen, &self.rejected).to_string()
    }

    fn pair_id(&self) -> String {
        format!("{:032x}", self.number)
    }

    /// Tokens as training counts them.
    fn n_tokens(&self) -> usize {
        2 * self.prompt.len() + self.chosen.len() + self.rejected.len()
    }

    fn ref_chosen_logps(&self) -> f64 {
        self.logps.chosen.iter().map(|&logp| f64::from(logp)).sum()
    }
}

fn source(index: usize) -> String {
    format!("data-{index}.jsonl")
}

fn words(ids: &[u32]) -> String {
    ids.iter().map(|id| format!("w{id}")).collect::<Vec<_>>().join(" ")
}

/// Rows as the token store has them.
fn store(rows: &[Row]) -> RecordBatch {
    let text =
        |of: &dyn Fn(&Row) -> String| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(of))) };
    let ids = |of: fn(&Row) -> &[u32]| -> ArrayRef {
        let mut lists = ListBuilder::new(UInt32Builder::new());
        for row in rows {
            lists.append_value(of(row).iter().map(|&id| Some(id)));
        }
        Arc::new(lists.finish())
    };
    let count = |of: fn(&Row) -> usize| -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| i32::try_from(of(row)).unwrap())))
    };
    let row_idx = Int64Array::from_iter_values(rows.iter().map(|row| i64::try_from(row.row_idx()).unwrap()));
    let columns: Vec<ArrayRef> = vec![
        text(&Row::pair_id),
        text(&Row::tokens_id),
        Arc::new(row_idx),
        text(&Row::source),
        text(&|_| "train".into()),
        text(&|row| words(&row.prompt)),
        text(&|row| words(&row.chosen)),
        text(&|row| words(&row.rejected)),
        new_null_array(&arrow::datatypes::DataType::Utf8, rows.len()),
        ids(|row| &row.prompt),
        ids(|row| &row.chosen),
        ids(|row| &row.rejected),
        count(|row| row.prompt.len()),
        count(|row| row.chosen.len()),
        count(|row| row.rejected.len()),
        count(|_| 0),
        count(|_| 0),
        count(|_| 0),
        count(|_| 0),
    ];
    let names = reference::COLUMNS[..reference::STORE_COLUMNS].iter().map(|column| (column.name, column.nullable));
    let named = names.zip(columns).map(|((name, nullable), array)| (name, array, nullable));
    RecordBatch::try_from_iter_with_nullable(named).unwrap()
}

/// A finished table of random numbers, scored by nobody, with the tokenizer of the tiny model.
fn write_table(folder: &Path, n_rows: usize) {
    if Manifest::load(folder).is_ok_and(|manifest| manifest.n_pairs == n_rows as u64) {
        return;
    }
    let tokenizer = TokenizerFiles::load(&ModelSource::resolve("fixtures/tiny").unwrap()).unwrap();
    let provenance = Provenance {
        schema: reference::VERSION.into(),
        crate_version: "0.1.0".into(),
        model: ModelProvenance {
            path: "nobody".into(),
            architecture: "llama".into(),
            weights_digest: Digest::of(b"nobody"),
            config_digest: Digest::of(b"nobody"),
            adapter_digest: None,
            identity: None,
        },
        tokenizer_digest: tokenizer.digest(),
        chat_template: None,
        dtype: "f32".into(),
        kernel: "random".into(),
        max_length: None,
        truncation_mode: "keep_start".into(),
        eos_rule: "append".into(),
        boundary_rule: "joint".into(),
        sources: (0..N_SOURCES).map(|index| source_provenance(index, n_rows)).collect(),
    };
    let table = TableFolder::claim(folder).unwrap();
    table.set_aside().unwrap();
    let mut parts = Vec::new();
    for start in (0..n_rows).step_by(PART_ROWS) {
        let rows: Vec<Row> = (start..n_rows.min(start + PART_ROWS)).map(Row::new).collect();
        let logps: Vec<PairTokenLogps> = rows.iter().map(|row| row.logps.clone()).collect();
        let batch = assemble(&store(&rows), &[], &logps).unwrap();
        parts.push(write_part(&table.part_path(parts.len()), &batch, &provenance).unwrap());
    }
    table.finish(&Manifest::new(provenance, parts, None)).unwrap();
}

/// A data file that was never there, but for what a table says of it.
fn source_provenance(index: usize, n_rows: usize) -> SourceProvenance {
    SourceProvenance {
        path: source(index),
        format: "random".into(),
        rows: (n_rows + N_SOURCES - 1 - index) as u64 / N_SOURCES as u64,
        bytes: 0,
        digest: Digest::of(source(index).as_bytes()),
    }
}

/// What a process took at most.
struct Peak {
    /// Memory of its own: what the system cannot take back.
    anonymous: u64,
    /// The same with the file pages that were mapped in.
    resident: u64,
    seconds: f64,
}

impl Peak {
    fn told(&self) -> serde_json::Value {
        json!({ "seconds": self.seconds, "anonymous_bytes": self.anonymous, "resident_bytes": self.resident })
    }
}

/// Trains three steps from the table of a run in a process of its own.
fn train(run: &Path) -> Peak {
    peak(
        Command::new(env!("CARGO_BIN_EXE_piref"))
            .args(["--threads", "2", "train", "--model", "fixtures/tiny", "--allow-other-reference", "--fresh"])
            .args(["--max-steps", "3", "--batch-size", "8", "--no-shuffle", "--save-steps", "0", "--quiet"])
            .arg("--table")
            .arg(run.join("reference"))
            .arg("--out")
            .arg(run),
    )
}

/// Verifies the table of a run, which has to be sound, in a process of its own.
fn verify(run: &Path) -> Peak {
    let mut command = Command::new(env!("CARGO_BIN_EXE_piref"));
    peak(command.args(["--threads", "2", "verify", "--quiet"]).arg(run.join("reference")).stdout(Stdio::null()))
}

/// Runs a command that has to succeed.
fn peak(command: &mut Command) -> Peak {
    let started = Instant::now();
    let mut child = command.stdin(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = Peak { anonymous: 0, resident: 0, seconds: 0.0 };
    let code = loop {
        // A process that has just ended has no such lines any more.
        let text = fs::read_to_string(&status).unwrap_or_default();
        peak.anonymous = peak.anonymous.max(kilobytes(&text, "RssAnon:"));
        peak.resident = peak.resident.max(kilobytes(&text, "VmHWM:"));
        if let Some(code) = child.try_wait().unwrap() {
            break code;
        }
        // Between two looks, not for something to happen.
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(code.success(), "{code}");
    assert!(peak.anonymous > 0, "the process was not seen");
    Peak { seconds: started.elapsed().as_secs_f64(), ..peak }
}

fn kilobytes(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).map_or(0, |kilobytes: u64| kilobytes << 10)
}

/// What SQL has to answer, told by the rows themselves.
#[derive(Default)]
struct Group {
    n: i64,
    chosen_tokens: i64,
    ref_chosen_logps: f64,
}

fn groups(n_rows: usize) -> BTreeMap<String, Group> {
    let mut groups = BTreeMap::<String, Group>::new();
    for row in (0..n_rows).map(Row::new) {
        let group = groups.entry(row.source()).or_default();
        group.n += 1;
        group.chosen_tokens += i64::try_from(row.chosen.len()).unwrap();
        group.ref_chosen_logps += row.ref_chosen_logps();
    }
    groups
}

fn integers(batch: &RecordBatch, column: &str) -> Vec<i64> {
    batch.column_by_name(column).unwrap().as_primitive::<Int64Type>().values().to_vec()
}

fn check_queries(run: &Path, n_rows: usize) {
    let mut session = Session::new().unwrap();
    session.register(run).unwrap();
    let one = |sql: &str| {
        let batches = session.query(sql).unwrap();
        arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
    };
    let n = integers(&one("SELECT count(*) AS n FROM pairs"), "n");
    assert_eq!(n, [i64::try_from(n_rows).unwrap()]);

    let want = groups(n_rows);
    let got = one("SELECT source, count(*) AS n, sum(chosen_tokens) AS tokens, sum(ref_chosen_logps) AS logps \
                   FROM pairs GROUP BY source ORDER BY source");
    let sources: Vec<&str> = got.column(0).as_string_view_opt().map_or_else(
        || got.column(0).as_string::<i32>().iter().flatten().collect(),
        |views| views.iter().flatten().collect(),
    );
    assert_eq!(sources, want.keys().collect::<Vec<_>>());
    assert_eq!(integers(&got, "n"), want.values().map(|group| group.n).collect::<Vec<_>>());
    assert_eq!(integers(&got, "tokens"), want.values().map(|group| group.chosen_tokens).collect::<Vec<_>>());
    let logps = got.column_by_name("logps").unwrap().as_primitive::<Float64Type>().values().to_vec();
    let want: Vec<f64> = want.values().map(|group| group.ref_chosen_logps).collect();
    // Added in another order: n_rows terms of some 200 nats.
    assert_close!(logps, want, abs = 1e-9 * n_rows as f64);

    // Step s saw rows 8(s − 1) … 8s − 1; `num_tokens` counts all tokens up to it.
    let got = one("SELECT m.step, m.n_pairs, m.num_tokens, count(*) AS n FROM metrics m \
                   JOIN pairs p ON (3 * p.row_idx + substr(p.source, 6, 1)::int) / 8 < m.step \
                   GROUP BY m.step, m.n_pairs, m.num_tokens ORDER BY m.step");
    assert_eq!((integers(&got, "step"), integers(&got, "n")), (vec![1, 2, 3], vec![8, 16, 24]));
    let want = [8, 16, 24].map(|n| (0..n).map(|row| i64::try_from(Row::new(row).n_tokens()).unwrap()).sum::<i64>());
    assert_eq!(integers(&got, "num_tokens"), want);
}

/// Opening reads what stage two reads; rows are those that were written.
fn check_rows(table: &Path, n_rows: usize) {
    let table = ReferenceTable::open(table).unwrap();
    table.check_digests().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let pairs = table.load_pairs(TokenLogps::Skip, scratch.path()).unwrap();
    assert_eq!((table.n_pairs(), pairs.len()), (n_rows as u64, n_rows));
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for number in (0..200).map(|_| rng.random_range(0..n_rows)).chain([0, n_rows - 1]) {
        let (want, got) = (Row::new(number), pairs.get(number).unwrap());
        assert_eq!(got.pair_id, want.pair_id());
        assert_eq!((got.prompt_ids, got.chosen_ids, got.rejected_ids), (&*want.prompt, &*want.chosen, &*want.rejected));
        assert_eq!(got.ref_chosen_logps, want.ref_chosen_logps());
    }
}

#[test]
fn memory_does_not_grow_with_the_table_and_its_answers_are_right() {
    let n_rows = std::env::var("PIREF_SCALE_ROWS").map_or(20_000, |rows| rows.parse().unwrap());
    let scratch = tempfile::tempdir().unwrap();
    let out = std::env::var_os("PIREF_SCALE_OUT").map_or_else(|| scratch.path().to_owned(), PathBuf::from);
    let runs = [(n_rows / 10, out.join("small")), (n_rows, out.join("large"))];

    let started = Instant::now();
    for (n_rows, run) in &runs {
        write_table(&run.join("reference"), *n_rows);
    }
    let writing = started.elapsed().as_secs_f64();
    let trained = runs.each_ref().map(|(_, run)| train(run));
    let verified = runs.each_ref().map(|(_, run)| verify(run));
    let started = Instant::now();
    let (n_rows, run) = &runs[1];
    assert_eq!(fs::read_to_string(run.join(train::METRICS)).unwrap().lines().count(), 3);
    check_queries(run, *n_rows);
    let querying = started.elapsed().as_secs_f64();
    check_rows(&run.join("reference"), *n_rows);

    let told = json!({
        "rows": [runs[0].0, n_rows],
        "train": trained.each_ref().map(Peak::told),
        "verify": verified.each_ref().map(Peak::told),
        "writing_seconds": writing,
        "querying_seconds": querying,
    });
    fs::write(out.join("scale.json"), format!("{told:#}\n")).unwrap();
    for [small, large] in [trained, verified] {
        let grown = large.anonymous.saturating_sub(small.anonymous);
        assert!(grown < NOISE_BYTES + BYTES_A_ROW * *n_rows as u64, "memory grew by {grown} bytes: {told:#}");
    }
}
