//! What is said of the shards of a table, and the commands that make or finish them.

use std::path::Path;

use super::quoted;
use crate::precompute::Missing;

/// Names of missing parts that are listed, at most.
const MAX_PARTS: usize = 8;

/// What is missing, and what to run for it.
pub(super) fn missing_lines(missing: &Missing, table: &Path) -> Vec<String> {
    let mut parts: Vec<&str> = missing.parts.iter().map(String::as_str).take(MAX_PARTS).collect();
    if missing.parts.len() > MAX_PARTS {
        parts.push("…");
    }
    let mut lines = vec![format!(
        "error: `{}` is not finished: {} of {} parts, of {} pairs, are not there or not of this data: {}",
        table.display(),
        missing.parts.len(),
        missing.n_parts,
        missing.n_pairs,
        parts.join(", ")
    )];
    for shard in &missing.shards {
        let command = command_with(std::env::args(), &format!("--shard {shard}"));
        lines.push(format!("to make those of shard {shard}: {command}"));
    }
    lines.push(format!("to make all of them here, and finish: {}", command_with(std::env::args(), "")));
    lines
}

/// A command line with another flag in the place of `--shard` and `--finish`.
pub(super) fn command_with(arguments: impl IntoIterator<Item = String>, flag: &str) -> String {
    let mut words = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        if argument == "--shard" {
            arguments.next();
        } else if argument != "--finish" && !argument.starts_with("--shard=") {
            words.push(quoted(&argument));
        }
    }
    if !flag.is_empty() {
        words.push(flag.to_owned());
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_the_same_but_for_the_shard() {
        for (arguments, flag, want) in [
            ("piref precompute p.toml --finish", "--shard 1/4", "piref precompute p.toml --shard 1/4"),
            ("piref precompute --finish p.toml", "", "piref precompute p.toml"),
            ("piref precompute --shard auto p.toml -q", "--finish", "piref precompute p.toml -q --finish"),
            ("piref precompute p.toml --shard=0/4", "--finish", "piref precompute p.toml --finish"),
        ] {
            assert_eq!(command_with(arguments.split(' ').map(str::to_owned), flag), want);
        }
    }

    #[test]
    fn what_is_missing_comes_with_a_command_for_each_shard() {
        let missing = Missing {
            n_parts: 12,
            parts: (0..9).map(|part| format!("part-0000{part}.parquet")).collect(),
            n_pairs: 70,
            shards: ["0/4", "3/4"].map(|shard| shard.parse().unwrap()).to_vec(),
        };
        let lines = missing_lines(&missing, Path::new("t"));
        assert!(lines[0].starts_with("error: `t` is not finished: 9 of 12 parts, of 70 pairs,"), "{}", lines[0]);
        assert!(lines[0].ends_with("part-00007.parquet, …") && !lines[0].contains("part-00008"), "{}", lines[0]);
        assert!(lines[1].starts_with("to make those of shard 0/4: ") && lines[1].ends_with(" --shard 0/4"));
        assert!(lines[2].ends_with(" --shard 3/4"));
        assert_eq!(lines.len(), 4);
    }
}
