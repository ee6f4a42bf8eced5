//! Rows of a part: what the contract says of each, their ids, their keys, and those taken into the sample.

use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef, AsArray, ListArray, PrimitiveArray, RecordBatch, StringArray};
use arrow::datatypes::{ArrowPrimitiveType, Float32Type, Float64Type, Int64Type, UInt32Type};
use rand::SeedableRng;
use rand::seq::index;
use rand_chacha::ChaCha8Rng;

use super::Report;
use super::coverage::{Coverage, Key};
use crate::digest::Digest;
use crate::table::{Answer, Finding, Level, problems};
use crate::tokenize::TokensId;

/// Where a batch of rows lies.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// The part.
    pub(super) path: &'a Path,
    /// Its first row, counted over the whole table.
    pub(super) part_start: u64,
    /// The batch's first row in the part.
    pub(super) first_row: usize,
}

/// Rows to be scored again, drawn before the table is read and filled while it is.
#[derive(Default)]
pub(super) struct Sample {
    /// Their places in the table, sorted.
    wanted: Vec<u64>,
    pub(super) pairs: Vec<SampledPair>,
}

/// A row of the sample.
pub(super) struct SampledPair {
    pub(super) path: PathBuf,
    pub(super) row: usize,
    pub(super) pair_id: String,
    pub(super) prompt_ids: Vec<u32>,
    pub(super) chosen_ids: Vec<u32>,
    pub(super) rejected_ids: Vec<u32>,
    /// Chosen first, in nats.
    pub(super) logps: [f64; 2],
    /// Terms of the two, where the table has them.
    pub(super) terms: Option<[Vec<f32>; 2]>,
}

impl Sample {
    /// `n_pairs` rows out of `n_rows`, all if there are fewer: the same ones for the same seed.
    pub(super) fn draw(seed: u64, n_pairs: usize, n_rows: u64) -> Self {
        let n_rows = usize::try_from(n_rows).unwrap_or(usize::MAX);
        let digest = Digest::of_parts([("seed", seed.to_le_bytes().as_slice()), ("purpose", b"verify")]);
        let mut rng = ChaCha8Rng::from_seed(*digest.as_bytes());
        let rows = index::sample(&mut rng, n_rows, n_pairs.min(n_rows));
        let mut wanted: Vec<u64> = rows.into_iter().map(|row| row as u64).collect();
        wanted.sort_unstable();
        Self { wanted, pairs: Vec::new() }
    }

    fn take(&mut self, place: Place<'_>, columns: &Columns<'_>) {
        // What a manifest lists may be more rows than there are numbers.
        let start = place.part_start.saturating_add(place.first_row as u64);
        let end = start.saturating_add(columns.pair_id.len() as u64);
        let first = self.wanted.partition_point(|&row| row < start);
        for &wanted in self.wanted[first..].iter().take_while(|&&row| row < end) {
            let row = usize::try_from(wanted - start).unwrap_or_default();
            self.pairs.extend(columns.sampled(place, row));
        }
    }
}

/// Checks the rows of a batch; everything that is wrong with them goes to `report`.
pub(super) fn check(
    place: Place<'_>,
    batch: &RecordBatch,
    coverage: &mut Coverage,
    sample: &mut Sample,
    report: &mut Report<'_>,
) {
    let _ = problems(place.path, place.first_row, batch, &mut |problem| {
        report.table_error(&problem);
        Answer::Continue(())
    });
    // A part without these columns has been refused when it was opened.
    let Some(columns) = Columns::of(batch) else { return };
    for row in 0..batch.num_rows() {
        columns.check_tokens_id(place, row, report);
        coverage.see(&columns.key(place, row), report);
    }
    sample.take(place, &columns);
}

/// The columns that are read here.
struct Columns<'a> {
    pair_id: &'a StringArray,
    tokens_id: &'a StringArray,
    source: &'a StringArray,
    row_idx: &'a PrimitiveArray<Int64Type>,
    ids: [Lists<'a, UInt32Type>; 3],
    logps: [&'a PrimitiveArray<Float64Type>; 2],
    terms: [Lists<'a, Float32Type>; 2],
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Option<Self> {
        let text = |name| batch.column_by_name(name)?.as_string_opt::<i32>();
        Some(Self {
            pair_id: text("pair_id")?,
            tokens_id: text("tokens_id")?,
            source: text("source")?,
            row_idx: batch.column_by_name("row_idx")?.as_primitive_opt()?,
            ids: [
                Lists::of(batch.column_by_name("prompt_ids")?)?,
                Lists::of(batch.column_by_name("chosen_ids")?)?,
                Lists::of(batch.column_by_name("rejected_ids")?)?,
            ],
            logps: [
                batch.column_by_name("ref_chosen_logps")?.as_primitive_opt()?,
                batch.column_by_name("ref_rejected_logps")?.as_primitive_opt()?,
            ],
            terms: [
                Lists::of(batch.column_by_name("ref_chosen_token_logps")?)?,
                Lists::of(batch.column_by_name("ref_rejected_token_logps")?)?,
            ],
        })
    }

    fn check_tokens_id(&self, place: Place<'_>, row: usize, report: &mut Report<'_>) {
        let [prompt, chosen, rejected] = &self.ids;
        let expected = TokensId::of(prompt.get(row), chosen.get(row), rejected.get(row)).to_string();
        let found = self.tokens_id.value(row);
        if found != expected {
            let pair_id = self.pair_id.value(row);
            let evidence = format!(
                "`{}`, row {}, pair `{pair_id}`: expected `tokens_id` {expected} of the ids in the row, found {found}",
                place.path.display(),
                place.first_row + row
            );
            let pair_id = Some(pair_id.to_owned());
            report.push(&Finding { pair_id, check: "tokens_id".into(), level: Level::Error, value: None, evidence });
        }
    }

    fn key(&self, place: Place<'a>, row: usize) -> Key<'a> {
        Key {
            source: self.source.value(row),
            row_idx: self.row_idx.value(row),
            pair_id: Some(self.pair_id.value(row)),
            path: place.path,
            row: place.first_row + row,
        }
    }

    /// `None` for a row that cannot be scored: why has been told by the other checks.
    fn sampled(&self, place: Place<'_>, row: usize) -> Option<SampledPair> {
        let [prompt_ids, chosen_ids, rejected_ids] = self.ids.each_ref().map(|ids| ids.get(row).to_vec());
        if [&prompt_ids, &chosen_ids, &rejected_ids].iter().any(|ids| ids.is_empty()) {
            return None;
        }
        let terms = self.terms.each_ref().map(|terms| terms.get(row).to_vec());
        let has_terms = terms[0].len() == chosen_ids.len() && terms[1].len() == rejected_ids.len();
        Some(SampledPair {
            path: place.path.to_owned(),
            row: place.first_row + row,
            pair_id: self.pair_id.value(row).to_owned(),
            prompt_ids,
            chosen_ids,
            rejected_ids,
            logps: self.logps.map(|logps| logps.value(row)),
            terms: has_terms.then_some(terms),
        })
    }
}

/// A list column with its values.
struct Lists<'a, T: ArrowPrimitiveType> {
    list: &'a ListArray,
    values: &'a [T::Native],
}

impl<'a, T: ArrowPrimitiveType> Lists<'a, T> {
    fn of(array: &'a ArrayRef) -> Option<Self> {
        let list = array.as_list_opt::<i32>()?;
        Some(Self { list, values: list.values().as_primitive_opt::<T>()?.values() })
    }

    fn get(&self, row: usize) -> &'a [T::Native] {
        let bound = |row: usize| usize::try_from(self.list.value_offsets()[row]).unwrap_or_default();
        &self.values[bound(row)..bound(row + 1)]
    }
}
