//! Wrong files and wrong flags.

use insta::assert_snapshot;

use crate::support::Case;

#[test]
fn an_unknown_key_names_its_neighbour() {
    let case = Case::new().pipeline("[precompute]\nmax_token = 512\n");
    assert_snapshot!(case.run(["precompute", "p.toml"]), @"
    exit: 2
    stdout:
    stderr:
    error: cannot load pipeline `p.toml`
      caused by: line 2: unknown key `max_token` in `[precompute]`

    hint: did you mean `max_tokens`?
    ");
}

#[test]
fn an_unknown_flag_names_its_neighbour() {
    assert_snapshot!(Case::new().run(["train", "p.toml", "--learning-rat", "1e-5"]), @"
    exit: 2
    stdout:
    stderr:
    error: unexpected argument '--learning-rat' found

      tip: a similar argument exists: '--learning-rate'

    Usage: piref train --learning-rate <RATE> <PIPELINE>

    For more information, try '--help'.
    ");
}

#[test]
fn a_wrong_value_in_a_file_names_its_line() {
    let case = Case::new().pipeline("model = 'm'\n\n[train.loss]\nbeta = 0\n");
    assert_snapshot!(case.run(["train", "p.toml"]), @"
    exit: 2
    stdout:
    stderr:
    error: cannot load pipeline `p.toml`
      caused by: line 4: `beta` in `[train.loss]`: expected `beta` finite and above 0, found 0
    ");
}

#[test]
fn a_wrong_value_of_a_flag_says_what_was_expected() {
    assert_snapshot!(Case::new().run(["train", "p.toml", "--beta", "-1"]), @"
    exit: 2
    stdout:
    stderr:
    error: invalid value '-1' for '--beta <BETA>': expected `beta` finite and above 0, found -1

    For more information, try '--help'.
    ");
}

#[test]
fn a_loss_that_no_table_can_serve_is_refused_with_the_reason() {
    let arguments = ["train", "--model", "m", "--table", "t", "--out", "o", "--loss-type", "tdpo2"];
    assert_snapshot!(Case::new().run(arguments), @"
    exit: 2
    stdout:
    stderr:
    error: invalid value 'tdpo2' for '--loss-type <NAME>': `tdpo2` cannot be trained with: it needs the reference's whole next-token distribution at each position, and a table holds the log-prob of the token that is there

    For more information, try '--help'.
    ");
}

#[test]
fn a_setting_that_the_loss_does_not_read_is_refused() {
    let arguments =
        ["train", "--model", "m", "--table", "t", "--out", "o", "--loss-type", "ipo", "--label-smoothing", "0.1"];
    assert_snapshot!(Case::new().run(arguments), @"
    exit: 2
    stdout:
    stderr:
    error: cannot train
      caused by: `label_smoothing` is set, and loss type `ipo` does not read it

    hint: it is a setting of sigmoid, robust, exo_pair, cpo, simpo, alphapo, aot, aot_unpaired, dr_dpo, wpo
    ");
}

#[test]
fn a_wrong_word_lists_the_right_ones() {
    assert_snapshot!(Case::new().run(["train", "p.toml", "--lr-scheduler-type", "cosin"]), @"
    exit: 2
    stdout:
    stderr:
    error: invalid value 'cosin' for '--lr-scheduler-type <SHAPE>'
      [possible values: constant, constant_with_warmup, linear, cosine, cosine_with_min_lr, inverse_sqrt]

      tip: a similar value exists: 'cosine'

    For more information, try '--help'.
    ");
}

#[test]
fn flags_alone_must_name_everything() {
    assert_snapshot!(Case::new().run(["precompute", "--model", "m"]), @"
    exit: 2
    stdout:
    stderr:
    error: the following required arguments were not provided:
      --out <TABLE>

    Usage: piref precompute --model <MODEL> --out <TABLE> [PIPELINE]

    For more information, try '--help'.
    ");
}

#[test]
fn a_missing_pipeline_file_is_named() {
    assert_snapshot!(Case::new().run(["train", "p.toml"]), @"
    exit: 2
    stdout:
    stderr:
    error: cannot load pipeline `p.toml`
      caused by: `p.toml` does not exist
    ");
}

#[test]
fn a_pipeline_without_a_model_says_how_to_name_one() {
    let case = Case::new().pipeline("[data]\nfiles = ['pairs.jsonl']\n").file("pairs.jsonl", "");
    assert_snapshot!(case.run(["precompute", "p.toml"]), @"
    exit: 2
    stdout:
    stderr:
    error: cannot precompute
      caused by: `model` is not set

    hint: set `model` in the pipeline file, or pass `--model`
    ");
}

#[test]
fn a_missing_data_file_names_the_one_beside_it() {
    let case = Case::new().file("pairs.jsonl", "");
    assert_snapshot!(case.run(["precompute", "--model", "m", "--data", "pair.jsonl", "--out", "t"]), @"
    exit: 2
    stdout:
    stderr:
    error: cannot precompute
      caused by: data file `pair.jsonl` does not exist

    hint: did you mean `pairs.jsonl`?
    ");
}

#[test]
fn a_missing_model_is_answered_with_the_download_command() {
    let case = Case::new().file("pairs.jsonl", "");
    assert_snapshot!(case.run(["precompute", "--model", "nobody/no-model", "--data", "pairs.jsonl", "--out", "t"]), @"
    exit: 2
    stdout:
    stderr:
    error: cannot precompute `t`
      caused by: model `nobody/no-model` not found: expected a model folder, a `.gguf` file, the folder of an adapter or of a run, or a name in `[case]/cache`

    hint: `hf download nobody/no-model` fetches it into the cache; piref itself downloads nothing
    ");
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

#[test]
fn urls_that_are_not_read_are_refused() {
    assert_snapshot!(Case::new().run(["verify", "https://host/table"]), @"
    exit: 2
    stdout:
    stderr:
    error: cannot verify `https://host/table`
      caused by: cannot use URL `https://host/table`: unknown scheme `https`, expected `s3`, `gs`, `az`, `abfs`, `abfss` or `file`

    hint: fetch it to a local file first, or name the object as `s3://BUCKET/KEY`
    ");
    assert_snapshot!(Case::new().run(["verify", "t", "--model", "s3://bucket/model"]), @r"
    exit: 2
    stdout:
    stderr:
    error: cannot verify `t`
      caused by: model `s3://bucket/model` is under a URL: expected a local folder, a `.gguf` file or a name in the Hugging Face cache

    hint: copy it first, e.g. by `aws s3 cp --recursive URL FOLDER`; tables and data may stay there
    ");
}

#[test]
fn training_without_a_table_is_sent_to_stage_one() {
    assert_snapshot!(Case::new().run(["train", "--model", "m", "--table", "t", "--out", "r"]), @r"
    exit: 2
    stdout:
    stderr:
    error: cannot train `r`
      caused by: log-prob table `t` does not exist

    hint: `piref precompute` makes it: stage one comes first
    ");
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_that_was_not_built_in_is_refused_with_the_way_to_build_it() {
    let case = Case::new().file("pairs.jsonl", "").pipeline("model = 'm'\n[train]\ndevice = 'cuda:1'\n");
    let arguments = ["precompute", "--model", "m", "--data", "pairs.jsonl", "--out", "t", "--device", "cuda"];
    assert_snapshot!(case.run(arguments), @"
    exit: 2
    stdout:
    stderr:
    error: cannot precompute
      caused by: this build of piref cannot use device `cuda`: it was built without the feature `cuda`

    hint: build it with `cargo build --release --features cuda`, or leave the device at `cpu`
    ");
    assert_snapshot!(case.run(["train", "p.toml"]), @"
    exit: 2
    stdout:
    stderr:
    error: cannot train
      caused by: this build of piref cannot use device `cuda:1`: it was built without the feature `cuda`

    hint: build it with `cargo build --release --features cuda`, or leave the device at `cpu`
    ");
    assert_snapshot!(case.run(["verify", "t", "--model", "m", "--device", "cuda"]), @"
    exit: 2
    stdout:
    stderr:
    error: cannot verify `t`
      caused by: this build of piref cannot use device `cuda`: it was built without the feature `cuda`

    hint: build it with `cargo build --release --features cuda`, or leave the device at `cpu`
    ");
    assert_snapshot!(case.run(["bench", "--model", "m", "--data", "pairs.jsonl", "--device", "cuda"]), @"
    exit: 2
    stdout:
    stderr:
    error: cannot measure
      caused by: this build of piref cannot use device `cuda`: it was built without the feature `cuda`

    hint: build it with `cargo build --release --features cuda`, or leave the device at `cpu`
    ");
}

#[test]
fn a_device_nobody_knows_is_answered_with_the_known_ones() {
    let case = Case::new().pipeline("model = 'm'\n[train]\ndevice = 'gpu'\n");
    assert_snapshot!(case.run(["train", "p.toml"]), @"
    exit: 2
    stdout:
    stderr:
    error: cannot load pipeline `p.toml`
      caused by: line 3: `device` in `[train]`: expected `cpu`, `cuda`, `cuda:N` or `metal`, found `gpu`
    ");
    assert_snapshot!(case.run(["train", "p.toml", "--device", "gpu"]), @"
    exit: 2
    stdout:
    stderr:
    error: invalid value 'gpu' for '--device <DEVICE>': expected `cpu`, `cuda`, `cuda:N` or `metal`, found `gpu`

    For more information, try '--help'.
    ");
}

#[test]
fn a_setting_of_an_adapter_without_a_rank_is_refused() {
    let flags = ["--model", "m", "--table", "t", "--out", "o"];
    assert_snapshot!(Case::new().run(["train"].into_iter().chain(flags).chain(["--lora-alpha", "8"])), @"
    exit: 2
    stdout:
    stderr:
    error: cannot train
      caused by: `train.lora.alpha` is set, and without `r` no adapter is trained
    ");
    let wrong = ["--lora-r", "4", "--lora-target-modules", "q_proj,lm_head"];
    let outcome = Case::new().run(["train"].into_iter().chain(flags).chain(wrong));
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.contains("expected `all-linear` or one of `q_proj`"), "{outcome}");
    assert!(outcome.stderr.contains("found `lm_head`"), "{outcome}");
}

#[test]
fn a_folder_without_an_adapter_cannot_be_merged() {
    let case = Case::new().file("run/plan.toml", "");
    assert_snapshot!(case.run(["export", "run", "--merge", "--out", "merged"]), @"
    exit: 1
    stdout:
    stderr:
    error: cannot merge `run`
      caused by: `run` is no model: expected `config.json` or `adapter_config.json` in it, or in its `policy` where it is a run
    ");
}
