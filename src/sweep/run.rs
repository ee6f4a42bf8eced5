//! One run after another.

use super::comparison::Comparison;
use super::error::{RunError, SweepError};
use super::plan::{Plan, Run, Standing};
use super::results::{Row, Status};
use super::{PAGE, SWEEP, page, write};
use crate::error::chain;
use crate::interrupt::Interrupt;
use crate::io::{self, Lock};
use crate::pipeline::Stage;
use crate::report::{self, REPORT, RunInputs};
use crate::table::ReferenceTable;
use crate::train::Start;
use crate::{precompute, train};

/// What a sweep says while it runs.
#[derive(Debug)]
pub enum Event<'a> {
    /// The table is there, of so many pairs.
    TableFound {
        /// How many.
        n_pairs: u64,
    },
    /// Stage one has something to say.
    Precompute(precompute::Event<'a>),
    /// Stage one is done.
    TableMade(&'a precompute::Summary),
    /// It is the turn of a run.
    Run {
        /// Its place in the sweep, from 0.
        run_idx: usize,
        /// The run.
        run: &'a Run,
        /// How far it is.
        standing: Standing,
    },
    /// A run has something to say.
    Train(train::Event<'a>),
    /// A run is at its end.
    Ended(&'a train::Summary),
    /// A run has failed; the others go on.
    Failed {
        /// The run.
        run: &'a Run,
        /// Why.
        error: &'a RunError,
    },
}

/// How a sweep ends.
#[derive(Debug)]
pub struct Outcome {
    /// What has come out; none if stage one was interrupted.
    pub comparison: Option<Comparison>,
    /// The runs that failed.
    pub failures: Vec<Failure>,
    /// Whether it was asked to stop before its end.
    pub is_interrupted: bool,
}

/// A run that failed.
#[derive(Debug)]
pub struct Failure {
    /// Its name.
    pub run: String,
    /// Why.
    pub error: RunError,
}

/// Makes the runs of a sweep that are not there yet, and compares all of them.
///
/// # Errors
/// If the table cannot be made or read, if another process works in the folder, or if the comparison cannot be written.
/// What befalls a single run is in the [`Outcome`].
pub fn run(plan: &Plan, interrupt: &Interrupt, observe: &mut dyn FnMut(Event<'_>)) -> Result<Outcome, SweepError> {
    io::create_dir(&plan.out)?;
    let _lock = Lock::acquire(&plan.out.join(".piref.lock"))?;
    for name in [SWEEP, PAGE] {
        io::remove_halves(&plan.out.join(name))?;
    }
    if !make_table(plan, interrupt, observe)? {
        return Ok(Outcome { comparison: None, failures: Vec::new(), is_interrupted: true });
    }
    // All of them now: interrupted and run again without `--fresh`, a sweep must not find the earlier ones finished.
    for run in plan.runs.iter().filter(|run| run.plan.course.start == Start::Fresh) {
        train::set_aside(&run.plan.course).map_err(|source| SweepError::Clear { run: run.name.clone(), source })?;
    }
    let mut sweep = Sweep { plan, rows: Vec::new(), failures: Vec::new() };
    sweep.take_stock();
    let mut is_interrupted = false;
    for run_idx in 0..plan.runs.len() {
        if interrupt.is_set() {
            is_interrupted = true;
            break;
        }
        is_interrupted = !sweep.make(run_idx, interrupt, observe)?;
    }
    let comparison = Some(sweep.write()?);
    Ok(Outcome { comparison, failures: sweep.failures, is_interrupted })
}

/// Makes the table, or finds it; whether it is there.
fn make_table(plan: &Plan, interrupt: &Interrupt, observe: &mut dyn FnMut(Event<'_>)) -> Result<bool, SweepError> {
    let Some((pipeline, reference)) = &plan.reference else {
        observe(Event::TableFound { n_pairs: ReferenceTable::open(&plan.table)?.n_pairs() });
        return Ok(true);
    };
    let made = precompute::run(reference, interrupt, &mut |event| observe(Event::Precompute(event)));
    match made.map_err(|source| SweepError::Precompute { path: plan.table.clone(), source })? {
        // A sweep makes the whole table, so that nothing of it can be for others to make.
        precompute::Outcome::Interrupted { .. } | precompute::Outcome::Missing(_) => Ok(false),
        precompute::Outcome::Finished(summary) => {
            if let Some(folder) = pipeline.run_folder() {
                pipeline.record(Stage::Precompute, folder)?;
            }
            observe(Event::TableMade(&summary));
            Ok(true)
        }
    }
}

/// A sweep at work.
struct Sweep<'a> {
    plan: &'a Plan,
    rows: Vec<Row>,
    failures: Vec<Failure>,
}

impl Sweep<'_> {
    /// Reads what earlier sweeps have left, so that a comparison has all of it from the first run on.
    fn take_stock(&mut self) {
        let last_steps = self.plan.last_steps.get();
        for run in &self.plan.runs {
            let found = match run.standing() {
                Ok(Standing::Finished) => Row::read(run, Status::Finished, last_steps).ok(),
                Ok(Standing::Begun { .. }) => Row::read(run, Status::Interrupted, last_steps).ok(),
                // What is wrong with it is said when it is its turn.
                Ok(Standing::New) | Err(_) => None,
            };
            self.rows.push(found.unwrap_or_else(|| Row::pending(run)));
        }
    }

    /// Makes a run, if it is not there; whether it came to an end, good or bad.
    fn make(
        &mut self,
        run_idx: usize,
        interrupt: &Interrupt,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<bool, SweepError> {
        let Some(run) = self.plan.runs.get(run_idx) else { return Ok(true) };
        let made = self.try_make(run_idx, run, interrupt, observe);
        let (row, is_ended) = match made {
            Ok(row) => {
                let is_ended = row.status == Status::Finished;
                (row, is_ended)
            }
            Err(error) => {
                observe(Event::Failed { run, error: &error });
                // As far as it came: what cannot be read either is not worse than the failure itself.
                let row = Row::read(run, Status::Failed, self.plan.last_steps.get());
                let row = row.unwrap_or_else(|_| Row { status: Status::Failed, ..Row::pending(run) });
                let row = Row { error: Some(chain(&error)), ..row };
                self.failures.push(Failure { run: run.name.clone(), error });
                (row, true)
            }
        };
        // Of a run that was there already nothing is new.
        if let Some(place) = self.rows.get_mut(run_idx).filter(|place| **place != row) {
            *place = row;
            self.write()?;
        }
        Ok(is_ended)
    }

    fn try_make(
        &self,
        run_idx: usize,
        run: &Run,
        interrupt: &Interrupt,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Row, RunError> {
        let last_steps = self.plan.last_steps.get();
        let standing = run.standing()?;
        observe(Event::Run { run_idx, run, standing });
        if standing == Standing::Finished {
            // The page is the last thing a run gets: one that was killed before has its policy and no page.
            if !run.plan.course.out.join(REPORT).exists() {
                complete(run, observe)?;
            }
            return Row::read(run, Status::Finished, last_steps);
        }
        match train::run(&run.plan, interrupt, &mut |event| observe(Event::Train(event)))? {
            train::Outcome::Interrupted(_) => {
                run.pipeline.record(Stage::Train, &run.plan.course.out)?;
                Row::read(run, Status::Interrupted, last_steps)
            }
            train::Outcome::Finished(summary) => {
                observe(Event::Ended(&summary));
                complete(run, observe)?;
                Row::read(run, Status::Finished, last_steps)
            }
        }
    }

    /// Writes the comparison as it stands.
    fn write(&self) -> Result<Comparison, SweepError> {
        let comparison = Comparison::of(self.plan, self.rows.clone())?;
        write::write(&comparison, self.plan, &self.plan.out.join(SWEEP))?;
        let page = page::page(&comparison, self.plan).to_html()?;
        io::write(&self.plan.out.join(PAGE), page.as_bytes())?;
        Ok(comparison)
    }
}

/// What a run gets once its policy is there: the record of its settings and its page.
fn complete(run: &Run, observe: &mut dyn FnMut(Event<'_>)) -> Result<(), RunError> {
    let folder = &run.plan.course.out;
    run.pipeline.record(Stage::Train, folder)?;
    let inputs = RunInputs { run: folder, table: Some(&run.plan.table) };
    // The policy is there, and that is what was asked for.
    if let Err(error) = report::write_run(&inputs, &folder.join(REPORT)) {
        observe(Event::Train(train::Event::Note(format!("no report: {}", chain(&error)))));
    }
    Ok(())
}
