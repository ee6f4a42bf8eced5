//! Tensors as a safetensors file, one at a time, each in the number type that is asked for.
//!
//! The writer of the crate `safetensors` wants all tensors in the type of the file at once, which for rounded weights is
//! half of the model once more in memory, and makes a file that only its owner may read.

use std::fmt::Display;
use std::io::{BufWriter, Write};
use std::path::Path;

use candle_core::{DType, Device, Result as CandleResult, Tensor};
use safetensors::tensor::{Dtype, Metadata, TensorInfo, View};

use super::error::ModelError;
use crate::io::{AtomicFile, IoError};
use crate::ops::{Kernels, reduce};

/// Bytes of the header are filled up to a multiple of this, so that numbers are aligned.
const ALIGNMENT: usize = 8;

/// Writes tensors as one safetensors file, as they are.
pub(crate) fn write_safetensors<'a, N: AsRef<str> + Ord + Display>(
    path: &Path,
    tensors: impl Iterator<Item = (N, &'a Tensor)>,
    metadata: impl IntoIterator<Item = (&'static str, &'static str)>,
) -> Result<(), ModelError> {
    let tensors = tensors.map(|(name, tensor)| (name, tensor, tensor.dtype())).collect();
    write(path, tensors, metadata).map(drop)
}

/// Writes tensors in these types; returns `‖W′ − W‖²`, W′ those of the file.
///
/// # Errors
/// If a number is too large for its type, or the file cannot be written.
pub(super) fn write<N: AsRef<str> + Ord + Display>(
    path: &Path,
    mut tensors: Vec<(N, &Tensor, DType)>,
    metadata: impl IntoIterator<Item = (&'static str, &'static str)>,
) -> Result<f64, ModelError> {
    let in_file = |source| ModelError::Safetensors { path: path.to_owned(), source };
    // The order of the crate `safetensors`: what is aligned most first, then by name.
    tensors.sort_by(|(name, _, dtype), (other, _, others)| {
        Dtype::from(*others).cmp(&Dtype::from(*dtype)).then_with(|| name.cmp(other))
    });
    let mut offset = 0;
    let infos = tensors.iter().map(|(name, tensor, dtype)| {
        let start = offset;
        offset += tensor.elem_count() * dtype.size_in_bytes();
        let info = TensorInfo { dtype: (*dtype).into(), shape: tensor.dims().to_vec(), data_offsets: (start, offset) };
        (name.to_string(), info)
    });
    let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let header = Metadata::new(Some(metadata), infos.collect()).map_err(in_file)?;
    let mut header =
        serde_json::to_vec(&header).map_err(|source| ModelError::Json { path: path.to_owned(), source })?;
    header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');

    let failed = |source| IoError::new("write", path, source);
    let mut file = AtomicFile::create(path)?;
    let mut out = BufWriter::with_capacity(1 << 20, &mut file);
    out.write_all(&(header.len() as u64).to_le_bytes()).and_then(|()| out.write_all(&header)).map_err(failed)?;
    let mut moved = 0.0;
    for (name, tensor, dtype) in &tensors {
        let (written, change) = rounded(tensor, *dtype).map_err(ModelError::tensor("rounding weights"))?;
        if !change.is_finite() {
            let dtype = dtype.as_str().to_owned();
            return Err(ModelError::TooLarge { name: name.to_string(), dtype });
        }
        moved += change;
        out.write_all(&View::data(&written)).map_err(failed)?;
    }
    out.flush().map_err(failed)?;
    drop(out);
    file.commit()?;
    Ok(moved)
}

/// A tensor in another type, rounded to nearest, ties to even; and the square of how far that moves it.
fn rounded(tensor: &Tensor, dtype: DType) -> CandleResult<(Tensor, f64)> {
    if tensor.dtype() == dtype {
        return Ok((tensor.clone(), 0.0));
    }
    let tensor = &tensor.to_device(&Device::Cpu)?;
    let written = tensor.to_dtype(dtype)?;
    let change = (written.to_dtype(tensor.dtype())? - tensor)?;
    let change = reduce::sum_of_squares(&change, Kernels::Own)?;
    Ok((written, change))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(numbers: &[f32]) -> Tensor {
        Tensor::from_slice(numbers, numbers.len(), &Device::Cpu).unwrap()
    }

    #[test]
    fn every_type_reads_back_rounded_and_says_by_how_much() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        // 1 + 2⁻⁸ lies between two numbers of bf16, 1 and 1 + 2⁻⁷; the even one is 1.
        let (a, b) = (tensor(&[1.0, 1.0 + 2.0_f32.powi(-8), -3.5]), tensor(&[0.5]));
        let moved = write(&path, vec![("b", &b, DType::F32), ("a", &a, DType::BF16)], [("format", "pt")]).unwrap();
        assert_eq!(moved, f64::from(2.0_f32.powi(-8)).powi(2));
        let found = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
        assert_eq!((found["a"].dtype(), found["b"].dtype()), (DType::BF16, DType::F32));
        let numbers = found["a"].to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(numbers, [1.0, 1.0, -3.5]);
    }

    #[test]
    fn a_number_too_large_for_its_type_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let wide = tensor(&[1.0, 70_000.0]);
        let error = write(&path, vec![("a", &wide, DType::F16)], []).unwrap_err();
        assert!(matches!(&error, ModelError::TooLarge { name, .. } if name == "a"), "{error}");
        assert!(crate::io::list(folder.path()).unwrap().is_empty());
        write(&path, vec![("a", &wide, DType::BF16)], []).unwrap();
    }

    #[test]
    fn without_another_type_the_file_is_that_of_the_crate_safetensors() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (folder.path().join("a"), folder.path().join("b"));
        let tensors = [("z", tensor(&[1.0, 2.0])), ("a", tensor(&[3.0]))];
        write_safetensors(&ours, tensors.iter().map(|(name, tensor)| (*name, tensor)), [("format", "pt")]).unwrap();
        let metadata = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
        safetensors::serialize_to_file(tensors.iter().map(|(name, tensor)| (*name, tensor)), Some(metadata), &theirs)
            .unwrap();
        assert_eq!(crate::io::read(&ours).unwrap(), crate::io::read(&theirs).unwrap());
    }
}
