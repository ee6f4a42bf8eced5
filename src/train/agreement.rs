//! Whether the policy is the model the table was scored with, told by what the table says of itself.

use super::error::TrainError;
use super::plan::{Event, Mismatch, Plan, Trained};
use super::start_check::{self, Weights};
use crate::logprob;
use crate::policy::PolicyDigests;
use crate::table::{Difference, ModelProvenance, ReferenceTable};
use crate::tokenize::TokenizerFiles;

/// The code path of a policy whose adapter is beside its weights: none that a table is made by.
const BESIDE: &str = "an adapter beside the weights";

/// Compares field by field; what it returns says how the sample scored before the first step has to compare.
///
/// Ids of another tokenizer are other words to the policy, so that is refused in any case. Other weights, another
/// configuration or chat template is refused unless the plan allows it: the reference is then another than where the
/// policy starts, which is what training on from a checkpoint means; so it is where one of them has an adapter
/// and the other has not. Another number format is refused unless the plan
/// allows that: the policy is then some rounding away from its reference before it has learnt anything. Another kernel
/// rounds differently and no more: it is said, and bounded by the sample.
///
/// What is allowed switches off no check that can still be made: the ids of a table are given, so that under another chat
/// template the policy still has to score them as the reference did.
///
/// # Errors
/// [`TrainError::Tokenizer`], or [`TrainError::OtherReference`] with the first field that differs.
pub(super) fn check(
    plan: &Plan,
    table: &ReferenceTable,
    digests: &PolicyDigests,
    tokenizer: &TokenizerFiles,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Weights, TrainError> {
    let theirs = table.provenance();
    let (expected, found) = (theirs.tokenizer_digest, tokenizer.digest());
    if expected != found {
        return Err(TrainError::Tokenizer { table: table.path().to_owned(), expected, found });
    }
    let kernel = logprob::kernel(&plan.course.backend, plan.course.dtype);
    if theirs.dtype == plan.course.dtype.to_string() && theirs.kernel != kernel {
        observe(Event::Note(format!(
            "the table was computed by kernel `{}`, this is `{kernel}`: they round differently",
            theirs.kernel
        )));
    }
    let ours = ModelProvenance {
        path: plan.course.model.clone(),
        architecture: theirs.model.architecture.clone(),
        weights_digest: digests.base.weights,
        config_digest: digests.base.config,
        adapter_digest: digests.adapter,
        identity: Some(digests.base.identity),
    };
    let other_model = theirs.model.differences(&ours).into_iter().next();
    // A table without a template was made of plain strings: the policy's own is not asked.
    let other_template = theirs.chat_template.as_ref().and_then(|template| {
        let ours = tokenizer.template_digest().map_or_else(|| "none".into(), |digest| digest.to_string());
        difference(("chat_template.digest", template.digest.to_string(), ours))
    });
    let other_dtype = difference(("dtype", theirs.dtype.clone(), plan.course.dtype.to_string()));
    for (difference, rule) in [
        (&other_model, plan.other_reference),
        (&other_template, plan.other_reference),
        (&other_dtype, plan.other_dtype),
    ] {
        if let Some(difference) = difference.clone().filter(|_| rule == Mismatch::Refuse) {
            return Err(TrainError::OtherReference { table: table.path().to_owned(), difference });
        }
    }
    if let Some(difference) = other_model.as_ref().or(other_template.as_ref()) {
        observe(Event::Note(format!(
            "the table's reference is another model than the policy starts from: `{}` is `{}` there, `{}` here",
            difference.field, difference.expected, difference.found
        )));
    }
    // Beside the weights an adapter rounds otherwise than in them, where the table has it.
    let is_beside = matches!(plan.course.trained, Trained::Adapter { .. });
    let rounding = start_check::rounding(theirs, if is_beside { BESIDE } else { &kernel });
    Ok(match (other_model, other_dtype) {
        (Some(_), _) => Weights::Other { rounding },
        (None, Some(_)) => Weights::SameIn { dtype: theirs.dtype.clone() },
        (None, None) => Weights::Same { rounding },
    })
}

/// A field, what the table has in it, and what the policy has.
fn difference((field, expected, found): (&'static str, String, String)) -> Option<Difference> {
    (expected != found).then_some(Difference { field, expected, found })
}
