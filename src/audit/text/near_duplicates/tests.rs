use std::collections::BTreeSet;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;

const LIKENESS: Likeness = Likeness { words: 5, least: 0.8 };

fn found(texts: &[&str]) -> Vec<(usize, usize, usize)> {
    let found = near_duplicates(texts, LIKENESS);
    found.members.iter().map(|member| (member.text, member.cluster, member.nearest)).collect()
}

/// `n` texts or a few more, in families of up to four: the same random words with none to `most_replaced` replaced.
fn families(seed: u64, n: usize, n_words: usize, most_replaced: usize) -> Vec<String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut texts = Vec::new();
    while texts.len() < n {
        let base: Vec<u32> = (0..n_words).map(|_| rng.random_range(0..5000)).collect();
        for _ in 0..rng.random_range(1..5) {
            let mut copy = base.clone();
            for _ in 0..rng.random_range(0..=most_replaced) {
                let place = rng.random_range(0..copy.len());
                copy[place] = rng.random_range(0..5000);
            }
            texts.push(copy.iter().map(|word| format!("w{word}")).collect::<Vec<_>>().join(" "));
        }
    }
    texts
}

/// All pairs at least as similar as asked for, by comparing each with each.
fn exact_pairs(texts: &[&str]) -> BTreeSet<(usize, usize)> {
    let sets: Vec<Box<[u64]>> = texts.iter().map(|text| grams(&words(text), LIKENESS.words)).collect();
    let pairs = (0..texts.len()).flat_map(|a| (a + 1..texts.len()).map(move |b| (a, b)));
    pairs.filter(|&(a, b)| jaccard(&sets[a], &sets[b]) >= LIKENESS.least).collect()
}

#[test]
fn one_word_of_many_makes_a_near_duplicate() {
    let base: Vec<String> = (0..60).map(|i| format!("word{i}")).collect();
    // 56 5-grams; with the last word changed 55 are shared of 57: 0.96. With the middle one, 51 of 61: 0.84.
    let (mut last, mut middle, mut both) = (base.clone(), base.clone(), base.clone());
    last[59] = "other".into();
    middle[30] = "another".into();
    both[30] = "a".into();
    both[10] = "b".into();
    both[50] = "c".into();
    let texts = [base, last, middle, both].map(|words| words.join(" "));
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let result = near_duplicates(&texts, LIKENESS);
    // `both` shares 41 of 71 with the first: 0.58.
    assert_eq!(result.members.iter().map(|member| member.text).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(result.n_clusters, 1);
    assert_eq!((result.members[1].nearest, result.members[1].jaccard), (0, 55.0 / 57.0));
}

#[test]
fn a_repeated_text_is_no_near_duplicate_of_itself() {
    for texts in [&["one two three four five six"; 3][..], &[], &["", "", "?", "!"]] {
        assert_eq!(near_duplicates(texts, LIKENESS).members, [], "{texts:?}");
    }
}

#[test]
fn texts_that_differ_in_punctuation_only_are_near_duplicates_with_all_their_copies() {
    let (plain, loud) = ("tell me about the moon please", "Tell me about the moon, please!");
    assert_eq!(found(&[loud, "something else entirely, I am afraid", plain, loud]), [(0, 0, 2), (2, 0, 0), (3, 0, 2)]);
}

#[test]
fn short_texts_are_near_duplicates_only_if_their_words_agree() {
    assert_eq!(found(&["What is Rust?", "what is rust", "what is dust", "rust"]), [(0, 0, 1), (1, 0, 0)]);
}

#[test]
fn clusters_are_numbered_in_order_of_their_first_texts() {
    let a: Vec<String> = (0..40).map(|i| format!("a{i}")).collect();
    let b: Vec<String> = (0..40).map(|i| format!("b{i}")).collect();
    let texts = [b[..39].join(" "), a.join(" "), b.join(" "), a[1..].join(" ")];
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    assert_eq!(found(&texts), [(0, 0, 2), (1, 1, 3), (2, 0, 0), (3, 1, 1)]);
}

/// Against comparison of each with each: no pair too many, and of those there are as many as the S-curve promises.
#[test]
fn bands_find_what_brute_force_finds() {
    for seed in 0..4 {
        let texts = families(seed, 300, 120, 2);
        let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        texts.sort_unstable();
        texts.dedup();
        // Three words replaced between two of them: 101 5-grams of 131 shared, 0.77; two: 106 of 126, 0.84.
        let exact = exact_pairs(&texts);
        assert!(exact.len() > 50, "seed {seed}: {} pairs", exact.len());

        let result = near_duplicates(&texts, LIKENESS);
        let mut clusters = vec![None; texts.len()];
        for member in &result.members {
            clusters[member.text] = Some(member.cluster);
            let (a, b) = (member.text.min(member.nearest), member.text.max(member.nearest));
            assert!(exact.contains(&(a, b)), "seed {seed}: {a} and {b} are not as similar as said");
        }
        let together = |&&(a, b): &&(usize, usize)| clusters[a].is_some() && clusters[a] == clusters[b];
        let recall = exact.iter().filter(together).count() as f64 / exact.len() as f64;
        // At 0.8 itself 0.998 are expected, of more similar ones more.
        assert!(recall >= 0.99, "seed {seed}: {recall}");
        assert_eq!(result.n_left_out, 0);
    }
}

#[test]
fn the_answer_does_not_depend_on_the_number_of_threads() {
    let texts = families(9, 200, 40, 1);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let on = |n_threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        pool.install(|| near_duplicates(&texts, LIKENESS))
    };
    assert_eq!(on(1), on(4));
}

#[test]
fn in_a_crowded_band_what_is_left_out_is_counted() {
    // One shingle set in 600 spellings: all meet in every band, and each joins with the one before it.
    let texts: Vec<String> = (0..600).map(|i| format!("one two three four five six{}", "!".repeat(i))).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let result = near_duplicates(&texts, LIKENESS);
    assert_eq!((result.members.len(), result.n_clusters), (600, 1));
    assert_eq!(result.n_compared, 599);
    // Of the 600·599/2 pairs those more than 256 apart, in each of 21 bands: Σ over 257..600 of (at − 256).
    assert_eq!(result.n_left_out, 21 * (343 * 344 / 2));
}
