//! Sums in `f64` over `f32` tensors.

use candle_core::{CpuStorage, DType, Result, Storage, Tensor};

/// `Σ x²`, accumulated in `f64`, so that the length of a tensor costs no digits.
pub fn sum_of_squares(x: &Tensor) -> Result<f64> {
    if let (Storage::Cpu(CpuStorage::F32(values)), layout) = (&*x.storage_and_layout().0, x.layout())
        && let Some((start, end)) = layout.contiguous_offsets()
    {
        return Ok(values[start..end].iter().map(|&value| f64::from(value) * f64::from(value)).sum());
    }
    x.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn views_and_wholes_agree_with_plain_sums() {
        let x = Tensor::arange(0_f32, 600., &Device::Cpu).unwrap().reshape((20, 30)).unwrap();
        let whole: f64 = (0..600).map(|value| f64::from(value * value)).sum();
        assert_eq!(sum_of_squares(&x).unwrap(), whole);
        assert_eq!(sum_of_squares(&x.t().unwrap()).unwrap(), whole);
        let row: f64 = (30..60).map(|value| f64::from(value * value)).sum();
        assert_eq!(sum_of_squares(&x.narrow(0, 1, 1).unwrap()).unwrap(), row);
    }
}
