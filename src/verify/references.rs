//! The further references of a table: each is a table in a folder of the first, and is verified like it.

use std::path::Path;

use super::contents::Contents;
use super::coverage::Coverage;
use super::rows::Sample;
use super::{Report, VerifyError, files, quoted};
use crate::io;
use crate::table::{MANIFEST, check_reference_name, references_folder};

/// Verifies the references in the folder of a table.
///
/// # Errors
/// If the folder cannot be listed. What is wrong with a reference is a finding.
pub(super) fn check(table: &Path, report: &mut Report<'_>) -> Result<(), VerifyError> {
    let folder = references_folder(table);
    if !folder.is_dir() {
        return Ok(());
    }
    for path in io::list(&folder)? {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if name.starts_with('.') || !path.is_dir() {
            continue;
        }
        if let Err(error) = check_reference_name(table, name) {
            report.table_error(&error);
        }
        if path.join(MANIFEST).is_file() {
            let n_pairs = one(&path, report)?;
            report.summary.references.insert(name.to_owned(), n_pairs);
        } else {
            report.note(format!("{} is unfinished: what it has is no part of the table yet", quoted(&path)));
        }
    }
    Ok(())
}

/// Verifies one; returns the rows it has.
fn one(path: &Path, report: &mut Report<'_>) -> Result<u64, VerifyError> {
    // What the summary says of the table itself stays.
    let (n_pairs, n_rejected) = (report.summary.n_pairs, report.summary.n_rejected);
    report.summary.n_pairs = 0;
    let contents = match Contents::find(path, report) {
        Ok(contents) => contents,
        Err(error) => {
            report.error("manifest", crate::error::chain(&error));
            report.summary.n_pairs = n_pairs;
            return Ok(0);
        }
    };
    contents.check_names(report)?;
    let mut coverage = Coverage::default();
    let provenance = files::check_parts(&contents, &mut coverage, &mut Sample::default(), report);
    files::check_rejects(&contents, &mut coverage, report);
    files::check_signals(&contents, report);
    if let Some(provenance) = &provenance {
        coverage.check(&provenance.sources, report);
    }
    let found = report.summary.n_pairs;
    (report.summary.n_pairs, report.summary.n_rejected) = (n_pairs, n_rejected);
    Ok(found)
}
