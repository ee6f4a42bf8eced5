//! Checked settings of objectives.

use serde::{Deserialize, Serialize};

use crate::error::Hint;

/// A setting outside of its range.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum LossError {
    /// β has to be a positive number.
    #[error("expected `beta` finite and above 0, found {found}")]
    Beta {
        /// What was given.
        found: f64,
    },
    /// Half of all labels wrong is no signal at all.
    #[error("expected `label_smoothing` at least 0 and below 0.5, found {found}")]
    LabelSmoothing {
        /// What was given.
        found: f64,
    },
}

impl Hint for LossError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Beta { .. } => Some("0.1 is a usual value, 0.01 to 0.5 a usual range".into()),
            Self::LabelSmoothing { .. } => None,
        }
    }
}

/// β, the strength of the pull towards the reference: finite and above 0, in 1/nat.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Beta(f64);

impl Beta {
    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Beta {
    type Error = LossError;

    fn try_from(found: f64) -> Result<Self, LossError> {
        if found.is_finite() && found > 0.0 { Ok(Self(found)) } else { Err(LossError::Beta { found }) }
    }
}

impl From<Beta> for f64 {
    fn from(beta: Beta) -> Self {
        beta.0
    }
}

/// ε, the share of labels expected to be wrong: at least 0 and below ½.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct LabelSmoothing(f64);

impl LabelSmoothing {
    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for LabelSmoothing {
    type Error = LossError;

    fn try_from(found: f64) -> Result<Self, LossError> {
        if (0.0..0.5).contains(&found) { Ok(Self(found)) } else { Err(LossError::LabelSmoothing { found }) }
    }
}

impl From<LabelSmoothing> for f64 {
    fn from(epsilon: LabelSmoothing) -> Self {
        epsilon.0
    }
}
