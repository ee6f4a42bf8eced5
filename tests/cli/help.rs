//! The manual.

use insta::assert_snapshot;

use crate::support::Case;

// The feature adds to it.
#[cfg(not(feature = "cluster"))]
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
      eval         Evaluate a policy on a log-prob table of held-out pairs: loss, reward accuracy,
                   margins, distance to the reference
      sweep        Train once for each combination of settings, all from one log-prob table, and compare
                   the runs
      sft          Train a model on answers, conversations or text: the step before DPO
      sql          Query log-prob tables, metrics and data files with SQL
      audit        Find what is wrong with preference data: with the texts, the labels, and what the
                   reference says of them
      generate     Complete prompts with a policy: draw from it, or take its most likely tokens
      report       Write a page about a run: settings, curves of its metrics, histograms of its table,
                   timings
      export       Write the pairs of a log-prob table, or the policy of a run, as another program takes
                   them
      import       Make a log-prob table of pairs that another program has scored
      bench        Measure how fast both stages run on this machine, and against what it can do
      verify       Check every byte and every row of a log-prob table; with its model, score a sample
                   again
      inspect      Say what a file or folder is: a table or a stray part of one, a run, a model, a
                   checkpoint
      diff         Compare two log-prob tables row by row: added, removed, retokenised, rescored,
                   unchanged
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

// The feature adds to it.
#[cfg(not(feature = "cluster"))]
#[test]
fn precompute() {
    assert_snapshot!(Case::new().run(["precompute", "--help"]), @"
    exit: 0
    stdout:
    Run the frozen reference once over a preference dataset and store its log-probabilities.

    From a pipeline file the table goes to `runs/<name>/reference`. What is there already is kept if it
    was made with the same settings: only the missing pairs are scored.

    Many machines that share the folder make a table together: each runs the same command with another
    `--shard`, in any order and as often as need be, then one runs it with `--finish`. The table is,
    byte for byte, the one of a single run.

    Usage: piref precompute [OPTIONS] [PIPELINE]

    Arguments:
      [PIPELINE]
              Pipeline file, e.g. `pipelines/quickstart.toml`; flags win over it, key by key

    Options:
          --model <MODEL>
              Reference model: a Hugging Face folder, a `.gguf` file, `org/name` or `org/name@revision`
              in the local cache, the folder of an adapter, or a run folder

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

          --out <TABLE>
              Folder of the log-prob table, or its URL: `s3://BUCKET/KEY`, `gs://…`, `az://…`

          --as <NAME>
              Score the pairs of the finished table in that folder with another model, into a table
              beside it

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

          --adapter <FOLDER>
              Adapter over the model, which is the reference with it: a PEFT folder, or a run that
              trained one. Not needed where the model is an adapter or a run, unless its base model is
              elsewhere now

          --dtype <DTYPE>
              Number format the reference computes in [default: f32]

              [possible values: f32, bf16]

          --device <DEVICE>
              Where the reference runs: `cpu`, `cuda` (`cuda:1` for the second GPU) or `metal`. GPUs
              need a build with the feature of that name [default: cpu]

          --max-tokens <TOKENS>
              Tokens in one forward pass: a matter of speed and memory, never of the result [default:
              2048]

          --rows-per-part <PAIRS>
              Pairs in one file of the table [default: 4096]

          --reuse <TABLE>
              Another table, whose log-probs are taken where they are of the same tokens; repeat for
              more

          --no-signals
              Leave out the signals: entropies, first choices, CHES. The log-probs are the same

          --fresh
              Start again; what an earlier run left in the folder is deleted once the new table is
              finished

          --shard <I/N|auto|auto/N>
              Make only shard I of N, from `0/N`: the parts of the table whose number leaves I when
              divided by N. `auto` reads both from a Slurm or AWS Batch array, `auto/N` the index alone,
              as in a Kubernetes Indexed Job

          --finish
              Score nothing: check that the shards have made every part, and finish the table; or name
              what is missing

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
#[expect(clippy::too_many_lines, reason = "a manual is as long as it is")]
fn train() {
    assert_snapshot!(Case::new().run(["train", "--help"]), @"
    exit: 0
    stdout:
    Optimise a policy from the log-prob table; the reference model is not loaded.

    From a pipeline file the table is `runs/<name>/reference` and the run goes to `runs/<name>`. A run
    that was interrupted (Ctrl-C ends it at a checkpoint, with exit code 130) or killed goes on from its
    newest checkpoint when the same command is run again.

    Usage: piref train [OPTIONS] [PIPELINE]

    Arguments:
      [PIPELINE]
              Pipeline file, e.g. `pipelines/quickstart.toml`; flags win over it, key by key

    Options:
          --model <MODEL>
              Model the policy starts from, the reference: a Hugging Face folder, a `.gguf` file,
              `org/name` or `org/name@revision` in the local cache, the folder of an adapter, or a run
              folder

          --table <TABLE>
              Folder of the log-prob table, as `piref precompute` left it, or its URL; repeat to train
              from several, all of them one or mixed by `--table-weights`

          --out <RUN>
              Folder of the run: metrics, checkpoints and the policy go there

          --reference <NAME>
              Further reference of the table to train against, by the name `piref precompute --as` gave
              it. Default: the table's own

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
              Highest learning rate of the schedule. With an adapter the default is 1e-5 [default: 1e-6]

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

          --batch-size <PAIRS>
              Pairs in one optimiser step [default: 8]

          --max-steps <STEPS>
              Optimiser steps of the run; given, it counts instead of the epochs

          --num-train-epochs <EPOCHS>
              Passes over the selected pairs; may be a fraction [default: 3.0]

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

          --table-weights <WEIGHT,…>
              Weights of several tables, in their order, e.g. `0.7,0.3`: the tables take turns in this
              proportion, and an epoch lasts until each was read once. Default: all tables are one

          --where <SQL>
              Train only on pairs of which this SQL predicate holds, over the columns of `pairs` and
              `scored` in `piref sql`, e.g. `prompt_tokens < 512 AND ref_margin < 0`

          --order-by <SQL>
              Take the pairs of an epoch in the order of these SQL expressions, e.g. `chosen_tokens,
              ref_margin DESC`, instead of shuffling them

          --curriculum <FILE>
              Take the pairs of an epoch from this file: a `pair_id` a line, in this order, as often as
              it is there, and no others

          --eval-share <SHARE>
              Share of the prompts to hold out from training, all pairs of a prompt together, in [0, 1).
              A prompt is held out by its hash: under every seed, on every machine, and when the data
              grow

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
              Folder of an adapter to go on from, one of PEFT's. The table is then one that was scored
              with it, or `--allow-other-reference` is needed

          --eval-table <TABLE>
              Folder of a log-prob table of held-out pairs: the policy is evaluated on them before the
              first step, on the way and after the last. Default: the pairs that `--eval-share` holds
              out, if it holds out any

          --eval-steps <STEPS>
              Optimiser steps from one evaluation to the next; 0 for none but the first and the last
              [default: 500]

          --early-stopping-patience <EVALUATIONS>
              End the run after this many evaluations in a row without improvement. Default: never

          --early-stopping-threshold <DIFFERENCE>
              By how much an evaluation has to be better than the best before it to be an improvement
              [default: 0.0]

          --metric-for-best-model <METRIC>
              By which metric evaluations are compared, with or without `eval_`: of `eval_loss` less is
              better, of the others more [default: eval_loss]

              [possible values: eval_loss, eval_rewards/accuracies, eval_rewards/margins,
              eval_rewards/chosen, eval_logps/chosen]

          --load-best-model-at-end
              Write the policy of the best evaluation, not the last one; its checkpoint is kept
              [default: false]

          --eval-samples <PROMPTS>
              Let the policy complete the first held-out prompts whenever it is evaluated, this many,
              each token the most likely one; 0 for none. They are in `train/samples` of the run and in
              its report [default: 0]

          --eval-sample-tokens <TOKENS>
              Most tokens of such an answer, its end token included [default: 64]

          --allow-other-reference
              Train although the table's reference is another model than the policy starts from: on from
              an earlier policy, or against another model's log-probs. The tokenizer has to be the
              table's in any case

          --allow-dtype-drift
              Train although the table was scored in another number format than the policy computes in
              (`--dtype`); how far the two are apart is said

          --no-shuffle
              Take the pairs in the order of the table, or of `--order-by`, in every epoch

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
