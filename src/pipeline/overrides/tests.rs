use super::*;

fn axis(given: &str) -> Vec<(String, Value)> {
    let options = Axis::parse(given).unwrap().options;
    options.into_iter().flat_map(|option| option.entries).map(|entry| (entry.key, entry.value)).collect()
}

/// What is said of a `--set`, and the hint.
#[track_caller]
fn refused(given: &str) -> (String, Option<String>) {
    match Axis::parse(given).unwrap_err() {
        PipelineError::Set { given: found, source } => {
            assert_eq!(found, given);
            (source.to_string(), source.hint())
        }
        error => panic!("{error}"),
    }
}

#[test]
fn values_are_toml_or_bare_words_in_the_type_of_the_setting() {
    let beta = |value: f64| ("train.loss.beta".to_owned(), Value::Float(value));
    assert_eq!(axis("train.loss.beta=0.05, 1,5e-1"), [beta(0.05), beta(1.0), beta(0.5)]);
    let key = "train.loss.loss_type".to_owned();
    let words = |words: &[&str]| Value::Array(words.iter().map(|word| Value::from(*word)).collect());
    assert_eq!(
        axis("train.loss.loss_type=sigmoid,[sigmoid,sft],[\"ipo\", 'sft']"),
        [
            (key.clone(), Value::from("sigmoid")),
            (key.clone(), words(&["sigmoid", "sft"])),
            (key, words(&["ipo", "sft"])),
        ]
    );
    assert_eq!(axis("train.shuffle=false"), [("train.shuffle".to_owned(), Value::Boolean(false))]);
    assert_eq!(axis("train.reference=2024-07-26")[0].1, Value::from("2024-07-26"));
}

#[test]
fn what_a_pipeline_file_refuses_is_refused_with_the_same_words() {
    let (message, hint) = refused("train.loss.betta=0.1");
    assert_eq!(message, "unknown key `betta` in `[train.loss]`");
    assert_eq!(hint.as_deref(), Some("did you mean `beta`?"));
    let (message, hint) = refused("beta=0.1");
    assert_eq!(
        (message.as_str(), hint.as_deref()),
        ("unknown key `beta` in the top level", Some("it is a key of `[audit]` and of `[train.loss]`"))
    );
    assert_eq!(refused("trian.seed=1").1.as_deref(), Some("did you mean `train`?"));
    let (message, _) = refused("train.loss.beta=0.1,-1");
    assert_eq!(message, "`beta` in `[train.loss]`: expected `beta` finite and above 0, found -1");
    let (message, _) = refused("train.batch_size=eight");
    assert_eq!(message, "`batch_size` in `[train]`: expected a whole number of at least 1, found string \"eight\"");
    assert_eq!(refused("train.loss=3").0, "`loss` in `[train]`: expected a section, found integer `3`");
    assert_eq!(refused("train.loss={beta=0.1}").0, "`train.loss` is a section: expected one of its keys");
    assert_eq!(refused("train.loss.beta=1,0.5,1.0").0, "the value 1.0 is given twice");
    for given in ["train.seed", "train.seed=", "=1", "train.seed=1,,2", "train.seed=1,"] {
        assert_eq!(refused(given).0, SetError::Form.to_string(), "{given}");
    }
}

#[test]
fn later_settings_win_and_keep_the_place_of_the_first() {
    let option = |given: &str| Axis::parse(given).unwrap().options.remove(0);
    let both =
        option("train.seed=1").and(&option("train.loss.beta=0.5")).unwrap().and(&option("train.seed=2")).unwrap();
    let keys: Vec<&str> = both.entries().iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!((keys, both.settings().train.seed), (vec!["train.seed", "train.loss.beta"], Some(2)));
    assert_eq!(both.entries()[0].value, Value::Integer(2));
}

#[test]
fn a_list_is_read_run_by_run_and_its_errors_have_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.toml");
    let read = |text: &str| {
        io::write(&path, text.as_bytes()).unwrap();
        read_list(&path)
    };
    let list = read("[[run]]\nname = 'a'\ntrain.loss.beta = 1\n[[run]]\n[run.train.loss]\nbeta = 0.5\n").unwrap();
    let beta = |value: f64| Override { key: "train.loss.beta".into(), value: Value::Float(value) };
    assert_eq!(list[0].entries(), [Override { key: "name".into(), value: "a".into() }, beta(1.0)]);
    assert_eq!(list[1].entries(), [beta(0.5)]);

    let refused = |text: &str| match read(text).unwrap_err() {
        PipelineError::List { source, .. } => source.to_string(),
        error => panic!("{error}"),
    };
    assert_eq!(refused("[[run]]\n[[run]]\ntrain.sed = 1\n"), "line 3: unknown key `sed` in `[train]`");
    assert_eq!(
        refused("[[run]]\n[[run]]\ntrain.seed = 'x'\n"),
        "line 3: `seed` in `[train]`: expected a whole number of at least 0, found string \"x\""
    );
    assert_eq!(refused("[train]\nseed = 1\n"), "line 1: unknown section `train` in the top level");
    assert!(refused("[run]\n").starts_with("line 1: `run` in the top level: "), "{}", refused("[run]\n"));
}

#[test]
fn a_setting_is_called_by_its_last_name_where_that_is_enough() {
    for (key, expected) in
        [("train.loss.beta", "beta"), ("train.seed", "seed"), ("train.max_tokens", "max_tokens"), ("name", "name")]
    {
        assert_eq!(short_key(key), expected);
    }
}
