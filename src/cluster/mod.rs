//! Stage one and SQL on Apache Ballista: its scheduler and executors, with the functions of this program in them.
//!
//! ```text
//! client                         scheduler                      executors
//! data ─ tokenize ─→ token ids ─→ jobs of one task each ──────→ ref_logps ─ model
//! parts, manifest ←─ log-probs ←───────────────────────────────┘
//! ```
//!
//! The engine is Ballista's: this module starts its two servers with settings that suit inference, and is a client of it.
//! [`serve`] is the scheduler, [`execute`] an executor. [`ClusterEngine`] scores the pairs of stage one in a cluster:
//! everything before and after (reading, tokenising, the journal, parts, manifest) is the code of a local run, and the
//! table is the same to the byte. [`ClusterQueries`] makes the queries of a [`query::Session`](crate::query::Session) run there.
//!
//! Functions travel by name: client, scheduler and executors must all have them ([`register`], [`registry`]). One program
//! is all three, so that their versions are one.
//!
//! Invariant: a dead executor costs the tasks it had at hand and a few seconds; what scores otherwise than the client says
//! the table is scored (another model, number format or code path) is refused by its digest, not mixed in.
//!
//! Without TLS the ports trust whoever reaches them, which is why they are those of this machine unless told otherwise. With
//! [`Tls`] they answer to who has the cluster's certificate and its key; executors then ask for their tasks (Ballista's pull
//! policy), since the server by which they are pushed knows no TLS.

mod address;
mod client;
mod engine;
mod error;
mod executor;
mod functions;
mod job;
mod queries;
mod scheduler;
mod talk;
mod tls;
mod wait;

pub use address::{Bind, ParseAddressError, Scheduler, SchedulerAddress};
pub use client::Setting;
pub use engine::{ClusterEngine, ClusterPlan};
pub use error::ClusterError;
pub use executor::{ExecutorPlan, execute};
pub use functions::{register, registry, session_state};
pub use queries::ClusterQueries;
pub use scheduler::{SchedulerPlan, serve};
pub use talk::install_log;
pub use tls::{NAME, Tls};

use std::net::SocketAddr;

/// Most bytes of a message: a job of stage one holds the token ids of its pairs.
const MESSAGE_BYTES: usize = 64 << 20;

/// What a server of a cluster says while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It can be reached.
    Listening {
        /// Where.
        at: SocketAddr,
    },
    /// An executor has reached its scheduler, and offers itself.
    Joining {
        /// Where that is.
        scheduler: SchedulerAddress,
    },
    /// An executor has scored further pairs.
    Scored {
        /// Pairs so far, each as often as it was scored.
        n_pairs: u64,
    },
    /// It was asked to stop and finishes what it has begun.
    Stopping,
    /// An executor has stopped without finishing its tasks: its scheduler does not answer, so that nobody would learn of
    /// them.
    Unheard {
        /// Where that should be.
        scheduler: SchedulerAddress,
    },
}
