//! What is wrong with preference data, by the data and by what the reference says of it.

mod check;
mod error;
pub mod text;

pub use check::{Check, Context, Found, Hit, Info, Outcome};
pub use error::AuditError;
