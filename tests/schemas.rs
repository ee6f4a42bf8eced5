//! Contract = code = a file just written. (The table's own contract is held beside its code.)

use std::collections::BTreeSet;

use piref::train;

use crate::support::stages;

#[test]
fn metrics_contract_and_a_written_file_agree() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    stages::precompute(&stages::precompute_plan(&table));
    let plan = stages::train_plan(&table, &folder.path().join("run"));
    stages::train(&plan);

    let contract: toml::Table = std::fs::read_to_string("schemas/metrics.v1.toml").unwrap().parse().unwrap();
    let columns: Vec<&toml::Value> = contract["column"].as_array().unwrap().iter().collect();
    let text = std::fs::read_to_string(plan.out.join(train::METRICS)).unwrap();
    assert_eq!(text.lines().count(), 6);
    for line in text.lines() {
        let row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        let names: BTreeSet<&str> = row.keys().map(String::as_str).collect();
        let want: BTreeSet<&str> = columns.iter().map(|column| column["name"].as_str().unwrap()).collect();
        assert_eq!(names, want);
        for column in &columns {
            let value = &row[column["name"].as_str().unwrap()];
            let fits = match column["type"].as_str().unwrap() {
                "Int64" => value.is_u64(),
                "Float64" => value.is_f64(),
                other => panic!("no such type in metrics: {other}"),
            };
            assert!(fits, "{column}: {value}");
        }
    }
}
