//! Panics inside other people's decoders, as errors.
//!
//! Invariant: a panic under [`catch`] becomes an error and, in a process that called [`install`], writes nothing by
//! itself. A panic anywhere else is a bug of ours and is reported as Rust does.

use std::any::Any;
use std::io;
use std::num::NonZeroUsize;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Runtime};

/// How many calls of [`catch`] are running, on all threads: a decoder may panic on a thread of its own.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Bytes of stack for a thread that waits: what tokio takes by itself.
pub const STACK: usize = 2 << 20;

/// Bytes of a panic's message that are kept: some print the value they tripped over.
const MESSAGE_BYTES: usize = 300;

/// What a decoder said when it panicked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the decoder gave up on what it found: {message}")]
pub struct Panicked {
    message: String,
}

/// Makes panics under [`catch`] silent; others go on to the hook that was installed before. Called once, by `main`.
pub fn install() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panicked| {
        if RUNNING.load(Ordering::SeqCst) == 0 {
            before(panicked);
        }
    }));
}

/// Runs a decoder that may panic on damaged input. What it leaves behind has to be dropped, not used again.
///
/// # Errors
/// The message of the panic, cut to a line.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    let running = Running::start();
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    drop(running);
    result.map_err(|payload| Panicked::of(&*payload))
}

/// Starts a runtime of so many threads, `None` for one a core, with so many bytes of stack each.
///
/// Where the system has fewer threads left, tokio panics and then waits for ever for those it has started: it is asked
/// beforehand.
///
/// # Errors
/// What the system says.
pub fn runtime(n_threads: Option<NonZeroUsize>, stack: usize) -> io::Result<Runtime> {
    let n_threads = n_threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    check_threads(n_threads, stack)?;
    let mut builder = Builder::new_multi_thread();
    let build = || builder.worker_threads(n_threads).thread_stack_size(stack).enable_all().build();
    catch(build).unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
}

/// Starts so many threads at once, which end together.
fn check_threads(n_threads: usize, stack: usize) -> io::Result<()> {
    let gate = Mutex::new(());
    thread::scope(|scope| {
        let closed = gate.lock();
        let wait = || drop(gate.lock());
        let start = |_| thread::Builder::new().stack_size(stack).spawn_scoped(scope, wait).map(drop);
        let started = (0..n_threads).try_for_each(start);
        drop(closed);
        started
    })
}

/// Counts one call for as long as it lives.
struct Running;

impl Running {
    fn start() -> Self {
        RUNNING.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Panicked {
    fn of(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        let line = text.lines().next().unwrap_or_default();
        let mut message = line[..line.floor_char_boundary(MESSAGE_BYTES)].to_owned();
        if message.len() < text.len() {
            message.push('…');
        }
        Self { message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_without_threads_is_an_error() {
        assert!(runtime(NonZeroUsize::new(3), STACK).is_ok());
        // No system has so much room for a stack.
        assert!(runtime(NonZeroUsize::new(2), 1 << 47).is_err());
        assert!(check_threads(2, 1 << 47).is_err());
    }

    #[test]
    fn a_panic_is_an_error_with_its_message_in_one_line() {
        let caught = |work: fn()| catch(work).unwrap_err().to_string();
        let said = "the decoder gave up on what it found: ";
        assert_eq!(caught(|| panic!("short")), format!("{said}short"));
        assert_eq!(caught(|| panic!("at {}\nand more", 3)), format!("{said}at 3…"));
        assert_eq!(caught(|| panic!("{}", "é".repeat(1000))), format!("{said}{}…", "é".repeat(150)));
        assert_eq!(caught(|| panic::panic_any(7)), format!("{said}no message"));
    }

    #[test]
    fn a_panic_of_a_thread_below_comes_up_too() {
        let work = || std::thread::scope(|scope| scope.spawn(|| panic!("below")).join().unwrap());
        assert!(catch(work).is_err());
        assert_eq!(catch(|| 3), Ok(3));
    }
}
