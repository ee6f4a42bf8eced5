//! Several requests at once, each on a thread that waits for it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Requests under way at once: a service answers one connection more slowly than a line is fast.
const CONCURRENCY: usize = 8;

/// What `work` makes of each item, in their order.
///
/// # Errors
/// One of those that `work` gives; no further item is begun then.
pub fn in_parallel<T: Sync, R: Send, E: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return Ok(done) };
            match work(item) {
                Ok(result) => done.push((index, result)),
                Err(error) => {
                    next.store(items.len(), Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    };
    thread::scope(|scope| {
        // This thread is one of them: where no other can be started, it does all of it.
        let spawned = (1..CONCURRENCY.min(items.len())).map(|_| thread::Builder::new().spawn_scoped(scope, worker));
        let workers: Vec<_> = spawned.map_while(Result::ok).collect();
        let own = worker();
        let mut all = Vec::with_capacity(items.len());
        all.extend(own?);
        for worker in workers {
            match worker.join() {
                Ok(done) => all.extend(done?),
                Err(panicked) => std::panic::resume_unwind(panicked),
            }
        }
        all.sort_by_key(|(index, _)| *index);
        Ok(all.into_iter().map(|(_, result)| result).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_and_an_error_ends_the_work() {
        let items: Vec<u32> = (0..100).collect();
        assert_eq!(in_parallel(&items, |item| Ok::<_, ()>(2 * item)), Ok((0..100).map(|item| 2 * item).collect()));
        assert_eq!(in_parallel(&items, |item| if *item == 50 { Err(*item) } else { Ok(()) }), Err(50));
        assert_eq!(in_parallel(&[] as &[u32], |item| Ok::<_, ()>(*item)), Ok(Vec::new()));
    }
}
