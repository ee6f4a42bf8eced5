//! Texts by rules: what a mutation of bytes does not come to, since it would have to hit several places at once.

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

/// Where a text stops to grow: from there on, the first production of each rule is taken.
const LENGTH: usize = 600;

/// Rules by name, the first where a text begins; in a production, `«name»` stands for one of that rule. The first
/// production of each has no rule in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grammar(&'static [(&'static str, &'static [&'static str])]);

impl Grammar {
    /// A text in which rules are in each other up to `depth` times.
    pub(super) fn text(self, depth: usize, rng: &mut ChaCha8Rng) -> String {
        let mut text = String::new();
        self.expand(self.0[0].0, depth, rng, &mut text);
        text
    }

    fn expand(self, rule: &str, depth: usize, rng: &mut ChaCha8Rng, text: &mut String) {
        let (_, productions) = self.0.iter().find(|(name, _)| *name == rule).unwrap();
        let is_last = depth == 0 || text.len() > LENGTH;
        let mut rest = if is_last { productions[0] } else { productions.choose(rng).unwrap() };
        while let Some((before, behind)) = rest.split_once('«') {
            let (rule, behind) = behind.split_once('»').unwrap();
            text.push_str(before);
            self.expand(rule, depth - 1, rng, text);
            rest = behind;
        }
        text.push_str(rest);
    }
}

/// Puts a text of the grammar into an input: in the place of all of it, or somewhere.
pub(super) fn put(grammar: Grammar, input: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    let depth = rng.random_range(2..8);
    let text = grammar.text(depth, rng);
    if rng.random_bool(0.7) {
        *input = text.into_bytes();
    } else {
        let at = rng.random_range(0..=input.len());
        input.splice(at..at, text.into_bytes());
    }
}

/// Chat templates.
pub(super) const TEMPLATE: Grammar = Grammar(&[
    (
        "text",
        &[
            "é",
            "«text»«text»",
            "«text»«text»«text»",
            "{{ «value» }}",
            "{{- «value» -}}",
            "{% set v = «value» %}",
            "{% set v, w = «value» %}",
            "{% set ns = namespace(l=«value») %}",
            "{% set ns.l = «value» %}",
            "{% set v %}«text»{% endset %}",
            "{% set ns = namespace(l=[]) %}{% for i in range(«number») %}{% set ns.l = «value» %}{% endfor %}«text»",
            "{% for m in «value» %}«text»{% endfor %}",
            "{% for m in «value» if «value» %}«text»{% else %}«text»{% endfor %}",
            "{% for m in «value» recursive %}«text»{{ loop(«value») }}{% endfor %}",
            "{% for k, v in «value»|items %}«text»{% endfor %}",
            "{% if «value» %}«text»{% elif «value» %}«text»{% else %}«text»{% endif %}",
            "{% macro f(a, b=«value») %}«text»{% endmacro %}",
            "{% macro f() %}«text»{{ f() }}{% endmacro %}{{ f() }}",
            "{% call f(«value») %}«text»{% endcall %}",
            "{% call(m) f(«value») %}«text»{% endcall %}",
            "{% filter «filter» %}«text»{% endfilter %}",
            "{% generation %}«text»{% endgeneration %}",
            "{% with v = «value» %}«text»{% endwith %}",
            "{% raw %}{{ x }}{% endraw %}",
            "{# «text» #}",
            "{% break %}",
            "{% continue %}",
            "{% block b %}«text»{% endblock %}",
            "{% autoescape true %}«text»{% endautoescape %}",
            "{% do «value» %}",
            "{% include «value» %}",
            "{% import 'x' as x %}",
        ],
    ),
    (
        "value",
        &[
            "v",
            "m",
            "ns",
            "ns.l",
            "messages",
            "messages[0]",
            "m.content",
            "m['role']",
            "tools",
            "loop",
            "loop.index0",
            "loop.previtem",
            "loop.cycle(«value», «value»)",
            "loop.changed(«value»)",
            "f",
            "f(«value»)",
            "caller()",
            "varargs",
            "kwargs",
            "none",
            "true",
            "«number»",
            "'«letters»'",
            "'«letters»' * «number»",
            "[«value»]",
            "[«value»] * «number»",
            "[ns.l, ns.l]",
            "{'a': ns.l}",
            "[«value», «value»]",
            "(«value»,)",
            "{'a': «value», «value»: «value»}",
            "dict(a=«value»)",
            "namespace(a=«value»)",
            "namespace(«value»)",
            "range(«number»)",
            "range(«number», «number», «number»)",
            "cycler('a', «value»)",
            "cycler('a', 'b').next()",
            "joiner(«value»)",
            "«value» «operator» «value»",
            "«value» «operator» «value»",
            "«value» ~ «value»",
            "not «value»",
            "-«value»",
            "(«value»)",
            "«value»|«filter»",
            "«value»|«filter»",
            "«value»|«filter»",
            "«value» is «test»",
            "«value» if «value» else «value»",
            "«value»[«value»]",
            "«value»[«number»:«number»]",
            "«value»[::«number»]",
            "«value».«method»",
            "«value».«method»",
            "'%«number»d' % «value»",
            "'%.«number»f' % «value»",
            "'%s%r' % («value», «value»)",
            "'{:«number»}'.format(«value»)",
            "'{0!r:>«number»}'.format(«value»)",
            "'{0[a]}{0.b}'.format(«value»)",
            "strftime_now('%d %b %Y')",
            "raise_exception(«value»)",
        ],
    ),
    (
        "number",
        &[
            "1", "0", "-1", "2", "7", "40", "300", "99999", "20000000000", "10**10", "10**12", "2**10**9", "2**63",
            "-2**63", "1e308", "1.5", "0.1",
        ],
    ),
    ("letters", &["x", "", "a b", "é", "e\u{301}", "<b>", "%s", "{0}", "ﬃ\u{1f600}", "\\n", "\\u0000", "x,y,z"]),
    (
        "operator",
        &["+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", ">=", "in", "not in", "and", "or", "~"],
    ),
    (
        "filter",
        &[
            "tojson",
            "tojson(indent=«number»)",
            "string",
            "list",
            "length",
            "join",
            "join(«value»)",
            "join(«value», attribute=«value»)",
            "replace(«value», «value»)",
            "replace('', «value»)",
            "indent(«number»)",
            "indent(«value», true, true)",
            "center(«number»)",
            "batch(«number»)",
            "batch(«number», «value»)",
            "slice(«number»)",
            "slice(«number», «value»)",
            "truncate(«number»)",
            "wordcount",
            "format(«value»)",
            "map('«filter»')",
            "map(attribute=«value»)",
            "select('«test»')",
            "rejectattr('role', 'equalto', «value»)",
            "selectattr('a.b', «value»)",
            "sort",
            "sort(attribute=«value»)",
            "unique",
            "groupby('role')",
            "dictsort",
            "items",
            "reverse",
            "first",
            "last",
            "min",
            "max",
            "sum",
            "sum(start=«value»)",
            "round(«number»)",
            "round(«number», 'ceil')",
            "int",
            "int(«value», «number»)",
            "float",
            "abs",
            "upper",
            "title",
            "capitalize",
            "trim",
            "trim(«value»)",
            "default(«value»)",
            "escape",
            "safe",
            "forceescape",
            "urlencode",
            "xmlattr",
            "striptags",
            "filesizeformat",
            "attr(«value»)",
            "«filter»|«filter»",
        ],
    ),
    (
        "test",
        &[
            "defined", "none", "string", "mapping", "iterable", "sequence", "number", "odd", "callable", "sameas v",
            "divisibleby «number»", "in «value»", "eq «value»", "lower", "filter", "not defined",
        ],
    ),
    (
        "method",
        &[
            "role",
            "split('')",
            "split()",
            "split(«value», «number»)",
            "rsplit('x', «number»)",
            "splitlines(true)",
            "join(«value»)",
            "replace('', «value»)",
            "replace(«value», «value», «number»)",
            "format(«value», a=«value»)",
            "zfill(«number»)",
            "ljust(«number»)",
            "center(«number», '-')",
            "expandtabs(«number»)",
            "strip(«value»)",
            "removeprefix(«value»)",
            "startswith((«value», «value»))",
            "find(«value», «number», «number»)",
            "count(«value»)",
            "index(«value»)",
            "partition(«value»)",
            "title()",
            "swapcase()",
            "casefold()",
            "isdigit()",
            "encode()",
            "translate(«value»)",
            "items()",
            "keys()",
            "values()",
            "get(«value», «value»)",
            "copy()",
            "append(«value»)",
            "pop()",
            "bit_length()",
            "is_integer()",
            "__class__",
        ],
    ),
]);

/// SQL. What would go on for long is cut off by whoever asks.
pub(super) const SQL: Grammar = Grammar(&[
    (
        "query",
        &[
            "SELECT 1",
            "SELECT «columns» FROM «table»",
            "SELECT «columns» FROM «table» WHERE «value»",
            "SELECT DISTINCT «columns» FROM «table» ORDER BY «value» DESC NULLS LAST LIMIT «number» OFFSET «number»",
            "SELECT «value», count(*) FROM «table» GROUP BY «value» HAVING «value»",
            "SELECT «columns» FROM «table» AS a JOIN «table» AS b ON «value»",
            "SELECT «columns» FROM «table», LATERAL («query») AS l",
            "«query» UNION ALL «query»",
            "«query» EXCEPT «query»",
            "WITH t AS («query») «query»",
            "WITH RECURSIVE t(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM t WHERE a < «number») SELECT * FROM t",
            "VALUES («value», «value»), («value», «value»)",
            "EXPLAIN «query»",
            "EXPLAIN ANALYZE «query»",
            "SHOW TABLES",
            "DESCRIBE t",
            "CREATE VIEW v AS «query»",
            "COPY («query») TO 'x.csv'",
            "SET datafusion.execution.batch_size = «number»",
            "«query»; «query»",
            "SELECT «columns» FROM «table» FOR UPDATE",
            "SELECT «columns» FROM «table» TABLESAMPLE («number»)",
            "SELECT «columns» FROM «table» QUALIFY row_number() OVER (ORDER BY «value») = «number»",
        ],
    ),
    ("columns", &["*", "«value» AS a", "«value», «value»", "a.*, «value» b", "* EXCLUDE (prompt)"]),
    (
        "table",
        &[
            "t",
            "(«query»)",
            "(VALUES («value», «value»)) AS t(a, b)",
            "(SELECT «value» AS a) AS t",
            "'fixtures/pairs/columns.parquet'",
            "'fixtures/pairs/standard.jsonl'",
            "generate_series(«number», «number»)",
            "unnest([«value», «value»]) AS u(a)",
            "information_schema.tables",
            "information_schema.df_settings",
        ],
    ),
    (
        "value",
        &[
            "a",
            "prompt",
            "«number»",
            "'«letters»'",
            "NULL",
            "TRUE",
            "«value» «operator» «value»",
            "«value» «operator» «value»",
            "(«value»)",
            "NOT «value»",
            "-«value»",
            "CASE WHEN «value» THEN «value» ELSE «value» END",
            "CAST(«value» AS «type»)",
            "TRY_CAST(«value» AS «type»)",
            "«value»::«type»",
            "«value» IN («value», «value»)",
            "«value» IN («query»)",
            "EXISTS («query»)",
            "(«query»)",
            "«value» BETWEEN «value» AND «value»",
            "«value» LIKE '«letters»'",
            "«value» ~ '«letters»'",
            "«value» IS NOT DISTINCT FROM «value»",
            "[«value», «value»]",
            "«value»[«number»]",
            "«value»[«number»:«number»]",
            "{a: «value»}",
            "MAP {'a': «value»}",
            "«call»",
            "«call»",
            "«call»",
            "«aggregate»(«value»)",
            "«aggregate»(DISTINCT «value») FILTER (WHERE «value»)",
            "«aggregate»(«value») OVER (PARTITION BY «value» ORDER BY «value» ROWS BETWEEN «number» PRECEDING AND CURRENT ROW)",
            "INTERVAL '«number» days'",
            "DATE '2024-02-30'",
            "$1",
        ],
    ),
    (
        "call",
        &[
            "now()",
            "repeat(«value», «number»)",
            "lpad(«value», «number», «value»)",
            "rpad('x', «number»)",
            "substr(«value», «number», «number»)",
            "left(«value», «number»)",
            "split_part(«value», «value», «number»)",
            "regexp_replace(«value», '«letters»', '«letters»', 'g')",
            "regexp_count(«value», '«letters»')",
            "replace(«value», '', «value»)",
            "concat(«value», «value»)",
            "concat_ws(«value», «value», «value»)",
            "power(«value», «value»)",
            "factorial(«number»)",
            "gcd(«number», «number»)",
            "round(«value», «number»)",
            "trunc(«value», «number»)",
            "chr(«number»)",
            "to_hex(«number»)",
            "translate(«value», «value», «value»)",
            "levenshtein(«value», «value»)",
            "date_trunc('«letters»', «value»)",
            "date_bin(«value», «value»)",
            "to_timestamp(«value»)",
            "to_char(now(), '«letters»')",
            "make_date(«number», «number», «number»)",
            "make_array(«value», «value»)",
            "range(«number», «number»)",
            "array_repeat(«value», «number»)",
            "array_resize([1], «number»)",
            "array_slice([1], «number», «number»)",
            "array_to_string(«value», «value»)",
            "flatten([«value»])",
            "coalesce(«value», «value»)",
            "nullif(«value», «value»)",
            "arrow_cast(«value», 'Decimal128(38, «number»)')",
            "arrow_cast(«value», 'FixedSizeBinary(«number»)')",
            "reward(«value», «value», «value»)",
            "random()",
        ],
    ),
    (
        "aggregate",
        &[
            "sum", "avg", "count", "min", "array_agg", "string_agg", "median", "stddev", "approx_distinct", "bool_and",
            "row_number", "lag", "ntile", "nth_value", "first_value", "percentile_cont", "bit_xor",
        ],
    ),
    (
        "type",
        &[
            "INT", "BIGINT", "DOUBLE", "VARCHAR", "BOOLEAN", "DECIMAL(38, 37)", "DECIMAL(76, 0)", "TIMESTAMP", "DATE",
            "INTERVAL", "BYTEA", "INT[]", "TINYINT UNSIGNED",
        ],
    ),
    (
        "number",
        &[
            "1", "0", "-1", "3", "100", "1000000", "9223372036854775807", "-9223372036854775808",
            "18446744073709551615", "1e308", "0.1", "1e-320", "99999999999999999999999999999999999999999",
        ],
    ),
    ("letters", &["x", "", "a%", "_", "é", "(a+)+$", "[", "\\", "day", "%Y", "1", "x''y", "e\u{301}\u{1f600}"]),
    (
        "operator",
        &[
            "+", "-", "*", "/", "%", "=", "<>", "<", ">=", "AND", "OR", "||", "&", "<<", ">>", "IS DISTINCT FROM", "^",
            "@>", "->",
        ],
    ),
]);

#[test]
fn texts_by_rules_end_and_have_no_rule_left_in_them() {
    use rand::SeedableRng;
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for grammar in [TEMPLATE, SQL] {
        for (name, productions) in grammar.0 {
            assert!(!productions[0].contains('«'), "`{name}` begins with a rule");
        }
        let texts: Vec<String> = (0..300).map(|_| grammar.text(6, &mut rng)).collect();
        assert!(texts.iter().all(|text| !text.contains(['«', '»']) && text.len() < 20 * LENGTH));
        assert!(texts.iter().any(|text| text.len() > 100));
    }
}
