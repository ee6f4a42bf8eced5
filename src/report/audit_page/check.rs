//! The section of a check: what it asks, what it has found, examples, and what it ran.

use super::pairs::{Answer, MOST_TOKENS, Pair, Pairs, Text, Token};
use super::{AuditInputs, section_id, tone};
use crate::audit::{Check, CheckSummary, numbers};
use crate::report::axis::number;
use crate::report::numbers::literal;
use crate::report::page::{Block, Fact, Index, IndexRow, Section};
use crate::report::passage::{Passage, Passages, Piece, least_likely, legend};
use crate::table::Finding;

/// Characters of a text that are shown at once; what follows is folded away.
const SHOWN_CHARS: usize = 600;

/// Tokens of an answer that are shown at once.
const SHOWN_TOKENS: usize = 120;

/// The section of a check that has found something.
pub(super) fn section(inputs: &AuditInputs<'_>, check: &dyn Check, ended: &CheckSummary, pairs: &Pairs) -> Section {
    let info = check.info();
    let values = numbers(info, &inputs.plan.thresholds, inputs.plan.beta);
    let terms = [
        ("question", info.question.clone()),
        ("found when", info.formula_with(&values)),
        ("found", counts(ended)),
        ("what to do", info.advice.clone()),
        ("source", info.source.clone()),
    ];
    let mut blocks = vec![Block::Terms { terms: terms.map(|(name, value)| Fact::new(name, value)).into() }];
    blocks.extend(of_data_set(ended));
    let examples = inputs.examples.of(&info.id);
    let shown: Vec<Block> = examples.iter().map(|finding| example(finding, pairs)).collect();
    if pairs.has_tokens() && !shown.is_empty() {
        let title = "Tokens by their probability under the reference; the number is the log-prob in nats".into();
        blocks.push(Block::Legend { title, samples: legend() });
    }
    let n_shown = shown.len() as u64;
    blocks.extend(shown);
    blocks.extend(all(inputs, ended, n_shown));
    blocks.push(Block::Code { title: "What was run".into(), code: check.explain(&values) });
    Section { id: section_id(&info.id).into(), heading: format!("{} {}", info.id, info.title), blocks }
}

/// `1 error, 12 warnings`.
pub(super) fn counts(ended: &CheckSummary) -> String {
    let names = [("error", "errors"), ("warning", "warnings"), ("info", "infos")];
    let some = ended.n_findings.into_iter().zip(names).filter(|(n, _)| *n > 0);
    let some = some.map(|(n, (one, many))| format!("{n} {}", if n == 1 { one } else { many }));
    some.collect::<Vec<_>>().join(", ")
}

/// Findings about no pair in particular, as far as the summary quotes them.
fn of_data_set(ended: &CheckSummary) -> Option<Block> {
    let row = |finding: &Finding| IndexRow {
        section: None,
        tone: tone(Some(finding.level)),
        cells: vec![
            finding.level.to_string(),
            finding.value.map_or_else(String::new, number),
            finding.evidence.clone(),
        ],
    };
    let findings = ended.findings.iter().filter(|finding| finding.pair_id.is_none());
    let rows: Vec<IndexRow> = findings.map(row).collect();
    let columns = ["level", "value", "evidence"].map(str::to_owned).into();
    (!rows.is_empty()).then(|| Block::Index(Index { title: "About the data set".into(), columns, rows }))
}

/// How to see all findings.
fn all(inputs: &AuditInputs<'_>, ended: &CheckSummary, n_shown: u64) -> Vec<Block> {
    let n_quoted = ended.findings.iter().filter(|finding| finding.pair_id.is_none()).count() as u64 + n_shown;
    if ended.n_all() <= n_quoted {
        return Vec::new();
    }
    let text = format!("{n_quoted} of {} findings are here.", ended.n_all());
    let Some(findings) = inputs.findings else {
        return vec![Block::Text { text: text + " `piref audit --findings FILE` keeps all of them as rows for SQL." }];
    };
    let code = format!(
        "-- piref sql {}\nSELECT f.level, f.value, f.evidence, p.source, p.row_idx, p.prompt, p.chosen, p.rejected\nFROM {} \
         AS f LEFT JOIN pairs AS p ON f.pair_id = p.pair_id\nWHERE f.\"check\" = {}",
        inputs.summary.table.display(),
        literal(&findings.to_string_lossy()),
        literal(&ended.info.id)
    );
    vec![Block::Text { text }, Block::Code { title: "All of them in SQL".into(), code }]
}

/// A finding about a pair, with the pair.
fn example(finding: &Finding, pairs: &Pairs) -> Block {
    let pair_id = finding.pair_id.as_deref().unwrap_or_default();
    let pair = pairs.get(pair_id);
    let mut terms = vec![Fact::new(finding.level.to_string(), finding.evidence.clone())];
    terms.extend(finding.value.map(|value| Fact::new("value", number(value))));
    terms.extend(pair.map(|Pair { source, row_idx, .. }| Fact::new("place", format!("{source}, row {row_idx}"))));
    let passages = pair.map(|pair| {
        vec![
            of_text("prompt", &pair.prompt, String::new()),
            of_answer("chosen", &pair.chosen),
            of_answer("rejected", &pair.rejected),
        ]
    });
    Block::Passages(Passages { title: format!("Pair {pair_id}"), terms, passages: passages.unwrap_or_default() })
}

pub(super) fn of_answer(title: &str, answer: &Answer) -> Passage {
    let note = about(answer);
    if answer.tokens.is_empty() {
        return of_text(title, &answer.text, note);
    }
    let piece = |token: &Token| Piece::token(&token.text, token.logp);
    let (shown, rest) = answer.tokens.split_at(answer.tokens.len().min(SHOWN_TOKENS));
    let n_left = usize::try_from(answer.n_tokens).unwrap_or(0).saturating_sub(answer.tokens.len());
    let least = least_likely(answer.tokens.iter().map(|token| (token.text.as_str(), token.logp)));
    let of_these = if n_left > 0 { format!(" of the first {MOST_TOKENS}") } else { String::new() };
    Passage {
        title: title.into(),
        pieces: shown.iter().map(piece).collect(),
        rest: rest.iter().map(piece).chain(left_out(n_left, "tokens")).collect(),
        rest_title: format!("{} tokens more", rest.len() + n_left),
        note: format!("{note}; least likely{of_these}: {least}"),
    }
}

pub(super) fn of_text(title: &str, text: &Text, note: String) -> Passage {
    let end = text.start.char_indices().nth(SHOWN_CHARS).map_or(text.start.len(), |(end, _)| end);
    let (shown, rest) = text.start.split_at(end);
    let n_chars = usize::try_from(text.n_chars).unwrap_or(0);
    let n_left = n_chars.saturating_sub(text.start.chars().count());
    let rest: Vec<Piece> = if rest.is_empty() { Vec::new() } else { vec![Piece::plain(rest)] };
    Passage {
        title: title.into(),
        pieces: vec![Piece::plain(shown)],
        rest: rest.into_iter().chain(left_out(n_left, "characters")).collect(),
        rest_title: format!("{} characters more", n_chars.saturating_sub(SHOWN_CHARS)),
        note,
    }
}

/// The end of a text that is not on the page.
fn left_out(n: usize, unit: &str) -> Option<Piece> {
    (n > 0).then(|| Piece::plain(format!(" … and {n} {unit} that are not on this page")))
}

/// The numbers of an answer, in a line.
fn about(answer: &Answer) -> String {
    let Answer { n_tokens, n_cut, logps, .. } = answer;
    let mean = logps / *n_tokens as f64;
    let cut = if *n_cut > 0 { format!(", {n_cut} more were cut") } else { String::new() };
    format!("{n_tokens} tokens{cut}, {} nats, {} a token", number(*logps), number(mean))
}
