//! One row of each format: how it is called, what becomes of it, what is passed on.

use serde_json::{Value, json};

use super::{Row, open_rows, shown, split};
use crate::data::PairText;

struct Case {
    name: &'static str,
    map: &'static str,
    row: Value,
    format: &'static str,
    /// As `shown` has it.
    text: Value,
    extra: Value,
}

#[track_caller]
fn check(case: &Case) {
    let mut reader = open_rows(std::slice::from_ref(&case.row), case.map).unwrap();
    assert_eq!(reader.format().to_string(), case.format, "{}", case.name);
    match reader.next().unwrap().unwrap() {
        Row::Pair(pair) => {
            assert_eq!(shown(&pair.text), case.text, "{}", case.name);
            assert_eq!(Value::Object(pair.extra), case.extra, "{}", case.name);
        }
        Row::Reject(reject) => panic!("{}: {}", case.name, reject.reason),
    }
    assert!(reader.next().is_none());
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

fn assistant(text: &str) -> Value {
    json!({"role": "assistant", "content": text})
}

#[test]
fn strings() {
    for case in [
        Case {
            name: "explicit prompt; nulls are not passed on",
            map: "",
            row: json!({"prompt": "q", "chosen": " y", "rejected": "", "score": 2, "none": null}),
            format: "TRL standard with explicit prompt",
            text: json!(["q", " y", ""]),
            extra: json!({"score": 2}),
        },
        Case {
            name: "a system column that is no part of the prompt",
            map: "ignore=system",
            row: json!({"system": "s", "prompt": "q", "chosen": "y", "rejected": "n"}),
            format: "TRL standard with explicit prompt",
            text: json!(["q", "y", "n"]),
            extra: json!({"system": "s"}),
        },
        Case {
            name: "mapped columns",
            map: "prompt=question,chosen=response_j,rejected=response_k",
            row: json!({"question": "q", "response_j": "y", "response_k": "n", "prompt": "other"}),
            format: "TRL standard with explicit prompt",
            text: json!(["q", "y", "n"]),
            extra: json!({"prompt": "other"}),
        },
        Case {
            name: "mapped system text",
            map: "prompt=question,system=system",
            row: json!({"system": "s", "question": "q", "chosen": "y", "rejected": "n"}),
            format: "TRL standard with explicit prompt and system text, read as messages",
            text: json!([["system: s", "user: q"], ["assistant: y"], ["assistant: n"]]),
            extra: json!({}),
        },
        Case {
            name: "mapped system text that is empty",
            map: "system=system",
            row: json!({"system": "", "prompt": "q", "chosen": "y", "rejected": "n"}),
            format: "TRL standard with explicit prompt and system text, read as messages",
            text: json!([["user: q"], ["assistant: y"], ["assistant: n"]]),
            extra: json!({}),
        },
        Case {
            name: "argilla",
            map: "",
            row: json!({"instruction": "q", "chosen_response": "y", "rejected_response": "n", "chosen_avg_rating": 4.5}),
            format: "argilla instruction with two responses",
            text: json!(["q", "y", "n"]),
            extra: json!({"chosen_avg_rating": 4.5}),
        },
        Case {
            name: "implicit prompt",
            map: "",
            row: json!({"prompt": null, "chosen": "The sky is blue.", "rejected": "The sky is black."}),
            format: "TRL standard with implicit prompt",
            text: json!(["The sky is", " blue.", " black."]),
            extra: json!({}),
        },
        Case {
            name: "implicit prompt although another column looks like one, as the map insists",
            map: "chosen=chosen",
            row: json!({"input": "q", "chosen": "The sky is blue.", "rejected": "The sky is black."}),
            format: "TRL standard with implicit prompt",
            text: json!(["The sky is", " blue.", " black."]),
            extra: json!({"input": "q"}),
        },
        Case {
            name: "transcripts",
            map: "",
            row: json!({"chosen": "\n\nHuman: q\n\nAssistant: yes", "rejected": "\n\nHuman: q\n\nAssistant: yellow"}),
            format: "hh-rlhf transcripts",
            text: json!(["\n\nHuman: q\n\nAssistant:", " yes", " yellow"]),
            extra: json!({}),
        },
    ] {
        check(&case);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn messages() {
    for case in [
        Case {
            name: "explicit prompt",
            map: "",
            row: json!({"prompt": [user("q")], "chosen": [assistant("y")], "rejected": [assistant("n")],
                        "tools": [{"name": "f"}], "id": 7}),
            format: "TRL conversational with explicit prompt",
            text: json!([["user: q"], ["assistant: y"], ["assistant: n"], [{"name": "f"}]]),
            extra: json!({"id": 7}),
        },
        Case {
            name: "tools as JSON text",
            map: "",
            row: json!({"prompt": [user("q")], "chosen": [assistant("y")], "rejected": [assistant("n")],
                        "tools": "[{\"name\": \"f\"}]"}),
            format: "TRL conversational with explicit prompt",
            text: json!([["user: q"], ["assistant: y"], ["assistant: n"], [{"name": "f"}]]),
            extra: json!({}),
        },
        Case {
            name: "no tools, which is not none",
            map: "",
            row: json!({"prompt": [user("q")], "chosen": [assistant("y")], "rejected": [assistant("n")], "tools": "[]"}),
            format: "TRL conversational with explicit prompt",
            text: json!([["user: q"], ["assistant: y"], ["assistant: n"], []]),
            extra: json!({}),
        },
        Case {
            name: "a list of tools as JSON texts; variables of the template as JSON text",
            map: "",
            row: json!({"prompt": [user("q")], "chosen": [assistant("y")], "rejected": [assistant("n")],
                        "tools": ["{\"name\": \"f\"}"], "chat_template_kwargs": "{\"a\": 1}"}),
            format: "TRL conversational with explicit prompt",
            text: json!([["user: q"], ["assistant: y"], ["assistant: n"], [{"name": "f"}]]),
            extra: json!({"chat_template_kwargs": {"a": 1}}),
        },
        Case {
            name: "messages with answers as strings",
            map: "",
            row: json!({"prompt": [user("q")], "chosen": "y", "rejected": "n"}),
            format: "messages with answers as strings",
            text: json!([["user: q"], ["assistant: y"], ["assistant: n"]]),
            extra: json!({}),
        },
        Case {
            name: "ms-swift with another last answer",
            map: "",
            row: json!({"messages": [user("q"), assistant("a"), user("r"), assistant("y")], "rejected_response": "n"}),
            format: "ms-swift messages with a rejected answer",
            text: json!([["user: q", "assistant: a", "user: r"], ["assistant: y"], ["assistant: n"]]),
            extra: json!({}),
        },
        Case {
            name: "ms-swift with another conversation",
            map: "",
            row: json!({"messages": [user("q"), assistant("y")], "rejected_messages": [user("q"), assistant("n")]}),
            format: "ms-swift messages with a rejected answer",
            text: json!([["user: q"], ["assistant: y"], ["assistant: n"]]),
            extra: json!({}),
        },
        Case {
            name: "a system text that the turns begin with already",
            map: "",
            row: json!({"system": "s", "prompt": [{"role": "system", "content": "s"}, user("q")], "chosen": [assistant("y")],
                        "rejected": [assistant("n")]}),
            format: "TRL conversational with explicit prompt",
            text: json!([["system: s", "user: q"], ["assistant: y"], ["assistant: n"]]),
            extra: json!({"system": "s"}),
        },
        Case {
            name: "explicit prompt that the answers repeat",
            map: "",
            row: json!({"prompt": [user("q")], "chosen": [user("q"), assistant("y")], "rejected": [user("q"), assistant("n")]}),
            format: "TRL conversational with explicit prompt",
            text: json!([["user: q"], ["assistant: y"], ["assistant: n"]]),
            extra: json!({}),
        },
        Case {
            name: "implicit prompt",
            map: "",
            row: json!({"chosen": [user("q"), assistant("a"), user("r"), assistant("y")],
                        "rejected": [user("q"), assistant("a"), user("r"), assistant("n")], "source": "skywork"}),
            format: "TRL conversational with implicit prompt",
            text: json!([["user: q", "assistant: a", "user: r"], ["assistant: y"], ["assistant: n"]]),
            extra: json!({"source": "skywork"}),
        },
        Case {
            name: "implicit prompt of identical conversations",
            map: "",
            row: json!({"chosen": [user("q"), assistant("y")], "rejected": [user("q"), assistant("y")]}),
            format: "TRL conversational with implicit prompt",
            text: json!([["user: q"], ["assistant: y"], ["assistant: y"]]),
            extra: json!({}),
        },
        Case {
            name: "UltraFeedback, which repeats the prompt and the preferred conversation",
            map: "",
            row: json!({"prompt": "q", "prompt_id": "1", "chosen": [user("q"), assistant("y")],
                        "rejected": [user("q"), assistant("n")], "messages": [user("q"), assistant("y")],
                        "score_chosen": 8.5}),
            format: "prompt string with message completions (UltraFeedback)",
            text: json!([["user: q"], ["assistant: y"], ["assistant: n"]]),
            extra: json!({"prompt_id": "1", "score_chosen": 8.5}),
        },
        Case {
            name: "prompt string and answers only",
            map: "",
            row: json!({"prompt": "q", "chosen": [assistant("y")], "rejected": assistant("n"), "messages": "kept"}),
            format: "prompt string with message completions (UltraFeedback)",
            text: json!([["user: q"], ["assistant: y"], ["assistant: n"]]),
            extra: json!({"messages": "kept"}),
        },
        Case {
            name: "ShareGPT",
            map: "",
            row: json!({"conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt", "value": "y"},
                        "rejected": [{"from": "gpt", "value": "n"}], "system": "s", "tools": "[{\"name\": \"f\"}]"}),
            format: "ShareGPT conversations",
            text: json!([["system: s", "user: q"], ["assistant: y"], ["assistant: n"], [{"name": "f"}]]),
            extra: json!({}),
        },
        Case {
            name: "ShareGPT under other names",
            map: "chosen=better,rejected=worse",
            row: json!({"conversations": [{"from": "human", "value": "q"}], "better": {"from": "gpt", "value": "y"},
                        "worse": {"from": "gpt", "value": "n"}}),
            format: "ShareGPT conversations",
            text: json!([["user: q"], ["assistant: y"], ["assistant: n"]]),
            extra: json!({}),
        },
        Case {
            name: "OpenAI",
            map: "",
            row: json!({"input": {"messages": [user("q")], "tools": [{"name": "f"}], "parallel_tool_calls": true},
                        "preferred_output": [assistant("y")], "non_preferred_output": [assistant("n")]}),
            format: "OpenAI preference pairs",
            text: json!([["user: q"], ["assistant: y"], ["assistant: n"], [{"name": "f"}]]),
            extra: json!({"input": {"parallel_tool_calls": true}}),
        },
    ] {
        check(&case);
    }
}

#[test]
fn llama_factory_weights_are_no_part_of_a_turn() {
    let turn = |role: &str, text: &str| json!({"role": role, "loss_weight": 1.0, "content": [{"type": "text", "value": text}]});
    let row = json!({"chosen_messages": [turn("user", "q"), turn("assistant", "y")],
                     "rejected_messages": [turn("user", "q"), turn("assistant", "n")]});
    let reader = open_rows(&[row], "").unwrap();
    assert_eq!(reader.format().to_string(), "LLaMA-Factory v1 messages");
    let (pairs, _) = split(reader);
    assert_eq!(shown(&pairs[0].text), json!([["user: q"], ["assistant: y"], ["assistant: n"]]));
    let PairText::Messages { chosen, .. } = &pairs[0].text else { panic!("{:?}", pairs[0].text) };
    assert!(chosen[0].extra.is_empty());
}

#[test]
fn the_same_conversation_has_the_same_id_in_every_format() {
    let rows = [
        json!({"prompt": [user("q")], "chosen": [assistant("y")], "rejected": [assistant("n")]}),
        json!({"chosen": [user("q"), assistant("y")], "rejected": [user("q"), assistant("n")]}),
        json!({"prompt": "q", "chosen": [user("q"), assistant("y")], "rejected": [user("q"), assistant("n")]}),
        json!({"conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt", "value": "y"},
               "rejected": {"from": "gpt", "value": "n"}}),
        json!({"input": {"messages": [user("q")]}, "preferred_output": [assistant("y")],
               "non_preferred_output": [assistant("n")]}),
    ];
    let ids: Vec<_> = rows.iter().map(|row| split(open_rows(std::slice::from_ref(row), "").unwrap()).0[0].id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}
