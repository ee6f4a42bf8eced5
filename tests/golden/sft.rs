//! Four steps of supervised training on the tiny model against TRL's SFTTrainer. Numbers by `fixtures/golden/sft.py`.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;

use piref::batch::SequenceIds;
use piref::data::{self, ColumnMap, Example, ExampleRow};
use piref::model::Decoder;
use piref::model_source::ModelSource;
use piref::ops::reduce::sum_of_squares;
use piref::ops::{Backend, Kernels};
use piref::sft::{self, SftMetrics};
use piref::tokenize::{SequenceTokenizer, Tokenized, TokenizerFiles};
use piref::train::{self, METRICS};
use serde::Deserialize;

use crate::support::stages::passes;
use crate::support::{assert_close, golden, stages};

#[derive(Deserialize)]
struct Golden {
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    file: String,
    rows: Vec<Row>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Row {
    n_prompt: usize,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Step {
    loss: f64,
    grad_norm: f64,
    learning_rate: f64,
    num_tokens: f64,
    grad_norms: BTreeMap<String, f64>,
}

/// The plan of TRL's run, on the first eight pairs of a file.
fn plan(run: &Run, folder: &std::path::Path, max_tokens: usize) -> sft::Plan {
    let lines: String = fs::read_to_string(&run.file).unwrap().lines().take(8).flat_map(|line| [line, "\n"]).collect();
    let data = folder.join("answers.jsonl");
    fs::write(&data, lines).unwrap();
    let mut plan = stages::sft_plan(&[data.to_str().unwrap()], &folder.join("run"), 4);
    plan.rules.max_length = 512;
    plan.course.order = train::Order::Table;
    plan.course.max_tokens = NonZeroUsize::new(max_tokens).unwrap();
    plan
}

#[test]
fn ids_and_what_is_learnt_are_trls() {
    let golden: Golden = golden("sft.json");
    let files = TokenizerFiles::load(&ModelSource::resolve("fixtures/tiny").unwrap()).unwrap();
    for run in &golden.runs {
        let folder = tempfile::tempdir().unwrap();
        let plan = plan(run, folder.path(), 512);
        let tokenizer = SequenceTokenizer::new(&files, plan.rules, plan.masking).unwrap();
        let rows = data::open_examples(&plan.data[0], &ColumnMap::default()).unwrap();
        let examples: Vec<Example> = rows
            .map(|row| match row.unwrap() {
                ExampleRow::Example(example) => example,
                ExampleRow::Reject(reject) => panic!("{reject:?}"),
            })
            .collect();
        let found = tokenizer.tokenize_batch(&examples).unwrap();
        assert_eq!(found.len(), run.rows.len());
        for (found, want) in found.into_iter().zip(&run.rows) {
            let Ok(Tokenized::Sequence(found)) = found else { panic!("{found:?}") };
            assert_eq!((found.ids.len(), found.scored.len()), (want.ids.len(), 1), "{}", run.file);
            assert_eq!((&found.ids, found.scored[0].start), (&want.ids, want.n_prompt), "{}", run.file);
        }
    }
}

#[test]
fn the_first_gradient_is_trls_parameter_by_parameter() {
    let golden: Golden = golden("sft.json");
    let model = Decoder::load(&ModelSource::resolve("fixtures/tiny").unwrap(), &Backend::cpu()).unwrap();
    for run in &golden.runs {
        let rows = &run.rows[..4];
        let scored = |row: &Row| std::iter::once(row.n_prompt..row.ids.len()).collect();
        let sequences: Vec<SequenceIds<'_>> =
            rows.iter().map(|row| SequenceIds { ids: &row.ids, scored: scored(row) }).collect();
        let found = sft::gradient(&model, &sequences, passes(100)).unwrap();
        assert_close!([found.loss], [run.steps[0].loss], abs = 2e-5, "{}", run.file);
        let want = &run.steps[0].grad_norms;
        assert_eq!(want.len(), model.params().len());
        for (id, name, _) in model.params().iter() {
            let norm = sum_of_squares(found.gradients.get(id).unwrap(), Kernels::Own).unwrap().sqrt();
            assert_close!([norm], [want[name]], abs = 1e-3 * want[name].max(1e-3), "{}, `{name}`", run.file);
        }
    }
}

#[test]
fn four_steps_are_trls_however_they_are_cut() {
    let golden: Golden = golden("sft.json");
    for run in &golden.runs {
        for max_tokens in [64, 2048] {
            let folder = tempfile::tempdir().unwrap();
            let plan = plan(run, folder.path(), max_tokens);
            stages::sft(&plan);
            let metrics = fs::read_to_string(plan.course.out.join(METRICS)).unwrap();
            assert_eq!(metrics.lines().count(), run.steps.len());
            for (line, want) in metrics.lines().zip(&run.steps) {
                let got: SftMetrics = serde_json::from_str(line).unwrap();
                assert_close!([got.loss], [want.loss], abs = 2e-5, "{}, step {}, loss", run.file, got.step);
                let tolerance = 1e-3 * want.grad_norm;
                assert_close!([got.grad_norm], [want.grad_norm], abs = tolerance, "{}, step {}", run.file, got.step);
                assert_close!([got.learning_rate], [want.learning_rate], abs = 1e-12, "step {}", got.step);
                assert_close!([got.num_tokens as f64], [want.num_tokens], abs = 0.0, "step {}", got.step);
            }
        }
    }
}
