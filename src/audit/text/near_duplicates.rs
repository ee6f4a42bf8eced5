//! Texts that say nearly the same: clusters of those whose word 5-grams mostly agree.
//!
//! Candidates meet in a band of their MinHash signatures; each is then compared exactly, so a pair that is reported is as
//! similar as it says, and only a miss is a matter of chance. The chance is fixed: the same texts in the same order give
//! the same answer, on any number of threads.
//!
//! Memory beside the texts: 8 bytes a distinct n-gram of a text, about as much as the texts themselves, and 8 bytes a
//! text and band (168 at 0.8). Signatures are not kept.
//!
//! Time is linear in the texts but for crowded bands, where many texts share a phrase: there each text is compared with
//! the [`WINDOW`] next in length only, and what is left out is counted.

use rayon::prelude::*;

use super::minhash::{Bands, MinHash, band_keys};
use super::union_find::UnionFind;
use super::words::{grams, jaccard, words};

#[cfg(test)]
mod tests;

/// Texts of a crowded band that one is compared with.
pub const WINDOW: usize = 256;

/// What counts as nearly the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likeness {
    /// Words of a gram.
    pub words: usize,
    /// Least Jaccard similarity of the gram sets, above 0 and at most 1.
    pub least: f64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct NearDuplicates {
    /// Every text that has a near-duplicate, in order of the texts.
    pub members: Vec<Member>,
    /// Clusters of them.
    pub n_clusters: usize,
    /// Pairs of texts that were compared exactly.
    pub n_compared: usize,
    /// Pairs in crowded bands that were not.
    pub n_left_out: usize,
}

/// A text with another that says nearly the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Member {
    /// Which text.
    pub text: usize,
    /// Its cluster; numbered in order of their first texts.
    pub cluster: usize,
    /// The most similar of those it was compared with: the first text of that wording.
    pub nearest: usize,
    /// Jaccard similarity to it.
    pub jaccard: f64,
}

/// Finds the texts that have another, differing in any way, of at least this similarity, directly or by way of others.
///
/// A text that only repeats another to the letter has none. Texts without a word are like nothing.
pub fn near_duplicates(texts: &[&str], likeness: Likeness) -> NearDuplicates {
    let wordings = Wordings::of(texts);
    let bands = Bands::for_similarity(likeness.least);
    let minhash = MinHash::default();
    let (sets, keys): (Vec<Box<[u64]>>, Vec<Keys>) = wordings
        .first
        .par_iter()
        .map(|&text| {
            let set = grams(&words(texts[text]), likeness.words);
            let keys = minhash.signature(&set).map(|signature| band_keys(&signature, bands).collect());
            (set, keys)
        })
        .unzip();

    let mut search = Search { sets: &sets, least: likeness.least, joined: UnionFind::new(sets.len()) };
    let mut found = Vec::new();
    let (mut n_compared, mut n_left_out) = (0, 0);
    for band in 0..bands.n {
        for bucket in search.band(&keys, band) {
            n_compared += bucket.n_compared;
            n_left_out += bucket.n_left_out;
            for edge in bucket.edges {
                search.joined.join(edge.a, edge.b);
                found.push(edge);
            }
        }
    }
    let (members, n_clusters) = wordings.members(&search.joined, &found);
    NearDuplicates { members, n_clusters, n_compared, n_left_out }
}

/// A key a band; none of a text without a word.
type Keys = Option<Box<[u64]>>;

/// Two wordings, as similar as was asked for.
struct Edge {
    a: usize,
    b: usize,
    jaccard: f64,
}

#[derive(Default)]
struct Bucket {
    edges: Vec<Edge>,
    n_compared: usize,
    n_left_out: usize,
}

struct Search<'a> {
    sets: &'a [Box<[u64]>],
    least: f64,
    joined: UnionFind,
}

impl Search<'_> {
    /// What meets in this band, each bucket by itself, in the order of the keys.
    fn band(&self, keys: &[Keys], band: usize) -> Vec<Bucket> {
        let mut entries: Vec<(u64, usize, usize)> = keys
            .par_iter()
            .enumerate()
            .filter_map(|(wording, keys)| Some((keys.as_ref()?[band], self.sets[wording].len(), wording)))
            .collect();
        entries.par_sort_unstable();
        let buckets: Vec<&[(u64, usize, usize)]> =
            entries.chunk_by(|a, b| a.0 == b.0).filter(|bucket| bucket.len() > 1).collect();
        buckets.into_par_iter().map(|bucket| self.bucket(bucket)).collect()
    }

    /// Compares what is not known to belong together: the texts of a bucket, from the shortest on, with those before.
    fn bucket(&self, entries: &[(u64, usize, usize)]) -> Bucket {
        let mut bucket = Bucket::default();
        let mut joined_here = UnionFind::new(entries.len());
        for (at, &(_, len, b)) in entries.iter().enumerate() {
            for before in (0..at).rev() {
                let (_, shorter, a) = entries[before];
                // |A ∩ B| / |A ∪ B| is at most |A| / |B|.
                if (shorter as f64) < self.least * len as f64 {
                    break;
                }
                if at - before > WINDOW {
                    bucket.n_left_out += before + 1;
                    break;
                }
                if joined_here.is_joined(before, at) || self.joined.is_joined(a, b) {
                    continue;
                }
                bucket.n_compared += 1;
                let jaccard = jaccard(&self.sets[a], &self.sets[b]);
                if jaccard >= self.least {
                    joined_here.join(before, at);
                    bucket.edges.push(Edge { a, b, jaccard });
                }
            }
        }
        bucket
    }
}

/// The different texts among the texts.
struct Wordings {
    /// First text of each, ascending.
    first: Vec<usize>,
    /// Which of them a text is.
    of: Vec<usize>,
}

impl Wordings {
    fn of(texts: &[&str]) -> Self {
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.par_sort_unstable_by_key(|&text| (texts[text], text));
        // First by the first text that says it, so that numbers follow the order of the texts.
        let mut says = vec![0; texts.len()];
        for same in order.chunk_by(|&a, &b| texts[a] == texts[b]) {
            for &text in same {
                says[text] = same[0];
            }
        }
        let first: Vec<usize> = (0..texts.len()).filter(|&text| says[text] == text).collect();
        let mut number = vec![0; texts.len()];
        for (wording, &text) in first.iter().enumerate() {
            number[text] = wording;
        }
        Self { of: says.into_iter().map(|text| number[text]).collect(), first }
    }

    /// The texts whose wording is in a cluster of two or more.
    fn members(&self, joined: &UnionFind, edges: &[Edge]) -> (Vec<Member>, usize) {
        let mut nearest: Vec<Option<(f64, usize)>> = vec![None; self.first.len()];
        for edge in edges {
            for (from, to) in [(edge.a, edge.b), (edge.b, edge.a)] {
                let better = |(jaccard, other): (f64, usize)| (edge.jaccard, other) > (jaccard, to);
                if nearest[from].is_none_or(better) {
                    nearest[from] = Some((edge.jaccard, to));
                }
            }
        }
        let mut number: Vec<Option<usize>> = vec![None; self.first.len()];
        let mut n_clusters = 0;
        let members = self.of.iter().enumerate().filter_map(|(text, &wording)| {
            let (jaccard, other) = nearest[wording]?;
            let cluster = *number[joined.root(wording)].get_or_insert_with(|| {
                n_clusters += 1;
                n_clusters - 1
            });
            Some(Member { text, cluster, nearest: self.first[other], jaccard })
        });
        let members = members.collect();
        (members, n_clusters)
    }
}
