//! Small runs of both stages on the tiny model.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{AsArray, Float64Array, RecordBatch, new_null_array};
use arrow::datatypes::Float64Type;
use piref::data::{ColumnMap, Overlong};
use piref::interrupt::Interrupt;
use piref::loss::{BatchObjective, BatchTerm, Beta, LabelSmoothing, LossWeight, Objective};
use piref::model::ScoringDtype;
use piref::ops::Backend;
use piref::optim::{OptimizerParams, Schedule, ScheduleKind, Warmup};
use piref::table::{Manifest, ReferenceTable, part_name, signals_name, write_part};
use piref::tokenize::{Masking, Rules, TruncationMode};
use piref::{precompute, sft, train};

/// Stage one on some of the fixture pairs: several formats, parts of 16 pairs.
pub(crate) fn precompute_plan(out: &Path) -> precompute::Plan {
    precompute::Plan {
        adapter: None,
        model: "fixtures/tiny".into(),
        pairs: precompute::Pairs::Files {
            paths: ["standard.jsonl", "conversational.jsonl", "ultrafeedback.jsonl.zst"]
                .map(|name| PathBuf::from("fixtures/pairs").join(name))
                .to_vec(),
            limit: NonZeroU64::new(40),
        },
        column_map: ColumnMap::default(),
        max_reject_rate: 0.01,
        overlong: Overlong::Drop,
        reuse: Vec::new(),
        out: out.to_owned(),
        rules: Rules {
            max_length: 256,
            truncation_mode: TruncationMode::KeepStart,
            template_date: "2024-07-26".parse().unwrap(),
        },
        dtype: ScoringDtype::F32,
        backend: Backend::cpu(),
        max_tokens: NonZeroUsize::new(1024).unwrap(),
        rows_per_part: NonZeroUsize::new(16).unwrap(),
        signals: precompute::Signals::Make,
        start: precompute::Start::Resume,
        scope: precompute::Scope::Whole,
    }
}

/// DPO with β 0.1.
pub(crate) fn sigmoid() -> BatchObjective {
    Objective::sigmoid(Beta::try_from(0.1).unwrap(), LabelSmoothing::default()).into()
}

/// BCO with its running mean: of the whole batch, and with a memory.
pub(crate) fn bco_shifted() -> BatchObjective {
    let nothing = BatchObjective::new(Objective::sum(Beta::try_from(0.1).unwrap(), []));
    nothing.with_term(LossWeight::ONE, BatchTerm::BcoShifted).unwrap()
}

/// Stage two on such a table: six shuffled steps of eight pairs.
pub(crate) fn train_plan(table: &Path, out: &Path) -> train::Plan {
    train::Plan {
        course: course(out),
        table: table.to_owned(),
        selection: piref::selection::Selection::default(),
        reference: None,
        other_reference: train::Mismatch::Refuse,
        other_dtype: train::Mismatch::Refuse,
        objective: sigmoid(),
        score_columns: None,
        eval: None,
        check_pairs: 8,
        check_tolerance: 1e-3,
    }
}

/// The same plan but for what is changed.
pub(crate) fn with(mut plan: train::Plan, change: impl FnOnce(&mut train::Plan)) -> train::Plan {
    change(&mut plan);
    plan
}

/// Six shuffled steps of eight, with a checkpoint after each third.
fn course(out: &Path) -> train::Course {
    train::Course {
        model: "fixtures/tiny".into(),
        trained: train::Trained::Weights,
        save_dtype: piref::model::SaveDtype::Auto,
        out: out.to_owned(),
        optimizer: OptimizerParams::default(),
        ema_decay: None,
        learning_rate: 1e-3,
        schedule: Schedule { kind: ScheduleKind::Cosine, warmup: Warmup::Steps(1) },
        max_grad_norm: Some(1.0),
        batch_size: NonZeroUsize::new(8).unwrap(),
        length: train::Length::Steps(NonZeroU64::new(6).unwrap()),
        order: train::Order::Shuffled { seed: 7 },
        seed: 7,
        max_tokens: NonZeroUsize::new(1024).unwrap(),
        recompute: train::RecomputePolicy::Auto,
        memory_budget: None,
        logging_steps: NonZeroU64::new(1).unwrap(),
        report_to: train::ReportTo::None,
        save_steps: NonZeroU64::new(3),
        save_total_limit: None,
        dtype: ScoringDtype::F32,
        backend: Backend::cpu(),
        start: train::Start::Resume,
    }
}

/// Micro-batches of so many tokens, with nothing made again.
pub(crate) fn passes(max_tokens: usize) -> train::Passes {
    train::Passes { max_tokens, recompute: train::Recompute::None }
}

/// Runs stage one and returns its summary.
pub(crate) fn precompute(plan: &precompute::Plan) -> precompute::Summary {
    match precompute::run(plan, &Interrupt::default(), &mut |_| {}).unwrap() {
        precompute::Outcome::Finished(summary) => summary,
        outcome => panic!("nobody has interrupted it, and nothing is missing: {outcome:?}"),
    }
}

/// Runs stage two and returns its summary.
pub(crate) fn train(plan: &train::Plan) -> train::Summary {
    match train::run(plan, &Interrupt::default(), &mut |_| {}).unwrap() {
        train::Outcome::Finished(summary) => *summary,
        train::Outcome::Interrupted(at) => panic!("interrupted by nobody: {at:?}"),
    }
}

/// Runs stage two until `step` steps are made, as Ctrl-C does after that step.
pub(crate) fn train_until(plan: &train::Plan, step: u64) -> train::Interruption {
    let interrupt = Interrupt::default();
    let outcome = train::run(plan, &interrupt, &mut |event| {
        if matches!(event, train::Event::Step { metrics, .. } if metrics.step == step) {
            interrupt.set();
        }
    });
    match outcome.unwrap() {
        train::Outcome::Interrupted(at) => at,
        train::Outcome::Finished(summary) => panic!("not interrupted: {summary:?}"),
    }
}

/// Supervised training of the tiny model on these files: so many shuffled steps of four sequences.
pub(crate) fn sft_plan(data: &[&str], out: &Path, n_steps: u64) -> sft::Plan {
    sft::Plan {
        course: train::Course {
            schedule: Schedule { kind: ScheduleKind::Linear, warmup: Warmup::Steps(0) },
            batch_size: NonZeroUsize::new(4).unwrap(),
            length: train::Length::Steps(NonZeroU64::new(n_steps).unwrap()),
            max_tokens: NonZeroUsize::new(512).unwrap(),
            ..course(out)
        },
        data: data.iter().map(PathBuf::from).collect(),
        column_map: ColumnMap::default(),
        limit: None,
        max_reject_rate: 0.01,
        overlong: Overlong::Drop,
        rules: Rules { max_length: 256, ..precompute_plan(out).rules },
        masking: Masking::Prompts,
    }
}

/// Runs supervised training and returns its summary.
pub(crate) fn sft(plan: &sft::Plan) -> sft::Summary {
    match sft::run(plan, &Interrupt::default(), &mut |_| {}).unwrap() {
        sft::Outcome::Finished(summary) => *summary,
        sft::Outcome::Interrupted(at) => panic!("interrupted by nobody: {at:?}"),
    }
}

/// Copies the files of a folder.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

/// Names and bytes of all files below a folder.
pub(crate) fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.strip_prefix(folder).unwrap().to_owned(), std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// Rewrites a table of one part with other log-probs of the chosen completions and without signals, as a finished table of
/// ours.
pub(crate) fn shift_logps(folder: &Path, by: f64) {
    let manifest = Manifest::load(folder).unwrap();
    let table = ReferenceTable::open(folder).unwrap();
    let names: Vec<String> = table.schema().fields().iter().map(|field| field.name().clone()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let batch = table.batches(&names).unwrap().next().unwrap().unwrap();
    let (at, _) = batch.schema().column_with_name("ref_chosen_logps").unwrap();
    let mut columns = batch.columns().to_vec();
    let logps = columns[at].as_primitive::<Float64Type>();
    columns[at] = Arc::new(Float64Array::from_iter_values(logps.values().iter().map(|logp| logp + by)));
    // A table need not have the terms; with them the sums would contradict it.
    for name in ["ref_chosen_token_logps", "ref_rejected_token_logps"] {
        let (at, field) = batch.schema_ref().column_with_name(name).unwrap();
        columns[at] = new_null_array(field.data_type(), batch.num_rows());
    }
    let shifted = RecordBatch::try_new(batch.schema(), columns).unwrap();

    std::fs::remove_file(folder.join(signals_name(0))).unwrap_or_default();
    let part = write_part(&folder.join(part_name(0)), &shifted, &manifest.provenance).unwrap();
    Manifest::new(manifest.provenance, vec![part], manifest.rejects).write(folder).unwrap();
}
