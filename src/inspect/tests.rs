//! What each path is told to be, and what is refused.

use std::error::Error;

use super::*;
use crate::io;
use crate::table::tests::{batch, provenance, write_table};
use crate::table::{Finding, FindingsWriter, Level, TableFolder, write_part};

#[test]
fn a_stray_part_explains_itself() {
    let folder = tempfile::tempdir().unwrap();
    write_table(folder.path());
    let stray = folder.path().join("found-somewhere.parquet");
    io::copy(&folder.path().join("part-00001.parquet"), &stray).unwrap();
    let Inspected::Part(part) = inspect(&stray).unwrap() else { panic!("a part is a part") };
    assert_eq!((part.rows, part.bytes, &part.provenance), (2, io::digest(&stray).unwrap().1, &provenance()));
    assert_eq!(part.columns.len(), reference::COLUMNS.len() + 2);
    let logps = part.columns.iter().find(|column| column.name == "ref_chosen_logps").unwrap();
    assert_eq!((logps.unit.as_deref(), logps.range.as_deref()), (Some("nat"), Some("(-inf, 0]")));
    let passed = part.columns.iter().find(|column| column.name == "score_chosen").unwrap();
    assert_eq!((passed.data_type.as_str(), &passed.doc), ("Float64", &None));

    // Everything the footer says is told.
    let json = serde_json::to_string(&Inspected::Part(part)).unwrap();
    for (key, value) in provenance().to_footer().iter().filter(|(key, _)| *key != "piref.sources") {
        assert!(json.contains(value.as_str()), "{key}: {value} is not in {json}");
    }
    assert!(json.contains(&provenance().sources[0].digest.to_string()));
}

#[test]
fn a_table_is_told_finished_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let table = TableFolder::claim(folder.path()).unwrap();
    write_part(&table.part_path(0), &batch(0..3), &provenance()).unwrap();
    let Inspected::Table(unfinished) = inspect(folder.path()).unwrap() else { panic!("a table is a table") };
    assert_eq!((unfinished.is_finished, unfinished.n_pairs, unfinished.n_rejected), (false, 3, None));
    assert_eq!(unfinished.provenance, Some(provenance()));

    drop(table);
    write_table(folder.path());
    for path in [folder.path().to_owned(), folder.path().join(MANIFEST)] {
        let Inspected::Table(finished) = inspect(&path).unwrap() else { panic!("a table is a table") };
        assert_eq!((finished.is_finished, finished.n_pairs, finished.n_rejected), (true, 5, Some(1)));
        assert_eq!(finished.rejects, Some(folder.path().join("rejects.parquet")));
    }
    let Inspected::Rejects(file) = inspect(&folder.path().join("rejects.parquet")).unwrap() else { panic!("rejects") };
    assert_eq!((file.rows, file.columns.len()), (1, rejects::COLUMNS.len()));
}

#[test]
fn a_findings_file_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.parquet");
    let mut file = FindingsWriter::create(&path).unwrap();
    let finding =
        Finding { pair_id: None, check: "x".into(), level: Level::Info, value: Some(1.0), evidence: "y".into() };
    file.push(&finding).unwrap();
    file.finish().unwrap();
    let Inspected::Findings(file) = inspect(&path).unwrap() else { panic!("findings are findings") };
    assert_eq!((file.rows, file.schema.as_str()), (1, findings::VERSION));
}

#[test]
fn a_model_is_told_without_its_weights_in_memory() {
    let Inspected::Model(model) = inspect("fixtures/tiny".as_ref()).unwrap() else { panic!("a model is a model") };
    assert_eq!((model.architecture.as_str(), model.container), ("LlamaForCausalLM", "folder"));
    let n_parameters: usize = model.tensors.iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum();
    assert_eq!(model.n_parameters, n_parameters);
    let weights = io::read("fixtures/tiny/model.safetensors".as_ref()).unwrap();
    let file = safetensors::SafeTensors::deserialize(&weights).unwrap();
    for tensor in &model.tensors {
        assert_eq!(file.tensor(&tensor.name).unwrap().shape(), tensor.shape, "{}", tensor.name);
    }
    assert!(model.tokenizer_digest.is_some() && model.template_digest.is_some() && model.tokenizer_error.is_none());

    let untokenised = inspect("fixtures/architectures/qwen3-qknorm".as_ref()).unwrap();
    let Inspected::Model(model) = untokenised else { panic!("a model is a model") };
    assert!(model.tokenizer_digest.is_none() && model.tokenizer_error.is_some());
}

#[test]
fn what_is_not_known_is_refused_with_what_was_expected() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |path: &Path| {
        let error = inspect(path).unwrap_err();
        let source = error.source().map(ToString::to_string).unwrap_or_default();
        format!("{error}: {source}")
    };
    assert!(refused(folder.path()).contains("expected a table (`manifest.json`"), "{}", refused(folder.path()));
    let text = folder.path().join("notes.txt");
    io::write(&text, b"mine").unwrap();
    assert!(refused(&text).contains("expected a `.parquet` file that piref wrote"), "{}", refused(&text));
    let data = Path::new("fixtures/pairs/columns.parquet");
    assert!(refused(data).contains("expected `piref.schema` in the Parquet footer"), "{}", refused(data));
    let torn = folder.path().join("torn.parquet");
    io::write(&torn, b"PAR1 torn").unwrap();
    assert!(refused(&torn).contains("torn.parquet"), "{}", refused(&torn));
    assert!(refused(&folder.path().join("nothing")).contains("does not exist"));
}
