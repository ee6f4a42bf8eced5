//! What lives under a URL, on the command line: fetched before the work begins, with a line of talk each.

use std::path::{Path, PathBuf};

use super::Printer;
use crate::selection::FurtherTables;
use crate::storage::Location;
use crate::table::{TableError, hosted, reference_folder};
use crate::train;

/// A local path of what a user named: the path itself, or the copy of what is under a URL.
pub(super) fn local(name: &Path, printer: &mut Printer) -> Result<PathBuf, TableError> {
    if matches!(Location::of(name)?, Location::Local(_)) {
        return hosted::local(name);
    }
    // Before what may take a while.
    printer.note(format_args!("fetching `{}`, unless there is a copy", name.display()));
    let path = hosted::local(name)?;
    printer.note(format_args!("its copy: `{}`", path.display()));
    Ok(path)
}

/// Whether a local path leads nowhere; whether an object exists is seen when it is fetched.
pub(super) fn is_missing(name: &Path) -> bool {
    matches!(Location::of(name), Ok(Location::Local(path)) if !path.exists())
}

/// Puts the copies of the tables of a run in the place of their URLs; of a further reference, the copy of the table it is.
pub(super) fn fetch_tables(plan: &mut train::Plan, printer: &mut Printer) -> Result<(), TableError> {
    let mut tables = vec![&mut plan.table];
    match &mut plan.selection.further_tables {
        FurtherTables::None => {}
        FurtherTables::Joined(further) => tables.extend(further),
        FurtherTables::Mixed { further, .. } => tables.extend(further.iter_mut().map(|(table, _)| table)),
    }
    tables.extend(plan.eval.as_mut().and_then(|eval| eval.table.as_mut()));
    let is_remote = tables.iter().any(|table| hosted::is_remote(table));
    let reference = if is_remote { plan.reference.take() } else { None };
    for table in tables {
        let name = match &reference {
            Some(reference) => reference_folder(table, reference),
            None => table.clone(),
        };
        *table = local(&name, printer)?;
    }
    Ok(())
}
