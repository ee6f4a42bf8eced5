//! Python's methods on values, as chat templates call them: those of minijinja-contrib, and the five it lacks.

use minijinja::value::{Tuple, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

/// Answers a method call on a value of the template.
pub(super) fn call(state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let Some(text) = value.as_str() else {
        return pycompat::unknown_method_callback(state, value, method, args);
    };
    match method {
        "rsplit" => {
            let (separator, limit): (Option<&str>, Option<i64>) = from_args(args)?;
            // A negative limit means none, as in Python.
            let limit = limit.and_then(|limit| usize::try_from(limit).ok());
            rsplit(text, separator, limit)
        }
        "partition" => {
            let (separator,): (&str,) = from_args(args)?;
            let found = text.split_once(non_empty(separator)?);
            Ok(found.map_or_else(|| tuple([text, "", ""]), |(before, after)| tuple([before, separator, after])))
        }
        "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            let found = text.rsplit_once(non_empty(separator)?);
            Ok(found.map_or_else(|| tuple(["", "", text]), |(before, after)| tuple([before, separator, after])))
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text)))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text)))
        }
        _ => pycompat::unknown_method_callback(state, value, method, args),
    }
}

fn rsplit(text: &str, separator: Option<&str>, limit: Option<usize>) -> Result<Value, Error> {
    let mut parts = Vec::new();
    let mut rest = text;
    match separator {
        Some(separator) => {
            let separator = non_empty(separator)?;
            while limit.is_none_or(|limit| parts.len() < limit) {
                let Some((before, after)) = rest.rsplit_once(separator) else { break };
                parts.push(after);
                rest = before;
            }
            parts.push(rest);
        }
        // Without a separator, runs of white space separate, and none is left at the ends.
        None => loop {
            rest = rest.trim_end();
            if rest.is_empty() {
                break;
            }
            let space =
                if limit.is_some_and(|limit| parts.len() >= limit) { None } else { rest.rfind(char::is_whitespace) };
            let Some(space) = space else {
                parts.push(rest);
                break;
            };
            let (before, after) = rest.split_at(space);
            parts.push(after.trim_start());
            rest = before;
        },
    }
    Ok(parts.into_iter().rev().map(Value::from).collect())
}

fn tuple(parts: [&str; 3]) -> Value {
    Value::from(Tuple::from(parts.map(Value::from)))
}

fn non_empty(separator: &str) -> Result<&str, Error> {
    if separator.is_empty() { Err(Error::new(ErrorKind::InvalidOperation, "empty separator")) } else { Ok(separator) }
}

#[cfg(test)]
mod tests {
    use minijinja::Environment;

    #[track_caller]
    fn check(expression: &str, want: &str) {
        let mut env = Environment::new();
        env.set_unknown_method_callback(super::call);
        assert_eq!(env.render_str(&format!("{{{{ {expression} }}}}"), ()).unwrap(), want, "{expression}");
    }

    #[test]
    fn rsplit_counts_from_the_right() {
        check("'a-b-c'.rsplit('-', 1)", "['a-b', 'c']");
        check("'a-b-c'.rsplit('-', -1)", "['a', 'b', 'c']");
        check("'-'.rsplit('-')", "['', '']");
        check("'  a b  c '.rsplit(none, 1)", "['  a b', 'c']");
        check("'a b  c'.rsplit()", "['a', 'b', 'c']");
        check("' \\u2003é '.rsplit()", "['é']");
        check("'  '.rsplit()", "[]");
    }

    #[test]
    fn partitions_are_tuples_of_three() {
        check("'a=b=c'.partition('=')", "('a', '=', 'b=c')");
        check("'a=b=c'.rpartition('=')", "('a=b', '=', 'c')");
        check("'abc'.partition('=')", "('abc', '', '')");
        check("'abc'.rpartition('=')", "('', '', 'abc')");
    }

    #[test]
    fn a_prefix_is_removed_once() {
        check("'aaa'.removeprefix('a') ~ 'aaa'.removesuffix('a') ~ 'b'.removeprefix('x')", "aaaab");
    }

    #[test]
    fn an_empty_separator_is_an_error() {
        let mut env = Environment::new();
        env.set_unknown_method_callback(super::call);
        for method in ["rsplit", "partition", "rpartition"] {
            assert!(env.render_str(&format!("{{{{ 'a'.{method}('') }}}}"), ()).is_err(), "{method}");
        }
    }
}
