//! Floats that are no numbers, which JSON lacks, by the names that Python's `json` and Arrow's reader of JSON have for them.

/// The names.
pub(crate) const NAMES: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// The float of a name.
pub(crate) fn value(name: &str) -> Option<f64> {
    let at = NAMES.iter().position(|known| *known == name)?;
    [f64::NAN, f64::INFINITY, f64::NEG_INFINITY].get(at).copied()
}

/// The name of a float; none of a number.
pub(crate) fn name(value: f64) -> Option<&'static str> {
    let [nan, infinite, negative] = NAMES;
    match value {
        value if value.is_finite() => None,
        value if value.is_nan() => Some(nan),
        value => Some(if value > 0.0 { infinite } else { negative }),
    }
}
