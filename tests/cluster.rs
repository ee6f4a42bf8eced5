//! Stage one and SQL on Ballista: scheduler and executor inside this process, on ports of the loopback that are free.

use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type};
use ballista_core::extension::SessionConfigExt;
use ballista_core::serde::BallistaCodec;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::SessionConfig;
use piref::cluster::{self, ClusterEngine, ClusterError, ClusterPlan, ClusterQueries, Scheduler, SchedulerAddress};
use piref::digest::Digest;
use piref::error::Hint;
use piref::interrupt::Interrupt;
use piref::model::ScoringDtype;
use piref::ops::Backend;
use piref::policy::PolicySource;
use piref::precompute::{self, Event, Outcome, Plan, Signals, Start};
use piref::query::{Elsewhere, QueryError, Resources, Session};
use piref::scoring::{ModelFile, ModelFiles, Models, Scorer, ScoringError};
use tokio::runtime::Runtime;

use crate::support::Case;
use crate::support::stages::{files, precompute_plan};

/// A cluster of one executor, for as long as it is held.
struct Standalone {
    address: SchedulerAddress,
    models: Arc<Counted>,
    _runtime: Runtime,
}

/// The tiny model, and how often it was asked for.
struct Counted {
    files: ModelFiles,
    n_calls: AtomicU64,
    /// What a call waits for, if somebody has closed it.
    gate: RwLock<()>,
}

impl Models for Counted {
    fn scorer(&self, digest: Option<Digest>) -> Result<Arc<Scorer>, ScoringError> {
        self.n_calls.fetch_add(1, Ordering::Relaxed);
        drop(self.gate.read().unwrap());
        self.files.scorer(digest)
    }

    fn digest(&self) -> Result<Digest, ScoringError> {
        self.files.digest()
    }
}

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.files.fmt(f)
    }
}

impl Standalone {
    /// With the tiny model in this number format.
    fn start(dtype: ScoringDtype) -> Self {
        let model = ModelFile {
            name: "fixtures/tiny".into(),
            source: PolicySource::resolve("fixtures/tiny", None).unwrap(),
            backend: Backend::cpu(),
            dtypes: vec![dtype],
            max_tokens: NonZeroUsize::new(512).unwrap(),
        };
        let files = ModelFiles::new(vec![model]);
        let models = Arc::new(Counted { files, n_calls: AtomicU64::new(0), gate: RwLock::default() });
        let functions = cluster::registry(&(Arc::clone(&models) as Arc<dyn Models>), None).unwrap();
        let runtime = Runtime::new().unwrap();
        let config = SessionConfig::new_with_ballista;
        let at = runtime.block_on(async {
            let builder = Arc::new(cluster::session_state);
            let codec = BallistaCodec::default();
            let at = ballista_scheduler::standalone::new_standalone_scheduler_with_builder(
                builder,
                Arc::new(config),
                codec.clone(),
            );
            let at = at.await.unwrap();
            let scheduler = SchedulerGrpcClient::connect(format!("http://localhost:{}", at.port())).await.unwrap();
            let environment = Arc::new(RuntimeEnv::default());
            ballista_executor::new_standalone_executor_from_builder(
                scheduler,
                1,
                Arc::new(config),
                Arc::new(move |_| Ok(Arc::clone(&environment))),
                codec,
                functions,
            )
            .await
            .unwrap();
            at
        });
        let address = format!("df://localhost:{}", at.port()).parse().unwrap();
        Self { address, models, _runtime: runtime }
    }

    fn scheduler(&self) -> Scheduler {
        Scheduler { address: self.address.clone(), tls: None }
    }

    fn engine(&self) -> ClusterEngine {
        self.engine_with(4, &[])
    }

    /// One with so many jobs under way.
    fn engine_with(&self, jobs: usize, settings: &[&str]) -> ClusterEngine {
        let settings = settings.iter().map(|text| text.parse().unwrap()).collect();
        ClusterEngine::new(ClusterPlan { scheduler: self.scheduler(), jobs, kernel: None, settings }).unwrap()
    }

    /// Where a session's queries run.
    fn queries(&self, settings: &[&str]) -> Arc<dyn Elsewhere> {
        let settings: Vec<_> = settings.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(ClusterQueries::new(&self.scheduler(), &settings).unwrap())
    }

    /// What a session needs whose queries have the executors score.
    fn scoring(&self, settings: &[&str]) -> Resources {
        let functions = piref::scoring::functions(&(Arc::new(ModelFiles::new(Vec::new())) as Arc<dyn Models>));
        Resources { elsewhere: Some(self.queries(settings)), functions, ..Resources::default() }
    }

    fn n_calls(&self) -> u64 {
        self.models.n_calls.load(Ordering::Relaxed)
    }
}

/// Many small jobs: two passes of 128 tokens each.
fn plan(out: &Path) -> Plan {
    Plan { max_tokens: NonZeroUsize::new(128).unwrap(), ..precompute_plan(out) }
}

fn finish(engine: &mut ClusterEngine, plan: &Plan) -> precompute::Summary {
    match precompute::run_on(engine, plan, &Interrupt::default(), &mut |_| {}).unwrap() {
        Outcome::Finished(summary) => summary,
        outcome @ (Outcome::Interrupted { .. } | Outcome::Missing(_)) => panic!("expected a table, found {outcome:?}"),
    }
}

#[test]
fn a_table_made_in_a_cluster_is_that_of_a_local_run_to_the_byte() {
    let cluster = Standalone::start(ScoringDtype::F32);
    let folder = tempfile::tempdir().unwrap();
    for signals in [Signals::Make, Signals::Skip] {
        let [local, remote] = ["local", "remote"].map(|name| folder.path().join(format!("{name}-{signals:?}")));
        let expected = crate::support::stages::precompute(&Plan { signals, ..precompute_plan(&local) });
        let mut places = Vec::new();
        let plan = Plan { signals, ..plan(&remote) };
        let outcome = precompute::run_on(&mut cluster.engine(), &plan, &Interrupt::default(), &mut |event| {
            if let Event::Connected { place } = event {
                places.push(place);
            }
        });
        let Outcome::Finished(found) = outcome.unwrap() else { panic!("interrupted by nobody") };
        assert_eq!((found.n_scored, found.n_tokens), (expected.n_scored, expected.n_tokens));
        assert_eq!(places, [format!("the cluster of `{}`", cluster.address)]);
        assert!(files(&local) == files(&remote), "with signals: {signals:?}");
    }
    assert!(cluster.n_calls() > 2, "several jobs a run: {}", cluster.n_calls());
}

#[test]
fn a_run_that_is_interrupted_goes_on_after_what_came_back() {
    let cluster = Standalone::start(ScoringDtype::F32);
    let folder = tempfile::tempdir().unwrap();
    let [local, remote] = ["local", "remote"].map(|name| folder.path().join(name));
    let expected = crate::support::stages::precompute(&precompute_plan(&local));

    let interrupt = Interrupt::default();
    let outcome = precompute::run_on(&mut cluster.engine(), &plan(&remote), &interrupt, &mut |event| {
        if matches!(event, Event::Scored { .. }) {
            interrupt.set();
        }
    });
    let Outcome::Interrupted { n_done, n_pairs } = outcome.unwrap() else { panic!("not interrupted") };
    assert!(0 < n_done && n_done < n_pairs, "{n_done} of {n_pairs}");

    let summary = finish(&mut cluster.engine(), &plan(&remote));
    assert_eq!(summary.n_scored, expected.n_scored - n_done, "what came back is not scored again");
    assert!(files(&local) == files(&remote));
}

#[test]
fn injected_faults_change_nothing_in_the_table() {
    let cluster = Standalone::start(ScoringDtype::F32);
    let folder = tempfile::tempdir().unwrap();
    let [local, remote] = ["local", "remote"].map(|name| folder.path().join(name));
    crate::support::stages::precompute(&precompute_plan(&local));
    let chaos = [
        "ballista.testing.chaos_execution.enabled=true",
        "ballista.testing.chaos_execution.fault_type=transient",
        "ballista.testing.chaos_execution.probability=0.25",
        // By the generator of the engine, the first tries of jobs 0 and 1 fail, and no job does five times.
        "ballista.testing.chaos_execution.seed=21",
    ];
    let mut notes = Vec::new();
    let mut engine = cluster.engine_with(4, &chaos);
    precompute::run_on(&mut engine, &plan(&remote), &Interrupt::default(), &mut |event| {
        if let Event::Note(line) = event {
            notes.push(line);
        }
    })
    .unwrap();
    assert!(files(&local) == files(&remote));
    let is_retry = |line: &String| line.contains("submitted again") && line.contains("ChaosExec");
    assert!(notes.iter().any(is_retry), "the seed injects no fault at all: {notes:?}");
}

#[test]
fn an_executor_that_computes_otherwise_is_refused() {
    let cluster = Standalone::start(ScoringDtype::Bf16);
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan { start: Start::Fresh, ..plan(&folder.path().join("t")) };
    let error =
        precompute::run_on(&mut cluster.engine_with(1, &[]), &plan, &Interrupt::default(), &mut |_| {}).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot score pairs on the cluster of `{}`", cluster.address));
    let cause = std::error::Error::source(&error).unwrap().downcast_ref::<ClusterError>().unwrap();
    assert!(cause.to_string().contains("OtherModel"), "{cause}");
    assert!(cause.hint().unwrap().contains("--model"), "{cause}");
    assert_eq!(cluster.n_calls(), 1, "no second try: it would end alike");
}

#[test]
fn no_scheduler_is_said_at_once() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let scheduler = Scheduler { address: SchedulerAddress::of(free), tls: None };
    let plan = ClusterPlan { scheduler: scheduler.clone(), jobs: 1, kernel: None, settings: Vec::new() };
    let error = ClusterEngine::new(plan).unwrap_err();
    assert_eq!(error.to_string(), format!("no scheduler answers at `{scheduler}`"));
    assert!(error.hint().unwrap().contains(&free.port().to_string()));
}

#[test]
fn queries_over_tables_run_in_the_cluster() {
    let cluster = Standalone::start(ScoringDtype::F32);
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("t");
    let n_pairs = crate::support::stages::precompute(&precompute_plan(&table)).n_pairs;
    let ask = |session: &Session, sql: &str| session.query(sql).unwrap();
    let mut remote =
        Session::with(Resources { elsewhere: Some(cluster.queries(&[])), ..Resources::default() }).unwrap();
    let mut local = Session::new().unwrap();
    for session in [&mut remote, &mut local] {
        session.register(&table).unwrap();
    }

    let rows = ask(&remote, "SELECT count(*) AS n, sum(reward(0.1, ref_chosen_logps, 0.0)) AS r FROM pairs");
    let expected = ask(&local, "SELECT sum(reward(0.1, ref_chosen_logps, 0.0)) AS r FROM pairs");
    assert_eq!(rows[0]["n"].as_primitive::<Int64Type>().value(0), i64::try_from(n_pairs).unwrap());
    let sum = |rows: &arrow::array::RecordBatch| rows["r"].as_primitive::<Float64Type>().value(0);
    assert!((sum(&rows[0]) - sum(&expected[0])).abs() <= 1e-12 * sum(&expected[0]).abs(), "another order of terms");

    let views = ask(&remote, "SELECT count(*) AS n FROM scored UNION ALL SELECT count(*) AS n FROM pairs");
    let counts: Vec<i64> =
        views.iter().flat_map(|rows| rows["n"].as_primitive::<Int64Type>().values().to_vec()).collect();
    assert_eq!(counts, [i64::try_from(n_pairs).unwrap(); 2]);

    // The executor has one model, so that no digest is needed; the table was made with it.
    let sql = "SELECT count(*) AS n FROM (SELECT ref_logps(NULL, prompt_ids, chosen_ids, rejected_ids) AS s, * FROM pairs) \
               WHERE s['ref_chosen_logps'] = ref_chosen_logps AND s['ref_rejected_logps'] = ref_rejected_logps";
    let before = cluster.n_calls();
    let mut scoring = Session::with(cluster.scoring(&[])).unwrap();
    scoring.register(&table).unwrap();
    let rows = ask(&scoring, sql);
    assert_eq!(rows[0]["n"].as_primitive::<Int64Type>().value(0), i64::try_from(n_pairs).unwrap());
    assert!(cluster.n_calls() > before, "the executor has scored them");

    let metrics = folder.path().join("metrics.jsonl");
    std::fs::write(&metrics, "{\"a\": 1}\n").unwrap();
    remote.register(&metrics).unwrap();
    let error = remote.query("SELECT * FROM metrics").unwrap_err();
    assert!(error.hint().unwrap().contains("Parquet files alone"), "{error:?}");
}

#[test]
fn a_query_that_nobody_waits_for_ends_in_the_cluster_too() {
    let cluster = Standalone::start(ScoringDtype::F32);
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("t");
    crate::support::stages::precompute(&precompute_plan(&table));
    let interrupt = Interrupt::default();
    let resources = Resources { interrupt: interrupt.clone(), ..cluster.scoring(&[]) };
    let mut session = Session::with(resources).unwrap();
    session.register(&table).unwrap();
    let scores = "SELECT ref_logps(NULL, prompt_ids, chosen_ids, rejected_ids)['ref_chosen_logps'] AS s FROM pairs";
    let one_task = format!("SELECT sum(s) AS s FROM ({scores})");
    session.query(&one_task).unwrap();
    let n_a_task = cluster.n_calls();
    // Four of them, one after another: the executor has one core.
    let tasks = [scores; 4].join(" UNION ALL ");

    let gate = cluster.models.gate.write().unwrap();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| session.query(&format!("SELECT sum(s) AS s FROM ({tasks})")));
        wait_until(|| cluster.n_calls() > n_a_task);
        interrupt.set();
        assert!(matches!(asked.join().unwrap(), Err(QueryError::Interrupted)));
    });
    drop(gate);
    interrupt.clear();
    // What is left of the query would come before this one.
    session.query(&one_task).unwrap();
    let n_calls = cluster.n_calls();
    assert!(
        n_calls <= 3 * n_a_task,
        "{n_calls} calls, {n_a_task} a task: only the first task of the query is computed"
    );
}

fn wait_until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A server, until the end of a test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Starts one, and waits until it has said this.
    fn start(case: &Case, arguments: &[&str], said: &str) -> Self {
        let log = case.path().join(format!("{}.log", arguments[1]));
        let mut command = case.command(arguments.iter().copied());
        let child = command.stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
        let server = Self(child);
        wait_until(|| std::fs::read_to_string(&log).unwrap().contains(said));
        server
    }
}

/// Programs of their own, which all show one certificate.
#[test]
fn a_cluster_with_a_certificate_answers_to_who_has_it() {
    let project = env!("CARGO_MANIFEST_DIR");
    let tls = |name: &str| {
        let file = |end: &str| format!("{project}/fixtures/tls/{name}.{end}");
        ["--tls-cert".to_owned(), file("pem"), "--tls-key".to_owned(), file("key")]
    };
    let (ours, strangers) = (tls("cluster"), tls("stranger"));
    let at = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let tiny = format!("{project}/fixtures/tiny");
    let case = Case::new();
    let with = |arguments: &[&str], tls: &[String]| -> Vec<String> {
        arguments.iter().map(|&word| word.to_owned()).chain(tls.iter().cloned()).collect()
    };
    let words = |arguments: &[String]| arguments.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
    let start = |arguments: Vec<String>, said: &str| {
        let arguments = words(&arguments);
        Server::start(&case, &arguments.split('\n').collect::<Vec<_>>(), said)
    };
    let _scheduler = start(with(&["cluster", "scheduler", "--bind", &at], &ours), "listens at");
    let executor = ["cluster", "executor", "--scheduler", &at, "--model", &tiny];
    let _executor = start(with(&executor, &ours), "joins");

    let pairs = format!("{project}/fixtures/pairs/standard.jsonl");
    let precompute = ["precompute", "--model", &tiny, "--data", &pairs, "--max-length", "256", "--limit", "12"];
    let run = |out: &str, cluster: bool, tls: &[String]| {
        let mut arguments = with(&precompute, tls);
        arguments.extend(["--out", out].map(ToOwned::to_owned));
        if cluster {
            arguments.extend(["--cluster", &at].map(ToOwned::to_owned));
        }
        let arguments = words(&arguments);
        case.run(arguments.split('\n'))
    };
    run("here", false, &[]).success();
    run("there", true, &ours).success();
    assert!(files(&case.path().join("there")) == files(&case.path().join("here")), "the tables differ");

    let there = case.path().join("there").display().to_string();
    let query = ["sql", &there, "-c", "SELECT count(*) AS n FROM pairs", "--format", "csv", "--cluster", &at];
    let query = words(&with(&query, &ours));
    assert_eq!(case.run(query.split('\n')).success().stdout, "n\n12\n");

    for (who, tls) in [("nobody", &[][..]), ("a stranger", &strangers)] {
        let refused = run("stolen", true, tls);
        assert!(refused.code == Some(1) && refused.stderr.contains("no scheduler answers at"), "{who}: {refused}");
    }
}
