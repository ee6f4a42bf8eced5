//! Whether the policy is the model the table was scored with, told by what the table says of itself.

use super::error::TrainError;
use super::plan::{Event, Mismatch, Plan};
use super::start_check::{self, Weights};
use crate::digest::Digest;
use crate::logprob;
use crate::model::Digests;
use crate::table::{Difference, ReferenceTable};
use crate::tokenize::TokenizerFiles;

/// Compares field by field; what it returns says how the sample scored before the first step has to compare.
///
/// Ids of another tokenizer are other words to the policy, so that is refused in any case. Other weights, another
/// configuration or chat template is refused unless the plan allows it: the reference is then another than where the
/// policy starts, which is what training on from a checkpoint means; so it is where the policy starts from an
/// `adapter`, since no table is scored with one. Another number format is refused unless the plan
/// allows that: the policy is then some rounding away from its reference before it has learnt anything. Another kernel
/// rounds differently and no more: it is said, and bounded by the sample.
///
/// # Errors
/// [`TrainError::Tokenizer`], or [`TrainError::OtherReference`] with the first field that differs.
pub(super) fn check(
    plan: &Plan,
    table: &ReferenceTable,
    digests: &Digests,
    adapter: Option<&Digest>,
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
    let mut fields = model_fields(table, digests, tokenizer);
    fields.extend(adapter.map(|digest| ("adapter", "none".into(), digest.to_string())));
    let other_model = first_difference(fields);
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
        None => Weights::Same { rounding: start_check::rounding(theirs, &kernel) },
    })
}

/// A field, what the table has in it, and what the policy has.
type Field = (&'static str, String, String);

fn model_fields(table: &ReferenceTable, digests: &Digests, tokenizer: &TokenizerFiles) -> Vec<Field> {
    let theirs = table.provenance();
    let mut fields = vec![
        ("model.weights_digest", theirs.model.weights_digest.to_string(), digests.weights.to_string()),
        ("model.config_digest", theirs.model.config_digest.to_string(), digests.config.to_string()),
    ];
    // A table without a template was made of plain strings: the policy's own is not asked.
    if let Some(template) = &theirs.chat_template {
        let ours = tokenizer.template_digest().map_or_else(|| "none".into(), |digest| digest.to_string());
        fields.push(("chat_template.digest", template.digest.to_string(), ours));
    }
    fields
}

fn first_difference(fields: Vec<Field>) -> Option<Difference> {
    let different = fields.into_iter().find(|(_, expected, found)| expected != found);
    different.map(|(field, expected, found)| Difference { field, expected, found })
}
