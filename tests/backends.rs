//! The path of a GPU, on the CPU: candle's operations in place of our own kernels, through everything that is above
//! them.

use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
use piref::batch::{Group, GroupBatch};
use piref::interrupt::Interrupt;
use piref::logprob;
use piref::model::{Decoder, Flops, Gradients, Keep, ScoringDtype};
use piref::model_source::ModelSource;
use piref::ops::dropout::Dropout;
use piref::ops::profile::{self, Counts, Op};
use piref::ops::reduce::sum_of_squares;
use piref::ops::{Backend, Kernels};
use piref::optim::{AdamWParams, Optimizer};
use piref::precompute;
use piref::table::{Manifest, ReferenceTable, TokenLogps, TrainingPair, TrainingPairs};
use piref::train::{self, Event, StepGradient};
use piref::verify::{self, ModelCheck};

use crate::support::assert_close;
use crate::support::stages::{self, passes};

fn backends() -> [Backend; 2] {
    [Backend::cpu(), Backend::stock(Device::Cpu)]
}

fn model(folder: &Path, backend: &Backend, dtype: ScoringDtype) -> Decoder {
    let source = ModelSource::resolve(folder.to_str().unwrap()).unwrap();
    Decoder::load(&source, backend).unwrap().with_dtype(dtype)
}

/// Log-probs of sums in another order differ by some 2⁻²⁴ of the logits in f32. In bf16 both round the same numbers to the
/// same, unless a sum of f32 ends beside the boundary of two: then by a step of 2⁻⁸.
#[test]
fn every_architecture_scores_as_our_own_kernels_do() {
    let folders = fs::read_dir("fixtures/architectures").unwrap().map(|entry| entry.unwrap().path());
    let folders: Vec<_> = folders.filter(|path| path.is_dir()).chain(["fixtures/tiny".into()]).collect();
    assert!(folders.len() > 5, "{folders:?}");
    for folder in folders {
        for (dtype, tolerance) in [(ScoringDtype::F32, 5e-5), (ScoringDtype::Bf16, 5e-2)] {
            let [own, stock] = backends().map(|backend| {
                let model = model(&folder, &backend, dtype);
                let size = u32::try_from(model.config().vocab_size).unwrap();
                let ids: Vec<u32> = (0..400).map(|i: u32| (i * i * 7 + i * 31) % size).collect();
                let group = |prompt, chosen: usize, rejected: usize| Group {
                    prompt: &ids[..prompt],
                    completions: vec![&ids[7..7 + chosen], &ids[50..50 + rejected]],
                };
                let batch = GroupBatch::new(&[group(97, 12, 130), group(1, 1, 1), group(33, 64, 7)]).unwrap();
                let logps = logprob::token_logps(&model, &batch, Keep::Nothing).unwrap().logps;
                logps.into_iter().map(f64::from).collect::<Vec<_>>()
            });
            assert!(own != stock, "{}, {dtype}: one path only", folder.display());
            assert_close!(stock, own, abs = tolerance, "{}, {dtype}", folder.display());
        }
    }
}

fn table(folder: &Path) -> TrainingPairs {
    let plan = stages::precompute_plan(&folder.join("table"));
    stages::precompute(&plan);
    ReferenceTable::open(&plan.out).unwrap().load_pairs(TokenLogps::Skip, folder).unwrap()
}

fn norm(x: &Tensor) -> f64 {
    sum_of_squares(x, Kernels::Own).unwrap().sqrt()
}

/// Three steps of eight pairs: what each was, and the weights after them.
fn three_steps(backend: &Backend, dtype: ScoringDtype, pairs: &[TrainingPair<'_>]) -> (Vec<StepGradient>, Decoder) {
    let model = model(Path::new("fixtures/tiny"), backend, dtype);
    let objective = stages::sigmoid();
    let constants = AdamWParams { weight_decay: 0.1, ..AdamWParams::default() };
    let mut optimizer = Optimizer::new(constants, model.params()).unwrap();
    let mut steps = Vec::new();
    for batch in pairs.chunks_exact(8).take(3) {
        // A budget that cuts the step into several micro-batches.
        let step = train::gradient(&model, batch, &objective, passes(500)).unwrap();
        optimizer.step(model.params(), &step.gradients, 1e-3, 0.5).unwrap();
        steps.push(step);
    }
    (steps, model)
}

#[test]
fn gradients_and_three_steps_are_those_of_our_own_kernels() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = table(folder.path());
    let pairs: Vec<TrainingPair<'_>> = pairs.iter().collect();
    let start = model(Path::new("fixtures/tiny"), &Backend::cpu(), ScoringDtype::F32);
    // Nats a sequence of up to 256 tokens, part of a gradient, part of what three steps change: a step of Adam is as large
    // for a gradient that is all rounding as for any other.
    let tolerances = [(ScoringDtype::F32, 2e-4, 2e-5, 2e-4), (ScoringDtype::Bf16, 0.6, 0.05, 0.25)];
    for (dtype, nats, of_gradient, of_change) in tolerances {
        let [(own, own_model), (stock, stock_model)] = backends().map(|backend| three_steps(&backend, dtype, &pairs));
        assert_eq!((own.len(), stock.len()), (3, 3));
        for (index, (own, stock)) in own.iter().zip(&stock).enumerate() {
            let sums = |step: &StepGradient| -> Vec<f64> {
                step.policy.iter().flat_map(|pair| [pair.chosen, pair.rejected]).collect()
            };
            assert_close!(sums(stock), sums(own), abs = nats, "{dtype}, step {index}, log-probs");
            assert_close!([stock.loss], [own.loss], abs = 0.01 * nats, "{dtype}, step {index}, loss");
            let (own_norm, stock_norm) = (own.gradients.norm().unwrap(), stock.gradients.norm().unwrap());
            assert_close!(
                [stock_norm],
                [own_norm],
                abs = of_gradient * own_norm,
                "{dtype}, step {index}, gradient norm"
            );
            for (id, name, _) in start.params().iter() {
                let (own, stock) = (own.gradients.get(id).unwrap(), stock.gradients.get(id).unwrap());
                let delta = norm(&(own - stock).unwrap());
                assert!(delta <= of_gradient * norm(own), "{dtype}, step {index}, `{name}`: {:e}", delta / norm(own));
            }
        }
        for (id, name, start) in start.params().iter() {
            let (own, stock) = (own_model.params().get(id), stock_model.params().get(id));
            let (delta, change) = (norm(&(own - stock).unwrap()), norm(&(own - start).unwrap()));
            assert!(delta <= of_change * change, "{dtype}, `{name}` after three steps: {:e}", delta / change);
        }
    }
}

/// A table of one path and a policy of the other: a note, and a start check that bounds the difference.
#[test]
fn tables_and_runs_of_both_paths_fit_each_other() {
    let folder = tempfile::tempdir().unwrap();
    for (dtype, tolerance) in [(ScoringDtype::F32, 2e-4), (ScoringDtype::Bf16, 0.6)] {
        let [own, stock] = backends().map(|backend| {
            let out = folder.path().join(logprob::kernel(&backend, dtype));
            let plan = precompute::Plan { backend, dtype, ..stages::precompute_plan(&out) };
            stages::precompute(&plan);
            plan
        });
        let kernels = [&own, &stock].map(|plan| Manifest::load(&plan.out).unwrap().provenance.kernel);
        assert_eq!(kernels[1], format!("stock-{dtype}-cpu-1"));
        for (table, run) in [(&own, &stock), (&stock, &own), (&stock, &stock)] {
            let name = logprob::kernel(&run.backend, dtype);
            let out = folder.path().join(format!("{name} on {}", table.out.file_name().unwrap().display()));
            let plan = stages::with(stages::train_plan(&table.out, &out), |changed| {
                changed.course.backend = run.backend.clone();
                changed.course.dtype = dtype;
            });
            let (mut notes, mut checked) = (Vec::new(), None);
            let outcome = train::run(&plan, &Interrupt::default(), &mut |event| match event {
                Event::Note(note) => notes.push(note),
                Event::Checked { max_delta, .. } => checked = Some(max_delta),
                _ => {}
            });
            assert!(matches!(outcome.unwrap(), train::Outcome::Finished(_)));
            assert!(checked.is_some_and(|delta| delta <= tolerance), "{name}: {checked:?}");
            let has_note = notes.iter().any(|note| note.contains("they round differently"));
            assert_eq!(has_note, table.out != run.out, "{notes:?}");
        }
        if dtype == ScoringDtype::F32 {
            let check = |plan: &precompute::Plan| ModelCheck {
                adapter: None,
                model: "fixtures/tiny".into(),
                sample: 40,
                seed: 1,
                tolerance: 1e-3,
                max_tokens: 64,
                backend: plan.backend.clone(),
            };
            let plan = verify::Plan { table: own.out.clone(), model: Some(check(&stock)), data: Vec::new() };
            assert!(verify::run(&plan, &mut |_| {}).unwrap().is_clean());
        }
    }
}

/// What the ops count of their own products is what the model counts of the task, but that the backward of the head makes
/// its logits again.
#[test]
fn a_profile_counts_the_products_of_the_task() {
    for backend in backends() {
        let model = model(Path::new("fixtures/tiny"), &backend, ScoringDtype::F32);
        let ids: Vec<u32> = (0..300).map(|i: u32| (i * i * 7 + i * 31) % 64).collect();
        let group = Group { prompt: &ids[..60], completions: vec![&ids[..70], &ids[..5]] };
        let batch = GroupBatch::new(&[group.clone(), group]).unwrap();
        let want = Flops::forward(model.config(), &batch);
        let flops = |counts: &Counts, ops: &[Op]| -> Vec<f64> {
            let count = |op: &Op| counts[Op::ALL.iter().position(|at| at == op).unwrap()];
            ops.iter().map(|op| count(op).flops).collect()
        };
        let keep = Keep::Tape { n_recomputed: 0, dropout: Dropout::Off };
        let (scored, counts) = profile::count(|| logprob::token_logps(&model, &batch, keep).unwrap());
        let forward = [Op::LinearForward, Op::HeadForward, Op::AttentionForward];
        assert_eq!(flops(&counts, &forward), [want.linear, want.head, want.attention], "{:?}", backend.kernels());

        let mut gradients = Gradients::new(model.params());
        let mut slopes = logprob::Slopes::none(&batch);
        for (sequence, slope) in [1.0, -1.0, 0.5, 2.0].into_iter().enumerate() {
            slopes.add(sequence, |_| slope);
        }
        let backward = || scored.backward(&model, &batch, &slopes, &mut gradients).unwrap();
        let ((), counts) = profile::count(backward);
        let backward = [Op::LinearBackwardInput, Op::LinearBackwardWeight, Op::HeadBackward, Op::AttentionBackward];
        let want = [want.linear, want.linear, 3.0 * want.head, 2.5 * want.attention];
        assert_eq!(flops(&counts, &backward), want, "{:?}", backend.kernels());
        assert!(counts.iter().all(|count| count.seconds >= 0.0 && (count.calls > 0) == (count.seconds > 0.0)));
    }
}

/// candle's operations round the sides of products to bf16 and multiply in f32.
#[test]
fn a_format_that_saves_no_time_is_said_to() {
    let warning = |backend: &Backend, dtype| logprob::warning(backend, dtype);
    let [own, stock] = backends();
    assert_eq!([&own, &stock].map(|backend| warning(backend, ScoringDtype::F32)), [None, None]);
    assert!(warning(&stock, ScoringDtype::Bf16).is_some_and(|text| text.contains("no faster than `--dtype f32`")));
    let has_pairs = logprob::kernel(&own, ScoringDtype::Bf16).contains("pairs");
    assert_eq!(warning(&own, ScoringDtype::Bf16).is_none(), has_pairs);
}
