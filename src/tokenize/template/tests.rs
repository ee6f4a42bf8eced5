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

#[derive(serde::Deserialize)]
struct Constructs {
    date: TemplateDate,
    messages: Vec<Map<String, Json>>,
    arguments: Map<String, Json>,
    cases: Vec<Construct>,
}

#[derive(serde::Deserialize)]
struct Construct {
    template: String,
    output: Option<String>,
}

/// What Jinja2 renders and this does not, by what the refusal says.
const REFUSED: [&str; 5] =
    ["an address in memory", "method `encode`", "`\\N{", "`random` is not supported", "`striptags` of a text with `&`"];

#[test]
fn constructs_render_as_in_jinja2_or_are_refused_by_name() {
    let golden: Constructs = serde_json::from_str(&project_file("fixtures/golden/jinja.json")).unwrap();
    let mut differences = Vec::new();
    for Construct { template, output } in &golden.cases {
        let found = render(template, golden.date, &golden.messages, &Map::new(), &golden.arguments);
        let is_right = match (output, &found) {
            (Some(want), Ok(text)) => text == want,
            (Some(_), Err(error)) => REFUSED.iter().any(|refused| error.reason.contains(refused)),
            (None, found) => found.is_err(),
        };
        if !is_right {
            differences.push(format!("{template:?}\n  want  {output:?}\n  found {found:?}"));
        }
    }
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}

#[track_caller]
fn check_error(source: &str, line: usize, reason: &str) {
    let error = render_alone(source).unwrap_err();
    assert_eq!(error.line, line, "{error}");
    assert!(error.reason.contains(reason), "{error}");
}

#[test]
fn an_error_names_the_line_it_happened_on() {
    check_error("a\n{{ b", 2, "syntax error");
    check_error("a\n\n{{ messages | nothing }}", 3, "unknown filter `nothing`");
    check_error("{{ messages[0].content.nothing() }}", 1, "no attribute `nothing`");
    check_error("\n{{ raise_exception('roles must alternate') }}", 2, "roles must alternate");
    check_error("{% macro m() %}\n{{ raise_exception('inside') }}\n{% endmacro %}\n{{ m() }}", 2, "inside");
    check_error("{{ strftime_now('%Q') }}", 1, "unknown date format `%Q`");
}

#[test]
fn a_template_that_does_not_end_is_stopped() {
    let loops = "{% for a in range(9999) %}".repeat(4) + &"{% endfor %}".repeat(4);
    check_error(&loops, 1, "fuel");
    check_error("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", 1, "recursion");
    let doubling = "{% set ns = namespace(s='x') %}{% for a in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}";
    check_error(doubling, 1, "fuel");
    check_error("{{ 'x' * 999999999999 }}", 1, "");
    check_error("{{ ('x' * 9999).replace('x', 'y' * 99999) }}", 1, "fuel");
    check_error("{% for i in range(10**9) %}{% endfor %}", 1, "");
    let sharing = "{% set ns = namespace(l=[]) %}{% for a in range(99) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}";
    check_error(&format!("{sharing}{{{{ ns.l | tojson }}}}"), 1, "fuel");
}

#[test]
fn nothing_but_the_template_and_its_messages_is_reached() {
    check_error("{% include '/etc/passwd' %}", 1, "cannot load other templates");
    check_error("{% import 'x' as x %}", 1, "cannot load other templates");
    check_error("{% extends 'chat_template' %}", 1, "");
    check_error("{{ open('/etc/passwd') }}", 1, "`open` is undefined");
    check_error(&"x".repeat((1 << 20) + 1), 1, "expected at most 1048576 bytes");
    assert_eq!(render_alone("{{ ''.__class__ }}{{ messages.__init__ }}").unwrap_or_default(), "");
}

/// Lists in lists, as deep as the fuel allows: printed, compared and dropped without an end of the stack.
#[test]
fn a_value_nested_step_by_step_does_not_overflow_the_stack() {
    for step in ["[ns.l]", "{'a': ns.l}", "[[[[[[[[[[ns.l]]]]]]]]]]"] {
        let nested = format!(
            "{{% set ns = namespace(l=[]) %}}{{% for a in range(9999) %}}{{% for b in range(9999) %}}{{% set ns.l = {step} %}}\
             {{% endfor %}}{{% endfor %}}"
        );
        // Out of fuel with the value at its deepest.
        assert!(render_alone(&nested).unwrap_err().reason.contains("fuel"));
        for end in ["{{ ns.l }}", "{{ ns.l | tojson }}", "{{ ns.l == ns.l }}", "{{ ns.l | string | length }}"] {
            let nested = nested.replace("range(9999)", "range(250)");
            let _ = render_alone(&format!("{nested}{end}"));
        }
    }
}

/// However long a conversation is, and however many steps it may take: each of these is one level deeper a round.
#[test]
fn values_are_not_nested_without_an_end_in_a_long_conversation() {
    let text = "x".repeat(4 << 20);
    let messages = [json!({"role": "user", "content": text}).as_object().unwrap().clone()];
    let steps = [
        "{% set ns.l = [ns.l] %}",
        "{% set ns.l = (ns.l,) %}",
        "{% set ns.l = {'a': ns.l} %}",
        "{% set ns.l = dict(a=ns.l) %}",
        "{% set ns.l = namespace(a=ns.l) %}",
        "{% set ns.l = cycler(ns.l, 1) %}",
        "{% set ns.l = joiner([ns.l]) %}",
        "{% set ns.l = {'a': ns.l}.items() %}",
        "{% set ns.l = [ns.l].count %}",
        "{% set ns.l = [ns.l] | batch(1) %}",
        "{% set v = ns.l %}{% macro m() %}{{ v }}{% endmacro %}{% set ns.l = m %}",
    ];
    for step in steps {
        let source = format!(
            "{{% if messages[0].content | length > 9 %}}{{% set ns = namespace(l=[[]]) %}}{{% for a in range(9999) %}}\
             {{% for b in range(9999) %}}{step}{{% endfor %}}{{% endfor %}}{{% endif %}}"
        );
        let rendered = render(&source, "2024-07-26".parse().unwrap(), &messages, &Map::new(), &Map::new());
        let error = rendered.unwrap_err();
        assert!(error.reason.contains("out of fuel"), "{step}: {error}");
    }
}

/// Much of little: each of these is refused, or small, and quickly.
#[test]
fn what_makes_very_much_of_little_is_refused() {
    let endless = [
        "{{ 'x' * 10**10 }}",
        "{{ [1] * 10**10 }}",
        "{{ ([] * 10**10) | length }}{{ 'x' * 10**9 }}",
        "{{ 2**(10**9) }}",
        "{{ 10**(10**10) }}",
        "{{ (7**99999)**99999 }}",
        "{{ '{:20000000000}'.format(1) }}",
        "{{ '{:.20000000000f}'.format(1.5) }}",
        "{{ '%20000000000d' % 1 }}",
        "{{ '%.20000000000f' % 1.5 }}",
        "{{ '%*d' % (2000000000, 1) }}",
        "{{ range(10**12) | list }}",
        "{{ range(10**12) | join }}",
        "{{ range(10**12) | sum }}",
        "{{ 'a\nb' | indent(10**9) }}",
        "{{ 'a' | center(10**10) }}",
        "{{ 'a'.zfill(10**10) }}",
        "{{ 'a'.ljust(10**10) }}",
        "{{ '\t'.expandtabs(10**10) }}",
        "{{ [[1]] | tojson(indent=10**9) }}",
        "{{ [[[[[[[[[[[[1]]]]]]]]]]]] | tojson(indent=3 * 10**7) }}",
        "{{ (range(9999) | list) | tojson(separators=('x' * 10**7, ':')) }}",
        "{{ [{'a': 1}] * 9999 | int | tojson }}{{ ([{'a': 1}] * 9999) | tojson(separators=(',', 'x' * 10**7)) }}",
        "{{ [1] | batch(10**10, 'x') | list }}",
        "{{ [1] | slice(10**10) | list }}",
        "{{ ('x' * 99999).replace('', 'y' * 99999) }}",
        "{{ ('x' * 99999) | replace('x', 'y' * 99999) }}",
        "{{ (('x' * 9999) | list) | join('y' * 99999) }}",
        "{{ ('y' * 99999).join('x' * 99999) }}",
        "{% for a in messages recursive %}{{ loop(messages) }}{{ loop(messages) }}{% endfor %}",
        "{% macro m(a) %}{{ m(a ~ a) }}{% endmacro %}{{ m('x') }}",
        "{% set ns = namespace(n=2) %}{% for a in range(99) %}{% set ns.n = ns.n * ns.n %}{% endfor %}{{ ns.n }}",
    ];
    for source in endless {
        let start = std::time::Instant::now();
        let found = render_alone(source);
        assert!(found.as_ref().map_or(true, |text| text.len() < 1 << 20), "{source}");
        assert!(found.is_err(), "{source}: {found:?}");
        assert!(start.elapsed() < TIME_LIMIT, "{source} took {:?}", start.elapsed());
    }
    for (source, length) in [("{{ ('x' * 99999).split('x') | length }}", 6), ("{{ ('x' * 99999) | list | length }}", 5)]
    {
        assert_eq!(render_alone(source).map(|text| text.len()), Ok(length), "{source}");
    }
    let itself = "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}{{ ns == ns }}{{ ns | tojson }}";
    assert!(render_alone(itself).is_err());
}

#[test]
fn generation_tags_are_scopes_with_their_white_space_marks() {
    assert_eq!(render_alone("a {%- generation -%} b {%- endgeneration +%}\nc").unwrap(), "ab\nc");
    assert_eq!(render_alone("a\n  {% generation %}\nb{%endgeneration%}").unwrap(), "a\nb");
    assert_eq!(
        render_alone("{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}").unwrap(),
        "21"
    );
    assert_eq!(render_alone("{% set generation = 1 %}{% if generation %}{{ generation }}{% endif %}").unwrap(), "1");
    check_error("{% generation %}", 1, "end of the template");
}

#[test]
fn absent_tools_and_documents_are_none_and_the_prompt_ends_where_it_is_told() {
    assert_eq!(
        render_alone("{{ tools is none }} {{ documents is none }} {{ add_generation_prompt }}").unwrap(),
        "True True False"
    );
}

#[test]
fn text_is_never_escaped() {
    assert_eq!(render_alone("{{ '<b>' ~ messages[0].content ~ '&' }}").unwrap(), "<b>Hello&");
}

#[test]
fn a_row_variable_wins_over_a_special_token() {
    let tokens = Map::from_iter([("bos_token".to_owned(), json!("<s>"))]);
    let variables = Map::from_iter([("bos_token".to_owned(), json!("<t>"))]);
    let date = "2024-07-26".parse().unwrap();
    assert_eq!(render("{{ bos_token }}", date, &[], &tokens, &Map::new()).unwrap(), "<s>");
    assert_eq!(render("{{ bos_token }}", date, &[], &tokens, &variables).unwrap(), "<t>");
}

/// A template that looks at all turns from each of them, as those do which number tool calls or find the last question.
#[test]
fn a_long_conversation_may_cost_the_square_of_its_turns() {
    let source = "{% for m in messages %}{% set ns = namespace(n=0) %}{% for other in messages[:loop.index0] %}\
                  {% if other.role == 'tool' %}{% set ns.n = ns.n + 1 %}{% endif %}{% endfor %}{{ ns.n }} {% endfor %}";
    let messages: Vec<Map<String, Json>> = (0..800)
        .map(|at| json!({"role": if at % 2 == 0 { "assistant" } else { "tool" }, "content": "x"}))
        .map(|message| message.as_object().unwrap().clone())
        .collect();
    let text = render(source, "2024-07-26".parse().unwrap(), &messages, &Map::new(), &Map::new()).unwrap();
    assert!(text.ends_with(" 399 399 "), "{}", &text[text.len() - 20..]);
}
