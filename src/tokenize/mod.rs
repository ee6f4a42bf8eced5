//! Tokenisation (stand-in: the types only).

use serde::{Deserialize, Serialize};

/// Which end of a prompt survives truncation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TruncationMode {
    /// The first tokens.
    KeepStart,
    /// The last tokens.
    KeepEnd,
}

/// How a pair becomes ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Longest prompt plus completion, in tokens.
    pub max_length: usize,
    /// Which end survives.
    pub truncation_mode: TruncationMode,
    /// Date a template prints, `YYYY-MM-DD`.
    pub template_date: String,
}
