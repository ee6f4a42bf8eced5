//! `piref export --to trl` against TRL: what it tokenised and scored itself, and how it trained from the file.
//! Numbers by `fixtures/golden/tiny_trl.py` and `fixtures/golden/trl_export.py`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, UInt32Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use piref::interchange::export_trl;
use piref::optim::{Schedule, ScheduleKind, Warmup};
use piref::precompute::Pairs;
use piref::train::{self, StepMetrics};
use serde::Deserialize;

use crate::support::{assert_close, golden, stages};

#[derive(Deserialize)]
struct Trl {
    pairs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    file: PathBuf,
    line: usize,
    prompt_ids: Vec<u32>,
    chosen_ids: Vec<u32>,
    rejected_ids: Vec<u32>,
    ref_chosen_logps: f64,
    ref_rejected_logps: f64,
}

#[derive(Deserialize)]
struct FromExport {
    columns: BTreeMap<String, String>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    loss: f64,
    grad_norm: f64,
    #[serde(rename = "rewards/margins")]
    rewards_margins: f64,
}

/// Up to 300 f32 terms of up to 15 nats in a sequence: 300 · 15 · 2⁻²⁴ ≈ 3e-4.
const SEQUENCE: f64 = 5e-4;

/// The pairs of `tiny_trl.json`, scored into a table.
fn table(folder: &Path, pairs: &[Pair]) -> PathBuf {
    let mut lines: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    let mut data = Vec::new();
    for pair in pairs {
        let path = folder.join(pair.file.file_name().unwrap());
        if !data.contains(&path) {
            data.push(path.clone());
        }
        let text = fs::read_to_string(&pair.file).unwrap();
        lines.entry(path).or_default().push(text.split('\n').nth(pair.line - 1).unwrap().to_owned());
    }
    for (path, lines) in lines {
        fs::write(path, lines.join("\n")).unwrap();
    }
    let mut plan = stages::precompute_plan(&folder.join("table"));
    plan.pairs = Pairs::Files { paths: data, limit: None };
    plan.rules.max_length = 512;
    plan.rows_per_part = NonZeroUsize::new(5).unwrap();
    stages::precompute(&plan);
    plan.out
}

fn read(path: &Path) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
}

/// The type as `datasets` names it.
fn feature(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 => "Value('string')".into(),
        DataType::Float64 => "Value('float64')".into(),
        DataType::UInt32 => "Value('uint32')".into(),
        DataType::List(item) => format!("List({})", feature(item.data_type())),
        other => panic!("no such column in the export: {other}"),
    }
}

#[test]
fn the_exported_file_has_the_ids_and_numbers_of_trl() {
    let (trl, expected): (Trl, FromExport) = (golden("tiny_trl.json"), golden("trl_export.json"));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("pairs.parquet");
    let table = table(folder.path(), &trl.pairs);
    assert_eq!(export_trl(&table, &out).unwrap().n_pairs, 16);

    let rows = read(&out);
    let found: BTreeMap<String, String> =
        rows.schema().fields().iter().map(|field| (field.name().clone(), feature(field.data_type()))).collect();
    assert_eq!(found, expected.columns);
    let ids =
        |name: &str, row: usize| rows[name].as_list::<i32>().value(row).as_primitive::<UInt32Type>().values().to_vec();
    for (row, pair) in trl.pairs.iter().enumerate() {
        assert_eq!(ids("prompt_ids", row), pair.prompt_ids, "row {row}");
        assert_eq!(ids("chosen_ids", row), pair.chosen_ids, "row {row}");
        assert_eq!(ids("rejected_ids", row), pair.rejected_ids, "row {row}");
    }
    let logps = |name: &str| rows[name].as_primitive::<Float64Type>().values().to_vec();
    let of = |of: fn(&Pair) -> f64| trl.pairs.iter().map(of).collect::<Vec<_>>();
    assert_close!(logps("ref_chosen_logps"), of(|pair| pair.ref_chosen_logps), abs = SEQUENCE);
    assert_close!(logps("ref_rejected_logps"), of(|pair| pair.ref_rejected_logps), abs = SEQUENCE);

    let bytes = fs::read(&out).unwrap();
    export_trl(&table, &out).unwrap();
    assert!(bytes == fs::read(&out).unwrap(), "the same table gave other bytes");
}

/// TRL trained from the exported file and piref from the table itself take the same steps.
#[test]
fn trl_from_the_export_and_piref_from_the_table_take_the_same_steps() {
    let (trl, expected): (Trl, FromExport) = (golden("tiny_trl.json"), golden("trl_export.json"));
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path(), &trl.pairs);
    let plan = stages::with(stages::train_plan(&table, &folder.path().join("run")), |changed| {
        changed.course.schedule = Schedule { kind: ScheduleKind::Linear, warmup: Warmup::Steps(2) };
        changed.course.batch_size = NonZeroUsize::new(4).unwrap();
        changed.course.length = train::Length::Steps(NonZeroU64::new(10).unwrap());
        changed.course.order = train::Order::Table;
    });
    stages::train(&plan);

    let text = fs::read_to_string(plan.course.out.join(train::METRICS)).unwrap();
    let steps: Vec<StepMetrics> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((steps.len(), expected.steps.len()), (10, 10));
    for (index, (got, want)) in steps.iter().zip(&expected.steps).enumerate() {
        // Rounding of the weights grows from step to step; by the tenth TRL differs this much from itself.
        let tolerance = if index < 4 { 2e-5 } else { 1e-4 };
        assert_close!([got.loss], [want.loss], abs = tolerance, "step {index}, loss");
        assert_close!([got.rewards_margins], [want.rewards_margins], abs = 4.0 * tolerance, "step {index}, margins");
        assert_close!([got.grad_norm], [want.grad_norm], abs = 1e-3 * want.grad_norm, "step {index}, grad_norm");
    }
    // The first update is made with a learning rate of 0, so the second step still starts at the reference.
    let firsts: Vec<f64> = expected.steps[..2].iter().map(|step| step.loss).collect();
    assert_close!(firsts, [std::f64::consts::LN_2; 2], abs = 2e-5, "TRL's first losses");
}
