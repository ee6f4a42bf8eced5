use serde_json::json;

use super::*;

#[derive(serde::Deserialize)]
struct Golden {
    date: TemplateDate,
    cases: Vec<Case>,
    expression_messages: Vec<Map<String, Json>>,
    expression_arguments: Map<String, Json>,
    expressions: Vec<Expression>,
}

#[derive(serde::Deserialize)]
struct Case {
    template: String,
    name: String,
    special_tokens: Map<String, Json>,
    messages: Vec<Map<String, Json>>,
    arguments: Map<String, Json>,
    output: Option<String>,
    error: Option<String>,
    exception: Option<String>,
}

#[derive(serde::Deserialize)]
struct Expression {
    template: String,
    output: String,
}

fn project_file(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    crate::io::read_text(&path).unwrap()
}

fn golden() -> Golden {
    serde_json::from_str(&project_file("fixtures/golden/templates.json")).unwrap()
}

fn render(
    source: &str,
    date: TemplateDate,
    messages: &[Map<String, Json>],
    special_tokens: &Map<String, Json>,
    arguments: &Map<String, Json>,
) -> Result<String, TemplateError> {
    let mut variables = arguments.clone();
    let tools = variables.remove("tools");
    let ending = match variables.remove("add_generation_prompt") {
        Some(Json::Bool(true)) => Ending::GenerationPrompt,
        _ => Ending::LastMessage,
    };
    let input = TemplateInput { special_tokens, tools: tools.as_ref(), variables: Some(&variables), ending };
    ChatTemplate::parse(source, date)?.render(messages, input)
}

fn render_alone(source: &str) -> Result<String, TemplateError> {
    let date = "2024-07-26".parse().unwrap();
    let messages = [json!({"role": "user", "content": "Hello"}).as_object().unwrap().clone()];
    render(source, date, &messages, &Map::new(), &Map::new())
}

#[test]
fn templates_render_as_in_transformers() {
    let golden = golden();
    for case in &golden.cases {
        let what = format!("{}, {}", case.template, case.name);
        let source = project_file(&case.template);
        let found = render(&source, golden.date, &case.messages, &case.special_tokens, &case.arguments);
        match (&case.output, found) {
            (Some(want), found) => assert_eq!(found.as_ref(), Ok(want), "{what}"),
            (None, Ok(text)) => panic!("{what}: transformers refuses, piref renders {text:?}"),
            // Only what the template itself says is a text to compare.
            (None, Err(error)) if case.exception.as_deref() == Some("TemplateError") => {
                assert_eq!(Some(&error.reason), case.error.as_ref(), "{what}");
            }
            (None, Err(_)) => {}
        }
    }
}

#[test]
fn expressions_render_as_in_jinja2() {
    let golden = golden();
    let special_tokens = Map::from_iter([("eos_token".to_owned(), json!("<|im_end|>"))]);
    let mut differences = Vec::new();
    for expression in &golden.expressions {
        let found = render(
            &expression.template,
            golden.date,
            &golden.expression_messages,
            &special_tokens,
            &golden.expression_arguments,
        );
        if found.as_ref() != Ok(&expression.output) {
            differences.push(format!("{}\n  want {:?}\n  found {found:?}", expression.template, expression.output));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
