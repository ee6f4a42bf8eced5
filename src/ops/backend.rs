//! What computes: a device, the kernels that work on it, the precision of products.
//!
//! Chosen once, by whoever loads a model, and handed to every op: no op looks at a tensor to find out where it is.

use candle_core::Device;
use serde::Deserialize;

use super::cpu::Isa;

/// Which of its two forms an op takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kernels {
    /// Our own, for `f32` tensors in the memory of the CPU, with the best instructions of the machine.
    Own,
    /// candle's tensor operations, on any device.
    Stock,
}

/// What the sides of a product are rounded to before they are multiplied. Sums, and all that is no product of a weight,
/// are `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Nothing.
    F32,
    /// bf16, eight binary digits, as in torch's autocast.
    Bf16,
}

/// What the ops of one pass are told: how to compute. Those without a product of a weight need the kernels only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compute {
    /// By which kernels.
    pub kernels: Kernels,
    /// In which precision.
    pub precision: Precision,
}

/// Where tensors are, and the kernels that work on them there.
#[derive(Debug, Clone)]
pub struct Backend {
    device: Device,
    kernels: Kernels,
}

impl Kernels {
    /// The instructions our own kernels use; `None` for the stock ones.
    ///
    /// Not a part of [`Kernels::Own`], which anyone may name: instructions a CPU does not have must not be.
    pub(in crate::ops) fn isa(self) -> Option<Isa> {
        match self {
            Self::Own => Some(Isa::best()),
            Self::Stock => None,
        }
    }
}

impl Backend {
    /// The CPU, with our own kernels.
    pub fn cpu() -> Self {
        Self { device: Device::Cpu, kernels: Kernels::Own }
    }

    /// A device with candle's operations: all there is but on the CPU, and there what to compare with.
    pub fn stock(device: Device) -> Self {
        Self { device, kernels: Kernels::Stock }
    }

    /// A device with the best kernels there are for it.
    pub fn best(device: Device) -> Self {
        if device.is_cpu() { Self::cpu() } else { Self::stock(device) }
    }

    /// Where tensors are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The kernels.
    pub fn kernels(&self) -> Kernels {
        self.kernels
    }
}
