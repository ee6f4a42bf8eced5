//! Where the time of a pass goes: calls, seconds and counted operations of each op, while a thread asks for them.
//!
//! Every public function of an op starts a timer at its top; where nobody asks, that is a look at a variable of the
//! thread. Ops do not call each other's public functions, so no time is counted twice. On a GPU an op only puts its work
//! into a queue, and the times say how long that takes, or how long it waits for a result.

use std::cell::RefCell;
use std::time::Instant;

use candle_core::Tensor;

/// A group of ops whose time is told together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// `x·Wᵀ + b`.
    LinearForward,
    /// Its gradient in `x`.
    LinearBackwardInput,
    /// Its gradients in weight and bias.
    LinearBackwardWeight,
    /// Scores, softmax, weighted values.
    AttentionForward,
    /// Its gradients in queries, keys and values; scores and softmax are made again.
    AttentionBackward,
    /// Logits and log-softmax.
    HeadForward,
    /// Its gradients in hidden states and weight; logits are made again.
    HeadBackward,
    /// Norms, forward and backward.
    Norm,
    /// Rotary embedding, forward and backward.
    Rope,
    /// SwiGLU, forward and backward.
    Swiglu,
    /// Token embedding, forward and backward.
    Embedding,
    /// Dropout, forward and backward.
    Dropout,
    /// Updates of parameters.
    Update,
    /// Norm of the gradient.
    GradientNorm,
}

/// What was counted of one [`Op`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Count {
    /// Calls.
    pub calls: u64,
    /// Time in them, in seconds.
    pub seconds: f64,
    /// Operations of their products, two a multiply-add; those made again count again.
    pub flops: f64,
}

/// Counts of all ops, in the order of [`Op::ALL`].
pub type Counts = [Count; Op::ALL.len()];

thread_local! {
    static COUNTS: RefCell<Option<Counts>> = const { RefCell::new(None) };
}

impl Op {
    /// All of them, in the order of a pass.
    pub const ALL: [Self; 14] = [
        Self::Embedding,
        Self::Norm,
        Self::Dropout,
        Self::LinearForward,
        Self::Rope,
        Self::AttentionForward,
        Self::Swiglu,
        Self::HeadForward,
        Self::HeadBackward,
        Self::LinearBackwardInput,
        Self::LinearBackwardWeight,
        Self::AttentionBackward,
        Self::GradientNorm,
        Self::Update,
    ];

    /// Its name, as a report has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::LinearForward => "linear forward",
            Self::LinearBackwardInput => "linear backward input",
            Self::LinearBackwardWeight => "linear backward weight",
            Self::AttentionForward => "attention forward",
            Self::AttentionBackward => "attention backward",
            Self::HeadForward => "head forward",
            Self::HeadBackward => "head backward",
            Self::Norm => "norm",
            Self::Rope => "rope",
            Self::Swiglu => "swiglu",
            Self::Embedding => "embedding",
            Self::Dropout => "dropout",
            Self::Update => "update",
            Self::GradientNorm => "gradient norm",
        }
    }
}

/// Does some work and says what the ops it called, on this thread, amount to. Inside of other work that is counted, it
/// takes its part out of that.
pub fn count<R>(work: impl FnOnce() -> R) -> (R, Counts) {
    let outer = COUNTS.replace(Some(Counts::default()));
    let result = work();
    (result, COUNTS.replace(outer).unwrap_or_default())
}

/// Counts one call, which ends where this is dropped.
#[must_use]
pub(in crate::ops) struct Timer {
    op: Op,
    flops: f64,
    started: Instant,
}

/// Begins a call, if calls are counted.
pub(in crate::ops) fn start(op: Op, flops: impl FnOnce() -> f64) -> Option<Timer> {
    let is_on = COUNTS.with_borrow(Option::is_some);
    is_on.then(|| Timer { op, flops: flops(), started: Instant::now() })
}

/// Operations of the product of `x` `(T, in)` with a weight `(out, in)`, or of one of its gradients.
pub(in crate::ops) fn product(x: &Tensor, weight: &Tensor) -> f64 {
    let n_rows = x.dims().first().copied().unwrap_or_default();
    2.0 * n_rows as f64 * weight.elem_count() as f64
}

impl Drop for Timer {
    fn drop(&mut self) {
        let seconds = self.started.elapsed().as_secs_f64();
        COUNTS.with_borrow_mut(|counts| {
            let place = Op::ALL.iter().position(|op| *op == self.op);
            if let (Some(counts), Some(place)) = (counts, place) {
                let count = &mut counts[place];
                count.calls += 1;
                count.seconds += seconds;
                count.flops += self.flops;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_on_their_own_thread_while_someone_asks() {
        let call = |op, flops: f64| drop(start(op, || flops));
        call(Op::Norm, 1.0);
        let (inner, outer) = count(|| {
            call(Op::Rope, 1.0);
            call(Op::Rope, 2.0);
            std::thread::scope(|scope| scope.spawn(|| call(Op::Rope, 4.0)).join().unwrap());
            count(|| call(Op::Update, 8.0)).1
        });
        let flops = |counts: &Counts| -> Vec<_> {
            let named = Op::ALL.iter().zip(counts).filter(|(_, count)| count.calls > 0);
            named.map(|(op, count)| (op.name(), count.calls, count.flops)).collect()
        };
        assert_eq!(flops(&outer), [("rope", 2, 3.0)]);
        assert_eq!(flops(&inner), [("update", 1, 8.0)]);
        assert!(start(Op::Norm, || 0.0).is_none());
    }
}
