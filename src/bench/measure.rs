//! The measurements.

use std::time::Instant;

use candle_core::Tensor;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{BenchError, Event, Plan, Profile, Profiling, Report, SignalsIn, Stage, pairs};
use crate::batch::{MicroBatch, PairIds, Sharing, micro_batches};
use crate::logprob;
use crate::model::{Adapter, Decoder, Flops, ModelError};
use crate::ops::{Compute, linear};
use crate::optim::{Optimizer, OptimizerParams, clip_factor};
use crate::policy::PolicySource;
use crate::table::{PairTokenLogps, TrainingPair};
use crate::train::{self, StepError};
use crate::{memory, precompute};

/// Learning rate of the measured steps: small, so that the numbers stay those of the model.
const LEARNING_RATE: f64 = 1e-7;

/// Rows, inputs and outputs of the product that is the machine's own rate: large enough to be bound by arithmetic.
const PRODUCT: (usize, usize, usize) = (2048, 1024, 4096);

/// Measures both stages on the pairs of the plan.
///
/// # Errors
/// If the model or the data cannot be read, or hold nothing to measure.
pub fn run(plan: &Plan, observe: &mut dyn FnMut(Event)) -> Result<Report, BenchError> {
    let in_model = |source| BenchError::Model { model: plan.model.clone(), source };
    let in_step = |error: StepError| match error {
        StepError::Model(source) => in_model(source),
        StepError::Loss(source) => BenchError::Loss { source },
    };
    let source = PolicySource::resolve(&plan.model, None)?;
    let pairs = pairs::read(plan, &source)?;
    let model = source.load_merged(&plan.backend)?.with_dtype(plan.dtype);
    let n_parameters = model.params().n_parameters();
    let n_threads = rayon::current_num_threads();

    observe(Event::Product);
    let product = product_rate(plan).map_err(ModelError::tensor("measuring a product")).map_err(in_model)?;
    let ids: Vec<PairIds<'_>> = pairs.iter().map(pairs::ids).collect();
    let scoring_flops = counted(&model, &micro_batches(&ids, plan.max_tokens.get(), plan.sharing)).map_err(in_model)?;
    let stage = |flops: Flops, seconds: f64| Stage {
        seconds,
        pairs_per_second: pairs.len() as f64 / seconds,
        tokens_per_second: pairs.iter().map(pairs::n_tokens).sum::<usize>() as f64 / seconds,
        gflop: flops.total() / 1e9,
        gflops: flops.total() / 1e9 / seconds,
        share_of_product: flops.total() / seconds / product,
    };

    observe(Event::Scoring);
    let (seconds, logps) = median(plan, || score(plan, &model, &ids)).map_err(in_model)?;
    let precompute = stage(scoring_flops, seconds);
    let signals_cost = match plan.signals {
        SignalsIn::On | SignalsIn::Off => None,
        SignalsIn::Turns => Some(signals_cost(plan, &model, &ids).map_err(in_model)?),
    };
    let precompute_peak_bytes = memory::peak_bytes();

    let scaling = if n_threads > 1 {
        observe(Event::OneThread);
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let one = one.map_err(|source| BenchError::Threads { source })?;
        let (alone, _) = one.install(|| median(plan, || score(plan, &model, &ids))).map_err(in_model)?;
        Some(alone / seconds)
    } else {
        None
    };

    let precompute_profile = if plan.profile == Profiling::On {
        observe(Event::Profile);
        let (scored, scoring) = Profile::of(product, || score(plan, &model, &ids));
        scored.map_err(in_model)?;
        Some(scoring)
    } else {
        None
    };

    observe(Event::Training);
    let mut model = with_adapter(plan, model).map_err(in_model)?;
    let in_steps = ids.chunks(plan.batch_size.get());
    let in_steps = in_steps.flat_map(|step| micro_batches(step, plan.max_tokens.get(), Sharing::Prompts));
    let training_flops = counted(&model, &in_steps.collect::<Vec<_>>()).map_err(in_model)?;
    let training_flops =
        if model.lora().is_some() { training_flops.training_adapter() } else { training_flops.training() };
    let reference: Vec<TrainingPair<'_>> =
        pairs.iter().zip(&logps).map(|(pair, logps)| pairs::training_pair(pair, logps)).collect();
    let optimizer = Optimizer::new(OptimizerParams::default(), model.params());
    let mut optimizer = optimizer.map_err(ModelError::tensor("starting")).map_err(in_model)?;
    let (seconds, ()) = median(plan, || steps(plan, &mut model, &mut optimizer, &reference)).map_err(in_step)?;

    let train_peak_bytes = memory::peak_bytes();
    let train_step_profile = if plan.profile == Profiling::On {
        observe(Event::Profile);
        let one = &reference[..reference.len().min(plan.batch_size.get())];
        let (stepped, step) = Profile::of(product, || steps(plan, &mut model, &mut optimizer, one));
        stepped.map_err(in_step)?;
        Some(step)
    } else {
        None
    };

    Ok(Report {
        kernel: logprob::kernel(&plan.backend, plan.dtype),
        architecture: model.config().architecture.to_string(),
        n_parameters,
        n_trained: model.params().n_trained(),
        n_threads,
        n_pairs: pairs.len(),
        n_tokens: pairs.iter().map(pairs::n_tokens).sum::<usize>() as u64,
        n_scored_tokens: pairs.iter().map(pairs::n_scored).sum::<usize>() as u64,
        product_gflops: product / 1e9,
        precompute,
        signals_cost,
        train: stage(training_flops, seconds),
        scaling,
        precompute_peak_bytes,
        train_peak_bytes,
        precompute_profile,
        train_step_profile,
    })
}

/// Median time of some work after one run that warms up, and what it returned last.
fn median<T, E>(plan: &Plan, mut work: impl FnMut() -> Result<T, E>) -> Result<(f64, T), E> {
    let mut last = work()?;
    let mut seconds = Vec::with_capacity(plan.n_repeats.get());
    for _ in 0..plan.n_repeats.get() {
        let started = Instant::now();
        last = work()?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok((seconds[seconds.len() / 2], last))
}

/// Operations a second of a large product: the best of several.
fn product_rate(plan: &Plan) -> candle_core::Result<f64> {
    let (rows, inputs, outputs) = PRODUCT;
    let (device, compute) =
        (plan.backend.device(), Compute { kernels: plan.backend.kernels(), precision: plan.dtype.precision() });
    let x = Tensor::randn(0_f32, 1.0, (rows, inputs), device)?;
    let weight = Tensor::randn(0_f32, 1.0, (outputs, inputs), device)?;
    let mut best = 0.0_f64;
    for _ in 0..=2 * plan.n_repeats.get() {
        let started = Instant::now();
        linear::forward(&x, &weight, None, compute)?;
        device.synchronize()?;
        best = best.max(2.0 * (rows * inputs * outputs) as f64 / started.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn counted(model: &Decoder, batches: &[MicroBatch<'_>]) -> Result<Flops, ModelError> {
    let mut flops = Flops::default();
    for batch in batches {
        let batch = batch.lay_out()?;
        let of_batch = Flops::forward(model.config(), &batch);
        let n_adapter = if model.lora().is_some() { model.params().n_trained() } else { 0 };
        flops = flops + of_batch.with_adapter(n_adapter, &batch);
    }
    Ok(flops)
}

/// The model with the adapter of the plan, whose numbers are of no matter here.
fn with_adapter(plan: &Plan, model: Decoder) -> Result<Decoder, ModelError> {
    let Some(lora) = &plan.lora else { return Ok(model) };
    let adapter = Adapter::new(lora, model.config(), model.device(), |_| ChaCha8Rng::seed_from_u64(0))?;
    model.with_adapter(adapter)
}

/// Stage one over all pairs.
fn score(plan: &Plan, model: &Decoder, pairs: &[PairIds<'_>]) -> Result<Vec<PairTokenLogps>, ModelError> {
    match plan.signals {
        SignalsIn::Off => precompute::score(model, pairs, plan.max_tokens.get(), plan.sharing, |_| {}),
        SignalsIn::On | SignalsIn::Turns => {
            let scored = precompute::score_with_signals(model, pairs, plan.max_tokens.get(), plan.sharing, |_| {})?;
            Ok(scored.into_iter().map(|scores| scores.logps).collect())
        }
    }
}

/// By how much of its time stage one is longer with signals. Each run with them stands against the one without beside it,
/// and which of the two is first changes: a machine that slows down or has other work does so to both.
fn signals_cost(plan: &Plan, model: &Decoder, pairs: &[PairIds<'_>]) -> Result<f64, ModelError> {
    let seconds = |signals| -> Result<f64, ModelError> {
        let plan = Plan { signals, ..plan.clone() };
        let started = Instant::now();
        score(&plan, model, pairs)?;
        Ok(started.elapsed().as_secs_f64())
    };
    let mut costs = Vec::with_capacity(2 * plan.n_repeats.get());
    for _ in 0..plan.n_repeats.get() {
        let (with, without) = (seconds(SignalsIn::On)?, seconds(SignalsIn::Off)?);
        costs.push(with / without - 1.0);
        let (without, with) = (seconds(SignalsIn::Off)?, seconds(SignalsIn::On)?);
        costs.push(with / without - 1.0);
    }
    costs.sort_by(f64::total_cmp);
    // An even number of them.
    Ok(f64::midpoint(costs[costs.len() / 2 - 1], costs[costs.len() / 2]))
}

/// Stage two over all pairs: gradient, its norm and update of every batch.
fn steps(
    plan: &Plan,
    model: &mut Decoder,
    optimizer: &mut Optimizer,
    pairs: &[TrainingPair<'_>],
) -> Result<(), StepError> {
    for batch in pairs.chunks(plan.batch_size.get()) {
        let result = train::gradient(model, batch, &plan.objective, plan.passes())?;
        let updated = result.gradients.norm().and_then(|norm| {
            let factor = clip_factor(norm, f64::INFINITY);
            optimizer.step(model.params(), &result.gradients, LEARNING_RATE, factor)
        });
        updated.map_err(ModelError::tensor("updating the weights"))?;
    }
    model.device().synchronize().map_err(ModelError::tensor("waiting for the device"))?;
    Ok(())
}
