//! What Ballista logs, as talk of this program.

use std::sync::OnceLock;

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Says a line on standard error.
type Say = Box<dyn Fn(&str) + Send + Sync>;

static SAY: OnceLock<Say> = OnceLock::new();

/// Crates whose warnings somebody who runs a cluster should see.
const SPEAKERS: [&str; 4] = ["ballista", "datafusion", "tonic", "h2"];

struct Talk;

impl Log for Talk {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        metadata.level() <= Level::Warn && SPEAKERS.iter().any(|name| target.starts_with(name))
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata())
            && let Some(say) = SAY.get()
        {
            let level = if record.level() == Level::Error { "error" } else { "warning" };
            say(&format!("{level} of {}: {}", record.target(), record.args()));
        }
    }

    fn flush(&self) {}
}

/// From now on warnings and errors of Ballista are said by `say`; the first caller decides.
pub fn install_log(say: impl Fn(&str) + Send + Sync + 'static) {
    if SAY.set(Box::new(say)).is_ok() && log::set_logger(&Talk).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_of_the_engine_are_heard_and_nothing_else() {
        let is_heard = |level, target| Talk.enabled(&Metadata::builder().level(level).target(target).build());
        assert!(is_heard(Level::Warn, "ballista_scheduler::state"));
        assert!(is_heard(Level::Error, "ballista_executor::executor_server"));
        assert!(!is_heard(Level::Info, "ballista_scheduler::state"));
        assert!(!is_heard(Level::Error, "tokenizers"));
    }
}
