//! Python's numbers: integers without end, floats, and booleans that count.

use std::cmp::Ordering;
use std::rc::Rc;

use num_bigint::BigInt;

use super::ast::Operator;
use super::failure::{Outcome, failed};
use super::fuel::Fuel;
use super::value::Value;

/// Integers below this are floats without loss.
const EXACT: i64 = 1 << 53;

impl Value {
    /// An integer, small or large.
    pub(super) fn integer(value: BigInt) -> Self {
        match i64::try_from(&value) {
            Ok(small) => Self::Int(small),
            Err(_) => Self::Big(Rc::new(value)),
        }
    }

    /// The value as an integer, if it is one; booleans are.
    pub(super) fn as_big(&self) -> Option<BigInt> {
        match self {
            Self::Bool(value) => Some(BigInt::from(i64::from(*value))),
            Self::Int(value) => Some(BigInt::from(*value)),
            Self::Big(value) => Some((**value).clone()),
            _ => None,
        }
    }

    /// The value as a small integer; what is larger is cut to the largest.
    pub(super) fn as_index(&self) -> Option<i64> {
        match self {
            Self::Bool(value) => Some(i64::from(*value)),
            Self::Int(value) => Some(*value),
            Self::Big(value) => Some(if is_negative(value) { i64::MIN } else { i64::MAX }),
            _ => None,
        }
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Bool(_) | Self::Int(_) | Self::Big(_) | Self::Float(_))
    }

    /// A number as a float.
    pub(super) fn to_float(&self) -> Outcome<f64> {
        match self {
            Self::Bool(value) => Ok(f64::from(u8::from(*value))),
            #[expect(clippy::cast_precision_loss, reason = "Python rounds to the nearest, too")]
            Self::Int(value) => Ok(*value as f64),
            Self::Big(value) => match value.to_string().parse::<f64>() {
                Ok(float) if float.is_finite() => Ok(float),
                _ => failed("int too large to convert to float"),
            },
            Self::Float(value) => Ok(*value),
            _ => failed(format!("expected a number, found `{}`", self.type_name())),
        }
    }
}

fn is_negative(value: &BigInt) -> bool {
    value.sign() == num_bigint::Sign::Minus
}

/// The integer part of a float, as `int()` gives it.
pub(super) fn truncated(value: f64) -> Outcome<Value> {
    if value.is_nan() {
        return failed("cannot convert float NaN to integer");
    }
    if value.is_infinite() {
        return failed("cannot convert float infinity to integer");
    }
    Ok(integral(value.trunc()))
}

/// A float without a fraction as an integer.
fn integral(value: f64) -> Value {
    format!("{value:.0}").parse::<BigInt>().map_or(Value::Int(0), Value::integer)
}

/// `repr` of a float.
pub(super) fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf".into() } else { "-inf".into() };
    }
    // The shortest digits that read back, as in Python.
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// Order of two numbers; `None` with a NaN, and for what is no number.
pub(super) fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Float(left), Value::Float(right)) => left.partial_cmp(right),
        (Value::Float(left), _) => compare_float(*left, &right.as_big()?),
        (_, Value::Float(right)) => compare_float(*right, &left.as_big()?).map(Ordering::reverse),
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        _ => Some(left.as_big()?.cmp(&right.as_big()?)),
    }
}

fn compare_float(left: f64, right: &BigInt) -> Option<Ordering> {
    if left.is_nan() {
        return None;
    }
    if left.is_infinite() {
        return Some(if left > 0.0 { Ordering::Greater } else { Ordering::Less });
    }
    let whole = integral(left.trunc()).as_big()?;
    Some(whole.cmp(right).then_with(|| left.fract().partial_cmp(&0.0).unwrap_or(Ordering::Equal)))
}

/// An operation on two numbers.
pub(super) fn operate(operator: Operator, left: &Value, right: &Value, fuel: &Fuel) -> Outcome<Value> {
    if let (Some(a), Some(b)) = (small(left), small(right))
        && let Some(value) = small_operation(operator, a, b)
    {
        return Ok(value);
    }
    if let (Some(a), Some(b)) = (left.as_big(), right.as_big()) {
        return big_operation(operator, &a, &b, fuel);
    }
    float_operation(operator, left.to_float()?, right.to_float()?).map(Value::Float)
}

fn small(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(value) => Some(i64::from(*value)),
        Value::Int(value) => Some(*value),
        _ => None,
    }
}

/// The result where both numbers and it are small.
fn small_operation(operator: Operator, a: i64, b: i64) -> Option<Value> {
    match operator {
        Operator::Add => a.checked_add(b),
        Operator::Sub => a.checked_sub(b),
        Operator::Mul => a.checked_mul(b),
        Operator::FloorDiv if b > 0 => a.checked_div_euclid(b),
        Operator::Mod if b > 0 => a.checked_rem_euclid(b),
        _ => None,
    }
    .map(Value::Int)
}

fn big_operation(operator: Operator, a: &BigInt, b: &BigInt, fuel: &Fuel) -> Outcome<Value> {
    fuel.bytes((a.bits() + b.bits()) / 8)?;
    let zero = BigInt::from(0);
    match operator {
        Operator::Add => Ok(Value::integer(a + b)),
        Operator::Sub => Ok(Value::integer(a - b)),
        Operator::Mul => {
            fuel.spend(1 + (a.bits() / 64).saturating_mul(b.bits() / 64))?;
            Ok(Value::integer(a * b))
        }
        Operator::Div if *b == zero => failed("division by zero"),
        Operator::FloorDiv | Operator::Mod if *b == zero => failed("integer division or modulo by zero"),
        Operator::Div => true_division(a, b).map(Value::Float),
        Operator::FloorDiv | Operator::Mod => {
            fuel.spend(1 + (a.bits() / 64).saturating_mul(b.bits() / 64))?;
            let (mut quotient, mut rest) = (a / b, a % b);
            if rest != zero && is_negative(&rest) != is_negative(b) {
                quotient -= 1;
                rest += b;
            }
            Ok(Value::integer(if operator == Operator::Mod { rest } else { quotient }))
        }
        Operator::Pow if is_negative(b) => {
            let (base, exponent) = (Value::integer(a.clone()).to_float()?, Value::integer(b.clone()).to_float()?);
            power(base, exponent).map(Value::Float)
        }
        Operator::Pow => {
            let exponent = u32::try_from(b).unwrap_or(u32::MAX);
            let is_tiny = a.bits() <= 1;
            if !is_tiny {
                let words = a.bits().saturating_mul(u64::from(exponent)) / 64;
                fuel.bytes(words.saturating_mul(8))?;
                fuel.spend(words.saturating_mul(words))?;
            }
            // Of 0, 1 and -1 only whether the exponent is odd matters.
            let exponent = if is_tiny && exponent > 2 { 2 - exponent % 2 } else { exponent };
            Ok(Value::integer(a.pow(exponent)))
        }
    }
}

/// The float next to a / b.
fn true_division(a: &BigInt, b: &BigInt) -> Outcome<f64> {
    if let (Ok(a), Ok(b)) = (i64::try_from(a), i64::try_from(b))
        && a.checked_abs().is_some_and(|a| a <= EXACT)
        && b.checked_abs().is_some_and(|b| b <= EXACT)
    {
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        return Ok(a as f64 / b as f64);
    }
    let negative = is_negative(a) != is_negative(b);
    let (a, b) = (a.magnitude(), b.magnitude());
    // 62 bits of the quotient and one for what is left of it round as all of them would.
    let shift = 62 + b.bits().cast_signed() - a.bits().cast_signed();
    let bits = usize::try_from(shift.unsigned_abs()).unwrap_or(usize::MAX);
    let (a, b) = if shift >= 0 { (a << bits, b.clone()) } else { (a.clone(), b << bits) };
    let (quotient, rest) = (&a / &b, &a % &b);
    let quotient = u64::try_from(&quotient).unwrap_or(u64::MAX) << 1 | u64::from(rest.bits() > 0);
    let exponent = i32::try_from(-shift - 1).unwrap_or(i32::MAX);
    #[expect(clippy::cast_precision_loss, reason = "this is the one rounding")]
    let value = quotient as f64 * 2.0f64.powi(exponent);
    if value.is_infinite() || exponent > 1000 {
        return failed("integer division result too large for a float");
    }
    Ok(if negative { -value } else { value })
}

fn float_operation(operator: Operator, a: f64, b: f64) -> Outcome<f64> {
    match operator {
        Operator::Add => Ok(a + b),
        Operator::Sub => Ok(a - b),
        Operator::Mul => Ok(a * b),
        Operator::Div | Operator::FloorDiv | Operator::Mod if b == 0.0 => failed("float division by zero"),
        Operator::Div => Ok(a / b),
        Operator::FloorDiv => Ok(floor_and_rest(a, b).0),
        Operator::Mod => Ok(floor_and_rest(a, b).1),
        Operator::Pow => power(a, b),
    }
}

/// `divmod` of floats, step by step as CPython has it.
fn floor_and_rest(a: f64, b: f64) -> (f64, f64) {
    let mut rest = a % b;
    let mut quotient = (a - rest) / b;
    if rest == 0.0 {
        rest = 0.0f64.copysign(b);
    } else if (b < 0.0) != (rest < 0.0) {
        rest += b;
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return (0.0f64.copysign(a / b), rest);
    }
    let mut floor = quotient.floor();
    if quotient - floor > 0.5 {
        floor += 1.0;
    }
    (floor, rest)
}

fn power(a: f64, b: f64) -> Outcome<f64> {
    if a == 0.0 && b < 0.0 {
        return failed("0.0 cannot be raised to a negative power");
    }
    if a < 0.0 && a.is_finite() && b.is_finite() && b.fract() != 0.0 {
        return failed("complex numbers are not supported");
    }
    let value = a.powf(b);
    if value.is_infinite() && a.is_finite() && b.is_finite() {
        return failed("Result too large");
    }
    Ok(value)
}

/// `round(value, digits)` of a number, which stays what it is.
pub(super) fn round(value: &Value, digits: i64, fuel: &Fuel) -> Outcome<Value> {
    if let Value::Float(float) = value {
        return Ok(Value::Float(round_float(*float, digits)));
    }
    let Some(whole) = value.as_big() else {
        return failed(format!("type `{}` has no rounding", value.type_name()));
    };
    if digits >= 0 {
        return Ok(Value::integer(whole));
    }
    if digits < -400 {
        return Ok(Value::Int(0));
    }
    let unit = BigInt::from(10).pow(u32::try_from(-digits).unwrap_or(u32::MAX));
    let quotient = big_operation(Operator::FloorDiv, &whole, &unit, fuel)?.as_big().unwrap_or_default();
    let rest = &whole - &quotient * &unit;
    let twice = &rest * 2;
    let is_odd = quotient.bit(0);
    let up = twice > unit || (twice == unit && is_odd);
    Ok(Value::integer((quotient + i32::from(up)) * unit))
}

fn round_float(value: f64, digits: i64) -> f64 {
    if !value.is_finite() || digits > 323 {
        return value;
    }
    if digits < -308 {
        return 0.0f64.copysign(value);
    }
    if let Ok(digits) = usize::try_from(digits) {
        // Written with so many digits from its exact value, halves to even, and read again: what CPython does.
        return format!("{value:.digits$}").parse().unwrap_or(value);
    }
    let text = format!("{value:.0}");
    let unit = 10f64.powi(i32::try_from(-digits).unwrap_or(308));
    if value.fract() == 0.0 && text.len() < 16 {
        (value / unit).round_ties_even() * unit
    } else {
        (value / unit).round() * unit
    }
}

/// Digits of any script as those of ASCII.
fn with_ascii_digits(text: &str) -> String {
    let is_decimal = |code: u32| char::from_u32(code).is_some_and(super::text::is_decimal);
    let ascii = |c: char| {
        if c.is_ascii() || !super::text::is_decimal(c) {
            return c;
        }
        // Digits stand ten by ten, from zero on.
        let code = u32::from(c);
        let first = (0..code).rev().take_while(|code| is_decimal(*code)).last().unwrap_or(code);
        char::from_digit((code - first) % 10, 10).unwrap_or(c)
    };
    text.chars().map(ascii).collect()
}

/// `float(text)`.
pub(super) fn parse_float(text: &str) -> Option<f64> {
    let text = &with_ascii_digits(text);
    let text = without_underscores(super::text::strip(text, None, true, true))?;
    let lower = text.to_ascii_lowercase();
    let word = lower.trim_start_matches(['+', '-']);
    if matches!(word, "inf" | "infinity" | "nan") && lower.len() - word.len() <= 1 {
        let value = if word == "nan" { f64::NAN } else { f64::INFINITY };
        return Some(if lower.starts_with('-') { -value } else { value });
    }
    if !lower.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'+' | b'-')) {
        return None;
    }
    lower.parse().ok()
}

/// `int(text, base)`.
pub(super) fn parse_int(text: &str, base: i64) -> Option<BigInt> {
    let text = with_ascii_digits(super::text::strip(text, None, true, true)).to_ascii_lowercase();
    let (negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text.as_str()),
    };
    let prefixed = [("0x", 16), ("0o", 8), ("0b", 2)].into_iter().find_map(|(prefix, radix)| {
        let rest = digits.strip_prefix(prefix).filter(|_| base == radix || base == 0)?;
        Some((rest.strip_prefix('_').unwrap_or(rest), radix))
    });
    let (digits, radix) = match prefixed {
        Some(found) => found,
        None if base == 0 && digits.starts_with('0') && digits.bytes().any(|byte| !matches!(byte, b'0' | b'_')) => {
            return None;
        }
        None => (digits, if base == 0 { 10 } else { base }),
    };
    let radix = u32::try_from(radix).ok().filter(|radix| (2..=36).contains(radix))?;
    let digits = without_underscores(digits)?;
    if !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let value = BigInt::parse_bytes(digits.as_bytes(), radix)?;
    Some(if negative { -value } else { value })
}

/// Digits without the underscores that may stand between two of them.
fn without_underscores(text: &str) -> Option<String> {
    if text.is_empty() || text.starts_with('_') || text.ends_with('_') || text.contains("__") {
        return None;
    }
    Some(text.replace('_', ""))
}
