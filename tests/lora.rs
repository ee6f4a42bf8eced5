//! Adapters: gradients, frozen weights, folders, merging, runs.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use piref::batch::{Group, GroupBatch};
use piref::digest::ModelIdentity;
use piref::error::Hint;
use piref::inspect::{Inspected, inspect};
use piref::interrupt::Interrupt;
use piref::logprob;
use piref::model::{
    Adapter, BaseName, DEFAULT_SHARD_BYTES, Decoder, Digests, Gradients, Keep, LORA_MODULES, Lora, ModelError, Modules,
    SaveDtype, adapter_base, adapter_config, export_adapter, is_adapter,
};
use piref::model_source::ModelSource;
use piref::ops::dropout::{Dropout, Stream};
use piref::ops::reduce::sum_of_squares;
use piref::ops::{Backend, Kernels};
use piref::optim::{Optimizer, OptimizerParams};
use piref::policy::PolicyError;
use piref::train::{self, Event, MergePlan, RecomputePolicy, StepMetrics, TrainError, Trained};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::assert_close;
use crate::support::stages::{self, files};

fn drawn() -> Dropout {
    Dropout::On(Stream::new(7))
}

fn lora(dropout: f64) -> Lora {
    Lora { dropout, ..Lora::new(NonZeroUsize::new(4).unwrap(), 8.0, Modules::named(LORA_MODULES)) }
}

/// The tiny model and one of every decoder family.
fn folders() -> Vec<PathBuf> {
    let folders = fs::read_dir("fixtures/architectures").unwrap().map(|entry| entry.unwrap().path());
    folders.filter(|path| path.is_dir()).chain(["fixtures/tiny".into()]).collect()
}

fn source(folder: &Path) -> ModelSource {
    ModelSource::resolve(folder.to_str().unwrap()).unwrap()
}

fn base(folder: &Path, backend: &Backend) -> Decoder {
    Decoder::load(&source(folder), backend).unwrap()
}

fn rng(name: &str) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(name.bytes().fold(7, |seed, byte| seed * 31 % 1_000_003 + u64::from(byte)))
}

/// A model with an adapter that has learnt something: `B` is not 0.
fn adapted(folder: &Path, lora: &Lora, backend: &Backend) -> Decoder {
    let model = base(folder, backend);
    let adapter = Adapter::new(lora, model.config(), model.device(), rng).unwrap();
    let model = model.with_adapter(adapter).unwrap();
    for (_, name, tensor) in model.params().trained() {
        if name.ends_with("lora_B.weight") {
            let mut rng = rng(&format!("{name} learnt"));
            let values: Vec<f32> = (0..tensor.elem_count()).map(|_| rng.random_range(-0.1..0.1)).collect();
            tensor.slice_set(&Tensor::from_vec(values, tensor.shape(), tensor.device()).unwrap(), 0, 0).unwrap();
        }
    }
    model
}

/// Two pairs with a prompt each.
fn batch(model: &Decoder) -> GroupBatch {
    let size = u32::try_from(model.config().vocab_size).unwrap();
    let ids: Vec<u32> = (0..100).map(|i: u32| (i * i * 7 + i * 31) % size).collect();
    let group = |prompt, chosen: usize, rejected: usize| Group {
        prompt: &ids[..prompt],
        completions: vec![&ids[20..20 + chosen], &ids[50..50 + rejected]],
    };
    GroupBatch::new(&[group(17, 9, 4), group(3, 12, 7)]).unwrap()
}

/// Of the sequences of [`batch`].
const SLOPES: [f64; 4] = [1.0, -1.0, 0.5, -2.0];

fn tape(n_recomputed: usize, dropout: Dropout) -> Keep {
    Keep::Tape { n_recomputed, dropout }
}

fn loss(model: &Decoder, batch: &GroupBatch, keep: Keep) -> f64 {
    let sums = logprob::token_logps(model, batch, keep).unwrap().sums(batch);
    sums.iter().zip(SLOPES).map(|(sum, slope)| sum * slope).sum()
}

fn gradients(model: &Decoder, batch: &GroupBatch, keep: Keep) -> Gradients {
    let mut gradients = Gradients::new(model.params());
    let scored = logprob::token_logps(model, batch, keep).unwrap();
    let mut slopes = logprob::Slopes::none(batch);
    for (sequence, slope) in SLOPES.into_iter().enumerate() {
        slopes.add(sequence, |_| slope);
    }
    scored.backward(model, batch, &slopes, &mut gradients).unwrap();
    gradients
}

fn values(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

fn norm(x: &Tensor) -> f64 {
    sum_of_squares(x, Kernels::Own).unwrap().sqrt()
}

/// Changed along its gradient, each matrix changes the loss by the length of it: central differences of a loss of some
/// 200 nats, whose f32 terms are off by 1e-5 in all, over a distance of 0.02.
#[test]
fn slopes_match_finite_differences_in_every_family() {
    const STEP: f64 = 1e-2;
    for folder in folders() {
        for (rate, backend) in [(0.0, Backend::cpu()), (0.25, Backend::cpu()), (0.25, Backend::stock(Device::Cpu))] {
            let model = adapted(&folder, &lora(rate), &backend);
            let (batch, keep) = (batch(&model), tape(0, drawn()));
            let gradients = gradients(&model, &batch, keep);
            let ids: Vec<_> = model.params().trained().map(|(id, name, _)| (id, name.to_owned())).collect();
            for (id, name) in ids {
                let (tensor, gradient) = (model.params().get(id), gradients.get(id).unwrap());
                let claimed = norm(gradient);
                assert!(claimed > 0.0, "{}, `{name}`: no gradient", folder.display());
                let (start, direction) = (tensor.copy().unwrap(), (gradient / claimed).unwrap());
                let at = |step: f64| {
                    tensor.slice_set(&(&start + (&direction * step).unwrap()).unwrap(), 0, 0).unwrap();
                    loss(&model, &batch, keep)
                };
                let numeric = (at(STEP) - at(-STEP)) / (2.0 * STEP);
                at(0.0);
                let context = format!("{}, share {rate}, `{name}`", folder.display());
                assert_close!([numeric], [claimed], abs = 2e-2 * claimed + 2e-3, "{context}");
            }
        }
    }
}

#[test]
fn frozen_weights_have_neither_gradients_nor_moments() {
    for folder in folders() {
        let model = adapted(&folder, &lora(0.0), &Backend::cpu());
        let batch = batch(&model);
        let gradients = gradients(&model, &batch, tape(0, Dropout::Off));
        let mut optimizer = Optimizer::new(OptimizerParams::default(), model.params()).unwrap();
        let n_matrices = 2 * LORA_MODULES.len() * model.config().n_layers();
        assert_eq!(optimizer.named(model.params()).len(), 2 * n_matrices);
        let before: Vec<Vec<f32>> = model.params().iter().map(|(_, _, tensor)| values(tensor)).collect();
        optimizer.step(model.params(), &gradients, 1e-3, 1.0).unwrap();
        for ((id, name, tensor), before) in model.params().iter().zip(before) {
            let is_adapter = name.contains(".lora_");
            assert_eq!(model.params().is_trained(id), is_adapter, "`{name}`");
            assert_eq!(gradients.get(id).is_some(), is_adapter, "`{name}`");
            assert_eq!(values(tensor) != before, is_adapter, "`{name}`");
        }
    }
}

/// `B` is 0 at the start, dropout or not. Gradients of the two kernels are sums in two orders.
#[test]
fn a_new_adapter_changes_nothing_and_kernels_agree() {
    for folder in folders() {
        let plain = base(&folder, &Backend::cpu());
        let adapter = Adapter::new(&lora(0.5), plain.config(), plain.device(), rng).unwrap();
        let batch = batch(&plain);
        let want = logprob::token_logps(&plain, &batch, Keep::Nothing).unwrap().logps;
        let new = plain.with_adapter(adapter).unwrap();
        assert_eq!(logprob::token_logps(&new, &batch, Keep::Nothing).unwrap().logps, want, "{}", folder.display());
        assert_eq!(logprob::token_logps(&new, &batch, tape(0, drawn())).unwrap().logps, want, "{}", folder.display());

        let [own, stock] = [Backend::cpu(), Backend::stock(Device::Cpu)].map(|backend| {
            let model = adapted(&folder, &lora(0.25), &backend);
            let gradients = gradients(&model, &batch, tape(0, drawn()));
            let of = |id| gradients.get(id).unwrap().clone();
            model.params().trained().map(|(id, name, _)| (name.to_owned(), of(id))).collect::<Vec<_>>()
        });
        for ((name, own), (_, stock)) in own.iter().zip(&stock) {
            let (delta, scale) = (norm(&(own - stock).unwrap()), norm(own));
            assert!(delta <= 1e-3 * scale, "{}, `{name}`: {delta:e} of {scale:e}", folder.display());
        }
    }
}

#[test]
fn dropout_is_drawn_again_where_a_layer_is_run_again() {
    for folder in folders() {
        let model = adapted(&folder, &lora(0.25), &Backend::cpu());
        let batch = batch(&model);
        let of = |keep| {
            let gradients = gradients(&model, &batch, keep);
            model.params().trained().map(|(id, _, _)| values(gradients.get(id).unwrap())).collect::<Vec<_>>()
        };
        let want = of(tape(0, drawn()));
        for n_recomputed in 1..=model.config().n_layers() {
            assert!(of(tape(n_recomputed, drawn())) == want, "{}, {n_recomputed} layers", folder.display());
        }
        assert!(of(tape(0, Dropout::Off)) != want, "nothing was dropped");
        assert!(of(tape(0, drawn().at(1))) != want, "another place has the same draws");

        let without = adapted(&folder, &lora(0.0), &Backend::cpu());
        let (off, on) = (tape(0, Dropout::Off), tape(0, drawn()));
        assert_eq!(loss(&without, &batch, on), loss(&without, &batch, off));
        assert_eq!(loss(&model, &batch, off), loss(&without, &batch, off));
        assert_eq!(loss(&model, &batch, Keep::Nothing), loss(&without, &batch, off), "scoring drops nothing");
    }
}

/// The products of the adapter are made in another order: rounding of f32 in 2 · 20 tokens of up to 10 nats.
#[test]
fn merged_weights_score_as_the_adapter_does() {
    for folder in folders() {
        for use_rslora in [false, true] {
            let lora = Lora { use_rslora, ..lora(0.0) };
            let model = adapted(&folder, &lora, &Backend::cpu());
            let batch = batch(&model);
            let logps = |model: &Decoder| -> Vec<f64> {
                let logps = logprob::token_logps(model, &batch, Keep::Nothing).unwrap().logps;
                logps.into_iter().map(f64::from).collect()
            };
            let (want, plain) = (logps(&model), logps(&base(&folder, &Backend::cpu())));
            let merged = model.merged().unwrap();
            assert!(merged.lora().is_none() && merged.params().iter().all(|(_, name, _)| !name.contains("lora")));
            assert_close!(logps(&merged), want, abs = 1e-4, "{}", folder.display());
            assert!(want.iter().zip(&plain).any(|(adapted, plain)| (adapted - plain).abs() > 1e-3));
        }
    }
}

#[test]
fn a_rank_wider_than_the_model_is_refused() {
    let model = base(Path::new("fixtures/tiny"), &Backend::cpu());
    for r in [161, usize::MAX] {
        let lora = Lora { r: NonZeroUsize::new(r).unwrap(), ..lora(0.0) };
        let error = Adapter::new(&lora, model.config(), model.device(), rng).unwrap_err();
        let want = format!("an adapter of rank {r} is wider than the model: expected at most 160");
        assert_eq!(error.to_string(), want);
    }
}

#[test]
fn a_folder_gives_back_the_adapter_and_refuses_other_weights() {
    let folder = Path::new("fixtures/tiny");
    let digests = Digests::of(&source(folder)).unwrap();
    let lora = Lora { target_modules: Modules::named(["q_proj", "mlp.down_proj"]), alpha: 6.5, ..lora(0.125) };
    let model = adapted(folder, &lora, &Backend::cpu());
    assert_eq!(model.params().trained().count(), 4 * model.config().n_layers());
    let out = tempfile::tempdir().unwrap();
    let name = BaseName { name: "fixtures/tiny".into(), revision: Some("v1".into()) };
    export_adapter(&model.adapter().unwrap(), &name, &digests, out.path()).unwrap();
    assert!(is_adapter(out.path()));
    assert_eq!(adapter_base(out.path()).unwrap(), (Some("fixtures/tiny".into()), Some("v1".into())));
    let names = Modules::named(["mlp.down_proj", "q_proj"]);
    assert_eq!(adapter_config(out.path()).unwrap(), Lora { target_modules: names, ..lora });

    let plain = base(folder, &Backend::cpu());
    let read = |digests: &Digests| Adapter::read(out.path(), &plain, digests);
    let again = base(folder, &Backend::cpu()).with_adapter(read(&digests).unwrap()).unwrap();
    let tensors = |model: &Decoder| -> Vec<(String, Vec<f32>)> {
        model.params().trained().map(|(_, name, tensor)| (name.to_owned(), values(tensor))).collect()
    };
    assert!(tensors(&again) == tensors(&model), "the adapter has changed");

    // The same model in other files, and another one.
    assert!(read(&Digests { weights: digests.config, ..digests.clone() }).is_ok());
    let identity = ModelIdentity { weights: digests.config, ..digests.identity };
    let other = Digests { identity, ..digests.clone() };
    let error = read(&other).unwrap_err();
    assert!(matches!(&error, ModelError::OtherBase { what: "weights", .. }), "{error}");
    assert!(error.hint().unwrap().contains("--model"));
    // PEFT writes no digests.
    fs::remove_file(out.path().join("piref.json")).unwrap();
    assert!(read(&other).is_ok());

    let config = out.path().join("adapter_config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("\"q_proj\"", "\"v_proj\"")).unwrap();
    let error = read(&digests).unwrap_err().to_string();
    assert!(error.contains("v_proj.lora_A.weight") && error.contains("is missing"), "{error}");
    fs::write(&config, text.replace("\"q_proj\"", "\"layers.9.self_attn.q_proj\"")).unwrap();
    let error = read(&digests).unwrap_err().to_string();
    assert!(error.contains("q_proj.lora_") && error.contains("has no place"), "{error}");
    fs::write(&config, text.replace("\"bias\": \"none\"", "\"bias\": \"some\"")).unwrap();
    let error = read(&digests).unwrap_err().to_string();
    assert!(error.contains("key `bias`: expected `none`, `all` or `lora_only`, found `\"some\"`"), "{error}");
}

/// A table of 40 pairs.
fn table(folder: &Path) -> PathBuf {
    let table = folder.join("table");
    stages::precompute(&stages::precompute_plan(&table));
    table
}

fn run(table: &Path, out: &Path, lora: Lora) -> train::Plan {
    stages::with(stages::train_plan(table, out), |changed| changed.course.trained = Trained::NewAdapter(lora))
}

/// Every step sees all pairs, so that the loss falls from each to the next.
fn learning(table: &Path, out: &Path) -> train::Plan {
    let batch_size = NonZeroUsize::new(40).unwrap();
    stages::with(run(table, out, lora(0.0)), |changed| {
        changed.course.learning_rate = 1e-2;
        changed.course.batch_size = batch_size;
    })
}

fn losses(plan: &train::Plan) -> Vec<f64> {
    let text = fs::read_to_string(plan.course.out.join(train::METRICS)).unwrap();
    text.lines().map(|line| serde_json::from_str::<StepMetrics>(line).unwrap().loss).collect()
}

#[test]
fn a_run_starts_at_the_reference_learns_and_leaves_an_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    let plan = learning(&table, &folder.path().join("run"));
    let mut notes = Vec::new();
    train::run(&plan, &Interrupt::default(), &mut |event| {
        if let Event::Note(note) = event {
            notes.push(note);
        }
    })
    .unwrap();
    assert!(notes.iter().any(|note| note.ends_with("numbers are trained, those of the adapter")), "{notes:?}");
    let losses = losses(&plan);
    assert_close!([losses[0]], [std::f64::consts::LN_2], abs = 1e-9, "the first loss");
    assert!(losses[5] < losses[0] - 1e-3, "{losses:?}");

    let policy = plan.course.out.join("policy");
    let names: Vec<String> = files(&policy).iter().map(|(name, _)| name.display().to_string()).collect();
    let has = |name: &str| names.iter().any(|found| found == name);
    assert!(has("adapter_model.safetensors") && has("adapter_config.json") && has("tokenizer.json"), "{names:?}");
    assert!(!has("model.safetensors") && !has("config.json"), "{names:?}");
    // Weights of the whole model are many times as large as this adapter.
    let size = |path: PathBuf| fs::metadata(path).unwrap().len();
    let checkpoint = plan.course.out.join("train/checkpoints/step-6");
    assert!(3 * size(checkpoint.join("weights.safetensors")) < size("fixtures/tiny/model.safetensors".into()));

    let Inspected::Run(run) = inspect(&plan.course.out).unwrap() else { panic!("a run is a run") };
    assert!(run.policy.is_none());
    // Found from anywhere.
    let base_path = std::path::absolute("fixtures/tiny").unwrap().display().to_string();
    assert_eq!(run.adapter.unwrap().base.as_deref(), Some(base_path.as_str()));
    assert!(matches!(inspect(&policy).unwrap(), Inspected::Adapter(adapter) if adapter.lora.alpha == 8.0));

    let out = folder.path().join("merged");
    let merging = MergePlan {
        adapter: plan.course.out.clone(),
        model: None,
        out: out.clone(),
        shard_bytes: DEFAULT_SHARD_BYTES,
        save_dtype: SaveDtype::Auto,
    };
    let summary = train::merge(&merging).unwrap();
    assert_eq!((summary.model.as_str(), summary.lora.r.get()), (base_path.as_str(), 4));
    assert!(matches!(train::merge(&merging), Err(TrainError::Taken { .. })));
    let tiny = Path::new("fixtures/tiny");
    let plain = base(tiny, &Backend::cpu());
    let digests = Digests::of(&source(tiny)).unwrap();
    let adapter = Adapter::read(&policy, &plain, &digests).unwrap();
    let model = plain.with_adapter(adapter).unwrap();
    let batch = batch(&model);
    let want = loss(&model, &batch, Keep::Nothing);
    assert_close!([loss(&base(&out, &Backend::cpu()), &batch, Keep::Nothing)], [want], abs = 1e-3, "merged");
    let none = MergePlan { adapter: "fixtures/tiny".into(), out: folder.path().join("none"), ..merging };
    assert!(matches!(train::merge(&none), Err(TrainError::Policy(PolicyError::NoAdapter { .. }))));
}

/// With dropout, whose draws go on where they stood.
#[test]
fn a_resumed_run_and_one_that_runs_layers_again_end_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    let plan = |name: &str| run(&table, &folder.path().join(name), lora(0.1));
    let straight = plan("straight");
    stages::train(&straight);
    let want = files(&straight.course.out.join("policy"));

    let resumed = plan("resumed");
    assert_eq!(stages::train_until(&resumed, 2).step, 2);
    let again = stages::with(resumed, |changed| changed.course.recompute = RecomputePolicy::Layer);
    assert_eq!(stages::train(&again).n_resumed, 2);
    assert!(files(&again.course.out.join("policy")) == want, "other bytes");

    // What makes it another run.
    for lora in [Lora { alpha: 9.0, ..lora(0.1) }, lora(0.2)] {
        let other = stages::with(again.clone(), |changed| changed.course.trained = Trained::NewAdapter(lora));
        let error = train::run(&other, &Interrupt::default(), &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("belongs to another run: `lora` was"), "{error}");
    }
    let whole = stages::with(again.clone(), |changed| changed.course.trained = Trained::Weights);
    let error = train::run(&whole, &Interrupt::default(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("belongs to another run: `lora` was"), "{error}");
    let other = plan("seed");
    stages::train(&stages::with(other.clone(), |changed| changed.course.seed = 8));
    assert!(files(&other.course.out.join("policy")) != want, "another seed draws the same");
}

#[test]
fn an_adapter_to_go_on_from_is_another_policy_than_the_reference() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    let first = learning(&table, &folder.path().join("first"));
    stages::train(&first);
    let trained = Trained::Adapter { path: first.course.out.join("policy"), dropout: 0.0 };
    let plan = stages::with(first.clone(), |changed| {
        changed.course.trained = trained;
        changed.course.out = folder.path().join("second");
    });
    let error = train::run(&plan, &Interrupt::default(), &mut |_| {}).unwrap_err();
    let TrainError::OtherReference { difference, .. } = &error else { panic!("{error}") };
    assert_eq!((difference.field, difference.expected.as_str()), ("model.adapter_digest", "none"));
    let hint = error.hint().unwrap();
    assert!(hint.contains("piref precompute --model") && hint.contains("--allow-other-reference"), "{hint}");

    let plan = stages::with(plan, |changed| changed.other_reference = train::Mismatch::Allow);
    stages::train(&plan);
    // It starts below where the first began: it has learnt.
    assert!(losses(&plan)[0] < std::f64::consts::LN_2 - 1e-4, "{:?}", losses(&plan));
}
