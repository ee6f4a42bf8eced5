//! A flag of another program: what it is called here, in place of the nearest name.

use std::ffi::OsString;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::pipeline::foreign_advice;

/// The error with what an unknown flag means here, where it is one of TRL, transformers or PEFT and the subcommand has the
/// flags that stand for it.
pub(super) fn advised(mut error: clap::Error, command: &Command, arguments: &[OsString]) -> clap::Error {
    let given = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(given)) if error.kind() == ErrorKind::UnknownArgument => given.clone(),
        _ => return error,
    };
    let name = given.split('=').next().unwrap_or_default();
    let subcommand = arguments.iter().skip(1).find_map(|argument| command.find_subcommand(argument));
    let Some((advice, subcommand)) = foreign_advice(name).zip(subcommand) else { return error };
    if subcommand.get_name() == "train" || flags(advice).all(|flag| has(subcommand, flag)) {
        error.remove(ContextKind::SuggestedArg);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![advice.into()]));
    }
    error
}

/// The flags that a text names.
fn flags(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).filter_map(|word| word.strip_prefix("--"))
}

fn has(command: &Command, flag: &str) -> bool {
    command.get_arguments().any(|argument| argument.get_long() == Some(flag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command;

    fn said(arguments: &str) -> String {
        let arguments: Vec<OsString> = arguments.split(' ').map(Into::into).collect();
        let mut command = command();
        let error = command.try_get_matches_from_mut(&arguments).unwrap_err();
        advised(error, &command, &arguments).to_string()
    }

    #[test]
    fn a_flag_of_another_program_is_answered_with_ours_and_never_with_the_nearest() {
        for (arguments, want) in [
            ("piref train --rpo-alpha 1.0", "tip: TRL's `rpo_alpha=A` is `--loss-type sigmoid --loss-type sft"),
            ("piref train --rpo-alpha=1.0", "tip: TRL's `rpo_alpha=A` is"),
            ("piref train --output_dir x", "tip: it is `--out`"),
            ("piref train --per-device-train-batch-size 4", "tip: `--batch-size` is the pairs of an optimiser step"),
            ("piref train --greater-is-better true", "tip: it follows from `--metric-for-best-model`"),
            ("piref precompute --model-name-or-path m", "tip: it is `--model`"),
        ] {
            let said = said(arguments);
            assert!(said.contains(want) && !said.contains("a similar argument"), "{arguments}: {said}");
        }
        // Of a command that has no such flag, nothing is said.
        assert!(!said("piref precompute --rpo-alpha 1.0").contains("rpo_alpha=A"));
        assert!(said("piref train --learning-rat 1").contains("a similar argument exists: '--learning-rate'"));
    }

    /// Advice that is followed to the letter is accepted.
    #[test]
    fn every_flag_that_advice_names_is_one() {
        let command = command();
        let all: Vec<&Command> = command.get_subcommands().collect();
        for name in crate::pipeline::foreign_names() {
            let advice = foreign_advice(name).unwrap();
            for flag in flags(advice) {
                assert!(all.iter().any(|command| has(command, flag)), "{name}: `--{flag}`");
            }
            let train = command.find_subcommand("train").unwrap();
            assert!(!has(train, &name.replace('_', "-")), "`{name}` is a flag");
        }
    }
}
