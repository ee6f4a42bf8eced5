//! The model a table was made with, and a second scoring of some of its rows.

use std::path::PathBuf;

use serde::Serialize;

use super::rows::{Sample, SampledPair};
use super::{Event, Report, VerifyError, quoted};
use crate::batch::{PairIds, Sharing};
use crate::logprob;
use crate::model::{self, ModelError, ScoringDtype};
use crate::ops::Backend;
use crate::policy::{PolicyDigests, PolicySource};
use crate::precompute::score;
use crate::table::{Finding, Level, ModelProvenance, PairTokenLogps, Provenance, TemplateProvenance};

/// Rows scored before the next are: what bounds the memory of the scoring.
const CHUNK_PAIRS: usize = 256;

/// How to score again.
#[derive(Debug, Clone)]
pub struct ModelCheck {
    /// The model: see [`PolicySource::resolve`].
    pub model: String,
    /// An adapter over it.
    pub adapter: Option<PathBuf>,
    /// Rows to score; all, if there are fewer.
    pub sample: usize,
    /// Which rows: the same ones for the same seed.
    pub seed: u64,
    /// Largest difference that is still rounding, in nats a sequence.
    pub tolerance: f64,
    /// Token budget of a forward pass.
    pub max_tokens: usize,
    /// Where the model runs.
    pub backend: Backend,
}

/// What a second scoring found: absolute differences to the table, in nats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rescored {
    /// Pairs scored, two sequences each.
    pub n_pairs: usize,
    /// Tokens compared; 0 for a table that has sums only.
    pub n_tokens: u64,
    /// Largest difference of a sequence.
    pub max_sequence: f64,
    /// Mean difference of a sequence.
    pub mean_sequence: f64,
    /// Largest difference of a token.
    pub max_token: f64,
    /// Mean difference of a token.
    pub mean_token: f64,
    /// Largest difference of a sequence that is no finding.
    pub tolerance: f64,
}

/// A model that was found.
pub(super) struct Found<'a> {
    pub(super) check: &'a ModelCheck,
    source: PolicySource,
}

impl<'a> Found<'a> {
    pub(super) fn resolve(check: &'a ModelCheck) -> Result<Self, VerifyError> {
        Ok(Self { check, source: PolicySource::resolve(&check.model, check.adapter.as_deref())? })
    }

    /// Compares the model with what the table says of its own, then scores the sample.
    pub(super) fn check(
        &self,
        provenance: &Provenance,
        sample: &Sample,
        report: &mut Report<'_>,
    ) -> Result<Option<Rescored>, VerifyError> {
        for difference in provenance.differences(&self.provenance(provenance)?) {
            let evidence = format!(
                "{} is not the model of the table: expected `{}` {}, found {}",
                quoted(self.source.path()),
                difference.field,
                difference.expected,
                difference.found
            );
            report.error("model", evidence);
            let hint = "name the model the table was made with, or run `piref precompute` with this one";
            report.summary.hints.insert(hint.into());
        }
        let dtype = ScoringDtype::of_name(&provenance.dtype).unwrap_or_else(|| {
            report.note(format!(
                "the table was scored in `{}`, which is not known here: taken for f32",
                provenance.dtype
            ));
            ScoringDtype::F32
        });
        let kernel = logprob::kernel(&self.check.backend, dtype);
        if provenance.kernel != kernel {
            report.note(format!(
                "the table was scored by code path `{}`, this is `{kernel}`: last bits may differ",
                provenance.kernel
            ));
        }
        if sample.pairs.is_empty() {
            return Ok(None);
        }
        let model = self.source.load_merged(&self.check.backend)?.with_dtype(dtype);
        let mut deltas = Deltas::default();
        let n_total = sample.pairs.len();
        for chunk in sample.pairs.chunks(CHUNK_PAIRS) {
            let n_before = deltas.n_pairs;
            let pairs: Vec<PairIds<'_>> = chunk.iter().map(ids).collect();
            let scored = score(&model, &pairs, self.check.max_tokens, Sharing::Prompts, |n_done| {
                (report.observe)(Event::Scored { n_pairs: n_before + n_done, n_total });
            })
            .map_err(|source| self.in_model(source))?;
            for (pair, scored) in chunk.iter().zip(&scored) {
                deltas.add(pair, scored, self.check.tolerance, report);
            }
        }
        Ok(Some(deltas.finish(self.check.tolerance)))
    }

    /// What the table would say, had it been made with this model.
    fn provenance(&self, of_table: &Provenance) -> Result<Provenance, VerifyError> {
        let PolicyDigests { base, adapter } = self.source.digests()?;
        let architecture = model::architecture(self.source.base()).map_err(|source| self.in_model(source))?;
        let tokenizer = self.source.tokenizer()?.files;
        // The date is the plan's, not the model's.
        let date = of_table.chat_template.as_ref().map(|template| template.date.clone()).unwrap_or_default();
        Ok(Provenance {
            model: ModelProvenance {
                path: of_table.model.path.clone(),
                architecture: architecture.to_string(),
                weights_digest: base.weights,
                config_digest: base.config,
                adapter_digest: adapter,
                identity: Some(base.identity),
            },
            tokenizer_digest: tokenizer.digest(),
            chat_template: tokenizer.template_digest().map(|digest| TemplateProvenance { digest, date }),
            ..of_table.clone()
        })
    }

    fn in_model(&self, source: ModelError) -> VerifyError {
        VerifyError::Model { model: self.check.model.clone(), source }
    }
}

fn ids(pair: &SampledPair) -> PairIds<'_> {
    PairIds { prompt: &pair.prompt_ids, chosen: &pair.chosen_ids, rejected: &pair.rejected_ids }
}

#[derive(Default)]
struct Deltas {
    n_pairs: usize,
    n_tokens: u64,
    max_sequence: f64,
    sum_sequence: f64,
    max_token: f64,
    sum_token: f64,
}

impl Deltas {
    fn add(&mut self, pair: &SampledPair, scored: &PairTokenLogps, tolerance: f64, report: &mut Report<'_>) {
        self.n_pairs += 1;
        let sides = [("ref_chosen_logps", &scored.chosen), ("ref_rejected_logps", &scored.rejected)];
        for (at, (column, logps)) in sides.into_iter().enumerate() {
            let (expected, found) = (pair.logps[at], logprob::sum(logps));
            let delta = (expected - found).abs();
            self.max_sequence = larger(self.max_sequence, delta);
            self.sum_sequence += delta;
            // Not a comparison that a NaN would pass.
            let is_rounding = delta <= tolerance;
            if !is_rounding {
                let evidence = format!(
                    "{}, row {}, pair `{}`: expected {expected} in `{column}`, found {found} when scored again",
                    quoted(&pair.path),
                    pair.row,
                    pair.pair_id
                );
                let value = Some(delta).filter(|delta| delta.is_finite());
                let pair_id = Some(pair.pair_id.clone());
                report.push(&Finding { pair_id, check: "rescore".into(), level: Level::Error, value, evidence });
            }
            let terms = pair.terms.as_ref().map(|terms| &terms[at]);
            for (&expected, &found) in terms.into_iter().flatten().zip(logps) {
                let delta = (f64::from(expected) - f64::from(found)).abs();
                self.n_tokens += 1;
                self.max_token = larger(self.max_token, delta);
                self.sum_token += delta;
            }
        }
    }

    fn finish(&self, tolerance: f64) -> Rescored {
        let mean = |sum: f64, n: f64| if n > 0.0 { sum / n } else { 0.0 };
        Rescored {
            n_pairs: self.n_pairs,
            n_tokens: self.n_tokens,
            max_sequence: self.max_sequence,
            mean_sequence: mean(self.sum_sequence, 2.0 * self.n_pairs as f64),
            max_token: self.max_token,
            mean_token: mean(self.sum_token, self.n_tokens as f64),
            tolerance,
        }
    }
}

/// A difference that is no number is larger than any.
fn larger(a: f64, b: f64) -> f64 {
    if a.total_cmp(&b).is_lt() { b } else { a }
}
