//! How many letters two texts are apart, told only where they are near.
//!
//! By furthest-reaching points on diagonals (Ukkonen 1985, Algorithms for approximate string matching; Landau and Vishkin
//! 1989): after d edits only the furthest point of each of 2d + 1 diagonals matters, and equal letters cost nothing. A
//! distance up to k takes about k² + n steps, k·n at worst, and memory for 4k numbers: there is no table of n × m cells.

/// Levenshtein distance of two sequences, if it is at most `limit`.
pub fn edit_distance<T: Eq>(a: &[T], b: &[T], limit: usize) -> Option<usize> {
    let (a, b) = without_common_ends(a, b);
    let (n, m) = (a.len(), b.len());
    let limit = limit.min(n.max(m));
    if n.abs_diff(m) > limit {
        return None;
    }

    // Diagonal 0, where both are as far, is at `zero`; one more is one further in `b`. A point is its place in `a`,
    // plus one; 0 where no point is.
    let zero = limit + 1;
    let goal = zero + m - n;
    let slide = |diagonal: usize, mut at: usize| {
        while at < n && at + diagonal - zero < m && a[at] == b[at + diagonal - zero] {
            at += 1;
        }
        at + 1
    };
    let mut before = vec![0; 2 * limit + 3];
    let mut after = before.clone();
    before[zero] = slide(zero, 0);
    if before[goal] == n + 1 {
        return Some(0);
    }
    for distance in 1..=limit {
        // From elsewhere the goal is not reached with the edits that are left.
        let left = limit - distance;
        let first = (zero - distance.min(n)).max(goal.saturating_sub(left));
        let last = (zero + distance.min(m)).min(goal + left);
        for diagonal in first..=last {
            let replaced = step(before[diagonal]);
            let inserted = before[diagonal - 1];
            let deleted = step(before[diagonal + 1]);
            let reached = replaced.max(inserted).max(deleted);
            after[diagonal] = match reached {
                0 => 0,
                point => slide(diagonal, (point - 1).min(n).min(m + zero - diagonal)),
            };
        }
        if after[goal] == n + 1 {
            return Some(distance);
        }
        // What is left of two rounds ago is reached with fewer edits, so it may stand where nothing is written.
        std::mem::swap(&mut before, &mut after);
    }
    None
}

/// 1 − distance / length of the longer, in characters, if it is at least `least`; 1 of two empty texts.
pub fn similarity(a: &str, b: &str, least: f64) -> Option<f64> {
    if a.is_ascii() && b.is_ascii() {
        return similarity_of(a.as_bytes(), b.as_bytes(), least);
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    similarity_of(&a, &b, least)
}

fn similarity_of<T: Eq>(a: &[T], b: &[T], least: f64) -> Option<f64> {
    let longer = a.len().max(b.len());
    if longer == 0 {
        return Some(1.0);
    }
    // Rounded up: what is found is held against `least` itself.
    let distance = edit_distance(a, b, most_edits(longer, least))?;
    Some(1.0 - distance as f64 / longer as f64).filter(|similarity| *similarity >= least)
}

/// Edits that leave a similarity of `least`, rounded up.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length, clamped to it")]
fn most_edits(longer: usize, least: f64) -> usize {
    (((1.0 - least).clamp(0.0, 1.0) * longer as f64).ceil() as usize).min(longer)
}

fn step(point: usize) -> usize {
    if point == 0 { 0 } else { point + 1 }
}

fn without_common_ends<'a, T: Eq>(a: &'a [T], b: &'a [T]) -> (&'a [T], &'a [T]) {
    let n_head = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[n_head..], &b[n_head..]);
    let n_tail = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    (&a[..a.len() - n_tail], &b[..b.len() - n_tail])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(a: &str, b: &str, want: usize) {
        let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
        for limit in 0..want + 3 {
            let found = edit_distance(&a, &b, limit);
            assert_eq!(found, (limit >= want).then_some(want), "limit {limit}");
            assert_eq!(edit_distance(&b, &a, limit), found, "limit {limit}, the other way round");
        }
    }

    #[test]
    fn known_distances() {
        check("", "", 0);
        check("", "abc", 3);
        check("kitten", "sitting", 3);
        check("saturday", "sunday", 3);
        check("flaw", "lawn", 2);
        check("abcdef", "azced", 3);
        check("aaaa", "aa", 2);
    }

    #[test]
    fn characters_count_not_bytes() {
        // One of five characters differs; in bytes it would be one of six.
        assert_eq!(similarity("caf\u{e9}s", "cafes", 0.8), Some(0.8));
        assert_eq!(similarity("\u{4f60}\u{597d}", "\u{4f60}\u{5417}", 0.5), Some(0.5));
    }

    #[test]
    fn a_similarity_just_as_asked_for_is_found() {
        // One of ten, where 1 − 0.9 is not 0.1 in binary; one of twenty.
        assert_eq!(similarity("abcdefghij", "abcdeXghij", 0.9), Some(0.9));
        assert_eq!(similarity("abcdefghijabcdefghij", "abcdefghijabcdefghi", 0.95), Some(0.95));
        assert_eq!(similarity("abcdefghij", "abXdeXghij", 0.9), None);
        assert_eq!(similarity("", "", 0.95), Some(1.0));
        assert_eq!(similarity("", "a", 0.95), None);
        assert_eq!(similarity("abc", "xyz", 0.0), Some(0.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_distance_is_that_of_the_whole_table(a in "[abc\u{e9}]{0,24}", b in "[abc\u{e9}]{0,24}", limit in 0..30_usize) {
            let want = strsim::levenshtein(&a, &b);
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            prop_assert_eq!(edit_distance(&a, &b, limit), (want <= limit).then_some(want));
        }

        #[test]
        fn a_few_edits_of_a_long_text_are_counted(text in "[ab]{200,300}", places in prop::collection::vec(0..190_usize, 0..6)) {
            let mut edited: Vec<char> = text.chars().collect();
            for (i, &place) in places.iter().enumerate() {
                match i % 3 {
                    0 => edited[place] = 'x',
                    1 => {
                        edited.remove(place);
                    }
                    _ => edited.insert(place, 'b'),
                }
            }
            let edited: String = edited.into_iter().collect();
            let want = strsim::levenshtein(&text, &edited);
            let (a, b): (Vec<char>, Vec<char>) = (text.chars().collect(), edited.chars().collect());
            prop_assert_eq!(edit_distance(&a, &b, 10), Some(want));
        }
    }
}
