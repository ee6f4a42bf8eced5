//! `piref generate`: answers of a policy on the command line.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use super::progress::{Position, Progress, clock};
use super::{Printer, output};
use crate::data::{self, ColumnMap};
use crate::generate::{self, Event, Outcome, PlainText, Plan, Prompts, Row, Sampling, Settings, Streaming, Summary};
use crate::interrupt::{self, Interrupt};
use crate::io::{AtomicFile, IoError};
use crate::ops::{Backend, DeviceName};
use crate::pipeline::{self, Pipeline, TokenizeSettings};
use crate::policy::PolicySource;
use crate::tokenize::TemplateDate;

/// Rejected rows that are named.
const MAX_NAMED: u64 = 10;

/// Complete prompts with a policy: draw from it, or take its most likely tokens.
///
/// The policy is a model, the folder of an adapter or a run folder. A text is made into a conversation by the model's
/// chat template; the prompts of a data file are those `piref precompute` scores answers to. What is drawn depends on the
/// seed and on the prompt, not on other prompts. By default draws are those of the model's own distribution, whatever
/// `generation_config.json` recommends.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("prompts").required(true).args(["prompt", "data"])))]
pub(crate) struct Args {
    /// The policy: a Hugging Face folder, a `.gguf` file, `org/name` or `org/name@revision` in the local cache, the folder of
    /// an adapter, or a run folder.
    #[arg(long)]
    model: String,

    /// Folder of an adapter over the model, or of the run that trained it.
    #[arg(long, value_name = "FOLDER")]
    adapter: Option<PathBuf>,

    /// Text to complete; repeat for more.
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,

    /// File whose prompts are completed, equal ones once: preference data of any format, or a column `prompt`; repeat for
    /// more files.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "prompt")]
    data: Vec<PathBuf>,

    /// Split to read of a folder with several, e.g. `test`; `all` for every one.
    #[arg(long, value_name = "SPLIT", requires = "data")]
    split: Option<String>,

    /// Columns of the source by what they are, e.g. `prompt=question`.
    #[arg(long, value_name = "ROLE=COLUMN,…", requires = "data")]
    map: Option<ColumnMap>,

    /// Complete only the first prompts, this many.
    #[arg(long, value_name = "PROMPTS")]
    limit: Option<NonZeroUsize>,

    /// Take the text of `--prompt` as it is, without the chat template.
    #[arg(long, conflicts_with = "data")]
    raw: bool,

    /// Make a user's turn of each plain string of `--data`, which is completed as it is otherwise.
    #[arg(long, requires = "data")]
    chat: bool,

    #[command(flatten)]
    sampling: SamplingArgs,

    /// The date a chat template prints, if it prints one (Llama 3's does). Default: that of `piref precompute`.
    #[arg(long, value_name = "YYYY-MM-DD")]
    template_date: Option<TemplateDate>,

    /// Where the model runs: `cpu`, `cuda` (`cuda:1` for the second GPU) or `metal`. GPUs need a build
    /// with the feature of that name.
    #[arg(long, default_value = "cpu")]
    device: DeviceName,

    /// Form of the answers.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output_format: Form,

    /// File for the answers, instead of standard output; it is there once all of them are.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// How tokens are drawn.
#[derive(Debug, clap::Args)]
struct SamplingArgs {
    /// What logits are divided by; 0 is greedy.
    #[arg(long, value_name = "T", default_value_t = 1.0, allow_negative_numbers = true)]
    temperature: f64,

    /// Draw from the fewest tokens that hold this share of the probability, in (0, 1]; after `--top-k`.
    #[arg(long, value_name = "P", default_value_t = 1.0, allow_negative_numbers = true)]
    top_p: f64,

    /// Draw from this many of the most likely tokens; 0 for all.
    #[arg(long, value_name = "K", default_value_t = 0)]
    top_k: usize,

    /// Take the most likely token each time.
    #[arg(long, conflicts_with_all = ["temperature", "top_p", "top_k"])]
    greedy: bool,

    /// Most tokens of an answer.
    #[arg(long, value_name = "N", default_value = "256")]
    max_new_tokens: NonZeroUsize,

    /// Seed of the draws.
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

/// How answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Form {
    /// For people: an answer alone as it is, token by token; several with their prompts.
    #[default]
    Text,
    /// A list of objects with `prompt`, `completion`, `n_tokens`, `finish_reason`.
    Json,
    /// These objects, one a line, each as soon as it is there.
    Ndjson,
}

pub(crate) fn run(args: Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let failed = format!("cannot generate with `{}`", args.model);
    let form = args.output_format;
    let streaming = if args.prompt.len() == 1 && form == Form::Text { Streaming::On } else { Streaming::Off };
    let mut answers = Answers::new(form, streaming, args.output.clone())?;
    let plan = plan(args, streaming).with_context(|| failed.clone())?;
    PolicySource::resolve(&plan.model, plan.adapter.as_deref()).with_context(|| failed.clone())?;
    let interrupt = Interrupt::on_signals().context("cannot handle signals")?;
    let outcome = {
        let mut progress = match streaming {
            Streaming::On => Progress::without_bar(printer),
            Streaming::Off => Progress::new(printer),
        };
        let mut talk = Talk { answers: &mut answers, progress: &mut progress, n_rejected: 0 };
        let mut unwritten = None;
        let outcome = generate::run(&plan, &interrupt, &mut |event| {
            if let Err(error) = talk.show(&event) {
                unwritten.get_or_insert(error);
                interrupt.set();
            }
        });
        if let Some(error) = unwritten {
            return Err(error);
        }
        outcome.with_context(|| failed)?
    };
    match outcome {
        Outcome::Finished(summary) => {
            answers.finish(printer)?;
            printer.note(line(&summary));
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Interrupted(summary) => {
            printer.error(format_args!("interrupted after {} answers", summary.n_completed));
            Ok(ExitCode::from(interrupt::EXIT_CODE))
        }
    }
}

/// What is shown of a run.
struct Talk<'a, 'b> {
    answers: &'a mut Answers,
    progress: &'a mut Progress<'b>,
    n_rejected: u64,
}

impl Talk<'_, '_> {
    fn show(&mut self, event: &Event<'_>) -> anyhow::Result<()> {
        match event {
            Event::Note(line) => self.progress.note(line),
            Event::Rejected { place, reason } => {
                self.n_rejected += 1;
                if self.n_rejected <= MAX_NAMED {
                    self.progress.note(format_args!("rejected: {place}: {reason}"));
                }
            }
            Event::Read { n_prompts } => {
                if self.n_rejected > MAX_NAMED {
                    self.progress.note(format_args!("{} rows are rejected in all", self.n_rejected));
                }
                self.progress.begin(0);
                self.progress.note(format_args!("prompts to complete: {n_prompts}"));
            }
            Event::Text(text) => self.answers.text(text, self.progress)?,
            Event::Row { row, so_far, n_prompts } => {
                self.answers.row(row, self.progress)?;
                self.advance(so_far, *n_prompts);
            }
        }
        Ok(())
    }

    fn advance(&mut self, so_far: &Summary, n_prompts: usize) {
        let (done, total) = (so_far.n_completed as u64, n_prompts as u64);
        let (_, left) = self.progress.pace(done, total);
        let text = format!("{done} of {total} prompts, {}{} left", rate(so_far), clock(left));
        self.progress.advance(&Position { done, total, text: &text });
    }
}

fn plan(args: Args, streaming: Streaming) -> anyhow::Result<Plan> {
    let SamplingArgs { temperature, top_p, top_k, greedy, max_new_tokens, seed } = args.sampling;
    let sampling =
        if greedy { Sampling::GREEDY } else { Sampling::random(temperature, NonZeroUsize::new(top_k), top_p)? };
    let is_plain = if args.data.is_empty() { args.raw } else { !args.chat };
    let tokenize = TokenizeSettings { template_date: args.template_date, ..TokenizeSettings::default() };
    let flags = pipeline::Settings { tokenize, ..pipeline::Settings::default() };
    Ok(Plan {
        model: args.model,
        adapter: args.adapter,
        prompts: if args.data.is_empty() {
            Prompts::Texts(args.prompt)
        } else {
            let paths = data::file_names(&args.data, args.split.as_deref())?;
            Prompts::Files { paths, column_map: args.map.unwrap_or_default() }
        },
        plain_text: if is_plain { PlainText::AsIs } else { PlainText::UserTurn },
        limit: args.limit,
        settings: Settings { sampling, max_new_tokens, seed },
        template_date: Pipeline::from_flags(&flags)?.template_date()?,
        streaming,
        backend: Backend::best(args.device.open()?),
    })
}

fn line(summary: &Summary) -> String {
    let Summary { n_completed, n_prompt_tokens, n_tokens, prompt_time, time } = summary;
    let answers = if *n_completed == 1 { "answer" } else { "answers" };
    let took = clock(*prompt_time + *time);
    let line = format!(
        "{n_completed} {answers}: {n_tokens} tokens after {n_prompt_tokens} tokens of prompt, in {took}, {}",
        rate(summary)
    );
    line.trim_end_matches([',', ' ']).to_owned()
}

fn rate(summary: &Summary) -> String {
    summary.tokens_per_second().map(|rate| format!("{rate:.1} tokens/s, ")).unwrap_or_default()
}

/// Where answers go, and what was written of them.
struct Answers {
    form: Form,
    /// Whether there is one answer and nothing else to write.
    streaming: Streaming,
    file: Option<AtomicFile>,
    n_written: usize,
}

impl Answers {
    fn new(form: Form, streaming: Streaming, file: Option<PathBuf>) -> anyhow::Result<Self> {
        let file = file.map(|path| Ok::<_, anyhow::Error>(AtomicFile::create(&output(&path)?)?)).transpose()?;
        Ok(Self { form, streaming, file, n_written: 0 })
    }

    fn write(&mut self, text: &str, progress: &mut Progress<'_>) -> anyhow::Result<()> {
        match &mut self.file {
            Some(file) => {
                let written = file.write_all(text.as_bytes());
                written.map_err(|source| IoError::new("write", file.path(), source))?;
            }
            None => progress.data(|out| {
                out.write_all(text.as_bytes())?;
                out.flush()
            })?,
        }
        Ok(())
    }

    fn text(&mut self, text: &str, progress: &mut Progress<'_>) -> anyhow::Result<()> {
        self.write(text, progress)
    }

    fn row(&mut self, row: &Row, progress: &mut Progress<'_>) -> anyhow::Result<()> {
        let text = match self.form {
            Form::Text if self.streaming == Streaming::On => "\n".to_owned(),
            Form::Text => {
                let Row { prompt, completion, .. } = row;
                let parts = [("prompt", prompt), ("completion", completion)];
                let parts = parts.map(|(name, text)| format!("--- {name} {}\n{}\n", self.n_written + 1, text));
                format!("{}\n", parts.concat())
            }
            Form::Json => {
                let before = if self.n_written == 0 { "[" } else { "," };
                format!("{before}\n{}", serde_json::to_string_pretty(row)?)
            }
            Form::Ndjson => format!("{}\n", serde_json::to_string(row)?),
        };
        self.n_written += 1;
        self.write(&text, progress)
    }

    fn finish(mut self, printer: &mut Printer) -> anyhow::Result<()> {
        if self.form == Form::Json {
            self.write("\n]\n", &mut Progress::new(printer))?;
        }
        if let Some(mut file) = self.file {
            file.flush().map_err(|source| IoError::new("write", file.path(), source))?;
            file.commit()?;
        }
        Ok(())
    }
}
