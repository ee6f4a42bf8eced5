//! The example manifests under `pipelines/cluster/`: they parse, say what they have to, and every command in them is one
//! that the program knows.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use piref::cli::Cli;
use serde_json::{Value, json};

use super::yaml;
use super::{case, files};

const SLURM: &str = "pipelines/cluster/slurm.sbatch";
const KUBERNETES: &str = "pipelines/cluster/kubernetes.yaml";

#[track_caller]
fn is_command(words: &[String]) {
    let parsed = Cli::parse_from(words.iter().map(OsString::from));
    assert!(parsed.is_ok(), "{words:?}: {}", parsed.unwrap_err());
}

/// The commands of ours that are spelt out in the text of a file, comments included, as words.
fn commands(text: &str) -> Vec<Vec<String>> {
    let words = |rest: &str| -> Vec<String> {
        let words = rest.split(['"', '\n']).next().unwrap_or_default().split_whitespace();
        ["piref", "precompute"].into_iter().chain(words).map(str::to_owned).collect()
    };
    let commands = text.split("piref precompute ").skip(1).map(words);
    // The script's own command has the pipeline file in a variable.
    commands.filter(|words| words.len() > 2).collect()
}

#[test]
fn the_commands_in_the_comments_of_the_slurm_script_are_known() {
    let found = commands(&fs::read_to_string(SLURM).unwrap());
    assert!(found.iter().any(|words| words.contains(&"--finish".to_owned())), "{found:?}");
    for words in &found {
        is_command(words);
    }
}

#[test]
fn the_slurm_script_is_a_script_of_bash() {
    let output = Command::new("bash").arg("-n").arg(SLURM).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(SLURM).unwrap();
    let directives: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("#SBATCH --")).collect();
    let array = directives.iter().find_map(|line| line.strip_prefix("array=0-")).unwrap();
    let n_shards = array.parse::<usize>().unwrap() + 1;
    assert!(text.contains(&format!("--shard auto/{n_shards} ")), "the array has {n_shards} tasks");
    let is_opened = text.lines().skip(1).take_while(|line| line.starts_with('#')).count();
    assert!(text.lines().take(is_opened + 1).filter(|line| line.starts_with("#SBATCH")).count() == directives.len());
}

/// The script itself, run as Slurm runs it, task by task; then the command in its first lines.
#[test]
#[cfg(unix)]
fn the_slurm_script_makes_a_table() {
    let single = case();
    single.run(["precompute", "p.toml"]).success();
    let case = case();
    let bin = case.path().join("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_piref"), bin.join("piref")).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(SLURM);
    // There are fewer parts than tasks: some have nothing to do, which is no error.
    for id in 0..16 {
        let output = Command::new("bash")
            .arg(&script)
            .arg("p.toml")
            .current_dir(case.path())
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .env("SLURM_ARRAY_TASK_ID", id.to_string())
            .env("SLURM_CPUS_PER_TASK", "2")
            .output()
            .unwrap();
        assert!(output.status.success(), "task {id}: {}", String::from_utf8_lossy(&output.stderr));
    }
    case.run(["precompute", "p.toml", "--finish"]).success();
    let table = |folder: &Path| files(&folder.join("runs/shards/reference"));
    assert!(table(case.path()) == table(single.path()), "the table has other bytes");
}

#[test]
fn the_kubernetes_manifest_says_what_an_indexed_job_needs() {
    let documents = yaml::documents(&fs::read_to_string(KUBERNETES).unwrap()).unwrap();
    let kinds: Vec<&Value> = documents.iter().map(|document| &document["kind"]).collect();
    assert_eq!(kinds, ["PersistentVolumeClaim", "Job", "Job"]);
    let [claim, score, finish] = documents.as_slice() else { panic!("{kinds:?}") };
    assert_eq!(
        (&claim["apiVersion"], &score["apiVersion"], &finish["apiVersion"]),
        (&json!("v1"), &json!("batch/v1"), &json!("batch/v1"))
    );
    assert_eq!(claim["spec"]["accessModes"], json!(["ReadWriteMany"]), "pods on several nodes write into it");

    let spec = &score["spec"];
    let n_shards = spec["completions"].as_u64().unwrap();
    assert_eq!(spec["completionMode"], "Indexed");
    assert!(spec["parallelism"].as_u64().unwrap() <= n_shards);
    // What backoffLimitPerIndex and podFailurePolicy ask for.
    assert!(spec["backoffLimitPerIndex"].as_u64().unwrap() > 0);
    assert_eq!(spec["template"]["spec"]["restartPolicy"], "Never");
    let rule = &spec["podFailurePolicy"]["rules"][1]["onExitCodes"];
    assert_eq!((&rule["operator"], &rule["values"]), (&json!("In"), &json!([2])), "the exit code of wrong usage");

    for (job, last) in [(score, format!("auto/{n_shards}")), (finish, "--finish".to_owned())] {
        let pod = &job["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let words: Vec<String> = ["command", "args"]
            .iter()
            .flat_map(|key| container[*key].as_array().unwrap())
            .map(|word| word.as_str().unwrap().to_owned())
            .collect();
        assert_eq!(words.last(), Some(&last));
        is_command(&words);
        assert_eq!(pod["volumes"][0]["persistentVolumeClaim"]["claimName"], claim["metadata"]["name"]);
        assert_eq!(container["volumeMounts"][0]["mountPath"], container["workingDir"]);
        assert_eq!(rule["containerName"], container["name"]);
    }
    // `kubectl apply -l` takes the documents of a stage.
    let stages = documents.iter().map(|document| document["metadata"]["labels"]["piref/stage"].as_str().unwrap());
    assert_eq!(stages.collect::<Vec<_>>(), ["score", "score", "finish"]);
}
