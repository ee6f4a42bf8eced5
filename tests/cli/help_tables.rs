//! The manual of what is done with tables besides training from them.

use insta::assert_snapshot;

use crate::support::Case;

#[test]
fn verify() {
    assert_snapshot!(Case::new().run(["verify", "--help"]), @"
    exit: 0
    stdout:
    Check every byte and every row of a log-prob table; with its model, score a sample again.

    Files are held against the manifest (sizes, digests, footers field by field), rows against the
    contract (one finite log-prob of at most 0 each, ids and sums that fit), and keys against the rows
    that were read of the data: missing, double and foreign ones are listed. Everything found is told,
    one line each; exit 1 if anything was, 0 if nothing.

    Usage: piref verify [OPTIONS] <TABLE>

    Arguments:
      <TABLE>
              Folder or URL of the table, or one part of a table

    Options:
          --model <MODEL>
              Model to compare with the table's and to score a sample with: a Hugging Face folder, a
              `.gguf` file, `org/name` or `org/name@revision` in the local cache, the folder of an
              adapter, or a run folder

          --adapter <FOLDER>
              Adapter over the model: a PEFT folder, or a run that trained one

          --sample <PAIRS>
              Pairs to score again; 0 compares the digests of the model only

              [default: 64]

          --seed <SEED>
              Seed of the sample

              [default: 42]

          --tolerance <NATS>
              Largest difference of a sequence that is still rounding, in nats, at least 0

              [default: 1e-3]

          --max-tokens <TOKENS>
              Tokens in one forward pass: a matter of speed and memory

              [default: 2048]

          --device <DEVICE>
              Where the model runs: `cpu`, `cuda` (`cuda:1` for the second GPU) or `metal`. GPUs need a
              build with the feature of that name

              [default: cpu]

          --data <FILE>
              Data file the table was made from, to compare its digest; repeat for more files

          --findings <FILE>
              Parquet file for the findings; it is written in any case, without rows if there are none

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
fn inspect() {
    assert_snapshot!(Case::new().run(["inspect", "--help"]), @"
    exit: 0
    stdout:
    Say what a file or folder is: a table or a stray part of one, a run, a model, a checkpoint.

    A part explains itself from its footer: the model with its digests, tokenizer, template and date,
    precision, rules, and the data files with rows and digests. Nothing is loaded but headers; digests
    are computed.

    Usage: piref inspect [OPTIONS] <PATH>

    Arguments:
      <PATH>
              Table, part, rejects or findings file, run folder, model folder, `.gguf` file, or
              checkpoint

    Options:
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
fn diff() {
    assert_snapshot!(Case::new().run(["diff", "--help"]), @"
    exit: 0
    stdout:
    Compare two log-prob tables row by row: added, removed, retokenised, rescored, unchanged.

    Rows meet by `pair_id`, as often as it occurs. Exit 0 whether the tables differ or not: how they do
    is the answer, and `--exit-code` makes it the exit code, too.

    Usage: piref diff [OPTIONS] <A> <B>

    Arguments:
      <A>
              Folder of the first table, or one part of a table

      <B>
              Folder of the second table, or one part of a table

    Options:
          --limit <PAIRS>
              Pairs of each kind to list

              [default: 10]

          --exit-code
              Exit 1 if the tables differ: in their pairs, tokens, log-probs or the model and settings
              they were scored with. The order of the rows and the names of the data files are no
              difference

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
fn export() {
    assert_snapshot!(Case::new().run(["export", "--help"]), @"
    exit: 0
    stdout:
    Write the pairs of a log-prob table, or the policy of a run, as another program takes them.

    A table for TRL: one Parquet file with the columns its DPO collator reads, token ids and reference
    log-probs. A trainer that is told to leave the rows as they are trains from it without a reference
    model.

    An adapter (`--merge`): a Hugging Face folder of the model it belongs to, the adapter added to its
    weights. Other policies are such folders already.

    A policy that was trained from a GGUF file (`--to gguf`): a file with its weights, and the metadata
    and the tokenizer of that one. An adapter is merged.

    Usage: piref export [OPTIONS] --out <PATH> <PATH>

    Arguments:
      <PATH>
              Folder of the log-prob table, or one part of it; with `--merge` and `--to gguf` a run
              folder, or the folder of a policy

    Options:
          --to <FORMAT>
              What the file is for

              Possible values:
              - trl:  A table for TRL's DPOTrainer: `prompt_ids`, `chosen_ids`, `rejected_ids`,
                `ref_chosen_logps`, `ref_rejected_logps`
              - gguf: A policy for llama.cpp and what is built on it

          --merge
              Merge an adapter into its base model

          --model <MODEL>
              Base model of the policy. Default: the one it was trained from

          --outtype <TYPE>
              Number types of a GGUF file. Default: f16

              Possible values:
              - f32:  Every number as it was trained
              - f16:  Matrices in `f16`, vectors in `f32`
              - same: The types of the base, each matrix quantised again; one that training left alone
                keeps its bytes

          --max-shard-size <SIZE>
              Largest weight file of a merged model, e.g. `2GB`: a larger model is written in several.
              Default: 5GB

          --save-dtype <DTYPE>
              Number type of a merged model: `auto` is that of its base model, `f32` keeps every number;
              16 bits round, so that `eval` of the folder may differ from that of the adapter in the
              last digits. Default: auto

              [possible values: auto, f32, bf16, f16]

          --out <PATH>
              File to write, which is replaced if it is there; with `--merge` a new folder

          --output-format <FORMAT>
              Form of the summary on standard output

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
fn import() {
    assert_snapshot!(Case::new().run(["import", "--help"]), @"
    exit: 0
    stdout:
    Make a log-prob table of pairs that another program has scored.

    Reads `ref_chosen_logps` and `ref_rejected_logps` (TRL up to 0.28 and others write them) beside text
    pairs or token ids. Attention masks beside token ids cut padding off, labels (−100 where nothing is
    scored) say where a completion begins; one of which only a part is scored is refused. No model runs:
    `piref train` scores a sample again before its first step.

    Usage: piref import [OPTIONS] --model <MODEL> --out <TABLE> <FILE>...

    Arguments:
      <FILE>...
              Scored pairs: Parquet, `.jsonl`, `.json` (`.gz`, `.zst`) or Arrow IPC

    Options:
          --split <SPLIT>
              Split to read of a folder with several, e.g. `train`; `all` for every one

          --model <MODEL>
              The model the log-probs are of: a Hugging Face folder, a `.gguf` file, `org/name` or
              `org/name@revision` in the local cache, the folder of an adapter, or a run folder

          --out <TABLE>
              Folder of the log-prob table

          --logps <MEANING>
              What the log-probs are; averages are multiplied by the number of tokens

              Possible values:
              - sum:     Sums over the tokens of a completion
              - average: Averages over them: multiplied by the number of tokens
              - detect:  Measured from the lengths: sums are taken, averages and unclear cases refused

              [default: detect]

          --map <ROLE=COLUMN,…>
              Columns of the source by what they are, e.g.
              `prompt=question,ref_chosen_logps=logp_w,ref_rejected_logps=logp_l`

          --dtype <DTYPE>
              Number format the log-probs were computed in; the table says so

              Possible values:
              - f32:  32 bits
              - bf16: 16 bits, 8 of them exponent
              - f16:  16 bits, 5 of them exponent

              [default: f32]

          --max-reject-rate <SHARE>
              Share of rows that may be rejected before the import fails, in [0, 1] [default: 0.01]

          --limit <PAIRS>
              Take only the first pairs of the data, this many

          --max-length <TOKENS>
              Longest prompt and completion together, in tokens; what is longer is cut. 0 for no limit
              [default: 1024]

          --truncation-mode <END>
              Which end of a sequence that is too long is kept [default: keep_start]

              [possible values: keep_start, keep_end]

          --overlong <WHAT>
              What to do with a row whose prompt alone fills `--max-length`, which leaves nothing to
              score. Such rows are counted and listed apart; `--max-reject-rate` does not count them
              [default: drop]

              [possible values: drop, refuse]

          --template-date <YYYY-MM-DD>
              The date a chat template prints, if it prints one (Llama 3's does) [default: 2024-07-26]

          --rows-per-part <PAIRS>
              Pairs in one part of the table [default: 4096]

          --fresh
              Replace the table that is in the folder, once the new one is finished

          --output-format <FORMAT>
              Form of the summary on standard output

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
fn bench() {
    assert_snapshot!(Case::new().run(["bench", "--help"]), @"
    exit: 0
    stdout:
    Measure how fast both stages run on this machine, and against what it can do.

    Counts the operations of the task (products only, nothing an implementation does besides) and
    divides them by the time they take; the machine's own rate is that of a large product in the same
    process.

    Usage: piref bench [OPTIONS] --model <MODEL>

    Options:
          --model <MODEL>
              Model: a Hugging Face folder, a `.gguf` file, `org/name` or `org/name@revision` in the
              local cache, the folder of an adapter, or a run folder

          --data <FILE>...
              Preference data: `.jsonl`, `.json`, `.csv`, `.tsv` (`.gz`, `.zst`), Parquet or Arrow IPC;
              files, folders, saved data sets, patterns (`'part-*.jsonl'`), `org/name` in the local
              cache, or URLs (`s3://…`, `gs://…`, `az://…`)

          --split <SPLIT>
              Split to read of a folder with several, e.g. `train`; `all` for every one

          --map <ROLE=COLUMN,…>
              Columns of the source by what they are, e.g.
              `prompt=question,chosen=better,rejected=worse`; `system=…` for a system turn, `ignore=…`
              for one that is none of these

          --max-reject-rate <SHARE>
              Share of rows that may be rejected before the run fails, in [0, 1] [default: 0.01]

          --limit <PAIRS>
              Take only the first pairs of the data, this many

          --max-length <TOKENS>
              Longest prompt and completion together, in tokens; what is longer is cut. 0 for no limit
              [default: 1024]

          --truncation-mode <END>
              Which end of a sequence that is too long is kept [default: keep_start]

              [possible values: keep_start, keep_end]

          --overlong <WHAT>
              What to do with a row whose prompt alone fills `--max-length`, which leaves nothing to
              score. Such rows are counted and listed apart; `--max-reject-rate` does not count them
              [default: drop]

              [possible values: drop, refuse]

          --template-date <YYYY-MM-DD>
              The date a chat template prints, if it prints one (Llama 3's does) [default: 2024-07-26]

          --dtype <DTYPE>
              Number format of both passes [default: f32]

              [possible values: f32, bf16]

          --device <DEVICE>
              Where both passes run: `cpu`, `cuda` (`cuda:1` for the second GPU) or `metal`. GPUs need a
              build with the feature of that name [default: cpu]

          --kernels <KERNELS>
              Kernels to measure: our own, for the CPU, or candle's operations. Default: own on the CPU,
              stock elsewhere

              [possible values: own, stock]

          --max-tokens <TOKENS>
              Tokens in one pass [default: 2048]

          --batch-size <PAIRS>
              Pairs in one optimiser step [default: 8]

          --recompute <LAYERS>
              Layers whose intermediate results are made again in the backward of stage two; `auto` is
              none here [default: auto]

              [possible values: auto, none, layer]

          --lora-r <RANK>
              Rank of a LoRA adapter on all linear maps that stage two trains while the weights stay as
              they are. Default: the weights are trained

          --no-sharing
              Let stage one encode a prompt anew for every pair that has it, to measure what sharing
              saves

          --signals <SIGNALS>
              Whether stage one makes signals beside log-probs

              Possible values:
              - on:    It does, as by default
              - off:   It does not
              - turns: It does, and it is run with and without in turns besides, for what they cost

              [default: on]

          --repeat <N>
              Times each stage is measured; the median counts

              [default: 3]

          --profile
              Run each stage once more and say where its time goes, op by op

          --output-format <FORMAT>
              Form of the result on standard output

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
