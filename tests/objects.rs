//! Tables and data under `s3://`, by the program, over connections that break.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::support::s3_server::{Fault, S3Server};
use crate::support::{Case, Outcome};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny");
const PAIRS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/pairs/standard.jsonl");
const DATA: &str = "s3://b/data/pairs.jsonl";

/// Runs piref on the machine of this name: with a cache of its own.
fn run(case: &Case, server: &S3Server, machine: &str, arguments: &[&str]) -> Outcome {
    let mut command = case.command(arguments.iter().copied());
    command.envs(server.environment()).env("PIREF_CACHE_DIR", case.path().join(machine));
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let outcome = Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) };
    assert!(!outcome.to_string().contains("not-to-be-told"), "{outcome}");
    outcome
}

fn precompute<'a>(data: &'a str, out: &'a str) -> Vec<&'a str> {
    let of_table = ["--data", data, "--out", out, "--rows-per-part", "16", "--output-format", "json"];
    ["precompute", "--model", MODEL].into_iter().chain(of_table).collect()
}

/// A server with the pairs, and the table of them in the folder `local`.
fn scored() -> (Case, S3Server, BTreeMap<String, Vec<u8>>) {
    let (case, server) = (Case::new(), S3Server::start());
    server.put("data/pairs.jsonl", &fs::read(PAIRS).unwrap());
    run(&case, &server, "cache", &precompute(DATA, "local")).success();
    let files = files(&case.path().join("local"));
    (case, server, files)
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

fn names(files: &BTreeMap<String, Vec<u8>>) -> Vec<&str> {
    files.keys().map(String::as_str).collect()
}

#[test]
fn a_table_survives_every_fault_with_the_same_bytes() {
    let (case, server, local) = scored();
    server.set_faults(|request| match (request.index % 7, request.method) {
        (1, _) => Some(Fault::Status(503)),
        (2, "PUT") => Some(Fault::LostAnswer),
        (3, _) => Some(Fault::Cut),
        _ => None,
    });
    run(&case, &server, "faults", &precompute(DATA, "s3://b/table")).success();
    let there = server.under("table");
    assert_eq!(names(&there), names(&local));
    assert!(there == local);

    server.set_faults(|request| (request.method == "GET" && request.index % 2 == 0).then_some(Fault::CutHalf));
    let verified = run(&case, &server, "reader", &["verify", "s3://b/table", "--data", DATA]).success();
    assert!(verified.stdout.contains("nothing found"), "{verified}");
    let query = "SELECT count(*) AS n FROM 's3://b/table'";
    let counted = run(&case, &server, "reader", &["sql", "-c", query, "--format", "csv"]).success();
    assert_eq!(counted.stdout, "n\n42\n");
    // What is in the cache is asked for by its manifest alone.
    server.set_faults(|_| None);
    run(&case, &server, "reader", &["inspect", "s3://b/table"]).success();
    assert_eq!(server.log(), ["GET table/manifest.json"]);
}

#[test]
fn an_interrupted_table_goes_on_elsewhere_and_a_finished_one_is_left_alone() {
    let (case, server, local) = scored();
    // As a run leaves it that was killed after its first part, 21 minutes ago.
    for name in ["part-00000.parquet", "signals-00000.parquet"] {
        server.put(&format!("table/{name}"), &local[name]);
    }
    let resumed = run(&case, &server, "elsewhere", &precompute(DATA, "s3://b/table")).success();
    assert!(resumed.stdout.contains("\"n_resumed\": 16"), "{resumed}");
    assert!(server.under("table") == local);
    assert!(!server.log().iter().any(|request| request == "PUT table/part-00000.parquet"));

    server.set_faults(|_| None);
    let again = run(&case, &server, "third", &precompute(DATA, "s3://b/table")).success();
    assert!(again.stdout.contains("\"n_scored\": 0"), "{again}");
    let puts: Vec<String> = server.log().into_iter().filter(|request| request.starts_with("PUT")).collect();
    assert_eq!(puts, ["PUT table/.piref.lease"]);
    assert!(server.under("table") == local);
}

#[test]
fn a_table_that_another_run_writes_is_not_touched() {
    let (case, server, _) = scored();
    let lease = br#"{"who":"process 1 on another machine","token":"t","n_renewals":3}"#;
    server.put("table/.piref.lease", lease);
    let refused = run(&case, &server, "cache", &precompute(DATA, "s3://b/table"));
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("another run writes there: process 1 on another machine"), "{refused}");
    let there = server.under("table");
    assert!(names(&there) == [".piref.lease"] && there[".piref.lease"] == lease);
}

#[test]
fn a_refusal_names_the_object_the_status_and_what_to_do() {
    let (case, server, _) = scored();
    server.set_faults(|_| Some(Fault::Status(403)));
    let refused = run(&case, &server, "cache", &["verify", "s3://b/table"]);
    assert_eq!(refused.code, Some(1), "{refused}");
    for words in
        ["`s3://b/table/manifest.json`", "status 403", "Told: as the test says", "tried once", "AWS_ACCESS_KEY_ID"]
    {
        assert!(refused.stderr.contains(words), "{words}: {refused}");
    }
    server.set_faults(|_| None);
    let missing = run(&case, &server, "cache", &["train", "--model", MODEL, "--table", "s3://b/none", "--out", "run"]);
    assert!(missing.stderr.contains("`s3://b/none/manifest.json` does not exist"), "{missing}");
}

#[test]
fn a_file_url_is_a_path() {
    let case = Case::new().file("a b.jsonl", &fs::read_to_string(PAIRS).unwrap());
    let url = |name: &str| format!("file://{}/{name}", case.path().display());
    case.run(precompute(&url("a%20b.jsonl"), &url("table"))).success();
    assert!(case.path().join("table/manifest.json").is_file());
    case.run(["verify", &url("table")]).success();
}
