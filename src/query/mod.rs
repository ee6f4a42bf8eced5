//! SQL (stand-in: the types only).

use std::io::Write;
use std::path::Path;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[expect(missing_docs, reason = "stand-in")]
pub enum Format {
    Table,
    Csv,
    Json,
    Ndjson,
    Markdown,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[error("the query layer is a stand-in")]
pub struct QueryError;

impl crate::error::Hint for QueryError {
    fn hint(&self) -> Option<String> {
        None
    }
}

/// Files by name.
#[derive(Debug)]
pub struct Session;

#[expect(missing_docs, clippy::unused_self, reason = "stand-in")]
impl Session {
    pub fn new() -> Result<Self, QueryError> {
        Ok(Self)
    }

    pub fn register(&mut self, _: &Path) -> Result<Vec<String>, QueryError> {
        Ok(Vec::new())
    }

    pub fn register_as(&mut self, _: &str, _: &Path) -> Result<Vec<String>, QueryError> {
        Ok(Vec::new())
    }
}

/// Answers statements.
pub fn run(_: &Session, _: &str, _: Format, _: &mut dyn Write) -> Result<(), QueryError> {
    Err(QueryError)
}
