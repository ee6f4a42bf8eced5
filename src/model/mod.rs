//! Models (stand-in: the types only).

use serde::{Deserialize, Serialize};

/// Number format a model computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoringDtype {
    /// 32-bit floats.
    F32,
}
