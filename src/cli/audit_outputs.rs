//! What an audit leaves behind beside its answer: findings as rows, a page, SARIF.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::{Printer, output, run_of_pipeline};
use crate::audit::{AuditError, Checks, Plan, Summary};
use crate::policy::PolicySource;
use crate::query::Resources;
use crate::report::{self, AUDIT, AuditInputs, Examples, Sarif};
use crate::table::{Finding, FindingsWriter, ReferenceTable};
use crate::tokenize::TokenizerFiles;

/// The log-prob table in a run folder, and the findings and the page beside it.
const IN_RUN: [&str; 3] = ["reference", "findings.parquet", AUDIT];

/// Most examples of a check: the texts of all of them are in memory at once.
const MOST_EXAMPLES: i64 = 1000;

/// Files that are written on the side.
#[derive(Debug, clap::Args)]
pub(super) struct OutputArgs {
    /// Parquet file for the findings. Default: `findings.parquet` in the run folder, where one is given.
    #[arg(long, value_name = "FILE")]
    findings: Option<PathBuf>,

    /// HTML page for a browser, one file that needs nothing else: the checks, how lengths and log-probs are distributed,
    /// findings with their pairs. Default: `audit.html` in the run folder, where one is given.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Findings of each check that the page shows with their pairs.
    #[arg(long, value_name = "PAIRS", default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=MOST_EXAMPLES))]
    examples: u16,

    /// Model whose tokenizer spells out tokens on the page, shaded by their log-probs: a folder, a `.gguf` file,
    /// `org/name`, an adapter or a run. Default: the model of the table, where it is at hand.
    #[arg(long, value_name = "M")]
    model: Option<String>,

    /// SARIF 2.1.0 file for programs that show what linters find: a rule a check, a result a finding.
    #[arg(long, value_name = "FILE")]
    sarif: Option<PathBuf>,
}

/// Where the table is, and where what comes of it goes.
pub(super) struct Outputs<'a> {
    args: &'a OutputArgs,
    /// The table.
    pub(super) table: PathBuf,
    findings: Option<PathBuf>,
    report: Option<PathBuf>,
}

impl<'a> Outputs<'a> {
    /// Of a table, a run folder or the pipeline file of one.
    pub(super) fn of(path: &Path, args: &'a OutputArgs) -> anyhow::Result<Self> {
        let path = run_of_pipeline(path)?;
        let [table, findings, report] = IN_RUN.map(|name| path.join(name));
        let named = |path: &Option<PathBuf>| path.as_deref().map(output).transpose();
        let (named_findings, named_report) = (named(&args.findings)?, named(&args.report)?);
        named(&args.sarif)?;
        Ok(if table.is_dir() {
            Self { args, table, findings: named_findings.or(Some(findings)), report: named_report.or(Some(report)) }
        } else {
            Self { args, table: path, findings: named_findings, report: named_report }
        })
    }

    /// Begins the files that are written as findings come.
    pub(super) fn begin(&self) -> anyhow::Result<Sinks> {
        let sarif = self.args.sarif.as_deref();
        let sarif = sarif
            .map(|path| Sarif::create(&output(path)?, &self.table).with_context(|| cannot_write("SARIF", path)))
            .transpose()?;
        let findings = self.findings.as_deref().map(FindingsWriter::create).transpose();
        Ok(Sinks {
            findings: findings.context("cannot write the findings")?,
            sarif,
            examples: Examples::new(if self.report.is_some() { self.args.examples.into() } else { 0 }),
        })
    }

    /// Finishes them, and writes the page.
    pub(super) fn finish(&self, sinks: Sinks, plan: &Plan, checks: &Checks, summary: &Summary) -> anyhow::Result<()> {
        if let Some(file) = sinks.findings {
            file.finish().context("cannot write the findings")?;
        }
        if let (Some(file), Some(path)) = (sinks.sarif, &self.args.sarif) {
            file.finish(summary).with_context(|| cannot_write("SARIF", path))?;
        }
        if let Some(path) = &self.report {
            let (examples, findings) = (&sinks.examples, self.findings.as_deref());
            let resources =
                Resources { memory_limit: plan.memory_limit, tokenizer: self.tokenizer()?, ..Resources::default() };
            report::write_audit(&AuditInputs { plan, checks, summary, examples, findings }, resources, path)
                .with_context(|| cannot_write("the page", path))?;
        }
        Ok(())
    }

    /// Says where they are.
    pub(super) fn tell(&self, printer: &mut Printer) {
        for (what, path) in [("findings", &self.findings), ("page", &self.report), ("SARIF", &self.args.sarif)] {
            if let Some(path) = path {
                printer.note(format_args!("{what}: {}", path.display()));
            }
        }
    }

    /// The tokenizer of the model that is named, or of the table's, if it is still there: a page does without.
    fn tokenizer(&self) -> anyhow::Result<Option<TokenizerFiles>> {
        if let Some(model) = &self.args.model {
            return Ok(Some(PolicySource::resolve(model, None)?.tokenizer()?.files));
        }
        let table = ReferenceTable::open(&self.table)?;
        let model = &table.provenance().model.path;
        let source = if model.is_empty() { None } else { PolicySource::resolve(model, None).ok() };
        Ok(source.and_then(|source| Some(source.tokenizer().ok()?.files)))
    }
}

fn cannot_write(what: &str, path: &Path) -> String {
    format!("cannot write {what} to `{}`", path.display())
}

/// What takes findings as they come.
pub(super) struct Sinks {
    findings: Option<FindingsWriter>,
    sarif: Option<Sarif>,
    examples: Examples,
}

impl Sinks {
    /// Takes a finding.
    pub(super) fn push(&mut self, finding: &Finding) -> Result<(), AuditError> {
        self.examples.push(finding);
        if let Some(file) = &mut self.findings {
            file.push(finding)?;
        }
        if let Some(file) = &mut self.sarif {
            file.push(finding)?;
        }
        Ok(())
    }
}
