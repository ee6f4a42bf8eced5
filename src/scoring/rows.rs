//! What came of each row, and the struct it is in SQL.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float32Array, Float64Array, Int32Array, ListArray, StringArray, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, Float32Type, Float64Type};
use arrow::error::ArrowError;

use super::error::ScoringError;
use crate::logprob;
use crate::precompute::Signals;
use crate::table::schema::ColumnType;
use crate::table::{CompletionSignals, PairSignals, PairTokenLogps, TokenScores};

/// Fields that a struct has with and without signals: names of the log-prob table, but for the last.
const LOGPS: [(&str, ColumnType); 6] = [
    ("ref_chosen_logps", ColumnType::Float64),
    ("ref_rejected_logps", ColumnType::Float64),
    ("chosen_tokens", ColumnType::Int32),
    ("rejected_tokens", ColumnType::Int32),
    ("ref_chosen_token_logps", ColumnType::ListFloat32),
    ("ref_rejected_token_logps", ColumnType::ListFloat32),
];

/// Further ones: names of the signals beside a log-prob table.
const SIGNALS: [(&str, ColumnType); 6] = [
    ("ref_ches", ColumnType::Float64),
    ("ref_ches_mean", ColumnType::Float64),
    ("ref_chosen_token_entropies", ColumnType::ListFloat32),
    ("ref_rejected_token_entropies", ColumnType::ListFloat32),
    ("ref_chosen_token_top1", ColumnType::ListBoolean),
    ("ref_rejected_token_top1", ColumnType::ListBoolean),
];

/// What is wrong with a row that has no numbers, or wrong ones.
const ERROR: (&str, ColumnType) = ("error", ColumnType::Utf8);

/// Why a pair cannot be scored, or what it is scored with is no log-prob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowFault {
    /// A prompt without tokens: nothing predicts the first token of a completion.
    EmptyPrompt,
    /// A completion without tokens: there is nothing to score.
    EmptyCompletion,
    /// A token id that the vocabulary of the model does not have.
    UnknownToken,
    /// Log-probs that are not finite, or above 0: weights that hold no number, or overflow.
    NotALogp,
}

/// What came of a pair.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredRow {
    /// Its numbers; with [`RowFault::NotALogp`] those that are none.
    pub scores: Option<TokenScores>,
    /// What is wrong with it.
    pub fault: Option<RowFault>,
}

impl RowFault {
    const ALL: [Self; 4] = [Self::EmptyPrompt, Self::EmptyCompletion, Self::UnknownToken, Self::NotALogp];

    /// As it stands in the field `error`.
    pub fn code(self) -> &'static str {
        match self {
            Self::EmptyPrompt => "empty_prompt",
            Self::EmptyCompletion => "empty_completion",
            Self::UnknownToken => "unknown_token",
            Self::NotALogp => "not_a_logp",
        }
    }

    /// The one of this code.
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.code() == code)
    }
}

impl ScoredRow {
    /// A row without numbers.
    pub(super) fn failed(fault: Option<RowFault>) -> Self {
        Self { scores: None, fault }
    }

    fn logps(&self) -> Option<&PairTokenLogps> {
        Some(&self.scores.as_ref()?.logps)
    }

    fn signals(&self) -> Option<&PairSignals> {
        self.scores.as_ref()?.signals.as_ref()
    }
}

/// Fields of the struct.
pub(super) fn fields(signals: Signals) -> Fields {
    let further = match signals {
        Signals::Make => SIGNALS.as_slice(),
        Signals::Skip => &[],
    };
    let columns = LOGPS.iter().chain(further).chain([&ERROR]);
    columns.map(|(name, data_type)| Field::new(*name, data_type.arrow(), true)).collect()
}

/// The struct of these rows; a row that is `None` is null.
///
/// # Errors
/// If there are more tokens in them than a list of Arrow can have.
pub(super) fn structs(rows: &[Option<ScoredRow>], signals: Signals) -> Result<StructArray, ArrowError> {
    let row = |row: usize| rows[row].as_ref();
    let logps = |index: usize| row(index).and_then(ScoredRow::logps);
    let chosen = |index: usize| logps(index).map(|logps| logps.chosen.as_slice());
    let rejected = |index: usize| logps(index).map(|logps| logps.rejected.as_slice());
    let sum = |list: Option<&[f32]>| list.map(logprob::sum);
    let count = |list: Option<&[f32]>| list.map(|list| i32::try_from(list.len()).unwrap_or(i32::MAX));
    let n = 0..rows.len();
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(n.clone().map(|row| sum(chosen(row))).collect::<Float64Array>()),
        Arc::new(n.clone().map(|row| sum(rejected(row))).collect::<Float64Array>()),
        Arc::new(n.clone().map(|row| count(chosen(row))).collect::<Int32Array>()),
        Arc::new(n.clone().map(|row| count(rejected(row))).collect::<Int32Array>()),
        floats(n.clone().map(chosen))?,
        floats(n.clone().map(rejected))?,
    ];
    if signals == Signals::Make {
        let found = |index: usize| row(index).and_then(ScoredRow::signals);
        let n = n.clone();
        columns.extend([
            Arc::new(n.clone().map(|row| found(row).map(|of| of.ches)).collect::<Float64Array>()) as ArrayRef,
            Arc::new(n.clone().map(|row| found(row).map(|of| of.ches_mean)).collect::<Float64Array>()),
            floats(n.clone().map(|row| found(row).map(|of| of.chosen.entropies.as_slice())))?,
            floats(n.clone().map(|row| found(row).map(|of| of.rejected.entropies.as_slice())))?,
            flags(n.clone().map(|row| found(row).map(|of| of.chosen.are_top.as_slice())))?,
            flags(n.map(|row| found(row).map(|of| of.rejected.are_top.as_slice())))?,
        ]);
    }
    let codes = n.map(|index| row(index).and_then(|row| row.fault).map(RowFault::code));
    columns.push(Arc::new(codes.collect::<StringArray>()));
    let nulls = rows.iter().map(Option::is_some).collect::<NullBuffer>();
    StructArray::try_new(fields(signals), columns, Some(nulls))
}

/// The rows of such a struct again, wherever it was made: `None` where it is null.
///
/// # Errors
/// If it is no struct of a scoring function.
pub fn read_rows(column: &ArrayRef) -> Result<Vec<Option<ScoredRow>>, ScoringError> {
    let Some(structs) = column.as_struct_opt() else {
        return Err(ScoringError::Foreign { found: column.data_type().to_string() });
    };
    let columns = Columns::of(structs)?;
    (0..structs.len()).map(|row| structs.is_valid(row).then(|| columns.row(row)).transpose()).collect()
}

/// The fields of a struct by their names.
struct Columns<'a> {
    chosen: Lists<'a>,
    rejected: Lists<'a>,
    signals: Option<SignalColumns<'a>>,
    errors: &'a StringArray,
}

struct SignalColumns<'a> {
    ches: &'a Float64Array,
    ches_mean: &'a Float64Array,
    entropies: [Lists<'a>; 2],
    are_top: [Lists<'a>; 2],
}

/// A field of lists.
#[derive(Clone, Copy)]
struct Lists<'a>(&'a ListArray);

impl<'a> Columns<'a> {
    fn of(structs: &'a StructArray) -> Result<Self, ScoringError> {
        let field = |(name, data_type): (&str, ColumnType)| {
            let column = structs.column_by_name(name);
            let wrong = |found: String| ScoringError::Foreign { found: format!("{found} in `{name}`") };
            let column = column.ok_or_else(|| wrong("nothing".into()))?;
            // Names and nullability of list items are the engine's to change on the way.
            let fits = match (column.data_type(), data_type.arrow()) {
                (DataType::List(found), DataType::List(expected)) => found.data_type() == expected.data_type(),
                (found, expected) => *found == expected,
            };
            if fits { Ok(column) } else { Err(wrong(column.data_type().to_string())) }
        };
        let lists = |of| field(of).map(|column| Lists(column.as_list()));
        let numbers = |of| field(of).map(AsArray::as_primitive::<Float64Type>);
        let [.., chosen, rejected] = LOGPS;
        let [ches, ches_mean, chosen_entropies, rejected_entropies, chosen_top1, rejected_top1] = SIGNALS;
        let signals = if structs.column_by_name(ches.0).is_some() {
            Some(SignalColumns {
                ches: numbers(ches)?,
                ches_mean: numbers(ches_mean)?,
                entropies: [lists(chosen_entropies)?, lists(rejected_entropies)?],
                are_top: [lists(chosen_top1)?, lists(rejected_top1)?],
            })
        } else {
            None
        };
        let errors = field(ERROR)?.as_string();
        Ok(Self { chosen: lists(chosen)?, rejected: lists(rejected)?, signals, errors })
    }

    fn row(&self, row: usize) -> Result<ScoredRow, ScoringError> {
        let fault = if self.errors.is_null(row) {
            None
        } else {
            let code = self.errors.value(row);
            let foreign = || ScoringError::Foreign { found: format!("`{code}` in `{}`", ERROR.0) };
            Some(RowFault::of_code(code).ok_or_else(foreign)?)
        };
        let scores = match (self.chosen.floats(row), self.rejected.floats(row)) {
            (Some(chosen), Some(rejected)) => {
                let logps = PairTokenLogps { chosen, rejected };
                let signals = self.signals.as_ref().and_then(|signals| signals.row(row));
                Some(TokenScores { logps, signals })
            }
            _ => None,
        };
        Ok(ScoredRow { scores, fault })
    }
}

impl SignalColumns<'_> {
    fn row(&self, row: usize) -> Option<PairSignals> {
        let number = |column: &Float64Array| column.is_valid(row).then(|| column.value(row));
        let side = |side: usize| -> Option<CompletionSignals> {
            Some(CompletionSignals {
                entropies: self.entropies[side].floats(row)?,
                are_top: self.are_top[side].flags(row)?,
            })
        };
        Some(PairSignals {
            chosen: side(0)?,
            rejected: side(1)?,
            ches: number(self.ches)?,
            ches_mean: number(self.ches_mean)?,
        })
    }
}

impl Lists<'_> {
    fn floats(self, row: usize) -> Option<Vec<f32>> {
        let values = self.0.is_valid(row).then(|| self.0.value(row))?;
        Some(values.as_primitive::<Float32Type>().values().to_vec())
    }

    fn flags(self, row: usize) -> Option<Vec<bool>> {
        let values = self.0.is_valid(row).then(|| self.0.value(row))?;
        Some(values.as_boolean().values().iter().collect())
    }
}

fn floats<'a>(lists: impl Iterator<Item = Option<&'a [f32]>>) -> Result<ArrayRef, ArrowError> {
    lists_of(ColumnType::ListFloat32, lists, |values| Arc::new(Float32Array::from(values)))
}

fn flags<'a>(lists: impl Iterator<Item = Option<&'a [bool]>>) -> Result<ArrayRef, ArrowError> {
    lists_of(ColumnType::ListBoolean, lists, |values| Arc::new(BooleanArray::from(values)))
}

fn lists_of<'a, T: Copy + 'a>(
    of: ColumnType,
    lists: impl Iterator<Item = Option<&'a [T]>>,
    array: impl FnOnce(Vec<T>) -> ArrayRef,
) -> Result<ArrayRef, ArrowError> {
    let DataType::List(item) = of.arrow() else {
        return Err(ArrowError::InvalidArgumentError(format!("expected a list, found {of}")));
    };
    let (mut offsets, mut are_there, mut values) = (vec![0_i32], Vec::new(), Vec::new());
    for list in lists {
        values.extend_from_slice(list.unwrap_or_default());
        offsets.push(i32::try_from(values.len()).map_err(|_| ArrowError::OffsetOverflowError(values.len()))?);
        are_there.push(list.is_some());
    }
    let nulls = Some(NullBuffer::from(are_there));
    Ok(Arc::new(ListArray::try_new(item, OffsetBuffer::new(offsets.into()), array(values), nulls)?))
}
