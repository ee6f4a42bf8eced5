//! Every pipeline file of the project resolves.

use std::fs;
use std::path::{Path, PathBuf};

use piref::pipeline::{Pipeline, Settings};
use piref::precompute::Start;
use piref::train;

fn pipelines() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir("pipelines").unwrap().map(|entry| entry.unwrap().path()).collect();
    // Scripts for clusters are no pipeline files.
    paths.retain(|path| path.is_file());
    paths.sort();
    paths
}

#[test]
fn every_pipeline_file_makes_both_plans() {
    let paths = pipelines();
    assert!(paths.contains(&Path::new("pipelines/quickstart.toml").to_owned()));
    for path in paths {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let pipeline = Pipeline::load(&path, &Settings::default()).unwrap();
        let run = Path::new("runs").join(name);

        let precompute = pipeline.precompute_plan(None, None, Start::Resume).unwrap();
        let train = pipeline.train_plan(None, None, train::Start::Resume).unwrap();
        assert_eq!(
            (&precompute.out, &train.table, &train.course.out),
            (&run.join("reference"), &run.join("reference"), &run)
        );
    }
}

#[test]
fn every_pipeline_file_opens_with_its_command() {
    for path in pipelines() {
        let text = fs::read_to_string(&path).unwrap();
        let opening: String = text.lines().take_while(|line| line.starts_with('#')).collect();
        assert!(opening.contains("make "), "{} names no make target", path.display());
    }
}
