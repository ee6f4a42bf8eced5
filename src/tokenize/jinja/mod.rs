//! Jinja2 3.1, as far as a chat template can see it: the language in the environment that transformers gives it
//! (`transformers.utils.chat_template_utils._compile_jinja_template`: a sandbox that changes no list and no
//! dictionary, `trim_blocks`, `lstrip_blocks`, loop controls, the `generation` tag, its own `tojson`).
//!
//! The text that is scored has to be the text that was trained on, to the byte. Engines for Rust render the same
//! language over other values: numbers print in another form, integers end at 64 or 128 bits, `none` can be looped
//! over, an item may hide a method. Here values are Python's, so that what differs is refused, never rendered:
//! names that would print an address in memory, `\N{…}`, `lipsum`, and the filters `pprint`, `random`, `urlize`,
//! `wordwrap`.
//!
//! In layer order: `lexer`, `ast`, `parser` with `expression_parser`, and `scope` read a template; `value` with `repr`,
//! `number`, `text`, `access` is
//! what it computes with; `calls`, `filters…`, `tests_of_values`, `json`, `printf`, `str_format` are what it calls; `vm`
//! with `expressions` renders.

#![expect(
    clippy::format_push_string,
    clippy::match_same_arms,
    clippy::needless_for_each,
    clippy::option_option,
    clippy::struct_excessive_bools,
    clippy::too_many_lines,
    clippy::unnecessary_box_returns,
    reason = "tables of another language's rules: one arm a rule, in the order of that language"
)]

mod access;
mod arguments;
mod ast;
mod calls;
mod expression_parser;
mod expressions;
mod failure;
mod filters;
mod filters_of_lists;
mod filters_of_text;
mod float_text;
mod frame;
mod fuel;
mod json;
mod lexer;
mod markup;
mod number;
mod parser;
mod printf;
mod repr;
mod scope;
mod str_format;
mod tests_of_values;
mod text;
mod text_methods;
mod value;
mod vm;

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value as Json;

pub(super) use self::failure::Failure;
use self::frame::Frame;
use self::fuel::Fuel;
use self::parser::Parsed;
use self::value::{Dict, Value};
use self::vm::Vm;
use super::template_date::TemplateDate;

/// A parsed template.
#[derive(Debug)]
pub(super) struct Template {
    parsed: Parsed,
}

/// What one rendering may spend.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// Statements, expressions, and bytes (64 for one).
    pub(super) steps: u64,
    /// Bytes that are made on the way, all together.
    pub(super) bytes: u64,
}

impl Template {
    /// Parses a template.
    pub(super) fn parse(source: &str) -> Result<Self, Box<Failure>> {
        Ok(Self { parsed: parser::parse(source)? })
    }

    /// Renders it with these variables; `date` is what `strftime_now` sees.
    pub(super) fn render(
        &self,
        variables: impl IntoIterator<Item = (String, Json)>,
        date: TemplateDate,
        budget: Budget,
    ) -> Result<String, Box<Failure>> {
        let context: HashMap<Arc<str>, Value> =
            variables.into_iter().map(|(name, value)| (Arc::from(name), from_json(value))).collect();
        let root = Frame::root(&self.parsed.scope.hidden);
        let vm = Vm {
            names: &self.parsed.names,
            context,
            fuel: Fuel::new(budget.steps, budget.bytes),
            date,
            autoescape: Cell::new(false),
            root: root.clone(),
        };
        let mut out = String::new();
        vm.run(&self.parsed.scope.body, &root, &mut out)?;
        Ok(out)
    }
}

fn from_json(value: Json) -> Value {
    match value {
        Json::Null => Value::None,
        Json::Bool(value) => Value::Bool(value),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(small), ..) => Value::Int(small),
            (_, Some(large), _) => Value::integer(large.into()),
            (.., float) => Value::Float(float.unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::text(text),
        Json::Array(items) => Value::list(items.into_iter().map(from_json).collect()),
        Json::Object(members) => {
            let mut dict = Dict::default();
            for (name, value) in members {
                dict.insert_name(name.into(), from_json(value));
            }
            Value::Dict(Rc::new(dict))
        }
    }
}
