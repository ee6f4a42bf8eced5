//! From settings to runs: every run is a checked training plan before the first one begins.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::error::{RunError, SweepError};
use super::name::name;
use super::ranking::RankBy;
use crate::checkpoint;
use crate::pipeline::{Axis, Name, Overrides, Pipeline, PipelineError, Settings, Stage};
use crate::precompute;
use crate::table::{MANIFEST, ReferenceTable};
use crate::train::{self, Start};

/// Most runs of a sweep.
const MOST_RUNS: usize = 10_000;

/// The key that names a run of a list.
const NAME: &str = "name";

/// The key of the tables that are trained from.
const TABLES: &str = "train.pairs.tables";

/// What a sweep is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The pipeline file all runs have in common.
    pub pipeline: PathBuf,
    /// The folder of the sweep.
    pub out: PathBuf,
    /// The log-prob table; without one, that of the pipeline, which is made if it is not there.
    pub table: Option<PathBuf>,
    /// Settings, each with its values: there is a run for each combination.
    pub axes: Vec<Axis>,
    /// Settings of single runs, each combined with those of the axes.
    pub list: Option<Vec<Overrides>>,
    /// By what the runs are ranked; `None`: by their reward accuracy, held out if there is one.
    pub rank_by: Option<RankBy>,
    /// Steps that means are over, the last of a run.
    pub last_steps: NonZeroUsize,
    /// Whether to go on with what is there.
    pub start: Start,
}

/// A sweep, checked.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The folder of the sweep.
    pub out: PathBuf,
    /// The log-prob table of all runs.
    pub table: PathBuf,
    /// Stage one, where there is no table yet.
    pub(super) reference: Option<(Pipeline, precompute::Plan)>,
    /// The runs, in their order.
    pub runs: Vec<Run>,
    /// The settings they may differ in, dotted.
    pub settings: Vec<String>,
    /// By what they are ranked.
    pub rank_by: Option<RankBy>,
    /// Steps that means are over.
    pub last_steps: NonZeroUsize,
}

/// A run of a sweep.
#[derive(Debug, Clone)]
pub struct Run {
    /// The name of its folder.
    pub name: String,
    /// Its settings.
    pub pipeline: Pipeline,
    /// The same, checked.
    pub plan: train::Plan,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has no checkpoint.
    New,
    /// It has a checkpoint to go on from.
    Begun {
        /// Steps done.
        step: u64,
    },
    /// Its policy is written.
    Finished,
}

impl Plan {
    /// Makes the runs of a sweep.
    ///
    /// # Errors
    /// If there is nothing to sweep, if a setting is none of training, if two runs are one, or if the settings of a run
    /// do not go together; if the table is not there and cannot be made.
    pub fn new(request: Request) -> Result<Self, SweepError> {
        if request.axes.is_empty() && request.list.is_none() {
            return Err(SweepError::Nothing);
        }
        let common = Pipeline::load(&request.pipeline, &Settings::default())?;
        let combinations = combinations(&request)?;
        let (mut runs, mut names, mut settings) = (Vec::new(), BTreeSet::new(), Vec::new());
        for Combination { name, overrides } in combinations {
            for entry in overrides.entries() {
                if entry.key != NAME && !settings.contains(&entry.key) {
                    settings.push(entry.key.clone());
                }
            }
            if !names.insert(name.clone()) {
                return Err(SweepError::SameName { name });
            }
            let run = run(&request, name.clone(), &overrides);
            runs.push(run.map_err(|source| SweepError::Plan { run: name, source })?);
        }
        let Some(first) = runs.first() else { return Err(SweepError::Nothing) };
        let table = first.plan.table.clone();
        let reference = if table.join(MANIFEST).is_file() || request.table.is_some() {
            None
        } else {
            let plan = common.precompute_plan(None, None, precompute::Start::Resume)?;
            // A table that settings name is nobody's to make.
            (plan.out == table).then_some((common, plan))
        };
        let made = reference.as_ref().map(|(_, plan)| plan.out.as_path());
        for run in &runs {
            run.check_tables(made)?;
        }
        let Request { out, rank_by, last_steps, .. } = request;
        Ok(Self { out, table, reference, runs, settings, rank_by, last_steps })
    }
}

impl Run {
    /// Every table it reads is there, or is `made` before it.
    fn check_tables(&self, made: Option<&Path>) -> Result<(), PipelineError> {
        let held_out = self.plan.eval.as_ref().and_then(|eval| eval.table.as_deref());
        let mut tables = self.plan.tables().into_iter().chain(held_out);
        match tables.find(|table| Some(*table) != made && !table.exists()) {
            Some(path) => Err(PipelineError::NoTable { path: path.to_owned() }),
            None => Ok(()),
        }
    }

    /// How far the run is, by what its folder says.
    ///
    /// # Errors
    /// If its newest checkpoint is damaged, or its table cannot be read.
    pub fn standing(&self) -> Result<Standing, RunError> {
        if self.plan.course.start == Start::Fresh {
            return Ok(Standing::New);
        }
        let Some(newest) = checkpoint::newest(&self.plan.course.checkpoints())? else { return Ok(Standing::New) };
        let begun = Standing::Begun { step: newest.state().step };
        if !self.plan.course.policy().is_dir() || !self.pipeline.is_recorded(Stage::Train, &self.plan.course.out)? {
            return Ok(begun);
        }
        let table = ReferenceTable::open_as(&self.plan.table, self.plan.reference.as_deref())?;
        let is_of_table = newest.state().trajectory.get("table_digest") == Some(&json!(table.digest()?));
        Ok(if is_of_table { Standing::Finished } else { begun })
    }
}

/// A run to be, by its settings.
struct Combination {
    name: String,
    overrides: Overrides,
}

/// Every run of the list with every combination of the axes, the first of which changes last.
fn combinations(request: &Request) -> Result<Vec<Combination>, SweepError> {
    let list = request.list.clone().unwrap_or_else(|| vec![Overrides::default()]);
    let lengths = request.axes.iter().map(|axis| axis.options().len());
    let found = lengths.fold(list.len(), usize::saturating_mul);
    if found > MOST_RUNS {
        return Err(SweepError::TooMany { limit: MOST_RUNS, found });
    }
    let mut grid = vec![Overrides::default()];
    for option in request.axes.iter().filter_map(|axis| axis.options().first()) {
        check(option, &list)?;
    }
    for axis in &request.axes {
        let mut longer = Vec::new();
        for begun in &grid {
            for option in axis.options() {
                if option.entries().iter().any(|entry| begun.entries().iter().any(|other| other.key == entry.key)) {
                    return Err(set_twice(option));
                }
                longer.push(begun.and(option)?);
            }
        }
        grid = longer;
    }
    let mut found = Vec::new();
    for run in &list {
        let given = run.entries().iter().find(|entry| entry.key == NAME);
        let given = given.and_then(|entry| entry.value.as_str());
        check_keys(run.entries().iter().map(|entry| entry.key.as_str()).filter(|key| *key != NAME))?;
        for point in &grid {
            let overrides = run.and(point)?;
            let unnamed = if given.is_some() { point } else { &overrides };
            found.push(Combination { name: name(given, unnamed.entries()), overrides });
        }
    }
    Ok(found)
}

/// Whether a setting of the grid may be one, beside those of the list.
fn check(option: &Overrides, list: &[Overrides]) -> Result<(), SweepError> {
    let keys: Vec<&str> = option.entries().iter().map(|entry| entry.key.as_str()).collect();
    if keys.contains(&NAME) {
        return Err(SweepError::Name);
    }
    if list.iter().flat_map(Overrides::entries).any(|entry| keys.contains(&entry.key.as_str())) {
        return Err(set_twice(option));
    }
    check_keys(keys.into_iter())
}

fn set_twice(option: &Overrides) -> SweepError {
    SweepError::SetTwice { key: option.entries().first().map(|entry| entry.key.clone()).unwrap_or_default() }
}

/// All runs share their tables, so they may differ in nothing that stage one reads, nor in which tables they are.
fn check_keys<'a>(mut keys: impl Iterator<Item = &'a str>) -> Result<(), SweepError> {
    keys.try_for_each(|key| {
        let top = key.split('.').next().unwrap_or(key);
        if top == "model" {
            Err(SweepError::Model)
        } else if key == TABLES {
            Err(SweepError::Tables)
        } else if Stage::Train.reads(top) {
            Ok(())
        } else {
            Err(SweepError::ChangesTable { key: key.to_owned() })
        }
    })
}

fn run(request: &Request, name: String, overrides: &Overrides) -> Result<Run, PipelineError> {
    let mut settings = overrides.settings().clone();
    settings.name = Some(Name::try_from(name.clone()).map_err(|source| PipelineError::RunName { source })?);
    let pipeline = Pipeline::load(&request.pipeline, &settings)?;
    let plan = pipeline.train_plan(request.table.as_deref(), Some(&request.out.join(&name)), request.start)?;
    Ok(Run { name, pipeline, plan })
}
