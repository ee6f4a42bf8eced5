//! What every error of the crate can add to its message: advice. And the one way in which a panic becomes an error.
//!
//! There is no catch-all error enum. Each layer has its own, with the place of the failure in named fields;
//! the command line prints the chain of messages and then the hints found along it.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

/// Advice on what to do about an error, kept apart from what went wrong.
pub trait Hint {
    /// One line a user can act on, without a full stop, or `None` where the message already says it all.
    fn hint(&self) -> Option<String>;
}

/// The known word nearest to `found`, if it is near enough to be a slip of the fingers.
///
/// # Examples
/// ```
/// assert_eq!(piref::error::nearest("max_token", ["max_tokens", "seed"]), Some("max_tokens"));
/// assert_eq!(piref::error::nearest("colour", ["max_tokens", "seed"]), None);
/// ```
pub fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| (strsim::normalized_damerau_levenshtein(found, word), word))
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

thread_local! {
    static IS_CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Runs a decoder of somebody else's that may panic on damaged bytes: a panic comes back as its message, and standard
/// error hears nothing of it.
///
/// What the decoder has half changed must not be used again.
pub(crate) fn contained<T>(decode: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    // The hook is the process's: it is put in once, and is the usual one for all that does not run in here.
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_CONTAINED.get() {
                usual(info);
            }
        }));
    });
    let is_nested = IS_CONTAINED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(decode));
    IS_CONTAINED.set(is_nested);
    result.map_err(|panic| message(panic.as_ref()))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contained_panic_is_its_message_and_the_next_one_is_free_again() {
        let n_bytes = [1_u8, 2].len();
        assert_eq!(contained(|| n_bytes), Ok(2));
        assert_eq!(contained(|| panic!("{n_bytes} bytes")).map(|()| 0), Err("2 bytes".into()));
        assert_eq!(contained(|| contained(|| panic!("inner")).map(|()| 0)), Ok(Err("inner".into())));
        assert!(!IS_CONTAINED.get());
    }
}
