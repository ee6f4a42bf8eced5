//! What a training step keeps: memory and speed, never the result.

use std::fs;
use std::num::{NonZeroU64, NonZeroUsize};

use piref::error::Hint;
use piref::interrupt::Interrupt;
use piref::model::Decoder;
use piref::model_source::ModelSource;
use piref::ops::Backend;
use piref::table::TrainingPair;
use piref::train::{self, Event, Passes, Plan, Recompute, RecomputePolicy};

use crate::support::stages;

/// In every decoder family.
#[test]
fn what_is_made_again_is_the_same_to_the_bit() {
    let folders = fs::read_dir("fixtures/architectures").unwrap().map(|entry| entry.unwrap().path());
    for folder in folders.filter(|path| path.is_dir()).chain(["fixtures/tiny".into()]) {
        let source = ModelSource::resolve(folder.to_str().unwrap()).unwrap();
        let model = Decoder::load(&source, &Backend::cpu()).unwrap();
        let size = u32::try_from(model.config().vocab_size).unwrap();
        let ids: Vec<u32> = (0..100).map(|i: u32| (i * i * 7 + i * 31) % size).collect();
        let pairs = [(17, 9, 4), (3, 20, 31)].map(|(prompt, chosen, rejected)| TrainingPair {
            pair_id: "",
            tokens_id: "",
            prompt_ids: &ids[..prompt],
            chosen_ids: &ids[20..20 + chosen],
            rejected_ids: &ids[50..50 + rejected],
            ref_chosen_logps: -40.0,
            ref_rejected_logps: -30.0,
            ref_token_logps: None,
            scores: None,
        });
        let objective = stages::sigmoid();
        let gradients = |recompute| {
            let passes = Passes { max_tokens: 1000, recompute };
            let step = train::gradient(&model, &pairs, &objective, passes).unwrap();
            let values = |id| step.gradients.get(id).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            model.params().iter().map(|(id, ..)| values(id)).collect::<Vec<_>>()
        };
        let want = gradients(Recompute::None);
        let memory = model.training_memory();
        let half = memory.peak(1000, memory.n_layers / 2);
        for recompute in [Recompute::All, Recompute::Within(half), Recompute::Within(0)] {
            assert!(gradients(recompute) == want, "{}, {recompute:?}", folder.display());
        }
    }
}

/// Runs one step and returns what it notes.
fn notes(plan: &Plan) -> Vec<String> {
    let mut notes = Vec::new();
    train::run(plan, &Interrupt::default(), &mut |event| {
        // Not what is said of so short a run.
        if let Event::Note(note) = event
            && note.contains("run again")
        {
            notes.push(note);
        }
    })
    .unwrap();
    notes
}

#[test]
fn a_budget_decides_how_much_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    stages::precompute(&stages::precompute_plan(&table));
    let plan = |name: &str, budget: Option<u64>, recompute| {
        stages::with(stages::train_plan(&table, &folder.path().join(name)), |changed| {
            changed.course.length = train::Length::Steps(NonZeroU64::MIN);
            changed.course.max_tokens = NonZeroUsize::new(500).unwrap();
            changed.course.memory_budget = budget;
            changed.course.recompute = recompute;
        })
    };
    let source = ModelSource::resolve("fixtures/tiny").unwrap();
    let memory = Decoder::load(&source, &Backend::cpu()).unwrap().training_memory();
    let (all, smallest) = (memory.peak(500, 0), memory.peak(500, memory.n_layers));

    assert_eq!(notes(&plan("enough", Some(all), RecomputePolicy::Auto)), [] as [&str; 0]);
    let [note] = &notes(&plan("tight", Some(smallest), RecomputePolicy::Auto))[..] else { panic!() };
    let n_layers = memory.n_layers;
    assert!(note.starts_with(&format!("{n_layers} of {n_layers} layers are run again")), "{note}");

    for (name, budget, recompute) in
        [("less", smallest - 1, RecomputePolicy::Auto), ("none", all - 1, RecomputePolicy::None)]
    {
        let error = train::run(&plan(name, Some(budget), recompute), &Interrupt::default(), &mut |_| {}).unwrap_err();
        assert!(error.to_string().starts_with("a micro-batch of 500 tokens needs about 0.2"), "{error}");
        assert!(error.hint().unwrap().contains("--max-tokens"));
    }
}
