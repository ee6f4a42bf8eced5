//! The words of a text.

/// Longest runs of letters and digits, in lower case. A language that is written without blanks has few of them.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}
