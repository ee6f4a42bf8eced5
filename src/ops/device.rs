//! Devices by the names a user gives them.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;

use crate::error::Hint;

/// Name of a device: `cpu`, `cuda` (the first one), `cuda:1`, `metal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceName {
    /// The processor.
    Cpu,
    /// A GPU of Nvidia, by its number from 0.
    Cuda(usize),
    /// The GPU of an Apple machine.
    Metal,
}

/// Why there is no such device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// A name nobody knows.
    #[error("expected `cpu`, `cuda`, `cuda:N` or `metal`, found `{found}`")]
    Unknown {
        /// As given.
        found: String,
    },
    /// The program was built without the libraries of the device.
    #[error("this build of piref cannot use device `{device}`: it was built without the feature `{feature}`")]
    NotBuilt {
        /// The device.
        device: DeviceName,
        /// The feature of the crate that it needs.
        feature: &'static str,
    },
    /// The device does not answer.
    #[error("cannot use device `{device}`")]
    Open {
        /// The device.
        device: DeviceName,
        /// What candle says.
        #[source]
        source: candle_core::Error,
    },
    /// Our own kernels are asked for where they cannot be.
    #[error("the kernels `own` are for device `cpu`, found `{device}`")]
    OwnKernels {
        /// The device.
        device: DeviceName,
    },
}

impl DeviceName {
    /// The device itself.
    ///
    /// # Errors
    /// If the program was built without it, or the machine does not have it.
    pub fn open(self) -> Result<Device, DeviceError> {
        let needs =
            |feature, is_built| if is_built { Ok(()) } else { Err(DeviceError::NotBuilt { device: self, feature }) };
        let opened = match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(ordinal) => {
                needs("cuda", cfg!(feature = "cuda"))?;
                Device::new_cuda(ordinal)
            }
            Self::Metal => {
                needs("metal", cfg!(feature = "metal"))?;
                Device::new_metal(0)
            }
        };
        opened.map_err(|source| DeviceError::Open { device: self, source })
    }
}

impl FromStr for DeviceName {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown { found: text.to_owned() };
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            None if text == "metal" => Ok(Self::Metal),
            Some(("cuda", number)) => number.parse().map(Self::Cuda).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(0) => f.write_str("cuda"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

impl Hint for DeviceError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NotBuilt { feature, .. } => Some(format!(
                "build it with `cargo build --release --features {feature}`, or leave the device at `cpu`"
            )),
            Self::OwnKernels { .. } => Some("leave `--kernels` out, or name `stock`".into()),
            Self::Unknown { .. } | Self::Open { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for (text, want) in [
            ("cpu", DeviceName::Cpu),
            ("cuda", DeviceName::Cuda(0)),
            ("cuda:3", DeviceName::Cuda(3)),
            ("metal", DeviceName::Metal),
        ] {
            let found: DeviceName = text.parse().unwrap();
            assert_eq!((found, found.to_string().as_str()), (want, text));
        }
        assert_eq!("cuda:0".parse::<DeviceName>().unwrap(), DeviceName::Cuda(0));
        for text in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "cpu:0", "Metal"] {
            let error = text.parse::<DeviceName>().unwrap_err().to_string();
            assert_eq!(error, format!("expected `cpu`, `cuda`, `cuda:N` or `metal`, found `{text}`"));
        }
    }

    #[test]
    fn the_cpu_is_always_there() {
        assert!(DeviceName::Cpu.open().unwrap().is_cpu());
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_was_not_built_in_is_refused_with_the_way_to_build_it() {
        let error = DeviceName::Cuda(1).open().unwrap_err();
        assert_eq!(
            error.to_string(),
            "this build of piref cannot use device `cuda:1`: it was built without the feature `cuda`"
        );
        assert!(error.hint().unwrap().contains("--features cuda"));
    }
}
