//! Between tensors and slices.

use std::mem::MaybeUninit;
use std::ops::Deref;

use candle_core::{
    CpuStorage, Device, Error, InplaceOp2, InplaceOp3, Layout, Result, Shape, Storage, StorageRef, Tensor,
};

use rayon::prelude::*;

/// Numbers that one thread fills at once.
const TASK: usize = 1 << 15;

/// The numbers of a contiguous `f32` tensor in the memory of the CPU.
#[derive(Debug)]
pub(in crate::ops) struct Values<'a> {
    storage: StorageRef<'a>,
    start: usize,
    end: usize,
}

impl<'a> Values<'a> {
    /// # Errors
    /// If the tensor is on another device, of another type or a view with gaps.
    pub(in crate::ops) fn of(x: &'a Tensor) -> Result<Self> {
        let (storage, layout) = x.storage_and_layout();
        let (Storage::Cpu(CpuStorage::F32(_)), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
            return Err(unexpected());
        };
        Ok(Self { storage, start, end })
    }
}

impl Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.start..self.end],
            _ => &[],
        }
    }
}

/// `n` times the same, written by all threads: where memory is fresh from the system, that is most of its cost.
pub(in crate::ops) fn filled<T: Copy + Send + Sync>(value: T, n: usize) -> Vec<T> {
    from_chunks(n, |_, chunk| {
        chunk.fill(MaybeUninit::new(value));
    })
}

/// A copy of `values`, made by all threads.
pub(in crate::ops) fn copied(values: &[f32]) -> Vec<f32> {
    from_chunks(values.len(), |start, chunk| {
        chunk.write_copy_of_slice(&values[start..start + chunk.len()]);
    })
}

/// A vector of which `write` has written every entry; it is given the place of each chunk.
#[expect(unsafe_code, reason = "a vector that is written once, not twice")]
fn from_chunks<T: Send>(n: usize, write: impl Fn(usize, &mut [MaybeUninit<T>]) + Sync) -> Vec<T> {
    let mut values = Vec::with_capacity(n);
    let entries = &mut values.spare_capacity_mut()[..n];
    if n <= TASK {
        write(0, entries);
    } else {
        entries.par_chunks_mut(TASK).enumerate().for_each(|(index, chunk)| write(index * TASK, chunk));
    }
    // SAFETY: the capacity is at least `n`, and the chunks, which both callers write whole, are the first `n` entries.
    unsafe { values.set_len(n) };
    values
}

/// A tensor of these numbers.
pub(in crate::ops) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)
}

/// Changes the numbers of a tensor in place, with those of one other or two others.
pub(in crate::ops) struct InPlace<F>(pub(in crate::ops) F);

impl<F: Fn(&mut [f32], &[f32]) -> Result<()>> InplaceOp2 for InPlace<F> {
    fn name(&self) -> &'static str {
        "in place with one"
    }

    fn cpu_fwd(&self, out: &mut CpuStorage, out_at: &Layout, x: &CpuStorage, x_at: &Layout) -> Result<()> {
        (self.0)(slice_mut(out, out_at)?, slice(x, x_at)?)
    }
}

impl<F: Fn(&mut [f32], &[f32], &[f32]) -> Result<()>> InplaceOp3 for InPlace<F> {
    fn name(&self) -> &'static str {
        "in place with two"
    }

    fn cpu_fwd(
        &self,
        out: &mut CpuStorage,
        out_at: &Layout,
        x: &CpuStorage,
        x_at: &Layout,
        y: &CpuStorage,
        y_at: &Layout,
    ) -> Result<()> {
        (self.0)(slice_mut(out, out_at)?, slice(x, x_at)?, slice(y, y_at)?)
    }
}

fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => Err(unexpected()),
    }
}

fn slice_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => Err(unexpected()),
    }
}

fn unexpected() -> Error {
    Error::Msg("expected a contiguous f32 tensor on the CPU".into()).bt()
}
