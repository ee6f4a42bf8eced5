//! Contract = code = a file just written, for every file piref writes; a file of another version is refused by it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use piref::eval::BestMetric;
use piref::inspect::inspect;
use piref::interrupt::Interrupt;
use piref::pipeline::Axis;
use piref::precompute::Pairs;
use piref::query::Session;
use piref::table::schema::{
    Column, ColumnType, evals, findings, metrics, reference, rejects, samples, sft_metrics, signals, sweep,
};
use piref::table::{
    Finding, FindingsWriter, Level, MANIFEST, Manifest, ParquetFile, REJECTS, ReferenceTable, StepFiles, signals_name,
};
use piref::{sweep as sweeps, train};
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::support::stages;

/// A contract file, parsed.
struct Contract(toml::Table);

/// `[0, inf)`, parsed.
struct Range {
    text: String,
    low: (f64, bool),
    high: (f64, bool),
}

impl Range {
    fn parse(text: &str) -> Self {
        let inner = &text[1..text.len() - 1];
        let (low, high) = inner.split_once(", ").unwrap_or_else(|| panic!("{text}"));
        let (opens, closes) = (text.chars().next().unwrap(), text.chars().last().unwrap());
        assert!("[(".contains(opens) && "])".contains(closes), "{text}");
        Self {
            text: text.to_owned(),
            low: (low.parse().unwrap(), opens == '['),
            high: (high.parse().unwrap(), closes == ']'),
        }
    }

    #[track_caller]
    fn check(&self, name: &str, value: f64) {
        let above = value > self.low.0 || (self.low.1 && value == self.low.0);
        let below = value < self.high.0 || (self.high.1 && value == self.high.0);
        assert!(above && below, "`{name}`: {value} is not in {}", self.text);
    }
}

impl Contract {
    /// Reads a contract and checks that it is complete: a number has unit and range, a text or an answer neither, all have
    /// a doc.
    #[track_caller]
    fn load(name: &str) -> Self {
        let contract = Self(fs::read_to_string(Path::new("schemas").join(name)).unwrap().parse().unwrap());
        assert_eq!(contract.version() + ".toml", name);
        contract.check_complete();
        contract
    }

    /// The contract of the other kind of line that is in the metrics.
    #[track_caller]
    fn of_evaluations(&self) -> Self {
        let mut table = self.0.clone();
        let columns = table.remove("eval_column").unwrap();
        table.insert("column".into(), columns);
        let contract = Self(table);
        contract.check_complete();
        contract
    }

    #[track_caller]
    fn check_complete(&self) {
        for column in self.columns() {
            let is_number = !matches!(text(column, "type"), Some("Utf8" | "List<Boolean>"));
            assert_eq!(text(column, "unit").is_some(), is_number, "unit of {column}");
            assert_eq!(text(column, "range").is_some(), is_number, "range of {column}");
            assert!(text(column, "doc").is_some_and(|doc| doc.len() > 5 && doc.ends_with('.')), "doc of {column}");
            assert!(column["nullable"].is_bool(), "{column}");
        }
    }

    fn columns(&self) -> Vec<&toml::Table> {
        let columns = self.0.get("column").or_else(|| self.0.get("field")).unwrap();
        columns.as_array().unwrap().iter().map(|column| column.as_table().unwrap()).collect()
    }

    fn names(&self) -> Vec<&str> {
        self.columns().into_iter().map(|column| text(column, "name").unwrap()).collect()
    }

    fn version(&self) -> String {
        format!("{}.v{}", self.0["table"].as_str().unwrap(), self.0["version"])
    }

    #[track_caller]
    fn check_code(&self, version: &str, columns: &[Column]) {
        assert_eq!(self.version(), version);
        assert_eq!(self.names(), columns.iter().map(|column| column.name).collect::<Vec<_>>());
        for (written, coded) in self.columns().into_iter().zip(columns) {
            assert_eq!(text(written, "type"), Some(coded.data_type.to_string().as_str()), "{}", coded.name);
            assert_eq!(written["nullable"].as_bool(), Some(coded.nullable), "{}", coded.name);
            assert_eq!(text(written, "unit"), coded.unit, "{}", coded.name);
            assert_eq!(text(written, "range"), coded.range, "{}", coded.name);
            assert_eq!(text(written, "doc"), Some(coded.doc), "{}", coded.name);
        }
    }

    /// Holds a Parquet file just written against the contract: columns, footer keys, and every number in its range.
    #[track_caller]
    fn check_parquet(&self, path: &Path) {
        let builder = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
        for (written, field) in self.columns().into_iter().zip(builder.schema().fields()) {
            assert_eq!(text(written, "name"), Some(field.name().as_str()));
            assert_eq!(written["nullable"].as_bool(), Some(field.is_nullable()), "{}", field.name());
            for key in ["doc", "unit", "range"] {
                assert_eq!(text(written, key), field.metadata().get(key).map(String::as_str), "{}", field.name());
            }
            let found = match field.data_type() {
                DataType::List(item) => format!("List<{}>", item.data_type()),
                found => found.to_string(),
            };
            assert_eq!(text(written, "type"), Some(found.as_str()), "{}", field.name());
        }
        let footer = builder.metadata().file_metadata().key_value_metadata().unwrap();
        let keys: Vec<&str> =
            footer.iter().map(|entry| entry.key.as_str()).filter(|key| key.starts_with("piref.")).collect();
        let metadata: Vec<&str> =
            self.0["metadata"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
        assert_eq!(keys, metadata);

        let mut n_rows = 0;
        for batch in builder.build().unwrap() {
            let batch = batch.unwrap();
            n_rows += batch.num_rows();
            for column in self.columns() {
                check_numbers(column, batch.column_by_name(text(column, "name").unwrap()).unwrap());
            }
        }
        assert!(n_rows > 0, "{} shows nothing", path.display());
    }
}

fn text<'a>(column: &'a toml::Table, key: &str) -> Option<&'a str> {
    column.get(key).map(|value| value.as_str().unwrap())
}

#[track_caller]
fn check_numbers(column: &toml::Table, array: &ArrayRef) {
    let Some(range) = text(column, "range").map(Range::parse) else { return };
    let numbers = array.as_list_opt::<i32>().map_or(array, |list| list.values());
    let numbers = cast(numbers, &DataType::Float64).unwrap();
    for value in numbers.as_primitive::<Float64Type>().iter().flatten() {
        range.check(text(column, "name").unwrap(), value);
    }
}

/// Both stages on the tiny model, with a chat template and with a row that is rejected.
fn run() -> Run {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.jsonl");
    let run = Run { path: folder.path().join("run"), _folder: folder };
    fs::write(
        &bad,
        "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n{\"prompt\": \"a\", \"chosen\": \"b\"}\n",
    )
    .unwrap();
    let mut plan = stages::precompute_plan(&run.path().join("reference"));
    if let Pairs::Files { paths, .. } = &mut plan.pairs {
        paths.insert(0, bad);
    }
    plan.max_reject_rate = 0.5;
    stages::precompute(&plan);
    stages::train(&run.train_plan());
    write_findings(&run.path().join("findings.parquet"));
    run
}

/// A run folder that goes away with its value.
struct Run {
    path: PathBuf,
    _folder: TempDir,
}

impl Run {
    fn path(&self) -> &Path {
        &self.path
    }

    fn train_plan(&self) -> train::Plan {
        let mut plan = stages::train_plan(&self.path().join("reference"), self.path());
        plan.course.length = train::Length::Steps(3.try_into().unwrap());
        plan.course.save_steps = 2.try_into().ok();
        plan.eval = Some(train::EvalPlan {
            table: Some(plan.table.clone()),
            steps: 2.try_into().ok(),
            metric_for_best_model: BestMetric::Loss,
            early_stopping: None,
            load_best_model_at_end: false,
            samples: Some(train::SamplePlan {
                n_prompts: 2.try_into().unwrap(),
                max_new_tokens: 4.try_into().unwrap(),
            }),
        });
        plan
    }
}

fn write_findings(path: &Path) {
    let mut file = FindingsWriter::create(path).unwrap();
    for (pair_id, level, value) in [(Some("p0"), Level::Error, Some(0.25)), (None, Level::Warn, None)] {
        let pair_id = pair_id.map(str::to_owned);
        file.push(&Finding { pair_id, check: "rescore".into(), level, value, evidence: "somewhere".into() }).unwrap();
    }
    file.finish().unwrap();
}

#[test]
fn contract_code_and_written_files_agree() {
    let run = run();
    let table = run.path().join("reference");

    let contract = Contract::load("reference.v1.toml");
    contract.check_code(reference::VERSION, reference::COLUMNS);
    for part in ["part-00000.parquet", "part-00001.parquet"] {
        contract.check_parquet(&table.join(part));
    }

    let contract = Contract::load("signals.v1.toml");
    contract.check_code(signals::VERSION, signals::COLUMNS);
    for part_idx in 0..2 {
        contract.check_parquet(&table.join(signals_name(part_idx)));
    }

    let contract = Contract::load("rejects.v2.toml");
    contract.check_code(rejects::VERSION, rejects::COLUMNS);
    contract.check_parquet(&table.join(REJECTS));

    let contract = Contract::load("findings.v1.toml");
    contract.check_code(findings::VERSION, findings::COLUMNS);
    contract.check_parquet(&run.path().join("findings.parquet"));

    let contract = Contract::load("metrics.v1.toml");
    contract.check_code(metrics::VERSION, metrics::COLUMNS);
    let of_evaluations = contract.of_evaluations();
    of_evaluations.check_code(metrics::VERSION, metrics::EVAL_COLUMNS);
    check_metrics(&contract, &of_evaluations, &run.path().join(train::METRICS));

    let contract = Contract::load("evals.v1.toml");
    contract.check_code(evals::VERSION, evals::COLUMNS);
    for step in [0, 2, 3] {
        contract.check_parquet(&StepFiles::Evals.path(&run.path().join(train::EVALS), step));
    }

    let contract = Contract::load("samples.v1.toml");
    contract.check_code(samples::VERSION, samples::COLUMNS);
    for step in [0, 2, 3] {
        let path = StepFiles::Samples.path(&run.path().join(train::SAMPLES), step);
        let lines = fs::read_to_string(path).unwrap();
        assert_eq!(lines.lines().count(), 2);
        for line in lines.lines() {
            check_line(&contract, line, samples::VERSION);
        }
    }

    let contract = Contract::load("sft_metrics.v1.toml");
    contract.check_code(sft_metrics::VERSION, sft_metrics::COLUMNS);
    let sft = tempfile::tempdir().unwrap();
    stages::sft(&stages::sft_plan(&["fixtures/pairs/standard.jsonl"], sft.path(), 3));
    let lines = fs::read_to_string(sft.path().join(train::METRICS)).unwrap();
    assert_eq!(lines.lines().count(), 3);
    for line in lines.lines() {
        check_line(&contract, line, sft_metrics::VERSION);
    }

    let contract = Contract::load("manifest.v1.toml");
    assert_eq!(contract.version(), "manifest.v1");
    check_manifest(&contract, &table.join(MANIFEST));

    let contract = Contract::load("sweep.v1.toml");
    contract.check_code(sweep::VERSION, sweep::COLUMNS);
    contract.check_parquet(&swept(&run));

    // Every contract there is, is one of these.
    assert_eq!(fs::read_dir("schemas").unwrap().count(), 10);
}

/// The comparison of a sweep of two short runs on the table of `run`.
fn swept(run: &Run) -> PathBuf {
    let (pipeline, out) = (run.path().with_file_name("p.toml"), run.path().with_file_name("sweep"));
    fs::write(&pipeline, "model = 'fixtures/tiny'\n[train]\nbatch_size = 8\nmax_steps = 1\n").unwrap();
    let plan = sweeps::Plan::new(sweeps::Request {
        pipeline,
        out: out.clone(),
        table: Some(run.path().join("reference")),
        axes: vec![Axis::parse("train.loss.loss_type=sigmoid,[sigmoid,sft]").unwrap()],
        list: None,
        rank_by: None,
        last_steps: sweeps::LAST_STEPS,
        start: train::Start::Resume,
    });
    let outcome = sweeps::run(&plan.unwrap(), &Interrupt::default(), &mut |_| {}).unwrap();
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    out.join(sweeps::SWEEP)
}

#[track_caller]
fn check_metrics(of_steps: &Contract, of_evaluations: &Contract, path: &Path) {
    let lines = fs::read_to_string(path).unwrap();
    let is_evaluation: Vec<bool> = lines.lines().map(|line| line.contains("\"eval_loss\"")).collect();
    assert_eq!(is_evaluation, [true, false, false, true, false, true]);
    for (line, is_evaluation) in lines.lines().zip(is_evaluation) {
        let contract = if is_evaluation { of_evaluations } else { of_steps };
        check_line(contract, line, metrics::VERSION);
    }
}

#[track_caller]
fn check_line(contract: &Contract, line: &str, version: &str) {
    let row: Map<String, Value> = serde_json::from_str(line).unwrap();
    assert_eq!(row.keys().collect::<Vec<_>>(), contract.names());
    for column in contract.columns() {
        check_value(column, &row[text(column, "name").unwrap()]);
    }
    assert_eq!(row["schema"], version);
}

#[track_caller]
fn check_manifest(contract: &Contract, path: &Path) {
    let manifest: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut fields = BTreeMap::new();
    let mut order = Vec::new();
    flatten("", &manifest, &mut fields, &mut order);
    assert_eq!(order, contract.names());
    for column in contract.columns() {
        for value in &fields[text(column, "name").unwrap()] {
            check_value(column, value);
        }
    }
    assert_eq!(fields["rejects.rows"], fields["n_rejected"]);
    assert!(fields["parts[].rows"].len() > 1 && fields["provenance.sources[].rows"].len() > 1);
}

/// The values under each dotted name, and the names in the order in which they first occur.
fn flatten(name: &str, value: &Value, fields: &mut BTreeMap<String, Vec<Value>>, order: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(&name, value, fields, order);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| flatten(&format!("{name}[]"), item, fields, order)),
        value => {
            if !fields.contains_key(name) {
                order.push(name.to_owned());
            }
            fields.entry(name.to_owned()).or_default().push(value.clone());
        }
    }
}

#[track_caller]
fn check_value(column: &toml::Table, value: &Value) {
    let fits = match text(column, "type").unwrap() {
        "Int64" => value.is_i64() || value.is_u64(),
        "Float64" => value.is_f64(),
        "Utf8" => value.is_string(),
        other => panic!("no such type in JSON: {other}"),
    };
    assert!(fits || (value.is_null() && column["nullable"].as_bool().unwrap()), "{column}: {value}");
    if let (Some(range), Some(value)) = (text(column, "range"), value.as_f64()) {
        Range::parse(range).check(text(column, "name").unwrap(), value);
    }
}

#[test]
fn every_type_of_a_contract_has_a_name_of_its_own() {
    let types = [
        ColumnType::Utf8,
        ColumnType::Int32,
        ColumnType::Int64,
        ColumnType::Float64,
        ColumnType::ListUInt32,
        ColumnType::ListFloat32,
        ColumnType::ListBoolean,
    ];
    let names: std::collections::BTreeSet<String> = types.iter().map(ToString::to_string).collect();
    assert_eq!(names.len(), types.len());
}

/// Writes the rows of a Parquet file again, under another version.
fn with_version(path: &Path, version: &str) -> PathBuf {
    let builder = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let footer = builder.metadata().file_metadata().key_value_metadata().unwrap().clone();
    let schema = builder.schema().clone();
    let batches: Vec<RecordBatch> = builder.build().unwrap().collect::<Result<_, _>>().unwrap();
    let value = |key: &str, value: Option<String>| match key {
        "piref.schema" => version.to_owned(),
        _ => value.unwrap(),
    };
    let footer = footer.into_iter().filter(|entry| entry.key.starts_with("piref."));
    let footer: Vec<(String, String)> =
        footer.map(|entry| (entry.key.clone(), value(&entry.key, entry.value))).collect();
    let footer = footer.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    let other = path.with_file_name(format!("other-{}", path.file_name().unwrap().to_str().unwrap()));
    let mut file = ParquetFile::create(&other, schema, footer).unwrap();
    for batch in &batches {
        file.write(batch).unwrap();
    }
    file.finish().unwrap();
    other
}

#[track_caller]
fn refused<T>(result: Result<T, impl std::error::Error>, expected: &str, found: &str) {
    let Err(error) = result else { panic!("a file of version {found} was read") };
    let message = error.to_string();
    assert!(message.contains(expected) && message.contains(found), "{message}");
}

#[test]
fn parquet_files_of_older_and_newer_versions_are_refused_by_version() {
    let run = run();
    let table = run.path().join("reference");
    for number in [0, 2] {
        let version = format!("reference.v{number}");
        let other = with_version(&table.join("part-00000.parquet"), &version);
        refused(ReferenceTable::open(&other), reference::VERSION, &version);
        refused(inspect(&other), reference::VERSION, &version);
        refused(Session::new().unwrap().register(&other), reference::VERSION, &version);

        let version = format!("findings.v{number}");
        let other = with_version(&run.path().join("findings.parquet"), &version);
        refused(inspect(&other), findings::VERSION, &version);
        refused(Session::new().unwrap().register(&other), findings::VERSION, &version);

        let version = format!("evals.v{number}");
        let good = StepFiles::Evals.path(&run.path().join(train::EVALS), 2);
        let other = with_version(&good, &version);
        refused(inspect(&other), evals::VERSION, &version);
        refused(Session::new().unwrap().register(&other), evals::VERSION, &version);
        // In its place, where SQL finds it by its name.
        let bytes = fs::read(&good).unwrap();
        fs::rename(&other, &good).unwrap();
        refused(Session::new().unwrap().register(run.path()), evals::VERSION, &version);
        fs::write(&good, bytes).unwrap();

        let version = format!("signals.v{number}");
        let good = table.join(signals_name(0));
        let other = with_version(&good, &version);
        refused(inspect(&other), signals::VERSION, &version);
        refused(Session::new().unwrap().register(&other), signals::VERSION, &version);
        // In its place, where SQL finds it by the manifest.
        let bytes = fs::read(&good).unwrap();
        fs::rename(&other, &good).unwrap();
        let manifest = fs::read_to_string(table.join(MANIFEST)).unwrap();
        let mut listed: Value = serde_json::from_str(&manifest).unwrap();
        listed["parts"][0]["signals"]["bytes"] = fs::metadata(&good).unwrap().len().into();
        fs::write(table.join(MANIFEST), listed.to_string()).unwrap();
        refused(Session::new().unwrap().register(&table), signals::VERSION, &version);
        fs::write(&good, bytes).unwrap();
        fs::write(table.join(MANIFEST), manifest).unwrap();

        // Version 1 is read.
        let version = format!("rejects.v{}", number + number / 2);
        let other = with_version(&table.join(REJECTS), &version);
        refused(inspect(&other), rejects::VERSION, &version);
        // In its place, where SQL finds it by the manifest.
        let place = table.join(REJECTS);
        let good = fs::read(&place).unwrap();
        fs::rename(&other, &place).unwrap();
        let text = fs::read_to_string(table.join(MANIFEST)).unwrap();
        let mut manifest: Value = serde_json::from_str(&text).unwrap();
        manifest["rejects"]["bytes"] = fs::metadata(&place).unwrap().len().into();
        fs::write(table.join(MANIFEST), manifest.to_string()).unwrap();
        refused(Session::new().unwrap().register(&table), rejects::VERSION, &version);
        fs::write(&place, good).unwrap();
        fs::write(table.join(MANIFEST), text).unwrap();
    }
}

#[test]
fn manifests_of_older_and_newer_versions_are_refused_by_version() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    stages::precompute(&stages::precompute_plan(&table));
    let text = fs::read_to_string(table.join(MANIFEST)).unwrap();
    for number in ["0", "2"] {
        // Another version may have other fields: the number comes first.
        let text = text.replace("\"format_version\": 1", &format!("\"format_version\": {number}"));
        fs::write(table.join(MANIFEST), text.replace("\"n_pairs\"", "\"n_rows\"")).unwrap();
        refused(Manifest::load(&table), "expected 1", &format!("format version {number}"));
        refused(ReferenceTable::open(&table), "expected 1", &format!("format version {number}"));
        refused(inspect(&table), "expected 1", &format!("format version {number}"));
    }
}

#[test]
fn samples_of_older_and_newer_versions_are_refused_by_version() {
    let run = run();
    let path = StepFiles::Samples.path(&run.path().join(train::SAMPLES), 2);
    let good = fs::read_to_string(&path).unwrap();
    for name in ["samples.v0", "samples.v2"] {
        fs::write(&path, good.replace(samples::VERSION, name)).unwrap();
        refused(Session::new().unwrap().register(run.path()), samples::VERSION, name);
        refused(Session::new().unwrap().register(&path), samples::VERSION, name);
    }
    fs::write(&path, good.replace("\"schema\":\"samples.v1\",", "")).unwrap();
    refused(Session::new().unwrap().register(run.path()), samples::VERSION, "none");
}

#[test]
fn metrics_of_older_and_newer_versions_are_refused_by_version() {
    let run = run();
    let path = run.path().join(train::METRICS);
    let good = fs::read_to_string(&path).unwrap();
    for found in ["\"metrics.v0\"", "\"metrics.v2\""] {
        fs::write(&path, good.replace("\"metrics.v1\"", found)).unwrap();
        let name = found.trim_matches('"');
        refused(Session::new().unwrap().register(run.path()), metrics::VERSION, name);
        refused(Session::new().unwrap().register(&path), metrics::VERSION, name);
        refused(inspect(run.path()), metrics::VERSION, name);
        // A run that would go on from its checkpoint does not write two versions into one file.
        fs::remove_dir_all(run.path().join("train/checkpoints/step-3")).unwrap_or_default();
        fs::remove_file(run.path().join("findings.parquet")).unwrap_or_default();
        refused(train::run(&run.train_plan(), &Interrupt::default(), &mut |_| {}), metrics::VERSION, name);
    }
    let unversioned: String = good.lines().map(|line| line.replace("\"schema\":\"metrics.v1\",", "") + "\n").collect();
    fs::write(&path, unversioned).unwrap();
    refused(Session::new().unwrap().register(run.path()), metrics::VERSION, "none");

    // A last line that was cut short by a kill is dropped, as before.
    let kept: String = good.lines().take(4).flat_map(|line| [line, "\n"]).collect();
    fs::write(&path, kept + "{\"schema\":\"metr").unwrap();
    stages::train(&run.train_plan());
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 6);
}
