//! Objectives (stand-in: the types only).

use serde::{Deserialize, Serialize};

/// β: finite and above 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Beta(f64);

/// ε: in `[0, 0.5)`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct LabelSmoothing(f64);

/// What can be wrong with an objective.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LossError {
    /// β.
    #[error("expected `beta` finite and above 0, found {found}")]
    Beta {
        /// As given.
        found: f64,
    },
    /// ε.
    #[error("expected `label_smoothing` in [0, 0.5), found {found}")]
    LabelSmoothing {
        /// As given.
        found: f64,
    },
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

impl TryFrom<f64> for LabelSmoothing {
    type Error = LossError;

    fn try_from(found: f64) -> Result<Self, LossError> {
        if (0.0..0.5).contains(&found) { Ok(Self(found)) } else { Err(LossError::LabelSmoothing { found }) }
    }
}

impl From<LabelSmoothing> for f64 {
    fn from(smoothing: LabelSmoothing) -> Self {
        smoothing.0
    }
}

/// What is optimised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Objective {
    /// DPO.
    Sigmoid {
        /// Pull towards the reference.
        beta: Beta,
        /// Share of labels taken to be flipped.
        label_smoothing: LabelSmoothing,
    },
}
