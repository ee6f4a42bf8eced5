//! A bounded fuzzer of everything that parses bytes from outside.
//!
//! Each target takes mutated bytes to one function of the library. An input that panics, runs for longer than
//! [`TIME_LIMIT`] or has more than [`MEMORY_LIMIT`] allocated at once fails the test; its bytes stay in the file that the
//! message names. An input that ends the whole process (a stack overflow, an allocation over [`HARD_LIMIT`]) stays there
//! too: the file in `target/tmp/fuzz/<target>/` is always the one being tried.
//!
//! The inputs are the same in every run. `PIREF_FUZZ_SECONDS=600 cargo test --test it fuzz` (`make fuzz`) goes on from
//! there for so many seconds in all, and says of each target how many inputs it tried. What it finds goes to `fixtures/hostile/found/<target>/`, where every later run
//! tries it first.

mod grammar;
mod memory;
mod models;
mod mutate;
mod records;
mod seeds;
mod targets;
mod tree;

use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use mutate::Mutator;
use targets::Target;

/// Longest time for one input; what is slow is slow by far.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Most bytes that one input may have allocated at once, on its thread: a template's fuel comes to a quarter of it.
const MEMORY_LIMIT: usize = 1 << 30;

/// Where an allocation fails, so that the machine survives.
const HARD_LIMIT: usize = 3 << 30;

/// Longest input that is made.
const MAX_INPUT: usize = 1 << 18;

/// Runs the seeds, what was found before, and mutations of both.
#[expect(clippy::print_stdout, reason = "how many inputs there were is what a long run is for")]
#[track_caller]
fn fuzz(target: Target) {
    let seconds: Option<f64> = std::env::var("PIREF_FUZZ_SECONDS").ok().map(|seconds| seconds.parse().unwrap());
    if seconds.is_some() {
        // What decoders say when they give up takes longer than most inputs.
        piref::guard::install();
    }
    let budget = seconds.map(|seconds| Duration::from_secs_f64(seconds / targets::COUNT as f64));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz").join(target.name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();

    let (n_tried, start) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let (name, file) = (target.name, folder.join(target.file));
    let worker = {
        let n_tried = Arc::clone(&n_tried);
        thread::spawn(move || work(&target, &folder, budget, &n_tried))
    };
    let mut last = (0, Instant::now());
    while !worker.is_finished() {
        thread::sleep(Duration::from_millis(5));
        let n_tried = n_tried.load(Ordering::Relaxed);
        if n_tried > last.0 {
            last = (n_tried, Instant::now());
        }
        assert!(last.1.elapsed() < TIME_LIMIT, "{}: input {n_tried} takes too long", file.display());
    }
    let (result, seconds) = (worker.join().unwrap(), start.elapsed().as_secs_f64());
    if budget.is_some() {
        let n_tried = n_tried.load(Ordering::Relaxed);
        println!("{name}: {n_tried} inputs in {seconds:.1} s, {:.0} a second", n_tried as f64 / seconds);
    }
    if let Err(problem) = result {
        panic!("{problem}");
    }
}

/// Tries inputs, and says what one of them did.
fn work(target: &Target, folder: &Path, budget: Option<Duration>, n_tried: &AtomicU64) -> Result<(), String> {
    let found = found(target.name);
    let seeds: Vec<Vec<u8>> = target.seeds.iter().chain(&found).cloned().collect();
    assert!(!seeds.is_empty(), "{}: no seed", target.name);
    let mut file = InputFile::create(folder.join(target.file));
    for seed in &seeds {
        attempt(target, &mut file, seed)?;
        n_tried.fetch_add(1, Ordering::Relaxed);
    }
    let mut mutator = Mutator::new(ChaCha8Rng::seed_from_u64(7), target.syntax, &seeds);
    let (start, mut n_mutations) = (Instant::now(), 0);
    while budget.map_or(n_mutations < target.n_mutations, |budget| start.elapsed() < budget) {
        let input = mutator.next(MAX_INPUT);
        attempt(target, &mut file, &input)?;
        n_mutations += 1;
        n_tried.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// The file of the input that is being tried: always the same one, since making one takes longer than many a parser.
struct InputFile {
    path: PathBuf,
    file: File,
    length: usize,
}

impl InputFile {
    fn create(path: PathBuf) -> Self {
        let file = File::create(&path).unwrap();
        Self { path, file, length: 0 }
    }

    fn write(&mut self, input: &[u8]) {
        self.file.rewind().unwrap();
        self.file.write_all(input).unwrap();
        if input.len() < self.length {
            self.file.set_len(input.len() as u64).unwrap();
        }
        self.length = input.len();
    }
}

fn attempt(target: &Target, file: &mut InputFile, input: &[u8]) -> Result<(), String> {
    file.write(input);
    let path = &file.path;
    let (result, n_bytes) = memory::peak(HARD_LIMIT, || piref::guard::catch(|| (target.run)(path, input)));
    let keep = |what: String| {
        let kept = path.with_file_name(format!("{}.input", piref::digest::Digest::of(input)));
        fs::write(&kept, input).unwrap();
        Err(format!("{}: {what}", kept.display()))
    };
    match result {
        Err(panicked) => keep(panicked.to_string()),
        Ok(()) if n_bytes > MEMORY_LIMIT => keep(format!("{n_bytes} bytes were allocated at once")),
        Ok(()) => Ok(()),
    }
}

/// Inputs that failed once.
fn found(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new("fixtures/hostile/found").join(target);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn what_was_found_belongs_to_a_target() {
    let Ok(entries) = fs::read_dir("fixtures/hostile/found") else { return };
    let known = targets::names();
    for entry in entries {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(known.contains(&&*name), "no target `{name}`");
    }
}
