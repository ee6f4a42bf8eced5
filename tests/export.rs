//! Policies for other programs: weights in several files, and GGUF files written back.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use piref::batch::{Group, GroupBatch};
use piref::error::Hint;
use piref::interrupt::Interrupt;
use piref::logprob;
use piref::model::{
    Adapter, BaseName, Decoder, Digests, Export, Keep, Lora, ModelError, Modules, NamedIds, OutType, SaveDtype, export,
    export_adapter, export_gguf,
};
use piref::model_source::{Gguf, ModelSource, ModelSourceError};
use piref::ops::Backend;
use piref::policy::PolicyError;
use piref::train::{self, GgufPlan, TrainError, Trained};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::{Case, stages};

/// A width that every block size divides.
const WIDTH: usize = 256;
const VOCAB: usize = 48;
const LAYERS: usize = 2;

fn source(path: &Path) -> ModelSource {
    ModelSource::resolve(path.to_str().unwrap()).unwrap()
}

fn load(path: &Path) -> Decoder {
    Decoder::load(&source(path), &Backend::cpu()).unwrap()
}

/// Writes a model of this base into a folder that is there.
fn save(model: &Decoder, base: &Path, out: &Path, shard_bytes: u64) {
    let how = Export { dtype: SaveDtype::Auto, shard_bytes };
    export(model, &source(base), &NamedIds::default(), how, out).unwrap();
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn weights(model: &Decoder) -> BTreeMap<String, Vec<f32>> {
    model.params().iter().map(|(_, name, tensor)| (name.to_owned(), values(tensor))).collect()
}

fn logps(model: &Decoder) -> Vec<f32> {
    let size = u32::try_from(model.config().vocab_size).unwrap();
    let ids: Vec<u32> = (0..40).map(|i: u32| (i * i * 7 + i * 31) % size).collect();
    let group = Group { prompt: &ids[..8], completions: vec![&ids[8..20], &ids[20..]] };
    logprob::token_logps(model, &GroupBatch::new(&[group]).unwrap(), Keep::Nothing).unwrap().logps
}

/// Whether the matrices of a base have this type.
#[derive(Clone, Copy)]
struct Base {
    architecture: &'static str,
    dtype: GgmlDType,
    /// Of rotary frequencies, as Llama 3 has them.
    has_factors: bool,
}

const LLAMA: Base = Base { architecture: "llama", dtype: GgmlDType::F32, has_factors: false };

/// A GGUF file of two layers, with metadata that no part of piref reads.
fn write_base(base: Base, path: &Path) {
    let architecture = base.architecture;
    let (kv, mut rng) = (WIDTH / 2, ChaCha8Rng::seed_from_u64(5));
    let number = |key: &str, number: u32| (format!("{architecture}.{key}"), Value::U32(number));
    let metadata = vec![
        ("general.architecture".to_owned(), Value::String(architecture.into())),
        ("general.file_type".to_owned(), Value::U32(2)),
        ("general.tags".to_owned(), Value::Array(vec![Value::String("ä".into()), Value::String(String::new())])),
        number("block_count", 2),
        number("embedding_length", 256),
        number("feed_forward_length", 256),
        number("attention.head_count", 4),
        number("attention.head_count_kv", 2),
        (format!("{architecture}.attention.layer_norm_rms_epsilon"), Value::F32(1e-5)),
        (format!("{architecture}.rope.freq_base"), Value::F32(10_000.0)),
        ("tokenizer.ggml.scores".to_owned(), Value::Array(vec![Value::F32(-0.5), Value::F32(f32::MIN_POSITIVE)])),
    ];
    let mut tensors: Vec<(String, QTensor)> = Vec::new();
    let mut push = |name: String, shape: &[usize], around: f32| {
        let n = shape.iter().product::<usize>();
        let numbers: Vec<f32> = (0..n).map(|_| around + rng.random_range(-0.1..0.1)).collect();
        let tensor = Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap();
        let dtype = if shape.len() == 1 { GgmlDType::F32 } else { base.dtype };
        tensors.push((name, QTensor::quantize(&tensor, dtype).unwrap()));
    };
    push("token_embd.weight".into(), &[VOCAB, WIDTH], 0.0);
    push("output_norm.weight".into(), &[WIDTH], 1.0);
    for layer in 0..LAYERS {
        for (name, rows) in [
            ("attn_q", WIDTH),
            ("attn_k", kv),
            ("attn_v", kv),
            ("attn_output", WIDTH),
            ("ffn_gate", WIDTH),
            ("ffn_up", WIDTH),
            ("ffn_down", WIDTH),
        ] {
            push(format!("blk.{layer}.{name}.weight"), &[rows, WIDTH], 0.0);
        }
        for (name, rows) in [("attn_q", WIDTH), ("attn_k", kv), ("attn_v", kv)] {
            if architecture == "qwen2" {
                push(format!("blk.{layer}.{name}.bias"), &[rows], 0.0);
            }
        }
        for name in ["attn_norm", "ffn_norm"] {
            push(format!("blk.{layer}.{name}.weight"), &[WIDTH], 1.0);
        }
    }
    if base.has_factors {
        push("rope_freqs.weight".into(), &[WIDTH / 4 / 2], 2.0);
    }
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut file = Cursor::new(Vec::new());
    gguf_file::write(&mut file, &metadata, &tensors).unwrap();
    fs::write(path, file.into_inner()).unwrap();
}

/// Changes some parameters, as training does.
fn train_some(model: &Decoder, is_trained: impl Fn(&str) -> bool) {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    for (_, name, tensor) in model.params().iter().filter(|(_, name, _)| is_trained(name)) {
        let numbers = values(tensor).into_iter().map(|x| x + rng.random_range(-0.02..0.02)).collect();
        let moved = Tensor::from_vec::<_, f32>(numbers, tensor.shape(), &Device::Cpu).unwrap();
        tensor.slice_set(&moved, 0, 0).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// Bytes of an entry of the metadata, its key included.
fn entries(path: &Path) -> Vec<(String, Vec<u8>)> {
    let gguf = Gguf::open(path).unwrap();
    gguf.header.entries.iter().map(|(key, range)| (key.clone(), gguf.map[range.clone()].to_vec())).collect()
}

fn dtypes(path: &Path) -> BTreeMap<String, GgmlDType> {
    let gguf = Gguf::open(path).unwrap();
    gguf.content.tensor_infos.iter().map(|(name, info)| (name.clone(), info.ggml_dtype)).collect()
}

#[test]
fn a_policy_in_f32_comes_back_to_the_last_bit_whatever_the_base_is() {
    let folder = tempfile::tempdir().unwrap();
    for (at, base) in [
        LLAMA,
        Base { dtype: GgmlDType::Q4_1, ..LLAMA },
        Base { has_factors: true, ..LLAMA },
        Base { architecture: "qwen2", dtype: GgmlDType::F16, ..LLAMA },
    ]
    .into_iter()
    .enumerate()
    {
        let (from, to) = (folder.path().join(format!("{at}.gguf")), folder.path().join(format!("{at}-out.gguf")));
        write_base(base, &from);
        let model = load(&from);
        let before = logps(&model);
        train_some(&model, |_| true);
        let written = export_gguf(&model, &from, OutType::F32, &to).unwrap();
        let again = load(&to);
        assert!(weights(&again) == weights(&model), "{at}: other weights");
        assert!(logps(&again) == logps(&model) && logps(&again) != before, "{at}: other log-probs");
        assert!(written.rounded == 0.0 && written.trained > 1e-3, "{written:?}");
        assert_eq!(written.n_copied, usize::from(base.has_factors));
        assert!(dtypes(&to).values().all(|dtype| *dtype == GgmlDType::F32));

        for ((key, want), (key_again, got)) in entries(&from).into_iter().zip(entries(&to)) {
            assert_eq!(key, key_again);
            let is_changed = key == "general.file_type";
            assert!((got == want) != is_changed, "{at}, `{key}`");
        }
        let file_type = &Gguf::open(&to).unwrap().content.metadata["general.file_type"];
        assert!(matches!(file_type, Value::U32(0)), "{file_type:?}");
    }
}

#[test]
fn f16_keeps_eleven_digits_of_matrices_and_all_of_vectors() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("base.gguf"), folder.path().join("out.gguf"));
    write_base(Base { dtype: GgmlDType::Q8_0, ..LLAMA }, &from);
    let model = load(&from);
    train_some(&model, |_| true);
    let written = export_gguf(&model, &from, OutType::F16, &to).unwrap();
    assert!(written.rounded > 0.0 && written.rounded < 2_f64.powi(-11), "{written:?}");
    let again = weights(&load(&to));
    for (name, want) in weights(&model) {
        let is_vector = name.ends_with("norm.weight");
        for (got, want) in again[&name].iter().zip(&want) {
            // Half a unit in the last place, and of subnormal numbers half the least of them.
            let allowed = if is_vector { 0.0 } else { (want.abs() * 2_f32.powi(-11)).max(2_f32.powi(-25)) };
            assert!((got - want).abs() <= allowed, "`{name}`: {got:e} is not {want:e}");
        }
    }
    assert!(dtypes(&to).iter().all(|(name, dtype)| {
        *dtype == if name.ends_with("norm.weight") { GgmlDType::F32 } else { GgmlDType::F16 }
    }));
    let largest = logps(&load(&to)).iter().zip(logps(&model)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest < 0.02, "{largest} nats");

    let id = model.params().id("model.layers.1.mlp.up_proj.weight").unwrap();
    let huge = Tensor::full(1e6_f32, (WIDTH, WIDTH), &Device::Cpu).unwrap();
    model.params().get(id).slice_set(&huge, 0, 0).unwrap();
    fs::remove_file(&to).unwrap();
    let error = export_gguf(&model, &from, OutType::F16, &to).unwrap_err();
    assert_eq!(error.to_string(), "tensor `blk.1.ffn_up.weight` has a number that F16 cannot hold");
    assert!(error.hint().unwrap().contains("--outtype f32") && !to.exists());
}

/// Blocks of a matrix that was not trained are not computed again; those of one that was are as candle quantises them.
#[test]
fn the_types_of_the_base_are_kept_with_the_blocks_of_what_was_not_trained() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("base.gguf"), folder.path().join("out.gguf"));
    for dtype in [GgmlDType::Q4_0, GgmlDType::Q4_1, GgmlDType::Q8_0, GgmlDType::Q4K, GgmlDType::Q6K, GgmlDType::BF16] {
        write_base(Base { dtype, ..LLAMA }, &from);
        let model = load(&from);
        let is_trained = |name: &str| name.contains("q_proj") || name.contains("down_proj");
        train_some(&model, is_trained);
        let written = export_gguf(&model, &from, OutType::Same, &to).unwrap();
        assert_eq!((written.n_tensors, written.n_copied), (2 + 9 * LAYERS, 2 + 7 * LAYERS), "{dtype:?}");
        assert!(dtypes(&to) == dtypes(&from), "{dtype:?}");
        let (again, base) = (load(&to), weights(&load(&from)));
        for (_, name, tensor) in model.params().iter() {
            let got = values(again.params().get(again.params().id(name).unwrap()));
            let want = if is_trained(name) {
                // Rows are quantised one by one, so their order changes nothing.
                let blocks = QTensor::quantize(tensor, dtype).unwrap();
                values(&blocks.dequantize(&Device::Cpu).unwrap())
            } else {
                base[name].clone()
            };
            assert!(got == want, "{dtype:?}, `{name}`");
        }
        let bytes = |path: &Path| fs::metadata(path).unwrap().len();
        assert_eq!(bytes(&to), bytes(&from), "{dtype:?}");
    }
    // Nothing trained: the same file.
    let model = load(&from);
    let written = export_gguf(&model, &from, OutType::Same, &to).unwrap();
    assert_eq!((written.trained, written.rounded), (0.0, 0.0));
    assert!(fs::read(&to).unwrap() == fs::read(&from).unwrap(), "other bytes");
}

fn plan(policy: &Path, base: Option<&Path>, out: &Path) -> GgufPlan {
    let base = base.map(|base| base.to_str().unwrap().to_owned());
    GgufPlan { policy: policy.to_owned(), base, outtype: OutType::F32, out: out.to_owned() }
}

fn lora() -> Lora {
    Lora::new(NonZeroUsize::new(4).unwrap(), 8.0, Modules::named(["q_proj", "up_proj"]))
}

/// A folder with a base, a policy that is a whole model, and one that is an adapter.
fn policies() -> (tempfile::TempDir, [PathBuf; 3]) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (base, whole, adapter) = (path("base.gguf"), path("whole"), path("run"));
    write_base(Base { dtype: GgmlDType::Q8_0, ..LLAMA }, &base);
    let model = load(&base);
    train_some(&model, |_| true);
    fs::create_dir_all(&whole).unwrap();
    save(&model, &base, &whole, u64::MAX);

    let model = load(&base);
    let drawn = Adapter::new(&lora(), model.config(), model.device(), |_| ChaCha8Rng::seed_from_u64(3)).unwrap();
    let model = model.with_adapter(drawn).unwrap();
    train_some(&model, |name| name.contains("lora_B"));
    fs::create_dir_all(adapter.join("policy")).unwrap();
    let digests = Digests::of(&source(&base)).unwrap();
    let name = BaseName { name: base.to_str().unwrap().into(), revision: None };
    export_adapter(&model.adapter().unwrap(), &name, &digests, &adapter.join("policy")).unwrap();
    (folder, [base, whole, adapter])
}

#[test]
fn a_whole_policy_and_an_adapter_go_back_into_their_base() {
    let (folder, [base, whole, run]) = policies();
    let out = folder.path().join("out.gguf");
    let summary = train::policy_to_gguf(&plan(&whole, Some(&base), &out)).unwrap();
    assert!(summary.lora.is_none() && summary.weights.trained > 0.0);
    assert!(weights(&load(&out)) == weights(&load(&whole)));

    let summary = train::policy_to_gguf(&plan(&run, None, &out)).unwrap();
    assert_eq!((summary.lora.unwrap().r.get(), summary.policy), (4, run.join("policy")));
    let model = load(&base);
    let digests = Digests::of(&source(&base)).unwrap();
    let adapter = Adapter::read(&run.join("policy"), &model, &digests).unwrap();
    let merged = model.with_adapter(adapter).and_then(Decoder::merged).unwrap();
    assert!(weights(&load(&out)) == weights(&merged) && weights(&merged) != weights(&load(&base)));
}

#[test]
fn what_is_no_base_of_a_policy_is_refused() {
    let (folder, [base, whole, run]) = policies();
    let out = folder.path().join("out.gguf");
    let refused = |plan: &GgufPlan| train::policy_to_gguf(plan).unwrap_err();
    assert!(matches!(refused(&plan(&whole, None, &out)), TrainError::NoBase { .. }));
    assert!(matches!(refused(&plan(&whole, Some(&base), &base)), TrainError::Taken { .. }));
    assert!(matches!(
        refused(&plan(folder.path(), Some(&base), &out)),
        TrainError::Policy(PolicyError::Source(ModelSourceError::NoModel { .. }))
    ));
    for policy in [&whole, &run] {
        let error = refused(&plan(policy, Some(Path::new("fixtures/tiny")), &out));
        assert!(matches!(error, TrainError::NoGguf { .. }), "{error}");
        assert!(error.hint().unwrap().contains("convert_hf_to_gguf.py"));
    }
    // Other constants, another family: what the metadata of the base says would not be true.
    let path = whole.join("config.json");
    let mut config: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    config["rms_norm_eps"] = 1e-6.into();
    fs::write(&path, config.to_string()).unwrap();
    let error = refused(&plan(&whole, Some(&base), &out));
    let TrainError::Model { source, .. } = error else { panic!("{error}") };
    assert!(matches!(&source, ModelError::ConfigValue { key, .. } if key == "rms_norm_eps"), "{source}");
    let tiny = plan(Path::new("fixtures/tiny"), Some(&base), &out);
    assert!(matches!(refused(&tiny), TrainError::Model { source: ModelError::ConfigValue { .. }, .. }));
    assert!(!out.exists());
}

/// No `config.json` can say what the rotary factors of such a base are; an adapter needs none.
#[test]
fn weights_that_could_not_be_written_are_not_trained() {
    let folder = tempfile::tempdir().unwrap();
    let (base, out) = (folder.path().join("base.gguf"), folder.path().join("run"));
    write_base(Base { has_factors: true, ..LLAMA }, &base);
    let mut plan = stages::train_plan(Path::new("no table"), &out);
    plan.course.model = base.to_str().unwrap().to_owned();
    let error = train::run(&plan, &Interrupt::default(), &mut |_| {}).unwrap_err();
    let TrainError::Model { source: ModelError::ConfigValue { key, .. }, .. } = &error else { panic!("{error}") };
    assert_eq!(key, "rope_freqs.weight");
    plan.course.trained = Trained::NewAdapter(lora());
    // What is missing next is the tokenizer.
    let error = train::run(&plan, &Interrupt::default(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("tokenizer.ggml.tokens") && !out.exists(), "{error}");
}

#[test]
fn weights_above_the_limit_are_written_in_several_files() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = Path::new("fixtures/tiny");
    let (model, limit) = (load(tiny), 200_000);
    let (whole, shards) = (folder.path().join("whole"), folder.path().join("shards"));
    for (out, limit) in [(&whole, u64::MAX), (&shards, limit)] {
        fs::create_dir_all(out).unwrap();
        save(&model, tiny, out, limit);
    }
    assert!(whole.join("model.safetensors").is_file() && !whole.join("model.safetensors.index.json").exists());
    assert!(!shards.join("model.safetensors").exists());
    let index = fs::read_to_string(shards.join("model.safetensors.index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    assert_eq!(index["metadata"]["total_size"], 4 * model.params().n_parameters());
    let map = index["weight_map"].as_object().unwrap();
    assert_eq!(map.len(), model.params().len());
    let files: std::collections::BTreeSet<&str> = map.values().map(|file| file.as_str().unwrap()).collect();
    assert!(files.len() > 2, "{files:?}");
    for (at, file) in files.iter().enumerate() {
        assert_eq!(**file, format!("model-{:05}-of-{:05}.safetensors", at + 1, files.len()));
        let of_file: Vec<usize> = (model.params().iter())
            .filter(|(_, name, _)| map[*name] == **file)
            .map(|(_, _, tensor)| 4 * tensor.elem_count())
            .collect();
        let bytes: usize = of_file.iter().sum();
        assert!(of_file.len() == 1 || bytes as u64 <= limit, "`{file}` has {bytes} bytes");
    }
    assert!(weights(&load(&shards)) == weights(&model));
}

#[test]
fn flags_of_another_export_are_refused() {
    let case = Case::new();
    for (arguments, flag) in [
        (["export", "t", "--to", "trl", "--out", "o", "--model", "m"].as_slice(), "`--model`"),
        (["export", "t", "--to", "trl", "--out", "o", "--outtype", "f32"].as_slice(), "`--outtype`"),
        (["export", "t", "--to", "gguf", "--out", "o", "--max-shard-size", "1GB"].as_slice(), "--merge"),
    ] {
        let outcome = case.run(arguments.iter().copied());
        assert_eq!(outcome.code, Some(2), "{outcome}");
        assert!(outcome.stderr.contains(flag), "{outcome}");
    }
    let outcome = case.run(["export", "run", "--to", "gguf", "--out", "policy.gguf"]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(outcome.stderr.contains("model `run` not found: expected a model folder"), "{outcome}");
}
