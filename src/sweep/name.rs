//! Names of runs, made of their settings: the same settings have the same name in every sweep.

use crate::digest::Digest;
use crate::pipeline::{Override, short_key, value_text};

/// The longest name; file systems take some more.
const LONGEST: usize = 120;

/// Digits of the digest that stands for what a name cannot say.
const DIGITS: usize = 8;

/// A name of letters, digits, `-`, `_` and `.`: `beta-0.1_loss_type-ipo`. `given` is a name of the user's for the
/// settings it stands for.
pub(super) fn name(given: Option<&str>, settings: &[Override]) -> String {
    let parts = settings.iter().map(|setting| format!("{}-{}", short_key(&setting.key), value_text(&setting.value)));
    let said: Vec<String> = given.map(str::to_owned).into_iter().chain(parts).collect();
    let said = if said.is_empty() { "unchanged".to_owned() } else { said.join("_") };
    let is_allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = said.chars().map(|c| if is_allowed(c) { c } else { '-' }).collect();
    // The comma of a list is the one character whose place a `-` takes without another meaning.
    let is_told = said.chars().all(|c| is_allowed(c) || c == ',') && name.len() <= LONGEST;
    if is_told {
        return name;
    }
    let digest: String = Digest::of(said.as_bytes()).to_string().chars().take(DIGITS).collect();
    let mut kept = String::new();
    for c in name.chars() {
        if kept.len() + c.len_utf8() + 1 + DIGITS > LONGEST {
            break;
        }
        kept.push(c);
    }
    format!("{kept}-{digest}")
}
