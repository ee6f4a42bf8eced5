//! Mutations: of bytes for every input, of words and brackets for those that are text, of places in a tree for JSON; and
//! new texts for what has a grammar.

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::grammar::{self, Grammar};
use super::tree;

/// What the bytes of an input are to whoever reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// Lengths, offsets and flags.
    Binary,
    /// JSON, alone or in lines.
    Json,
    /// A `tokenizer.json`.
    Tokenizer,
    /// TOML.
    Toml,
    /// A chat template.
    Template,
    /// SQL.
    Sql,
    /// YAML.
    Yaml,
    /// Values with separators between them.
    Delimited,
    /// Words with something between them.
    Plain,
}

impl Syntax {
    fn is_tree(self) -> bool {
        matches!(self, Self::Json | Self::Tokenizer)
    }

    fn grammar(self) -> Option<Grammar> {
        match self {
            Self::Template => Some(grammar::TEMPLATE),
            Self::Sql => Some(grammar::SQL),
            _ => None,
        }
    }

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
            Self::Tokenizer => &[
                "null",
                "1000000000",
                "18446744073709551615",
                "\"\"",
                "\"<s>\"",
                "\"a\"",
                r#"{"type": "Lowercase"}"#,
                r#"{"type": "NFKD"}"#,
                r#"{"type": "Strip", "strip_left": true, "strip_right": true}"#,
                r#"{"type": "StripAccents"}"#,
                r#"{"type": "Prepend", "prepend": "▁▁▁▁"}"#,
                r#"{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}"#,
                r#"{"type": "Replace", "pattern": {"String": ""}, "content": "b"}"#,
                r#"{"type": "Replace", "pattern": {"Regex": "(a*)*b"}, "content": ""}"#,
                r#"{"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true}"#,
                r#"{"type": "Precompiled", "precompiled_charsmap": "AAAAAA=="}"#,
                r#"{"type": "Precompiled", "precompiled_charsmap": "CAAAAP////8AAAAAYQA="}"#,
                r#"{"type": "Nmt"}"#,
                r#"{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}"#,
                r#"{"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "NFKC"}]}"#,
                r#"{"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, {"type": "Digits", "individual_digits": true}]}"#,
                r#"{"type": "Sequence", "processors": []}"#,
                r#"{"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "ByteFallback"}]}"#,
                r#"{"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": false}"#,
                r#"{"type": "Split", "pattern": {"String": ""}, "behavior": "MergedWithNext", "invert": true}"#,
                r#"{"type": "Punctuation", "behavior": "Contiguous"}"#,
                r#"{"type": "FixedLength", "length": 0}"#,
                r#"{"type": "UnicodeScripts"}"#,
                r#"{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}"#,
                r#"{"type": "CharDelimiterSplit", "delimiter": "a"}"#,
                r###"{"type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": {"<unk>": 0, "a": 1}}"###,
                r#"{"type": "WordLevel", "vocab": {"<unk>": 0, "a": 4000000000}, "unk_token": "<unk>"}"#,
                r#"{"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0], ["", -1.0]], "byte_fallback": false}"#,
                r#"{"type": "Unigram", "unk_id": 9, "vocab": [["a", 1e308]], "byte_fallback": true}"#,
                r#"{"type": "BPE", "dropout": 0.5, "unk_token": "x", "fuse_unk": true, "byte_fallback": true, "vocab": {"a": 0, "aa": 1}, "merges": [["a", "a"]]}"#,
                r#"{"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]}"#,
                r#"{"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": true, "add_prefix_space": true}"#,
                r#"{"SpecialToken": {"id": "<s>", "type_id": 0}}"#,
                r#"{"Sequence": {"id": "A", "type_id": 0}}"#,
                r#"{"Sequence": {"id": "B", "type_id": 4000000000}}"#,
                r#"{"id": "<s>", "ids": [1, 1, 1, 4000000000], "tokens": ["<s>", "<s>", "<s>", ""]}"#,
                r#"{"id": 4000000000, "content": "<far>", "single_word": true, "lstrip": true, "rstrip": true, "normalized": true, "special": true}"#,
                r#"{"id": 3, "content": "", "single_word": false, "lstrip": false, "rstrip": false, "normalized": true, "special": false}"#,
                r#"{"direction": "Left", "max_length": 2, "strategy": "LongestFirst", "stride": 5}"#,
                r#"{"strategy": {"Fixed": 1000000000}, "direction": "Left", "pad_to_multiple_of": 0, "pad_id": 0, "pad_type_id": 0, "pad_token": "<p>"}"#,
                r#"{"type": "CTC", "pad_token": "<s>", "word_delimiter_token": "", "cleanup": true}"#,
                r#"{"type": "Strip", "content": "a", "start": 4000000000, "stop": 4000000000}"#,
                r#"{"type": "BPEDecoder", "suffix": ""}"#,
            ],
            Self::Sql => &[
                "SELECT",
                "FROM",
                "WHERE",
                "(",
                ")",
                ",",
                "'",
                "\"",
                "--",
                "/*",
                "*/",
                ";",
                "1",
                "NULL",
                "AND",
                "*",
                "||",
                "{most}",
                "[",
                "]",
                "::",
                "$$",
                "\n",
                "CASE",
                "END",
                "OVER",
                "-- id = \"A\"",
                "-- [thresholds]",
                "E'\\x'",
            ],
            Self::Yaml => &[
                "---",
                "\n---",
                "- ",
                "  ",
                "\n",
                ":",
                "configs:",
                "data_files:",
                "split:",
                "path:",
                "data_dir:",
                "&a",
                "*a",
                "[",
                "]",
                "{",
                "}",
                "|",
                ">",
                "'",
                "\"",
                "null",
                "~",
                "!!binary",
                "**",
                "../",
                "train-*",
                "/etc",
                "default: true",
                "config_name:",
                "<<: *a",
                "#",
                "?",
                "@",
                "`",
                "%TAG",
            ],
            Self::Delimited => &[
                ",",
                "\t",
                "\n",
                "\r",
                "\r\n",
                "\"",
                "\"\"",
                ";",
                "|",
                "prompt",
                "chosen",
                "rejected",
                "\0",
                "é",
                "1",
                "-1e999",
                "NaN",
                "true",
                "\\N",
                "\u{feff}",
                "[{\"\"role\"\":",
                "2024-01-01",
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
    /// Those of the seeds that are one, and the lines of the others.
    trees: Vec<Value>,
}

impl<'a> Mutator<'a> {
    pub(super) fn new(rng: ChaCha8Rng, syntax: Syntax, seeds: &'a [Vec<u8>]) -> Self {
        let parsed = |seed: &Vec<u8>| match serde_json::from_slice(seed) {
            Ok(tree) => vec![tree],
            Err(_) => seed.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect(),
        };
        let trees = if syntax.is_tree() { seeds.iter().flat_map(parsed).collect() } else { Vec::new() };
        Self { rng, syntax, seeds, trees }
    }

    /// A seed after one to four mutations.
    pub(super) fn next(&mut self, max_length: usize) -> Vec<u8> {
        if !self.trees.is_empty() && self.rng.random_bool(0.6) {
            let mut input = self.tree();
            input.truncate(max_length);
            return input;
        }
        let mut input = self.seed().to_vec();
        if let Some(grammar) = self.syntax.grammar()
            && self.rng.random_bool(0.6)
        {
            grammar::put(grammar, &mut input, &mut self.rng);
            if self.rng.random_bool(0.7) {
                input.truncate(max_length);
                return input;
            }
        }
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

    /// A tree after one to three mutations.
    fn tree(&mut self) -> Vec<u8> {
        let Self { rng, trees, syntax, .. } = self;
        let (Some(tree), Some(other)) = (trees.choose(rng), trees.choose(rng)) else { return Vec::new() };
        let mut tree = tree.clone();
        for _ in 0..rng.random_range(1..=3) {
            tree::mutate(&mut tree, other, syntax.words(), rng);
        }
        tree.to_string().into_bytes()
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
