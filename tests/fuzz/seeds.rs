//! What the fuzzer starts from: small, sound files of each format, and the hostile ones of the repository.

use std::fs;
use std::io::{Cursor, Write as _};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

use crate::support::stages;
use piref::precompute::Pairs;

/// Longest seed taken from a file of text; longer ones are cut.
const LENGTH: usize = 6000;

/// All files of a folder, cut to a length.
pub(super) fn files(folder: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.retain(|path| path.is_file());
    paths.iter().map(|path| cut(fs::read(path).unwrap())).collect()
}

/// The files of these names, whole.
pub(super) fn whole(names: &[&str]) -> Vec<Vec<u8>> {
    names.iter().map(|name| fs::read(Path::new("fixtures").join(name)).unwrap()).collect()
}

/// Whole lines, as many as fit.
fn cut(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() > LENGTH {
        let end = bytes[..LENGTH].iter().rposition(|byte| *byte == b'\n').map_or(LENGTH, |at| at + 1);
        bytes.truncate(end);
    }
    bytes
}

/// Rows in every format, without compression.
pub(super) fn rows() -> Vec<Vec<u8>> {
    let names = ["bad", "conversational", "edge", "implicit", "openai", "standard"].map(|name| format!("{name}.jsonl"));
    let pairs = names.iter().map(|name| cut(fs::read(Path::new("fixtures/pairs").join(name)).unwrap()));
    let packed = ["transcripts", "ultrafeedback"].map(|name| format!("fixtures/pairs/source/{name}.jsonl"));
    let packed = packed.iter().map(|path| cut(fs::read(path).unwrap()));
    pairs.chain(packed).chain(files("fixtures/hostile/rows")).collect()
}

/// Lists of rows.
pub(super) fn lists() -> Vec<Vec<u8>> {
    let list = |rows: Vec<u8>| {
        let rows = String::from_utf8_lossy(&rows).lines().collect::<Vec<_>>().join(",\n");
        format!("[{rows}]").into_bytes()
    };
    let sharegpt: Vec<serde_json::Value> = serde_json::from_slice(&whole(&["pairs/sharegpt.json"])[0]).unwrap();
    let sharegpt = serde_json::to_vec(&sharegpt[..4]).unwrap();
    rows().into_iter().map(list).chain([sharegpt]).collect()
}

pub(super) fn gzip() -> Vec<Vec<u8>> {
    gzipped(rows())
}

pub(super) fn gzipped(files: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let gzipped = |file: Vec<u8>| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&file).unwrap();
        encoder.finish().unwrap()
    };
    files.into_iter().map(gzipped).collect()
}

/// Pairs as separated values: texts with quotes and line ends, turns in JSON, numbers and dates beside them.
pub(super) fn delimited(separator: char) -> Vec<Vec<u8>> {
    let plain = "prompt,chosen,rejected,score,at\np,a,b,1.5,2024-01-01\n\"q, \"\"r\"\"\",\"a\nb\",,-1e9,\n";
    let turns = "chosen,rejected\n\"[{\"\"role\"\": \"\"user\"\"}]\",\"[]\"\n";
    let carriage = "\u{feff}question,better,worse,id\r\np,a,b,7\r\nq,c,d,8\r\n";
    [plain, turns, carriage].map(|text| text.replace(',', &separator.to_string()).into_bytes()).to_vec()
}

pub(super) fn zstd() -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> = rows().iter().map(|rows| zstd::encode_all(&rows[..], 3).unwrap()).collect();
    seeds.extend(whole(&["hostile/container/window-of-2-terabytes.jsonl.zst"]));
    seeds
}

/// Arrow IPC, stream and file format.
pub(super) fn arrow() -> Vec<Vec<u8>> {
    arrow_with(None)
}

/// The same with buffers that are compressed, as Feather has them.
pub(super) fn arrow_compressed() -> Vec<Vec<u8>> {
    [CompressionType::ZSTD, CompressionType::LZ4_FRAME].map(|kind| arrow_with(Some(kind))).concat()
}

fn arrow_with(compression: Option<CompressionType>) -> Vec<Vec<u8>> {
    let text = |values: [&str; 3]| Arc::new(StringArray::from_iter_values(values)) as ArrayRef;
    let member = |name: &str| Arc::new(Field::new(name, DataType::Utf8, false));
    let turn = StructArray::from(vec![
        (member("role"), text(["assistant", "assistant", "assistant"])),
        (member("content"), text(["a", "", "e\u{301}"])),
    ]);
    let score = Arc::new(Float64Array::from(vec![Some(1.0), None, Some(f64::NAN)])) as ArrayRef;
    let batch = RecordBatch::try_from_iter([
        ("prompt", text(["p", "q", "r"])),
        ("chosen", Arc::new(turn.clone()) as ArrayRef),
        ("rejected", Arc::new(turn) as ArrayRef),
        ("score", score),
    ])
    .unwrap();
    let options = || IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let mut stream = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options()).unwrap();
    stream.write(&batch).unwrap();
    let mut file = FileWriter::try_new_with_options(Vec::new(), &batch.schema(), options()).unwrap();
    file.write(&batch).unwrap();
    vec![stream.into_inner().unwrap(), file.into_inner().unwrap()]
}

/// A part of a log-prob table.
pub(super) fn part() -> Vec<u8> {
    fs::read(table().path().join("table").join(piref::table::part_name(0))).unwrap()
}

/// A log-prob table of six pairs with signals, in the folder `table`.
pub(super) fn table() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut plan = stages::precompute_plan(&folder.path().join("table"));
    if let Pairs::Files { paths, limit } = &mut plan.pairs {
        paths.truncate(1);
        *limit = std::num::NonZeroU64::new(6);
    }
    stages::precompute(&plan);
    folder
}

/// A manifest, and the hostile ones.
pub(super) fn manifests() -> Vec<Vec<u8>> {
    let hostile = files("fixtures/hostile/manifest");
    let mut sound: serde_json::Value =
        serde_json::from_slice(&whole(&["hostile/manifest/rows-overflow.json"])[0]).unwrap();
    sound["parts"].as_array_mut().unwrap().truncate(1);
    sound["parts"][0]["rows"] = 1.into();
    hostile.into_iter().chain([sound.to_string().into_bytes()]).collect()
}

/// Models of one layer: the byte-level tokenizer of the tiny model's kind, and a SentencePiece one; and the hostile ones.
pub(super) fn gguf() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = ["gpt2", "llama"].map(gguf_with).to_vec();
    seeds.extend(files("fixtures/hostile/gguf"));
    seeds
}

fn gguf_with(tokenizer: &str) -> Vec<u8> {
    let texts = |texts: &[&str]| Value::Array(texts.iter().map(|text| Value::String((*text).to_owned())).collect());
    let metadata = [
        ("general.architecture", Value::String("llama".into())),
        ("llama.block_count", Value::U32(1)),
        ("llama.embedding_length", Value::U32(4)),
        ("llama.feed_forward_length", Value::U32(4)),
        ("llama.attention.head_count", Value::U32(2)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("llama.rope.freq_base", Value::F32(10_000.0)),
        ("tokenizer.ggml.model", Value::String(tokenizer.into())),
        ("tokenizer.ggml.pre", Value::String("llama-bpe".into())),
        ("tokenizer.ggml.tokens", texts(&["<s>", "</s>", "a", "b", "ab", "▁", "▁a"])),
        ("tokenizer.ggml.merges", texts(&["a b", "▁ a"])),
        ("tokenizer.ggml.scores", Value::Array((0..7_u8).map(|i| Value::F32(-f32::from(i))).collect())),
        ("tokenizer.ggml.token_type", Value::Array([3, 3, 1, 1, 1, 1, 1].map(Value::I32).to_vec())),
        ("tokenizer.ggml.bos_token_id", Value::U32(0)),
        ("tokenizer.ggml.eos_token_id", Value::U32(1)),
        ("tokenizer.ggml.unknown_token_id", Value::U32(0)),
        ("tokenizer.chat_template", Value::String("{{ messages }}".into())),
    ];
    // Llama's scores stand for its merges; with both, the merges are what counts.
    let metadata: Vec<(&str, &Value)> = metadata
        .iter()
        .filter(|(key, _)| tokenizer == "gpt2" || *key != "tokenizer.ggml.merges")
        .map(|(key, value)| (*key, value))
        .collect();
    let tensors: Vec<(String, QTensor)> = [
        ("token_embd.weight", vec![7, 4]),
        ("output_norm.weight", vec![4]),
        ("blk.0.attn_norm.weight", vec![4]),
        ("blk.0.ffn_norm.weight", vec![4]),
        ("blk.0.attn_q.weight", vec![4, 4]),
        ("blk.0.attn_k.weight", vec![4, 4]),
        ("blk.0.attn_v.weight", vec![4, 4]),
        ("blk.0.attn_output.weight", vec![4, 4]),
        ("blk.0.ffn_gate.weight", vec![4, 4]),
        ("blk.0.ffn_up.weight", vec![4, 4]),
        ("blk.0.ffn_down.weight", vec![4, 4]),
    ]
    .into_iter()
    .map(|(name, shape)| {
        let tensor = Tensor::ones(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
        (name.to_owned(), QTensor::quantize(&tensor, GgmlDType::F32).unwrap())
    })
    .collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (&**name, tensor)).collect();
    let mut file = Cursor::new(Vec::new());
    gguf_file::write(&mut file, &metadata, &tensors).unwrap();
    file.into_inner()
}
