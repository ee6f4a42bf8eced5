//! The manual of supervised training.

use insta::assert_snapshot;

use crate::support::Case;

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
              Model to train: a Hugging Face folder, a `.gguf` file, `org/name` or `org/name@revision`
              in the local cache, the folder of an adapter, or a run folder

          --init <FOLDER>
              Start from weights drawn at random, in place of a model: a folder with `config.json` and a
              tokenizer. Their standard deviation is its `initializer_range`, the seed is `--seed`

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

          --overlong <WHAT>
              What to do with a row whose prompt alone fills `--max-length`, which leaves nothing to
              score. Such rows are counted and listed apart; `--max-reject-rate` does not count them
              [default: drop]

              [possible values: drop, refuse]

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
              `all-linear` for all. Or a regular expression for whole names, e.g. `.*self_attn.*`
              [default: all-linear]

          --lora-exclude-modules <NAME,…>
              Of these, linear maps that have none, told in the same way

          --lora-layers-to-transform <LAYER,…>
              Layers that have an adapter, from 0; where the maps are told by names. Default: all

          --adapter <FOLDER>
              Folder of an adapter to go on from, one of PEFT's.

          --no-shuffle
              Take the sequences in the order of the data

          --fresh
              Start again; checkpoints, metrics and policy of an earlier run are deleted once this one
              has its policy

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
