//! Numbers recorded from Python peers; the scripts that made them stand beside them in `fixtures/golden/`.

mod adapters;
mod architectures;
mod configs;
mod dpo_tiny;
mod gguf;
mod lora;
mod losses;
mod optim;
mod oracle;
mod papers;
mod sft;
mod signals;
mod trajectories;
mod trl_export;
