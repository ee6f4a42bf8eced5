//! `text % values`.

use super::calls::to_int;
use super::failure::{Outcome, failed};
use super::float_text::{FloatStyle, digits};
use super::fuel::Fuel;
use super::text;
use super::value::{Dict, Value};

/// Widest field.
const MAX_WIDTH: usize = 1 << 20;

/// What a conversion asks for.
#[derive(Default)]
struct Conversion {
    left: bool,
    plus: bool,
    space: bool,
    zero: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
}

/// Values not used up yet.
struct Values<'a> {
    items: std::collections::VecDeque<Value>,
    dict: Option<&'a Dict>,
}

impl Values<'_> {
    fn next(&mut self) -> Outcome<Value> {
        self.items.pop_front().map_or_else(|| failed("not enough arguments for format string"), Ok)
    }
}

/// The text with its conversions filled in.
pub(super) fn format(format: &str, values: &Value, fuel: &Fuel) -> Outcome<String> {
    let dict = match values {
        Value::Dict(dict) => Some(&**dict),
        _ => None,
    };
    let items = match values {
        Value::Tuple(items) | Value::Group(items) => items.iter().cloned().collect(),
        other => [other.clone()].into_iter().collect(),
    };
    let mut values_left = Values { items, dict };
    let mut used_keys = false;
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut from_key = None;
        if chars.peek() == Some(&'(') {
            chars.next();
            let mut key = String::new();
            let mut open = 1;
            for c in chars.by_ref() {
                open += i32::from(c == '(') - i32::from(c == ')');
                if open == 0 {
                    break;
                }
                key.push(c);
            }
            let Some(dict) = values_left.dict else { return failed("format requires a mapping") };
            let Some(value) = dict.get_name(&key) else { return failed(format!("key `{key}` is not in the mapping")) };
            from_key = Some(value.clone());
            used_keys = true;
        }
        let mut conversion = Conversion::default();
        while let Some(flag) = chars.peek() {
            match flag {
                '-' => conversion.left = true,
                '+' => conversion.plus = true,
                ' ' => conversion.space = true,
                '0' => conversion.zero = true,
                '#' => conversion.alternate = true,
                _ => break,
            }
            chars.next();
        }
        if chars.peek() == Some(&'*') {
            chars.next();
            let Some(width) = values_left.next()?.as_index() else { return failed("* wants int") };
            conversion.left |= width < 0;
            conversion.width = usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX);
        } else {
            conversion.width = number(&mut chars).unwrap_or(0);
        }
        if chars.peek() == Some(&'.') {
            chars.next();
            conversion.precision = Some(if chars.peek() == Some(&'*') {
                chars.next();
                let Some(precision) = values_left.next()?.as_index() else { return failed("* wants int") };
                usize::try_from(precision).unwrap_or(0)
            } else {
                number(&mut chars).unwrap_or(0)
            });
        }
        if conversion.width > MAX_WIDTH {
            return failed("width too big");
        }
        while matches!(chars.peek(), Some('h' | 'l' | 'L')) {
            chars.next();
        }
        let Some(code) = chars.next() else { return failed("incomplete format") };
        if code == '%' {
            out.push('%');
            continue;
        }
        let value = match from_key {
            Some(value) => value,
            None => values_left.next()?,
        };
        let text = converted(code, &value, &conversion, fuel)?;
        fuel.length(text.len())?;
        out.push_str(&text);
    }
    let is_mapping = matches!(values, Value::Dict(_) | Value::List(_));
    if !values_left.items.is_empty() && !used_keys && !is_mapping {
        return failed("not all arguments converted during string formatting");
    }
    Ok(out)
}

fn number(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut found = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        let digit = usize::try_from(digit).unwrap_or(0);
        found = Some(found.unwrap_or(0usize).saturating_mul(10).saturating_add(digit));
    }
    found
}

fn converted(code: char, value: &Value, conversion: &Conversion, fuel: &Fuel) -> Outcome<String> {
    let cut = |text: &str| match conversion.precision {
        Some(precision) => text.chars().take(precision).collect::<String>(),
        None => text.to_owned(),
    };
    match code {
        's' => Ok(padded("", "", &cut(&value.to_text(fuel)?), conversion, false)),
        'r' => Ok(padded("", "", &cut(&value.to_repr(fuel)?), conversion, false)),
        'a' => {
            let repr = value.to_repr(fuel)?;
            let ascii = if value.as_str().is_some() { text::ascii(value.as_str().unwrap_or_default()) } else { repr };
            Ok(padded("", "", &cut(&ascii), conversion, false))
        }
        'c' => {
            let text = match value.as_str() {
                Some(text) if text.chars().count() == 1 => text.to_owned(),
                Some(_) => return failed("%c requires an int or a unicode character"),
                None => match value.as_index().and_then(|code| u32::try_from(code).ok()).and_then(char::from_u32) {
                    Some(c) => c.to_string(),
                    None => return failed("%c requires an int or a unicode character"),
                },
            };
            Ok(padded("", "", &text, conversion, false))
        }
        'd' | 'i' | 'u' => {
            let Ok(whole) = to_int(value) else {
                return failed(format!("%{code} format: a real number is required, not {}", value.type_name()));
            };
            integer(&whole, 10, "", conversion)
        }
        'o' | 'x' | 'X' => {
            if matches!(value, Value::Float(_)) || !value.is_number() {
                return failed(format!("%{code} format: an integer is required, not {}", value.type_name()));
            }
            let (radix, prefix) = match code {
                'o' => (8, "0o"),
                'x' => (16, "0x"),
                _ => (16, "0X"),
            };
            let text = integer(value, radix, if conversion.alternate { prefix } else { "" }, conversion)?;
            Ok(if code == 'X' { text.to_uppercase() } else { text })
        }
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
            if !value.is_number() {
                value.defined()?;
                return failed(format!("must be real number, not {}", value.type_name()));
            }
            let float = value.to_float()?;
            let style = FloatStyle {
                code: code.to_ascii_lowercase(),
                precision: conversion.precision.unwrap_or(6),
                keeps_zeros: conversion.alternate,
                shows_point: false,
            };
            let digits = digits(float, style)?;
            let digits = if code.is_ascii_uppercase() { digits.to_uppercase() } else { digits };
            Ok(padded(
                sign(float.is_sign_negative() && !float.is_nan(), conversion),
                "",
                &digits,
                conversion,
                float.is_finite(),
            ))
        }
        _ => failed(format!("unsupported format character `{code}`")),
    }
}

fn sign(negative: bool, conversion: &Conversion) -> &'static str {
    match (negative, conversion.plus, conversion.space) {
        (true, ..) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    }
}

fn integer(value: &Value, radix: u32, prefix: &str, conversion: &Conversion) -> Outcome<String> {
    let whole = value.as_big().unwrap_or_default();
    let digits = whole.magnitude().to_str_radix(radix);
    let missing = conversion.precision.unwrap_or(0).saturating_sub(digits.len());
    if missing > MAX_WIDTH {
        return failed("precision too big");
    }
    let digits = "0".repeat(missing) + &digits;
    let negative = whole.sign() == num_bigint::Sign::Minus;
    Ok(padded(sign(negative, conversion), prefix, &digits, conversion, true))
}

fn padded(sign: &str, prefix: &str, text: &str, conversion: &Conversion, is_number: bool) -> String {
    let length = sign.len() + prefix.len() + text.chars().count();
    let missing = conversion.width.saturating_sub(length);
    if conversion.left {
        [sign, prefix, text, &" ".repeat(missing)].concat()
    } else if conversion.zero && is_number {
        [sign, prefix, &"0".repeat(missing), text].concat()
    } else {
        [&" ".repeat(missing), sign, prefix, text].concat()
    }
}
