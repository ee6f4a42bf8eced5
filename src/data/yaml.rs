//! YAML of a stranger as texts, lists and maps, without what makes much of little.

use yaml_rust2::Event;
use yaml_rust2::parser::Parser;

/// Lists and maps in each other: cards of data sets have less than ten, but for the types of nested columns.
const DEPTH: usize = 64;

/// A value. Numbers, truth and null are the texts they are written as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    /// What a map has under a key.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            Self::Text(_) | Self::List(_) => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::List(_) | Self::Map(_) => None,
        }
    }
}

/// The first document of a text.
///
/// # Errors
/// If it is no YAML, has aliases, names a key twice or is nested too deeply.
pub(super) fn parse(text: &str) -> Result<Node, String> {
    let mut parser = Parser::new_from_str(text);
    loop {
        match next(&mut parser)? {
            Event::StreamEnd => return Ok(Node::Map(Vec::new())),
            Event::StreamStart | Event::DocumentStart => {}
            event => return node(&mut parser, event, DEPTH),
        }
    }
}

fn next(parser: &mut Parser<std::str::Chars<'_>>) -> Result<Event, String> {
    parser.next_token().map(|(event, _)| event).map_err(|error| format!("no YAML: {error}"))
}

fn node(parser: &mut Parser<std::str::Chars<'_>>, event: Event, depth: usize) -> Result<Node, String> {
    if depth == 0 {
        return Err("nested too deeply".into());
    }
    match event {
        Event::Scalar(text, ..) => Ok(Node::Text(text)),
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            loop {
                match next(parser)? {
                    Event::SequenceEnd => return Ok(Node::List(items)),
                    event => items.push(node(parser, event, depth - 1)?),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut entries: Vec<(String, Node)> = Vec::new();
            loop {
                let key = match next(parser)? {
                    Event::MappingEnd => return Ok(Node::Map(entries)),
                    Event::Scalar(key, ..) => key,
                    _ => return Err("a key that is no text".into()),
                };
                if entries.iter().any(|(name, _)| *name == key) {
                    return Err(format!("`{key}` occurs twice"));
                }
                let event = next(parser)?;
                entries.push((key, node(parser, event, depth - 1)?));
            }
        }
        _ => Err("an alias, which is not followed".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_lists_and_maps_are_read_and_what_multiplies_is_refused() {
        let text = |text: &str| Node::Text(text.into());
        let node = parse("a: [x, 1]\nb:\n- c: 'y'\n  d:\n").unwrap();
        assert_eq!(node.get("a"), Some(&Node::List(vec![text("x"), text("1")])));
        assert_eq!(
            node.get("b"),
            Some(&Node::List(vec![Node::Map(vec![("c".into(), text("y")), ("d".into(), text(""))])]))
        );
        assert_eq!(parse("").unwrap(), Node::Map(Vec::new()));
        for (yaml, want) in [
            ("a: &x [1]\nb: [*x, *x]", "an alias"),
            ("a: 1\na: 2", "`a` occurs twice"),
            ("a: [1", "no YAML"),
            (&"- ".repeat(100_000), "nested too deeply"),
            (&"[".repeat(100_000), ""),
        ] {
            let error = parse(yaml).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
    }
}
