//! The page and the SARIF file of `piref audit`, from the table to the markup.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Case, Outcome};

/// Model with random weights: what it says of a text means nothing.
const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny");

/// Rows 1 and 3 have the same answers, row 2 an empty one.
const PAIRS: &str = r#"{"prompt": "Name a colour.", "chosen": "Blue is one.", "rejected": "A stone."}
{"prompt": "Name an animal.", "chosen": "A cat. ", "rejected": "A cat."}
{"prompt": "Name a river.", "chosen": "The Nile.", "rejected": " "}
{"prompt": "Name a tree.", "chosen": "An oak.", "rejected": "An oak."}
"#;

/// A case with a table of these pairs, from a file of this name.
fn case_of(file: &str, pairs: &str) -> Case {
    let case = Case::new().file(file, pairs);
    case.run(["precompute", "--model", TINY, "--data", file, "--out", "run/reference", "-q"]).success();
    case
}

/// Audits the run of a case; returns the page.
fn page<'a>(case: &Case, arguments: impl IntoIterator<Item = &'a str>) -> String {
    audit(case, arguments).success();
    read(case, "run/audit.html")
}

fn audit<'a>(case: &Case, arguments: impl IntoIterator<Item = &'a str>) -> Outcome {
    case.run(["audit", "run"].into_iter().chain(arguments))
}

fn read(case: &Case, name: &str) -> String {
    fs::read_to_string(case.path().join(name)).unwrap()
}

/// The elements of a page, checked to be closed in turn: name and attributes as they stand.
#[track_caller]
fn elements(html: &str) -> Vec<(&str, &str)> {
    let (mut open, mut found) = (Vec::new(), Vec::new());
    for tag in html.split('<').skip(1).map(|rest| rest.split_once('>').unwrap().0) {
        let (name, attributes) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
        if let Some(name) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "in <{tag}>");
            continue;
        }
        found.push((name, attributes));
        if !(tag.ends_with('/') || ["meta", "!doctype"].contains(&name)) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
    found
}

/// Names of the attributes in the markup of an element, the values left out.
fn attribute_names(attributes: &str) -> Vec<&str> {
    // Every value is in double quotes, which no value has inside.
    let outside = attributes.split('"').step_by(2);
    outside.flat_map(str::split_whitespace).filter_map(|name| name.strip_suffix('=')).collect()
}

/// Every element and attribute is one of ours, and no link leads away.
#[track_caller]
fn check_inert(html: &str) {
    let known = [
        "!doctype",
        "a",
        "article",
        "body",
        "circle",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "figcaption",
        "figure",
        "footer",
        "g",
        "h1",
        "h2",
        "h3",
        "h4",
        "head",
        "header",
        "html",
        "i",
        "li",
        "main",
        "meta",
        "nav",
        "p",
        "path",
        "pre",
        "rect",
        "section",
        "span",
        "style",
        "summary",
        "svg",
        "table",
        "tbody",
        "td",
        "text",
        "th",
        "thead",
        "title",
        "tr",
        "ul",
    ];
    for (name, attributes) in elements(html) {
        assert!(known.contains(&name), "<{name} {attributes}>");
        for attribute in attribute_names(attributes) {
            assert!(
                !attribute.starts_with("on") && !["src", "style", "xlink:href"].contains(&attribute),
                "{attributes}"
            );
        }
        if name == "a" {
            assert!(attributes.contains("href=\"#"), "{attributes}");
        }
    }
    assert!(html.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""));
    for loading in ["@import", "url(", "<script", "<link", "<img"] {
        assert!(!html.contains(loading), "{loading}");
    }
}

/// Text as it was before it was escaped.
fn unescaped(markup: &str) -> String {
    let marks = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#x27;", "'"),
        ("&#x2f;", "/"),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ];
    marks.into_iter().fold(markup.to_owned(), |text, (escaped, mark)| text.replace(escaped, mark))
}

#[test]
fn what_the_data_say_is_text() {
    let hostile =
        "</style></title></p><script>alert(1)</script>\"'><img src=x onerror=alert(2)> [a](javascript:alert(3))";
    // Scores inside a column of a hostile name: the page says where it found them.
    let scores = json!({ "score_chosen": 1, "score_rejected": 2, "note": hostile });
    let row = |prompt: &str, answer: &str| {
        let row =
            json!({ "prompt": prompt, "chosen": answer, "rejected": answer, "<img src=x onerror=alert(5)>": scores });
        row.to_string() + "\n"
    };
    let bidi = format!("user\u{202e}{hostile}\0\u{1b}[2J");
    // A second source, so that the names of sources are shown; each of its pairs has the same answers, as of the first.
    let case = Case::new()
        .file("\"><img src=x onerror=alert(4)>.jsonl", &(row(hostile, &hostile.repeat(40)) + &row("b", &bidi)))
        .file("b.jsonl", &row(&bidi, hostile))
        .file(
            "mine/x.sql",
            &format!(
                "-- id = '''\"><script>x'''\n-- level = \"warn\"\n-- title = '''{hostile}'''\n-- question = '''{hostile}'''\n\
                 -- formula = '''{hostile}'''\n-- source = '''{hostile}'''\n-- advice = '''{hostile}'''\n\
                 SELECT pair_id, concat(source, prompt) AS evidence FROM audited -- {hostile}\n"
            )
            .replace("\"'>", "\">"),
        );
    let sources = ["--data", "\"><img src=x onerror=alert(4)>.jsonl", "--data", "b.jsonl"];
    let precompute = ["precompute", "--model", TINY, "--out", "run/reference", "-q"];
    case.run(precompute.into_iter().chain(sources)).success();
    let html = page(&case, ["--checks", "mine"]);
    check_inert(&html);
    let text = unescaped(&html);
    for shown in [
        "<script>alert(1)</script>",
        "onerror=alert(2)>",
        "onerror=alert(4)>.jsonl",
        "\"><script>x",
        "onerror=alert(5)>.score_chosen",
    ] {
        assert!(text.contains(shown), "`{shown}` is not shown at all");
    }
    assert!(html.contains("user⟨U+202E⟩") && html.contains("␀␛[2J"));
    assert!(!html.contains(['\u{202e}', '\0', '\u{1b}']));
    // The source that a browser could take for markup has figures of its own.
    assert!(html.contains("id=\"source-1\"") && html.contains("id=\"source-2\""));
}

#[test]
fn every_check_has_one_row_and_those_with_findings_a_section() {
    let case = case_of("pairs.jsonl", PAIRS);
    let html = page(&case, []);
    check_inert(&html);
    let listed = case.run(["audit", "--list", "--output-format", "json"]).success();
    let infos: Vec<Value> = serde_json::from_str(&listed.stdout).unwrap();
    assert!(infos.len() > 30, "{}", infos.len());
    let summary = audit(&case, ["--output-format", "json"]).success();
    let summary: Value = serde_json::from_str(&summary.stdout).unwrap();
    let checks = summary["checks"].as_array().unwrap();
    assert_eq!(infos.len(), checks.len());
    let ids: BTreeSet<&str> = infos.iter().filter_map(|info| info["id"].as_str()).collect();
    let sections: BTreeSet<&str> =
        html.split("<section id=\"check-").skip(1).map(|rest| rest.split_once('"').unwrap().0).collect();
    for check in checks {
        let id = check["id"].as_str().unwrap();
        assert!(ids.contains(id));
        let row = |markup: String| html.matches(&markup).count();
        let plain = row(format!("<th scope=\"row\">{id}</th>"));
        let linked = row(format!("<th scope=\"row\"><a href=\"#check-{id}\">{id}</a></th>"));
        let has_found = check["n_findings"].as_array().unwrap().iter().any(|n| *n != 0);
        assert_eq!((plain, linked), if has_found { (0, 1) } else { (1, 0) }, "{id}");
        assert_eq!(sections.contains(id), has_found, "{id}");
    }
    // Links lead somewhere, and no place has two names.
    let mut places = BTreeSet::new();
    for (_, attributes) in elements(&html) {
        if let Some((_, rest)) = attributes.split_once("id=\"").filter(|(before, _)| before.is_empty()) {
            assert!(places.insert(rest.split_once('"').unwrap().0.to_owned()), "{attributes}");
        }
    }
    for link in html.split("href=\"#").skip(1).map(|rest| rest.split_once('"').unwrap().0) {
        assert!(places.contains(link), "{link}");
    }
}

#[test]
fn findings_are_shown_with_their_pairs_and_their_tokens() {
    let case = case_of("pairs.jsonl", PAIRS);
    let html = page(&case, ["--check", "B1"]);
    assert_eq!(html.matches("<article").count(), 2);
    assert!(html.contains("<dd dir=\"auto\">pairs.jsonl, row 1</dd>"), "{html}");
    assert!(html.contains("<dd dir=\"auto\">both answers are the same 6 characters</dd>"));
    assert!(html.contains("trim(chosen) = trim(rejected), or chosen_ids = rejected_ids"));
    // Of the tokens of both answers there are log-probs, and a line that names the least likely of them.
    assert!(html.contains("; least likely: `") && html.contains("abc</i> at least 50 %"));
    let tokens =
        elements(&html).into_iter().filter(|(name, attributes)| *name == "i" && attributes.contains("title=\"-"));
    assert!(tokens.count() >= 4);

    let one = page(&case, ["--check", "B1", "--examples", "1"]);
    assert_eq!(one.matches("<article").count(), 1);
    assert!(one.contains("1 of 2 findings are here."));
    assert_eq!(page(&case, ["--check", "B1", "--examples", "0"]).matches("<article").count(), 0);
}

#[test]
fn without_the_tokenizer_of_the_table_there_is_text() {
    let case = Case::new().file("pairs.jsonl", PAIRS);
    let model = case.path().join("model");
    fs::create_dir(&model).unwrap();
    for file in fs::read_dir(TINY).unwrap().map(|entry| entry.unwrap().path()) {
        fs::copy(&file, model.join(file.file_name().unwrap())).unwrap();
    }
    case.run(["precompute", "--model", "model", "--data", "pairs.jsonl", "--out", "run/reference", "-q"]).success();
    fs::remove_dir_all(&model).unwrap();
    let plain = page(&case, ["--check", "B1"]);
    assert!(plain.contains("Tokens are not shaded by their log-probs") && plain.contains(">A cat. </p>"), "{plain}");
    assert!(!plain.contains("<i "));
    let shaded = page(&case, ["--check", "B1", "--model", TINY]);
    assert!(!shaded.contains("Tokens are not shaded") && shaded.contains("<i "));
    let wrong = audit(&case, ["--check", "B1", "--model", "nowhere"]);
    assert!(wrong.code != Some(0) && wrong.stderr.contains("model `nowhere` not found"), "{wrong}");
}

#[test]
fn a_page_without_findings_says_so_and_why_checks_did_not_look() {
    let case = case_of("pairs.jsonl", PAIRS);
    let html = page(&case, ["--check", "A1,G1"]);
    check_inert(&html);
    assert!(html.contains("<th scope=\"row\">A1</th>") && html.contains("<td>nothing</td>"), "{html}");
    assert!(html.contains("<td>skipped: no second model is named: see `--reference`</td>"));
    assert!(!html.contains("<article") && !html.contains("id=\"check-"));
    for (name, value) in [("errors", "0"), ("checks", "2"), ("checks that could not look", "1")] {
        assert!(html.contains(&format!("<dt>{name}</dt><dd>{value}</dd>")), "{name}");
    }
    assert!(html.contains("id=\"distributions\"") && html.contains("id=\"length\""));
}

#[test]
fn ten_thousand_findings_make_a_small_page_that_says_how_to_see_them_all() {
    let check = "-- id = \"MANY\"\n-- level = \"warn\"\n-- title = \"many\"\n-- question = \"?\"\n-- formula = \"true\"\n\
                 -- source = \"here\"\n-- advice = \"none\"\n\
                 SELECT pair_id, value, concat('number ', value) AS evidence\n\
                 FROM audited CROSS JOIN (SELECT unnest(range(0, 2500)) AS value) ORDER BY row_idx, value\n";
    let case = case_of("pairs.jsonl", PAIRS).file("mine/many.sql", check);
    let html = page(&case, ["--checks", "mine", "--check", "MANY"]);
    check_inert(&html);
    assert_eq!(html.matches("<article").count(), 10);
    assert!(html.contains("10 of 10000 findings are here.") && html.contains("<td>10000 warnings</td>"));
    assert!(html.len() < 200_000, "{} bytes", html.len());

    // What the page says to type is what it says it is.
    let code = html.split("<pre").nth(1).unwrap().split_once('>').unwrap().1.split_once("</pre>").unwrap().0;
    let sql = format!("SELECT count(*) AS n FROM (\n{}\n)", unescaped(code));
    assert!(sql.contains("-- piref sql run/reference\n"), "{sql}");
    let counted = case.run(["sql", "run/reference", "--format", "csv", "-c", &sql]).success();
    assert_eq!(counted.stdout, "n\n10000\n", "{counted}");
}

#[test]
fn a_table_alone_has_a_page_where_it_is_told_to() {
    let case = case_of("pairs.jsonl", PAIRS);
    let table = ["audit", "run/reference", "--check", "B1"];
    let outcome = case.run(table).success();
    assert_eq!(outcome.stderr, "");
    assert!(!case.path().join("run/reference/audit.html").exists() && !case.path().join("run/audit.html").exists());
    let outcome = case.run(table.into_iter().chain(["--report", "here.html", "--examples", "1"])).success();
    assert_eq!(outcome.stderr, "page: here.html\n");
    assert!(read(&case, "here.html").contains("`piref audit --findings FILE` keeps all of them"));
    let again = read(&case, "here.html");
    case.run(table.into_iter().chain(["--report", "here.html", "--examples", "1"])).success();
    assert_eq!(read(&case, "here.html"), again, "the same table has the same page");
}

#[test]
fn a_run_that_was_audited_is_trained_in() {
    let case = case_of("pairs.jsonl", PAIRS);
    audit(&case, ["-q"]).success();
    assert!(case.path().join("run/findings.parquet").is_file() && case.path().join("run/audit.html").is_file());
    let train = ["train", "--model", TINY, "--table", "run/reference", "--out", "run", "--max-steps", "1", "-q"];
    case.run(train).success();
}

/// The members that SARIF 2.1.0 requires of what piref writes, and the words it allows: §3.13, 3.14, 3.18, 3.19, 3.20,
/// 3.27, 3.28, 3.29, 3.33, 3.49, 3.58.
#[track_caller]
fn check_sarif(log: &Value) {
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let driver = &run["tool"]["driver"];
    assert!(driver["name"].is_string());
    let is_level = |level: &Value| ["none", "note", "warning", "error"].iter().any(|known| level == known);
    let has_text = |message: &Value| message["text"].as_str().is_some_and(|text| !text.is_empty());
    let mut ids = BTreeSet::new();
    for rule in driver["rules"].as_array().unwrap() {
        assert!(ids.insert(rule["id"].as_str().unwrap()), "{rule}");
        assert!(["shortDescription", "fullDescription", "help"].iter().all(|name| has_text(&rule[name])), "{rule}");
        assert!(is_level(&rule["defaultConfiguration"]["level"]), "{rule}");
    }
    for result in run["results"].as_array().unwrap() {
        assert!(ids.contains(result["ruleId"].as_str().unwrap()), "{result}");
        assert!(is_level(&result["level"]) && has_text(&result["message"]), "{result}");
        for location in result["locations"].as_array().unwrap() {
            assert!(location["physicalLocation"]["artifactLocation"]["uri"].is_string(), "{result}");
            assert!(location["logicalLocations"][0]["name"].is_string(), "{result}");
        }
        let prints = result["partialFingerprints"].as_object().unwrap();
        assert!(prints.values().all(|print| print.as_str().is_some_and(|print| print.len() == 32)), "{result}");
    }
    for invocation in run["invocations"].as_array().unwrap() {
        assert_eq!(invocation["executionSuccessful"], true);
        for told in invocation["toolExecutionNotifications"].as_array().unwrap() {
            assert!(
                has_text(&told["message"]) && ids.contains(told["associatedRule"]["id"].as_str().unwrap()),
                "{told}"
            );
        }
    }
}

#[test]
fn sarif_has_a_rule_a_check_and_a_result_a_finding() {
    let case = case_of("pairs.jsonl", PAIRS);
    let log = |arguments: &[&str]| -> Value {
        audit(&case, ["-q", "--sarif", "found.sarif"].into_iter().chain(arguments.iter().copied())).success();
        serde_json::from_str(&read(&case, "found.sarif")).unwrap()
    };
    let all = log(&[]);
    check_sarif(&all);
    let run = &all["runs"][0];
    let summary = audit(&case, ["-q", "--output-format", "json"]).success();
    let summary: Value = serde_json::from_str(&summary.stdout).unwrap();
    let n_found = ["n_errors", "n_warnings", "n_infos"].iter().map(|name| summary[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!(run["results"].as_array().unwrap().len() as u64, n_found);
    assert_eq!(run["tool"]["driver"]["rules"].as_array().unwrap().len(), summary["checks"].as_array().unwrap().len());
    assert_eq!(run["properties"]["tableDigest"], summary["table_digest"]);

    let identical = log(&["--check", "B1"]);
    check_sarif(&identical);
    let results = identical["runs"][0]["results"].as_array().unwrap();
    let rows: Vec<&Value> = results
        .iter()
        .map(|result| {
            let location = &result["locations"][0];
            assert_eq!(location["physicalLocation"]["artifactLocation"]["uri"], "pairs.jsonl");
            &location["logicalLocations"][0]["properties"]["row_idx"]
        })
        .collect();
    assert_eq!(rows, [1, 3]);
    assert_eq!(results[0]["level"], "warning");
    let place = results[0]["locations"][0]["logicalLocations"][0]["fullyQualifiedName"].as_str().unwrap();
    assert!(place.starts_with("run/reference/pairs.jsonl/1/"), "{place}");

    let nothing = log(&["--check", "A1,G1"]);
    check_sarif(&nothing);
    assert_eq!(nothing["runs"][0]["results"], json!([]));
    let told = &nothing["runs"][0]["invocations"][0]["toolExecutionNotifications"];
    assert_eq!(told[0]["associatedRule"]["id"], "G1");
    assert!(!Path::new("found.sarif").exists());
}
