//! One run of the program in a folder of its own.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A folder and the program to run in it; nothing of the user's environment reaches either.
pub(crate) struct Case {
    folder: TempDir,
}

impl Case {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// The folder the program runs in.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Puts a file into the folder.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// Puts a pipeline file `p.toml` into the folder.
    pub(crate) fn pipeline(self, text: &str) -> Self {
        self.file("p.toml", text)
    }

    /// Runs `piref` with these arguments and nothing on standard input.
    pub(crate) fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Outcome {
        let output = self.command(arguments).output().unwrap();
        Outcome { code: output.status.code(), stdout: self.shown(&output.stdout), stderr: self.shown(&output.stderr) }
    }

    /// Runs `piref` with at most `megabytes` of address space, and not for longer than a minute.
    pub(crate) fn run_within<'a>(&self, megabytes: u64, arguments: impl IntoIterator<Item = &'a str>) -> Outcome {
        self.run_limited(&format!("ulimit -v {}", megabytes << 10), arguments)
    }

    /// Runs `piref` under what a command of the shell limits, and not for longer than a minute.
    pub(crate) fn run_limited<'a>(&self, limit: &str, arguments: impl IntoIterator<Item = &'a str>) -> Outcome {
        let piref = self.command(arguments);
        let limits = format!("{limit}; exec timeout 60 \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.arg("-c").arg(limits).arg(piref.get_program()).args(piref.get_args()).current_dir(self.path());
        command
            .env_clear()
            .envs(piref.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .stdin(Stdio::null());
        // Only for `timeout`; the program itself has no use for it.
        command.env("PATH", "/usr/bin:/bin");
        let output = command.output().unwrap();
        Outcome { code: output.status.code(), stdout: self.shown(&output.stdout), stderr: self.shown(&output.stderr) }
    }

    /// The command [`run`](Self::run) runs, for tests that do something else with its streams.
    pub(crate) fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_piref"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("HF_HUB_CACHE", self.path().join("cache"))
            .env("RAYON_NUM_THREADS", "2")
            .stdin(Stdio::null());
        command
    }

    /// Output with the paths of this machine replaced, and without the blanks clap leaves at the end of lines.
    fn shown(&self, bytes: &[u8]) -> String {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let text =
            text.replace(self.path().to_str().unwrap(), "[case]").replace(env!("CARGO_MANIFEST_DIR"), "[project]");
        text.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
    }
}

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// The outcome, if the program succeeded.
    #[track_caller]
    pub(crate) fn success(self) -> Self {
        assert_eq!(self.code, Some(0), "{self}");
        self
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => writeln!(f, "exit: {code}")?,
            None => writeln!(f, "exit: by a signal")?,
        }
        write!(f, "stdout:\n{}stderr:\n{}", self.stdout, self.stderr)
    }
}
