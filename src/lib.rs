//! piref
