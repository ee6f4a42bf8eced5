//! Parquet files without the bounds of their floats: these leave NaN out.
//!
//! Of a column `[0.5, NaN]` a file says that it lies between 0.5 and 0.5 (Parquet format, `ColumnOrder`: readers must not
//! rely on bounds where NaN matters). DataFusion 55 takes the two bounds for all values: it reads a column as constant
//! where they are equal, and passes over files, row groups and pages with nothing above 1 although NaN is above every
//! number, in `ORDER BY` as in `>`. So scans are planned without these bounds.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::DataFusionError;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, conjunction, split_conjunction};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

/// Takes the bounds of floats from every scan of Parquet files. It has to come after the rules that give scans their
/// filters.
#[derive(Debug)]
pub(super) struct FloatStatistics;

impl PhysicalOptimizerRule for FloatStatistics {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let rewritten = plan.transform_up(|node| {
            let Some(scan) = node.downcast_ref::<DataSourceExec>() else { return Ok(Transformed::no(node)) };
            let Some((config, source)) = scan.downcast_to_file_source::<ParquetSource>() else {
                return Ok(Transformed::no(node));
            };
            let config = without_bounds(config, source);
            Ok(Transformed::yes(Arc::new(scan.clone().with_data_source(Arc::new(config))) as Arc<dyn ExecutionPlan>))
        })?;
        Ok(rewritten.data)
    }

    fn name(&self) -> &'static str {
        "float_statistics"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn without_bounds(config: &FileScanConfig, source: &ParquetSource) -> FileScanConfig {
    let schema = config.file_source().table_schema().table_schema();
    let groups = config.file_groups.iter().map(|group| {
        let files = group.iter().map(|file| without_bounds_of_file(file, schema)).collect();
        let statistics = group.file_statistics(None).cloned();
        let group = FileGroup::new(files);
        match statistics {
            Some(statistics) => group.with_statistics(Arc::new(statistics)),
            None => group,
        }
    });
    let source = without_pruning_by_floats(source, schema);
    FileScanConfigBuilder::from(config.clone()).with_file_groups(groups.collect()).with_source(Arc::new(source)).build()
}

/// Unless a scan has to apply its predicate, it only passes over what holds no row of it, and parts of the predicate may be
/// missing there.
fn without_pruning_by_floats(source: &ParquetSource, schema: &Schema) -> ParquetSource {
    let of_float = |part: &Arc<dyn PhysicalExpr>| {
        let columns = collect_columns(part);
        let mut types = columns.iter().filter_map(|column| schema.field_with_name(column.name()).ok());
        types.any(|field| field.data_type().is_floating())
    };
    let Some(predicate) = source.filter().filter(of_float) else { return source.clone() };
    let mut options = source.table_parquet_options().clone();
    if options.global.pushdown_filters {
        options.global.pruning = false;
        options.global.enable_page_index = false;
        return source.clone().with_table_parquet_options(options);
    }
    let parts = split_conjunction(&predicate).into_iter();
    source.with_predicate(conjunction(parts.filter(|part| !of_float(part)).cloned()))
}

fn without_bounds_of_file(file: &PartitionedFile, schema: &Schema) -> PartitionedFile {
    let mut file = file.clone();
    if let Some(statistics) = &mut file.statistics {
        let columns = &mut Arc::make_mut(statistics).column_statistics;
        for (column, _) in columns.iter_mut().zip(schema.fields()).filter(|(_, field)| field.data_type().is_floating())
        {
            column.min_value = Precision::Absent;
            column.max_value = Precision::Absent;
        }
    }
    file
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Float16Array, Float32Array, Float64Array, Int64Array, RecordBatch};
    use half::f16;
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

    use crate::io::AtomicFile;
    use crate::query::Session;

    /// Row groups of two rows: 0.5 and NaN, then 0.5 and 0.25.
    fn file(path: &std::path::Path) {
        let floats = [0.5, f32::NAN, 0.5, 0.25];
        let columns: [(&str, ArrayRef); 5] = [
            ("id", std::sync::Arc::new(Int64Array::from(vec![0, 1, 2, 3]))),
            ("half", std::sync::Arc::new(Float16Array::from_iter_values(floats.map(f16::from_f32)))),
            ("single", std::sync::Arc::new(Float32Array::from_iter_values(floats))),
            ("double", std::sync::Arc::new(Float64Array::from_iter_values(floats.map(f64::from)))),
            ("same", std::sync::Arc::new(Float64Array::from(vec![0.5, f64::NAN, 0.5, 0.5]))),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(2)).build();
        let mut writer =
            ArrowWriter::try_new(AtomicFile::create(path).unwrap(), rows.schema(), Some(properties)).unwrap();
        writer.write(&rows).unwrap();
        writer.into_inner().unwrap().commit().unwrap();
    }

    #[test]
    fn nan_is_read_compared_and_ordered_as_a_float_above_all_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        file(&path);
        let mut session = Session::new().unwrap();
        session.register(&path).unwrap();
        let ids = |sql: &str| {
            let batches = session.query(sql).unwrap();
            let text = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
            let cells = text.lines().skip(3).filter(|line| !line.starts_with('+'));
            cells.map(|line| line.trim_matches(['|', ' ']).to_owned()).collect::<Vec<_>>().join(" ")
        };
        for column in ["half", "single", "double", "same"] {
            assert_eq!(ids(&format!("SELECT id FROM t WHERE isnan({column}::DOUBLE)")), "1", "{column}");
            assert_eq!(ids(&format!("SELECT id FROM t WHERE {column} > 1")), "1", "{column}");
            assert_eq!(ids(&format!("SELECT id FROM t WHERE {column} > 1 AND id < 2")), "1", "{column}");
            assert_eq!(ids(&format!("SELECT id FROM t ORDER BY {column} DESC LIMIT 1")), "1", "{column}");
            assert_eq!(ids(&format!("SELECT max({column}) FROM t")), "NaN", "{column}");
        }
        // What has other bounds is still passed over by them.
        assert_eq!(ids("SELECT id FROM t WHERE id = 3"), "3");
    }
}
