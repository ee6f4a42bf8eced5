//! Texts as words, and words as n-grams: what near-duplicates and contamination are counted in.
//!
//! The normal form: Unicode NFKC, so that composed and full-width letters are one; lower case; the words of UAX #29,
//! which leave out punctuation, symbols and white space. Scripts written without spaces have no words there: each Han
//! ideograph, each Thai letter is one, so an n-gram is n characters. Accents and numbers count.

use std::hash::{DefaultHasher, Hasher};

use icu_normalizer::ComposingNormalizerBorrowed;
use unicode_segmentation::UnicodeSegmentation;

/// The words of a text in order, each as a 64-bit hash that is the same in every run of one build.
///
/// Two of n different words share a hash with a probability below n²/2⁶⁵: 3e-8 for a million.
pub fn words(text: &str) -> Vec<u64> {
    let folded = ComposingNormalizerBorrowed::new_nfkc().normalize(text).to_lowercase();
    folded.unicode_words().map(|word| hash(|hasher| hasher.write(word.as_bytes()))).collect()
}

/// The distinct n-grams of these words, as ascending hashes.
///
/// A text of fewer than `n` words is one gram, of all its words; a text without a word has none.
pub fn grams(words: &[u64], n: usize) -> Box<[u64]> {
    let mut grams: Vec<u64> = match n.min(words.len()) {
        0 => Vec::new(),
        n => words.windows(n).map(gram).collect(),
    };
    grams.sort_unstable();
    grams.dedup();
    grams.into_boxed_slice()
}

/// The hash of a run of words.
pub(super) fn gram(words: &[u64]) -> u64 {
    hash(|hasher| words.iter().for_each(|&word| hasher.write_u64(word)))
}

/// Jaccard similarity of two sets, each ascending and without repetition: |A ∩ B| / |A ∪ B|; 0 of two empty sets.
pub fn jaccard(a: &[u64], b: &[u64]) -> f64 {
    let (mut at_a, mut at_b, mut n_shared) = (0, 0, 0_usize);
    while let (Some(x), Some(y)) = (a.get(at_a), b.get(at_b)) {
        n_shared += usize::from(x == y);
        at_a += usize::from(x <= y);
        at_b += usize::from(y <= x);
    }
    match a.len() + b.len() - n_shared {
        0 => 0.0,
        n_all => n_shared as f64 / n_all as f64,
    }
}

/// `DefaultHasher::new` has fixed keys: no run differs from another.
fn hash(write: impl FnOnce(&mut DefaultHasher)) -> u64 {
    let mut hasher = DefaultHasher::new();
    write(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn same(a: &str, b: &str) {
        assert_eq!(words(a), words(b), "{a:?} and {b:?}");
    }

    #[test]
    fn case_punctuation_and_white_space_do_not_count() {
        same("What is the capital of France?", "  what IS the\n\ncapital, of — France!!");
        assert_ne!(words("the capital of France"), words("the capitals of France"));
        assert_ne!(words("answer 1"), words("answer 2"));
    }

    #[test]
    fn composed_wide_and_decomposed_letters_are_one() {
        // é, as one character and as e with a combining acute; full-width ABC.
        same("caf\u{e9} noir", "cafe\u{301} noir");
        same("\u{ff21}\u{ff22}\u{ff23} test", "abc test");
        assert_ne!(words("caf\u{e9}"), words("cafe"));
    }

    #[test]
    fn an_apostrophe_does_not_cut_a_word() {
        assert_eq!(words("don't stop").len(), 2);
    }

    #[test]
    fn a_script_without_spaces_is_read_by_characters() {
        // 你好世界: four ideographs.
        assert_eq!(words("\u{4f60}\u{597d}\u{4e16}\u{754c}").len(), 4);
        same("\u{4f60}\u{597d}\u{ff0c}\u{4e16}\u{754c}\u{3002}", "\u{4f60}\u{597d}\u{4e16}\u{754c}");
    }

    #[test]
    fn text_without_a_word_has_no_gram() {
        for text in ["", " \n", "?!…", "\u{1f600}"] {
            assert!(grams(&words(text), 5).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn a_short_text_is_one_gram() {
        assert_eq!(grams(&[1, 2, 3], 5).len(), 1);
        assert_eq!(grams(&[1, 2, 3], 5), grams(&[1, 2, 3], 3));
        assert_ne!(grams(&[1, 2, 3], 5), grams(&[1, 2, 3, 4], 5));
    }

    #[test]
    fn grams_are_distinct_and_overlap() {
        // 1 2 1 2 1: the 2-grams 12, 21, 12, 21.
        assert_eq!(grams(&[1, 2, 1, 2, 1], 2).len(), 2);
        assert_eq!(grams(&[1, 2, 3, 4, 5, 6], 5).len(), 2);
        assert!(grams(&[4, 3, 2, 1], 1).is_sorted());
    }

    #[test]
    fn jaccard_is_the_shared_part() {
        assert_eq!(jaccard(&[1, 2, 3], &[2, 3, 4]), 0.5);
        assert_eq!(jaccard(&[1, 2], &[1, 2]), 1.0);
        assert_eq!(jaccard(&[1, 5], &[2, 3, 9]), 0.0);
        assert_eq!(jaccard(&[], &[]), 0.0);
        assert_eq!(jaccard(&[7], &[]), 0.0);
    }
}
