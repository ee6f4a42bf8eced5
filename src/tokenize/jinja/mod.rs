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
//! `number`, `text`, `access` is what it computes with, and `knots` lets go of it; `calls`, `filters…`, `tests_of_values`, `json`, `printf`, `str_format` are what it calls; `vm`
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
mod knots;
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
use self::knots::Knots;
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
        self.render_with(variables, date, budget).0
    }

    /// The same, with what could have outlived it.
    fn render_with(
        &self,
        variables: impl IntoIterator<Item = (String, Json)>,
        date: TemplateDate,
        budget: Budget,
    ) -> (Result<String, Box<Failure>>, Knots) {
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
            knots: Knots::default(),
        };
        let mut out = String::new();
        let flow = vm.knots.scope(&root, &vm.fuel).and_then(|()| vm.run(&self.parsed.scope.body, &root, &mut out));
        vm.knots.untie();
        (flow.map(|_| out), vm.knots)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check_nothing_is_left(source: &str) {
        let template = Template::parse(source).unwrap();
        let variables = [("messages".to_owned(), json!([{"role": "user", "content": "x"}]))];
        let budget = Budget { steps: 1_000_000, bytes: 1 << 26 };
        let (rendered, knots) = template.render_with(variables, "2024-07-26".parse().unwrap(), budget);
        assert_eq!(knots.n_alive(), 0, "{source}: {rendered:?}");
    }

    #[test]
    fn what_holds_itself_is_gone_when_a_rendering_ends() {
        check_nothing_is_left("{% macro m() %}x{% endmacro %}{{ m() }}");
        check_nothing_is_left("{% set ns = namespace(a=0) %}{% set ns.a = ns %}");
        check_nothing_is_left("{% set a = namespace(b=0) %}{% set b = namespace(a=[a]) %}{% set a.b = {'x': b} %}");
        check_nothing_is_left("{% macro m() %}x{% endmacro %}{% set ns = namespace(m=m) %}{% set ns.ns = [ns] %}");
        check_nothing_is_left("{% for m in messages %}{% macro f() %}{{ m }}{% endmacro %}{% set g = f %}{% endfor %}");
        check_nothing_is_left("{% for m in messages %}{{ loop.changed(loop) }}{% endfor %}");
        check_nothing_is_left("{% for m in messages recursive %}{% set l = loop %}{% endfor %}");
        check_nothing_is_left("{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{% set c = m %}{% endcall %}");
        check_nothing_is_left("{% set ns = namespace() %}{% set ns.a = cycler(ns) %}{% set ns.b = joiner(ns) %}");
        check_nothing_is_left("{% set ns = namespace() %}{% set ns.a = [ns] | map('first') %}");
        check_nothing_is_left("{% if true %}{% macro m() %}{{ m }}{% endmacro %}{% set n = m %}{% endif %}");
        check_nothing_is_left(
            "{% macro m(a) %}{% set b = m %}{% macro i() %}{{ b }}{% endmacro %}{{ i() }}{% endmacro %}{{ m(m) }}",
        );
        // One that fails half way.
        check_nothing_is_left(
            "{% macro m() %}x{% endmacro %}{% set ns = namespace(m=m) %}{% set ns.a = ns %}{{ 1 / 0 }}",
        );
    }
}
