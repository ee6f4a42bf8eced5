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
              Policy: a Hugging Face folder, a `.gguf` file, `org/name` in the local cache, the folder
              of an adapter, or a run folder. Of a pipeline: that of its run

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

    Usage: piref generate [OPTIONS] --model <MODEL> <--prompt <TEXT>|--data <FILE>>

    Options:
          --model <MODEL>
              The policy: a Hugging Face folder, a `.gguf` file, `org/name` in the local cache, the
              folder of an adapter, or a run folder

          --adapter <FOLDER>
              Folder of an adapter over the model, or of the run that trained it

          --prompt <TEXT>
              Text to complete; repeat for more

          --data <FILE>
              File whose prompts are completed, equal ones once: preference data of any format, or a
              column `prompt`; repeat for more files

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
#[expect(clippy::too_many_lines, reason = "a manual is as long as it is")]
fn sft() {
    assert_snapshot!(Case::new().run(["sft", "--help"]), @"
    exit: 0
    stdout:
    Train a model on answers, conversations or text: the step before DPO.

    Data is told by its columns, and files may differ: preference pairs (the preferred answers are
    learnt), `prompt` with `completion`, `messages` (the turns of the assistant), `text`, or `.txt`
    files. Texts are joined and cut into blocks of `--max-length` tokens. Interrupted (Ctrl-C, exit code
    130) or killed, the run goes on from its newest checkpoint when the same command is run again.

    Usage: piref sft [OPTIONS] [PIPELINE]

    Arguments:
      [PIPELINE]
              Pipeline file; flags win over it, key by key. It needs `[data]`, `[train]` and `[sft]`

    Options:
          --model <MODEL>
              Model to train: a Hugging Face folder, a `.gguf` file, or `org/name` in the local cache

          --init <FOLDER>
              Start from weights drawn at random, in place of a model: a folder with `config.json` and a
              tokenizer. Their standard deviation is its `initializer_range`, the seed is `--seed`

          --data <FILE>
              Preference data: `.jsonl`, `.json` (`.gz`, `.zst`), Parquet or Arrow IPC, a path or a URL
              (`s3://…`, `gs://…`, `az://…`); repeat for more files

          --map <ROLE=COLUMN,…>
              Columns of the source by what they are, e.g.
              `prompt=question,chosen=better,rejected=worse`

          --max-reject-rate <SHARE>
              Share of rows that may be rejected before the run fails, in [0, 1] [default: 0.01]

          --limit <ROWS>
              Take only the first rows of the data, this many.

          --out <RUN>
              Folder of the run: metrics, checkpoints and the policy go there

          --no-mask-prompt
              Learn prompts too, not answers alone

          --max-length <TOKENS>
              Longest sequence, in tokens; what is longer is cut. Texts are cut into blocks of this
              length. 0 for no limit. [default: 1024]

          --truncation-mode <END>
              Which end of a sequence that is too long is kept [default: keep_start]

              [possible values: keep_start, keep_end]

          --template-date <YYYY-MM-DD>
              The date a chat template prints, if it prints one (Llama 3's does) [default: 2024-07-26]

          --save-dtype <DTYPE>
              Number type of the policy in its folder: `auto` is that of the model it comes from (of a
              `.gguf` file and of mixed types f32), `f32` keeps every number. 16 bits round: `eval` of
              the policy may differ in the last digits from the run's own, and where rounding moves the
              weights farther than training did, that is said. Checkpoints are f32 [default: auto]

              [possible values: auto, f32, bf16, f16]

          --dtype <DTYPE>
              Number format the policy computes in [default: f32]

              [possible values: f32, bf16]

          --device <DEVICE>
              Where the policy runs: `cpu`, `cuda` (`cuda:1` for the second GPU) or `metal`. GPUs need a
              build with the feature of that name [default: cpu]

          --learning-rate <RATE>
              Highest learning rate of the schedule. With an adapter the default is 1e-4. [default:
              2e-5]

          --lr-scheduler-type <SHAPE>
              Shape of the learning rate after the warm-up. With one, `constant` is
              `constant_with_warmup` [default: linear]

              [possible values: constant, constant_with_warmup, linear, cosine, cosine_with_min_lr,
              inverse_sqrt]

          --min-lr <RATE>
              Lowest learning rate of `cosine_with_min_lr`

          --min-lr-rate <SHARE>
              The same as a share of the learning rate, in [0, 1]

          --warmup-steps <STEPS>
              Optimiser steps in which the learning rate rises from 0 [default: 0]

          --warmup-ratio <SHARE>
              The same as a share of all steps, in [0, 1], rounded up; in place of `warmup_steps`

          --optim <NAME>
              Optimiser that turns gradients into steps: those of torch, with its defaults [default:
              adamw]

              [possible values: adamw, rmsprop, sgd]

          --weight-decay <DECAY>
              Weight decay of all but biases and norms; 0 for none. AdamW's is decoupled, per unit of
              learning rate; RMSprop and SGD add this share of a weight to its gradient [default: 0.0]

          --adam-beta1 <BETA1>
              Decay of AdamW's first moment, in [0, 1) [default: 0.9]

          --adam-beta2 <BETA2>
              Decay of AdamW's second moment, in [0, 1) [default: 0.999]

          --adam-epsilon <EPS>
              AdamW's ε, added to the root of the second moment [default: 1e-8]

          --rmsprop-alpha <ALPHA>
              Decay of RMSprop's mean square, in [0, 1) [default: 0.99]

          --rmsprop-epsilon <EPS>
              RMSprop's ε, added to the root of the mean square [default: 1e-8]

          --momentum <MOMENTUM>
              Momentum of RMSprop and SGD, in [0, 1); 0 for none [default: 0.0]

          --ema-decay <DECAY>
              Decay of a running mean of the trained weights (EMA), in [0, 1), e.g. 0.99: the policy
              then is the mean, and checkpoints hold both. Default: no mean

          --max-grad-norm <NORM>
              Norm the gradient is clipped to; 0 for no clipping [default: 1.0]

          --batch-size <SEQUENCES>
              Sequences in one optimiser step. [default: 8]

          --max-steps <STEPS>
              Optimiser steps of the run; given, it counts instead of the epochs

          --num-train-epochs <EPOCHS>
              Passes over the data; may be a fraction. [default: 3.0]

          --seed <SEED>
              Seed of everything that is drawn [default: 42]

          --max-tokens <TOKENS>
              Tokens in one forward and backward pass: a matter of speed and memory; of the result it
              changes the last bits. A run may go on with another number [default: 2048]

          --recompute <LAYERS>
              Layers whose intermediate results are made again in the backward: a matter of speed and
              memory, never of the result [default: auto]

              [possible values: auto, none, layer]

          --memory-budget <SIZE>
              Most memory a step may take, e.g. `6GB`. Default: what is free

          --logging-steps <STEPS>
              Optimiser steps from one line of metrics to the next [default: 10]

          --report-to <NAME>
              Who is told of every step besides `train/metrics.jsonl`: `tensorboard` writes an event
              file beside it [default: tensorboard]

              [possible values: tensorboard, none]

          --save-steps <STEPS>
              Optimiser steps from one checkpoint to the next; 0 for none but the last [default: 500]

          --save-total-limit <CHECKPOINTS>
              Checkpoints to keep, at most: the oldest go, the newest and the best stay. Default: all

          --lora-r <RANK>
              Rank of a LoRA adapter to train while the weights stay as they are. Default: the weights
              are trained

          --lora-alpha <ALPHA>
              α of the adapter, which is multiplied with α/rank [default: 32.0]

          --lora-dropout <SHARE>
              Share of its input that is dropped while training, in [0, 1). With it, other `max_tokens`
              draw otherwise [default: 0.0]

          --use-rslora
              Multiply the adapter with α/√rank instead (rsLoRA) [default: false]

          --lora-target-modules <NAME,…>
              Linear maps of a layer that have an adapter, by their names in PEFT, e.g. `q_proj,v_proj`;
              `all-linear` for all [default: all-linear]

          --adapter <FOLDER>
              Folder of an adapter to go on from, one of PEFT's.

          --no-shuffle
              Take the sequences in the order of the data

          --fresh
              Delete the checkpoints, the metrics and the policy of an earlier run, and start again

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
              Delete what earlier runs of these names have left, and start again; the table is kept

          --format <FORMAT>
              Form of the comparison on standard output

              Possible values:
              - table:    Lined up for a terminal: long cells cut, control characters escaped
              - csv:      Comma-separated under a header; lists and structs as JSON, null as nothing
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
