//! What every error of the crate can add to its message: advice.
//!
//! There is no catch-all error enum. Each layer has its own, with the place of the failure in named fields;
//! the command line prints the chain of messages and then the hints found along it.

/// Advice on what to do about an error, kept apart from what went wrong.
pub trait Hint {
    /// One line a user can act on, without a full stop, or `None` where the message already says it all.
    fn hint(&self) -> Option<String>;
}

/// What to do where the system opens no more files, by what it says: engines wrap its errors in theirs.
pub(crate) fn of_open_files(message: &str) -> Option<String> {
    let hint = "`ulimit -n` shows how many files a process may have open, and `ulimit -n NUMBER` changes it: a table needs \
                some for every part that is read at once";
    message.contains("Too many open files").then(|| hint.into())
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
        // What is there by this very name and yet not found is a link that leads nowhere.
        .filter(|word| *word != found)
        .map(|word| (strsim::normalized_damerau_levenshtein(found, word), word))
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

/// An error and its causes in one line; a cause that its error has said already is not said again.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !said.ends_with(&message) {
            said = format!("{said}: {message}");
        }
        cause = error.source();
    }
    said
}
