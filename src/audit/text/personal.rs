//! Strings that look like personal data or secrets. Counted, never shown: a report on such data must not spread it.
//!
//! Shapes, not proofs; card and account numbers have their check digits verified. Addresses and names reserved for
//! examples (RFC 2606, RFC 5737) do not count.

use std::net::Ipv4Addr;

use regex::Regex;

/// What a match of a shape must be besides.
type Proof = fn(&str) -> bool;

/// What is looked for: its name, its shape and the proof.
const KINDS: &[(&str, &str, Proof)] = &[
    ("mail address", r"(?i)\b[a-z0-9._%+-]+@[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,24}\b", is_real_address),
    // In groups, and international, with an area code in brackets or as the North American three, three and four: bare
    // digits are anything.
    (
        "phone number",
        r"\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{2,4}(?:[ .-]\d{2,8}){1,4}\b|\(\d{3}\) ?\d{3}-\d{4}\b|\b\d{3}[-.]\d{3}[-.]\d{4}\b",
        has_7_digits,
    ),
    ("card number", r"\b(?:\d{4}[ -]){3}\d{4}\b|\b\d{15,16}\b|\b3[47]\d{2}[ -]\d{6}[ -]\d{5}\b", is_card),
    ("bank account (IBAN)", r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", is_iban),
    ("US social security number", r"\b\d{3}-\d{2}-\d{4}\b", is_ssn),
    ("public IPv4 address", r"\b\d{1,3}(?:\.\d{1,3}){3}\b", is_public_ip),
    (
        "key or token",
        r"\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36,}\b|\bgithub_pat_[A-Za-z0-9_]{40,}\b|\bhf_[A-Za-z0-9]{30,}\b|\bsk-[A-Za-z0-9_-]{20,}\b|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAIza[0-9A-Za-z_-]{35}\b|-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
        always,
    ),
];

/// The shapes, compiled.
pub struct Personal(Vec<(&'static str, Regex, Proof)>);

/// A kind of string and how often a text has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// What it looks like.
    pub kind: &'static str,
    /// How often.
    pub n: usize,
}

impl Personal {
    /// Compiles the shapes.
    ///
    /// # Errors
    /// If one is none: a mistake here.
    pub fn new() -> Result<Self, regex::Error> {
        let compiled = KINDS.iter().map(|&(kind, shape, is_one)| Ok((kind, Regex::new(shape)?, is_one)));
        compiled.collect::<Result<_, _>>().map(Self)
    }

    /// How many of each kind a text has, in a fixed order, without those of which it has none. Time is linear in the
    /// text.
    pub fn counts(&self, text: &str) -> Vec<Count> {
        let count = |(kind, shape, is_one): &(&'static str, Regex, Proof)| {
            let n = shape.find_iter(text).filter(|found| is_one(found.as_str())).count();
            (n > 0).then_some(Count { kind, n })
        };
        self.0.iter().filter_map(count).collect()
    }
}

fn always(_: &str) -> bool {
    true
}

fn is_real_address(found: &str) -> bool {
    let domain = found.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    let (_, top) = domain.rsplit_once('.').unwrap_or_default();
    let is_example = ["example.com", "example.org", "example.net", "email.com"]
        .iter()
        .any(|example| domain == *example || domain.ends_with(&format!(".{example}")));
    !is_example && !["example", "test", "invalid", "localhost"].contains(&top)
}

fn digits(found: &str) -> Vec<u32> {
    found.chars().filter_map(|c| c.to_digit(10)).collect()
}

fn has_7_digits(found: &str) -> bool {
    digits(found).len() >= 7
}

/// ISO/IEC 7812: the issuer's digit first, with a check digit by Luhn's formula; of the lengths that are issued widely.
fn is_card(found: &str) -> bool {
    let digits = digits(found);
    let doubled = |digit: u32| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, &digit)| if at.is_multiple_of(2) { digit } else { doubled(digit) })
        .sum();
    matches!(digits.len(), 15 | 16) && matches!(digits[0], 2..=6) && sum.is_multiple_of(10)
}

/// ISO 13616: with the first four characters last and letters as numbers from 10, it is 1 modulo 97.
fn is_iban(found: &str) -> bool {
    let compact: String = found.chars().filter(|c| !c.is_whitespace()).collect();
    if !(15..=34).contains(&compact.len()) {
        return false;
    }
    let (head, tail) = compact.split_at(4);
    let numbers = tail.chars().chain(head.chars()).filter_map(|c| c.to_digit(36));
    let append = |rest: u32, number: u32| {
        let shift = if number > 9 { 100 } else { 10 };
        (rest * shift + number) % 97
    };
    numbers.fold(0, append) == 1
}

/// Area, group and serial as they are given out: no zeros, no 666, nothing from 900 on.
fn is_ssn(found: &str) -> bool {
    let parts: Vec<&str> = found.split('-').collect();
    !matches!(parts[0], "000" | "666") && !parts[0].starts_with('9') && parts[1] != "00" && parts[2] != "0000"
}

fn is_public_ip(found: &str) -> bool {
    let is_public = |ip: Ipv4Addr| {
        let is_local = ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.octets()[0] == 0;
        !(is_local || ip.is_documentation() || ip.is_broadcast() || ip.is_multicast())
    };
    // Versions and sections look like addresses: they have small numbers.
    found.parse().is_ok_and(|ip: Ipv4Addr| is_public(ip) && ip.octets().iter().any(|&octet| octet > 30))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &[(&str, usize)]) {
        let found = Personal::new().unwrap().counts(text);
        assert_eq!(found.iter().map(|count| (count.kind, count.n)).collect::<Vec<_>>(), want, "{text:?}");
    }

    #[test]
    fn what_looks_personal_is_counted() {
        check("Write to jane.doe+x@mail.uni-jena.de or to JOE@ACME.COM.", &[("mail address", 2)]);
        check("Call +49 30 901820 or (212) 736-5000.", &[("phone number", 2)]);
        check("212-736-5000, 212.736.5000", &[("phone number", 2)]);
        // The card numbers of processors' test suites: check digits hold.
        check("4111 1111 1111 1111, 5555555555554444, 3782 822463 10005", &[("card number", 3)]);
        // The example of the standard's registry.
        check("GB82 WEST 1234 5698 7654 32 and DE89370400440532013000", &[("bank account (IBAN)", 2)]);
        check("SSN 219-09-9999", &[("US social security number", 1)]);
        check("ping 8.8.4.4 or 185.199.108.153", &[("public IPv4 address", 1)]);
        check(&format!("AKIA{} hf_{}", "A1".repeat(8), "x".repeat(34)), &[("key or token", 2)]);
        check("-----BEGIN RSA PRIVATE KEY-----", &[("key or token", 1)]);
    }

    #[test]
    fn what_only_has_the_shape_is_not() {
        for text in [
            "",
            "me@example.com, you@mail.example.org, it@host.test, john.doe@email.com",
            "212-736-50001, 1212-736-5000, 2127365000, 212 736 5000, 12-31-2026",
            "4111 1111 1111 1112, 1646615806005, 2001 2002 2003 2004",
            "GB82 WEST 1234 5698 7654 33",
            "000-12-3456, 666-12-3456, 901-12-3456, 219-00-9999",
            "127.0.0.1, 10.1.2.33, 192.168.1.77, 192.0.2.44, 1.2.3.4, 999.1.1.1",
            "In 1984 there were 1,000,000 of 12.5 % and @home",
        ] {
            check(text, &[]);
        }
    }
}
