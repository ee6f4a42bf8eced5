//! A table of another model: refused by the first field that differs, or trained against because that was asked for.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
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
fn check(case: &Case, field: &str, hint: &str, then: &str) {
    let refused = case.run(TRAIN);
    assert_eq!(refused.code, Some(1), "{refused}");
    for part in [format!("expected `{field}` `").as_str(), "`, found `", hint, "`--allow-other-reference` trains"] {
        assert!(refused.stderr.contains(part), "`{part}` is not said\n{refused}");
    }
    assert!(!case.path().join("run").exists(), "a refused run left its folder\n{refused}");

    let allowed = case.run(TRAIN.into_iter().chain(["--allow-other-reference"])).success();
    assert!(allowed.stderr.contains(&format!("`{field}` is `")), "{allowed}");
    assert!(allowed.stderr.contains(then), "{allowed}");
    assert!(case.path().join("run/policy/model.safetensors").is_file());
}

/// What is said of a policy that is another model than the reference.
const AFAR: &str = "nats a sequence from the table's reference, on 2 pairs";

/// Cuts the weights of the model into two files, and saves its configuration as another version does.
fn save_again(model: &Path) {
    let tensors = candle_core::safetensors::load(model.join("model.safetensors"), &Device::Cpu).unwrap();
    fs::remove_file(model.join("model.safetensors")).unwrap();
    let file = |name: &str| format!("shard-{}.safetensors", usize::from(name.contains(".0.")));
    let map: serde_json::Map<_, _> = tensors.keys().map(|name| (name.clone(), file(name).into())).collect();
    for name in ["shard-0.safetensors", "shard-1.safetensors"] {
        let of_file = tensors.iter().filter(|(tensor, _)| file(tensor) == name);
        let of_file: HashMap<&str, Tensor> = of_file.map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
        candle_core::safetensors::save(&of_file, model.join(name)).unwrap();
    }
    let index = serde_json::json!({ "weight_map": map }).to_string();
    fs::write(model.join("model.safetensors.index.json"), index).unwrap();
    let path = model.join("config.json");
    let mut config: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config.insert("transformers_version".into(), "9.9.9".into());
    config.sort_keys();
    let rope = config.remove("rope_parameters").unwrap();
    config.insert("rope_theta".into(), rope["rope_theta"].clone());
    fs::write(&path, serde_json::to_string(&config).unwrap()).unwrap();
}

/// Nothing of what is asked of a model's files is asked of how they are cut, named or spelt.
#[test]
fn a_model_in_other_shards_saved_by_another_version_and_moved_is_the_same_reference() {
    let case = case();
    save_again(&case.path().join("model"));
    fs::rename(case.path().join("model"), case.path().join("moved")).unwrap();
    let train = TRAIN.map(|word| if word == "model" { "moved" } else { word });
    let outcome = case.run(train).success();
    assert!(outcome.stderr.contains("2 pairs of the table scored again: at most 0"), "{outcome}");
    case.run(["verify", "table", "--model", "moved"]).success();
    // The same table goes on, and another one takes its log-probs from it.
    let data = ["--data", "pairs.jsonl", "--model", "moved"];
    case.run(["precompute", "--out", "table"].into_iter().chain(data)).success();
    let outcome = case.run(["precompute", "--out", "other", "--reuse", "table"].into_iter().chain(data)).success();
    assert!(outcome.stderr.contains("2 pairs have their log-probs from before"), "{outcome}");
    case.run(["diff", "table", "other"]).success();
    // And so does the run.
    let more = ["--batch-size", "1", "--lr-scheduler-type", "constant", "--max-steps"];
    let train = |model| ["train", "--model", model, "--table", "table", "--out", "second"].into_iter().chain(more);
    case.run(train("moved").chain(["1"])).success();
    copy_dir(Path::new("fixtures/tiny"), &case.path().join("model"));
    let outcome = case.run(train("model").chain(["2"])).success();
    assert!(outcome.stderr.contains("going on from step 1"), "{outcome}");
}

/// A table of an earlier version knows the files alone: the model as it was is its own, in other shards it is another one
/// for all that is known, and the numbers say the rest.
#[test]
fn a_table_that_knows_files_alone_is_compared_by_them() {
    let case = case();
    with_provenance(&case, |provenance| provenance.model.identity = None);
    case.run(TRAIN).success();
    fs::remove_dir_all(case.path().join("run")).unwrap();
    save_again(&case.path().join("model"));
    let no_more = "nats a sequence from the table's reference, on 2 pairs: no more than rounding";
    check(&case, "model.weights_digest", "score the pairs with this one", no_more);
}

/// What is allowed does not switch off what can still be seen.
#[test]
fn swapped_columns_are_found_whatever_is_allowed() {
    let rows = (0..8).map(|at| {
        let (chosen, rejected) = ("so ".repeat(at + 3), "no ".repeat(3 * at + 1));
        format!("{{\"prompt\": \"Is it {at}?\", \"chosen\": \" {chosen}\", \"rejected\": \" {rejected}\"}}\n")
    });
    let case = Case::new().file("pairs.jsonl", &rows.collect::<String>());
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny");
    copy_dir(Path::new(tiny), &case.path().join("model"));
    case.run(["precompute", "--model", "model", "--data", "pairs.jsonl", "--out", "scored"]).success();
    let swapped = "SELECT prompt_ids, chosen_ids, rejected_ids, ref_rejected_logps AS ref_chosen_logps, \
                   ref_chosen_logps AS ref_rejected_logps FROM pairs";
    case.run(["sql", "scored", "-c", swapped, "--format", "ndjson", "--output", "swapped.jsonl"]).success();
    case.run(["import", "swapped.jsonl", "--model", "model", "--out", "table", "--logps", "sum"]).success();
    let path = case.path().join("model/config.json");
    let another = fs::read_to_string(&path).unwrap().replace("1e-05", "1.1e-05");
    for (config, flags) in [(None, &[][..]), (Some(another), &["--allow-other-reference"])] {
        if let Some(config) = config {
            fs::write(&path, config).unwrap();
        }
        let outcome = case.run(TRAIN.into_iter().chain(flags.iter().copied()));
        assert_eq!(outcome.code, Some(1), "{outcome}");
        assert!(outcome.stderr.contains("the log-probs of `table` look swapped: the policy is "), "{outcome}");
    }
    // The hint, followed.
    let map = "ref_chosen_logps=ref_rejected_logps,ref_rejected_logps=ref_chosen_logps";
    let import = ["import", "swapped.jsonl", "--model", tiny, "--out", "table", "--logps", "sum", "--fresh"];
    case.run(import.into_iter().chain(["--map", map])).success();
    let train = TRAIN.map(|word| if word == "model" { tiny } else { word });
    case.run(train).success();
}

#[test]
fn other_weights_are_refused_unless_asked_for() {
    let case = case();
    case.run(["train", "--model", "model", "--table", "table", "--out", "first", "--max-steps", "1"]).success();
    fs::remove_dir_all(case.path().join("model")).unwrap();
    fs::rename(case.path().join("first/policy"), case.path().join("model")).unwrap();
    check(&case, "model.weights_identity", "score the pairs with this one", AFAR);
}

#[test]
fn another_configuration_is_refused_unless_asked_for() {
    let case = case();
    let path = case.path().join("model/config.json");
    let config = fs::read_to_string(&path).unwrap().replace("1e-05", "1e-06");
    fs::write(&path, config).unwrap();
    check(&case, "model.config_identity", "name the model of the table", AFAR);
}

#[test]
fn another_chat_template_is_refused_unless_asked_for() {
    let case = case();
    fs::write(case.path().join("model/chat_template.jinja"), "{{ messages[0].content }}").unwrap();
    // The ids are given: the model still has to score them as the reference did.
    let hint = "give the model the chat template the table was rendered with";
    check(&case, "chat_template.digest", hint, "2 pairs of the table scored again: at most 0");
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
