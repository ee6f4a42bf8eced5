//! `[train.pairs]`: which pairs of which tables are trained on, in which order, and which are held out.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::PipelineError;
use super::values::{Decay, Positive, number};
use crate::selection::{FurtherTables, PassOrder, Selection};

/// `[train.pairs]`: which pairs are trained on.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairsSettings {
    /// The log-prob tables to train from, one or more. Default: `runs/<name>/reference`. The flag is `--table`.
    #[arg(skip)]
    pub tables: Option<Vec<PathBuf>>,

    /// Weights of several tables, in their order, e.g. `0.7,0.3`: the tables take turns in this proportion, and an epoch
    /// lasts until each was read once. Default: all tables are one.
    #[arg(long, value_name = "WEIGHT,…", value_delimiter = ',', value_parser = number::<Positive>)]
    pub table_weights: Option<Vec<Positive>>,

    /// Train only on pairs of which this SQL predicate holds, over the columns of `pairs` and `scored` in `piref sql`,
    /// e.g. `prompt_tokens < 512 AND ref_margin < 0`.
    #[arg(id = "where", long = "where", value_name = "SQL", allow_hyphen_values = true)]
    #[serde(rename = "where")]
    pub predicate: Option<String>,

    /// Take the pairs of an epoch in the order of these SQL expressions, e.g. `chosen_tokens, ref_margin DESC`, instead of
    /// shuffling them.
    #[arg(long, value_name = "SQL", allow_hyphen_values = true)]
    pub order_by: Option<String>,

    /// Take the pairs of an epoch from this file: a `pair_id` a line, in this order, as often as it is there, and no
    /// others.
    #[arg(long, value_name = "FILE")]
    pub curriculum: Option<PathBuf>,

    /// Share of the prompts to hold out from training, all pairs of a prompt together, in [0, 1). A prompt is held out by
    /// its hash: under every seed, on every machine, and when the data grow.
    #[arg(long, value_name = "SHARE", value_parser = number::<Decay>)]
    pub eval_share: Option<Decay>,
}

impl PairsSettings {
    /// Whether they say in which order an epoch goes, so that it is not shuffled unless that is asked for.
    pub(super) fn are_ordered(&self) -> bool {
        self.order_by.is_some() || self.curriculum.is_some()
    }

    /// The first table and the selection; `default` is the table where none is named.
    ///
    /// # Errors
    /// If two settings contradict each other, or weights and tables are not as many.
    pub(super) fn selection(
        &self,
        default: impl FnOnce() -> Result<PathBuf, PipelineError>,
        is_shuffled: bool,
    ) -> Result<(PathBuf, Selection), PipelineError> {
        let refuse = |setting, is_wrong, reason| {
            if is_wrong { Err(PipelineError::Pairs { setting, reason }) } else { Ok(()) }
        };
        let is_curriculum = self.curriculum.is_some();
        refuse("order_by", self.order_by.is_some() && is_curriculum, "`curriculum` has an order of its own")?;
        refuse("order_by", self.order_by.is_some() && is_shuffled, "`train.shuffle` is on")?;
        refuse("curriculum", is_curriculum && is_shuffled, "`train.shuffle` is on")?;
        refuse("curriculum", is_curriculum && self.table_weights.is_some(), "`table_weights` are another order")?;

        let (table, further) = match self.tables.as_deref() {
            None => (default()?, Vec::new()),
            Some([]) => return Err(PipelineError::Missing { key: "train.pairs.tables", flag: "--table" }),
            Some([first, further @ ..]) => (first.clone(), further.to_vec()),
        };
        let further_tables = match &self.table_weights {
            None if further.is_empty() => FurtherTables::None,
            None => FurtherTables::Joined(further),
            Some(weights) => mixed(further, weights)?,
        };
        let pass_order = match (&self.order_by, &self.curriculum) {
            (_, Some(path)) => PassOrder::Curriculum(path.clone()),
            (Some(sql), None) => PassOrder::By(sql.clone()),
            (None, None) => PassOrder::Table,
        };
        let held_out = self.eval_share.map(Decay::get).filter(|share| *share > 0.0);
        Ok((table, Selection { further_tables, predicate: self.predicate.clone(), pass_order, held_out }))
    }

    /// These settings with another list of tables, where one is given.
    pub(super) fn with_table(&self, table: Option<&Path>) -> Self {
        let tables = table.map(|table| vec![table.to_owned()]).or_else(|| self.tables.clone());
        Self { tables, ..self.clone() }
    }
}

fn mixed(further: Vec<PathBuf>, weights: &[Positive]) -> Result<FurtherTables, PipelineError> {
    let (n_tables, n_weights) = (further.len() + 1, weights.len());
    match weights {
        [first, rest @ ..] if n_tables > 1 && n_tables == n_weights => {
            let rest = rest.iter().map(|weight| weight.get());
            Ok(FurtherTables::Mixed { first: first.get(), further: further.into_iter().zip(rest).collect() })
        }
        _ => Err(PipelineError::TableWeights { n_tables, n_weights }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Pipeline, file};
    use crate::train::{Order, Plan, Start};

    fn plan(text: &str) -> Result<Plan, String> {
        let settings = file::parse(&format!("model = 'm'\n{text}")).map_err(|error| error.to_string())?;
        let pipeline = Pipeline::from_flags(&settings).unwrap();
        pipeline.train_plan(None, Some(Path::new("o")), Start::Resume).map_err(|error| error.to_string())
    }

    fn selection(text: &str) -> (PathBuf, Selection) {
        let plan = plan(&format!("[train.pairs]\ntables = ['a', 'b']\n{text}")).unwrap();
        (plan.table, plan.selection)
    }

    #[test]
    fn tables_are_one_or_take_turns() {
        let (table, found) = selection("");
        assert_eq!((table.to_str(), found.further_tables), (Some("a"), FurtherTables::Joined(vec!["b".into()])));
        let mixed = FurtherTables::Mixed { first: 0.7, further: vec![("b".into(), 0.3)] };
        assert_eq!(selection("table_weights = [0.7, 0.3]").1.further_tables, mixed);
        let alone = plan("[train.pairs]\ntables = ['a']\nwhere = 'true'\neval_share = 0.1").unwrap();
        let want = Selection { predicate: Some("true".into()), held_out: Some(0.1), ..Selection::default() };
        assert_eq!((alone.table.to_str(), alone.selection), (Some("a"), want));
    }

    #[test]
    fn an_order_is_not_shuffled_unless_that_is_asked_for() {
        let order = |text: &str| plan(&format!("{text}\ntables = ['a']")).unwrap().course.order;
        assert_eq!(order("[train.pairs]"), Order::Shuffled { seed: 42 });
        assert_eq!(order("[train.pairs]\neval_share = 0.0\nwhere = 'true'"), Order::Shuffled { seed: 42 });
        assert_eq!(order("[train.pairs]\norder_by = 'chosen_tokens'"), Order::Table);
        assert_eq!(order("[train.pairs]\ncurriculum = 'c.csv'"), Order::Table);
        let plan = plan("[train.pairs]\ntables = ['a']\ncurriculum = 'c.csv'").unwrap();
        assert_eq!(plan.selection.pass_order, PassOrder::Curriculum("c.csv".into()));
    }

    #[test]
    fn contradictions_are_named() {
        for (text, want) in [
            (
                "[train]\nshuffle = true\n[train.pairs]\norder_by = 'x'",
                "`train.pairs.order_by` is set, and `train.shuffle` is on",
            ),
            (
                "[train]\nshuffle = true\n[train.pairs]\ncurriculum = 'x'",
                "`train.pairs.curriculum` is set, and `train.shuffle` is on",
            ),
            (
                "[train.pairs]\ncurriculum = 'x'\norder_by = 'x'",
                "`train.pairs.order_by` is set, and `curriculum` has an order of its own",
            ),
            (
                "[train.pairs]\ncurriculum = 'x'\ntables = ['a', 'b']\ntable_weights = [1, 1]",
                "`train.pairs.curriculum` is set, and `table_weights` are another order",
            ),
            (
                "[train.pairs]\ntables = ['a', 'b']\ntable_weights = [1]",
                "expected a weight for each of 2 tables, found 1",
            ),
            ("[train.pairs]\ntables = ['a']\ntable_weights = [1]", "expected at least 2 tables for 1 weights, found 1"),
            ("[train.pairs]\ntables = []", "`train.pairs.tables` is not set"),
            (
                "[train.pairs]\neval_share = 1.0",
                "line 3: `eval_share` in `[train.pairs]`: expected a number in [0, 1), found `1`",
            ),
        ] {
            assert_eq!(plan(text).unwrap_err(), want, "{text}");
        }
    }
}
