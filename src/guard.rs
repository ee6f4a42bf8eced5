//! Panics inside other people's decoders, as errors.
//!
//! Invariant: a panic under [`catch`] becomes an error and, in a process that called [`install`], writes nothing by
//! itself. A panic anywhere else is a bug of ours and is reported as Rust does.

use std::any::Any;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Runtime};

/// How many calls of [`catch`] are running, on all threads: a decoder may panic on a thread of its own.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

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

/// Starts the threads of a runtime, which panics where the system has none left for it.
///
/// # Errors
/// What the system says.
pub fn runtime(builder: &mut Builder) -> io::Result<Runtime> {
    catch(|| builder.build()).unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
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
