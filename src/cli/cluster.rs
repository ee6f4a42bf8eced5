//! `piref cluster`: the servers of a cluster.

use std::net::SocketAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use bytesize::ByteSize;

use super::cluster_flags::ClusterTls;
use super::printer::Printer;
use crate::cluster::{self, Bind, Event, ExecutorPlan, SchedulerAddress, SchedulerPlan};
use crate::interrupt::{self, Interrupt};
use crate::model::ScoringDtype;
use crate::ops::DeviceName;
use crate::pipeline::{Pipeline, PrecomputeSettings, Settings, words};
use crate::policy::PolicySource;
use crate::scoring::ModelFile;

/// Run stage one and SQL on several machines: Apache Ballista's scheduler and executors, with the functions of piref.
///
/// One scheduler, and on each machine (for each GPU) an executor; `piref precompute` and `piref sql` with `--cluster` are
/// their clients. Beyond this machine they want the cluster's certificate, or `--insecure`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    server: Server,
}

#[derive(Debug, clap::Subcommand)]
enum Server {
    Scheduler(Scheduler),
    Executor(Executor),
}

/// Cut work into tasks and give them to executors. It keeps nothing on disk: a client whose scheduler is gone starts again
/// where its table ends.
#[derive(Debug, clap::Args)]
struct Scheduler {
    /// Where it listens.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:50050")]
    bind: SocketAddr,

    #[command(flatten)]
    tls: ClusterTls,

    /// Listen to other machines without TLS: whoever reaches the port can run queries and read what this program can. For
    /// a network you trust.
    #[arg(long)]
    insecure: bool,

    /// Name or address by which executors reach it. Default: the address it listens at.
    #[arg(long, value_name = "HOST")]
    advertise: Option<String>,

    /// Seconds after which a silent executor is given up, and its tasks are run elsewhere.
    #[arg(long, value_name = "SECONDS", default_value = "8")]
    executor_timeout: NonZeroU64,
}

/// Score pairs and run parts of queries. Each model is loaded when a task first asks for it, and once.
#[derive(Debug, clap::Args)]
struct Executor {
    /// The scheduler, which may be started later.
    #[arg(long, value_name = "df://HOST:PORT")]
    scheduler: SchedulerAddress,

    /// Model it may be asked for: a Hugging Face folder, a `.gguf` file, `org/name` or `org/name@revision` in the local
    /// cache, the folder of an adapter, or a run folder; repeat for more. None is enough for SQL.
    #[arg(long, value_name = "M")]
    model: Vec<String>,

    /// Number formats it computes in; repeat for more. Default: that of `piref precompute`.
    #[arg(long, value_parser = words::<ScoringDtype>())]
    dtype: Vec<ScoringDtype>,

    /// Where the models run: `cpu`, `cuda` (`cuda:1` for the second GPU) or `metal`. GPUs need a build with the feature of
    /// that name.
    #[arg(long)]
    device: Option<DeviceName>,

    /// Tokens in one forward pass: a matter of speed and memory, never of the result. Default: that of `piref precompute`.
    #[arg(long, value_name = "TOKENS")]
    max_tokens: Option<NonZeroUsize>,

    /// Tasks at once. A forward pass has the whole device, so that more than one helps queries only.
    #[arg(long, value_name = "N", default_value = "1")]
    vcores: NonZeroUsize,

    /// Where it listens: PORT for rows and the one after it for tasks; without PORT at two that are free.
    #[arg(long, value_name = "IP[:PORT]", default_value_t)]
    bind: Bind,

    #[command(flatten)]
    tls: ClusterTls,

    /// Listen to other machines without TLS: whoever reaches the port can run queries and read what this program can. For
    /// a network you trust.
    #[arg(long)]
    insecure: bool,

    /// Name or address by which the others reach it. Default: the address it listens at, or the one its scheduler sees.
    #[arg(long, value_name = "HOST")]
    advertise: Option<String>,

    /// Memory that sorts, groups and joins may hold; what is more goes to files in `TMPDIR`. The models are beside it.
    #[arg(long, value_name = "SIZE", default_value = "512MiB")]
    memory_limit: ByteSize,
}

pub(crate) fn run(args: Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let verbosity = printer.verbosity();
    cluster::install_log(move |line| Printer::new(verbosity).note(line));
    let interrupt = Interrupt::on_signals().context("cannot handle signals")?;
    match args.server {
        Server::Scheduler(scheduler) => {
            let executor_timeout = Duration::from_secs(scheduler.executor_timeout.get());
            let plan = SchedulerPlan {
                bind: scheduler.bind,
                tls: scheduler.tls.read()?,
                is_insecure: scheduler.insecure,
                advertise: scheduler.advertise,
                executor_timeout,
            };
            cluster::serve(&plan, &interrupt, &mut |event| show("scheduler", &event, printer))?;
        }
        Server::Executor(executor) => {
            let plan = executor.plan()?;
            cluster::execute(&plan, &interrupt, &mut |event| show("executor", &event, printer))?;
        }
    }
    // A server ends no other way than by being told to.
    Ok(ExitCode::from(interrupt::EXIT_CODE))
}

impl Executor {
    fn plan(self) -> anyhow::Result<ExecutorPlan> {
        let mut models = Vec::with_capacity(self.model.len());
        for model in &self.model {
            models.push(self.model_file(model)?);
        }
        Ok(ExecutorPlan {
            scheduler: cluster::Scheduler { address: self.scheduler, tls: self.tls.read()? },
            bind: self.bind,
            is_insecure: self.insecure,
            advertise: self.advertise,
            models,
            vcores: self.vcores.get(),
            memory_limit: self.memory_limit.as_u64(),
        })
    }

    /// The model by the settings of stage one, so that both compute alike unless told otherwise.
    fn model_file(&self, model: &str) -> anyhow::Result<ModelFile> {
        let source = PolicySource::resolve(model, None)?;
        let flags = Settings {
            model: Some(model.to_owned()),
            precompute: PrecomputeSettings {
                device: self.device,
                max_tokens: self.max_tokens,
                ..PrecomputeSettings::default()
            },
            ..Settings::default()
        };
        let file = Pipeline::from_flags(&flags)?.model_file(source)?;
        Ok(if self.dtype.is_empty() { file } else { ModelFile { dtypes: self.dtype.clone(), ..file } })
    }
}

fn show(server: &str, event: &Event, printer: &mut Printer) {
    match event {
        Event::Listening { at } => printer.note(format_args!("{server}: listens at {at}")),
        Event::Joining { scheduler } => printer.note(format_args!("{server}: joins {scheduler}")),
        Event::Scored { n_pairs } => printer.note(format_args!("{server}: {n_pairs} pairs scored")),
        Event::Stopping => {
            printer.note(format_args!("{server}: stops; another Ctrl-C does not wait for what has begun"));
        }
        Event::Unheard { scheduler } => {
            printer.note(format_args!("{server}: stopped without a word to {scheduler}, which does not answer"));
        }
    }
}
