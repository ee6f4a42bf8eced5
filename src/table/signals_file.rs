//! A file of signals, opened: read row by row, and held against the part it lies beside.

use std::ops::ControlFlow;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, PrimitiveArray, RecordBatch, StringArray};
use arrow::datatypes::{Float32Type, Float64Type, Int64Type};

use crate::table::check::Answer;
use crate::table::parquet_input::{ParquetInput, PartBatches};
use crate::table::part_reader::PartReader;
use crate::table::schema::signals;
use crate::table::signals::{is_entropy, least, mean, provenance_of_signals, share};
use crate::table::{CompletionSignals, PairSignals, Provenance, TableError};

/// Columns of a part that its signals are held against.
const OF_PART: [&str; 6] =
    ["pair_id", "tokens_id", "source", "row_idx", "ref_chosen_token_logps", "ref_rejected_token_logps"];

/// A file of signals whose footer and schema are known good.
pub(crate) struct SignalsReader {
    provenance: Provenance,
    input: ParquetInput,
}

impl SignalsReader {
    pub(crate) fn open(path: &Path) -> Result<Self, TableError> {
        let input = ParquetInput::open(path)?;
        input.check_version(signals::VERSION)?;
        let provenance = Provenance::from_footer(path, |key| input.footer_value(key))?;
        input.check_columns(signals::COLUMNS)?;
        Ok(Self { provenance, input })
    }

    pub(crate) fn rows(&self) -> u64 {
        self.input.rows()
    }

    /// The signals of all rows that have them, each with its `tokens_id`.
    ///
    /// # Errors
    /// If the file cannot be read. Each item fails by itself where it cannot be decoded.
    pub(crate) fn pairs(self) -> Result<impl Iterator<Item = Result<(String, PairSignals), TableError>>, TableError> {
        let of_batch = |batch: RecordBatch| -> Vec<(String, PairSignals)> {
            let Some(columns) = Columns::of(&batch) else { return Vec::new() };
            let row = |row: usize| Some((columns.keys[1].value(row).to_owned(), columns.signals(row)?));
            (0..batch.num_rows()).filter_map(row).collect()
        };
        let rows = self.input.all_batches()?.flat_map(move |batch| match batch {
            Ok(batch) => of_batch(batch).into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        });
        Ok(rows)
    }
}

/// Holds a file of signals against its part: the same conditions and rows, all signals of a pair or none, one a token, and
/// sums of them what the lists say. Each problem goes to `tell`, until that says stop; returns the rows read.
///
/// # Errors
/// If one of the two files cannot be read or has other rows than the other one.
pub(crate) fn signals_problems(
    part: PartReader,
    path: &Path,
    tell: &mut dyn FnMut(TableError) -> Answer,
) -> Result<u64, TableError> {
    let signals = SignalsReader::open(path)?;
    let (expected, found) = (part.rows(), signals.rows());
    if expected != found {
        let (expected, found) = (expected.to_string(), found.to_string());
        return Err(TableError::NotAsListed { path: path.to_owned(), what: "rows", expected, found });
    }
    for difference in provenance_of_signals(&part.provenance).contradictions(&signals.provenance) {
        if tell(TableError::OtherProvenance { path: path.to_owned(), difference }).is_break() {
            return Ok(0);
        }
    }
    let mut check = Check { path, row: 0, tell };
    let rows = Lockstep { left: Half::of(part.batches(&OF_PART)?), right: Half::of(signals.input.all_batches()?) };
    for batches in rows {
        let (part, signals) = batches?;
        if check.batch(&part, &signals).is_break() {
            break;
        }
    }
    Ok(check.row as u64)
}

/// Refuses a file that is none of signals.
///
/// # Errors
/// If it cannot be read, follows another contract, or lacks a column of this one.
pub(crate) fn check_signals(path: &Path) -> Result<(), TableError> {
    SignalsReader::open(path).map(drop)
}

/// Two files of the same rows, in batches of equal length.
struct Lockstep {
    left: Half,
    right: Half,
}

struct Half {
    batches: PartBatches,
    rest: Option<RecordBatch>,
}

impl Half {
    fn of(batches: PartBatches) -> Self {
        Self { batches, rest: None }
    }

    /// Rows at hand, after a look at the file where there were none.
    fn available(&mut self) -> Result<usize, TableError> {
        while self.rest.as_ref().is_none_or(|batch| batch.num_rows() == 0) {
            match self.batches.next() {
                Some(batch) => self.rest = Some(batch?),
                None => return Ok(0),
            }
        }
        Ok(self.rest.as_ref().map_or(0, RecordBatch::num_rows))
    }

    fn take(&mut self, n_rows: usize) -> Option<RecordBatch> {
        let batch = self.rest.take()?;
        self.rest = Some(batch.slice(n_rows, batch.num_rows() - n_rows));
        Some(batch.slice(0, n_rows))
    }
}

impl Iterator for Lockstep {
    type Item = Result<(RecordBatch, RecordBatch), TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        let n_rows = self.left.available().and_then(|left| Ok(left.min(self.right.available()?)));
        match n_rows {
            Err(error) => Some(Err(error)),
            Ok(0) => None,
            Ok(n_rows) => Some(Ok((self.left.take(n_rows)?, self.right.take(n_rows)?))),
        }
    }
}

/// The columns of a batch of signals.
struct Columns<'a> {
    keys: [&'a StringArray; 3],
    row_idx: &'a PrimitiveArray<Int64Type>,
    sides: [Side<'a>; 2],
    ches: &'a PrimitiveArray<Float64Type>,
    ches_mean: &'a PrimitiveArray<Float64Type>,
}

/// Those of one completion, with their names.
struct Side<'a> {
    entropies: (&'static str, Lists<'a, PrimitiveArray<Float32Type>>),
    are_top: (&'static str, Lists<'a, BooleanArray>),
    entropy_mean: (&'static str, &'a PrimitiveArray<Float64Type>),
    accuracy: (&'static str, &'a PrimitiveArray<Float64Type>),
    min_logp: (&'static str, &'a PrimitiveArray<Float64Type>),
}

struct Lists<'a, A> {
    list: &'a ListArray,
    values: &'a A,
}

impl<'a, A: Array + 'static> Lists<'a, A> {
    fn of(array: &'a ArrayRef) -> Option<Self> {
        let list = array.as_list_opt::<i32>()?;
        Some(Self { list, values: list.values().as_any().downcast_ref()? })
    }

    fn bounds(&self, row: usize) -> std::ops::Range<usize> {
        let bound = |row: usize| usize::try_from(self.list.value_offsets()[row]).unwrap_or_default();
        bound(row)..bound(row + 1)
    }
}

impl<'a> Lists<'a, PrimitiveArray<Float32Type>> {
    fn get(&self, row: usize) -> &'a [f32] {
        &self.values.values()[self.bounds(row)]
    }
}

impl Lists<'_, BooleanArray> {
    fn get(&self, row: usize) -> Vec<bool> {
        self.bounds(row).map(|at| self.values.value(at)).collect()
    }
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Option<Self> {
        let text = |name| batch.column_by_name(name)?.as_string_opt::<i32>();
        let number = |name| batch.column_by_name(name)?.as_primitive_opt::<Float64Type>();
        let [chosen, rejected] = [0, 1].map(|side| {
            let name = |names: [&'static str; 2]| names[side];
            let entropies = name(["ref_chosen_token_entropies", "ref_rejected_token_entropies"]);
            let are_top = name(["ref_chosen_token_top1", "ref_rejected_token_top1"]);
            let numbers = [
                ["ref_chosen_entropy_mean", "ref_rejected_entropy_mean"],
                ["ref_chosen_mean_token_accuracy", "ref_rejected_mean_token_accuracy"],
                ["ref_chosen_min_token_logp", "ref_rejected_min_token_logp"],
            ]
            .map(|names| (name(names), number(name(names))));
            let [entropy_mean, accuracy, min_logp] = numbers;
            Some(Side {
                entropies: (entropies, Lists::of(batch.column_by_name(entropies)?)?),
                are_top: (are_top, Lists::of(batch.column_by_name(are_top)?)?),
                entropy_mean: (entropy_mean.0, entropy_mean.1?),
                accuracy: (accuracy.0, accuracy.1?),
                min_logp: (min_logp.0, min_logp.1?),
            })
        });
        Some(Self {
            keys: [text("pair_id")?, text("tokens_id")?, text("source")?],
            row_idx: batch.column_by_name("row_idx")?.as_primitive_opt()?,
            sides: [chosen?, rejected?],
            ches: number("ref_ches")?,
            ches_mean: number("ref_ches_mean")?,
        })
    }

    /// The columns that are null together, and whether they are.
    fn nulls(&self, row: usize) -> impl Iterator<Item = (&'static str, bool)> {
        let of_side = |side: &Side<'_>| {
            [
                (side.entropies.0, side.entropies.1.list.is_null(row)),
                (side.are_top.0, side.are_top.1.list.is_null(row)),
                (side.entropy_mean.0, side.entropy_mean.1.is_null(row)),
                (side.accuracy.0, side.accuracy.1.is_null(row)),
            ]
        };
        let ches = [("ref_ches", self.ches.is_null(row)), ("ref_ches_mean", self.ches_mean.is_null(row))];
        ches.into_iter().chain(self.sides.each_ref().map(of_side).into_iter().flatten())
    }

    /// The signals of a row; `None` of one without.
    fn signals(&self, row: usize) -> Option<PairSignals> {
        if self.nulls(row).any(|(_, is_null)| is_null) {
            return None;
        }
        let [chosen, rejected] = self.sides.each_ref().map(|side| CompletionSignals {
            entropies: side.entropies.1.get(row).to_vec(),
            are_top: side.are_top.1.get(row),
        });
        Some(PairSignals { chosen, rejected, ches: self.ches.value(row), ches_mean: self.ches_mean.value(row) })
    }
}

struct Check<'a> {
    path: &'a Path,
    row: usize,
    tell: &'a mut dyn FnMut(TableError) -> Answer,
}

impl Check<'_> {
    fn batch(&mut self, part: &RecordBatch, signals: &RecordBatch) -> Answer {
        // Files without these columns have been refused when they were opened.
        let Some(columns) = Columns::of(signals) else { return Answer::Continue(()) };
        let logps = ["ref_chosen_token_logps", "ref_rejected_token_logps"]
            .map(|name| Lists::<PrimitiveArray<Float32Type>>::of(part.column_by_name(name)?));
        let [Some(chosen), Some(rejected)] = logps else { return Answer::Continue(()) };
        for row in 0..signals.num_rows() {
            self.keys(part, &columns, row)?;
            let n_null = columns.nulls(row).filter(|(_, is_null)| *is_null).count();
            let is_without = n_null == columns.nulls(row).count();
            if n_null > 0 && !is_without {
                let null = columns.nulls(row).find(|(_, is_null)| *is_null).map_or("ref_ches", |(name, _)| name);
                self.differs(&columns, row, null, &"a value as beside it", &"null")?;
            }
            for (side, logps) in columns.sides.iter().zip([&chosen, &rejected]) {
                // An imported part has none, and no signals.
                if logps.list.is_valid(row) {
                    self.number(&columns, row, side.min_logp, least(logps.get(row)))?;
                }
                if n_null == 0 {
                    self.side(&columns, row, side, logps.get(row).len())?;
                }
            }
            for (name, column) in [("ref_ches", columns.ches), ("ref_ches_mean", columns.ches_mean)] {
                if column.is_valid(row) && !column.value(row).is_finite() {
                    self.differs(&columns, row, name, &"a number", &column.value(row))?;
                }
            }
            self.row += 1;
        }
        ControlFlow::Continue(())
    }

    fn keys(&mut self, part: &RecordBatch, columns: &Columns<'_>, row: usize) -> Answer {
        for (name, found) in ["pair_id", "tokens_id", "source"].into_iter().zip(columns.keys) {
            let expected = part.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
            let expected = expected.map_or("", |expected| expected.value(row));
            if expected != found.value(row) {
                self.differs(columns, row, name, &format_args!("`{expected}` as in the part"), &found.value(row))?;
            }
        }
        let expected = part.column_by_name("row_idx").and_then(|column| column.as_primitive_opt::<Int64Type>());
        let (expected, found) = (expected.map_or(0, |expected| expected.value(row)), columns.row_idx.value(row));
        if expected != found {
            self.differs(columns, row, "row_idx", &format_args!("{expected} as in the part"), &found)?;
        }
        Answer::Continue(())
    }

    fn side(&mut self, columns: &Columns<'_>, row: usize, side: &Side<'_>, n_tokens: usize) -> Answer {
        let (entropies, are_top) = (side.entropies.1.get(row), side.are_top.1.get(row));
        for (name, found) in [(side.entropies.0, entropies.len()), (side.are_top.0, are_top.len())] {
            if found != n_tokens {
                self.differs(columns, row, name, &format_args!("{n_tokens} entries"), &found)?;
            }
        }
        if let Some(found) = entropies.iter().find(|&&entropy| !is_entropy(entropy)) {
            self.differs(columns, row, side.entropies.0, &"finite numbers of at least 0", found)?;
        }
        let entropy = mean(entropies.iter().map(|&entropy| f64::from(entropy)));
        self.number(columns, row, side.entropy_mean, entropy)?;
        self.number(columns, row, side.accuracy, share(&are_top))
    }

    /// A number that was made from others in one way only: equal, but for the order of a sum.
    fn number(
        &mut self,
        columns: &Columns<'_>,
        row: usize,
        (name, column): (&'static str, &PrimitiveArray<Float64Type>),
        expected: f64,
    ) -> Answer {
        let found = column.value(row);
        // Not a comparison that a NaN would pass.
        let is_equal = (found - expected).abs() <= 1e-9 * expected.abs();
        if column.is_valid(row) && !is_equal {
            self.differs(columns, row, name, &expected, &found)?;
        }
        Answer::Continue(())
    }

    fn differs(
        &mut self,
        columns: &Columns<'_>,
        row: usize,
        column: &'static str,
        expected: &dyn std::fmt::Display,
        found: &dyn std::fmt::Display,
    ) -> Answer {
        (self.tell)(TableError::Signals {
            path: self.path.to_owned(),
            row: self.row,
            pair_id: columns.keys[0].value(row).to_owned(),
            column,
            expected: expected.to_string(),
            found: found.to_string(),
        })
    }
}
