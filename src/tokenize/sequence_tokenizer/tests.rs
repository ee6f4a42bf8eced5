use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::data::Source;
use crate::model_source::ModelSource;

fn files() -> TokenizerFiles {
    TokenizerFiles::load(&ModelSource::Folder("fixtures/tiny".into())).unwrap()
}

fn rules(max_length: usize, truncation_mode: TruncationMode) -> Rules {
    Rules { max_length, truncation_mode, template_date: "2024-07-26".parse().unwrap() }
}

fn example(text: ExampleText) -> Example {
    Example { text, variables: None, source: Arc::new(Source::of(Path::new("a.jsonl"))), row_idx: 0, line: None }
}

fn conversation(turns: &[(&str, &str)]) -> Example {
    let message = |&(role, content): &(&str, &str)| Message {
        role: role.into(),
        content: content.into(),
        extra: serde_json::Map::new(),
    };
    let messages: Vec<_> = turns.iter().map(message).collect();
    example(ExampleText::Conversation { is_learnt: vec![true; messages.len()], messages, tools: None })
}

/// Text of what is learnt, piece by piece.
#[track_caller]
fn learnt(files: &TokenizerFiles, tokenizer: &SequenceTokenizer<'_>, example: &Example) -> Vec<String> {
    let Tokenized::Sequence(sequence) = tokenizer.tokenize(example).unwrap().unwrap() else { panic!("a document") };
    sequence.scored.iter().map(|range| files.decode(&sequence.ids[range.clone()]).unwrap()).collect()
}

const TURNS: [(&str, &str); 5] =
    [("system", "Be brief."), ("user", "One?"), ("assistant", "Two é."), ("user", "Three?"), ("assistant", "Four.")];

#[test]
fn every_answer_of_a_conversation_is_learnt_and_nothing_else() {
    let files = files();
    let tokenizer = SequenceTokenizer::new(&files, rules(1024, TruncationMode::KeepStart), Masking::Prompts).unwrap();
    let found = learnt(&files, &tokenizer, &conversation(&TURNS));
    assert_eq!(found, ["Two é.<|im_end|>\n", "Four.<|im_end|>\n"]);
    let all = SequenceTokenizer::new(&files, rules(1024, TruncationMode::KeepStart), Masking::Nothing).unwrap();
    let found = learnt(&files, &all, &conversation(&TURNS));
    assert!(found.len() == 1 && found[0].starts_with("system\nBe brief.<|im_end|>"), "{found:?}");
}

#[test]
fn an_answer_with_no_weight_is_not_learnt() {
    let files = files();
    let weighted = |turns: &[(&str, &str)], weights: &[bool]| {
        let mut example = conversation(turns);
        if let ExampleText::Conversation { is_learnt, .. } = &mut example.text {
            *is_learnt = weights.to_vec();
        }
        example
    };
    let turns = [("user", "q"), ("assistant", "x"), ("user", "r"), ("assistant", "y")];
    let masked = SequenceTokenizer::new(&files, rules(100, TruncationMode::KeepStart), Masking::Prompts).unwrap();
    let all = learnt(&files, &masked, &conversation(&turns));
    assert_eq!(learnt(&files, &masked, &weighted(&turns, &[true, false, true, true])), all[1..]);
    assert_eq!(learnt(&files, &masked, &weighted(&turns, &[true, true, true, false])), all[..1]);
    let none = masked.tokenize(&weighted(&turns, &[true, false, true, false])).unwrap();
    assert_eq!(none, Err(RejectReason::NothingToLearn));
    // With the prompts learnt as well, only that answer is left out.
    let whole = SequenceTokenizer::new(&files, rules(100, TruncationMode::KeepStart), Masking::Nothing).unwrap();
    let rest = learnt(&files, &whole, &weighted(&turns, &[true, false, true, true]));
    assert_eq!(rest.len(), 2);
    assert!(!rest.concat().contains('x') && rest.concat().contains('y'), "{rest:?}");
}

#[test]
fn a_template_that_rewrites_earlier_turns_leaves_the_last_answer() {
    let mut files = files();
    // As those of reasoning models do: what was answered before the last turn is shortened.
    files.template = Some(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and not loop.last %}…{% else %}\
         {{ m.content }}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
            .into(),
    );
    let tokenizer = SequenceTokenizer::new(&files, rules(1024, TruncationMode::KeepStart), Masking::Prompts).unwrap();
    let Tokenized::Sequence(sequence) = tokenizer.tokenize(&conversation(&TURNS)).unwrap().unwrap() else {
        panic!("a document")
    };
    assert!(sequence.is_last_answer_only);
    assert_eq!(learnt(&files, &tokenizer, &conversation(&TURNS)), ["Four.<|im_end|>\n"]);
    let Tokenized::Sequence(sequence) = tokenizer.tokenize(&conversation(&TURNS[..3])).unwrap().unwrap() else {
        panic!("a document")
    };
    assert!(!sequence.is_last_answer_only, "there is no earlier answer");
}

#[test]
fn a_plain_answer_ends_with_one_end_token_and_starts_after_its_prompt() {
    let files = files();
    let tokenizer = SequenceTokenizer::new(&files, rules(1024, TruncationMode::KeepStart), Masking::Prompts).unwrap();
    for completion in [" Paris.", " Paris.<|im_end|>"] {
        let text = ExampleText::Plain { prompt: "The capital of France is".into(), completion: completion.into() };
        assert_eq!(learnt(&files, &tokenizer, &example(text)), [" Paris.<|im_end|>"]);
    }
    // Nothing predicts the first token.
    let text = ExampleText::Plain { prompt: String::new(), completion: "The capital".into() };
    let Tokenized::Sequence(sequence) = tokenizer.tokenize(&example(text)).unwrap().unwrap() else {
        panic!("a document")
    };
    assert!(sequence.scored.len() == 1 && sequence.scored[0] == (1..sequence.ids.len()), "{sequence:?}");
}

#[test]
fn what_is_too_long_is_cut_at_either_end_and_counted() {
    let files = files();
    let whole = SequenceTokenizer::new(&files, rules(1024, TruncationMode::KeepStart), Masking::Prompts).unwrap();
    let Tokenized::Sequence(whole) = whole.tokenize(&conversation(&TURNS)).unwrap().unwrap() else { panic!() };
    let n = whole.ids.len();
    let last = whole.scored[1].clone();
    for (mode, ids, scored) in [
        (TruncationMode::KeepStart, &whole.ids[..n - 2], vec![whole.scored[0].clone(), last.start..n - 2]),
        (
            TruncationMode::KeepEnd,
            &whole.ids[2..],
            whole.scored.iter().map(|range| range.start - 2..range.end - 2).collect(),
        ),
    ] {
        let tokenizer = SequenceTokenizer::new(&files, rules(n - 2, mode), Masking::Prompts).unwrap();
        let Tokenized::Sequence(cut) = tokenizer.tokenize(&conversation(&TURNS)).unwrap().unwrap() else { panic!() };
        assert_eq!((cut.ids.as_slice(), cut.scored, cut.n_cut), (ids, scored, 2));
    }
    // Cut within its prompt, or never answered.
    let short = SequenceTokenizer::new(&files, rules(4, TruncationMode::KeepStart), Masking::Prompts).unwrap();
    let overlong = RejectReason::NoAnswerWithin { max_length: 4, n_tokens: n };
    for (turns, reason) in [(&TURNS[..], overlong), (&TURNS[..2], RejectReason::NothingToLearn)] {
        assert_eq!(short.tokenize(&conversation(turns)).unwrap(), Err(reason));
    }
}

#[test]
fn only_the_end_of_a_document_ends_it() {
    let files = files();
    let tokenizer = SequenceTokenizer::new(&files, rules(4, TruncationMode::KeepStart), Masking::Prompts).unwrap();
    let end = files.eos_id().unwrap();
    for is_end in [true, false] {
        let text = ExampleText::Document { text: "The old lighthouse keeper".into(), is_start: true, is_end };
        let Tokenized::Document(ids) = tokenizer.tokenize(&example(text)).unwrap().unwrap() else { panic!() };
        assert_eq!(ids.last() == Some(&end), is_end);
        assert!(ids.len() > 4, "a document is not cut: {ids:?}");
    }
}

#[test]
fn what_the_model_cannot_say_stops_the_run() {
    let mut files = files();
    files.template = None;
    files.special_tokens = json!({}).as_object().unwrap().clone();
    let tokenizer = SequenceTokenizer::new(&files, rules(64, TruncationMode::KeepStart), Masking::Prompts).unwrap();
    assert!(matches!(tokenizer.tokenize(&conversation(&TURNS)), Err(TokenizeError::NoTemplate { .. })));
    let text = ExampleText::Plain { prompt: "a".into(), completion: "b".into() };
    assert!(matches!(tokenizer.tokenize(&example(text)), Err(TokenizeError::NoEnd { .. })));
}

#[test]
fn a_template_that_trims_still_tells_where_answers_are() {
    let mut files = files();
    files.template = Some(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}\
         {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
            .into(),
    );
    let tokenizer = SequenceTokenizer::new(&files, rules(1024, TruncationMode::KeepStart), Masking::Prompts).unwrap();
    let turns = [("user", "One? "), ("assistant", "\n Two.\n"), ("user", "Three?"), ("assistant", " Four.\n\n")];
    let found = learnt(&files, &tokenizer, &conversation(&turns));
    assert_eq!(found, ["Two.<|im_end|>\n", "Four.<|im_end|>\n"]);
}

#[test]
fn an_answer_the_template_leaves_out_is_not_learnt_as_its_end_token() {
    let mut files = files();
    files.template = Some("{% for m in messages %}<|im_start|>{{ m.role }}<|im_end|>\n{% endfor %}".into());
    for masking in [Masking::Prompts, Masking::Nothing] {
        let tokenizer = SequenceTokenizer::new(&files, rules(1024, TruncationMode::KeepStart), masking).unwrap();
        let refused = tokenizer.tokenize(&conversation(&TURNS)).unwrap().unwrap_err().to_string();
        assert!(refused.contains("leaves out of its"), "{refused}");
    }
}
