//! Every backward of our own kernels against central differences of its forward, in random directions.

use candle_core::{Device, Result, Tensor};
use proptest::prelude::*;

use super::attention::Attention;
use super::head::Extras;
use super::{Compute, Kernels, Precision, embedding, head, linear, norm, rope, swiglu};
use crate::batch::{Group, GroupBatch};

const OWN: Kernels = Kernels::Own;
const COMPUTE: Compute = Compute { kernels: OWN, precision: Precision::F32 };

/// `Σ weights · output`: a scalar whose gradient in the output is `weights`.
fn dot(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (a.flatten_all().unwrap(), b.flatten_all().unwrap());
    let (a, b) = (a.to_vec1::<f32>().unwrap(), b.to_vec1::<f32>().unwrap());
    a.iter().zip(&b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

fn random(seed: u64, shape: &[usize]) -> Tensor {
    use rand::{Rng, SeedableRng};
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let n = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// The directional derivative of `f` at `x` equals the one of the claimed gradient, in f32 arithmetic with a step that
/// balances rounding (1e-7/h) against curvature (h²).
#[track_caller]
fn check(name: &str, x: &Tensor, gradient: &Tensor, f: impl Fn(&Tensor) -> Result<f64>) {
    const STEP: f64 = 4e-3;
    assert_eq!(x.dims(), gradient.dims(), "{name}");
    for seed in 0..4 {
        let direction = random(1000 + seed, x.dims());
        let ahead = f(&(x + (&direction * STEP).unwrap()).unwrap()).unwrap();
        let behind = f(&(x - (&direction * STEP).unwrap()).unwrap()).unwrap();
        let numeric = (ahead - behind) / (2.0 * STEP);
        let claimed = dot(gradient, &direction);
        let scale = claimed.abs().max(dot(gradient, gradient).sqrt()).max(1e-3);
        assert!((numeric - claimed).abs() <= 4e-3 * scale, "{name}: numeric {numeric}, claimed {claimed}");
    }
}

#[test]
fn linear_slopes() {
    let (x, w, b, dy) = (random(1, &[5, 7]), random(2, &[3, 7]), random(3, &[3]), random(4, &[5, 3]));
    let f = |x: &Tensor, w: &Tensor, b: &Tensor| Ok(dot(&linear::forward(x, w, Some(b), COMPUTE)?, &dy));
    check("x", &x, &linear::backward_input(&[(&dy, &w)], COMPUTE).unwrap(), |x| f(x, &w, &b));
    let d_weight = linear::backward_weight_into(&w.zeros_like().unwrap(), &dy, &x, COMPUTE).unwrap();
    check("weight", &w, &d_weight, |w| f(&x, w, &b));
    check("bias", &b, &linear::backward_bias(&dy, COMPUTE).unwrap(), |b| f(&x, &w, b));
}

#[test]
fn norm_slopes_over_rows_and_over_heads() {
    for shape in [vec![5, 8], vec![3, 2, 8]] {
        let (x, w, dy) = (random(1, &shape), random(2, &[8]), random(3, &shape));
        let (dx, dw) = norm::backward(&dy, &x, &w, 1e-5, OWN).unwrap();
        check("x", &x, &dx, |x| Ok(dot(&norm::forward(x, &w, 1e-5, OWN)?, &dy)));
        check("weight", &w, &dw, |w| Ok(dot(&norm::forward(&x, w, 1e-5, OWN)?, &dy)));
        let alone = norm::backward_input(&dy, &x, &w, 1e-5, OWN).unwrap();
        let bits = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(bits(&alone), bits(&dx), "the gradient in x alone has other bits");
    }
}

#[test]
fn rope_slopes_at_explicit_positions() {
    let rotation = rope::Rotation::new(&[0, 1, 9, 9], &[1.0, 0.1, 0.01], &Device::Cpu).unwrap();
    let (x, dy) = (random(1, &[4, 2, 6]), random(2, &[4, 2, 6]));
    check("x", &x, &rope::backward(&dy, &rotation, OWN).unwrap(), |x| Ok(dot(&rope::forward(x, &rotation, OWN)?, &dy)));
}

#[test]
fn swiglu_slopes() {
    let (gate, up, dy) = (random(1, &[4, 6]), random(2, &[4, 6]), random(3, &[4, 6]));
    let (d_gate, d_up) = swiglu::backward(&dy, &gate, &up, OWN).unwrap();
    check("gate", &gate, &d_gate, |gate| Ok(dot(&swiglu::forward(gate, &up, OWN)?, &dy)));
    check("up", &up, &d_up, |up| Ok(dot(&swiglu::forward(&gate, up, OWN)?, &dy)));
}

#[test]
fn embedding_slopes_sum_repeated_ids() {
    let (table, dy) = (random(1, &[5, 3]), random(2, &[4, 3]));
    let ids = Tensor::new(&[1_u32, 4, 1, 0], &Device::Cpu).unwrap();
    let gradient = embedding::backward_into(&table.zeros_like().unwrap(), &dy, &ids, OWN).unwrap();
    check("table", &table, &gradient, |table| Ok(dot(&embedding::forward(table, &ids)?, &dy)));
}

#[test]
fn head_slopes_over_more_rows_than_a_round() {
    let n = 400;
    let (hidden, weight, slopes) = (random(1, &[n, 4]), random(2, &[11, 4]), random(3, &[n]));
    let targets: Vec<u32> = (0..400).map(|row| row * 7 % 11).collect();
    let targets = Tensor::new(targets, &Device::Cpu).unwrap();
    let f = |hidden: &Tensor, weight: &Tensor| head::forward(hidden, weight, &targets, COMPUTE, Extras::None);
    let log_sums = f(&hidden, &weight).unwrap().log_sums;
    let inputs = head::Inputs { hidden: &hidden, weight: &weight, targets: &targets, log_sums: &log_sums };
    let (d_hidden, d_weight) = head::backward_into(&weight.zeros_like().unwrap(), &slopes, inputs, COMPUTE).unwrap();
    check("hidden", &hidden, &d_hidden, |hidden| Ok(dot(&f(hidden, &weight)?.logps, &slopes)));
    check("weight", &weight, &d_weight, |weight| Ok(dot(&f(&hidden, weight)?.logps, &slopes)));
    let alone = head::backward_input(&slopes, inputs, COMPUTE).unwrap();
    let bits = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(bits(&alone), bits(&d_hidden), "the gradient in the hidden states alone has other bits");
}

fn attention_slopes(lengths: &[(usize, Vec<usize>)], n_heads: usize, n_kv_heads: usize, window: Option<usize>) {
    let ids: Vec<u32> = vec![0; 64];
    let groups: Vec<Group<'_>> = lengths
        .iter()
        .map(|(prompt, completions)| Group {
            prompt: &ids[..*prompt],
            completions: completions.iter().map(|&n| &ids[..n]).collect(),
        })
        .collect();
    let batch = GroupBatch::new(&groups).unwrap();
    let attention = Attention { segments: &batch.segments, scale: 0.5, window, kernels: OWN };
    let n = batch.ids.len();
    let (q, k, v) = (random(1, &[n, n_heads, 4]), random(2, &[n, n_kv_heads, 4]), random(3, &[n, n_kv_heads, 4]));
    let dy = random(4, &[n, n_heads, 4]);
    let gradients = attention.backward(&dy, &q, &k, &v).unwrap();
    check("q", &q, &gradients.dq, |q| Ok(dot(&attention.forward(q, &k, &v)?, &dy)));
    check("k", &k, &gradients.dk, |k| Ok(dot(&attention.forward(&q, k, &v)?, &dy)));
    check("v", &v, &gradients.dv, |v| Ok(dot(&attention.forward(&q, &k, v)?, &dy)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn attention_slopes_for_any_groups(
        lengths in proptest::collection::vec((1..6_usize, proptest::collection::vec(1..6_usize, 0..4)), 1..4),
        (n_heads, n_kv_heads) in prop_oneof![Just((1, 1)), Just((4, 2)), Just((3, 3)), Just((6, 2))],
        window in prop_oneof![Just(None), Just(Some(1)), Just(Some(3))],
    ) {
        attention_slopes(&lengths, n_heads, n_kv_heads, window);
    }
}

const IDS: &[u32] = &[0; 16];

/// The same sequence scored with its sibling beside it and alone has the same attention output.
#[test]
fn a_completion_does_not_see_its_sibling() {
    let batch =
        |completions: Vec<&'static [u32]>| GroupBatch::new(&[Group { prompt: &IDS[..3], completions }]).unwrap();
    let both = batch(vec![&IDS[..5], &IDS[..4]]);
    let alone = batch(vec![&IDS[..4]]);
    let (q, k, v) = (random(1, &[10, 2, 4]), random(2, &[10, 1, 4]), random(3, &[10, 1, 4]));
    let rows = |x: &Tensor| Tensor::cat(&[x.narrow(0, 0, 3).unwrap(), x.narrow(0, 7, 3).unwrap()], 0).unwrap();

    let whole =
        Attention { segments: &both.segments, scale: 0.5, window: None, kernels: OWN }.forward(&q, &k, &v).unwrap();
    let part = Attention { segments: &alone.segments, scale: 0.5, window: None, kernels: OWN };
    let part = part.forward(&rows(&q), &rows(&k), &rows(&v)).unwrap();
    assert_eq!(rows(&whole).to_vec3::<f32>().unwrap(), part.to_vec3::<f32>().unwrap());
}
