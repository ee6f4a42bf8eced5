//! Signals: what the forward pass of stage one shows of a pair beside its log-probs, in a file beside each part
//! (`schemas/signals.v1.toml`).
//!
//! Invariant: the log-probs of a table do not depend on its signals. A part has a file of them or not, a pair in it all of
//! its signals or none, and what is none of them is refused when it is written.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Float32Array, Float64Array, ListArray, RecordBatch};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::Field;

use crate::table::parquet_file::{FileRecord, ParquetFile};
use crate::table::schema::signals;
use crate::table::writer::{internal, properties, store_column};
use crate::table::{PairTokenLogps, Provenance, TableError};

/// What the reference says of a pair, token by token.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenScores {
    /// The log-probs.
    pub logps: PairTokenLogps,
    /// What else the pass has shown, where it was asked for.
    pub signals: Option<PairSignals>,
}

/// Signals of one pair.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PairSignals {
    /// Of the preferred completion.
    pub chosen: CompletionSignals,
    /// Of the other one.
    pub rejected: CompletionSignals,
    /// Centered hidden embedding similarity.
    pub ches: f64,
    /// The same of means in place of sums.
    pub ches_mean: f64,
}

/// Signals of one completion, one of each kind per token.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CompletionSignals {
    /// Entropy of the distribution the token was predicted from, in nats.
    pub entropies: Vec<f32>,
    /// Whether no token was likelier.
    pub are_top: Vec<bool>,
}

/// Name of the signals of part number `part_idx`, from 0.
pub fn signals_name(part_idx: usize) -> String {
    format!("signals-{part_idx:05}.parquet")
}

impl PairSignals {
    /// Whether all numbers are numbers, and the lists as long as those of the log-probs.
    pub fn fit(&self, logps: &PairTokenLogps) -> bool {
        let fits = |signals: &CompletionSignals, logps: &[f32]| {
            signals.entropies.len() == logps.len()
                && signals.are_top.len() == logps.len()
                && signals.entropies.iter().all(|&entropy| is_entropy(entropy))
        };
        self.ches.is_finite()
            && self.ches_mean.is_finite()
            && fits(&self.chosen, &logps.chosen)
            && fits(&self.rejected, &logps.rejected)
    }

    /// The bits of all of them, for [`from_bytes`](Self::from_bytes).
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = [self.ches, self.ches_mean].map(f64::to_le_bytes).as_flattened().to_vec();
        for side in [&self.chosen, &self.rejected] {
            bytes.extend(side.entropies.iter().flat_map(|entropy| entropy.to_le_bytes()));
            bytes.extend(side.are_top.iter().map(|&is_top| u8::from(is_top)));
        }
        bytes
    }

    /// Bytes that [`to_bytes`](Self::to_bytes) makes of a pair of so many tokens.
    pub(crate) fn n_bytes(n_chosen: usize, n_rejected: usize) -> usize {
        2 * size_of::<f64>() + (size_of::<f32>() + 1) * (n_chosen + n_rejected)
    }

    /// Reads them back; `None` if they are not of a pair of so many tokens.
    pub(crate) fn from_bytes(bytes: &[u8], n_chosen: usize, n_rejected: usize) -> Option<Self> {
        let (ches, rest) = bytes.split_first_chunk()?;
        let (ches_mean, rest) = rest.split_first_chunk()?;
        let (chosen, rejected) = rest.split_at_checked((size_of::<f32>() + 1) * n_chosen)?;
        let side = |bytes: &[u8], n_tokens: usize| -> Option<CompletionSignals> {
            let (entropies, are_top) = bytes.split_at_checked(size_of::<f32>() * n_tokens)?;
            (are_top.len() == n_tokens).then(|| CompletionSignals {
                entropies: entropies.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
                are_top: are_top.iter().map(|&byte| byte != 0).collect(),
            })
        };
        Some(Self {
            chosen: side(chosen, n_chosen)?,
            rejected: side(rejected, n_rejected)?,
            ches: f64::from_le_bytes(*ches),
            ches_mean: f64::from_le_bytes(*ches_mean),
        })
    }
}

/// Whether a number can be an entropy.
pub(super) fn is_entropy(value: f32) -> bool {
    value.is_finite() && value >= 0.0
}

/// Mean in `f64`, in order; that of none is no number.
pub(super) fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

/// Share of the answers that are yes.
pub(super) fn share(answers: &[bool]) -> f64 {
    mean(answers.iter().map(|&is_top| f64::from(u8::from(is_top))))
}

/// The least of some log-probs.
pub(super) fn least(logps: &[f32]) -> f64 {
    logps.iter().map(|&logp| f64::from(logp)).fold(f64::INFINITY, f64::min)
}

/// Writes the signals of rows of the token store, in the order of the part that has their log-probs: all of the file
/// under its name, or nothing. The same values and provenance give the same bytes.
///
/// # Errors
/// If a key column of the store is missing, if log-probs or signals are not as many as rows, or if signals are no numbers
/// or not one a token.
pub fn write_signals(
    path: &Path,
    store: &RecordBatch,
    scores: &[TokenScores],
    provenance: &Provenance,
) -> Result<FileRecord, TableError> {
    if scores.len() != store.num_rows() {
        let what = format!("signals of {} pairs for {} rows of the token store", scores.len(), store.num_rows());
        return Err(TableError::Internal { what });
    }
    if let Some(row) = scores.iter().position(|pair| pair.signals.as_ref().is_some_and(|found| !found.fit(&pair.logps)))
    {
        let what = format!("signals of row {row} of `{}` are none: {:?}", path.display(), scores[row].signals);
        return Err(TableError::Internal { what });
    }
    let mut columns = Vec::with_capacity(signals::COLUMNS.len());
    for column in &signals::COLUMNS[..signals::KEY_COLUMNS] {
        columns.push(store_column(store, column)?);
    }
    columns.extend(value_columns(scores)?);
    let batch = RecordBatch::try_new(signals::schema(), columns).map_err(internal)?;
    let provenance = provenance_of_signals(provenance);
    let mut file =
        ParquetFile::create_with(path, batch.schema(), provenance.to_footer(), properties(signals::COLUMNS))?;
    file.write(&batch)?;
    file.finish()
}

/// What stands in the footer of the signals of a part that has `provenance` in its own.
pub(super) fn provenance_of_signals(provenance: &Provenance) -> Provenance {
    Provenance { schema: signals::VERSION.into(), ..provenance.clone() }
}

/// The columns after the keys.
fn value_columns(scores: &[TokenScores]) -> Result<Vec<ArrayRef>, TableError> {
    const SIDES: [fn(&PairSignals) -> &CompletionSignals; 2] = [|pair| &pair.chosen, |pair| &pair.rejected];
    let numbers = |value: &dyn Fn(&PairSignals) -> f64| -> ArrayRef {
        Arc::new(scores.iter().map(|pair| pair.signals.as_ref().map(value)).collect::<Float64Array>())
    };
    let least = |logps: fn(&PairTokenLogps) -> &[f32]| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(scores.iter().map(|pair| least(logps(&pair.logps)))))
    };
    let entropy = |entropies: &[f32]| mean(entropies.iter().map(|&entropy| f64::from(entropy)));
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(signals::COLUMNS.len() - signals::KEY_COLUMNS);
    columns.extend(SIDES.map(|side| numbers(&|pair| entropy(&side(pair).entropies))));
    columns.extend(SIDES.map(|side| numbers(&|pair| share(&side(pair).are_top))));
    columns.extend([least(|logps| &logps.chosen), least(|logps| &logps.rejected)]);
    columns.extend([numbers(&|pair| pair.ches), numbers(&|pair| pair.ches_mean)]);
    for side in SIDES {
        let values = scores.iter().filter_map(|pair| pair.signals.as_ref());
        let values: Float32Array =
            values.flat_map(|pair| side(pair).entropies.iter().copied()).collect::<Vec<_>>().into();
        columns.push(lists(scores, side, Arc::new(values))?);
    }
    for side in SIDES {
        let values = scores.iter().filter_map(|pair| pair.signals.as_ref());
        let values: BooleanArray =
            values.flat_map(|pair| side(pair).are_top.iter().copied()).collect::<Vec<_>>().into();
        columns.push(lists(scores, side, Arc::new(values))?);
    }
    Ok(columns)
}

/// A list column over the values of one side of all pairs, null where a pair has no signals.
fn lists(
    scores: &[TokenScores],
    side: fn(&PairSignals) -> &CompletionSignals,
    values: ArrayRef,
) -> Result<ArrayRef, TableError> {
    if i32::try_from(values.len()).is_err() {
        return Err(TableError::Internal { what: format!("a part of more than {} tokens", i32::MAX) });
    }
    let lengths = scores.iter().map(|pair| pair.signals.as_ref().map_or(0, |pair| side(pair).entropies.len()));
    let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
    let nulls: NullBuffer = scores.iter().map(|pair| pair.signals.is_some()).collect::<Vec<_>>().into();
    let item = Arc::new(Field::new("element", values.data_type().clone(), false));
    Ok(Arc::new(ListArray::try_new(item, offsets, values, Some(nulls)).map_err(internal)?))
}
