//! A table of another model: refused by the first field that differs, or trained against because that was asked for.

use std::fs;
use std::path::Path;

use piref::digest::Digest;
use piref::logprob;
use piref::model::ScoringDtype;
use piref::ops::Backend;
use piref::table::{Manifest, Provenance, ReferenceTable, part_name, signals_name, write_part};

use crate::support::Case;
use crate::support::stages::copy_dir;

const PAIRS: &str = "{\"prompt\": \"Is it?\", \"chosen\": \" Yes.\", \"rejected\": \" No.\"}\n\
                     {\"prompt\": \"Who?\", \"chosen\": \" Nobody.\", \"rejected\": \" All.\"}\n";

const TRAIN: [&str; 9] = ["train", "--model", "model", "--table", "table", "--out", "run", "--max-steps", "1"];

/// A table of the tiny model, and that model in the folder `model`.
fn case() -> Case {
    let case = Case::new().file("pairs.jsonl", PAIRS);
    copy_dir(Path::new("fixtures/tiny"), &case.path().join("model"));
    case.run(["precompute", "--model", "model", "--data", "pairs.jsonl", "--out", "table"]).success();
    case
}

/// Writes the table's one part again, without signals, said to be made under other conditions.
fn with_provenance(case: &Case, change: impl Fn(&mut Provenance)) {
    let folder = case.path().join("table");
    let mut manifest = Manifest::load(&folder).unwrap();
    change(&mut manifest.provenance);
    let table = ReferenceTable::open(&folder).unwrap();
    let columns: Vec<&str> = table.schema().fields().iter().map(|field| field.name().as_str()).collect();
    let batch = table.batches(&columns).unwrap().next().unwrap().unwrap();
    std::fs::remove_file(folder.join(signals_name(0))).unwrap_or_default();
    let part = write_part(&folder.join(part_name(0)), &batch, &manifest.provenance).unwrap();
    Manifest::new(manifest.provenance, vec![part], manifest.rejects).write(&folder).unwrap();
}

/// Refused without the flag, by this field and with this hint; told and trained with it.
#[track_caller]
fn check(case: &Case, field: &str, hint: &str) {
    let refused = case.run(TRAIN);
    assert_eq!(refused.code, Some(1), "{refused}");
    for part in [format!("expected `{field}` `").as_str(), "`, found `", hint, "`--allow-other-reference` trains"] {
        assert!(refused.stderr.contains(part), "`{part}` is not said\n{refused}");
    }
    assert!(!case.path().join("run").exists(), "a refused run left its folder\n{refused}");

    let allowed = case.run(TRAIN.into_iter().chain(["--allow-other-reference"])).success();
    assert!(allowed.stderr.contains(&format!("`{field}` is `")), "{allowed}");
    assert!(allowed.stderr.contains("nats a sequence from the table's reference, on 2 pairs"), "{allowed}");
    assert!(case.path().join("run/policy/model.safetensors").is_file());
}

#[test]
fn other_weights_are_refused_unless_asked_for() {
    let case = case();
    case.run(["train", "--model", "model", "--table", "table", "--out", "first", "--max-steps", "1"]).success();
    fs::remove_dir_all(case.path().join("model")).unwrap();
    fs::rename(case.path().join("first/policy"), case.path().join("model")).unwrap();
    check(&case, "model.weights_digest", "score the pairs with this one");
}

#[test]
fn another_configuration_is_refused_unless_asked_for() {
    let case = case();
    let path = case.path().join("model/config.json");
    let config = fs::read_to_string(&path).unwrap().replace("1e-05", "1e-06");
    fs::write(&path, config).unwrap();
    check(&case, "model.config_digest", "name the model of the table");
}

#[test]
fn another_chat_template_is_refused_unless_asked_for() {
    let case = case();
    fs::write(case.path().join("model/chat_template.jinja"), "{{ messages[0].content }}").unwrap();
    check(&case, "chat_template.digest", "give the model the chat template the table was rendered with");
}

#[test]
fn another_precision_is_refused_unless_its_drift_is_accepted() {
    let case = Case::new().file("pairs.jsonl", PAIRS);
    copy_dir(Path::new("fixtures/tiny"), &case.path().join("model"));
    let table = ["precompute", "--model", "model", "--data", "pairs.jsonl", "--out", "table", "--dtype", "bf16"];
    case.run(table).success();
    let refused = case.run(TRAIN.into_iter().chain(["--allow-other-reference"]));
    assert_eq!(refused.code, Some(1), "{refused}");
    for part in ["expected `dtype` `bf16`, found `f32`", "`--dtype bf16` computes as", "`--allow-dtype-drift` trains"] {
        assert!(refused.stderr.contains(part), "`{part}` is not said\n{refused}");
    }
    assert!(!case.path().join("run").exists(), "a refused run left its folder\n{refused}");

    let allowed = case.run(TRAIN.into_iter().chain(["--allow-dtype-drift"])).success();
    assert!(allowed.stderr.contains("scored in bf16, the policy computes in f32: at most 0.0"), "{allowed}");
    fs::remove_dir_all(case.path().join("run")).unwrap();
    let agreed = case.run(TRAIN.into_iter().chain(["--dtype", "bf16"])).success();
    assert!(agreed.stderr.contains("2 pairs of the table scored again: at most 0.0e0"), "{agreed}");
}

#[test]
fn a_table_without_a_template_is_of_plain_strings_and_asks_for_none() {
    let case = case();
    with_provenance(&case, |provenance| provenance.chat_template = None);
    case.run(TRAIN).success();
}

/// It rounds differently and no more: the sample before the first step bounds it.
#[test]
fn another_kernel_is_said() {
    let case = case();
    with_provenance(&case, |provenance| provenance.kernel = "older".into());
    let outcome = case.run(TRAIN).success();
    assert!(
        outcome.stderr.contains(&format!(
            "computed by kernel `older`, this is `{}`",
            logprob::kernel(&Backend::cpu(), ScoringDtype::F32)
        )),
        "{outcome}"
    );
    assert!(outcome.stderr.contains("2 pairs of the table scored again"), "{outcome}");
}

#[test]
fn another_tokenizer_is_refused_whatever_is_asked_for() {
    let case = case();
    with_provenance(&case, |provenance| provenance.tokenizer_digest = Digest::of(b"other"));
    let outcome = case.run(TRAIN.into_iter().chain(["--allow-other-reference"]));
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(outcome.stderr.contains("was made with another tokenizer: expected `"), "{outcome}");
}

#[test]
fn a_damaged_part_is_refused_before_anything_is_written() {
    let case = case();
    let path = case.path().join("table").join(part_name(0));
    let mut bytes = fs::read(&path).unwrap();
    // In the first page: the footer still opens.
    bytes[60] ^= 1;
    fs::write(&path, bytes).unwrap();
    let outcome = case.run(TRAIN);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    for part in ["part-00000.parquet` is not the file that the manifest lists: expected digest", "hint: "] {
        assert!(outcome.stderr.contains(part), "`{part}` is not said\n{outcome}");
    }
    assert!(!case.path().join("run").exists());
}
