//! A file that rows are written to: complete or not there, and never over something else than rows of an earlier answer.
//!
//! SQL reads: what a statement can name (`-o`, `.output`, `COPY … TO`) is checked before the first row and again before the
//! file gets its name, for only then is it known what the query has read.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::io::{self, AtomicFile, IoError};
use crate::query::{Format, QueryError, Session};
use crate::table::{self, NotOutside, hosted};

/// Whether a file that is there already is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// Never: the name stands in SQL.
    Never,
    /// Rows of an earlier answer: the name was given for this.
    Rows,
}

/// A file on its way; without [`commit`](Self::commit) it was never there.
#[derive(Debug)]
pub struct RowsFile {
    file: AtomicFile,
    path: PathBuf,
    format: Format,
    replace: Replace,
    n_answers: usize,
}

impl RowsFile {
    /// A file of this name, in the format that its name or `asked` says.
    ///
    /// # Errors
    /// If the name says another format, or is taken by something that is not replaced: a file of a table, a run or a
    /// model, or one that the session reads.
    pub fn create(session: &Session, path: &Path, asked: Option<Format>, replace: Replace) -> Result<Self, QueryError> {
        let path = local(path)?;
        check(session, &path, replace)?;
        let format = Format::of_file(&path, asked)?;
        // A link is not replaced, but what it leads to.
        let path = io::resolved(&path);
        io::remove_halves(&path)?;
        let file = AtomicFile::create(&path)?;
        Ok(Self { file, path, format, replace, n_answers: 0 })
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The format of its rows.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Says that a further answer begins.
    ///
    /// # Errors
    /// If there is one already, and the format has room for one.
    pub(super) fn begin_answer(&mut self) -> Result<(), QueryError> {
        self.n_answers += 1;
        if self.n_answers > 1 && self.format.holds_one_answer() {
            return Err(QueryError::OneAnswer { path: self.path.clone(), format: self.format.name() });
        }
        Ok(())
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), QueryError> {
        Ok(self.file.write_all(bytes).map_err(|source| IoError::new("write", &self.path, source))?)
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// If it cannot be written, or the name is taken by now by what is not replaced.
    pub fn commit(mut self, session: &Session) -> Result<(), QueryError> {
        check(session, &self.path, self.replace)?;
        self.file.flush().map_err(|source| IoError::new("write", &self.path, source))?;
        Ok(self.file.commit()?)
    }
}

/// A local path of a name or a `file://` URL.
fn local(path: &Path) -> Result<PathBuf, QueryError> {
    if hosted::is_remote(path) {
        return Err(QueryError::NotWritten { path: path.to_owned(), why: "it is not a local file" });
    }
    Ok(hosted::local(path)?)
}

fn check(session: &Session, path: &Path, replace: Replace) -> Result<(), QueryError> {
    let refuse = |why: &'static str| Err(QueryError::NotWritten { path: path.to_owned(), why });
    table::check_outside(path).map_err(|NotOutside { path, why }| QueryError::NotWritten { path, why })?;
    let Ok(metadata) = path.metadata() else { return Ok(()) };
    if session.has_read(path) {
        return refuse("it is read here");
    }
    if replace == Replace::Never {
        return refuse("it exists already");
    }
    if !metadata.is_file() {
        // A pipe or a device is written to.
        return Ok(());
    }
    if table::is_contract_file(path) {
        return refuse("it is a file of piref's own");
    }
    if path.extension().is_some() && Format::of_file(path, None).is_err() {
        return refuse("it exists already, and its extension is none of rows");
    }
    Ok(())
}
