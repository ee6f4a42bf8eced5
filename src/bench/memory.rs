//! Memory of this process, as the system counts it.

use std::path::Path;

use crate::io;

/// Most memory this process has held at once, in bytes; `None` where the system does not say.
pub(super) fn peak_bytes() -> Option<u64> {
    let status = io::read_text(Path::new("/proc/self/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1024 * kilobytes)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn the_peak_is_more_than_nothing() {
        assert!(super::peak_bytes().unwrap() > 1 << 20);
    }
}
