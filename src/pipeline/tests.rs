use std::num::NonZeroU64;

use clap::{Args, Command, FromArgMatches};
use proptest::prelude::*;

use super::*;
use crate::error::Hint;
use crate::model::Modules;
use crate::optim::{ScheduleKind, Warmup};
use crate::precompute::{Pairs, Start};
use crate::table::TableError;
use crate::train::{self, Length, Order};

/// The error of a file, and its hint.
#[track_caller]
fn refused(text: &str) -> (String, Option<String>) {
    let error = file::parse(text).unwrap_err();
    (error.to_string(), error.hint())
}

fn pipeline(text: &str) -> Pipeline {
    let settings = file::defaults().unwrap().under(&file::parse(text).unwrap()).unwrap();
    Pipeline { settings, run: Some("runs/test".into()) }
}

/// What `piref train` would read from these flags.
fn flags(words: &[&str]) -> Settings {
    let command = TrainSettings::augment_args(Command::new("train").no_binary_name(true));
    let matches = command.try_get_matches_from(words).unwrap();
    Settings { train: TrainSettings::from_arg_matches(&matches).unwrap(), ..Settings::default() }
}

#[test]
fn an_unknown_key_names_line_section_and_neighbour() {
    let (message, hint) = refused("model = \"m\"\n\n[precompute]\nmax_token = 512\n");
    assert_eq!(message, "line 4: unknown key `max_token` in `[precompute]`");
    assert_eq!(hint.unwrap(), "did you mean `max_tokens`?");
}

#[test]
fn a_key_of_another_section_is_sent_there() {
    let (message, hint) = refused("[train]\nbeta = 0.1\n");
    assert_eq!(message, "line 2: unknown key `beta` in `[train]`");
    assert_eq!(hint.unwrap(), "it is a key of `[audit]` and of `[train.loss]`");
}

#[test]
fn names_are_checked_in_nested_sections_inline_tables_and_dotted_keys() {
    let (message, hint) = refused("[train.loss]\nbetta = 0.1\n");
    assert_eq!(
        (message.as_str(), hint.as_deref()),
        ("line 2: unknown key `betta` in `[train.loss]`", Some("did you mean `beta`?"))
    );
    assert_eq!(refused("train = { loss = { bet = 1 } }").0, "line 1: unknown key `bet` in `[train.loss]`");
    assert_eq!(refused("tokenize.max_len = 1").0, "line 1: unknown key `max_len` in `[tokenize]`");
}

#[test]
fn unknown_sections_and_top_level_keys_are_named() {
    let (message, hint) = refused("[trian]\nseed = 1\n");
    assert_eq!(message, "line 1: unknown section `trian` in the top level");
    assert_eq!(hint.unwrap(), "did you mean `train`?");
    let (message, hint) = refused("colour = \"red\"\n");
    assert_eq!(message, "line 1: unknown key `colour` in the top level");
    assert_eq!(hint.unwrap(), "the top level knows: name, model, data, tokenize, precompute, train, sft, audit");
}

#[test]
fn the_first_wrong_name_of_the_file_is_reported() {
    assert_eq!(refused("zzz = 1\naaa = 1\n").0, "line 1: unknown key `zzz` in the top level");
}

#[test]
fn wrong_types_and_values_name_key_line_expected_and_found() {
    let cases = [
        (
            "[train]\nseed = \"one\"",
            "line 2: `seed` in `[train]`: expected a whole number of at least 0, found string \"one\"",
        ),
        (
            "[train]\nbatch_size = 0",
            "line 2: `batch_size` in `[train]`: expected a whole number of at least 1, found integer `0`",
        ),
        (
            "[train]\nlearning_rate = -1",
            "line 2: `learning_rate` in `[train]`: expected a finite number above 0, found `-1`",
        ),
        (
            "[train]\nlearning_rate = nan",
            "line 2: `learning_rate` in `[train]`: expected a finite number above 0, found `NaN`",
        ),
        ("[train]\nshuffle = 1", "line 2: `shuffle` in `[train]`: expected `true` or `false`, found integer `1`"),
        ("[data]\nfiles = \"a.jsonl\"", "line 2: `files` in `[data]`: expected a list `[…]`, found string \"a.jsonl\""),
        (
            "[tokenize]\ntemplate_date = \"today\"",
            "line 2: `template_date` in `[tokenize]`: expected a date like `2024-07-26`, found `today`",
        ),
        (
            "[train]\nlr_scheduler_type = \"cosin\"",
            "line 2: `lr_scheduler_type` in `[train]`: unknown variant `cosin`, expected one of `constant`, `constant_with_warmup`, `linear`, `cosine`, `cosine_with_min_lr`, `inverse_sqrt`",
        ),
    ];
    for (text, want) in cases {
        assert_eq!(refused(text).0, want);
    }
}

#[test]
fn broken_toml_names_its_line() {
    let (message, _) = refused("model = \"m\"\n[data\n");
    assert!(message.starts_with("line 2: "), "{message}");
    let (message, _) = refused("model = 'a'\nmodel = 'b'\n");
    assert!(message.starts_with("line 2: ") && message.contains("duplicate"), "{message}");
}

#[test]
fn flags_win_over_the_file_key_by_key() {
    let file = file::parse("[train]\nseed = 7\nwarmup_steps = 3\n[train.loss]\nbeta = 0.2\n").unwrap();
    let flags = flags(&["--seed", "9", "--label-smoothing", "0.1", "--lr-scheduler-type", "cosine"]);
    let settings = file::defaults().unwrap().under(&file).unwrap().under(&flags).unwrap();
    let plan = Pipeline { settings: Settings { model: Some("m".into()), ..settings }, run: Some("runs/x".into()) }
        .train_plan(None, None, train::Start::Resume)
        .unwrap();
    assert_eq!(
        (plan.course.seed, plan.course.schedule.warmup, plan.course.schedule.kind),
        (9, Warmup::Steps(3), ScheduleKind::Cosine)
    );
    assert_eq!(plan.course.order, Order::Shuffled { seed: 9 });
    let number = |number: f64| crate::loss::LabelSmoothing::try_from(number).unwrap();
    let want = crate::loss::Objective::sigmoid(0.2.try_into().unwrap(), number(0.1));
    assert_eq!(plan.objective, want.into());
}

#[test]
fn an_adapter_has_a_learning_rate_of_its_own_under_what_is_given() {
    let plan = |words: &[&str]| {
        let settings = Settings { model: Some("m".into()), ..flags(words) };
        let pipeline = Pipeline::from_flags(&settings).unwrap();
        pipeline.train_plan(Some(Path::new("t")), Some(Path::new("o")), train::Start::Resume).unwrap()
    };
    assert_eq!(plan(&[]).course.learning_rate, 1e-6);
    assert_eq!(plan(&["--lora-r", "8"]).course.learning_rate, 1e-5);
    assert_eq!(plan(&["--lora-r", "8", "--learning-rate", "3e-4"]).course.learning_rate, 3e-4);
    assert_eq!(plan(&["--adapter", "a"]).course.learning_rate, 1e-5);
    let words = ["--lora-r", "8", "--use-rslora", "--lora-target-modules", "q_proj,v_proj"];
    let train::Trained::NewAdapter(lora) = plan(&words).course.trained else { panic!("no adapter") };
    assert!(lora.use_rslora && lora.target_modules == Modules::named(["q_proj", "v_proj"]));
}

#[test]
fn flags_alone_record_only_their_own_stage() {
    let folder = tempfile::tempdir().unwrap();
    let alone = Pipeline { run: None, ..pipeline("model = 'm'") };
    alone.record(Stage::Train, folder.path()).unwrap();
    let kept = file::parse(&io::read_text(&folder.path().join(PLAN_FILE)).unwrap()).unwrap();
    assert_eq!((kept.tokenize, kept.train.seed), (TokenizeSettings::default(), Some(42)));
}

#[test]
fn every_key_that_must_have_a_value_has_a_default() {
    let plan = pipeline("model = 'm'").train_plan(None, None, train::Start::Resume).unwrap();
    assert_eq!(
        (plan.course.learning_rate, plan.course.batch_size.get(), plan.course.length),
        (1e-6, 8, Length::Epochs(3.0))
    );
    assert_eq!(plan.course.max_grad_norm, Some(1.0));
    assert_eq!((plan.table.to_str(), plan.course.out.to_str()), (Some("runs/test/reference"), Some("runs/test")));

    let data = tempfile::NamedTempFile::new().unwrap();
    let text = format!("model = 'm'\n[data]\nfiles = ['{}']", data.path().display());
    let plan = pipeline(&text).precompute_plan(None, None, Start::Fresh).unwrap();
    assert_eq!((plan.rules.max_length, plan.max_reject_rate), (1024, 0.01));
    assert!(matches!(&plan.pairs, Pairs::Files { paths, limit: None } if paths == &[data.path()]));
}

#[test]
fn zero_means_off_where_the_manual_says_so() {
    let plan = pipeline("model = 'm'\n[train]\nmax_grad_norm = 0\nsave_steps = 0\nshuffle = false\nmax_steps = 5")
        .train_plan(None, None, train::Start::Resume)
        .unwrap();
    assert_eq!((plan.course.max_grad_norm, plan.course.save_steps, plan.course.order), (None, None, Order::Table));
    assert_eq!(plan.course.length, Length::Steps(NonZeroU64::new(5).unwrap()));
}

#[test]
fn the_reference_is_the_tables_own_and_the_policys_unless_a_key_says_otherwise() {
    let plan = |text: &str| pipeline(text).train_plan(None, None, train::Start::Resume).unwrap();
    let found = plan("model = 'm'");
    assert_eq!((found.reference, found.other_reference), (None, train::Mismatch::Refuse));
    let found = plan("model = 'm'\n[train]\nreference = 'sft'\nallow_other_reference = true");
    assert_eq!((found.reference.as_deref(), found.other_reference), (Some("sft"), train::Mismatch::Allow));
    let (message, _) = refused("[train]\nreference = '../sft'");
    assert!(message.starts_with("line 2: `reference` in `[train]`: expected a name of letters"), "{message}");
}

#[test]
fn no_limit_is_none_in_the_provenance_and_the_tables_own_reference_keeps_its_name() {
    let text = "model = 'm'\n[tokenize]\nmax_length = 0";
    let name = |name: &str| Name::try_from(name.to_owned()).unwrap();
    let plan = pipeline(text).precompute_plan(None, Some(&name("other")), Start::Resume).unwrap();
    assert_eq!((plan.rules.limit(), plan.rules.max_length), (None, usize::MAX));
    assert!(matches!(&plan.pairs, Pairs::OfTable { table, .. } if table.ends_with("runs/test/reference")));
    assert!(plan.out.ends_with("runs/test/reference/references/other"));
    let error = pipeline(text).precompute_plan(None, Some(&name("ref")), Start::Resume).unwrap_err();
    assert!(matches!(error, PipelineError::Table(TableError::ReferenceName { .. })), "{error}");
}

#[test]
fn what_is_missing_is_named_with_its_flag() {
    let error = pipeline("").train_plan(None, None, train::Start::Resume).unwrap_err();
    assert_eq!(error.to_string(), "`model` is not set");
    assert_eq!(error.hint().unwrap(), "set `model` in the pipeline file, or pass `--model`");
}

#[test]
fn a_missing_data_file_is_answered_with_the_one_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    io::write(&folder.path().join("pairs.jsonl"), b"").unwrap();
    let found = folder.path().join("pair.jsonl");
    let text = format!("model = 'm'\n[data]\nfiles = ['{}']", found.display());
    let error = pipeline(&text).precompute_plan(None, None, Start::Fresh).unwrap_err();
    assert!(
        matches!(&error, PipelineError::NoData { nearest: Some(path), .. } if path.ends_with("pairs.jsonl")),
        "{error}"
    );
}

#[test]
fn a_stage_keeps_the_other_stage_s_part_of_the_record() {
    let folder = tempfile::tempdir().unwrap();
    pipeline("model = 'm'\n[tokenize]\nmax_length = 64\n[train]\nseed = 1")
        .record(Stage::Precompute, folder.path())
        .unwrap();
    pipeline("model = 'm'\n[train]\nseed = 2").record(Stage::Train, folder.path()).unwrap();

    let kept = file::parse(&io::read_text(&folder.path().join(PLAN_FILE)).unwrap()).unwrap();
    assert_eq!((kept.tokenize.max_length, kept.train.seed), (Some(64), Some(2)));
}

/// Every key of a table of defaults is a key of its section.
#[track_caller]
fn check_keys(table: &toml::Table, section: &known::Section) {
    for (key, value) in table {
        assert!(section.keys.contains(&key.as_str()), "`{key}` of defaults.toml");
        if let toml::Value::Table(below) = value {
            check_keys(below, &section.sections[key.as_str()]);
        }
    }
}

#[test]
fn every_flag_has_a_manual_and_each_default_belongs_to_a_key() {
    let known = known::Section::of::<Settings>().unwrap();
    check_keys(&file::default_table().unwrap(), &known);
    assert_eq!(
        known.sections.keys().copied().collect::<Vec<_>>(),
        ["audit", "data", "precompute", "sft", "tokenize", "train"]
    );

    let command = TrainSettings::augment_args(DataSettings::augment_args(Command::new("x")));
    for argument in command.get_arguments() {
        assert!(argument.get_help().is_some_and(|help| help.to_string().len() > 9), "{}", argument.get_id());
    }
}

#[test]
fn defaults_read_as_a_user_would_write_them() {
    let defaults = Defaults::load().unwrap();
    assert_eq!(defaults.of(&["train"], "learning_rate").as_deref(), Some("1e-6"));
    assert_eq!(defaults.of(&["train"], "max_grad_norm").as_deref(), Some("1.0"));
    assert_eq!(defaults.of(&["train", "loss"], "loss_type").as_deref(), Some("sigmoid"));
    assert_eq!(defaults.of(&["train"], "max_steps"), None);
    assert_eq!(defaults.of(&["train"], "loss"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// plan.toml is a pipeline file that says the same.
    #[test]
    fn resolved_settings_survive_their_own_toml(
        seed in 0..=i64::MAX.unsigned_abs(),
        rate in 1e-12_f64..1e3,
        beta in 1e-6_f64..10.0,
        limit in proptest::option::of(1_u64..1_000_000),
        path in "[ -~]{1,20}",
    ) {
        let mut pipeline = pipeline("name = 'x'\nmodel = 'm'");
        pipeline.settings.data.files = Some(vec![path.into()]);
        pipeline.settings.data.limit = limit.and_then(NonZeroU64::new);
        pipeline.settings.train.seed = Some(seed);
        pipeline.settings.train.learning_rate = Some(Positive::try_from(rate).unwrap());
        pipeline.settings.train.loss.beta = Some(beta.try_into().unwrap());
        let text = pipeline.to_toml().unwrap();
        prop_assert_eq!(&file::parse(&text).unwrap(), pipeline.settings());
    }
}
