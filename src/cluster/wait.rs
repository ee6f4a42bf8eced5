//! Threads for the engine, and waiting for it while looking whether somebody wants to stop.

use std::pin::pin;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::error::ClusterError;
use crate::guard;
use crate::interrupt::Interrupt;

/// How often it is looked.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// Threads for the engine.
pub(super) fn runtime() -> Result<Runtime, ClusterError> {
    guard::runtime(None, guard::STACK).map_err(|source| ClusterError::Runtime { source })
}

/// What `work` comes to; `None` if somebody has stopped it before. `tick` is called now and then.
pub(super) async fn until<T>(
    work: impl Future<Output = T>,
    interrupt: &Interrupt,
    mut tick: impl FnMut(),
) -> Option<T> {
    let mut work = pin!(work);
    loop {
        if interrupt.is_set() {
            return None;
        }
        tick();
        if let Ok(done) = tokio::time::timeout(TICK, &mut work).await {
            return Some(done);
        }
    }
}
