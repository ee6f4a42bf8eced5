//! The tree is what the architecture page says: edges between modules, links, sizes of files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Reading order: a module may use only modules above it.
const LAYERS: &[&str] = &[
    "error",
    "named_floats",
    "visible",
    "digest",
    "guard",
    "io",
    "tensorboard",
    "spool",
    "memory",
    "interrupt",
    "storage",
    "parquet_check",
    "model_source",
    "data",
    "tokenize",
    "batch",
    "ops",
    "model",
    "policy",
    "logprob",
    "generate",
    "table",
    "loss",
    "query",
    "audit",
    "selection",
    "eval",
    "optim",
    "checkpoint",
    "precompute",
    "scoring",
    "cluster",
    "serve",
    "interchange",
    "train",
    "sft",
    "bench",
    "verify",
    "inspect",
    "report",
    "pipeline",
    "sweep",
    "cli",
];

/// Modules that may use less than everything above them.
const NARROW: &[(&str, &[&str])] = &[
    // Arithmetic on log-probs: no files, no tensors.
    ("loss", &["error"]),
    // What was scored, not what scored it.
    ("table", &["error", "digest", "guard", "io", "spool", "storage", "parquet_check", "data"]),
    // Neither model nor training; of a model its tokenizer, to count and to spell out tokens.
    (
        "query",
        &[
            "error",
            "named_floats",
            "visible",
            "digest",
            "guard",
            "io",
            "memory",
            "interrupt",
            "parquet_check",
            "data",
            "tokenize",
            "table",
            "loss",
        ],
    ),
    ("audit", &["error", "digest", "io", "data", "table", "loss", "query"]),
    // Rows of tables, whatever is made of them.
    ("selection", &["error", "digest", "io", "table", "query"]),
    ("report", &["error", "visible", "digest", "guard", "io", "parquet_check", "data", "table", "query", "audit"]),
    // Pure functions.
    ("batch", &["error"]),
];

#[test]
fn modules_use_only_modules_above_them() {
    let mut edges = BTreeSet::new();
    for file in files(Path::new("src"), "rs") {
        let from = module(&file);
        // The roots hold everything; a file of tests may hold two layers together.
        let is_test = file.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs");
        if is_test || from == "lib" || from == "main" {
            continue;
        }
        for to in uses(&code(&file)) {
            if to != from {
                edges.insert((from.clone(), to));
            }
        }
    }
    assert!(edges.contains(&("cli".into(), "pipeline".into())), "no edge was found: {edges:?}");
    let wrong: Vec<String> =
        edges.iter().filter(|(from, to)| !is_allowed(from, to)).map(|(from, to)| format!("{from} → {to}")).collect();
    assert!(wrong.is_empty(), "not allowed: {}", wrong.join(", "));
}

#[test]
fn losses_know_no_tensors() {
    for file in files(Path::new("src/loss"), "rs") {
        assert!(!code(&file).contains("candle"), "{}", file.display());
    }
}

#[test]
fn only_the_command_line_knows_anyhow_and_standard_output() {
    for file in files(Path::new("src"), "rs") {
        if module(&file) != "cli" {
            for word in ["anyhow::", "io::stdout", "io::stderr"] {
                assert!(!code(&file).contains(word), "`{word}` in {}", file.display());
            }
        }
    }
}

/// A hint is followed to the letter, in whatever folder: none says to delete anything, and what `--fresh` replaces is
/// named as the second choice.
#[test]
fn no_hint_tells_anybody_to_delete() {
    let destroys = ["delete", "remove", "erase", "rm", "overwrite", "unlink"];
    let mut n_hints = 0;
    for file in files(Path::new("src"), "rs") {
        let text = code(&file);
        let mut rest = text.as_str();
        while let Some((_, behind)) = rest.split_once("fn hint(&self)") {
            // To the end of its `impl`.
            let end = behind.find("\n}\n").unwrap_or(behind.len());
            // An option of another program, which writes a copy.
            let hints = behind[..end].to_lowercase().replace("--remove-metadata", "");
            let literals = hints.split('"').skip(1).step_by(2);
            for literal in literals {
                n_hints += 1;
                let mut words = literal.split(|c: char| !c.is_alphabetic());
                assert!(!words.any(|word| destroys.contains(&word)), "{}: `{literal}`", file.display());
            }
            rest = &behind[end..];
        }
    }
    assert!(n_hints > 150, "{n_hints}");
}

#[test]
fn links_between_files_lead_somewhere() {
    let mut pages = files(Path::new("fixtures"), "md");
    pages
        .extend(fs::read_dir(".").unwrap().map(|entry| entry.unwrap().path()).filter(|path| has_extension(path, "md")));
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap();
            if !target.is_empty() && !target.contains("://") {
                assert!(page.parent().unwrap().join(target).exists(), "{}: `{link}`", page.display());
            }
        }
    }
}

#[test]
fn no_source_file_is_longer_than_600_lines() {
    for file in ["src", "tests"].into_iter().flat_map(|folder| files(Path::new(folder), "rs")) {
        let n_lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(n_lines <= 600, "{}: {n_lines} lines", file.display());
    }
}

#[test]
fn edges_are_found_in_every_form_of_use() {
    let found = uses("use crate::error::Hint;\nuse crate::{io,\n    train::{self, Plan}};\nlet x = crate::digest::Id;");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["digest", "error", "io", "train"]);
}

fn is_allowed(from: &str, to: &str) -> bool {
    let place = |name: &str| LAYERS.iter().position(|layer| *layer == name);
    let (Some(above), Some(below)) = (place(to), place(from)) else { return false };
    let narrow = NARROW.iter().find(|(name, _)| *name == from).map(|(_, allowed)| *allowed);
    above < below && narrow.is_none_or(|allowed| allowed.contains(&to))
}

/// The top-level module a file belongs to.
fn module(file: &Path) -> String {
    let first = file.components().nth(1).unwrap();
    Path::new(first.as_os_str()).file_stem().unwrap().to_str().unwrap().to_owned()
}

/// Text of a file without its line comments: a link in a doc comment is no dependency.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| [line, "\n"]).collect()
}

/// The top-level modules named after `crate::`.
fn uses(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => found.extend(identifier(rest)),
            Some(list) => found.extend(list_heads(list)),
        }
    }
    found
}

/// First identifier of each item of `a, b::{c, d}, e}`.
fn list_heads(list: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let mut depth = 0_usize;
    let mut is_start = true;
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => is_start = true,
            c if depth == 0 && is_start && !c.is_whitespace() => {
                heads.extend(identifier(&list[at..]));
                is_start = false;
            }
            _ => {}
        }
    }
    heads
}

/// A module's name; a macro's or a type's starts with a capital or is none of ours.
fn identifier(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (name.starts_with(|c: char| c.is_lowercase())).then_some(name)
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if has_extension(&path, extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}
