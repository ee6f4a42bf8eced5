//! The language of a text, and whether an answer is in that of its prompt. A heuristic.
//!
//! By the trigrams and alphabets of `whatlang` (69 languages, no model file). It is wrong on short texts and between close
//! languages, so it says nothing below a number of letters and a confidence, and code between fences and links are left
//! out. An answer in another language is often what was asked for ("translate …").

use whatlang::{Lang, detect};

use super::PairTexts;

/// Characters that are read of a text: more do not change the answer.
const MOST_CHARS: usize = 4000;

/// Names of languages that people use in the place of the exact one, by ISO 639-3 code.
const USUAL_NAMES: [(&str, &str); 4] = [("cmn", "chinese"), ("nob", "norwegian"), ("pan", "panjabi"), ("pes", "farsi")];

/// How sure a language has to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Certainty {
    /// Letters a text has at least.
    pub least_letters: usize,
    /// Confidence of the detection at least, 0 to 1.
    pub least_confidence: f64,
}

/// An answer in another language than its prompt; ISO 639-3 codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtherLanguage {
    /// Language of the prompt.
    pub prompt: &'static str,
    /// Language of the chosen answer, another.
    pub chosen: &'static str,
    /// Language of the rejected answer, where it can be told.
    pub rejected: Option<&'static str>,
}

/// Tells a pair whose chosen answer is in another language than its prompt, where both can be told, the prompt does not name
/// the language, as one that asks for a translation does, and the rejected answer is not in it as well: of such a pair
/// nothing is learnt about languages.
pub fn other_language(pair: PairTexts<'_>, certainty: Certainty) -> Option<OtherLanguage> {
    let prompt = language(pair.prompt, certainty)?;
    let chosen = language(pair.chosen, certainty)?;
    if prompt == chosen || names(pair.prompt, chosen) {
        return None;
    }
    let rejected = language(pair.rejected, certainty);
    (rejected != Some(chosen)).then_some(OtherLanguage { prompt, chosen, rejected })
}

/// Whether a text names a language, in English or in the language itself.
fn names(text: &str, language: &str) -> bool {
    let text = text.to_lowercase();
    Lang::from_code(language).is_some_and(|language| {
        let usual = USUAL_NAMES.iter().find(|(code, _)| *code == language.code()).map_or("", |(_, name)| name);
        let names = [language.eng_name(), language.name(), usual];
        names.iter().any(|name| !name.is_empty() && text.contains(&name.to_lowercase()))
    })
}

/// The language of a text, where it can be told.
pub fn language(text: &str, certainty: Certainty) -> Option<&'static str> {
    let prose = prose(text);
    if prose.chars().filter(|c| c.is_alphabetic()).count() < certainty.least_letters {
        return None;
    }
    let found = detect(&prose)?;
    (found.confidence() >= certainty.least_confidence).then(|| found.lang().code())
}

/// The start of a text without code between fences and without links.
fn prose(text: &str) -> String {
    let mut is_code = false;
    let mut prose = String::new();
    let mut n_chars = 0;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            for word in line.split_whitespace().filter(|word| !word.contains("://")) {
                prose.push_str(word);
                prose.push(' ');
                n_chars += word.chars().count() + 1;
                if n_chars > MOST_CHARS {
                    return prose;
                }
            }
        }
    }
    prose
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTAINTY: Certainty = Certainty { least_letters: 60, least_confidence: 0.9 };

    const ENGLISH: &str = "Please explain in a few sentences why the sky looks blue during the day, and what happens to \
                           the colour of the light when the sun goes down in the evening.";
    const GERMAN: &str = "Das Licht der Sonne wird in der Luft gestreut, und zwar das blaue viel stärker als das rote; \
                          deshalb sehen wir den Himmel am Tag blau und am Abend, wenn der Weg länger ist, rot.";
    const RUSSIAN: &str = "Солнечный свет рассеивается в воздухе, причём синий сильнее красного, поэтому днём небо \
                           кажется нам голубым, а вечером красным.";

    fn pair<'a>(chosen: &'a str, rejected: &'a str) -> PairTexts<'a> {
        PairTexts { prompt: ENGLISH, chosen, rejected }
    }

    #[test]
    fn an_answer_in_another_language_is_told_with_that_of_the_other_answer() {
        let found = other_language(pair(GERMAN, RUSSIAN), CERTAINTY);
        assert_eq!(found, Some(OtherLanguage { prompt: "eng", chosen: "deu", rejected: Some("rus") }));
        assert_eq!(other_language(pair(RUSSIAN, "nein"), CERTAINTY).unwrap().rejected, None);
        assert_eq!(other_language(pair(ENGLISH, GERMAN), CERTAINTY), None);
        assert_eq!(other_language(pair(GERMAN, GERMAN), CERTAINTY), None);
    }

    #[test]
    fn a_language_that_the_prompt_names_was_asked_for() {
        let asked = format!("{ENGLISH} Answer in german, please.");
        let pair = |chosen| PairTexts { prompt: &asked, chosen, rejected: "" };
        assert_eq!(other_language(pair(GERMAN), CERTAINTY), None);
        assert_eq!(other_language(pair(RUSSIAN), CERTAINTY).unwrap().chosen, "rus");
        assert!(names("in Chinese", "cmn") && names("auf Deutsch", "deu") && !names("in Chinese", "jpn"));
    }

    #[test]
    fn too_little_text_has_no_language() {
        assert_eq!(language("Guten Tag", CERTAINTY), None);
        assert_eq!(language("", CERTAINTY), None);
        assert_eq!(language(&"12 + 34 = 46; ".repeat(50), CERTAINTY), None);
    }

    #[test]
    fn code_and_links_are_not_read() {
        let code = format!("```\n{GERMAN}\n```\nYes. https://example.com/{}", "der/die/das".repeat(20));
        assert_eq!(prose(&code), "Yes. ");
        assert_eq!(language(&code, CERTAINTY), None);
    }
}
