//! Memory of this process and of the machine, as the system counts it.

use std::path::Path;

use crate::io;

/// Most memory this process has held at once, in bytes; `None` where the system does not say.
pub fn peak_bytes() -> Option<u64> {
    field("/proc/self/status", "VmHWM:")
}

/// Memory this process may still take, in bytes: what is free or can be freed, within the limit of its control group.
/// `None` where the system does not say.
pub fn available_bytes() -> Option<u64> {
    let machine = field("/proc/meminfo", "MemAvailable:")?;
    let number = |path: &str| io::read_text(Path::new(path)).ok()?.trim().parse::<u64>().ok();
    let group = match (number("/sys/fs/cgroup/memory.max"), number("/sys/fs/cgroup/memory.current")) {
        (Some(limit), Some(used)) => limit.saturating_sub(used),
        _ => u64::MAX,
    };
    Some(machine.min(group))
}

/// A line `NAME  NUMBER kB` of a file of the system.
fn field(path: &str, name: &str) -> Option<u64> {
    let text = io::read_text(Path::new(path)).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1024 * kilobytes)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_system_says_how_much_there_is() {
        assert!(peak_bytes().unwrap() > 1 << 20);
        assert!(available_bytes().unwrap() > 1 << 20);
    }
}
