//! Whether the policy is the model the table was scored with, told by what the table says of itself.

use super::error::TrainError;
use super::plan::{Event, Mismatch, Plan, Trained};
use super::start_check::{self, Weights};
use crate::digest::Digest;
use crate::logprob;
use crate::policy::PolicyDigests;
use crate::table::{Difference, ReferenceTable};
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
    let other_model = first_difference(model_fields(table, digests, tokenizer));
    let other_dtype = first_difference(vec![("dtype", theirs.dtype.clone(), plan.course.dtype.to_string())]);
    for (difference, rule) in [(&other_model, plan.other_reference), (&other_dtype, plan.other_dtype)] {
        if let Some(difference) = difference.clone().filter(|_| rule == Mismatch::Refuse) {
            return Err(TrainError::OtherReference { table: table.path().to_owned(), difference });
        }
    }
    if let Some(difference) = other_model {
        observe(Event::Note(format!(
            "the table's reference is another model than the policy starts from: `{}` is `{}` there, `{}` here",
            difference.field, difference.expected, difference.found
        )));
        return Ok(Weights::Other);
    }
    Ok(match other_dtype {
        Some(_) => Weights::SameIn { dtype: theirs.dtype.clone() },
        // Beside the weights an adapter rounds otherwise than in them, where the table has it.
        None if matches!(plan.course.trained, Trained::Adapter { .. }) => {
            Weights::Same { rounding: start_check::rounding(theirs, BESIDE) }
        }
        None => Weights::Same { rounding: start_check::rounding(theirs, &kernel) },
    })
}

/// A field, what the table has in it, and what the policy has.
type Field = (&'static str, String, String);

fn model_fields(table: &ReferenceTable, digests: &PolicyDigests, tokenizer: &TokenizerFiles) -> Vec<Field> {
    let theirs = table.provenance();
    let mut fields = vec![
        ("model.weights_digest", theirs.model.weights_digest.to_string(), digests.base.weights.to_string()),
        ("model.config_digest", theirs.model.config_digest.to_string(), digests.base.config.to_string()),
        ("model.adapter_digest", digest_or_none(theirs.model.adapter_digest), digest_or_none(digests.adapter)),
    ];
    // A table without a template was made of plain strings: the policy's own is not asked.
    if let Some(template) = &theirs.chat_template {
        let ours = tokenizer.template_digest().map_or_else(|| "none".into(), |digest| digest.to_string());
        fields.push(("chat_template.digest", template.digest.to_string(), ours));
    }
    fields
}

fn digest_or_none(digest: Option<Digest>) -> String {
    digest.map_or_else(|| "none".into(), |digest| digest.to_string())
}

fn first_difference(fields: Vec<Field>) -> Option<Difference> {
    let different = fields.into_iter().find(|(_, expected, found)| expected != found);
    different.map(|(field, expected, found)| Difference { field, expected, found })
}
