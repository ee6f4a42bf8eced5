//! Standard output is data, standard error is talk.

use crate::support::Case;

#[test]
fn env_tells_versions_and_paths_as_text_and_as_json() {
    let case = Case::new();
    let text = case.run(["env"]).success();
    assert!(text.stdout.starts_with(&format!("piref: {}\n", env!("CARGO_PKG_VERSION"))), "{text}");
    assert!(text.stdout.contains("Hugging Face cache: [case]/cache\n"), "{text}");
    assert_eq!(text.stderr, "");

    let json: serde_json::Value =
        serde_json::from_str(&case.run(["env", "--output-format", "json"]).success().stdout).unwrap();
    assert_eq!(json["threads"], 2);
}

#[test]
fn threads_win_over_the_environment() {
    let json: serde_json::Value =
        serde_json::from_str(&Case::new().run(["--threads", "3", "env", "--output-format", "json"]).success().stdout)
            .unwrap();
    assert_eq!(json["threads"], 3);
}

#[test]
fn completions_know_the_subcommands_and_flags() {
    for shell in ["bash", "zsh", "fish"] {
        let script = Case::new().run(["completions", shell]).success();
        assert!(script.stdout.contains("precompute") && script.stdout.contains("learning-rate"), "{shell}");
        assert_eq!(script.stderr, "");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Case::new().command(["completions", "zsh"]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[test]
fn quiet_says_errors_all_the_same() {
    let outcome = Case::new().run(["--quiet", "train", "p.toml"]);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.starts_with("error: "), "{outcome}");
}

#[test]
fn the_version_is_data() {
    let outcome = Case::new().run(["--version"]).success();
    assert_eq!(outcome.stdout, format!("piref {}\n", env!("CARGO_PKG_VERSION")));
}
