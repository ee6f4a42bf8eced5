//! Texts side by side, their tokens shaded by how likely they were.

use serde::Serialize;

use super::axis::number;
use super::page::Fact;

/// Probabilities at which the next shade begins, from the lightest on.
const SHADES: [f64; 4] = [0.5, 0.1, 0.01, 0.001];

/// Tokens that a note of the least likely ones names.
const N_LEAST: usize = 3;

/// Texts that belong together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Passages {
    /// What they are of.
    pub title: String,
    /// What is to be said about them.
    pub terms: Vec<Fact>,
    /// The texts, side by side where there is room.
    pub passages: Vec<Passage>,
}

/// A text in pieces.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Passage {
    /// What it is.
    pub title: String,
    /// Its beginning.
    pub pieces: Vec<Piece>,
    /// What follows, folded away; may be empty.
    pub rest: Vec<Piece>,
    /// Name of what is folded away.
    pub rest_title: String,
    /// What is to be said about it; may be empty.
    pub note: String,
}

/// A piece of a text, with a number where it has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Piece {
    text: String,
    /// 0 for the lightest.
    shade: usize,
    /// The number in words, empty where there is none.
    tip: String,
}

/// A shade and what it means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shade {
    shade: usize,
    name: String,
}

impl Piece {
    /// Text without a number.
    pub fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), shade: 0, tip: String::new() }
    }

    /// A token of this log-prob, in nats: darker the less likely it was, and darkest where that is no number.
    pub fn token(text: &str, logp: f64) -> Self {
        let is_beyond = |bound: &&f64| logp.exp() < **bound;
        let shade = if logp.is_finite() { SHADES.iter().filter(is_beyond).count() } else { SHADES.len() };
        Self { text: text.replace('\n', "↵\n"), shade, tip: format!("{logp:.2}") }
    }
}

/// What the shades of tokens mean, the lightest first.
pub(super) fn legend() -> Vec<Shade> {
    let percent = |share: f64| format!("{} %", number(100.0 * share));
    let name = |shade: usize| match (shade.checked_sub(1).and_then(|above| SHADES.get(above)), SHADES.get(shade)) {
        (Some(above), Some(below)) => format!("{} to {}", percent(*below), percent(*above)),
        (None, Some(below)) => format!("at least {}", percent(*below)),
        (Some(above), None) => format!("under {}", percent(*above)),
        (None, None) => String::new(),
    };
    (0..=SHADES.len()).map(|shade| Shade { shade, name: name(shade) }).collect()
}

/// The least likely of some tokens, in words, so that nobody has to point at them: `` `x` -9.12 (token 12) ``. Nothing of none.
pub(super) fn least_likely<'a>(tokens: impl Iterator<Item = (&'a str, f64)>) -> String {
    let mut tokens: Vec<(usize, &str, f64)> = tokens.enumerate().map(|(at, (text, logp))| (at, text, logp)).collect();
    // A stable sort: of equals the first one comes first.
    tokens.sort_by(|a, b| a.2.total_cmp(&b.2));
    let named = tokens.iter().take(N_LEAST);
    let named = named.map(|(at, text, logp)| format!("`{}` {logp:.2} (token {})", text.replace('\n', "↵"), at + 1));
    named.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_darker_the_less_likely_they_were() {
        // ln 0.5 = −0.693, ln 0.1 = −2.303, ln 0.01 = −4.605, ln 0.001 = −6.908.
        for (logp, shade) in [
            (0.0, 0),
            (-0.69, 0),
            (-0.70, 1),
            (-2.31, 2),
            (-4.61, 3),
            (-6.90, 3),
            (-6.91, 4),
            (-800.0, 4),
            (f64::NAN, 4),
            (f64::NEG_INFINITY, 4),
        ] {
            assert_eq!(Piece::token("x", logp).shade, shade, "{logp}");
        }
        let piece = Piece::token("a\n", -1.234);
        assert_eq!((piece.text.as_str(), piece.tip.as_str()), ("a↵\n", "-1.23"));
    }

    #[test]
    fn a_legend_names_every_shade_once() {
        let names: Vec<String> = legend().into_iter().map(|shade| shade.name).collect();
        assert_eq!(names, ["at least 50 %", "10 % to 50 %", "1 % to 10 %", "0.1 % to 1 %", "under 0.1 %"]);
    }

    #[test]
    fn the_least_likely_tokens_are_named_with_their_places() {
        let tokens = [("a", -1.0), ("b\n", -3.0), ("c", -0.5), ("d", -3.0), ("e", -2.0)];
        assert_eq!(least_likely(tokens.into_iter()), "`b↵` -3.00 (token 2), `d` -3.00 (token 4), `e` -2.00 (token 5)");
        assert_eq!(least_likely(std::iter::empty()), "");
    }
}
