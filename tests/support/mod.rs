//! What tests share.

mod case;
pub(crate) mod s3_server;
pub(crate) mod stages;

pub(crate) use case::{Case, Outcome};

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

/// Numbers recorded in `fixtures/golden/`.
pub(crate) fn golden<T: DeserializeOwned>(name: &str) -> T {
    let path = format!("fixtures/golden/{name}");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Waits until the file holds the text: the sign that a run is in the middle of its work.
pub(crate) fn wait_for(path: &Path, text: &str) {
    let began = Instant::now();
    while !fs::read_to_string(path).is_ok_and(|found| found.contains(text)) {
        assert!(began.elapsed() < Duration::from_mins(1), "`{}` never said `{text}`", path.display());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Compares two lists of numbers; prints the largest and the mean difference.
macro_rules! assert_close {
    ($got:expr, $want:expr, abs = $abs:expr $(, $($context:tt)+)?) => {{
        let (got, want): (Vec<f64>, Vec<f64>) = ($got.to_vec(), $want.to_vec());
        assert_eq!(got.len(), want.len(), "lengths differ");
        let deltas: Vec<f64> = got.iter().zip(&want).map(|(got, want)| (got - want).abs()).collect();
        let max = deltas.iter().copied().fold(0.0, f64::max);
        let mean = deltas.iter().sum::<f64>() / deltas.len().max(1) as f64;
        let context: &[String] = &[$(format!($($context)+))?];
        let context = context.concat();
        let sound = deltas.iter().all(|delta| *delta <= $abs);
        assert!(sound, "{context}: max |Δ| {max:e}, mean |Δ| {mean:e}, tolerance {:e}", $abs);
    }};
}
pub(crate) use assert_close;
