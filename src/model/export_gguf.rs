//! The weights of a model in the place of those of a GGUF file.
//!
//! Everything else of that file, metadata, tokenizer and chat template, is copied byte by byte, and tensors are written
//! one at a time. candle's own writer wants all of them in memory, and metadata that went through it has lost the zero
//! bytes that end a token and the type of an empty array.

use std::borrow::Cow;
use std::io::{BufWriter, Write};
use std::path::Path;

use candle_core::quantized::gguf_file::{TensorInfo, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Result as CandleResult, Tensor};
use serde::Serialize;

use super::config::DecoderConfig;
use super::decoder::Decoder;
use super::error::ModelError;
use super::params::{ParamId, Params};
use super::weights_gguf::{ROPE_FACTORS, dequantised, gguf_name, interleaved, interleaved_heads};
use super::{config_gguf, error, identity};
use crate::guard;
use crate::io::{AtomicFile, IoError};
use crate::model_source::{Gguf, gguf_code};
use crate::ops::{Kernels, reduce};

/// Says of a file which type most of its tensors have.
const FILE_TYPE: &str = "general.file_type";

/// Number types of a GGUF file to write, under the names of llama.cpp's converter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum OutType {
    /// Every number as it was trained.
    F32,
    /// Matrices in `f16`, vectors in `f32`.
    #[default]
    F16,
    /// The types of the base, each matrix quantised again; one that training left alone keeps its bytes.
    Same,
}

impl OutType {
    fn dtype(self, of: &TensorInfo) -> GgmlDType {
        match self {
            Self::Same => of.ggml_dtype,
            // The programs that read them want vectors in f32.
            Self::F16 if of.shape.rank() > 1 => GgmlDType::F16,
            Self::F16 | Self::F32 => GgmlDType::F32,
        }
    }

    /// What [`FILE_TYPE`] says of it, where that changes: `LLAMA_FTYPE_ALL_F32`, `LLAMA_FTYPE_MOSTLY_F16`.
    fn file_type(self) -> Option<u32> {
        match self {
            Self::F32 => Some(0),
            Self::F16 => Some(1),
            Self::Same => None,
        }
    }
}

/// What was written. Norms are over all parameters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct GgufWeights {
    /// Tensors in the file.
    pub n_tensors: usize,
    /// Those of them whose bytes are the base's.
    pub n_copied: usize,
    /// How far training moved the weights: `‖W − W₀‖/‖W₀‖`, W₀ those of the base.
    pub trained: f64,
    /// How far the number types of the file moved them from there: `‖W′ − W‖/‖W₀‖`, W′ those of the file.
    pub rounded: f64,
}

/// Writes a GGUF file with the weights of `model` and everything else of `base`; a file that is there is replaced.
///
/// # Errors
/// If the base is of another architecture, shape or constants, if a weight is too large for its type, or if the file
/// cannot be written.
pub fn export_gguf(model: &Decoder, base: &Path, outtype: OutType, path: &Path) -> Result<GgufWeights, ModelError> {
    let gguf = Gguf::open(base)?;
    let config = config_gguf::read(&gguf)?;
    check_config(base, &config, model.config())?;
    let tensors = tensors(&gguf, &config, model.params(), outtype)?;

    let wrap = |source| IoError::new("write", path, source);
    let mut file = AtomicFile::create(path)?;
    let mut out = BufWriter::with_capacity(1 << 20, &mut file);
    out.write_all(&header(&gguf, &tensors, outtype)).map_err(wrap)?;
    let mut sums = Sums::default();
    for tensor in &tensors {
        let bytes = tensor.bytes(&gguf, &config, model.params(), &mut sums)?;
        let padding = vec![0; padding(bytes.len() as u64, gguf.header.alignment)];
        out.write_all(&bytes).and_then(|()| out.write_all(&padding)).map_err(wrap)?;
    }
    out.flush().map_err(wrap)?;
    drop(out);
    file.commit()?;
    let relative = |sum: f64| if sum == 0.0 { 0.0 } else { (sum / sums.base).sqrt() };
    Ok(GgufWeights {
        n_tensors: tensors.len(),
        n_copied: sums.n_copied,
        trained: relative(sums.trained),
        rounded: relative(sums.rounded),
    })
}

/// The base says how the weights are to be used.
fn check_config(path: &Path, base: &DecoderConfig, model: &DecoderConfig) -> Result<(), ModelError> {
    match identity::first_difference(model, base) {
        None => Ok(()),
        Some((key, expected, found)) => Err(ModelError::ConfigValue {
            path: path.to_owned(),
            key: key.to_owned(),
            expected: format!("that of the policy, {}", error::shown(expected)),
            found: error::shown(found),
        }),
    }
}

/// A tensor to write.
struct Planned<'a> {
    name: &'a str,
    /// The base's.
    info: &'a TensorInfo,
    dtype: GgmlDType,
    /// `None` for what is no parameter and stays as it is.
    id: Option<ParamId>,
}

/// Sums of squares over what is written.
#[derive(Default)]
struct Sums {
    n_copied: usize,
    base: f64,
    trained: f64,
    rounded: f64,
}

/// The tensors of the base in its order: each is a parameter, and each parameter one of them.
fn tensors<'a>(
    gguf: &'a Gguf,
    config: &DecoderConfig,
    params: &Params,
    outtype: OutType,
) -> Result<Vec<Planned<'a>>, ModelError> {
    let mut tensors = Vec::with_capacity(params.len() + 1);
    for (id, hf_name, tensor) in params.iter() {
        let found = gguf_name(hf_name).and_then(|name| gguf.content.tensor_infos.get_key_value(&name));
        let Some((name, info)) = found else {
            return Err(ModelError::MissingTensor { path: gguf.path.clone(), name: hf_name.to_owned() });
        };
        if info.shape.dims() != tensor.dims() {
            return Err(ModelError::TensorShape {
                path: gguf.path.clone(),
                name: name.clone(),
                expected: tensor.dims().to_vec(),
                found: info.shape.dims().to_vec(),
            });
        }
        tensors.push(Planned { name, info, dtype: outtype.dtype(info), id: Some(id) });
    }
    if let Some((name, info)) = gguf.content.tensor_infos.get_key_value(ROPE_FACTORS) {
        tensors.push(Planned { name, info, dtype: info.ggml_dtype, id: None });
    }
    let is_planned = |name: &str| tensors.iter().any(|tensor| tensor.name == name);
    if let Some(name) = gguf.content.tensor_infos.keys().filter(|name| !is_planned(name)).min() {
        return Err(ModelError::UnknownTensor {
            path: gguf.path.clone(),
            name: name.clone(),
            architecture: config.architecture.to_string(),
        });
    }
    tensors.sort_by_key(|tensor| tensor.info.offset);
    Ok(tensors)
}

impl Planned<'_> {
    fn n_bytes(&self, dtype: GgmlDType) -> u64 {
        (self.info.shape.elem_count() / dtype.block_size() * dtype.type_size()) as u64
    }

    /// Its bytes in the file.
    fn bytes<'g>(
        &self,
        gguf: &'g Gguf,
        config: &DecoderConfig,
        params: &Params,
        sums: &mut Sums,
    ) -> Result<Cow<'g, [u8]>, ModelError> {
        let as_they_are = || {
            gguf.bytes(self.name)
                .ok_or_else(|| ModelError::MissingTensor { path: gguf.path.clone(), name: self.name.to_owned() })
        };
        let Some(id) = self.id else {
            sums.n_copied += 1;
            return as_they_are().map(Cow::Borrowed);
        };
        let base = dequantised(gguf, self.name)?;
        let wrap = || ModelError::tensor("writing weights");
        let own = of_gguf(params.get(id), interleaved_heads(config, self.name)).map_err(wrap())?;
        let trained = square(&own, &base).map_err(wrap())?;
        sums.base += reduce::sum_of_squares(&base, Kernels::Own).map_err(wrap())?;
        sums.trained += trained;
        if trained == 0.0 && self.dtype == self.info.ggml_dtype {
            sums.n_copied += 1;
            return as_they_are().map(Cow::Borrowed);
        }
        drop(base);
        let quantised = guard::catch(|| QTensor::quantize(&own, self.dtype))
            .unwrap_or_else(|panicked| Err(candle_core::Error::wrap(panicked)))
            .map_err(ModelError::tensor("quantising weights"))?;
        let rounded = quantised.dequantize(&Device::Cpu).and_then(|written| square(&written, &own)).map_err(wrap())?;
        if !rounded.is_finite() {
            return Err(ModelError::TooLarge { name: self.name.to_owned(), dtype: format!("{:?}", self.dtype) });
        }
        sums.rounded += rounded;
        Ok(Cow::Owned(quantised.data().map_err(wrap())?.into_owned()))
    }
}

/// A parameter as GGUF has it.
fn of_gguf(tensor: &Tensor, heads: Option<usize>) -> CandleResult<Tensor> {
    let tensor = tensor.to_device(&Device::Cpu)?;
    heads.map_or(Ok(tensor.clone()), |heads| interleaved(&tensor, heads))
}

/// `‖a − b‖²`
fn square(a: &Tensor, b: &Tensor) -> CandleResult<f64> {
    reduce::sum_of_squares(&(a - b)?, Kernels::Own)
}

/// Everything before the first tensor.
fn header(gguf: &Gguf, tensors: &[Planned<'_>], outtype: OutType) -> Vec<u8> {
    let header = &gguf.header;
    let length = |bytes: &mut Vec<u8>, length: u64| {
        let n_bytes = if header.version == 1 { 4 } else { 8 };
        bytes.extend(&length.to_le_bytes()[..n_bytes]);
    };
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(header.version.to_le_bytes());
    length(&mut bytes, tensors.len() as u64);
    length(&mut bytes, header.entries.len() as u64);
    for (key, range) in &header.entries {
        bytes.extend(&gguf.map[range.clone()]);
        let is_number = matches!(gguf.content.metadata.get(key), Some(Value::U32(_)));
        if let Some(file_type) = outtype.file_type().filter(|_| key == FILE_TYPE && is_number) {
            bytes.truncate(bytes.len() - size_of::<u32>());
            bytes.extend(file_type.to_le_bytes());
        }
    }
    let mut offset = 0;
    for tensor in tensors {
        length(&mut bytes, tensor.name.len() as u64);
        bytes.extend(tensor.name.as_bytes());
        // The format counts dimensions in 32 bits, the last of a shape first.
        let dims = tensor.info.shape.dims();
        bytes.extend(&(dims.len() as u64).to_le_bytes()[..4]);
        for &dim in dims.iter().rev() {
            length(&mut bytes, dim as u64);
        }
        bytes.extend(gguf_code(tensor.dtype).to_le_bytes());
        bytes.extend(u64::to_le_bytes(offset));
        offset += tensor.n_bytes(tensor.dtype).next_multiple_of(header.alignment);
    }
    bytes.resize(bytes.len() + padding(bytes.len() as u64, header.alignment), 0);
    bytes
}

/// Bytes from here to the next multiple.
fn padding(n_bytes: u64, alignment: u64) -> usize {
    usize::try_from(n_bytes.next_multiple_of(alignment) - n_bytes).unwrap_or(0)
}
