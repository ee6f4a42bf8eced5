//! piref: offline Direct Preference Optimization (DPO, arXiv:2305.18290) in two stages.
//!
//! # The two stages
//!
//! DPO needs, for each pair of a prompt x, a preferred completion y_w and another y_l, the log-probabilities of both
//! completions under the trained policy π_θ and under a frozen reference π_ref:
//!
//! ```text
//! L = −ln σ(β·[(ln π_θ(y_w|x) − ln π_ref(y_w|x)) − (ln π_θ(y_l|x) − ln π_ref(y_l|x))])      eq. 7
//! ```
//!
//! The reference never changes, so its two numbers a pair never change. **Stage one** ([`precompute`]) runs it once
//! over a data set and writes them into a table. **Stage two** ([`train`]) trains the policy from that table; the
//! reference is not in memory, and no setting of the loss ever asks for it again.
//!
//! # The table
//!
//! One row a pair, in Parquet parts with a manifest written last ([`table`]); any tool that reads Parquet can read it.
//! The contract is `schemas/reference.v1.toml`. Its columns:
//!
//! - `pair_id` names the text, `tokens_id` the token ids that were scored; both are digests of content, so rows keep
//!   their identity when a data set is shuffled, cut or joined;
//! - `prompt`, `chosen`, `rejected`, `conversation`: what the author wrote; `source`, `row_idx`, `split`: where;
//! - `prompt_ids`, `chosen_ids`, `rejected_ids` with their `…_tokens` and `…_cut` counts, and `boundary_moved`: what was
//!   scored, so that training never tokenises again;
//! - `ref_chosen_logps`, `ref_rejected_logps` in nats, summed over completion tokens, and their terms in
//!   `ref_chosen_token_logps`, `ref_rejected_token_logps`;
//! - every other column of the source under its own name.
//!
//! Beside each part lies a file of signals, `schemas/signals.v1.toml`, unless they were not wanted: entropy and first
//! choice of every token, least likely tokens, and the similarity of hidden states that tells likelihood displacement.
//!
//! Sums, counts and terms serve every loss; β and the loss never change a table. The footer of each part says which
//! weights, tokenizer, template and rules its numbers hold for.
//!
//! # The modules
//!
//! In layer order: a module uses only modules above it, and a test (`tests/tidy.rs`) holds that.
//!
//! | module | owns | invariant |
//! |---|---|---|
//! | [`error`] | the `Hint` trait | no catch-all error: each layer has its own enum with the place in it |
//! | [`visible`] | text from outside on its way to a reader | what would hide or move the cursor is spelt out, no line passes for ours |
//! | [`digest`] | BLAKE3 digests and ids | lengths are hashed, so parts never run together |
//! | [`guard`] | panics of decoders | under it a panic is an error and says nothing by itself |
//! | [`io`] | all file access | a file under its final name is complete |
//! | [`tensorboard`] | TensorBoard's event file | one file a folder, no step twice |
//! | [`spool`] | rows too many for memory | no name on disk, so nothing to clean up and nothing to go stale |
//! | [`memory`] | what there is and what was held | told by the system or not at all |
//! | [`interrupt`] | the wish to stop | noticed between units of work, never inside one |
//! | [`storage`] | objects in buckets, by local copies | nothing is overwritten unseen, no credential is told |
//! | [`parquet_check`] | what a Parquet file promises | nothing is decoded that promises more than a file can hold |
//! | [`model_source`] | where a model is | nothing is downloaded |
//! | [`data`] | preference pairs as text | a row becomes a pair or a reject with its place, never neither |
//! | [`tokenize`] | templates, boundary, truncation, token store | the ids are those TRL would train on |
//! | [`batch`] | groups with a shared prompt | no padding, no token twice |
//! | [`ops`] | differentiable kernels | no autograd, each backward is written out and tested; of our own kernels, a row does not depend on its neighbours |
//! | [`model`] | the decoder, its weights, adapters | an unknown architecture, value or tensor is refused by name |
//! | [`policy`] | where a trained policy is | a model, an adapter or a run, told by its files |
//! | [`logprob`] | hidden states to log-probs | the one function both stages call |
//! | [`generate`] | answers drawn from a model | what is drawn follows the logits of the decoder that is trained |
//! | [`table`] | schema, provenance, parts, reader | log-probs are finite and at most 0; a manifest means finished |
//! | [`loss`] | objectives on log-probs of pairs | closed-form slopes of the value that is reported |
//! | [`query`] | SQL over tables and runs | reads only; every error names the file or the query |
//! | [`audit`] | what is wrong with preference data | a check that cannot look says so; nothing is dropped unasked |
//! | [`selection`] | which pairs are trained on, in which order, and which are held out | no prompt is on both sides |
//! | [`mod@eval`] | what a policy says of held-out pairs | an evaluation changes nothing |
//! | [`optim`] | optimisers, schedules, running means of weights | named, ordered state |
//! | [`checkpoint`] | a run on disk | a resumed run goes on to the same bits |
//! | [`mod@precompute`] | stage one, whole or by shards | what is scored is not scored again |
//! | [`scoring`] | stage one as a function of SQL | its numbers are those of a table, to the bit |
//! | `cluster` (a feature) | stage one and SQL on Apache Ballista | the table is that of a local run, to the byte |
//! | `serve`, with the feature `cluster` | SQL for clients of Arrow Flight SQL | a client reads what was given, and nothing else |
//! | [`interchange`] | tables to and from other programs | nothing is guessed about a foreign number |
//! | [`train`] | stage two | no function takes two models |
//! | [`sft`] | supervised fine-tuning | the loss is a mean over tokens, however a step is cut |
//! | [`mod@bench`] | the speed of both stages | operations are counted of the task, not of the code |
//! | [`verify`] | proof that a table is what it says | every finding is told, and memory does not grow with the table |
//! | [`inspect`] | what a path is | told by the file itself, never guessed |
//! | [`report`] | pages about runs and audits, their plots | one file, no network, no script; what a file says is text, never markup |
//! | [`pipeline`] | TOML and flags to checked plans | configuration stops here |
//! | [`sweep`] | many runs on one table | a run that is finished is not made again, one that fails loses no other |
//! | [`cli`] | subcommands | stdout is data, stderr is talk |
//!
//! # Shapes
//!
//! **B** pairs, **S** = 2B sequences (chosen first), **T** tokens (rows of a batch), **N** scored tokens, **V**
//! vocabulary, **D** width, **F** feed-forward width, **H** query heads, **G** key/value heads, **d** width of a head.
//! A line whose tensor changes shape ends in `// (T, D)`.
//!
//! # Absent on purpose
//!
//! A reference model during training; padding and attention masks over a batch; autograd; a download of a model; a service that
//! has to run.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at a surprise")
)]

pub mod error;

mod named_floats;

pub mod visible;

pub mod digest;

pub mod guard;

pub mod io;

pub mod tensorboard;

pub mod spool;

pub mod memory;

pub mod interrupt;

pub mod storage;

pub mod parquet_check;

pub mod model_source;

pub mod data;

pub mod tokenize;

pub mod batch;

pub mod ops;

pub mod model;

pub mod policy;

pub mod logprob;

pub mod generate;

pub mod table;

pub mod loss;

pub mod query;

pub mod audit;

pub mod selection;

pub mod eval;

pub mod optim;

pub mod checkpoint;

pub mod precompute;

pub mod scoring;

#[cfg(feature = "cluster")]
pub mod cluster;

#[cfg(all(feature = "cluster", unix))]
pub mod serve;

pub mod interchange;

pub mod train;

pub mod sft;

pub mod bench;

pub mod verify;

pub mod inspect;

pub mod report;

pub mod pipeline;

pub mod sweep;

pub mod cli;
