//! Where the time of a stage goes, op by op.

use std::time::Instant;

use serde::Serialize;

use crate::ops::profile::{self, Count, Op};

/// Times of the ops of one piece of work, with what is left of its wall time.
#[derive(Debug, Clone, Serialize)]
pub struct Profile {
    /// Wall time, in seconds.
    pub seconds: f64,
    /// The ops that were called, in the order of a pass.
    pub ops: Vec<OpTime>,
    /// Wall time outside of all ops, in seconds.
    pub other_seconds: f64,
}

/// One op in a [`Profile`].
#[derive(Debug, Clone, Copy, Serialize)]
pub struct OpTime {
    /// Its name.
    pub op: &'static str,
    /// Calls.
    pub calls: u64,
    /// Time in them, in seconds.
    pub seconds: f64,
    /// The same as a share of the wall time.
    pub share: f64,
    /// Operations of its products a second, in 10⁹; those made again count again. None of an op without products.
    pub gflops: Option<f64>,
    /// Share of the machine's own rate.
    pub share_of_product: Option<f64>,
}

impl Profile {
    /// Does some work and profiles it; `product` is the machine's own rate, in operations a second.
    pub(super) fn of<R>(product: f64, work: impl FnOnce() -> R) -> (R, Self) {
        let started = Instant::now();
        let (result, counts) = profile::count(work);
        let seconds = started.elapsed().as_secs_f64();
        let called = Op::ALL.iter().zip(&counts).filter(|(_, count)| count.calls > 0);
        let ops: Vec<OpTime> = called.map(|(op, count)| OpTime::new(*op, count, seconds, product)).collect();
        let other_seconds = seconds - ops.iter().map(|op| op.seconds).sum::<f64>();
        (result, Self { seconds, ops, other_seconds })
    }
}

impl OpTime {
    fn new(op: Op, count: &Count, wall: f64, product: f64) -> Self {
        let rate = (count.flops > 0.0).then(|| count.flops / count.seconds);
        Self {
            op: op.name(),
            calls: count.calls,
            seconds: count.seconds,
            share: count.seconds / wall,
            gflops: rate.map(|rate| rate / 1e9),
            share_of_product: rate.map(|rate| rate / product),
        }
    }
}
