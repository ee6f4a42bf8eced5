//! Adapters over the tiny model, as their files say it; nothing is loaded but what is asked for.

use serde_json::{Value, json};

use super::*;
use crate::error::Hint;
use crate::io;

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny");

/// Writes an adapter of PEFT that names this base model, with a tensor file that is none.
fn adapter(folder: &Path, base: &str, revision: Option<&str>) {
    io::create_dir(folder).unwrap();
    let config = json!({
        "peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "base_model_name_or_path": base,
        "revision": revision,
    });
    io::write(&folder.join("adapter_config.json"), config.to_string().as_bytes()).unwrap();
    io::write(&folder.join("adapter_model.safetensors"), b"").unwrap();
}

/// The files of the tiny model, `change`d.
fn model(folder: &Path, change: impl Fn(&mut Value)) {
    io::create_dir(folder).unwrap();
    for file in ["tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        io::copy(&Path::new(TINY).join(file), &folder.join(file)).unwrap();
    }
    let mut config: Value =
        serde_json::from_str(&io::read_text(&Path::new(TINY).join("config.json")).unwrap()).unwrap();
    change(&mut config);
    io::write(&folder.join("config.json"), config.to_string().as_bytes()).unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn an_adapter_and_a_run_are_found_with_the_base_model_they_name() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    adapter(&run.join("policy"), TINY, None);
    for name in [text(&run).to_owned(), format!("{}/", text(&run)), text(&run.join("policy")).to_owned()] {
        let policy = PolicySource::resolve(&name, None).unwrap();
        assert_eq!((policy.name(), policy.base()), (TINY, &ModelSource::Folder(TINY.into())), "{name}");
        assert_eq!(policy.adapter().unwrap().canonicalize().unwrap(), run.join("policy").canonicalize().unwrap());
        assert_eq!(policy.base_name(), BaseName { name: TINY.into(), revision: None });
    }
    let policy = PolicySource::resolve(TINY, Some(&run)).unwrap();
    assert_eq!(policy.adapter(), Some(run.join("policy").as_path()));
    assert_eq!(PolicySource::resolve(text(&run), Some(&run)).unwrap().name(), TINY);
}

#[test]
fn a_relative_base_model_is_found_from_the_adapter_upwards() {
    let folder = tempfile::tempdir().unwrap();
    model(&folder.path().join("models/base"), |_| {});
    let run = folder.path().join("runs/first");
    adapter(&run.join("policy"), "models/base", None);
    let policy = PolicySource::resolve(text(&run), None).unwrap();
    let want = folder.path().join("models/base").canonicalize().unwrap();
    assert_eq!(policy.base().path(), want);
    assert_eq!(policy.base_name().name, want.display().to_string());

    // One of that name in the working directory, and another beside the adapter: which is meant is not clear.
    model(&folder.path().join("fixtures/tiny"), |config| config["rms_norm_eps"] = json!(1e-6));
    adapter(&run.join("policy"), "fixtures/tiny", None);
    let error = PolicySource::resolve(text(&run), None).unwrap_err();
    assert!(matches!(&error, PolicyError::TwoBases { .. }), "{error}");
    assert!(PolicySource::resolve(TINY, Some(&run)).is_err(), "it is compared with the one it is to go over");
}

#[test]
fn a_base_model_that_is_not_here_is_told_with_what_helps() {
    let folder = tempfile::tempdir().unwrap();
    for (base, revision, want) in [
        ("org/base-that-is-nowhere", None, "`hf download org/base-that-is-nowhere` fetches it"),
        ("org/base-that-is-nowhere", Some("v2"), "`hf download org/base-that-is-nowhere --revision v2` fetches it"),
        ("/nowhere/base", None, "if it is elsewhere now, name it with `--model`"),
        ("", None, "as `base_model_name_or_path`"),
    ] {
        adapter(folder.path(), base, revision);
        let error = PolicySource::resolve(text(folder.path()), None).unwrap_err();
        let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<ModelSourceError>());
        let hints = format!("{:?}; {:?}", error.hint(), source.and_then(Hint::hint));
        assert!(hints.contains(want), "{base}: {error}; {hints}");
    }
    // Given, it goes over that one, and says so.
    adapter(folder.path(), "org/base-that-is-nowhere", None);
    let policy = PolicySource::resolve(TINY, Some(folder.path())).unwrap();
    assert!(policy.notes()[0].contains("`org/base-that-is-nowhere`"), "{:?}", policy.notes());
}

#[test]
fn statements_that_contradict_each_other_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    model(&path("same"), |_| {});
    io::copy(&Path::new(TINY).join("config.json"), &path("same/config.json")).unwrap();
    model(&path("other"), |config| config["rms_norm_eps"] = json!(1e-6));
    adapter(&path("a"), TINY, None);
    // Another place of the same model is no contradiction, another model is one.
    assert!(PolicySource::resolve(text(&path("same")), Some(&path("a"))).unwrap().notes().is_empty());
    let error = PolicySource::resolve(text(&path("other")), Some(&path("a"))).unwrap_err();
    assert!(matches!(&error, PolicyError::OtherBase { .. }), "{error}");

    adapter(&path("b"), text(&path("a")), None);
    let error = PolicySource::resolve(text(&path("b")), None).unwrap_err();
    assert!(matches!(&error, PolicyError::BaseIsAdapter { .. }), "{error}");
    let error = PolicySource::resolve(text(&path("a")), Some(&path("b"))).unwrap_err();
    assert!(matches!(&error, PolicyError::TwoAdapters { .. }), "{error}");
    let error = PolicySource::resolve(TINY, Some(&path("same"))).unwrap_err();
    assert!(matches!(&error, PolicyError::NoAdapter { .. }), "{error}");

    // transformers and PEFT read such a folder differently.
    adapter(&path("other"), TINY, None);
    let error = PolicySource::resolve(text(&path("other")), None).unwrap_err();
    assert!(error.to_string().contains("holds a whole model"), "{error}");
}

#[test]
fn the_tokenizer_beside_an_adapter_is_the_one_that_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    model(&path("base"), |_| {});
    adapter(&path("a"), text(&path("base")), None);
    let found = |notes: &mut Vec<String>| {
        let policy = PolicySource::resolve(text(&path("a")), None).unwrap();
        let tokenizer = policy.tokenizer()?;
        *notes = tokenizer.notes;
        Ok::<_, PolicyError>(tokenizer.files.template().map(str::to_owned))
    };
    let mut notes = Vec::new();
    assert_eq!(found(&mut notes).unwrap(), None);

    // A template without its tokenizer: transformers reads none of it.
    io::write(&path("a/chat_template.jinja"), b"{{ messages[0].content }}").unwrap();
    let error = found(&mut notes).unwrap_err();
    assert!(matches!(&error, PolicyError::TemplateAlone { .. }), "{error}");

    for file in ["tokenizer.json", "tokenizer_config.json"] {
        io::copy(&path("base").join(file), &path("a").join(file)).unwrap();
    }
    assert_eq!(found(&mut notes).unwrap().as_deref(), Some("{{ messages[0].content }}"));
    assert!(notes[0].contains("the chat template is the one beside the adapter"), "{notes:?}");

    let text = io::read_text(&path("a/tokenizer.json")).unwrap();
    let mut tokenizer: Value = serde_json::from_str(&text).unwrap();
    let vocab = tokenizer["model"]["vocab"].as_object_mut().unwrap();
    let names: Vec<String> = vocab.keys().rev().take(2).cloned().collect();
    let ids: Vec<Value> = names.iter().map(|name| vocab[name].clone()).collect();
    vocab.insert(names[0].clone(), ids[1].clone());
    vocab.insert(names[1].clone(), ids[0].clone());
    io::write(&path("a/tokenizer.json"), tokenizer.to_string().as_bytes()).unwrap();
    let error = found(&mut notes).unwrap_err();
    assert!(matches!(&error, PolicyError::OtherVocabulary { .. }), "{error}");
}
