use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::data::{PairId, Source};

#[derive(serde::Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

/// A row and what TRL's dataset preparation and collator made of it.
#[derive(serde::Deserialize)]
struct Case {
    name: String,
    tokenizer: String,
    chat_template: Option<String>,
    row: Json,
    max_length: Option<usize>,
    truncation_mode: TruncationMode,
    #[serde(default)]
    dropped: bool,
    prompt_ids: Option<Vec<u32>>,
    #[serde(default)]
    chosen_ids: Vec<u32>,
    #[serde(default)]
    rejected_ids: Vec<u32>,
}

fn project_path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn pair(row: &Json) -> PreferencePair {
    let text = if row["prompt"].is_string() {
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        PairText::Plain { prompt: text("prompt"), chosen: text("chosen"), rejected: text("rejected") }
    } else {
        let messages = |key: &str| serde_json::from_value(row[key].clone()).unwrap();
        PairText::Messages {
            prompt: messages("prompt"),
            chosen: messages("chosen"),
            rejected: messages("rejected"),
            tools: row.get("tools").cloned(),
        }
    };
    let mut extra = row.as_object().unwrap().clone();
    extra.retain(|key, _| key == "chat_template_kwargs");
    let source = Arc::new(Source { path: "rows.jsonl".into(), split: String::new() });
    PreferencePair { id: PairId::of(&text), text, source, row_idx: 0, line: None, extra }
}

fn rules() -> Rules {
    Rules {
        max_length: 1 << 20,
        truncation_mode: TruncationMode::KeepStart,
        template_date: "2024-07-26".parse().unwrap(),
    }
}

fn load(folder: &str) -> TokenizerFiles {
    TokenizerFiles::load(&ModelSource::Folder(project_path(folder))).unwrap()
}

fn tiny(change: impl Fn(&mut TokenizerFiles)) -> PairTokenizer {
    let mut model = load("fixtures/tiny");
    change(&mut model);
    PairTokenizer::new(model, rules()).unwrap()
}

fn reject(tokenizer: &PairTokenizer, row: &Json) -> String {
    tokenizer.tokenize(&pair(row)).unwrap().unwrap_err().to_string()
}

#[test]
fn ids_are_those_of_trl() {
    let golden = crate::io::read_text(&project_path("fixtures/golden/tokenize.json")).unwrap();
    let golden: Golden = serde_json::from_str(&golden).unwrap();
    // What was compared, by outcome: a golden file that no longer holds the edges would show here.
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    for case in golden.cases {
        let what = format!("{}: {}", case.tokenizer, case.name);
        let mut model = load(&case.tokenizer);
        if case.chat_template.is_some() {
            model.template.clone_from(&case.chat_template);
        }
        let max_length = case.max_length.unwrap_or(1 << 20);
        let rules = Rules { max_length, truncation_mode: case.truncation_mode, ..rules() };
        let found = PairTokenizer::new(model, rules).unwrap().tokenize(&pair(&case.row)).unwrap();

        let outcome = match (&case.prompt_ids, found) {
            (_, Err(RejectReason::PromptTooLong { .. } | RejectReason::EmptyPrompt)) if case.dropped => {
                "dropped by both"
            }
            // TRL keeps it and leaves its first completion token unscored.
            (Some(prompt_ids), Err(RejectReason::EmptyPrompt)) if prompt_ids.is_empty() => "no prompt, rejected here",
            (_, Err(RejectReason::EmptyPrompt | RejectReason::CompletionTooLong { .. }))
                if case.truncation_mode == TruncationMode::KeepEnd =>
            {
                "no prompt left by keep_end, rejected here"
            }
            (None, Ok(found)) if case.truncation_mode == TruncationMode::KeepEnd && !case.dropped => {
                // Two prompts in TRL, one here, cut for the longer answer; no completion token is lost.
                let longer = found.chosen_ids.len().max(found.rejected_ids.len());
                assert_eq!(Some(found.prompt_ids.len() + longer), case.max_length, "{what}");
                assert_eq!(found.chosen_cut + found.rejected_cut, 0, "{what}");
                assert!(case.chosen_ids == found.chosen_ids && case.rejected_ids == found.rejected_ids, "{what}");
                "cut once instead of twice by keep_end"
            }
            (Some(prompt_ids), Ok(found)) if !case.dropped => {
                assert_eq!(&found.prompt_ids, prompt_ids, "{what}");
                assert_eq!(found.chosen_ids, case.chosen_ids, "{what}");
                assert_eq!(found.rejected_ids, case.rejected_ids, "{what}");
                "equal"
            }
            (_, found) => panic!("{what}: dropped by TRL: {}, found {found:?}", case.dropped),
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    insta::assert_debug_snapshot!(outcomes, @r#"
    {
        "cut once instead of twice by keep_end": 9,
        "dropped by both": 15,
        "equal": 163,
        "no prompt left by keep_end, rejected here": 22,
        "no prompt, rejected here": 17,
    }
    "#);
}

#[test]
fn a_batch_is_its_pairs_one_by_one() {
    let tokenizer = tiny(|_| {});
    let message = |content: &str| json!([{"role": "user", "content": content}]);
    let mut rows = Vec::new();
    for idx in 0..CHUNK + 3 {
        let text = format!("Number {idx}");
        rows.push(match idx % 3 {
            0 => pair(&json!({"prompt": text, "chosen": " is even", "rejected": ""})),
            1 => pair(&json!({"prompt": "", "chosen": "a", "rejected": "b"})),
            _ => pair(&json!({"prompt": message(&text), "chosen": message("a"), "rejected": message("b")})),
        });
    }
    let together = tokenizer.tokenize_batch(&rows).unwrap();
    let alone: Vec<_> = rows.iter().map(|pair| tokenizer.tokenize(pair).unwrap()).collect();
    assert_eq!(together, alone);
    assert_eq!(together.iter().filter(|result| result.is_err()).count(), (CHUNK + 3) / 3);
}

#[test]
fn messages_need_a_template_and_plain_strings_an_end_token() {
    use crate::error::Hint as _;
    let messages = pair(&json!({"prompt": [{"role": "user", "content": "a"}], "chosen": [], "rejected": []}));
    let error = tiny(|model| model.template = None).tokenize(&messages).unwrap_err();
    assert!(matches!(error, TokenizeError::NoTemplate { .. }));
    assert!(error.hint().unwrap().contains("chat_template.jinja"));

    let plain = pair(&json!({"prompt": "a", "chosen": "b", "rejected": "c"}));
    let error = tiny(|model| drop(model.special_tokens.remove("eos_token"))).tokenize(&plain).unwrap_err();
    assert!(matches!(error, TokenizeError::NoEnd { .. }));
}

#[test]
fn a_template_that_does_not_parse_stops_at_once_and_names_its_line() {
    let mut model = load("fixtures/tiny");
    model.template = Some("{{ bos_token }}\n{% for m in messages %}\n{{ m.role".to_owned());
    let error = PairTokenizer::new(model, rules()).unwrap_err().to_string();
    assert!(error.contains("fixtures/tiny`, line 3: "), "{error}");
}

#[test]
fn a_row_the_template_refuses_is_rejected_with_its_words() {
    let tokenizer =
        tiny(|model| model.template = Some("a\n{{ raise_exception('no ' ~ messages[0].role) }}".to_owned()));
    let row = json!({"prompt": [{"role": "user", "content": "a"}], "chosen": [], "rejected": []});
    assert_eq!(reject(&tokenizer, &row), "chat template, line 2: no user");
}

#[test]
fn conversations_without_prompt_or_answer_are_rejected() {
    let tokenizer = tiny(|_| {});
    let user = json!([{"role": "user", "content": "a"}]);
    let answer = json!([{"role": "assistant", "content": "b"}]);
    assert_eq!(
        reject(&tokenizer, &json!({"prompt": [], "chosen": answer, "rejected": answer})),
        "its prompt has no tokens, so nothing predicts the first token of a completion"
    );
    assert_eq!(
        reject(&tokenizer, &json!({"prompt": user, "chosen": [], "rejected": answer})),
        "its chosen answer has no tokens"
    );
}

#[test]
fn tools_and_variables_of_a_row_reach_the_template() {
    let source = "{{ tools[0].name if tools else 'none' }} {{ mood }} {{ messages | map(attribute='content') | join }}";
    let tokenizer = tiny(|model| model.template = Some(source.to_owned()));
    let text = |row: &Json| {
        let found = tokenizer.tokenize(&pair(row)).unwrap().unwrap();
        let ids = [found.prompt_ids, found.chosen_ids].concat();
        tokenizer.files().tokenizer.decode(&ids, false).unwrap()
    };
    let message = |content: &str| json!([{"role": "user", "content": content}]);
    let row = |tools: Json| {
        json!({"prompt": message("a"), "chosen": message("b"), "rejected": message("c"), "tools": tools,
            "chat_template_kwargs": {"mood": "glad"}})
    };
    assert_eq!(text(&row(json!([{"name": "clock"}]))), "clock glad ab");
    assert_eq!(text(&row(json!("[{\"name\": \"clock\"}]"))), "clock glad ab");
    assert_eq!(text(&row(json!(null))), "none glad ab");
    assert!(reject(&tokenizer, &row(json!("[{"))).starts_with("its tools are not JSON: "));
}

#[test]
fn equal_tokens_have_equal_ids_and_a_moved_token_another() {
    let id = TokensId::of(&[1, 2], &[3], &[4]);
    assert_eq!(id, TokensId::of(&[1, 2], &[3], &[4]));
    assert_ne!(id, TokensId::of(&[1], &[2, 3], &[4]));
    assert_ne!(id, TokensId::of(&[1, 2], &[4], &[3]));
}

fn with_template(source: &str) -> PairTokenizer {
    tiny(|model| model.template = Some(source.into()))
}

/// The three texts of a row.
#[track_caller]
fn texts(tokenizer: &PairTokenizer, row: &Json) -> [String; 3] {
    let texts = tokenizer.texts(&pair(row)).unwrap().unwrap();
    [texts.prompt, texts.prompt_chosen, texts.prompt_rejected]
}

fn row(chosen: &Json, rejected: &Json) -> Json {
    json!({"prompt": [{"role": "user", "content": "q"}], "chosen": [chosen], "rejected": [rejected]})
}

fn answer(content: &str) -> Json {
    json!({"role": "assistant", "content": content})
}

/// trl#5871, vllm#54368: what a template does not know, it leaves out, and both completions are the same tokens.
#[test]
fn an_answer_the_template_leaves_out_is_refused_by_name() {
    let lists = "{% for m in messages %}[{{ m.role }}]{% if m.content is not string %}{% for p in m.content %}{{ p.text }}\
                 {% endfor %}{% endif %}{% endfor %}";
    let reason = reject(&with_template(lists), &row(&answer("Lima is it"), &answer("No")));
    assert_eq!(
        reason,
        "the chat template leaves out of its chosen answer what it says: `Lima is it`; it reads content in parts, \
         `[{\"type\": \"text\", \"text\": …}]`"
    );
    let parts = |text: &str| json!({"role": "assistant", "content": [{"type": "text", "text": text}]});
    let text = texts(&with_template(lists), &row(&parts("Lima"), &parts("Quito")));
    assert_eq!(text, ["[user]", "[user][assistant]Lima", "[user][assistant]Quito"]);

    let content = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}";
    let call =
        json!({"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "rain", "arguments": {}}}]});
    let reason = reject(&with_template(content), &row(&answer("Dry"), &call));
    assert_eq!(reason, "the chat template leaves out of its rejected answer what it says: the call of `rain`");
}

#[test]
fn parts_reach_a_template_that_reads_them_and_are_joined_for_one_that_does_not() {
    let parts =
        json!({"role": "assistant", "content": [{"type": "text", "text": " a "}, {"type": "text", "text": " b "}]});
    let trimmed = "{% for m in messages %}[{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}\
                   {{ p.text | trim }};{% endfor %}{% endif %}]{% endfor %}";
    assert_eq!(texts(&with_template(trimmed), &row(&parts, &answer("n")))[1], "[q][a;b;]");
    for strings in [
        "{% for m in messages %}[{{ m.content }}]{% endfor %}",
        "{% for m in messages %}[{{ '' + m.content }}]{% endfor %}",
        "{% for m in messages %}[{% if m.content is string %}{{ m.content }}{% endif %}]{% endfor %}",
    ] {
        assert_eq!(texts(&with_template(strings), &row(&parts, &answer("n")))[1], "[q][ a  b ]", "{strings}");
    }
}

#[test]
fn a_call_without_content_has_none_for_the_template() {
    let template = "{% for m in messages %}{{ m.content is defined }}{{ 'content' in m }}{% for c in m.tool_calls or [] %}\
                    {{ c.function.name }}{% endfor %};{% endfor %}";
    let call = |content: Option<Json>| {
        let mut turn = json!({"role": "assistant", "tool_calls": [{"function": {"name": "rain"}}]});
        if let Some(content) = content {
            turn["content"] = content;
        }
        turn
    };
    // An answer that is not printed would be refused: both are calls.
    let tokenizer = with_template(template);
    for content in [Some(Json::Null), Some(json!(""))] {
        let want = if content == Some(Json::Null) { "TrueTrue;FalseFalserain;" } else { "TrueTrue;TrueTruerain;" };
        assert_eq!(texts(&tokenizer, &row(&call(content.clone()), &call(content)))[1], want);
    }
}

#[test]
fn thoughts_left_out_are_remarked() {
    let template = "{% for m in messages %}[{{ m.content.split('</think>')[-1] | trim }}]{% endfor %}";
    let tokenizer = with_template(template);
    let thinking = answer("<think>\nHmm.\n</think>\n\nYes");
    assert_eq!(texts(&tokenizer, &row(&thinking, &answer("No")))[1], "[q][Yes]");
    assert_eq!(tokenizer.remarks().len(), 1);
    assert!(tokenizer.remarks()[0].starts_with("1 pairs: the chat template leaves the thoughts"));
}
