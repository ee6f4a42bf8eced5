//! The help of the commands that ask a table something.

use insta::assert_snapshot;

use crate::support::Case;

// The feature adds to it.
#[cfg(not(feature = "cluster"))]
#[test]
fn sql() {
    assert_snapshot!(Case::new().run(["sql", "--help"]), @"
    exit: 0
    stdout:
    Query log-prob tables, metrics and data files with SQL.

    A log-prob table is `pairs`, `scored` with the margin and averages spelt out, and `logps` with a row
    a token; what further references say of its pairs is `pairs_NAME`, and `by_reference` has them side
    by side. A run folder, or the pipeline file it came from, adds `metrics` and `evals`; a data file
    has the name of the file.

    On a terminal, and without a query, it is a console: `.help` lists its commands, `.functions` the
    functions of preference data. What is typed there is kept in `$XDG_STATE_HOME/piref/sql_history`
    (`~/.local/state`), but for lines that begin with a blank.

    Usage: piref sql [OPTIONS] [PATH]...

    Arguments:
      [PATH]...
              Log-prob tables, run folders, pipeline files (`.toml`) or data files; tables and data
              files also by URL

    Options:
          --table <NAME=PATH>
              A path under a name of your own; repeat for more. What comes with it, as `scored` or the
              `metrics` of a run, is `NAME_scored`, `NAME_metrics`

          --model <M>
              Model that `ref_logps` scores with, and whose tokenizer `n_tokens`, `tokenize` and
              `token_text` ask, and the tokens of `logps`: a folder, a `.gguf` file, `org/name`, an
              adapter or a run. Its weights are read when a query first needs them

          --dtype <DTYPE>
              Number format it computes in [default: f32]

              [possible values: f32, bf16]

          --device <DEVICE>
              Where it runs: `cpu`, `cuda` (`cuda:1` for the second GPU) or `metal`. GPUs need a build
              with the feature of that name [default: cpu]

          --max-tokens <TOKENS>
              Tokens in one forward pass: a matter of speed and memory, never of the result [default:
              2048]

      -c, --command <SQL>
              The query; several are separated by `;`. Without `-c` and `-f` it is read from standard
              input

      -f, --file <FILE>
              File with the query

          --format <FORMAT>
              Form of the rows. Default: what the extension of `--output` says, else `table`. For a file
              there are `parquet` and `arrow`, too

              Possible values:
              - table:    Lined up, control characters escaped; on a terminal long cells are cut
              - csv:      Comma-separated under a header; lists and structs as JSON, null as nothing
              - tsv:      The same, separated by tabs
              - json:     One array of objects; null, NaN and infinities as `null`
              - ndjson:   One object a line
              - markdown: A table for a README

      -o, --output <FILE>
              File for the rows, instead of standard output: all of them, uncut. Never one of a table, a
              run or a model, or one that the query reads

          --max-rows <ROWS>
              Rows of an answer that a terminal shows at most, 0 for all; a file or a pipe gets all

              [default: 200]

          --memory-limit <SIZE>
              Memory that sorts, groups and joins may hold together, as in `2GB`; what is more goes to
              files in `TMPDIR`. Default: three quarters of what is free

          --timing
              Say how many rows each statement gave, and how long it took

      -q, --quiet
              Say nothing but errors and results

          --threads <N>
              Threads for tensors and files. Default: as many as the machine has

      -h, --help
              Print help (see a summary with '-h')
    stderr:
    ");
}

#[test]
fn audit() {
    assert_snapshot!(Case::new().run(["audit", "--help"]), @"
    exit: 0
    stdout:
    Find what is wrong with preference data: with the texts, the labels, and what the reference says of
    them.

    Every check is a question with a formula, a source and advice: `--list` names them, `--explain ID`
    prints one with its SQL. Findings are rows that `piref sql` can query. A check that cannot look at
    this table is told as skipped.

    Usage: piref audit [OPTIONS] [TABLE]

    Arguments:
      [TABLE]
              Log-prob table, run folder, or the pipeline file (`.toml`) it came from, whose `[audit]`
              counts

    Options:
          --findings <FILE>
              Parquet file for the findings. Default: `findings.parquet` in the run folder, where one is
              given

          --report <FILE>
              HTML page for a browser, one file that needs nothing else: the checks, how lengths and
              log-probs are distributed, findings with their pairs. Default: `audit.html` in the run
              folder, where one is given

          --examples <PAIRS>
              Findings of each check that the page shows with their pairs

              [default: 10]

          --model <M>
              Model whose tokenizer spells out tokens on the page, shaded by their log-probs: a folder,
              a `.gguf` file, `org/name`, an adapter or a run. Default: the model of the table, where it
              is at hand

          --sarif <FILE>
              SARIF 2.1.0 file for programs that show what linters find: a rule a check, a result a
              finding

          --check <ID,…>
              Only these checks, by name (`B1`) or family (`B`). Default: all

          --skip <ID,…>
              Not these checks, by name or family

          --checks <FOLDER>
              Folder with checks of your own: a `.sql` file each, with a header like that of `piref
              audit --explain B1`

          --reference <NAME|TABLE>
              A second model's log-probs of the same pairs: a further reference of the table by its
              name, or another table

          --beta <BETA>
              β of the checks that depend on it, in 1/nat. Default: that of `[train.loss]`

          --against <FILE>
              File of evaluation prompts that the data should not have; repeat for more

          --score-columns <CHOSEN,REJECTED>
              Columns with the scores of chosen and rejected; `column.key` for a key inside JSON text.
              Default: the usual names, as `score_chosen,score_rejected`

          --truth <COLUMN>
              Column that is true of pairs whose label is known to be swapped, or `column.key`: measures
              how well the scores of suspicion find them, and fits a combination of them unless
              `--trusted` says to which pairs

          --trusted <FILE>
              File of pairs whose labels you have looked at: `pair_id`, and `flipped` (true or false)
              unless `--truth` says it. Fits the probability of a swap to them, `p_flipped`; other pairs
              with a known truth measure it

          --fail-on <LEVEL>
              Fail where there is a finding of this level or above

              [possible values: warn, error]

          --threshold <ID.NAME=NUMBER>
              Another number for a check, e.g. `E3.z=4`; repeat for more

          --write-selection <FILE>
              List the pairs that stay when those of the checks in `--exclude` are left out: a file for
              `piref train --curriculum`

          --exclude <ID,…>
              Checks whose pairs are left out of the selection, by name or family. Of a pair that a
              check of repetitions has found (C7) the first row stays

          --memory-limit <SIZE>
              Memory that sorts, groups and joins may hold together, as in `2GB`; what is more goes to
              files in `TMPDIR`. Default: three quarters of what is free

          --list
              Print the checks and look at nothing

          --explain <ID>
              Print what a check asks, and its SQL

          --output-format <FORMAT>
              Form of the answer on standard output

              Possible values:
              - text: For people
              - json: One JSON object, for programs

              [default: text]

      -q, --quiet
              Say nothing but errors and results

          --threads <N>
              Threads for tensors and files. Default: as many as the machine has

      -h, --help
              Print help (see a summary with '-h')
    stderr:
    ");
}

#[test]
fn report() {
    assert_snapshot!(Case::new().run(["report", "--help"]), @"
    exit: 0
    stdout:
    Write a page about a run: settings, curves of its metrics, histograms of its table, timings.

    The page is one HTML file that needs nothing else, no network and no script. `piref train` writes it
    when it has finished; this writes it of a run that is under way, or again.

    Usage: piref report [OPTIONS] <RUN>

    Arguments:
      <RUN>
              Run folder, or the pipeline file it came from

    Options:
          --table <TABLE>
              The log-prob table, where it is not in the run folder

      -o, --out <FILE>
              File for the page. Default: `report.html` in the run folder

      -q, --quiet
              Say nothing but errors and results

          --threads <N>
              Threads for tensors and files. Default: as many as the machine has

      -h, --help
              Print help (see a summary with '-h')
    stderr:
    ");
}
