//! Wrong files and wrong flags.

use insta::assert_snapshot;

use crate::support::Case;

#[test]
fn an_unknown_key_names_its_neighbour() {
    let case = Case::new().pipeline("[precompute]\nmax_token = 512\n");
    assert_snapshot!(case.run(["precompute", "p.toml"]), @r#"
    exit: 101
    stdout:
    stderr:

    thread 'main' (29298) panicked at /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/clap_builder-4.6.7/src/builder/debug_asserts.rs:826:5:
    Argument "fresh"
      Arg::is_takes_value_set is required when Arg::is_allow_negative_numbers_set is set.

    note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
    "#);
}

#[test]
fn an_unknown_flag_names_its_neighbour() {
    assert_snapshot!(Case::new().run(["train", "p.toml", "--learning-rat", "1e-5"]), @r#"
    exit: 101
    stdout:
    stderr:

    thread 'main' (29293) panicked at /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/clap_builder-4.6.7/src/builder/debug_asserts.rs:826:5:
    Argument "no_shuffle"
      Arg::is_takes_value_set is required when Arg::is_allow_negative_numbers_set is set.

    note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
    "#);
}

#[test]
fn a_wrong_value_in_a_file_names_its_line() {
    let case = Case::new().pipeline("model = 'm'\n\n[train.loss]\nbeta = 0\n");
    assert_snapshot!(case.run(["train", "p.toml"]), @r#"
    exit: 101
    stdout:
    stderr:

    thread 'main' (29278) panicked at /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/clap_builder-4.6.7/src/builder/debug_asserts.rs:826:5:
    Argument "no_shuffle"
      Arg::is_takes_value_set is required when Arg::is_allow_negative_numbers_set is set.

    note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
    "#);
}

#[test]
fn a_wrong_value_of_a_flag_says_what_was_expected() {
    assert_snapshot!(Case::new().run(["train", "p.toml", "--beta", "-1"]), @r#"
    exit: 101
    stdout:
    stderr:

    thread 'main' (29283) panicked at /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/clap_builder-4.6.7/src/builder/debug_asserts.rs:826:5:
    Argument "no_shuffle"
      Arg::is_takes_value_set is required when Arg::is_allow_negative_numbers_set is set.

    note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
    "#);
}

#[test]
fn a_wrong_word_lists_the_right_ones() {
    assert_snapshot!(Case::new().run(["train", "p.toml", "--lr-scheduler-type", "cosin"]), @r#"
    exit: 101
    stdout:
    stderr:

    thread 'main' (29288) panicked at /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/clap_builder-4.6.7/src/builder/debug_asserts.rs:826:5:
    Argument "no_shuffle"
      Arg::is_takes_value_set is required when Arg::is_allow_negative_numbers_set is set.

    note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
    "#);
}

#[test]
fn flags_alone_must_name_everything() {
    assert_snapshot!(Case::new().run(["precompute", "--model", "m"]), @r#"
    exit: 101
    stdout:
    stderr:

    thread 'main' (29303) panicked at /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/clap_builder-4.6.7/src/builder/debug_asserts.rs:826:5:
    Argument "fresh"
      Arg::is_takes_value_set is required when Arg::is_allow_negative_numbers_set is set.

    note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
    "#);
}

#[test]
fn a_missing_pipeline_file_is_named() {
    assert_snapshot!(Case::new().run(["train", "p.toml"]), @r#"
    exit: 101
    stdout:
    stderr:

    thread 'main' (29262) panicked at /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/clap_builder-4.6.7/src/builder/debug_asserts.rs:826:5:
    Argument "no_shuffle"
      Arg::is_takes_value_set is required when Arg::is_allow_negative_numbers_set is set.

    note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
    "#);
}

#[test]
fn a_pipeline_without_a_model_says_how_to_name_one() {
    let case = Case::new().pipeline("[data]\nfiles = ['pairs.jsonl']\n").file("pairs.jsonl", "");
    assert_snapshot!(case.run(["precompute", "p.toml"]), @r#"
    exit: 101
    stdout:
    stderr:

    thread 'main' (29263) panicked at /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/clap_builder-4.6.7/src/builder/debug_asserts.rs:826:5:
    Argument "fresh"
      Arg::is_takes_value_set is required when Arg::is_allow_negative_numbers_set is set.

    note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
    "#);
}

#[test]
fn a_missing_data_file_names_the_one_beside_it() {
    let case = Case::new().file("pairs.jsonl", "");
    assert_snapshot!(case.run(["precompute", "--model", "m", "--data", "pair.jsonl", "--out", "t"]), @r#"
    exit: 101
    stdout:
    stderr:

    thread 'main' (29248) panicked at /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/clap_builder-4.6.7/src/builder/debug_asserts.rs:826:5:
    Argument "fresh"
      Arg::is_takes_value_set is required when Arg::is_allow_negative_numbers_set is set.

    note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
    "#);
}

#[test]
fn a_missing_model_is_answered_with_the_download_command() {
    let case = Case::new().file("pairs.jsonl", "");
    assert_snapshot!(case.run(["precompute", "--model", "nobody/no-model", "--data", "pairs.jsonl", "--out", "t"]), @r#"
    exit: 101
    stdout:
    stderr:

    thread 'main' (29249) panicked at /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/clap_builder-4.6.7/src/builder/debug_asserts.rs:826:5:
    Argument "fresh"
      Arg::is_takes_value_set is required when Arg::is_allow_negative_numbers_set is set.

    note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
    "#);
}

#[test]
fn a_query_before_the_run_says_what_to_run() {
    let case = Case::new().pipeline("model = 'm'\n");
    assert_snapshot!(case.run(["sql", "p.toml", "-c", "SELECT 1"]), @"
    exit: 2
    stdout:
    stderr:
    error: pipeline `p.toml` has no run yet: expected folder `runs/p`

    hint: run `piref precompute p.toml` first
    ");
}

#[test]
fn sql_without_a_query_is_wrong_usage() {
    assert_snapshot!(Case::new().run(["sql"]), @"
    exit: 2
    stdout:
    stderr:
    error: no query: expected `-c SQL`, `-f FILE` or a query on standard input

    hint: `piref sql runs/quickstart -c 'SELECT * FROM pairs LIMIT 5'` shows the first rows of a table
    ");
}

#[test]
fn a_table_needs_a_name_and_a_path() {
    assert_snapshot!(Case::new().run(["sql", "--table", "pairs", "-c", "SELECT 1"]), @"
    exit: 2
    stdout:
    stderr:
    error: invalid value 'pairs' for '--table <NAME=PATH>': expected `NAME=PATH`, found `pairs`

    For more information, try '--help'.
    ");
}
