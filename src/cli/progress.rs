//! How far a stage is: a bar on a terminal, otherwise a line now and then, nothing when told to be quiet.

use std::fmt::Display;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::printer::Data;
use super::{Printer, Verbosity};
use crate::visible;

/// Time between two lines where there is no bar.
const INTERVAL: Duration = Duration::from_secs(10);

/// The display of one stage's progress; owns the terminal's last line while it lives.
pub(crate) struct Progress<'a> {
    printer: &'a mut Printer,
    shown: Shown,
    began: Instant,
    /// Units that were done when the work began.
    done_before: u64,
}

enum Shown {
    Silent,
    Lines { said: Instant },
    Bar(ProgressBar),
}

/// How far a stage is, in its own unit of work.
pub(crate) struct Position<'a> {
    /// Units done.
    pub(crate) done: u64,
    /// Units in all.
    pub(crate) total: u64,
    /// What stands beside the bar.
    pub(crate) text: &'a str,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(printer: &'a mut Printer) -> Self {
        let shown = match printer.verbosity() {
            Verbosity::Quiet => Shown::Silent,
            Verbosity::Normal if Printer::is_terminal() => Shown::Bar(bar()),
            Verbosity::Normal => Shown::Lines { said: Instant::now() },
        };
        Self { printer, shown, began: Instant::now(), done_before: 0 }
    }

    /// One that says lines on a terminal too: for work that writes unfinished lines to standard output.
    pub(crate) fn without_bar(printer: &'a mut Printer) -> Self {
        let shown = match printer.verbosity() {
            Verbosity::Quiet => Shown::Silent,
            Verbosity::Normal => Shown::Lines { said: Instant::now() },
        };
        Self { printer, shown, began: Instant::now(), done_before: 0 }
    }

    /// Counts time and units from here: what came before was preparation, or an earlier run.
    pub(crate) fn begin(&mut self, done: u64) {
        self.began = Instant::now();
        self.done_before = done;
    }

    /// Units a second since the beginning, and the time the rest will take at that rate.
    pub(crate) fn pace(&self, done: u64, total: u64) -> (f64, Duration) {
        pace(done.saturating_sub(self.done_before), total.saturating_sub(done), self.began.elapsed())
    }

    /// Says a line above the bar.
    pub(crate) fn note(&mut self, line: impl Display) {
        let printer = &mut *self.printer;
        match &mut self.shown {
            Shown::Bar(bar) => bar.suspend(|| printer.note(line)),
            Shown::Silent => {}
            Shown::Lines { said } => {
                *said = Instant::now();
                printer.note(line);
            }
        }
    }

    /// Says a line above the bar, also to those who want to hear of errors only.
    pub(crate) fn error(&mut self, line: impl Display) {
        let printer = &mut *self.printer;
        match &self.shown {
            Shown::Bar(bar) => bar.suspend(|| printer.error(line)),
            Shown::Silent | Shown::Lines { .. } => printer.error(line),
        }
    }

    /// Writes to standard output, the bar out of the way.
    pub(crate) fn data<T>(&mut self, write: impl FnOnce(&mut Data<'_>) -> T) -> T {
        let printer = &mut *self.printer;
        match &self.shown {
            Shown::Bar(bar) => bar.suspend(|| write(&mut printer.data())),
            Shown::Silent | Shown::Lines { .. } => write(&mut printer.data()),
        }
    }

    /// Moves the bar, or says a line if the last one is a while ago.
    pub(crate) fn advance(&mut self, position: &Position<'_>) {
        match &mut self.shown {
            Shown::Silent => {}
            Shown::Bar(bar) => {
                bar.set_length(position.total);
                bar.set_position(position.done);
                bar.set_message(visible::line(position.text).into_owned());
            }
            Shown::Lines { said } => {
                if said.elapsed() >= INTERVAL {
                    *said = Instant::now();
                    self.printer.note(position.text);
                }
            }
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn bar() -> ProgressBar {
    // How much there is to do is not known yet; of nothing to do, the bar would be full.
    let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{bar:8} {wide_msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// `1 h 02 min`, `3 min 05 s`, `12 s`.
pub(crate) fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs() + u64::from(duration.subsec_millis() >= 500);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min {:02} s", seconds % 60),
        _ => format!("{hours} h {minutes:02} min"),
    }
}

fn pace(done: u64, left: u64, elapsed: Duration) -> (f64, Duration) {
    let seconds = elapsed.as_secs_f64();
    let rate = if seconds > 0.0 { done as f64 / seconds } else { 0.0 };
    let left = if rate > 0.0 { left as f64 / rate } else { 0.0 };
    (rate, Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_a_clock() {
        for (seconds, want) in [(0.2, "0 s"), (12.5, "13 s"), (185.0, "3 min 05 s"), (3725.0, "1 h 02 min")] {
            assert_eq!(clock(Duration::from_secs_f64(seconds)), want);
        }
    }

    #[test]
    fn a_stage_that_has_not_begun_has_no_pace() {
        assert_eq!(pace(0, 10, Duration::ZERO), (0.0, Duration::ZERO));
        assert_eq!(pace(5, 15, Duration::from_secs(1)), (5.0, Duration::from_secs(3)));
    }
}
