//! A GGUF file in memory, or the parts of one that was split.

use std::collections::{BTreeMap, HashMap};
use std::io::Cursor;
use std::path::{Path, PathBuf};

use candle_core::quantized::QTensor;
use candle_core::quantized::gguf_file::{Content, TensorInfo, Value};
use candle_core::{Device, Error, Result as CandleResult};
use memmap2::Mmap;

use super::ModelSourceError;
use super::gguf_header::{self, Header};
use crate::digest::Digest;
use crate::guard;
use crate::io;

/// What a part says of the whole, and the tensors of it; `gguf-split` of llama.cpp writes them.
const COUNT: &str = "split.count";
const NUMBER: &str = "split.no";
const N_TENSORS: &str = "split.tensors.count";

/// Parts of a model at most; the name of a part has five digits for them.
const MAX_PARTS: u64 = 99_999;

/// A GGUF file in memory: its metadata parsed, its tensors still on disk.
///
/// A model that was split (`NAME-00001-of-00003.gguf`) is opened by any of its parts and is one: the metadata are those
/// of the first, without what they say of the splitting, and the tensors those of all.
pub struct Gguf {
    /// The file; the first part of several.
    pub path: PathBuf,
    /// Its mapped bytes, which hold the metadata.
    pub map: Mmap,
    /// Metadata, and the tensors of all parts.
    pub content: Content,
    /// Where the parts of its header are.
    pub header: Header,
    /// The other parts, in their order.
    others: Vec<Part>,
    /// In which of them a tensor is; those of the first are not named.
    place: HashMap<String, usize>,
}

/// One file.
struct Part {
    path: PathBuf,
    map: Mmap,
    content: Content,
    header: Header,
}

impl Part {
    fn open(path: &Path) -> Result<Self, ModelSourceError> {
        let map = io::map(path)?;
        let header = gguf_header::check(&map)
            .map_err(|source| ModelSourceError::GgufHeader { path: path.to_owned(), source })?;
        let content = guard::catch(|| Content::read(&mut Cursor::new(&map[..])))
            .unwrap_or_else(|panicked| Err(Error::wrap(panicked)))
            .map_err(|source| ModelSourceError::Gguf { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), map, content, header })
    }

    /// A whole number of the metadata, of whatever width.
    fn number(&self, key: &str) -> Result<Option<u64>, ModelSourceError> {
        let Some(value) = self.content.metadata.get(key) else { return Ok(None) };
        let number = match value {
            Value::I32(number) => u64::try_from(*number).ok(),
            Value::I64(number) => u64::try_from(*number).ok(),
            value => value.to_u64().ok(),
        };
        number.map(Some).ok_or_else(|| self.wrong(format!("a whole number under `{key}`"), format!("{value:?}")))
    }

    fn wrong(&self, expected: String, found: String) -> ModelSourceError {
        ModelSourceError::GgufPart { path: self.path.clone(), expected, found }
    }
}

impl Gguf {
    /// Maps a GGUF file, with all its parts if it is one of several, and parses its header.
    ///
    /// # Errors
    /// If a header is damaged, a part is missing, or the parts contradict each other: as `llama_model_loader` of llama.cpp
    /// has it, `split.no` follows the name, `split.count` is that of all, `split.tensors.count` the sum over them, and no
    /// tensor is in two.
    pub fn open(path: &Path) -> Result<Self, ModelSourceError> {
        let mut parts = parts(path)?;
        let n_tensors = parts[0].number(N_TENSORS)?;
        let mut first = parts.remove(0);
        let mut place = HashMap::new();
        for (index, part) in parts.iter().enumerate() {
            // In order, so that the same one is named each time.
            for (name, info) in part.content.tensor_infos.iter().collect::<BTreeMap<_, _>>() {
                let copy = TensorInfo { ggml_dtype: info.ggml_dtype, shape: info.shape.clone(), offset: info.offset };
                if first.content.tensor_infos.insert(name.clone(), copy).is_some() {
                    return Err(part.wrong("tensors no other part has".into(), format!("`{name}` once more")));
                }
                place.insert(name.clone(), index);
            }
        }
        let found = first.content.tensor_infos.len() as u64;
        if let Some(expected) = n_tensors.filter(|expected| *expected != found && !parts.is_empty()) {
            return Err(
                first.wrong(format!("{expected} tensors in all parts, as `{N_TENSORS}` says"), found.to_string())
            );
        }
        if !parts.is_empty() {
            first.content.metadata.retain(|key, _| !is_of_split(key));
            first.header.entries.retain(|(key, _)| !is_of_split(key));
        }
        let Part { path, map, content, header } = first;
        Ok(Self { path, map, content, header, others: parts, place })
    }

    /// The bytes of a tensor, `None` if there is none of that name.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        let info = self.content.tensor_infos.get(name)?;
        let (map, content) = self.part(name);
        let n_bytes = info.shape.elem_count() / info.ggml_dtype.block_size() * info.ggml_dtype.type_size();
        let start = usize::try_from(content.tensor_data_offset.checked_add(info.offset)?).ok()?;
        map.get(start..start.checked_add(n_bytes)?)
    }

    /// A tensor as it is stored, on the CPU.
    ///
    /// # Errors
    /// If there is none of that name, or candle cannot read it.
    pub fn tensor(&self, name: &str) -> CandleResult<QTensor> {
        let (map, content) = self.part(name);
        content.tensor(&mut Cursor::new(&map[..]), name, &Device::Cpu)
    }

    /// The digest of a GGUF file, of all parts if it is one of several.
    pub fn digest(path: &Path) -> Result<Digest, ModelSourceError> {
        let paths: Vec<PathBuf> = parts(path)?.into_iter().map(|part| part.path).collect();
        if let [path] = &paths[..] {
            return Ok(io::digest(path)?.0);
        }
        let digests = paths.iter().map(|path| Ok(io::digest(path)?.0)).collect::<Result<Vec<_>, ModelSourceError>>()?;
        let names: Vec<String> = (1..=digests.len()).map(|number| format!("part {number}")).collect();
        Ok(Digest::of_parts(
            names.iter().zip(&digests).map(|(name, digest)| (name.as_str(), digest.as_bytes().as_slice())),
        ))
    }

    fn part(&self, name: &str) -> (&Mmap, &Content) {
        match self.place.get(name).and_then(|index| self.others.get(*index)) {
            Some(part) => (&part.map, &part.content),
            None => (&self.map, &self.content),
        }
    }
}

fn is_of_split(key: &str) -> bool {
    [COUNT, NUMBER, N_TENSORS].contains(&key)
}

/// All parts of a model, the first one first; a file that was not split is its only part.
fn parts(path: &Path) -> Result<Vec<Part>, ModelSourceError> {
    let part = Part::open(path)?;
    let count = part.number(COUNT)?.unwrap_or(1);
    if count <= 1 {
        return Ok(vec![part]);
    }
    let Some((name, number, of)) = name_of_part(path).filter(|_| count <= MAX_PARTS) else {
        let expected = format!("a name that ends in `-NUMBER-of-{count:05}.gguf`, as `{COUNT}` says");
        return Err(part.wrong(expected, format!("`{}`", path.file_name().unwrap_or_default().to_string_lossy())));
    };
    if of != count {
        return Err(part.wrong(format!("{of} under `{COUNT}`, as its name says"), count.to_string()));
    }
    let mut parts = Vec::new();
    let mut named = Some(part);
    for at in 1..=count {
        let place = path.with_file_name(format!("{name}-{at:05}-of-{count:05}.gguf"));
        let part = match named.take_if(|_| at == number) {
            Some(part) => part,
            None if place.is_file() => Part::open(&place)?,
            None => {
                let path = path.to_owned();
                return Err(ModelSourceError::GgufPartMissing { path, count, number: at, missing: place });
            }
        };
        let of = part.number(COUNT)?;
        if of != Some(count) {
            let found = of.map_or_else(|| "none".to_owned(), |of| of.to_string());
            return Err(part.wrong(format!("{count} under `{COUNT}`, as part {number} says"), found));
        }
        // llama.cpp counts from 0.
        let at_there = part.number(NUMBER)?;
        if at_there != Some(at - 1) {
            let found = at_there.map_or_else(|| "none".to_owned(), |at| at.to_string());
            return Err(part.wrong(format!("{} under `{NUMBER}`, as its name says", at - 1), found));
        }
        parts.push(part);
    }
    Ok(parts)
}

/// `NAME`, 2 and 3 of `NAME-00002-of-00003.gguf`: `llama_split_prefix` of llama.cpp.
pub(super) fn name_of_part(path: &Path) -> Option<(String, u64, u64)> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (name, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| if text.len() == 5 { text.parse().ok() } else { None };
    Some((name.to_owned(), digits(number)?, digits(count)?))
}

#[cfg(test)]
mod tests;
