//! Prompts that an evaluation asks as well.
//!
//! Three measures, each over the normal form of [`words`](super::words()): the whole prompt is the same; it shares a 13-gram
//! with an evaluation prompt (the unit of Brown et al. 2020, arXiv:2005.14165, appendix C); it has most of the evaluation
//! prompt's 8-grams (Chowdhery et al. 2022, arXiv:2204.02311, §8, count a share of 0.7 as contaminated). An evaluation
//! prompt of fewer words than a gram has none of that length: a two-word question is found only as the whole prompt.
//!
//! A gram that more than [`MOST_PROMPTS`] different evaluation prompts share is their template, not their question, and
//! counts nowhere. One that fewer share is told apart by its place: what is asked comes last, after an instruction that other
//! prompts of its task begin with, so that a copy shares a gram within the last [`END`] words that count of either prompt.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::words::{gram, grams, words};

/// Evaluation prompts that may share a gram before it counts as a template.
pub const MOST_PROMPTS: usize = 16;

/// Words of a long gram.
const LONG: usize = 13;

/// Words of a short gram.
const SHORT: usize = 8;

/// Words at the end of a prompt.
const END: usize = 13;

/// What a prompt has in common with the evaluation prompt it is nearest to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overlap {
    /// Which evaluation prompt.
    pub item: usize,
    /// Whether the words of both are the same.
    pub is_same: bool,
    /// Whether they share an 8-gram at the end of one of them.
    pub shares_end: bool,
    /// Share of the evaluation prompt's distinct 13-grams that the prompt has.
    pub share_13: f64,
    /// Share of its distinct 8-grams.
    pub share_8: f64,
}

/// The evaluation prompts, indexed.
///
/// Memory: about 50 bytes a word of them, whatever they are compared with.
pub struct Evaluation {
    /// First evaluation prompt by the gram of all its words.
    whole: HashMap<u64, usize>,
    long: Index,
    short: Index,
    /// The last short grams of each prompt, of those that count.
    ends: Index,
}

impl Evaluation {
    /// Indexes these prompts.
    pub fn of<'a>(prompts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut whole = HashMap::new();
        let (mut long, mut short, mut in_order) = (Vec::new(), Vec::new(), Vec::new());
        for (item, prompt) in prompts.into_iter().enumerate() {
            let words = words(prompt);
            // A repeated prompt is known under its first number: its grams are not those of a template.
            if words.is_empty() || whole.contains_key(&gram(&words)) {
                continue;
            }
            whole.insert(gram(&words), item);
            long.extend(long_enough(&words, LONG).iter().map(|&gram| (gram, item)));
            short.extend(long_enough(&words, SHORT).iter().map(|&gram| (gram, item)));
            in_order.push((item, words.windows(SHORT).map(gram).collect::<Box<[u64]>>()));
        }
        let (long, short) = (Index::of(long), Index::of(short));
        let ends = in_order.iter().flat_map(|(item, grams)| {
            let counting = grams.iter().rev().filter(|gram| short.items.contains_key(gram));
            counting.take(END - SHORT + 1).map(|&gram| (gram, *item))
        });
        let mut ends: Vec<(u64, usize)> = ends.collect();
        ends.sort_unstable();
        ends.dedup();
        Self { whole, long, ends: Index::of(ends), short }
    }

    /// Different prompts in it.
    pub fn n_prompts(&self) -> usize {
        self.whole.len()
    }

    /// The evaluation prompt this one has most in common with: the same words before a shared end before 8-grams before
    /// 13-grams before place. `None` where nothing is shared.
    pub fn overlap(&self, prompt: &str) -> Option<Overlap> {
        let words = words(prompt);
        if words.is_empty() {
            return None;
        }
        let same = self.whole.get(&gram(&words)).copied();
        let (long, short) = (self.long.shares(&words, LONG), self.short.shares(&words, SHORT));
        let end = &words[words.len().saturating_sub(END)..];
        let ends = [self.ends.shares(&words, SHORT), self.short.shares(end, SHORT)];
        let share = |shares: &[(usize, f64)], item| {
            shares.binary_search_by_key(&item, |&(item, _)| item).map_or(0.0, |at| shares[at].1)
        };
        let overlap = |item| Overlap {
            item,
            is_same: same == Some(item),
            shares_end: ends.iter().any(|shares| share(shares, item) > 0.0),
            share_13: share(&long, item),
            share_8: share(&short, item),
        };
        // Whoever shares 13 words shares 8 of them, but for templates.
        let items = long.iter().chain(&short).map(|&(item, _)| item).chain(same);
        let order = |a: &Overlap, b: &Overlap| {
            let by_kind = (a.is_same, a.shares_end).cmp(&(b.is_same, b.shares_end));
            let by_shares = a.share_8.total_cmp(&b.share_8).then(a.share_13.total_cmp(&b.share_13));
            by_kind.then(by_shares).then(b.item.cmp(&a.item))
        };
        items.map(overlap).max_by(order)
    }
}

/// The distinct grams of a text that has at least one of this length.
fn long_enough(words: &[u64], n: usize) -> Box<[u64]> {
    if words.len() < n { Box::default() } else { grams(words, n) }
}

/// Which evaluation prompts have a gram.
struct Index {
    items: HashMap<u64, Box<[usize]>, BuildHasherDefault<AsItIs>>,
    /// Grams of each that count.
    n_grams: HashMap<usize, usize>,
}

impl Index {
    fn of(mut grams: Vec<(u64, usize)>) -> Self {
        grams.sort_unstable();
        let (mut items, mut n_grams) = (HashMap::default(), HashMap::new());
        for same in grams.chunk_by(|a, b| a.0 == b.0).filter(|same| same.len() <= MOST_PROMPTS) {
            items.insert(same[0].0, same.iter().map(|&(_, item)| item).collect());
            for &(_, item) in same {
                *n_grams.entry(item).or_insert(0) += 1;
            }
        }
        Self { items, n_grams }
    }

    /// The evaluation prompts that share a gram with these words, ascending, each with the share of its grams.
    fn shares(&self, words: &[u64], n: usize) -> Vec<(usize, f64)> {
        let known = |words: &[u64]| {
            let gram = gram(words);
            Some((gram, self.items.get(&gram)?))
        };
        let mut shared: Vec<(u64, &Box<[usize]>)> = words.windows(n).filter_map(known).collect();
        shared.sort_unstable();
        shared.dedup();
        let mut hits: Vec<usize> = shared.into_iter().flat_map(|(_, items)| items.iter().copied()).collect();
        hits.sort_unstable();
        let share = |same: &[usize]| {
            let n_grams = self.n_grams.get(&same[0]).copied().unwrap_or(same.len());
            (same[0], same.len() as f64 / n_grams as f64)
        };
        hits.chunk_by(|a, b| a == b).map(share).collect()
    }
}

/// Grams are hashes already: they are their own.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, gram: u64) {
        self.0 = gram;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(prefix: &str, range: std::ops::Range<usize>) -> String {
        range.map(|i| format!("{prefix}{i}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_same_question_in_other_dress_is_the_same() {
        let evaluation = Evaluation::of(["What is 2 + 2?", "Who wrote Hamlet?"]);
        let found = evaluation.overlap("  who wrote HAMLET").unwrap();
        assert_eq!(found, Overlap { item: 1, is_same: true, shares_end: false, share_13: 0.0, share_8: 0.0 });
        // Within a longer text a short question is not looked for.
        assert_eq!(evaluation.overlap("Tell me: who wrote Hamlet? And when?"), None);
        assert_eq!(evaluation.overlap(""), None);
    }

    #[test]
    fn shares_are_those_of_the_evaluation_prompt() {
        // 20 words: 13 8-grams, 8 13-grams.
        let item = numbered("w", 0..20);
        let evaluation = Evaluation::of([item.as_str()]);
        let overlap = |prompt: String| evaluation.overlap(&prompt);
        let whole = overlap(format!("please answer {item} thank you")).unwrap();
        assert_eq!(whole, Overlap { item: 0, is_same: false, shares_end: true, share_13: 1.0, share_8: 1.0 });
        // 13 of its words in a row: one 13-gram, six 8-grams.
        let part = overlap(format!("{} and more", numbered("w", 3..16))).unwrap();
        assert_eq!(
            part,
            Overlap { item: 0, is_same: false, shares_end: true, share_13: 1.0 / 8.0, share_8: 6.0 / 13.0 }
        );
        // Nine of its words in a row: two 8-grams.
        let less = overlap(numbered("w", 0..9)).unwrap();
        assert_eq!((less.share_13, less.share_8), (0.0, 2.0 / 13.0));
        assert_eq!(overlap(numbered("w", 0..7)), None);
    }

    #[test]
    fn the_nearest_is_told_and_the_first_of_equals() {
        let (a, b) = (numbered("w", 0..30), numbered("w", 10..30));
        let evaluation = Evaluation::of([a.as_str(), b.as_str(), b.as_str()]);
        assert_eq!(evaluation.n_prompts(), 2);
        assert_eq!(evaluation.overlap(&format!("{b} x")).unwrap().item, 1);
        assert_eq!(evaluation.overlap(&format!("{a} x")).unwrap().item, 0);
    }

    #[test]
    fn a_template_of_many_prompts_counts_nowhere() {
        let template = numbered("choose", 0..20);
        let items: Vec<String> =
            (0..40).map(|i| format!("{template} {}", numbered(&format!("q{i}x"), 0..20))).collect();
        let evaluation = Evaluation::of(items.iter().map(String::as_str));
        assert_eq!(evaluation.overlap(&format!("{template} something of my own")), None);
        let found = evaluation.overlap(&format!("{template} {}", numbered("q7x", 0..20))).unwrap();
        assert_eq!(found, Overlap { item: 7, is_same: true, shares_end: true, share_13: 1.0, share_8: 1.0 });
    }

    #[test]
    fn an_instruction_in_common_is_not_the_question() {
        let instruction = numbered("choose", 0..60);
        let question = format!("{instruction} {}", numbered("q", 0..10));
        let evaluation = Evaluation::of([question.as_str()]);
        let found = evaluation.overlap(&format!("{instruction} {}", numbered("other", 0..10))).unwrap();
        assert!(found.share_8 > 0.8 && !found.shares_end, "{found:?}");
        // Copies: without the instruction, cut short, with another end, within something else.
        let copies = [
            numbered("q", 0..10),
            numbered("choose", 0..50),
            format!("{instruction} {} or none", numbered("q", 0..8)),
            format!("{} {question} and {}", numbered("before", 0..20), numbered("after", 0..20)),
        ];
        for copy in copies {
            assert!(evaluation.overlap(&copy).unwrap().shares_end, "{copy}");
        }
    }

    #[test]
    fn an_end_that_is_a_template_is_passed_over() {
        let template = numbered("answer", 0..20);
        let items: Vec<String> =
            (0..40).map(|i| format!("{} {template}", numbered(&format!("q{i}x"), 0..20))).collect();
        let evaluation = Evaluation::of(items.iter().map(String::as_str));
        let found = evaluation.overlap(&format!("tell me {} {template} now", numbered("q7x", 0..20))).unwrap();
        assert!(found.item == 7 && found.shares_end, "{found:?}");
    }

    #[test]
    fn other_scripts_are_compared_by_characters() {
        // Fifteen ideographs, then the same with a full stop and a tail.
        let item: String = (0..15).filter_map(|i| char::from_u32(0x4e00 + i)).collect();
        let evaluation = Evaluation::of([item.as_str()]);
        let found = evaluation.overlap(&format!("{item}\u{3002}\u{597d}")).unwrap();
        assert_eq!((found.share_13, found.share_8), (1.0, 1.0));
    }
}
