//! Rows of log-prob tables by SQL: those a predicate holds of, in the order of expressions.
//!
//! DataFusion may read a table in any order, so each row carries its number as a column, which is what a query asks for.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::catalog::{self, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::sql::parser::DFParser;

use crate::query::{QueryError, Resources, RowOrder, Session, nesting, parquet_table, views};
use crate::table::{ReferenceTable, TableError};

/// Name of the column with the number of a row; underscores in front where a table has it already.
const NUMBER: &str = "piref_row";

/// A column every table has and that is quickly read: for a query that names no column of the table.
const SMALL_COLUMN: &str = "prompt_tokens";

/// Batches read ahead of the query.
const READ_AHEAD: usize = 2;

/// Which rows, and in which order, in SQL over the columns of `pairs` and `scored`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowQuery<'a> {
    /// What comes after `WHERE`; `None` for all rows.
    pub predicate: Option<&'a str>,
    /// What comes after `ORDER BY`; `None` for the order of the tables.
    pub order_by: Option<&'a str>,
}

impl RowQuery<'_> {
    /// Whether it asks for anything but all rows as they stand.
    pub fn is_any(&self) -> bool {
        self.predicate.is_some() || self.order_by.is_some()
    }
}

/// The rows of these tables, counted from 0 over all of them one after the other, that the predicate holds of, in the
/// order asked for; rows that are equal in it stay in the order of the tables.
///
/// Several tables are one, with the columns that all have with one type. As in `piref sql`, nulls come last, and first
/// under `DESC`; the query may look into other files by path (`pair_id IN (SELECT pair_id FROM 'good.csv')`).
///
/// # Errors
/// If the SQL is wrong, or a table or another file cannot be read.
pub fn pair_rows(tables: &[ReferenceTable], query: RowQuery<'_>) -> Result<Vec<u64>, QueryError> {
    let numbered = NumberedPairs::new(tables);
    let (number, schema) = (numbered.number().to_owned(), Arc::clone(&numbered.schema));
    let path = tables.first().map_or(Path::new(""), ReferenceTable::path);
    // What is selected is a function of the tables, also where SQL leaves an order open.
    let mut session = Session::with(Resources { row_order: RowOrder::OfFiles, ..Resources::default() })?;
    session.add("pairs", path, Arc::new(numbered))?;
    let files: Vec<PathBuf> = tables.iter().flat_map(ReferenceTable::signals).collect();
    let signals = if files.is_empty() {
        None
    } else {
        session.add("signals", path, parquet_table::open_signals(&files)?)?;
        Some("signals")
    };
    session.add_view("scored", path, &views::scored("scored", "pairs", &schema, signals))?;

    let mut sql = format!("SELECT \"{number}\" FROM scored");
    if let Some(predicate) = query.predicate {
        // By itself: brackets that do not match here would match the ones around it.
        nesting::check(predicate)?;
        DFParser::parse_sql_into_expr(predicate).map_err(|source| session.error(source))?;
        // A line of its own each, for a comment ends with the line.
        sql = format!("{sql}\nWHERE (\n{predicate}\n)");
    }
    if let Some(order_by) = query.order_by {
        sql = format!("{sql}\nORDER BY {order_by}\n, \"{number}\"");
    }
    let mut rows = Vec::new();
    // One query: what stands behind a semicolon is no order.
    for batch in session.read(&sql)? {
        let batch = batch?;
        let numbers = batch.column(0).as_primitive::<Int64Type>();
        rows.extend(numbers.values().iter().map(|number| number.unsigned_abs()));
    }
    if query.order_by.is_none() {
        rows.sort_unstable();
    }
    Ok(rows)
}

/// The pairs of several tables as one, each row with its number.
#[derive(Debug)]
struct NumberedPairs {
    tables: Arc<[ReferenceTable]>,
    /// The number comes last.
    schema: SchemaRef,
}

impl NumberedPairs {
    fn new(tables: &[ReferenceTable]) -> Self {
        let (first, rest) = tables.split_first().map_or((None, [].as_slice()), |(first, rest)| (Some(first), rest));
        let columns = first.into_iter().flat_map(|table| table.schema().fields());
        let mut fields: Vec<FieldRef> = columns.filter_map(|field| common(field, rest)).collect();
        let mut number = NUMBER.to_owned();
        while fields.iter().any(|field| *field.name() == number) {
            number.insert(0, '_');
        }
        fields.push(Arc::new(Field::new(number, DataType::Int64, false)));
        Self { tables: tables.into(), schema: Arc::new(Schema::new(fields)) }
    }

    /// Name of the column with the number.
    fn number(&self) -> &str {
        self.schema.fields().last().map_or(NUMBER, |field| field.name())
    }
}

/// The column of a table as all the others have it too, if they do.
fn common(field: &FieldRef, others: &[ReferenceTable]) -> Option<FieldRef> {
    let mut is_nullable = field.is_nullable();
    for table in others {
        let other = table.schema().field_with_name(field.name()).ok()?;
        if other.data_type() != field.data_type() {
            return None;
        }
        is_nullable |= other.is_nullable();
    }
    Some(Arc::new(Field::new(field.name(), field.data_type().clone(), is_nullable)))
}

type Planning<'a> = Pin<Box<dyn Future<Output = Result<Arc<dyn ExecutionPlan>, DataFusionError>> + Send + 'a>>;

impl TableProvider for NumberedPairs {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// What `async_trait` makes of the trait's method. Filters are left to DataFusion.
    fn scan<'life0, 'life1, 'life2, 'life3, 'async_trait>(
        &'life0 self,
        _: &'life1 dyn catalog::Session,
        projection: Option<&'life2 Vec<usize>>,
        _: &'life3 [Expr],
        limit: Option<usize>,
    ) -> Planning<'async_trait>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        'life3: 'async_trait,
        Self: 'async_trait,
    {
        let plan = || -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
            let schema = match projection {
                None => Arc::clone(&self.schema),
                Some(columns) => Arc::new(self.schema.project(columns)?),
            };
            let scan = Scan {
                tables: Arc::clone(&self.tables),
                schema: Arc::clone(&schema),
                number: self.number().to_owned(),
            };
            let scan: Arc<dyn PartitionStream> = Arc::new(scan);
            Ok(Arc::new(StreamingTableExec::try_new(schema, vec![scan], None, [], false, limit)?))
        };
        Box::pin(std::future::ready(plan()))
    }
}

/// Some columns of the tables, one after the other.
#[derive(Debug, Clone)]
struct Scan {
    tables: Arc<[ReferenceTable]>,
    schema: SchemaRef,
    /// Name of the column with the number, which may be one of them.
    number: String,
}

impl PartitionStream for Scan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStream::builder(Arc::clone(&self.schema), READ_AHEAD);
        let (sender, scan) = (stream.tx(), self.clone());
        stream.spawn_blocking(move || {
            let send = |batch| sender.blocking_send(batch).is_ok();
            scan.read(|batch| send(Ok(batch))).map_err(|error| DataFusionError::External(Box::new(error)))
        });
        stream.build()
    }
}

impl Scan {
    /// Hands over all batches, until nobody takes them any more.
    fn read(&self, mut take: impl FnMut(RecordBatch) -> bool) -> Result<(), TableError> {
        let names = self.schema.fields().iter().map(|field| field.name().as_str());
        let mut columns: Vec<&str> = names.filter(|name| *name != self.number).collect();
        if columns.is_empty() {
            columns.push(SMALL_COLUMN);
        }
        let mut n_rows = 0;
        for table in self.tables.iter() {
            for batch in table.batches(&columns)? {
                let batch = batch?;
                let numbered = self
                    .numbered(&batch, n_rows)
                    .map_err(|source| TableError::Decode { path: table.path().to_owned(), source })?;
                n_rows += i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
                if !take(numbered) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The columns of the query, of a batch whose first row has this number.
    fn numbered(&self, batch: &RecordBatch, first: i64) -> Result<RecordBatch, ArrowError> {
        let column = |field: &FieldRef| -> Result<ArrayRef, ArrowError> {
            if *field.name() == self.number {
                return Ok(Arc::new(Int64Array::from_iter_values((first..).take(batch.num_rows()))));
            }
            Ok(Arc::clone(batch.column(batch.schema_ref().index_of(field.name())?)))
        };
        let columns = self.schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Hint;
    use crate::io;
    use crate::table::tests::{batch, provenance};
    use crate::table::{Manifest, part_name, write_part};

    /// A table of pairs `0..n` in parts of three.
    fn table(folder: &Path, n: u32) -> ReferenceTable {
        io::create_dir(folder).unwrap();
        let starts = (0..n).step_by(3);
        let parts = starts.enumerate().map(|(idx, start)| {
            write_part(&folder.join(part_name(idx)), &batch(start..(start + 3).min(n)), &provenance()).unwrap()
        });
        Manifest::new(provenance(), parts.collect(), None).write(folder).unwrap();
        ReferenceTable::open(folder).unwrap()
    }

    fn query<'a>(predicate: &'a str, order_by: &'a str) -> RowQuery<'a> {
        let given = |text: &'a str| Some(text).filter(|text| !text.is_empty());
        RowQuery { predicate: given(predicate), order_by: given(order_by) }
    }

    #[test]
    fn rows_are_counted_over_parts_and_tables() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let tables = [table(folders[0].path(), 8), table(folders[1].path(), 4)];
        // Pair i has i + 1 chosen tokens.
        for (predicate, order_by, want) in [
            ("chosen_tokens % 3 = 0", "", vec![2, 5, 10]),
            ("", "chosen_tokens DESC", vec![7, 6, 5, 4, 3, 11, 2, 10, 1, 9, 0, 8]),
            ("chosen_tokens < 3 -- few", "pair_id -- and so on", vec![0, 8, 1, 9]),
            ("ref_margin IS NOT NULL AND chosen_chars > 0 AND piref_row IN (3, 9)", "", vec![3, 9]),
            ("chosen_tokens > (SELECT avg(chosen_tokens) FROM pairs) + 2", "", vec![5, 6, 7]),
            ("pair_id = 'pair-0' AND (SELECT count(*) FROM pairs) = 12", "", vec![0, 8]),
            ("NULL", "", vec![]),
        ] {
            let found = pair_rows(&tables, query(predicate, order_by)).unwrap();
            assert_eq!(found, want, "WHERE {predicate} ORDER BY {order_by}");
        }
    }

    #[test]
    fn other_files_can_be_asked() {
        let folder = tempfile::tempdir().unwrap();
        let tables = [table(&folder.path().join("table"), 5)];
        let list = folder.path().join("good.csv");
        io::write(&list, b"pair_id\npair-3\npair-1\n").unwrap();
        let predicate = format!("pair_id IN (SELECT pair_id FROM '{}')", list.display());
        assert_eq!(pair_rows(&tables, query(&predicate, "")).unwrap(), [1, 3]);
    }

    #[test]
    fn wrong_sql_is_refused_with_the_nearest_column() {
        let folder = tempfile::tempdir().unwrap();
        let tables = [table(folder.path(), 3)];
        let error = pair_rows(&tables, query("chosen_token > 1", "")).unwrap_err();
        assert_eq!(error.hint().unwrap(), "did you mean `chosen_tokens`?");
        for predicate in ["chosen_tokens >", "true) OR (true", "true; DROP TABLE pairs", ""] {
            let query = RowQuery { predicate: Some(predicate), order_by: None };
            let error = pair_rows(&tables, query).unwrap_err();
            assert!(matches!(error, QueryError::Sql { .. }), "{predicate}: {error}");
        }
    }

    #[test]
    fn a_part_that_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let tables = [table(folder.path(), 8)];
        io::remove(&folder.path().join(part_name(1))).unwrap();
        let error = pair_rows(&tables, query("chosen_tokens > 1", "")).unwrap_err();
        let QueryError::Sql { source, .. } = &error else { panic!("{error}") };
        assert!(source.to_string().contains(&part_name(1)), "{source}");
    }
}
