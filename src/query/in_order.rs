//! Plans whose rows always come in the same order.
//!
//! A sum of floats depends on the order of its rows, and so do `first_value`, `string_agg` and `LIMIT` without an `ORDER
//! BY`. In a session that promises the same answer each time nothing runs beside anything else: one partition, whose files
//! are read by name. What has several partitions all the same, as `UNION ALL`, gives the rows of one after those of another
//! here, where DataFusion takes whichever comes first.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::config::ConfigOptions;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    ReplaceChildrenOptions,
};

/// Batches read ahead of who takes them.
const READ_AHEAD: usize = 2;

/// Reads partitions one after the other wherever they become one. It has to come last.
#[derive(Debug)]
pub(super) struct InOrder;

impl PhysicalOptimizerRule for InOrder {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let in_order = plan.transform_up(|node| {
            let is_any = node.downcast_ref::<CoalescePartitionsExec>().is_some();
            Ok(if is_any { Transformed::yes(one_after_another(node)) } else { Transformed::no(node) })
        })?;
        // A result of several partitions would be gathered as they come.
        let plan = in_order.data;
        Ok(match plan.output_partitioning().partition_count() {
            0 | 1 => plan,
            _ => one_after_another(Arc::new(CoalescePartitionsExec::new(plan))),
        })
    }

    fn name(&self) -> &'static str {
        "in_order"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn one_after_another(gathers: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    Arc::new(OneAfterAnother { gathers })
}

/// The rows of the first partition, then those of the second, and so on.
#[derive(Debug)]
struct OneAfterAnother {
    /// What would take them in any order, with what else it says of itself.
    gathers: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for OneAfterAnother {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OneAfterAnother")?;
        self.gathers.fetch().map_or(Ok(()), |fetch| write!(f, ": fetch={fetch}"))
    }
}

impl ExecutionPlan for OneAfterAnother {
    fn name(&self) -> &'static str {
        "OneAfterAnother"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.gathers.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.gathers.children()
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion, DataFusionError>,
    ) -> Result<TreeNodeRecursion, DataFusionError> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn fetch(&self) -> Option<usize> {
        self.gathers.fetch()
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        Ok(one_after_another(Arc::clone(&self.gathers).replace_children(children, options)?))
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream, DataFusionError> {
        let inputs: Vec<Arc<dyn ExecutionPlan>> = self.children().into_iter().cloned().collect();
        let mut stream = RecordBatchReceiverStream::builder(self.schema(), READ_AHEAD);
        let (sender, fetch) = (stream.tx(), self.fetch());
        stream.spawn(async move {
            let mut left = fetch.unwrap_or(usize::MAX);
            for input in inputs {
                for partition in 0..input.output_partitioning().partition_count() {
                    let mut batches = input.execute(partition, Arc::clone(&context))?;
                    while let Some(batch) = poll_fn(|ctx| batches.as_mut().poll_next(ctx)).await {
                        let batch = batch?;
                        let n_rows = batch.num_rows().min(left);
                        left -= n_rows;
                        // Nobody reads on, or there are enough.
                        if sender.send(Ok(batch.slice(0, n_rows))).await.is_err() || left == 0 {
                            return Ok(());
                        }
                    }
                }
            }
            Ok(())
        });
        Ok(stream.build())
    }
}
