//! The tables of a session for an engine whose workers know nothing but files: of a plan that is sent away, a scan of
//! Parquet files says which files, and a scan of anything else of ours says nothing.

use std::path::Path;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::ListingTable;
use datafusion::datasource::{ViewTable, source_as_provider};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;

use crate::io::{self, AtomicFile};
use crate::query::session::Session;
use crate::query::{QueryError, parquet_table, quoted};

/// A table that can be scanned by whoever sees its files.
#[derive(Debug)]
pub struct Shipped {
    /// Its name in the session.
    pub name: String,
    /// Parquet files, or a view over such tables.
    pub table: Arc<dyn TableProvider>,
    /// Whether it is a copy, with the rows there were when it was made.
    pub is_copy: bool,
}

impl Session {
    /// All tables of the session, in the order of their names. What lies in Parquet files is taken as it is; of the others,
    /// text and Arrow files, a copy is made in `folder`, one file each.
    ///
    /// # Errors
    /// If a table that is copied cannot be read, or its rows do not fit into Parquet.
    pub fn shipped(&self, folder: &Path) -> Result<Vec<Shipped>, QueryError> {
        let mut shipped = Vec::new();
        for (number, name) in self.tables().into_iter().enumerate() {
            let table = self.provider(&name)?;
            let stays = is_of_files(table.as_ref()).map_err(|source| self.error(source))?;
            let table = if stays {
                table
            } else {
                let path = folder.join(format!("{number}.parquet"));
                self.copy(&name, &path)?;
                parquet_table::open(std::slice::from_ref(&path))?
            };
            shipped.push(Shipped { name, table, is_copy: !stays });
        }
        Ok(shipped)
    }

    /// Functions, limits and settings of the session; its tables with them.
    pub fn state(&self) -> SessionState {
        self.context().state()
    }

    fn provider(&self, name: &str) -> Result<Arc<dyn TableProvider>, QueryError> {
        // A bare reference: dots in a name stay part of it.
        self.wait(self.context().table_provider(TableReference::bare(name)))
    }

    fn copy(&self, name: &str, path: &Path) -> Result<(), QueryError> {
        let wrap = |source: ParquetError| QueryError::Copy { table: name.to_owned(), source };
        let Some(statement) = self.parse(&format!("SELECT * FROM {}", quoted(name)))?.pop_front() else {
            return Ok(());
        };
        let rows = self.execute(statement)?;
        if let Some(folder) = path.parent() {
            io::create_dir(folder)?;
        }
        let mut writer = ArrowWriter::try_new(AtomicFile::create(path)?, rows.schema(), None).map_err(wrap)?;
        for batch in rows {
            writer.write(&batch?).map_err(wrap)?;
        }
        Ok(writer.into_inner().map_err(wrap)?.commit()?)
    }
}

/// Whether all that a table reads is files that a plan names.
fn is_of_files(table: &dyn TableProvider) -> Result<bool, DataFusionError> {
    if table.is::<ListingTable>() {
        return Ok(true);
    }
    match table.downcast_ref::<ViewTable>() {
        Some(view) => scans_files(view.logical_plan()),
        None => Ok(false),
    }
}

fn scans_files(plan: &LogicalPlan) -> Result<bool, DataFusionError> {
    let mut all = true;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            all &= is_of_files(source_as_provider(&scan.source)?.as_ref())?;
        }
        Ok(if all { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines and separated values are copied, Parquet and views over it are not; the rows are the same.
    #[test]
    fn what_is_no_parquet_file_is_copied_with_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let lines = folder.path().join("lines.jsonl");
        io::write(&lines, b"{\"a\": 1, \"b\": [0.5]}\n{\"a\": 2, \"b\": null}\n").unwrap();
        let values = folder.path().join("values.csv");
        io::write(&values, b"x,y\n1,one\n").unwrap();
        let mut session = Session::new().unwrap();
        session.register(&lines).unwrap();
        session.register(&values).unwrap();
        session.query("CREATE VIEW numbers AS SELECT 1 AS n").unwrap();
        session.query("CREATE VIEW of_lines AS SELECT sum(a) AS s FROM lines").unwrap();

        let copies = folder.path().join("copies");
        let shipped = session.shipped(&copies).unwrap();
        let found: Vec<(&str, bool)> = shipped.iter().map(|table| (table.name.as_str(), table.is_copy)).collect();
        assert_eq!(found, [("lines", true), ("numbers", false), ("of_lines", true), ("values", true)]);

        let mut other = Session::new().unwrap();
        for table in shipped {
            other.add(&table.name, &copies, table.table).unwrap();
        }
        for sql in ["SELECT * FROM lines ORDER BY a", "SELECT * FROM \"values\"", "SELECT * FROM of_lines"] {
            assert_eq!(
                format!("{:?}", other.query(sql).unwrap()),
                format!("{:?}", session.query(sql).unwrap()),
                "{sql}"
            );
        }
    }
}
