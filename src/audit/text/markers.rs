//! Turns of a conversation inside an answer: role markers and template tokens that should have been cut or rendered.
//!
//! Markers of roles count at the start of a line and with a capital only: a log-prob table shows answers of several turns
//! as paragraphs tagged `user: …`, in lower case. A play or an interview has such lines by right.

use regex::{Regex, RegexSet};

/// Name and pattern of what is looked for.
const MARKERS: &[(&str, &str)] = &[
    ("role at the start of a line", r"(?m)^[ \t]*(?:Human|HUMAN|User|USER|Assistant|ASSISTANT|System|SYSTEM)[ \t]*:"),
    // At the start of an answer only: elsewhere it is a topic.
    ("role before the answer", r"\A\s*(?:AI|Bot|Chatbot)(?: Assistant)?[ \t]*:"),
    ("instruction heading", r"(?m)^#{2,4} ?(?:Instruction|Response|Input|Human|Assistant|User|System)s?:"),
    ("ChatML token", r"<\|im_(?:start|end|sep)\|>"),
    ("Llama 2 token", r"\[/?INST\]|<</?SYS>>"),
    ("Llama 3 token", r"<\|(?:begin_of_text|end_of_text|start_header_id|end_header_id|eot_id|eom_id)\|>"),
    ("Gemma token", r"<(?:start|end)_of_turn>"),
    ("Phi or Zephyr token", r"<\|(?:system|user|assistant|end)\|>"),
    ("end-of-text token", r"<\|endoftext\|>|</s>\s*\z"),
    (
        "DeepSeek token",
        r"<\u{ff5c}(?:User|Assistant|begin\u{2581}of\u{2581}sentence|end\u{2581}of\u{2581}sentence)\u{ff5c}>",
    ),
];

/// The patterns, compiled.
pub struct Markers {
    any: RegexSet,
    each: Vec<(&'static str, Regex)>,
}

/// A kind of marker and how often a text has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marked {
    /// What it is.
    pub kind: &'static str,
    /// How often.
    pub n: usize,
}

impl Markers {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// If one is none: a mistake here.
    pub fn new() -> Result<Self, regex::Error> {
        let any = RegexSet::new(MARKERS.iter().map(|(_, pattern)| pattern))?;
        let each = MARKERS.iter().map(|&(kind, pattern)| Ok((kind, Regex::new(pattern)?)));
        Ok(Self { any, each: each.collect::<Result<_, regex::Error>>()? })
    }

    /// What a text has, in a fixed order. Time is linear in the text.
    pub fn of(&self, text: &str) -> Vec<Marked> {
        let found = self.any.matches(text);
        let marked =
            found.into_iter().map(|at| Marked { kind: self.each[at].0, n: self.each[at].1.find_iter(text).count() });
        marked.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &[(&str, usize)]) {
        let found = Markers::new().unwrap().of(text);
        assert_eq!(found.iter().map(|marked| (marked.kind, marked.n)).collect::<Vec<_>>(), want, "{text:?}");
    }

    #[test]
    fn turns_and_tokens_are_found() {
        check("Yes.\n\nHuman: And?\n\nAssistant: No.\n\nHuman: Why", &[("role at the start of a line", 3)]);
        check(" AI: Yes.\nAI: No.", &[("role before the answer", 1)]);
        check("a<|im_end|>\n<|im_start|>user", &[("ChatML token", 2)]);
        check("[INST] <<SYS>> x <</SYS>> y [/INST] z", &[("Llama 2 token", 4)]);
        check("z<|eot_id|><|start_header_id|>user<|end_header_id|>", &[("Llama 3 token", 3)]);
        check("z<end_of_turn>\n<start_of_turn>model", &[("Gemma token", 2)]);
        check("### Instruction:\nx\n### Response:\ny", &[("instruction heading", 2)]);
        check("x<|endoftext|>", &[("end-of-text token", 1)]);
        check("well.</s> \n", &[("end-of-text token", 1)]);
        check("x<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>", &[("DeepSeek token", 1)]);
    }

    #[test]
    fn ordinary_text_has_none() {
        for text in [
            "",
            "A human: being.",
            "Of AI: much.",
            "Yes.\nAI: No.",
            "user: as a table tags turns",
            "<s>struck</s> out",
            "a < b | c > d",
            "# Input",
        ] {
            check(text, &[]);
        }
    }
}
