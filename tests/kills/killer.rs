//! Two ways to kill a process: at a moment of the clock, and before a call that changes files.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::support::Case;

/// What changes files, in the names of Linux.
const CALLS: &str = "?open,openat,?creat,write,pwrite64,writev,ftruncate,fsync,fdatasync,?rename,renameat,renameat2,?unlink,\
                     unlinkat,?mkdir,mkdirat,?rmdir,linkat,?link,?chmod,fchmod,fchmodat,flock,sendfile,copy_file_range";

/// When a process is killed.
#[derive(Debug)]
pub(super) enum Killer {
    /// At a moment drawn from the time the command needs.
    AtMoment(Duration),
    /// Before one of these: the n-th of a call that changes files, in a thread. strace counts so.
    AtCall(Vec<(String, u64)>),
}

impl Killer {
    /// One by the calls of this command, which is run to its end for it.
    pub(super) fn of_calls(case: &Case, command: &[&str]) -> Self {
        let log = case.path().join("calls");
        let mut traced = traced(case, command, &["-o", log.to_str().unwrap()]);
        let output = traced.output().expect("`make kills` needs strace");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        let calls = calls(&log);
        std::fs::remove_file(log).unwrap();
        Self::AtCall(calls)
    }

    /// Starts the command, and kills it.
    pub(super) fn start(&self, case: &Case, command: &[&str], rng: &mut ChaCha8Rng) -> Child {
        match self {
            Self::AtMoment(duration) => {
                let mut child = piped(&mut case.command(command.iter().copied()));
                std::thread::sleep(duration.mul_f64(rng.random_range(0.0..1.0)));
                child.kill().unwrap();
                child
            }
            Self::AtCall(calls) => {
                let (call, n) = &calls[rng.random_range(..calls.len())];
                let inject = format!("inject={call}:signal=KILL:when={n}");
                piped(&mut traced(case, command, &["-o", "/dev/null", "-e", &inject]))
            }
        }
    }
}

impl fmt::Display for Killer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMoment(duration) => write!(f, "at moments of {duration:?}"),
            Self::AtCall(calls) => write!(f, "before one of {} calls", calls.len()),
        }
    }
}

/// Output that nobody reads must not fill a pipe: what is said on standard error is little.
pub(super) fn piped(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The command under strace, in the same folder and environment.
fn traced(case: &Case, command: &[&str], options: &[&str]) -> Command {
    let piref = case.command(command.iter().copied());
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-e", &format!("trace={CALLS}")]);
    traced.args(options).arg(piref.get_program()).args(piref.get_args()).current_dir(case.path());
    traced.env_clear().envs(piref.get_envs().filter_map(|(name, value)| Some((name, value?))));
    traced.env("PATH", "/usr/local/bin:/usr/bin:/bin");
    traced
}

/// Each place a run can be killed at: every call by its name, counted in the thread that makes most of them.
fn calls(log: &Path) -> Vec<(String, u64)> {
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap()).into_owned();
    let mut n_by_thread: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else { continue };
        let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
        *n_by_thread.entry((call, thread)).or_default() += 1;
    }
    let mut most: BTreeMap<&str, u64> = BTreeMap::new();
    for ((call, _), n) in n_by_thread {
        let most = most.entry(call).or_default();
        *most = (*most).max(n);
    }
    most.into_iter().flat_map(|(call, n)| (1..=n).map(move |n| (call.to_owned(), n))).collect()
}
