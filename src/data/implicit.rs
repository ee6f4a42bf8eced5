//! Where the prompt ends in data that does not say so: at the longest common beginning of both texts, cut back to a
//! place where a completion can start.
//!
//! DPO compares two continuations of *one* prompt; only then does Z(x) cancel. So what the two texts share is the most
//! the prompt can be, and everything after the first difference belongs to the completions, also where that is more
//! than one turn. Cutting the prompt shorter than it could be leaves the margin as it is (log-probs of shared tokens
//! cancel, by the chain rule); cutting it longer, or at another place for each text, does not.

use super::Message;

/// What ends the prompt of an hh-rlhf transcript.
pub(super) const ASSISTANT_MARK: &str = "\n\nAssistant:";

/// Number of turns that two conversations share as their prompt.
///
/// The largest number of common turns after which both go on with an assistant turn, and which does not itself end
/// with one. At least one turn of each is left: identical conversations, and one that is the beginning of the other,
/// are cut before their last common answer. (TRL's `extract_prompt` loses the last turn there.)
pub(super) fn prompt_turns(chosen: &[Message], rejected: &[Message]) -> Result<usize, String> {
    let common = chosen.iter().zip(rejected).take_while(|(a, b)| a == b).count();
    let is_assistant = |turns: &[Message], turn_idx: usize| turns.get(turn_idx).is_some_and(is_assistant);
    (1..=common)
        .rev()
        .find(|&n| is_assistant(chosen, n) && is_assistant(rejected, n) && !is_assistant(chosen, n - 1))
        .ok_or_else(|| match common {
            0 => "the conversations differ at the first turn, so they have no prompt in common".into(),
            _ if common == chosen.len() || common == rejected.len() => {
                "no assistant turn follows a prompt in the conversations".into()
            }
            _ => format!("the conversations differ at turn {}, before the assistant has answered", common + 1),
        })
}

/// Whether a turn is the assistant's.
pub(super) fn is_assistant(turn: &Message) -> bool {
    turn.role == "assistant"
}

/// Length in bytes of the prompt that two hh-rlhf transcripts share, which ends with `\n\nAssistant:`.
///
/// That is the last such mark both have in common. Dialogues that differ before their last turn keep the turns that
/// follow, the human's too, in the completion: two prompts would not make a pair.
pub(super) fn transcript_prompt_length(chosen: &str, rejected: &str) -> Result<usize, String> {
    let common = common_length(chosen, rejected);
    match chosen[..common].rfind(ASSISTANT_MARK) {
        Some(start) => Ok(start + ASSISTANT_MARK.len()),
        None => Err(r"the dialogues differ before the first `\n\nAssistant:`, so they have no prompt in common".into()),
    }
}

/// Length in bytes of the prompt that two plain texts share.
///
/// Not within a word; a space before the completions goes with them, as in TRL; and where one text is the beginning of
/// the other, or both are the same, the last word of the shorter one is left to the completions.
pub(super) fn plain_prompt_length(chosen: &str, rejected: &str) -> Result<usize, String> {
    let common = common_length(chosen, rejected);
    let mut prompt = &chosen[..common];
    if common == chosen.len() || common == rejected.len() {
        prompt = prompt.trim_end().trim_end_matches(|c: char| !c.is_whitespace());
    } else if prompt.ends_with(is_word)
        && (chosen[common..].starts_with(is_word) || rejected[common..].starts_with(is_word))
    {
        prompt = prompt.trim_end_matches(is_word);
    }
    prompt = prompt.strip_suffix(' ').unwrap_or(prompt);
    if prompt.trim().is_empty() {
        return Err("the texts have no beginning in common that could be their prompt".into());
    }
    Ok(prompt.len())
}

/// Bytes of the longest common beginning, in whole characters.
fn common_length(a: &str, b: &str) -> usize {
    let equal = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    a.floor_char_boundary(equal)
}

/// Characters that belong to one word with their neighbours. Scripts written without spaces have none: they may be cut
/// anywhere.
fn is_word(c: char) -> bool {
    const UNSPACED_SCRIPTS: char = '\u{2e80}';
    (c.is_alphanumeric() && c < UNSPACED_SCRIPTS) || matches!(c, '\'' | '’' | '\u{300}'..='\u{36f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Turns from `u:hello a:hi`.
    fn turns(text: &str) -> Vec<Message> {
        text.split_whitespace()
            .map(|turn| {
                let (role, content) = turn.split_once(':').unwrap();
                let role = match role {
                    "s" => "system",
                    "u" => "user",
                    "a" => "assistant",
                    _ => "tool",
                };
                Message { role: role.into(), content: content.into(), extra: serde_json::Map::default() }
            })
            .collect()
    }

    #[test]
    fn conversations_are_cut_before_an_answer_both_give() {
        for (name, chosen, rejected, want) in [
            ("one answer each", "u:q a:y", "u:q a:n", Ok(1)),
            ("the last answer", "s:s u:q a:x u:r a:y", "s:s u:q a:x u:r a:n", Ok(4)),
            ("after a tool", "u:q a:call t:3 a:y", "u:q a:call t:3 a:n", Ok(3)),
            ("identical", "u:q a:x u:r a:y", "u:q a:x u:r a:y", Ok(3)),
            ("chosen begins rejected", "u:q a:y", "u:q a:y u:r a:n", Ok(1)),
            ("rejected begins chosen", "u:q a:x u:r a:y", "u:q a:x", Ok(1)),
            ("the human goes on differently", "u:q a:x u:r a:y", "u:q a:x u:s a:n", Ok(1)),
            ("two answers in a row", "u:q a:x a:y", "u:q a:x a:n", Ok(1)),
            ("one stops where the other answers", "u:q a:x u:r a:y", "u:q a:x u:r", Ok(1)),
            ("only a system prompt", "s:s a:y", "s:s a:n", Ok(1)),
            ("first turn differs", "u:q a:y", "u:r a:y", Err("the conversations differ at the first turn")),
            ("first question differs", "s:s u:q a:y", "s:s u:r a:y", Err("the conversations differ at turn 2")),
            ("answers only", "a:y", "a:n", Err("the conversations differ at the first turn")),
            ("the same question only", "u:q", "u:q", Err("no assistant turn follows")),
            ("one without an answer", "u:q", "u:q a:y", Err("no assistant turn follows")),
            ("same answers only", "a:y", "a:y", Err("no assistant turn follows")),
            ("none at all", "", "", Err("the conversations differ at the first turn")),
        ] {
            let found = prompt_turns(&turns(chosen), &turns(rejected));
            match want {
                Ok(n) => assert_eq!(found, Ok(n), "{name}"),
                Err(reason) => assert!(found.unwrap_err().starts_with(reason), "{name}"),
            }
        }
    }

    #[test]
    fn transcripts_are_cut_after_the_last_common_assistant() {
        for (name, chosen, rejected, want) in [
            (
                "last turn",
                "\n\nHuman: q\n\nAssistant: yes",
                "\n\nHuman: q\n\nAssistant: no",
                Some("\n\nHuman: q\n\nAssistant:"),
            ),
            (
                "second turn",
                "\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant: yes",
                "\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant: no",
                Some("\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant:"),
            ),
            (
                "differing before the last turn",
                "\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant: yes",
                "\n\nHuman: q\n\nAssistant: b",
                Some("\n\nHuman: q\n\nAssistant:"),
            ),
            (
                "differing in what the human says",
                "\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant: yes",
                "\n\nHuman: q\n\nAssistant: a\n\nHuman: s\n\nAssistant: no",
                Some("\n\nHuman: q\n\nAssistant:"),
            ),
            (
                "identical",
                "\n\nHuman: q\n\nAssistant: a",
                "\n\nHuman: q\n\nAssistant: a",
                Some("\n\nHuman: q\n\nAssistant:"),
            ),
            (
                "an empty answer",
                "\n\nHuman: q\n\nAssistant:",
                "\n\nHuman: q\n\nAssistant: no",
                Some("\n\nHuman: q\n\nAssistant:"),
            ),
            (
                "both empty",
                "\n\nHuman: q\n\nAssistant:",
                "\n\nHuman: q\n\nAssistant:",
                Some("\n\nHuman: q\n\nAssistant:"),
            ),
            (
                "a mark that is only half shared",
                "\n\nHuman: q\n\nAssistant: a\n\nAssistant: b",
                "\n\nHuman: q\n\nAssistant: a\n\nAssistants",
                Some("\n\nHuman: q\n\nAssistant:"),
            ),
            ("differing questions", "\n\nHuman: q\n\nAssistant: a", "\n\nHuman: r\n\nAssistant: a", None),
        ] {
            let found = transcript_prompt_length(chosen, rejected).ok().map(|length| &chosen[..length]);
            assert_eq!(found, want, "{name}");
        }
    }

    #[test]
    fn plain_texts_are_cut_between_words() {
        for (name, chosen, rejected, want) in [
            ("TRL's example", "The sky is blue.", "The sky is green.", Some("The sky is")),
            ("words that begin alike", "The sky is blue.", "The sky is black.", Some("The sky is")),
            ("after punctuation", "Answer:blue", "Answer:red", Some("Answer:")),
            ("after a line break", "What?\nblue", "What?\nblack", Some("What?\n")),
            ("one of two spaces", "Say:  a", "Say:  b", Some("Say: ")),
            ("at the end of a word", "Is it? Yes", "Is it?\nNo", Some("Is it?")),
            ("chosen begins rejected", "Q? Yes", "Q? Yes indeed", Some("Q?")),
            ("rejected begins chosen within a word", "Q? Yesterday", "Q? Yes", Some("Q?")),
            ("identical", "Q? Yes", "Q? Yes", Some("Q?")),
            ("identical with a trailing space", "Q? Yes ", "Q? Yes ", Some("Q?")),
            ("within a character", "Wie? ä", "Wie? ö", Some("Wie?")),
            ("accents that are their own characters", "le cafe\u{301}", "le cafes", Some("le")),
            ("no spaces in the script", "你好吗我很好", "你好吗我不好", Some("你好吗我")),
            ("first letter differs", "Yes", "No", None),
            ("first word differs", "Yes", "Yellow", None),
            ("the same word", "Yes", "Yes", None),
            ("only a space in common", " Yes", " No", None),
            ("an empty text", "", "Yes", None),
            ("two empty texts", "", "", None),
        ] {
            let found = plain_prompt_length(chosen, rejected).ok().map(|length| &chosen[..length]);
            assert_eq!(found, want, "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn plain_prompts_begin_both_texts(start in "[a-c é\u{301}\n你]{0,12}", a in "[a-c é\u{301}\n你]{0,6}", b in "[a-c é\u{301}\n你]{0,6}") {
            let (chosen, rejected) = (format!("{start}{a}"), format!("{start}{b}"));
            if let Ok(length) = plain_prompt_length(&chosen, &rejected) {
                prop_assert_eq!(chosen.get(..length), rejected.get(..length));
                prop_assert!(length > 0 && length < chosen.len() && length < rejected.len());
                prop_assert!(!chosen[..length].ends_with(' ') || chosen[length..].starts_with(' '));
            }
        }

        #[test]
        fn transcript_prompts_begin_both_texts(start in turns_text(), a in turns_text(), b in turns_text()) {
            let (chosen, rejected) = (format!("{start}{a}"), format!("{start}{b}"));
            match transcript_prompt_length(&chosen, &rejected) {
                Ok(length) => {
                    prop_assert_eq!(chosen.get(..length), rejected.get(..length));
                    prop_assert!(chosen[..length].ends_with(ASSISTANT_MARK));
                    prop_assert!(start.rfind(ASSISTANT_MARK).is_none_or(|at| length >= at + ASSISTANT_MARK.len()));
                }
                Err(_) => prop_assert!(!start.contains(ASSISTANT_MARK)),
            }
        }

        #[test]
        fn shared_turns_are_the_same_turns(start in "([sua]:[xy] ){0,4}", a in "([sua]:[xy] ){0,4}", b in "([sua]:[xy] ){0,4}") {
            let (chosen, rejected) = (turns(&format!("{start}{a}")), turns(&format!("{start}{b}")));
            if let Ok(n) = prompt_turns(&chosen, &rejected) {
                prop_assert!(n >= 1 && n < chosen.len() && n < rejected.len());
                prop_assert_eq!(&chosen[..n], &rejected[..n]);
                prop_assert!(!is_assistant(&chosen[n - 1]) && is_assistant(&chosen[n]) && is_assistant(&rejected[n]));
            }
        }
    }

    fn turns_text() -> impl Strategy<Value = String> {
        proptest::collection::vec(prop_oneof!["\n\nHuman: [ab]{0,2}", "\n\nAssistant: [ab]{0,2}"], 0..4)
            .prop_map(|turns| turns.concat())
    }
}
