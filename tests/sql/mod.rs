//! Queries with their expected rows beside them: `*.sql`, expected rows as CSV in lines that start with `--= `.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Float32Type, Schema};
use piref::data::{Reject, RejectKind, Source};
use piref::digest::Digest;
use piref::io;
use piref::query::{self, Format, Session};
use piref::table::schema::reference;
use piref::table::{Manifest, ModelProvenance, PairTokenLogps, Provenance, Rejects, TableFolder, assemble, write_part};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sql");

#[test]
fn queries_over_a_run_give_the_rows_beside_them() {
    let run = tempfile::tempdir().unwrap();
    write_reference(&run.path().join("reference"));
    io::create_dir(&run.path().join("train")).unwrap();
    io::copy(&Path::new(HERE).join("metrics.jsonl"), &run.path().join("train/metrics.jsonl")).unwrap();
    let mut session = Session::new().unwrap();
    session.register(run.path()).unwrap();

    for file in ["pairs.sql", "metrics.sql", "logps.sql"] {
        let text = io::read_text(&Path::new(HERE).join(file)).unwrap();
        let cases: Vec<&str> = text.split("\n\n").collect();
        assert!(cases.len() > 1, "{file}");
        for case in cases {
            let (sql, expected): (Vec<&str>, Vec<&str>) = case.lines().partition(|line| !line.starts_with("--= "));
            let expected = expected.join("\n").replace("--= ", "");
            assert!(!expected.is_empty(), "{file}: a query without expected rows\n{case}");
            let mut found = Vec::new();
            query::run(&session, &sql.join("\n"), Format::Csv, &mut found).unwrap_or_else(|error| {
                panic!("{file}: {error}: {}\n{case}", std::error::Error::source(&error).unwrap());
            });
            assert_eq!(String::from_utf8(found).unwrap().trim_end(), expected, "{file}\n{case}");
        }
    }
}

#[test]
fn the_metrics_of_the_queries_are_those_of_the_contract() {
    let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/metrics.v1.toml");
    let contract: toml::Table = io::read_text(&contract).unwrap().parse().unwrap();
    let names: Vec<&str> =
        contract["column"].as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap()).collect();
    for line in io::read_text(&Path::new(HERE).join("metrics.jsonl")).unwrap().lines() {
        let row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        assert_eq!(row.keys().collect::<Vec<_>>(), names);
    }
}

/// The table of `pairs.jsonl`, in two parts, with one reject.
fn write_reference(folder: &Path) {
    let rows = read_rows();
    let table = TableFolder::claim(folder).unwrap();
    let parts = [(0, rows.slice(0, 3)), (1, rows.slice(3, 1))]
        .map(|(part_idx, rows)| write_part(&table.part_path(part_idx), &assembled(&rows), &provenance()).unwrap());
    let mut rejects = Rejects::new(&table.rejects_path());
    let source = Arc::new(Source { path: "train.jsonl".into(), split: "train".into() });
    rejects
        .push(
            &Reject { source, row_idx: 2, line: Some(3), reason: "`chosen` is a number".into() },
            RejectKind::Malformed,
        )
        .unwrap();
    table.finish(&Manifest::new(provenance(), parts.to_vec(), rejects.finish().unwrap().0)).unwrap();
}

fn read_rows() -> RecordBatch {
    let schema = reference::schema(&[]).unwrap();
    let mut fields: Vec<Field> =
        schema.fields()[..reference::STORE_COLUMNS].iter().map(|field| field.as_ref().clone()).collect();
    for name in ["chosen_token_logps", "rejected_token_logps"] {
        fields.push(Field::new(name, DataType::new_list(DataType::Float32, false), false));
    }
    for name in ["score_chosen", "score_rejected"] {
        fields.push(Field::new(name, DataType::Float64, true));
    }
    let reader = io::open_decoded(&Path::new(HERE).join("pairs.jsonl")).unwrap();
    let mut batches = arrow::json::ReaderBuilder::new(Arc::new(Schema::new(fields))).build(reader).unwrap();
    batches.next().unwrap().unwrap()
}

fn assembled(rows: &RecordBatch) -> RecordBatch {
    let lists = |name: &str| {
        let lists = rows.column_by_name(name).unwrap().as_list::<i32>();
        lists.iter().map(|list| list.unwrap().as_primitive::<Float32Type>().values().to_vec()).collect::<Vec<_>>()
    };
    let logps: Vec<PairTokenLogps> = lists("chosen_token_logps")
        .into_iter()
        .zip(lists("rejected_token_logps"))
        .map(|(chosen, rejected)| PairTokenLogps { chosen, rejected })
        .collect();
    let pass_through = ["score_chosen", "score_rejected"].map(|name| {
        let (idx, field) = rows.schema_ref().column_with_name(name).unwrap();
        (Arc::new(field.clone()), Arc::clone(rows.column(idx)))
    });
    assemble(rows, &pass_through, &logps).unwrap()
}

fn provenance() -> Provenance {
    Provenance {
        schema: reference::VERSION.into(),
        crate_version: "0.1.0".into(),
        model: ModelProvenance {
            path: "tiny".into(),
            architecture: "llama".into(),
            weights_digest: Digest::of(b"weights"),
            config_digest: Digest::of(b"config"),
            adapter_digest: None,
            identity: None,
        },
        tokenizer_digest: Digest::of(b"tokenizer"),
        chat_template: None,
        dtype: "f32".into(),
        kernel: "test.1".into(),
        max_length: Some(1024),
        truncation_mode: "keep_start".into(),
        eos_rule: "append".into(),
        boundary_rule: "joint".into(),
        sources: Vec::new(),
    }
}
