//! Rows that are no pairs, and files that are refused as a whole.

use serde_json::{Value, json};

use super::{open_rows, split};
use crate::data::{ColumnMap, open};
use crate::error::Hint;
use crate::io;

/// Rejects of a file that begins with a good row.
#[track_caller]
fn check_rejects(good: &Value, cases: &[(Value, &str)]) {
    let rows: Vec<Value> =
        [good.clone(), good.clone()].into_iter().chain(cases.iter().map(|(row, _)| row.clone())).collect();
    let (pairs, rejects) = split(open_rows(&rows, "").unwrap());
    assert_eq!(pairs.len(), 2);
    let found: Vec<_> = rejects.iter().map(|reject| (reject.row_idx, reject.line, reject.reason.as_str())).collect();
    let want: Vec<_> = (2..).zip(cases).map(|(row_idx, (_, reason))| (row_idx, Some(row_idx + 1), *reason)).collect();
    assert_eq!(found, want);
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

fn assistant(text: &str) -> Value {
    json!({"role": "assistant", "content": text})
}

#[test]
fn rows_unlike_their_file_of_strings_are_rejected() {
    check_rejects(
        &json!({"prompt": "q", "chosen": "y", "rejected": "n"}),
        &[
            (json!({"prompt": "q", "chosen": "y"}), "column `rejected` is missing (found: prompt, chosen)"),
            (
                json!({"prompt": "q", "chosen": "y", "rejected": 3}),
                "column `rejected`: expected a string, found a number",
            ),
            (json!({"prompt": "q", "chosen": null, "rejected": "n"}), "column `chosen` is null"),
            (
                json!({"prompt": ["q"], "chosen": "y", "rejected": "n"}),
                "column `prompt`: expected a string, found a list",
            ),
            (json!([1]), "expected a JSON object, found a list"),
        ],
    );
}

#[test]
fn texts_without_a_common_prompt_are_rejected() {
    check_rejects(
        &json!({"chosen": "Sky: blue", "rejected": "Sky: red"}),
        &[
            (
                json!({"chosen": "yes", "rejected": "no"}),
                "the texts have no beginning in common that could be their prompt",
            ),
            (
                json!({"chosen": "\n\nHuman: q\n\nAssistant: y", "rejected": "\n\nHuman: q\n\nAssistant: n"}),
                r"column `chosen`: expected plain text, found a transcript with `\n\nAssistant:`",
            ),
        ],
    );
    check_rejects(
        &json!({"chosen": "\n\nHuman: q\n\nAssistant: y", "rejected": "\n\nHuman: q\n\nAssistant: n"}),
        &[
            (
                json!({"chosen": "\n\nHuman: q\n\nAssistant: y", "rejected": "n"}),
                r"column `rejected`: expected a transcript, found text without `\n\nAssistant:`",
            ),
            (
                json!({"chosen": "\n\nHuman: q\n\nAssistant: y", "rejected": "\n\nHuman: r\n\nAssistant: n"}),
                r"the dialogues differ before the first `\n\nAssistant:`, so they have no prompt in common",
            ),
        ],
    );
}

#[test]
fn conversations_that_are_none_are_rejected() {
    check_rejects(
        &json!({"prompt": [user("q")], "chosen": [assistant("y")], "rejected": [assistant("n")]}),
        &[
            (
                json!({"prompt": [user("q")], "chosen": [], "rejected": [assistant("n")]}),
                "column `chosen`: expected messages, found an empty list",
            ),
            (
                json!({"prompt": [user("q")], "chosen": [assistant("y")], "rejected": [user("n")]}),
                "column `rejected`: expected an answer of the assistant first, found role `user`",
            ),
            (
                json!({"prompt": "q", "chosen": [assistant("y")], "rejected": [assistant("n")]}),
                "column `prompt`: expected messages, found a string",
            ),
            (
                json!({"prompt": [user("q")], "chosen": [assistant("y")], "rejected": [assistant("n")], "tools": "{"}),
                "column `tools`: the text of tools: not JSON: EOF while parsing an object at byte 1",
            ),
            (
                json!({"prompt": [user("q")], "chosen": [assistant("y")], "rejected": [{"role": "assistant"}]}),
                "column `rejected`, turn 1: `content` is missing",
            ),
        ],
    );
}

#[test]
fn a_repeated_prompt_has_to_be_the_same_prompt() {
    let good = json!({"prompt": "q", "chosen": [user("q"), assistant("y")], "rejected": [user("q"), assistant("n")]});
    check_rejects(
        &good,
        &[
            (
                json!({"prompt": "q", "chosen": [user("r"), assistant("y")], "rejected": [user("r"), assistant("n")]}),
                "column `prompt` disagrees with the turns that `chosen` and `rejected` have in common",
            ),
            (
                json!({"prompt": "q", "chosen": [user("q"), assistant("y")], "rejected": [user("r"), assistant("n")]}),
                "the conversations differ at the first turn, so they have no prompt in common",
            ),
            (
                json!({"prompt": "q", "chosen": [user("q"), assistant("y")], "rejected": [assistant("n")]}),
                "column `chosen` repeats the prompt, column `rejected` does not",
            ),
        ],
    );
}

#[test]
fn two_system_texts_are_rejected_where_they_differ() {
    let row = |system: &str| {
        json!({"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "q"}], "system": system,
               "chosen": {"from": "gpt", "value": "y"}, "rejected": {"from": "gpt", "value": "n"}})
    };
    check_rejects(&row("s"), &[(row("t"), "column `system` disagrees with the system turn of the conversation")]);
}

/// The error of a file with this one row, without its path, and its hint.
fn refusal(row: Value, map: &str) -> (String, Option<String>) {
    let Err(error) = open_rows(&[row], map) else { panic!("read") };
    let text = error.to_string();
    let start = text.find('/').unwrap();
    let end = start + text[start..].find('`').unwrap();
    (format!("{}FILE{}", &text[..start], &text[end..]), error.hint())
}

#[test]
fn files_that_are_no_pairs_are_refused_with_their_columns() {
    let name_them = Some("name the columns: `--map prompt=question,chosen=better,rejected=worse`".to_owned());
    for (row, want) in [
        (
            json!({"question": "q", "response_j": "y", "response_k": "n"}),
            "`FILE` does not look like preference pairs (columns found: question, response_j, response_k)",
        ),
        (
            json!({"prompt": "q", "chosen": "y", "rejected": "n", "instruction": "q", "chosen_response": "y", "rejected_response": "n"}),
            "`FILE` can be read in more than one way: argilla instruction with two responses (`instruction`, \
             `chosen_response`, `rejected_response`); or TRL standard with explicit prompt (`prompt`, `chosen`, \
             `rejected`) (columns found: prompt, chosen, rejected, instruction, chosen_response, rejected_response)",
        ),
    ] {
        let (text, hint) = refusal(row, "");
        assert_eq!(text, want);
        assert_eq!(hint, name_them);
    }
}

#[test]
fn answers_without_their_prompt_are_not_cut_where_they_begin_alike() {
    for (row, column) in [
        (json!({"question": "q", "chosen": "Yes", "rejected": "Yes, but"}), "question"),
        (json!({"messages": [user("q")], "chosen": assistant("y"), "rejected": assistant("n")}), "messages"),
        (json!({"Question": "q", "chosen": "Yes", "rejected": "Yes, but"}), "Question"),
    ] {
        let (text, hint) = refusal(row, "");
        assert!(text.starts_with(&format!("`FILE` has no `prompt` column, but `{column}` may be one")), "{text}");
        assert!(hint.unwrap().starts_with(&format!("`--map prompt={column}` if it is")));
    }
}

#[test]
fn what_belongs_to_the_text_and_is_not_read_is_refused_by_name() {
    let plain = json!({"prompt": "q", "chosen": "y", "rejected": "n"});
    let turns = json!({"prompt": [user("q")], "chosen": [assistant("y")], "rejected": [assistant("n")]});
    for (row, name, value) in [
        (&turns, "images", json!(["cat.png"])),
        (&plain, "image", json!({"bytes": "00", "path": null})),
        (&turns, "videos", json!(["a.mp4"])),
        (&turns, "audio", json!("a.wav")),
        (&plain, "history", json!([["Capital of Peru?", "Lima"]])),
        (&plain, "system", json!("s")),
        (&turns, "system_prompt", json!("s")),
        (&plain, "tools", json!([{"name": "f"}])),
        (&turns, "functions", json!([{"name": "f"}])),
        (&turns, "Images", json!(["cat.png"])),
    ] {
        let mut row = row.clone();
        row[name] = value;
        let (text, hint) = refusal(row.clone(), "");
        assert!(text.starts_with(&format!("column `{name}` of `FILE` is not empty")), "{text}");
        let ignore = format!("ignore={name}");
        assert!(hint.unwrap().contains(&ignore));
        let (pairs, _) = split(open_rows(&[row], &ignore).unwrap());
        assert!(pairs[0].extra.contains_key(name), "{name} is passed on");
    }
    // Empty ones say nothing.
    for value in [json!(null), json!([]), json!(""), json!([null]), json!({"bytes": null, "path": null})] {
        let mut row = turns.clone();
        row["images"] = value;
        assert_eq!(split(open_rows(&[row], "").unwrap()).0.len(), 1);
    }
    // Past the first rows of a file it is a row that is refused.
    let mut rows = vec![turns.clone(); 40];
    rows[39]["images"] = json!(["cat.png"]);
    let (_, rejects) = split(open_rows(&rows, "").unwrap());
    assert_eq!(rejects[0].row_idx, 39);
    assert_eq!(rejects[0].reason, "column `images` is not empty, and is no part of what is read: only text is scored");
}

#[test]
fn a_part_that_is_there_twice_is_refused() {
    let row = json!({"prompt": "q", "Prompt": "r", "chosen": "y", "rejected": "n"});
    let (text, hint) = refusal(row.clone(), "");
    assert_eq!(text, "`FILE` has the columns `prompt` and `Prompt`: which of them is meant is not told");
    assert_eq!(hint.as_deref(), Some("`--map ignore=Prompt` leaves that one out"));
    assert_eq!(split(open_rows(&[row], "ignore=Prompt").unwrap()).0.len(), 1);
}

#[test]
fn pairs_are_scored_whole() {
    let weighted = |key: &str, value: Value| {
        let mut answer = assistant("y");
        answer[key] = value;
        json!({"prompt": [user("q")], "chosen": [answer], "rejected": [assistant("n")]})
    };
    check_rejects(
        &weighted("weight", json!(1)),
        &[
            (
                weighted("weight", json!(0)),
                "column `chosen`, turn 1 is weighted with nothing: all turns of a pair are scored",
            ),
            (
                weighted("train", json!(false)),
                "column `chosen`, turn 1 is weighted with nothing: all turns of a pair are scored",
            ),
            (
                weighted("weight", json!(0.5)),
                "column `chosen`, turn 1: expected `weight` to be 0, 1, `true` or `false`, found `0.5`",
            ),
        ],
    );
}

#[test]
fn rows_that_are_read_as_they_are_and_may_not_be_meant_so_are_counted() {
    let call = |arguments: Value| json!({"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]});
    let row = |arguments: Value, status: &str| json!({"prompt": [user("q")], "chosen": [call(arguments)], "rejected": [assistant("n")], "status": status});
    let rows = [row(json!({"a": null}), "tie"), row(json!({"a": 1}), "swapped")];
    let mut reader = open_rows(&rows, "").unwrap();
    assert_eq!(reader.by_ref().count(), 2);
    let notes = reader.notes();
    assert!(notes[0].contains("calls of 1 pairs have arguments that are null"), "{notes:?}");
    assert!(notes[1].contains("the column `status` calls 1 pairs a tie") && notes.len() == 2, "{notes:?}");
}

/// The JSON text of a value is read as strictly as the row that holds it: a float in the place of a large integer would be
/// another text in the prompt.
#[test]
fn numbers_in_json_text_are_the_ones_that_are_written_or_refused() {
    let large = "100000000000000000000000";
    let pair = |name: &str, text: String| json!({"prompt": [user("q")], "chosen": [assistant("y")], "rejected": [assistant("n")], name: text});
    let tool = |number: &str| format!("{{\"name\": \"f\", \"maximum\": {number}}}");
    let call = format!("{{\"name\": \"f\", \"arguments\": {{\"n\": {large}}}}}");
    let from = |from: &str, value: &str| json!({"from": from, "value": value});
    for row in [
        pair("tools", format!("[{}]", tool(large))),
        pair("tools", format!("[{}]", tool("NaN"))),
        json!({"prompt": [user("q")], "chosen": [assistant("y")], "rejected": [assistant("n")], "tools": [tool(large)]}),
        pair("chat_template_kwargs", format!("{{\"budget\": {large}}}")),
        json!({"conversations": [from("human", "q")], "chosen": from("function_call", &call), "rejected": from("gpt", "n")}),
    ] {
        let (_, rejects) = split(open_rows(std::slice::from_ref(&row), "").unwrap());
        assert!(rejects[0].reason.contains("a value is"), "{row}: {rejects:?}");
    }
}

#[test]
fn turns_that_are_written_as_text_are_counted() {
    let turns = json!([user("q"), assistant("y")]).to_string();
    for (chosen, rejected, is_counted) in [
        (turns.as_str(), "n", true),
        ("[{'role': 'assistant', 'content': 'y'}]", "n", true),
        ("y", " [ { \"from\": \"gpt\", \"value\": \"n\" } ]", true),
        ("[{\"rule\": 1}]", "[role]", false),
    ] {
        let mut reader = open_rows(&[json!({"prompt": "q", "chosen": chosen, "rejected": rejected})], "").unwrap();
        assert_eq!(reader.by_ref().count(), 1);
        assert_eq!(reader.notes().iter().any(|note| note.contains("written as text")), is_counted, "{chosen}");
    }
}

#[test]
fn a_reason_is_short_whatever_the_row_holds() {
    let long = "x".repeat(1 << 16);
    let good = json!({"prompt": "q", "chosen": "y", "rejected": "n"});
    let (_, rejects) = split(open_rows(&[good, json!({ long: 1 })], "").unwrap());
    assert!(rejects[0].reason.len() < 500 && rejects[0].reason.ends_with('…'));
}

#[test]
fn unpaired_answers_are_called_so() {
    let (text, hint) = refusal(json!({"prompt": "q", "completion": "a", "label": true}), "");
    assert_eq!(
        text,
        "`FILE` holds unpaired answers with a label, expected preference pairs (columns found: prompt, completion, label)"
    );
    assert!(hint.unwrap().starts_with("DPO needs two answers"));
}

#[test]
fn a_map_has_to_fit_the_file() {
    let (text, hint) = refusal(json!({"better": "q b", "worse": "q w"}), "chosen=beter,rejected=worse");
    assert_eq!(text, "column `beter` not found in `FILE` (found: better, worse)");
    assert_eq!(hint.as_deref(), Some("did you mean `better`?"));
    let (text, _) = refusal(json!({"chosen": "q b", "rejected": "q w", "s": "x"}), "system=s");
    assert_eq!(text, "column `s` of `FILE` cannot be a system turn: the rows have no prompt column");
}

#[test]
fn as_many_rows_of_one_format_as_of_another_are_refused() {
    let rows = [
        json!({"prompt": "q", "chosen": "y", "rejected": "n"}),
        json!({"prompt": [user("q")], "chosen": [assistant("y")], "rejected": [assistant("n")]}),
        json!({"prompt": "odd"}),
    ];
    let error = open_rows(&rows, "").err().unwrap().to_string();
    assert!(
        error.contains("standard with explicit prompt (") && error.contains("conversational with explicit"),
        "{error}"
    );
}

#[test]
fn files_without_a_row_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, bytes: &[u8], want: &str| {
        let path = folder.path().join(name);
        io::write(&path, bytes).unwrap();
        let error = open(&path, &ColumnMap::default()).err().unwrap().to_string();
        assert_eq!(error, want.replace("FILE", path.to_str().unwrap()), "{name}");
    };
    check("a.jsonl", b"", "`FILE` has no rows");
    check(
        "b.jsonl",
        b"\n \n\xef",
        "no row of the first 1 of `FILE` can be read, line 3: not UTF-8: first wrong byte at offset 0",
    );
    check("a.csv", b"prompt,chosen,rejected\n", "`FILE` has no rows");
    check("a.jsonl.bz2", b"BZh91AY", "`FILE` is compressed with bzip2");
    check(
        "a.jsonl",
        b"version https://git-lfs.github.com/spec/v1\noid",
        "`FILE` is a pointer of Git LFS, not the file it stands for",
    );
    check("c.json", b" [ ]", "`FILE` has no rows");
    check("d.json", b"", "`FILE` has no rows");
    check(
        "e.jsonl",
        b"{",
        "no row of the first 1 of `FILE` can be read, line 1: not JSON: EOF while parsing an object at byte 1",
    );
    check("f.jsonl.gz", b"", "`FILE` has no rows");
    check("f.jsonl.gz", b"\x1f\x8b", "cannot read `FILE` past its first 0 rows");
    check("f.parquet", b"PAR1", "cannot read `FILE` past its first 0 rows");
    check("f.arrow", b"what", "cannot read `FILE` past its first 0 rows");
    check(
        "pairs.txt",
        b"{}",
        "cannot tell what `FILE` holds: expected a name ending in one of `.jsonl`, `.ndjson`, `.json`, `.csv`, `.tsv` (also \
         with `.gz` or `.zst`), `.parquet`, `.arrow`",
    );
    let error = open(folder.path(), &ColumnMap::default()).err().unwrap().to_string();
    assert!(error.ends_with("is a folder, expected a data file"), "{error}");
    let error = open(&folder.path().join("none.jsonl"), &ColumnMap::default()).err().unwrap().to_string();
    assert!(error.ends_with("does not exist"), "{error}");
}
