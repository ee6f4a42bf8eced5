//! Single checks of `piref audit` on a few pairs each, whose faults and numbers are known by hand.

use serde_json::json;

use crate::support::{Case, Outcome};

/// Model with random weights: what it says of a text means nothing.
const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny");

/// A table of these prompts, chosen and rejected answers.
fn case(pairs: &[[&str; 3]]) -> Case {
    let line = |[prompt, chosen, rejected]: &[&str; 3]| {
        json!({"prompt": prompt, "chosen": chosen, "rejected": rejected}).to_string()
    };
    of_lines(&pairs.iter().map(line).collect::<Vec<_>>())
}

fn of_lines(lines: &[String]) -> Case {
    let case = Case::new().file("pairs.jsonl", &lines.join("\n"));
    case.run(["precompute", "--model", TINY, "--data", "pairs.jsonl", "--out", "run/reference", "-q"]).success();
    case
}

fn audit<'a>(case: &Case, arguments: impl IntoIterator<Item = &'a str>) -> Outcome {
    case.run(["audit", "run", "-q"].into_iter().chain(arguments)).success()
}

/// The first column of a query's answer.
fn column(case: &Case, sql: &str) -> Vec<String> {
    let outcome = case.run(["sql", "run", "--format", "csv", "-c", sql]).success();
    outcome.stdout.lines().skip(1).map(str::to_owned).collect()
}

/// Row of the data and evidence, or `data` and evidence, of everything a check finds.
#[track_caller]
fn check(case: &Case, id: &str, want: &[&str]) {
    audit(case, ["--check", id]);
    let found = column(
        case,
        "SELECT concat(coalesce(CAST(p.row_idx AS VARCHAR), 'data'), ' ', f.level, ' ', f.evidence) AS words FROM findings f \
         LEFT JOIN pairs p ON f.pair_id = p.pair_id ORDER BY words",
    );
    let found: Vec<&str> = found.iter().map(|words| words.trim_matches('"')).collect();
    assert_eq!(found, want, "{id}");
}

#[test]
fn an_exclusion_of_repetitions_leaves_the_first() {
    // Rows 0 and 1 are one pair, and so are 2 and 3, whose answers are the same besides.
    let (a, b, c) = (["One?", "a", "b"], ["Two?", "a", "a"], ["Three?", "a", "b"]);
    let case = case(&[a, a, b, b, c]);
    for (excluded, n_left) in [("C7", 3), ("B1,C7", 2), ("B1", 3)] {
        let outcome = audit(&case, ["--exclude", excluded, "--write-selection", "kept.txt"]);
        assert!(outcome.stdout.contains(&format!("selected {n_left} of 5 pairs")), "{excluded}: {outcome}");
        let text = std::fs::read_to_string(case.path().join("kept.txt")).unwrap();
        let mut listed: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let mut queried = column(&case, text.lines().find_map(|line| line.strip_prefix("# query: ")).unwrap());
        listed.sort_unstable();
        queried.sort_unstable();
        assert_eq!(listed, queried, "{excluded}");
        assert_eq!(listed.len(), n_left, "{excluded}");
    }
    let explained = case.run(["audit", "--explain", "C7"]).success().stdout;
    assert!(explained.contains("\n-- keep = \"first\"\n"), "{explained}");
    let explained = case.run(["audit", "--explain", "B1"]).success().stdout;
    assert!(!explained.contains("keep"), "{explained}");
}

#[test]
fn what_to_do_is_said_once_a_check_with_findings() {
    let case = case(&[["One?", "a", "a"], ["Two?", "b", "b"], ["Three?", "a", "b"]]);
    let outcome = audit(&case, ["--check", "B1,B2"]);
    assert_eq!(outcome.stdout.matches("→ leave them out").count(), 1, "{outcome}");
    assert_eq!(outcome.stdout.matches('→').count(), 1, "{outcome}");
}

#[test]
fn a_placeholder_is_no_answer_and_not_empty() {
    let case = case(&[
        ["One?", "A tree.", "<noinput>"],
        ["Two?", " [Deleted]\n", "null"],
        ["Three?", "The null hypothesis.", "Nan bread."],
        ["Four?", "No output", " "],
    ]);
    let want =
        ["0 warn rejected is a placeholder", "1 warn both answers are placeholders", "3 warn chosen is a placeholder"];
    check(&case, "B12", &want);
    check(&case, "B2", &["3 warn rejected is empty"]);
}

#[test]
fn the_beginning_of_an_answer_is_told_with_what_follows() {
    let case = case(&[["One?", "Yes. It is so.", "Yes."], ["Two?", "No.", "No. Never."]]);
    let want = [
        "0 warn rejected is the beginning of chosen, which goes on for 10 characters",
        "1 warn chosen is the beginning of rejected, which goes on for 7 characters",
    ];
    check(&case, "B4", &want);
}

#[test]
fn a_refusal_says_that_it_cannot_or_will_not() {
    let case = case(&[
        ["One?", "I cannot help with that.", "Oh, I'm sorry, I can't do that."],
        ["Two?", "I'm sorry to hear that. Try some tea.", "As a responsible AI, I cannot."],
        ["Three?", "As an AI, I can take that on.", "I'm not able to say."],
        ["Four?", "I won't comply.", "Tea."],
    ]);
    audit(&case, ["--check", "B6"]);
    let found = column(&case, "SELECT evidence FROM findings ORDER BY pair_id NULLS FIRST");
    let sums = "of 4 pairs 1 where only chosen refuses, 2 where only rejected does, 1 where both do";
    assert!(found[0].contains(sums), "{found:?}");
    assert_eq!(found[1..], ["both answers refuse"]);
    let rows = "SELECT row_idx FROM pairs WHERE pair_id IN (SELECT pair_id FROM findings WHERE pair_id IS NOT NULL)";
    assert_eq!(column(&case, rows), ["0"]);
}

#[test]
fn items_and_short_last_lines_may_end_without_a_mark() {
    // 260 characters, and three more.
    let cut = "so and so on ".repeat(20) + "the";
    let (item, short) = (format!("{cut}\n- {cut}"), format!("{cut}\nAnswer: yes"));
    let case =
        case(&[["One?", cut.as_str(), "Done."], ["Two?", item.as_str(), "Done."], ["Three?", short.as_str(), "Done."]]);
    check(&case, "B9", &["0 info chosen has 263 characters and ends with `nd so on the`"]);
}

#[test]
fn a_prompt_in_two_splits_is_found_in_both() {
    let line = |prompt: &str, chosen: &str| json!({"prompt": prompt, "chosen": chosen, "rejected": "no"}).to_string();
    let train = [line("How deep is the sea?", "Deep."), line("Why?", "So."), line("Why?", "Thus.")].join("\n");
    // Letter case and white space make no other prompt of it.
    let test = [line("how deep  is the Sea?", "Very."), line("When?", "Now.")].join("\n");
    let case = Case::new().file("train.jsonl", &train).file("test.jsonl", &test);
    let data = ["--data", "train.jsonl", "--data", "test.jsonl"];
    case.run(["precompute", "--model", TINY, "--out", "run/reference", "-q"].into_iter().chain(data)).success();
    let rows = ["0 warn in `test`, and its prompt in test, train", "0 warn in `train`, and its prompt in test, train"];
    check(&case, "C4", &rows);
}

/// What is grouped is held within the limit, or else on disk: the findings are the same.
#[test]
fn a_limit_of_memory_changes_no_finding() {
    let pairs: Vec<String> =
        (0..600).map(|at| format!("How much is {} and {at}? {}", at % 7, "Think. ".repeat(8))).collect();
    let case = case(&pairs.iter().map(|prompt| [prompt.as_str(), "a", "b"]).collect::<Vec<_>>());
    let found = |limit: &[&'static str]| {
        audit(&case, ["--check", "A,B,C1,C4,C7,C9,D,I"].into_iter().chain(limit.iter().copied()));
        column(&case, "SELECT concat_ws(' ', f.check, f.pair_id, f.level, f.value, f.evidence) FROM findings f")
    };
    let want = found(&[]);
    assert!(!want.is_empty());
    assert_eq!(found(&["--memory-limit", "16MiB"]), want);

    let refused = case.run(["audit", "run", "--memory-limit", "1MiB"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("expected at least 16.0 MiB"), "{refused}");
}

#[test]
fn a_prompt_that_goes_on_in_another_is_found() {
    let first = "\n\nHuman: Tell me of the sea.\n\nAssistant:";
    let second = format!("{first} It is wide.\n\nHuman: And deep?\n\nAssistant:");
    let case = case(&[
        [second.as_str(), " yes", " no"],
        [first, " yes", " no"],
        ["Tell me about the moon", "yes", "no"],
        ["Tell me about the moonlight", "yes", "no"],
        ["Too short", "yes", "no"],
        ["Too short as well", "yes", "no"],
    ]);
    let found = |case: &Case| {
        audit(case, ["--check", "C9"]);
        column(
            case,
            "SELECT concat(p.row_idx, ' ', o.row_idx, ' ', f.value) AS words FROM findings f JOIN pairs p ON f.pair_id = p.pair_id \
             JOIN pairs o ON strpos(f.evidence, o.pair_id) > 0",
        )
    };
    // ` It is wide.` has 12 characters, and `\n\nHuman: And deep?\n\nAssistant:` 30.
    assert_eq!(found(&case), ["1 0 42.0"]);

    let message = |role: &str, content: &str| json!({"role": role, "content": content});
    let (ask, reply, again) =
        (message("user", "Tell me of the sea."), message("assistant", "It is wide."), message("user", "And deep?"));
    let line = |prompt: serde_json::Value| {
        let answer = |content| json!([message("assistant", content)]);
        json!({"prompt": prompt, "chosen": answer("Yes."), "rejected": answer("No.")}).to_string()
    };
    let case = of_lines(&[line(json!([ask])), line(json!([ask, reply, again]))]);
    audit(&case, ["--check", "C9", "--threshold", "C9.chars=10"]);
    let rows = "SELECT p.row_idx FROM findings f JOIN pairs p ON f.pair_id = p.pair_id";
    assert_eq!(column(&case, rows), ["0"]);
}

#[test]
fn a_format_bias_of_few_pairs_is_no_warning() {
    // McNemar: of d pairs with a list on one side only, all in chosen, d > 1.96·√d from d = 4 on.
    let with_list = ["- one\n- two", "one, two"];
    for (d, level) in [(3, "info"), (4, "warn")] {
        let prompts: Vec<String> = (0..d).map(|at| format!("Question {at}?")).collect();
        let pairs: Vec<[&str; 3]> =
            prompts.iter().map(|prompt| [prompt.as_str(), with_list[0], with_list[1]]).collect();
        let want = format!("data {level} lists: in 100.0 % of chosen and 0.0 % of rejected");
        check(&case(&pairs), "D3", &[want.as_str()]);
    }
}

#[test]
fn ties_count_as_one_half() {
    // The same answers have the same log-prob and length.
    let case = case(&[["One?", "A cat.", "A cat."]]);
    let outcome = audit(&case, ["--check", "I1,I2"]);
    let want = "prefers chosen in 50.0 % by sum and 50.0 % per token, chosen is longer in 50.0 %";
    assert_eq!(outcome.stdout.matches(want).count(), 2, "{outcome}");
}

#[test]
fn a_tie_of_scores_is_information_and_an_inversion_a_warning() {
    let line = |(at, chosen, rejected): (usize, f64, f64)| {
        json!({"prompt": format!("{at}?"), "chosen": "a", "rejected": "b", "score_chosen": chosen, "score_rejected": rejected})
            .to_string()
    };
    let case = of_lines(&[(0, 5.0, 5.0), (1, 1.0, 9.0), (2, 9.0, 1.0)].map(line));
    check(&case, "F1", &["0 info a tie: both have 5.0", "1 warn inverted: chosen has 1.0, rejected 9.0"]);
}

#[test]
fn what_dpo_will_hardly_flip_is_one_line() {
    let case = case(&[["One?", "A cat.", "So it is."], ["One?", "So it is.", "A cat."], ["Two?", "A cat.", "A cat."]]);
    // Every pair that is ranked wrongly needs a loss below ln 2 = 0.6931…; of the first two pairs one is.
    let outcome = audit(&case, ["--check", "E2", "--threshold", "E2.loss=0.6932"]);
    let want = "1 of 3 pairs, 33.3 %, are ranked right at beta 0.1 only below a loss of 0.6932";
    assert!(outcome.stdout.contains(want), "{outcome}");
    assert_eq!(column(&case, "SELECT count(*) FROM findings WHERE pair_id IS NULL"), ["1"]);
}

#[test]
fn short_answers_have_no_mean_worth_a_look() {
    let line = |at: usize| {
        let (chosen, rejected) = ("a ".repeat(at + 1), "so it is ".repeat(at + 1));
        json!({"prompt": format!("{at}?"), "chosen": chosen, "rejected": rejected, "score_chosen": 9, "score_rejected": 1})
            .to_string()
    };
    let case = of_lines(&(0..8).map(line).collect::<Vec<_>>());
    let all = ["E3.z=0.001", "E5.quantile=0.5", "E5.margin=-100", "F2.margin=-100", "H1.share=1"];
    let count = |tokens: u32| {
        let floors = ["E3", "E5", "F2", "H1"].map(|id| format!("{id}.tokens={tokens}"));
        let numbers = all.into_iter().chain(floors.iter().map(String::as_str));
        let arguments = numbers.flat_map(|number| ["--threshold", number]);
        audit(&case, ["--check", "E3,E5,F2,H1"].into_iter().chain(arguments));
        column(&case, "SELECT DISTINCT \"check\" FROM findings ORDER BY 1")
    };
    assert_eq!(count(1), ["E3", "E5", "F2", "H1"]);
    assert_eq!(count(1000), Vec::<String>::new());
}
