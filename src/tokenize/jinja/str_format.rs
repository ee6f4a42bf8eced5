//! `str.format`, by the rules of `string.Formatter` inside of Jinja2's sandbox.

use std::sync::Arc;

use super::arguments::Given;
use super::failure::{Outcome, failed};
use super::float_text::{FloatStyle, digits};
use super::number::float_repr;
use super::value::Value;
use super::vm::Vm;
use super::{access, text};

/// Widest field.
const MAX_WIDTH: usize = 1 << 20;

const DIGITS: [char; 10] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'];

/// Which way fields are numbered.
#[derive(Default)]
struct Numbering {
    next: Option<usize>,
    by_hand: bool,
}

/// The text with its fields filled in.
pub(super) fn format(vm: &Vm<'_>, text: &str, given: &Given) -> Outcome<String> {
    fill(vm, text, given, &mut Numbering::default(), 3)
}

fn fill(vm: &Vm<'_>, text: &str, given: &Given, numbering: &mut Numbering, depth: usize) -> Outcome<String> {
    let Some(depth) = depth.checked_sub(1) else { return failed("max string recursion exceeded") };
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let mark = &rest[at..=at];
        rest = &rest[at + 1..];
        if rest.starts_with(mark) {
            out.push_str(mark);
            rest = &rest[1..];
            continue;
        }
        if mark == "}" {
            return failed("single '}' encountered in format string");
        }
        let Some(end) = field_end(rest) else { return failed("expected '}' before end of string") };
        let field = &rest[..end];
        rest = &rest[end + 1..];
        let (name, conversion, spec) = parts(field)?;
        let mut value = field_value(vm, name, given, numbering)?;
        match conversion {
            None => {}
            Some('s') => value = Value::Str(value.to_text(&vm.fuel)?),
            Some('r') => value = Value::text(value.to_repr(&vm.fuel)?),
            Some('a') => {
                let repr = value.to_repr(&vm.fuel)?;
                value = Value::text(value.as_str().map_or(repr, text::ascii));
            }
            Some(other) => return failed(format!("unknown conversion specifier `{other}`")),
        }
        let spec = fill(vm, spec, given, numbering, depth)?;
        let made = formatted(vm, &value, &spec)?;
        vm.fuel.length(made.len())?;
        out.push_str(&made);
    }
    out.push_str(rest);
    Ok(out)
}

/// Where a field ends, over the fields inside it.
fn field_end(text: &str) -> Option<usize> {
    let mut open = 0;
    let mut in_brackets = false;
    for (at, c) in text.char_indices() {
        match c {
            '[' if open == 0 => in_brackets = true,
            ']' => in_brackets = false,
            '{' if !in_brackets => open += 1,
            '}' if !in_brackets && open == 0 => return Some(at),
            '}' if !in_brackets => open -= 1,
            _ => {}
        }
    }
    None
}

/// Name, conversion and specification of a field.
fn parts(field: &str) -> Outcome<(&str, Option<char>, &str)> {
    let mut in_brackets = false;
    let end = field.find(|c| {
        in_brackets = (in_brackets || c == '[') && c != ']';
        !in_brackets && matches!(c, '!' | ':')
    });
    let Some(end) = end else { return Ok((field, None, "")) };
    let (name, rest) = field.split_at(end);
    if let Some(spec) = rest.strip_prefix(':') {
        return Ok((name, None, spec));
    }
    let mut chars = rest[1..].chars();
    let Some(conversion) = chars.next() else { return failed("end of string while looking for conversion specifier") };
    match chars.as_str() {
        "" => Ok((name, Some(conversion), "")),
        tail => match tail.strip_prefix(':') {
            Some(spec) => Ok((name, Some(conversion), spec)),
            None => failed("expected ':' after conversion specifier"),
        },
    }
}

fn field_value(vm: &Vm<'_>, name: &str, given: &Given, numbering: &mut Numbering) -> Outcome<Value> {
    let first_end = name.find(['.', '[']).unwrap_or(name.len());
    let (first, mut rest) = name.split_at(first_end);
    let index = if first.is_empty() {
        if numbering.by_hand {
            return failed("cannot switch from manual field specification to automatic field numbering");
        }
        let next = numbering.next.unwrap_or(0);
        numbering.next = Some(next + 1);
        Some(next)
    } else if first.bytes().all(|byte| byte.is_ascii_digit()) {
        if numbering.next.is_some() {
            return failed("cannot switch from automatic field numbering to manual field specification");
        }
        numbering.by_hand = true;
        first.parse().ok()
    } else {
        None
    };
    let found = match index {
        Some(index) => given.positional.get(index).cloned(),
        None => given.named.iter().find(|(known, _)| &**known == first).map(|(_, value)| value.clone()),
    };
    let Some(mut value) = found else { return failed(format!("`format`: no argument for the field `{{{name}}}`")) };
    while !rest.is_empty() {
        if let Some(attribute) = rest.strip_prefix('.') {
            let end = attribute.find(['.', '[']).unwrap_or(attribute.len());
            value = access::attribute(&value, &Arc::from(&attribute[..end]))?;
            rest = &attribute[end..];
        } else {
            let Some((key, tail)) = rest[1..].split_once(']') else { return failed("missing ']' in format string") };
            let key = key.parse::<i64>().map_or_else(|_| Value::text(key), Value::Int);
            value = access::item(&value, &key, &vm.fuel)?;
            rest = tail;
        }
    }
    Ok(value)
}

/// A parsed specification.
struct Spec {
    fill: Option<char>,
    align: Option<char>,
    sign: Option<char>,
    alternate: bool,
    zero: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    code: Option<char>,
}

fn parse_spec(spec: &str) -> Outcome<Spec> {
    let chars: Vec<char> = spec.chars().collect();
    let mut at = 0;
    let is_align = |c: Option<&char>| matches!(c, Some('<' | '>' | '=' | '^'));
    let (mut fill, mut align) = (None, None);
    if is_align(chars.get(1)) {
        (fill, align, at) = (chars.first().copied(), chars.get(1).copied(), 2);
    } else if is_align(chars.first()) {
        (align, at) = (chars.first().copied(), 1);
    }
    let mut take = |wanted: &[char]| {
        let found = chars.get(at).copied().filter(|c| wanted.contains(c));
        at += usize::from(found.is_some());
        found
    };
    let sign = take(&['+', '-', ' ']);
    if take(&['z']).is_some() {
        return failed("the format option `z` is not supported");
    }
    let alternate = take(&['#']).is_some();
    let zero = take(&['0']).is_some();
    let number = |take: &mut dyn FnMut(&[char]) -> Option<char>| {
        let mut found = None;
        while let Some(digit) = take(&DIGITS).and_then(|c| c.to_digit(10)) {
            let digit = usize::try_from(digit).unwrap_or(0);
            found = Some(found.unwrap_or(0usize).saturating_mul(10).saturating_add(digit));
        }
        found
    };
    let width = number(&mut take).unwrap_or(0);
    let grouping = take(&[',', '_']);
    let precision = if take(&['.']).is_some() {
        match number(&mut take) {
            Some(precision) => Some(precision),
            None => return failed("format specifier missing precision"),
        }
    } else {
        None
    };
    let code = chars.get(at).copied();
    if chars.len() > at + 1 {
        return failed(format!("invalid format specifier `{spec}`"));
    }
    if width > MAX_WIDTH || precision.is_some_and(|precision| precision > MAX_WIDTH) {
        return failed("too wide a format");
    }
    Ok(Spec { fill, align, sign, alternate, zero, width, grouping, precision, code })
}

/// `format(value, spec)`.
fn formatted(vm: &Vm<'_>, value: &Value, spec: &str) -> Outcome<String> {
    if spec.is_empty() {
        return Ok(value.to_text(&vm.fuel)?.to_string());
    }
    if !value.is_number() && value.as_str().is_none() {
        return failed(format!("unsupported format string passed to {}.__format__", value.type_name()));
    }
    let spec = parse_spec(spec)?;
    let invalid = |what: &str| failed(format!("{what} not allowed in format specifier of `{}`", value.type_name()));
    if let Some(text) = value.as_str() {
        if spec.sign.is_some() {
            return invalid("sign");
        }
        if spec.alternate
            || spec.grouping.is_some()
            || spec.align == Some('=')
            || !matches!(spec.code, None | Some('s'))
        {
            return invalid("such a form is");
        }
        let cut: String = text.chars().take(spec.precision.unwrap_or(usize::MAX)).collect();
        return Ok(aligned("", &cut, &spec, '<'));
    }
    let is_float_code = matches!(spec.code, Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%'));
    if matches!(value, Value::Float(_)) || is_float_code {
        return float(value.to_float()?, &spec);
    }
    integer(value, &spec)
}

fn sign_of(negative: bool, spec: &Spec) -> &'static str {
    match (negative, spec.sign) {
        (true, _) => "-",
        (_, Some('+')) => "+",
        (_, Some(' ')) => " ",
        _ => "",
    }
}

fn integer(value: &Value, spec: &Spec) -> Outcome<String> {
    if spec.precision.is_some() {
        return failed("precision not allowed in integer format specifier");
    }
    let whole = value.as_big().unwrap_or_default();
    let (radix, prefix) = match spec.code {
        None | Some('d' | 'n') => (10, ""),
        Some('b') => (2, "0b"),
        Some('o') => (8, "0o"),
        Some('x') => (16, "0x"),
        Some('X') => (16, "0X"),
        Some('c') => {
            let c = u32::try_from(&whole).ok().and_then(char::from_u32);
            return match c {
                Some(c) => Ok(aligned("", &c.to_string(), spec, '<')),
                None => failed("%c arg not in range(0x110000)"),
            };
        }
        Some(code) => return failed(format!("unknown format code `{code}` for object of type `int`")),
    };
    let mut digits = whole.magnitude().to_str_radix(radix);
    if spec.code == Some('X') {
        digits = digits.to_uppercase();
    }
    let sign = sign_of(whole.sign() == num_bigint::Sign::Minus, spec);
    let head = [sign, if spec.alternate { prefix } else { "" }].concat();
    let group = if radix == 10 { 3 } else { 4 };
    if spec.grouping == Some(',') && radix != 10 {
        return failed("cannot specify `,` with this format code");
    }
    Ok(aligned(&head, &grouped(&digits, group, head.len(), spec), spec, '>'))
}

fn float(value: f64, spec: &Spec) -> Outcome<String> {
    let upper = matches!(spec.code, Some('E' | 'F' | 'G'));
    let style = |code: char, precision: usize, shows_point: bool| FloatStyle {
        code,
        precision,
        keeps_zeros: spec.alternate,
        shows_point,
    };
    let text = match (spec.code, spec.precision) {
        (None, None) => float_repr(value.abs()),
        (None, Some(precision)) => digits(value, style('g', precision, true))?,
        (Some('n'), precision) => digits(value, style('g', precision.unwrap_or(6), false))?,
        (Some('%'), precision) => digits(value * 100.0, style('f', precision.unwrap_or(6), false))? + "%",
        (Some(code @ ('e' | 'E' | 'f' | 'F' | 'g' | 'G')), precision) => {
            digits(value, style(code.to_ascii_lowercase(), precision.unwrap_or(6), false))?
        }
        (Some(code), _) => return failed(format!("unknown format code `{code}` for object of type `float`")),
    };
    let text = if upper { text.to_uppercase() } else { text };
    let sign = sign_of(value.is_sign_negative() && !value.is_nan(), spec);
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (whole, tail) = text.split_at(end);
    if whole.is_empty() {
        return Ok(aligned(sign, &text, spec, '>'));
    }
    let whole = grouped(whole, 3, sign.len() + tail.len(), spec);
    Ok(aligned(sign, &(whole + tail), spec, '>'))
}

/// Digits with separators, filled up with zeros to the width where zeros fill it.
fn grouped(digits: &str, group: usize, n_others: usize, spec: &Spec) -> String {
    let Some(separator) = spec.grouping else { return digits.to_owned() };
    let mut digits = digits.to_owned();
    let separated = |digits: &str| {
        let mut out = String::new();
        for (at, c) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(group) {
                out.push(separator);
            }
            out.push(c);
        }
        out
    };
    if spec.zero && spec.align.is_none() {
        while separated(&digits).len() + n_others < spec.width {
            digits.insert(0, '0');
        }
    }
    separated(&digits)
}

fn aligned(head: &str, text: &str, spec: &Spec, default: char) -> String {
    let length = head.chars().count() + text.chars().count();
    let missing = spec.width.saturating_sub(length);
    let fill = spec.fill.unwrap_or(if spec.zero { '0' } else { ' ' });
    let align = spec.align.unwrap_or(if spec.zero && default == '>' { '=' } else { default });
    let repeat = |n: usize| fill.to_string().repeat(n);
    match align {
        '<' => [head, text, &repeat(missing)].concat(),
        '^' => [repeat(missing / 2).as_str(), head, text, &repeat(missing - missing / 2)].concat(),
        '=' => [head, &repeat(missing), text].concat(),
        _ => [repeat(missing).as_str(), head, text].concat(),
    }
}
