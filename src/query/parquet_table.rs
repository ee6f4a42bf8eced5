//! Parquet files as one table that DataFusion scans in parallel, reading only the columns a query names.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::config::TableParquetOptions;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::error::DataFusionError;

use crate::io::{self, IoError};
use crate::parquet_check;
use crate::query::QueryError;
use crate::table;
use crate::table::schema::{evals, signals};

/// The table in Parquet files: the columns of all of them, each null where a file lacks it.
///
/// # Errors
/// If one of them is damaged, or has a column of another type than a file before it.
pub(super) fn open(files: &[PathBuf]) -> Result<Arc<dyn TableProvider>, QueryError> {
    let mut fields: Vec<FieldRef> = Vec::new();
    for (n_before, path) in files.iter().enumerate() {
        let checked = parquet_check::open(io::open(path)?)
            .map_err(|source| QueryError::Parquet { path: path.to_owned(), source })?;
        table::refuse_other_versions(path)?;
        let schema = checked.builder.schema();
        for field in &mut fields {
            if schema.field_with_name(field.name()).is_err() {
                *field = nullable(field);
            }
        }
        for field in schema.fields() {
            match fields.iter_mut().find(|known| known.name() == field.name()) {
                Some(known) if known.data_type() == field.data_type() => {
                    if field.is_nullable() {
                        *known = nullable(known);
                    }
                }
                Some(known) => {
                    let why = format!(
                        "expected {} in `{}` as in the files before, found {}",
                        known.data_type(),
                        field.name(),
                        field.data_type()
                    );
                    return Err(QueryError::Files { path: path.clone(), why });
                }
                None => fields.push(if n_before == 0 { Arc::clone(field) } else { nullable(field) }),
            }
        }
    }
    of_files(files, Arc::new(Schema::new(fields)))
}

fn nullable(field: &FieldRef) -> FieldRef {
    Arc::new(field.as_ref().clone().with_nullable(true))
}

/// The evaluations of a run, one file each.
///
/// # Errors
/// If one of them is damaged, or follows another contract.
pub(super) fn open_evals(files: &[PathBuf]) -> Result<Arc<dyn TableProvider>, QueryError> {
    for file in files {
        table::check_evals(file)?;
    }
    of_files(files, Arc::new(evals::schema().as_ref().clone()))
}

/// The signals of a table, one file a part that has them.
///
/// # Errors
/// If one of them is damaged, or follows another contract.
pub(super) fn open_signals(files: &[PathBuf]) -> Result<Arc<dyn TableProvider>, QueryError> {
    for file in files {
        table::check_signals(file)?;
    }
    of_files(files, Arc::new(signals::schema().as_ref().clone()))
}

/// The table in these files, which all have this schema.
pub(super) fn of_files(files: &[PathBuf], schema: SchemaRef) -> Result<Arc<dyn TableProvider>, QueryError> {
    let wrap = |source: DataFusionError| QueryError::engine(source);
    let mut urls = Vec::with_capacity(files.len());
    for file in files {
        urls.push(ListingTableUrl::parse(file_url(file)?).map_err(wrap)?);
    }
    // An empty extension: the files are named one by one, whatever they are called.
    let options = ListingOptions::new(Arc::new(format_that_reads_all())).with_file_extension("");
    let config = ListingTableConfig::new_with_multi_paths(urls).with_listing_options(options).with_schema(schema);
    Ok(Arc::new(ListingTable::try_new(config).map_err(wrap)?))
}

/// Parquet of which every row is read. What a file says of its own pages and row groups, their bounds, their nulls, their
/// filters, nobody has checked: a file that says less than it holds would lose the rows in between without a word.
fn format_that_reads_all() -> ParquetFormat {
    let mut options = TableParquetOptions::default();
    options.global.pruning = false;
    options.global.enable_page_index = false;
    options.global.bloom_filter_on_read = false;
    ParquetFormat::default().with_options(options)
}

/// A path as a URL: DataFusion would read `*`, `?` and `[` in a bare path as a pattern.
fn file_url(path: &Path) -> Result<String, QueryError> {
    let path = path.canonicalize().map_err(|source| IoError::new("resolve", path, source))?;
    let mut url = String::from("file://");
    for &byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => url.push(char::from(byte)),
            // Writing to a string does not fail.
            _ => _ = write!(url, "%{byte:02X}"),
        }
    }
    Ok(url)
}
