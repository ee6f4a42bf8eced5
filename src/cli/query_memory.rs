//! The memory of a query, as a flag.

use bytesize::ByteSize;

use crate::memory;

/// Less than this a sort cannot work with.
const LEAST_MEMORY: ByteSize = ByteSize::mib(16);

/// What the queries of a session may hold.
#[derive(Debug, clap::Args)]
pub(super) struct QueryMemory {
    /// Memory that sorts, groups and joins may hold together, as in `2GB`; what is more goes to files in `TMPDIR`.
    /// Default: three quarters of what is free.
    #[arg(long, value_name = "SIZE", value_parser = memory_limit)]
    memory_limit: Option<ByteSize>,
}

impl QueryMemory {
    /// So many bytes; `None` where none were named and the system does not say how many are free.
    pub(super) fn bytes(&self) -> Option<u64> {
        let free = || memory::available_bytes().map(|free| (free / 4 * 3).max(LEAST_MEMORY.as_u64()));
        self.memory_limit.map(|limit| limit.as_u64()).or_else(free)
    }
}

fn memory_limit(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse()?;
    if size < LEAST_MEMORY { Err(format!("expected at least {LEAST_MEMORY}, found {size}")) } else { Ok(size) }
}
