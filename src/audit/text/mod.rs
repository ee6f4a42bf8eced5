//! Checks that code has to say: what texts have to do with one another, and what is inside them.
//!
//! Each file below is a method on plain texts that knows no table; `checks` puts them to a table, a file a check.
//! They are deterministic, use all threads, and say what memory they take beside the texts.

mod checks;
mod components;
mod contamination;
mod edit_distance;
mod language;
mod markers;
mod minhash;
mod near_duplicates;
mod personal;
mod rows;
mod union_find;
mod verdicts;
mod words;

pub use checks::checks;
pub use components::Graph;
pub use contamination::{Evaluation, MOST_PROMPTS, Overlap};
pub use edit_distance::{edit_distance, similarity};
pub use language::{Certainty, OtherLanguage, language, other_language};
pub use markers::{Marked, Markers};
pub use minhash::{Bands, MinHash, N_PERMUTATIONS};
pub use near_duplicates::{Likeness, Member, NearDuplicates, WINDOW, near_duplicates};
pub use personal::{Count, Personal};
pub use verdicts::{Contradiction, LosingWinner, OnCycle, Verdicts, verdicts};
pub use words::{grams, jaccard, words};

/// The texts of a pair, as the table shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairTexts<'a> {
    /// The prompt.
    pub prompt: &'a str,
    /// The preferred answer.
    pub chosen: &'a str,
    /// The other answer.
    pub rejected: &'a str,
}
