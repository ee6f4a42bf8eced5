//! Mutations: of bytes for every input, of words and brackets for those that are text.

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

/// What the bytes of an input are to whoever reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// Lengths, offsets and flags.
    Binary,
    /// JSON, alone or in lines.
    Json,
    /// TOML.
    Toml,
    /// A chat template.
    Template,
    /// Words with something between them.
    Plain,
}

impl Syntax {
    /// Words and phrases that mean something.
    #[expect(clippy::too_many_lines, reason = "lists of words, one a line")]
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Binary => &[],
            Self::Json => &[
                "null",
                "true",
                "0",
                "-1",
                "1e999",
                "1e-999",
                "18446744073709551615",
                "9223372036854775808",
                "0.1",
                "\"\"",
                "\"\\ud800\"",
                "\"\\u0000\"",
                "[]",
                "{}",
                "[[",
                "]]",
                "{\"a\":",
                "}",
                ",",
                ":",
                "\n",
                "\"prompt\"",
                "\"chosen\"",
                "\"rejected\"",
                "\"role\"",
                "\"content\"",
                "\"type\"",
                "\"from\"",
                "\"value\"",
                "\"messages\"",
                "\"tools\"",
                "\"\\n\\nHuman: a\\n\\nAssistant: b\"",
                "\"e\u{301}\"",
                "\"\u{202e}\"",
            ],
            Self::Toml => &[
                "\"\"",
                "'''",
                "\"\"\"",
                "[",
                "]",
                "[[",
                "]]",
                "{",
                "}",
                "=",
                ".",
                ",",
                "\n",
                "inf",
                "nan",
                "-1",
                "0x",
                "9223372036854775808",
                "1e999",
                "1979-05-27",
                "true",
                "[train]",
                "[data]",
                "[train.loss]",
                "beta",
                "files",
            ],
            Self::Template => &[
                "{{",
                "}}",
                "{%",
                "%}",
                "{%-",
                "-%}",
                "{#",
                "#}",
                "for",
                "in",
                "if",
                "else",
                "endif",
                "endfor",
                "set",
                "macro",
                "endmacro",
                "call",
                "endcall",
                "generation",
                "endgeneration",
                "filter",
                "endfilter",
                "messages",
                "message",
                "loop",
                "loop.index0",
                "namespace",
                "ns.x",
                "range(9999)",
                "|",
                "tojson",
                "join",
                "replace",
                "length",
                "list",
                "map",
                "selectattr",
                "sort",
                "unique",
                "batch",
                "slice",
                "indent",
                "format",
                "trim",
                "reverse",
                "items",
                "dictsort",
                ".split('')",
                ".strip()",
                ".replace('', 'xx')",
                "[::-1]",
                "[1:]",
                "~",
                "+",
                "*",
                "**",
                "//",
                "%",
                "-",
                "99999",
                "1e308",
                "0",
                "'x'",
                "['a', [1]]",
                "{'a': 1}",
                "(",
                ")",
                "[",
                "]",
                "is defined",
                "is none",
                "not",
                "and",
                "raise_exception('x')",
                "strftime_now('%d %b')",
                "recursive",
                "loop(messages)",
                "\n",
                "include 'x'",
                "break",
                "continue",
            ],
            Self::Plain => {
                &["=", ",", "prompt", "chosen", "rejected", "system", "\n", "", "none", "[]", "{", "é", "\0"]
            }
        }
    }
}

/// A source of inputs.
pub(super) struct Mutator<'a> {
    rng: ChaCha8Rng,
    syntax: Syntax,
    seeds: &'a [Vec<u8>],
}

impl<'a> Mutator<'a> {
    pub(super) fn new(rng: ChaCha8Rng, syntax: Syntax, seeds: &'a [Vec<u8>]) -> Self {
        Self { rng, syntax, seeds }
    }

    /// A seed after one to four mutations.
    pub(super) fn next(&mut self, max_length: usize) -> Vec<u8> {
        let mut input = self.seed().to_vec();
        for _ in 0..self.rng.random_range(1..=4) {
            if self.syntax != Syntax::Binary && self.rng.random_bool(0.6) {
                self.mutate_words(&mut input);
            } else {
                self.mutate_bytes(&mut input);
            }
        }
        input.truncate(max_length);
        input
    }

    fn seed(&mut self) -> &'a [u8] {
        self.seeds.choose(&mut self.rng).map(Vec::as_slice).unwrap_or_default()
    }

    fn place(&mut self, input: &[u8]) -> usize {
        self.rng.random_range(0..=input.len())
    }

    /// A range of bytes, short ones more often.
    fn range(&mut self, input: &[u8]) -> std::ops::Range<usize> {
        let start = self.place(input);
        let longest = if self.rng.random_bool(0.8) { 16 } else { input.len() };
        start..(start + self.rng.random_range(0..=longest)).min(input.len())
    }

    fn mutate_bytes(&mut self, input: &mut Vec<u8>) {
        match self.rng.random_range(0..9) {
            0 | 1 => {
                let at = self.place(input);
                let bit = 1 << self.rng.random_range(0..8);
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= bit;
                }
            }
            2 => {
                let at = self.place(input);
                let new = self.rng.random();
                if let Some(byte) = input.get_mut(at) {
                    *byte = new;
                }
            }
            3 | 4 => self.write_number(input),
            5 => {
                let end = self.place(input);
                input.truncate(end);
            }
            6 => {
                let range = self.range(input);
                input.drain(range);
            }
            7 => {
                let (range, at) = (self.range(input), self.place(input));
                let piece = input[range].to_vec();
                input.splice(at..at, piece);
            }
            _ => {
                let other = self.seed();
                let (range, at) = (self.range(other), self.range(input));
                input.splice(at, other[range].iter().copied());
            }
        }
    }

    /// Puts a number that lengths and counts trip over in the place of one, in either order of bytes.
    fn write_number(&mut self, input: &mut [u8]) {
        const NUMBERS: [u64; 16] = [
            0,
            1,
            2,
            63,
            127,
            128,
            255,
            256,
            0x7fff,
            0xffff,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            1 << 40,
            1 << 63,
            u64::MAX,
        ];
        let number = *NUMBERS.choose(&mut self.rng).unwrap();
        let number = number.wrapping_add(self.rng.random_range(0..3)).wrapping_sub(1);
        let width = [1, 2, 4, 8][self.rng.random_range(0..4)];
        let mut bytes = number.to_le_bytes()[..width].to_vec();
        if self.rng.random_bool(0.2) {
            bytes.reverse();
        }
        let at = self.place(input);
        if let Some(place) = input.get_mut(at..at + width) {
            place.copy_from_slice(&bytes);
        }
    }

    fn mutate_words(&mut self, input: &mut Vec<u8>) {
        let words = words(input);
        let Some(word) = words.choose(&mut self.rng).cloned() else { return };
        match self.rng.random_range(0..7) {
            0 => drop(input.drain(word)),
            1 => {
                let new = self.known_word();
                input.splice(word, new.bytes());
            }
            2 => {
                let new = self.known_word();
                input.splice(word.start..word.start, new.bytes());
            }
            3 => {
                let other = words.choose(&mut self.rng).cloned().unwrap_or(word.clone());
                let piece = input[other].to_vec();
                input.splice(word, piece);
            }
            4 => {
                // Two words and what is between them, again.
                let other = words.choose(&mut self.rng).cloned().unwrap_or(word.clone());
                let span = word.start.min(other.start)..word.end.max(other.end);
                let piece = input[span.clone()].to_vec();
                input.splice(span.end..span.end, piece);
            }
            5 => {
                let piece = input[word.clone()].to_vec();
                let n_times = 1 << self.rng.random_range(1..12);
                input.splice(word, piece.repeat(n_times));
            }
            _ => {
                let other = self.seed();
                let their_words = words_of(other);
                if let Some(theirs) = their_words.choose(&mut self.rng).cloned() {
                    input.splice(word, other[theirs].iter().copied());
                }
            }
        }
    }

    fn known_word(&mut self) -> &'static str {
        self.syntax.words().choose(&mut self.rng).copied().unwrap_or_default()
    }
}

fn words(input: &[u8]) -> Vec<std::ops::Range<usize>> {
    words_of(input)
}

/// Names and numbers, strings in quotes, and every other byte by itself; white space is none.
fn words_of(input: &[u8]) -> Vec<std::ops::Range<usize>> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80;
    let mut words = Vec::new();
    let mut at = 0;
    while at < input.len() {
        let rest = &input[at..];
        let length = match rest[0] {
            b'"' => rest[1..].iter().position(|byte| *byte == b'"').map_or(1, |end| end + 2),
            byte if is_name(&byte) => rest.iter().take_while(|byte| is_name(byte)).count(),
            _ => 1,
        };
        if !rest[0].is_ascii_whitespace() {
            words.push(at..at + length);
        }
        at += length;
    }
    words
}

#[test]
fn inputs_are_the_same_in_every_run_and_differ_from_each_other() {
    use rand::SeedableRng;
    let seeds = [br#"{"a": [1, "b c"], "d": null}"#.to_vec(), b"other".to_vec()];
    let inputs = || {
        let mut mutator = Mutator::new(ChaCha8Rng::seed_from_u64(7), Syntax::Json, &seeds);
        (0..200).map(|_| mutator.next(1000)).collect::<Vec<_>>()
    };
    let found = inputs();
    assert_eq!(found, inputs());
    assert!(found.iter().all(|input| input.len() <= 1000));
    let different: std::collections::BTreeSet<_> = found.iter().collect();
    assert!(different.len() > 150, "{}", different.len());
}
