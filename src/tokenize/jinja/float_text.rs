//! Numbers by the codes `e`, `f`, `g` and `%`, as Python writes them.

use super::failure::{Outcome, failed};

/// Most digits after the point.
const MAX_PRECISION: usize = 1000;

/// How a float is written.
#[derive(Clone, Copy)]
pub(super) struct FloatStyle {
    /// `e`, `f` or `g`, in lower case.
    pub(super) code: char,
    pub(super) precision: usize,
    /// Zeros at the end of `g` are kept.
    pub(super) keeps_zeros: bool,
    /// `g` shows at least one digit after the point.
    pub(super) shows_point: bool,
}

/// Digits of a float without its sign.
pub(super) fn digits(value: f64, style: FloatStyle) -> Outcome<String> {
    let value = value.abs();
    if style.precision > MAX_PRECISION {
        return failed(format!("a precision of at most {MAX_PRECISION} is supported, found {}", style.precision));
    }
    if value.is_nan() {
        return Ok("nan".into());
    }
    if value.is_infinite() {
        return Ok("inf".into());
    }
    let precision = style.precision;
    Ok(match style.code {
        'f' => with_point(format!("{value:.precision$}"), style.keeps_zeros),
        'e' => scientific(value, precision, style.keeps_zeros),
        _ => {
            let precision = precision.max(1);
            let rounded = format!("{value:.*e}", precision - 1);
            let exponent: i64 = rounded.split_once('e').and_then(|(_, digits)| digits.parse().ok()).unwrap_or(0);
            let limit = i64::try_from(precision).unwrap_or(i64::MAX) - i64::from(style.shows_point);
            if exponent < -4 || exponent >= limit {
                let text = scientific(value, precision - 1, false);
                return Ok(if style.keeps_zeros { text } else { trimmed_mantissa(&text) });
            }
            let after_point = i64::try_from(precision).unwrap_or(i64::MAX) - 1 - exponent;
            let text = format!("{value:.*}", usize::try_from(after_point).unwrap_or(0));
            let text = if style.keeps_zeros { text } else { trimmed(&text).to_owned() };
            if style.shows_point { with_zero(text) } else { with_point(text, style.keeps_zeros) }
        }
    })
}

fn scientific(value: f64, precision: usize, keeps_point: bool) -> String {
    let text = format!("{value:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", with_point(mantissa.to_owned(), keeps_point), exponent.abs())
}

fn with_point(text: String, keeps_point: bool) -> String {
    if keeps_point && !text.contains('.') { text + "." } else { text }
}

fn with_zero(text: String) -> String {
    if text.contains('.') { text } else { text + ".0" }
}

fn trimmed(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

fn trimmed_mantissa(text: &str) -> String {
    match text.split_once('e') {
        Some((mantissa, exponent)) => format!("{}e{exponent}", trimmed(mantissa)),
        None => trimmed(text).to_owned(),
    }
}
