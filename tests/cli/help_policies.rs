//! The manual of what is done with policies besides training them on pairs.

use insta::assert_snapshot;

use crate::support::Case;

#[test]
#[expect(clippy::too_many_lines, reason = "a manual is as long as it is")]
fn eval() {
    assert_snapshot!(Case::new().run(["eval", "--help"]), @"
    exit: 0
    stdout:
    Evaluate a policy on a log-prob table of held-out pairs: loss, reward accuracy, margins, distance to
    the reference.

    The reference model is not loaded: what it says of the pairs is in the table. Names of metrics are
    TRL's, with `eval_` before them. Accuracy counts a tie as one half, and ties are reported apart.

    Usage: piref eval [OPTIONS] [PIPELINE]

    Arguments:
      [PIPELINE]
              Pipeline file whose objective is reported, on the policy of its run; flags win over it,
              key by key

    Options:
          --model <MODEL>
              Policy: a Hugging Face folder, a `.gguf` file, `org/name` or `org/name@revision` in the
              local cache, the folder of an adapter, or a run folder. Of a pipeline: that of its run

          --adapter <FOLDER>
              Adapter over the model: a PEFT folder, or a run that trained one. Not needed where
              `--model` is an adapter or a run, unless the base model is elsewhere now

          --table <TABLE>
              Folder of the log-prob table of held-out pairs. Of a pipeline: `train.eval.table`

          --reference <NAME>
              Further reference of the table to evaluate against, by the name `piref precompute --as`
              gave it. Default: the table's own

          --loss-type <NAME>
              Objective; sigmoid is the loss of the DPO paper. Repeated (in a file: a list), it is a sum
              of several, e.g. sigmoid and sft [default: sigmoid]

              [possible values: sigmoid, hinge, ipo, ipo_sum, exo_pair, nca_pair, robust, bco_pair,
              sppo_hard, apo_zero, apo_down, discopop, sft, sigmoid_norm, dpop, simpo, cpo, orpo,
              alphapo, slic, preferred_ft, unlikelihood, aot, aot_unpaired, dr_dpo, wpo, rpo_sq,
              rpo_bwd_kl, rpo_fwd_kl]

          --loss-weights <WEIGHT,…>
              Weights of several objectives, in their order, e.g. `0.8,0.2,1`. Default: 1 each

          --beta <BETA>
              β, the strength of the pull towards the reference: above 0, in 1/nat [default: 0.1]

          --label-smoothing <SHARE>
              Share of the labels taken to be flipped, in [0, 0.5). Read by sigmoid, robust, exo_pair,
              cpo, simpo, alphapo, aot, aot_unpaired, dr_dpo and wpo [default: 0.0]

          --f-divergence-type <NAME>
              Divergence that holds the policy to the reference, for the objectives of a difference of
              rewards [default: reverse_kl]

              [possible values: reverse_kl, forward_kl, js_divergence, alpha_divergence]

          --f-alpha-divergence-coef <ALPHA>
              α of the α-divergence [default: 0.5]

          --reference-free
              Take every completion as equally likely under the reference, for the objectives of a
              difference of rewards [default: false]

          --discopop-tau <TAU>
              τ of discopop, in (0, 1] [default: 0.05]

          --dpop-lambda <LAMBDA>
              λ of dpop: how much a loss of likelihood of the chosen completion counts [default: 50.0]

          --simpo-gamma <GAMMA>
              γ of simpo and alphapo: the margin aimed at [default: 0.5]

          --alphapo-alpha <ALPHA>
              α of alphapo, the curvature of its reward; 0 is simpo [default: 0.25]

          --cpo-alpha <WEIGHT>
              Weight of the likelihood term of cpo [default: 1.0]

          --slic-delta <NATS>
              δ of slic: the gap of log-probs aimed at, in nats [default: 1.0]

          --slic-lambda <WEIGHT>
              Weight of the likelihood term of slic [default: 0.1]

          --unlikelihood-alpha <WEIGHT>
              Weight of the rejected completion in unlikelihood, in [0, 1] [default: 1.0]

          --dr-beta <BETA>
              β′ of dr_dpo, above 0: the smaller, the less a pair of great loss counts [default: 1.0]

          --bco-shift
              Shift the rewards of bco_pair by their running mean [default: false]

          --gt-reward-scale <SCALE>
              η of rpo_sq, rpo_bwd_kl and rpo_fwd_kl: nats of margin per unit of score [default: 1.0]

          --chosen-score-column <COLUMN>
              Column of the table with the scores of the preferred answers, for rpo_sq, rpo_bwd_kl and
              rpo_fwd_kl

          --rejected-score-column <COLUMN>
              Column of the table with the scores of the other answers

          --ld-alpha <ALPHA>
              α of LD-DPO, in [0, 1]: how much the tokens of an answer count that lie beyond the length
              of the shorter one. Default: as much as the others

          --use-weighting
              Weight each pair by how likely the policy is to write it (WPO) [default: false]

          --humanline
              Clip the log-ratio of policy and reference of every token (humanline) [default: false]

          --log-epsilon-p <NATS>
              Least log-ratio of a token under humanline, in nats: at most 0 [default: -1.0]

          --log-epsilon-r <NATS>
              Greatest log-ratio of a token under humanline, in nats: at least 0 [default: 1.5]

          --dtype <DTYPE>
              Number format the policy computes in [default: f32]

              [possible values: f32, bf16]

          --device <DEVICE>
              Where the policy runs: `cpu`, `cuda` (`cuda:1` for the second GPU) or `metal`. GPUs need a
              build with the feature of that name [default: cpu]

          --max-tokens <TOKENS>
              Tokens in one forward pass: a matter of speed and memory, never of the result [default:
              2048]

          --batch-size <PAIRS>
              Pairs that an objective of the whole batch sees at once [default: 8]

          --out <FILE>
              Parquet file to write, one row a pair; replaced if it is there

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

#[test]
fn generate() {
    assert_snapshot!(Case::new().run(["generate", "--help"]), @"
    exit: 0
    stdout:
    Complete prompts with a policy: draw from it, or take its most likely tokens.

    The policy is a model, the folder of an adapter or a run folder. A text is made into a conversation
    by the model's chat template; the prompts of a data file are those `piref precompute` scores answers
    to. What is drawn depends on the seed and on the prompt, not on other prompts. By default draws are
    those of the model's own distribution, whatever `generation_config.json` recommends.

    Usage: piref generate [OPTIONS] --model <MODEL> <--prompt <TEXT>|--data <FILE>...>

    Options:
          --model <MODEL>
              The policy: a Hugging Face folder, a `.gguf` file, `org/name` or `org/name@revision` in
              the local cache, the folder of an adapter, or a run folder

          --adapter <FOLDER>
              Folder of an adapter over the model, or of the run that trained it

          --prompt <TEXT>
              Text to complete; repeat for more

          --data <FILE>...
              File whose prompts are completed, equal ones once: preference data of any format, or a
              column `prompt`; repeat for more files

          --split <SPLIT>
              Split to read of a folder with several, e.g. `test`; `all` for every one

          --map <ROLE=COLUMN,…>
              Columns of the source by what they are, e.g. `prompt=question`

          --limit <PROMPTS>
              Complete only the first prompts, this many

          --raw
              Take the text of `--prompt` as it is, without the chat template

          --chat
              Make a user's turn of each plain string of `--data`, which is completed as it is otherwise

          --temperature <T>
              What logits are divided by; 0 is greedy

              [default: 1]

          --top-p <P>
              Draw from the fewest tokens that hold this share of the probability, in (0, 1]; after
              `--top-k`

              [default: 1]

          --top-k <K>
              Draw from this many of the most likely tokens; 0 for all

              [default: 0]

          --greedy
              Take the most likely token each time

          --max-new-tokens <N>
              Most tokens of an answer

              [default: 256]

          --seed <SEED>
              Seed of the draws

              [default: 42]

          --template-date <YYYY-MM-DD>
              The date a chat template prints, if it prints one (Llama 3's does). Default: that of
              `piref precompute`

          --device <DEVICE>
              Where the model runs: `cpu`, `cuda` (`cuda:1` for the second GPU) or `metal`. GPUs need a
              build with the feature of that name

              [default: cpu]

          --output-format <FORMAT>
              Form of the answers

              Possible values:
              - text:   For people: an answer alone as it is, token by token; several with their prompts
              - json:   A list of objects with `prompt`, `completion`, `n_tokens`, `finish_reason`
              - ndjson: These objects, one a line, each as soon as it is there

              [default: text]

      -o, --output <FILE>
              File for the answers, instead of standard output; it is there once all of them are

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
fn sweep() {
    assert_snapshot!(Case::new().run(["sweep", "--help"]), @"
    exit: 0
    stdout:
    Train once for each combination of settings, all from one log-prob table, and compare the runs.

    The table is that of the pipeline, `runs/<name>/reference`; if it is not there, the reference model
    makes it once. Each run has a folder of its own below `--out`, like any other run. Run again, the
    command makes what is missing: finished runs are kept, an interrupted one goes on from its
    checkpoint, one that failed is tried again. The comparison goes to standard output, `sweep.parquet`
    and `sweep.html`.

    Usage: piref sweep [OPTIONS] --out <SWEEP> <PIPELINE>

    Arguments:
      <PIPELINE>
              Pipeline file with the settings that all runs have in common

    Options:
          --out <SWEEP>
              Folder of the sweep

          --set <KEY=VALUE,…>
              A setting of the pipeline file and the values it takes, e.g.
              `train.loss.beta=0.05,0.1,0.5`; repeat for more settings: there is a run for each
              combination

          --list <FILE>
              TOML file with one `[[run]]` for each run and its settings below that, in place of a grid
              or combined with it

          --table <TABLE>
              Another log-prob table than that of the pipeline

          --rank-by <METRIC>
              Metric that decides the order, e.g. `eval_loss` or `rewards/margins`; with `:min` or
              `:max` where neither end of it is better by itself. Default: the reward accuracy, on
              held-out pairs if there are any. Losses of another β or another objective have another
              scale

          --last-steps <STEPS>
              Steps at the end of a run that means are taken over

              [default: 10]

          --dry-run
              Say which runs there are and how far they are, and make none

          --fresh
              Start again; what earlier runs of these names have left is deleted once each has its
              policy. The table is kept

          --format <FORMAT>
              Form of the comparison on standard output

              Possible values:
              - table:    Lined up, control characters escaped; on a terminal long cells are cut
              - csv:      Comma-separated under a header; lists and structs as JSON, null as nothing
              - tsv:      The same, separated by tabs
              - json:     One array of objects; null, NaN and infinities as `null`
              - ndjson:   One object a line
              - markdown: A table for a README

              [default: table]

      -q, --quiet
              Say nothing but errors and results

          --threads <N>
              Threads for tensors and files. Default: as many as the machine has

      -h, --help
              Print help (see a summary with '-h')
    stderr:
    ");
}
