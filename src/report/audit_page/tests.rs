//! What a page shows of texts and checks; whole pages are in `tests/audit_page.rs`.

use serde_json::{Value, json};

use super::check::{of_answer, of_text};
use super::pairs::{Answer, Text, Token};
use super::section_id;
use crate::report::passage::Passage;

fn text(n_chars: usize, n_kept: usize) -> Text {
    Text { start: "é".repeat(n_kept), n_chars: i64::try_from(n_chars).unwrap() }
}

fn answer(n_tokens: usize, n_kept: usize) -> Answer {
    let token = |at: usize| Token { text: format!("t{at}"), logp: if at == 7 { -9.5 } else { -0.5 } };
    Answer {
        text: text(4, 4),
        n_tokens: i64::try_from(n_tokens).unwrap(),
        n_cut: 0,
        logps: -12.0,
        tokens: (0..n_kept).map(token).collect(),
    }
}

fn shown(passage: &Passage) -> Value {
    serde_json::to_value(passage).unwrap()
}

#[test]
fn a_long_text_is_cut_folded_and_counted() {
    for (n_chars, n_kept, n_shown, n_folded, rest_title) in [
        (3, 3, 3, 0, "0 characters more"),
        (600, 600, 600, 0, "0 characters more"),
        (601, 601, 600, 1, "1 characters more"),
        (9000, 4000, 600, 3400, "8400 characters more"),
    ] {
        let passage = of_text("prompt", &text(n_chars, n_kept), String::new());
        let length = |pieces: &Value| pieces[0]["text"].as_str().unwrap_or_default().chars().count();
        let found = shown(&passage);
        assert_eq!((length(&found["pieces"]), length(&found["rest"])), (n_shown, n_folded), "{n_chars}");
        assert_eq!(found["rest_title"], rest_title);
        let end =
            if n_chars > n_kept { json!(" … and 5000 characters that are not on this page") } else { Value::Null };
        assert_eq!(found["rest"][1]["text"], end, "{n_chars}");
    }
}

#[test]
fn tokens_are_shaded_folded_and_counted() {
    let found = shown(&of_answer("chosen", &answer(5000, 300)));
    assert_eq!(found["pieces"].as_array().unwrap().len(), 120);
    // 180 tokens and what is not there.
    assert_eq!(found["rest"].as_array().unwrap().len(), 181);
    assert_eq!(found["rest"][180]["text"], " … and 4700 tokens that are not on this page");
    assert_eq!(found["rest_title"], "4880 tokens more");
    assert_eq!(found["pieces"][7], json!({ "text": "t7", "shade": 4, "tip": "-9.50" }));
    assert_eq!(found["pieces"][8], json!({ "text": "t8", "shade": 0, "tip": "-0.50" }));
    assert_eq!(
        found["note"],
        "5000 tokens, -12 nats, -0.0024 a token; least likely of the first 300: `t7` -9.50 (token 8), `t0` -0.50 (token \
         1), `t1` -0.50 (token 2)"
    );
}

#[test]
fn without_tokens_there_is_the_text() {
    let answer = Answer { n_cut: 3, ..answer(2, 0) };
    let found = shown(&of_answer("chosen", &answer));
    assert_eq!(found["pieces"], json!([{ "text": "éééé", "shade": 0, "tip": "" }]));
    assert_eq!(found["note"], "2 tokens, 3 more were cut, -12 nats, -6 a token");
}

#[test]
fn no_two_checks_share_a_section() {
    assert_eq!(section_id("B1"), "check-B1");
    assert_eq!(section_id("a b"), "check-a_20_b");
    assert_eq!(section_id("a_20_b"), "check-a_5f_20_5f_b");
    assert_eq!(section_id("\"><script>"), "check-_22__3e__3c_script_3e_");
}
