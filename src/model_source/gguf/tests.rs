use candle_core::Tensor;
use candle_core::quantized::{GgmlDType, gguf_file};

use super::*;
use crate::error::Hint;

/// A tensor of 32 numbers that are all `value`.
fn tensor(value: f32) -> QTensor {
    let numbers = Tensor::full(value, 32, &Device::Cpu).unwrap();
    QTensor::quantize(&numbers, GgmlDType::F32).unwrap()
}

/// What a part says of itself; the widths are those of llama.cpp.
struct Said {
    number: u16,
    count: u16,
    n_tensors: i32,
}

fn write(path: &Path, said: Option<&Said>, name: &str, tensors: &[(&str, f32)]) {
    let name = Value::String(name.into());
    let mut metadata = vec![("general.name", &name)];
    let said = said.map(|said| [Value::U16(said.number), Value::U16(said.count), Value::I32(said.n_tensors)]);
    if let Some([number, count, n_tensors]) = &said {
        metadata.extend([(NUMBER, number), (COUNT, count), (N_TENSORS, n_tensors)]);
    }
    let tensors: Vec<(&str, QTensor)> = tensors.iter().map(|(name, value)| (*name, tensor(*value))).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let mut file = Cursor::new(Vec::new());
    gguf_file::write(&mut file, &metadata, &tensors).unwrap();
    io::write(path, &file.into_inner()).unwrap();
}

/// A model in three parts, the first of which has no tensors.
fn split(folder: &Path) -> [PathBuf; 3] {
    let paths = [1, 2, 3].map(|number| folder.join(format!("model-{number:05}-of-00003.gguf")));
    let said = |number| Said { number, count: 3, n_tensors: 3 };
    write(&paths[0], Some(&said(0)), "first", &[]);
    write(&paths[1], Some(&said(1)), "second", &[("a", 1.0), ("b", 2.0)]);
    write(&paths[2], Some(&said(2)), "third", &[("c", 3.0)]);
    paths
}

#[track_caller]
fn refused(path: &Path, message: &str) {
    let error = Gguf::open(path).err().unwrap();
    assert!(error.to_string().contains(message), "{error}");
    assert!(error.hint().is_some(), "{error}");
    assert!(Gguf::digest(path).is_err() || message.contains("tensors"));
}

#[test]
fn a_split_model_is_one_whichever_part_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let paths = split(folder.path());
    let digest = Gguf::digest(&paths[0]).unwrap();
    for path in &paths {
        let gguf = Gguf::open(path).unwrap();
        assert_eq!(gguf.path, paths[0]);
        assert_eq!(gguf.content.metadata.keys().collect::<Vec<_>>(), ["general.name"]);
        assert_eq!(gguf.header.entries.len(), 1);
        for (name, value) in [("a", 1.0_f32), ("b", 2.0), ("c", 3.0)] {
            let numbers = gguf.tensor(name).unwrap().dequantize(&Device::Cpu).unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(numbers, [value; 32]);
            assert_eq!(gguf.bytes(name).unwrap(), [value; 32].iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>());
        }
        assert!(gguf.bytes("d").is_none() && gguf.tensor("d").is_err());
        assert_eq!(Gguf::digest(path).unwrap(), digest);
    }
    write(&paths[2], Some(&Said { number: 2, count: 3, n_tensors: 3 }), "third", &[("c", 4.0)]);
    assert_ne!(Gguf::digest(&paths[0]).unwrap(), digest, "the digest does not cover the last part");
}

#[test]
fn a_file_that_was_not_split_keeps_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model-00001-of-00003.gguf");
    write(&path, None, "whole", &[("a", 1.0)]);
    assert_eq!(Gguf::digest(&path).unwrap(), io::digest(&path).unwrap().0);
    assert!(Gguf::open(&path).unwrap().bytes("a").is_some());
}

#[test]
fn parts_that_are_not_of_one_model_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let paths = split(folder.path());
    let said = |number, count, n_tensors| Said { number, count, n_tensors };

    write(&paths[2], Some(&said(2, 3, 3)), "third", &[("c", 3.0), ("a", 1.0)]);
    refused(&paths[0], "expected tensors no other part has, found `a` once more");
    write(&paths[2], Some(&said(2, 3, 3)), "third", &[("c", 3.0), ("d", 1.0)]);
    refused(&paths[0], "expected 3 tensors in all parts, as `split.tensors.count` says, found 4");
    write(&paths[2], Some(&said(1, 3, 3)), "third", &[("c", 3.0)]);
    refused(
        &paths[0],
        "model-00003-of-00003.gguf` of a split GGUF: expected 2 under `split.no`, as its name says, found 1",
    );
    write(&paths[2], Some(&said(2, 4, 3)), "third", &[("c", 3.0)]);
    refused(&paths[0], "expected 3 under `split.count`, as part 1 says, found 4");
    write(&paths[2], None, "third", &[("c", 3.0)]);
    refused(&paths[0], "expected 3 under `split.count`, as part 1 says, found none");
    std::fs::remove_file(&paths[2]).unwrap();
    refused(&paths[0], "part 3 is missing: expected `");
    let renamed = folder.path().join("model.gguf");
    std::fs::rename(&paths[0], &renamed).unwrap();
    refused(
        &renamed,
        "expected a name that ends in `-NUMBER-of-00003.gguf`, as `split.count` says, found `model.gguf`",
    );
}
