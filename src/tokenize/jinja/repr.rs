//! What a value prints: `str()` and `repr()`.

use std::sync::Arc;

use super::failure::{Outcome, failed};
use super::fuel::Fuel;
use super::value::{Dict, Value, View};
use super::{number, text};

impl Value {
    /// `str()`.
    pub(super) fn to_text(&self, fuel: &Fuel) -> Outcome<Arc<str>> {
        match self {
            Self::Str(text) | Self::Markup(text) => Ok(text.clone()),
            Self::Undefined(_) => Ok("".into()),
            other => {
                let mut out = String::new();
                other.write_repr(&mut out, fuel)?;
                Ok(out.into())
            }
        }
    }

    /// `repr()`.
    pub(super) fn to_repr(&self, fuel: &Fuel) -> Outcome<String> {
        let mut out = String::new();
        self.write_repr(&mut out, fuel)?;
        Ok(out)
    }

    fn write_repr(&self, out: &mut String, fuel: &Fuel) -> Outcome<()> {
        let before = out.len();
        fuel.spend(1)?;
        match self {
            Self::Undefined(_) => out.push_str("Undefined"),
            Self::None => out.push_str("None"),
            Self::Bool(value) => out.push_str(if *value { "True" } else { "False" }),
            Self::Int(value) => out.push_str(&value.to_string()),
            Self::Big(value) => {
                // Decimal digits of a number with as many words cost their square.
                let words = value.bits() / 64;
                fuel.spend(words.saturating_mul(words))?;
                out.push_str(&value.to_string());
            }
            Self::Float(value) => out.push_str(&number::float_repr(*value)),
            Self::Str(value) => out.push_str(&text::repr(value)),
            Self::Markup(value) => {
                out.push_str("Markup(");
                out.push_str(&text::repr(value));
                out.push(')');
            }
            Self::List(items) => write_items(out, "[", items, "]", fuel)?,
            Self::Tuple(items) | Self::Group(items) => {
                write_items(out, "(", items, if items.len() == 1 { ",)" } else { ")" }, fuel)?;
            }
            Self::Dict(dict) => write_dict(out, dict, fuel)?,
            Self::View(view, _) => {
                out.push_str(match view {
                    View::Keys => "dict_keys(",
                    View::Values => "dict_values(",
                    View::Items => "dict_items(",
                });
                write_items(out, "[", &self.iterate(fuel)?, "])", fuel)?;
            }
            Self::Range(range) => {
                out.push_str(&format!("range({}, {}", range.start, range.stop));
                if range.step != 1 {
                    out.push_str(&format!(", {}", range.step));
                }
                out.push(')');
            }
            Self::Namespace(values) => {
                let Ok(values) = values.try_borrow() else { return failed("a namespace inside itself is not printed") };
                out.push_str("<Namespace ");
                fuel.deeper(|| write_dict(out, &values, fuel))?;
                out.push('>');
            }
            Self::Macro(value) => match &value.node.name {
                Some(name) => out.push_str(&format!("<Macro {}>", text::repr(name))),
                None => out.push_str("<Macro anonymous>"),
            },
            Self::Loop(state) => out.push_str(&format!("<LoopContext {}/{}>", state.index.get(), state.items.len())),
            Self::Generator(_) | Self::Cycler(_) | Self::Joiner(_) | Self::Function(_) | Self::Method(_) => {
                return failed(format!(
                    "a `{}` is printed, whose text would be an address in memory",
                    self.type_name()
                ));
            }
        }
        fuel.length(out.len() - before)
    }
}

fn write_items(out: &mut String, open: &str, items: &[Value], close: &str, fuel: &Fuel) -> Outcome<()> {
    out.push_str(open);
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        item.write_repr(out, fuel)?;
    }
    out.push_str(close);
    Ok(())
}

fn write_dict(out: &mut String, dict: &Dict, fuel: &Fuel) -> Outcome<()> {
    out.push('{');
    for (at, (key, value)) in dict.entries().iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        key.write_repr(out, fuel)?;
        out.push_str(": ");
        value.write_repr(out, fuel)?;
    }
    out.push('}');
    Ok(())
}
