use super::*;
use crate::error::Hint;
use crate::loss::RunningMean;
use crate::ops::Kernels;
use crate::optim::{AdamWParams, RmsPropParams, SgdParams};
use candle_core::{Device, Tensor};

fn params() -> Params {
    let mut params = Params::new(Kernels::Own);
    params.push("w".into(), Tensor::new(&[1_f32, 2.0], &Device::Cpu).unwrap());
    params
}

fn state(step: u64, objective: ObjectiveState) -> State {
    State { step, n_tokens: 10 * step, objective, eval: EvalState::default(), trajectory: serde_json::Map::new() }
}

fn save_at(folder: &Path, step: u64, occasion: Occasion) -> PathBuf {
    save_with(folder, step, occasion, AdamWParams::default().into(), None)
}

fn save_with(folder: &Path, step: u64, occasion: Occasion, constants: OptimizerParams, ema: Option<&Ema>) -> PathBuf {
    let optimizer = Optimizer::new(constants, &params()).unwrap();
    let state = state(step, ObjectiveState::default());
    let snapshot = Snapshot { params: &params(), optimizer: &optimizer, ema, state: &state, occasion };
    save(folder, &snapshot).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    io::list(folder).unwrap().iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
fn what_an_interruption_left_goes_when_a_later_checkpoint_is_there() {
    let folder = tempfile::tempdir().unwrap();
    for (step, occasion) in [(2, Occasion::Planned), (3, Occasion::Interrupted), (9, Occasion::Interrupted)] {
        save_at(folder.path(), step, occasion);
    }
    assert_eq!(names(folder.path()), ["step-2", "step-9"]);
    // As kills leave them.
    io::create_dir(&folder.path().join(".step-10.partial")).unwrap();
    io::create_dir(&folder.path().join(".step-3.removed")).unwrap();
    save_at(folder.path(), 10, Occasion::Planned);
    assert_eq!(names(folder.path()), ["step-10", "step-2"]);
    assert_eq!(newest(folder.path()).unwrap().unwrap().state().step, 10);
}

/// The tensors of a file, by name.
fn tensors(path: &Path) -> Vec<String> {
    let bytes = io::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names: Vec<String> = file.names().into_iter().map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn a_checkpoint_holds_what_its_optimiser_keeps_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(OptimizerParams, &[&str]); 5] = [
        (AdamWParams::default().into(), &["first.w", "second.w"]),
        (RmsPropParams::default().into(), &["square_avg.w"]),
        (RmsPropParams { momentum: 0.9, ..RmsPropParams::default() }.into(), &["momentum_buffer.w", "square_avg.w"]),
        (SgdParams::default().into(), &[]),
        (SgdParams { momentum: 0.9, ..SgdParams::default() }.into(), &["momentum_buffer.w"]),
    ];
    for (step, (constants, want)) in (1..).zip(cases) {
        let path = save_with(folder.path(), step, Occasion::Planned, constants, None);
        if want.is_empty() {
            assert_eq!(names(&path), [STATE, WEIGHTS]);
        } else {
            assert_eq!(names(&path), [MOMENTS, STATE, WEIGHTS]);
            assert_eq!(tensors(&path.join(MOMENTS)), want);
        }
        let checkpoint = Checkpoint::open(&path).unwrap();
        let mut other = params();
        let optimizer = checkpoint.load(&mut other, constants).unwrap();
        let found: Vec<String> = optimizer.named(&other).into_iter().map(|(name, _)| name).collect();
        assert_eq!(found.len(), want.len());
        let error = checkpoint.load_ema(&params(), 0.9).unwrap_err();
        assert!(error.to_string().contains("ema.safetensors` is missing"), "{error}");
    }
}

#[test]
fn running_means_are_beside_the_weights_and_survive_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let mean = Ema::resume(0.9, vec![Tensor::new(&[0.1_f32, 1e-30], &Device::Cpu).unwrap()]);
    let path = save_with(folder.path(), 1, Occasion::Planned, AdamWParams::default().into(), Some(&mean));
    assert_eq!(names(&path), [EMA, MOMENTS, STATE, WEIGHTS]);
    assert_eq!(tensors(&path.join(EMA)), ["w"]);
    let checkpoint = Checkpoint::open(&path).unwrap();
    let found = checkpoint.load_ema(&params(), 0.9).unwrap();
    assert_eq!(found.tensors()[0].to_vec1::<f32>().unwrap(), [0.1, 1e-30]);
    let mut other = params();
    checkpoint.load(&mut other, AdamWParams::default()).unwrap();
    assert_eq!(
        other.get(other.id("w").unwrap()).to_vec1::<f32>().unwrap(),
        [1.0, 2.0],
        "the weights are not the means"
    );
}

/// A trajectory that names no optimiser is one of AdamW: those of the first versions were not asked.
#[test]
fn another_optimiser_is_named_before_its_constants() {
    let folder = tempfile::tempdir().unwrap();
    let trajectory = |entries: &[(&str, serde_json::Value)]| -> serde_json::Map<String, serde_json::Value> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    };
    let adamw = trajectory(&[("optimizer", serde_json::json!({"beta1": 0.9}))]);
    let rmsprop = trajectory(&[("optimizer", serde_json::json!({"alpha": 0.99})), (OPTIM, "rmsprop".into())]);
    for (step, then, now, want) in [
        (1, &adamw, &rmsprop, "`optim` was `\"adamw\"`, now it is `\"rmsprop\"`"),
        (2, &rmsprop, &adamw, "`optim` was `\"rmsprop\"`, now it is `\"adamw\"`"),
    ] {
        let state = State { trajectory: then.clone(), ..state(step, ObjectiveState::default()) };
        let optimizer = Optimizer::new(AdamWParams::default(), &params()).unwrap();
        let (params, occasion) = (&params(), Occasion::Planned);
        let snapshot = Snapshot { params, optimizer: &optimizer, ema: None, state: &state, occasion };
        let checkpoint = Checkpoint::open(&save(folder.path(), &snapshot).unwrap()).unwrap();
        assert_eq!(checkpoint.check(then, &[]).unwrap(), []);
        let error = checkpoint.check(now, &[]).unwrap_err().to_string();
        assert!(error.ends_with(want), "{error}");
    }
}

#[test]
fn frozen_parameters_are_not_in_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let frozen = || {
        let mut params = params();
        params.freeze();
        params.push("a".into(), Tensor::new(&[3_f32], &Device::Cpu).unwrap());
        params
    };
    let params = frozen();
    let optimizer = Optimizer::new(AdamWParams::default(), &params).unwrap();
    let state = state(1, ObjectiveState::default());
    let snapshot =
        Snapshot { params: &params, optimizer: &optimizer, ema: None, state: &state, occasion: Occasion::Planned };
    let path = save(folder.path(), &snapshot).unwrap();
    assert_eq!(tensors(&path.join(WEIGHTS)), ["a"]);
    assert_eq!(tensors(&path.join(MOMENTS)), ["first.a", "second.a"]);

    let mut other = frozen();
    let [w, a] = ["w", "a"].map(|name| other.id(name).unwrap());
    other.replace_trained(vec![Tensor::new(&[9_f32], &Device::Cpu).unwrap()]);
    newest(folder.path()).unwrap().unwrap().load(&mut other, AdamWParams::default()).unwrap();
    assert_eq!(other.get(w).to_vec1::<f32>().unwrap(), [1.0, 2.0]);
    assert_eq!(other.get(a).to_vec1::<f32>().unwrap(), [3.0]);
    assert!(!other.is_trained(w) && other.is_trained(a));
}

#[test]
fn what_an_objective_remembers_survives_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let optimizer = Optimizer::new(AdamWParams::default(), &params()).unwrap();
    let objective = |mean, n_batches| ObjectiveState { bco_shift: RunningMean { mean, n_batches } };
    for (step, objective) in [(1, objective(0.1 + 0.2, 3)), (2, objective(-1e-300 / 3.0, 7)), (3, objective(0.0, 0))] {
        let state = state(step, objective);
        let (params, occasion) = (&params(), Occasion::Planned);
        let snapshot = Snapshot { params, optimizer: &optimizer, ema: None, state: &state, occasion };
        let path = save(folder.path(), &snapshot).unwrap();
        assert_eq!(Checkpoint::open(&path).unwrap().state(), &state);
        // A checkpoint without a memory is what it was before objectives had one.
        let text = io::read_text(&path.join(STATE)).unwrap();
        assert_eq!(text.contains("bco_shift"), !objective.is_new(), "{text}");
    }
}

/// Any byte of any file: the checkpoint is refused by name, with the way out.
#[test]
fn a_damaged_checkpoint_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let mean = Ema::new(0.9, &params()).unwrap();
    let step = save_with(folder.path(), 1, Occasion::Planned, AdamWParams::default().into(), Some(&mean));
    let load = || {
        let found = newest(folder.path())?.unwrap();
        found.load(&mut params(), AdamWParams::default())?;
        found.load_ema(&params(), 0.9)
    };
    load().unwrap();
    for name in [WEIGHTS, MOMENTS, EMA, STATE] {
        let path = step.join(name);
        let bytes = io::read(&path).unwrap();
        let digits = (0..bytes.len()).filter(|&at| name != STATE || bytes[at].is_ascii_digit());
        for at in digits {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            io::write(&path, &damaged).unwrap();
            let error = load().err().unwrap_or_else(|| panic!("{name}, byte {at} passed"));
            assert!(error.to_string().contains(name) && error.to_string().contains("damaged"), "{error}");
            assert!(
                error.hint().unwrap().contains("step-1.damaged` to go on from the checkpoint before it"),
                "{error}"
            );
        }
        io::remove(&path).unwrap();
        assert!(load().unwrap_err().hint().unwrap().starts_with("`mv "), "{name}");
        io::write(&path, &bytes).unwrap();
    }
    load().unwrap();
}

/// What a run was told then and is told now, what of it may change, and which of that did, or why it is another run.
type Told<'a> = (Trajectory, Trajectory, &'a [&'a str], Result<&'a [&'a str], &'a str>);

/// What is another run is refused by its field; a model in other files, a micro-batch and, where it may be, a length are not.
#[test]
fn the_same_run_is_told_by_what_decides_it() {
    let folder = tempfile::tempdir().unwrap();
    let told = |changes: &[(&str, serde_json::Value)]| -> Trajectory {
        let whole = serde_json::json!({
            "model_digest": "a", "config_digest": "b", "model_identity": "c", "config_identity": "d",
            "lr_scheduler_type": "constant", "batch_size": 8, "n_steps": 5, "max_tokens": 2048,
        });
        let mut trajectory = whole.as_object().unwrap().clone();
        for (key, value) in changes {
            match value {
                serde_json::Value::Null => drop(trajectory.remove(*key)),
                value => drop(trajectory.insert((*key).to_owned(), value.clone())),
            }
        }
        trajectory
    };
    let null = serde_json::Value::Null;
    let old: &[(&str, serde_json::Value)] = &[("model_identity", null.clone()), ("config_identity", null)];
    let text = |value: &str| serde_json::Value::from(value);
    let free = ["max_tokens", "n_steps"];
    let cases: [Told<'_>; 9] = [
        (told(&[]), told(&[("model_digest", text("x")), ("config_digest", text("y"))]), &free, Ok(&[])),
        (told(old), told(&[]), &free, Ok(&[])),
        (told(&[]), told(old), &free, Ok(&[])),
        (told(old), told(&[("model_digest", text("x"))]), &free, Err("`model_digest` was `\"a\"`, now it is `\"x\"`")),
        (told(&[]), told(&[("model_identity", text("x"))]), &free, Err("`model_identity` was `\"c\"`")),
        (told(&[]), told(&[("max_tokens", 512.into()), ("n_steps", 9.into())]), &free, Ok(&free)),
        (told(&[]), told(&[("n_steps", 9.into())]), &free[..1], Err("`n_steps` was `5`, now it is `9`")),
        (told(&[]), told(&[("batch_size", 4.into()), ("n_steps", 9.into())]), &free, Err("`batch_size` was `8`")),
        (
            told(&[]),
            told(&[("lr_scheduler_type", text("linear")), ("n_steps", 9.into())]),
            &free[..1],
            Err("`lr_scheduler_type` was `\"constant\"`, now it is `\"linear\"`"),
        ),
    ];
    for (at, (then, now, may_change, want)) in cases.into_iter().enumerate() {
        let state = State { trajectory: then, ..state(1 + at as u64, ObjectiveState::default()) };
        let optimizer = Optimizer::new(AdamWParams::default(), &params()).unwrap();
        let (params, occasion) = (&params(), Occasion::Planned);
        let snapshot = Snapshot { params, optimizer: &optimizer, ema: None, state: &state, occasion };
        let checkpoint = Checkpoint::open(&save(folder.path(), &snapshot).unwrap()).unwrap();
        let found = checkpoint.check(&now, may_change);
        match want {
            Ok(keys) => {
                let found = found.unwrap();
                assert_eq!(found.iter().map(|changed| changed.key.as_str()).collect::<Vec<_>>(), keys, "case {at}");
            }
            Err(part) => {
                let error = found.unwrap_err().to_string();
                assert!(error.contains(part), "case {at}: {error}");
            }
        }
    }
}

#[test]
fn a_run_with_more_steps_or_tokens_than_can_be_counted_on_from_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (step, n_tokens, problem) in [
        (u64::MAX, 0, "`step`: expected at most 9007199254740992, found 18446744073709551615"),
        (7, u64::MAX, "`n_tokens`: expected at most 9007199254740992, found 18446744073709551615"),
    ] {
        let optimizer = Optimizer::new(OptimizerParams::default(), &params()).unwrap();
        let state = State { n_tokens, ..state(0, ObjectiveState::default()) };
        let state = State { step, ..state };
        let snapshot = Snapshot {
            params: &params(),
            optimizer: &optimizer,
            ema: None,
            state: &state,
            occasion: Occasion::Planned,
        };
        let path = save(folder.path(), &snapshot).unwrap();
        let error = Checkpoint::open(&path).unwrap_err();
        assert!(format!("{error}: {:?}", std::error::Error::source(&error)).contains(problem), "{error:?}");
    }
}
