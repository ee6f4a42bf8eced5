//! Whether the policy is the model the table was scored with, told by what the table says of itself.

use super::error::TrainError;
use super::plan::{Event, OtherReference, Plan};
use super::start_check::{self, Weights};
use crate::logprob;
use crate::model::Digests;
use crate::table::{Difference, ReferenceTable};
use crate::tokenize::TokenizerFiles;

/// Compares field by field; what it returns says how the sample scored before the first step has to compare.
///
/// Ids of another tokenizer are other words to the policy, so that is refused in any case. Other weights, another
/// configuration, chat template or precision is refused unless the plan allows it: the reference is then another than
/// where the policy starts, which is what training on from a checkpoint means. Another kernel rounds differently and no
/// more: it is said, and bounded by the sample.
///
/// # Errors
/// [`TrainError::Tokenizer`], or [`TrainError::OtherReference`] with the first field that differs.
pub(super) fn check(
    plan: &Plan,
    table: &ReferenceTable,
    digests: &Digests,
    tokenizer: &TokenizerFiles,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Weights, TrainError> {
    let theirs = table.provenance();
    let (expected, found) = (theirs.tokenizer_digest, tokenizer.digest());
    if expected != found {
        return Err(TrainError::Tokenizer { table: table.path().to_owned(), expected, found });
    }
    let kernel = logprob::kernel(&plan.backend, plan.dtype);
    if theirs.dtype == plan.dtype.to_string() && theirs.kernel != kernel {
        observe(Event::Note(format!(
            "the table was computed by kernel `{}`, this is `{kernel}`: they round differently",
            theirs.kernel
        )));
    }
    let Some(difference) = first_difference(plan, table, digests, tokenizer) else {
        return Ok(Weights::Same { rounding: start_check::rounding(theirs, &kernel) });
    };
    if plan.other_reference == OtherReference::Refuse {
        return Err(TrainError::OtherReference { table: table.path().to_owned(), difference });
    }
    observe(Event::Note(format!(
        "the table's reference is another model than the policy starts from: `{}` is `{}` there, `{}` here",
        difference.field, difference.expected, difference.found
    )));
    Ok(Weights::Other)
}

fn first_difference(
    plan: &Plan,
    table: &ReferenceTable,
    digests: &Digests,
    tokenizer: &TokenizerFiles,
) -> Option<Difference> {
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
    fields.push(("dtype", theirs.dtype.clone(), plan.dtype.to_string()));
    let different = fields.into_iter().find(|(_, expected, found)| expected != found);
    different.map(|(field, expected, found)| Difference { field, expected, found })
}
