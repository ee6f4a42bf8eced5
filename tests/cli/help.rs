//! The manual.

use insta::assert_snapshot;

use crate::support::Case;

#[test]
fn piref() {
    assert_snapshot!(Case::new().run(["--help"]), @"
    exit: 0
    stdout:
    Offline Direct Preference Optimization: the reference model runs once, and its log-probabilities are
    a table.

    `piref precompute` scores the pairs with the frozen reference, `piref train` optimises a policy from
    the table it wrote, `piref sql` queries the tables. Both stages take a pipeline file, flags, or
    both: flags win, key by key.

    Usage: piref [OPTIONS] <COMMAND>

    Commands:
      precompute   Run the frozen reference once over a preference dataset and store its
                   log-probabilities
      train        Optimise a policy from the log-prob table; the reference model is not loaded
      sql          Query log-prob tables, metrics and data files with SQL
      env          Print versions, processor features, threads and paths, for bug reports
      completions  Print the completions of a shell
      help         Print this message or the help of the given subcommand(s)

    Options:
      -q, --quiet
              Say nothing but errors and results

          --threads <N>
              Threads for tensors and files. Default: as many as the machine has

      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version
    stderr:
    ");
}

#[test]
fn precompute() {
    assert_snapshot!(Case::new().run(["precompute", "--help"]), @r#"
    exit: 101
    stdout:
    stderr:

    thread 'main' (29315) panicked at /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/clap_builder-4.6.7/src/builder/debug_asserts.rs:826:5:
    Argument "fresh"
      Arg::is_takes_value_set is required when Arg::is_allow_negative_numbers_set is set.

    note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
    "#);
}

#[test]
fn train() {
    assert_snapshot!(Case::new().run(["train", "--help"]), @r#"
    exit: 101
    stdout:
    stderr:

    thread 'main' (29325) panicked at /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/clap_builder-4.6.7/src/builder/debug_asserts.rs:826:5:
    Argument "no_shuffle"
      Arg::is_takes_value_set is required when Arg::is_allow_negative_numbers_set is set.

    note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
    "#);
}

#[test]
fn sql() {
    assert_snapshot!(Case::new().run(["sql", "--help"]), @"
    exit: 0
    stdout:
    Query log-prob tables, metrics and data files with SQL.

    A log-prob table is `pairs`, and `scored` with the margin and averages spelt out; a run folder, or
    the pipeline file it came from, adds `metrics`; a data file has the name of the file.

    Usage: piref sql [OPTIONS] [PATH]...

    Arguments:
      [PATH]...
              Log-prob tables, run folders, pipeline files (`.toml`) or data files

    Options:
          --table <NAME=PATH>
              A path under a name of your own; repeat for more

      -c, --command <SQL>
              The query; several are separated by `;`. Without `-c` and `-f` it is read from standard
              input

      -f, --file <FILE>
              File with the query

          --format <FORMAT>
              Form of the rows

              [default: table]
              [possible values: table, csv, json, ndjson, markdown]

      -o, --output <FILE>
              File for the rows, instead of standard output

      -q, --quiet
              Say nothing but errors and results

          --threads <N>
              Threads for tensors and files. Default: as many as the machine has

      -h, --help
              Print help (see a summary with '-h')
    stderr:
    ");
}
