//! The kernels of the CPU against their twins of stock operations, over random shapes, and against each other over
//! instruction sets.

use candle_core::{Device, Result, Tensor};
use proptest::prelude::*;

use super::attention::Attention;
use super::cpu::Isa;
use super::cpu::gemm::{Matrix, Update, gemm};
use super::head::{Extras, Found};
use super::update::{adamw, average, rmsprop, sgd};
use super::{Compute, Kernels, Precision, cpu, embedding, head, linear, norm, rope, swiglu};
use crate::batch::{Group, GroupBatch};

const OWN: Kernels = Kernels::Own;

fn random(seed: u64, shape: &[usize]) -> Tensor {
    use rand::{Rng, SeedableRng};
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let n = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn numbers(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

/// Both are sums of some terms below 1 in two orders.
#[track_caller]
fn agree(name: &str, fast: &Tensor, stock: &Result<Tensor>) {
    agree_within(2e-5, name, fast, stock);
}

#[track_caller]
fn agree_within(tolerance: f32, name: &str, fast: &Tensor, stock: &Result<Tensor>) {
    let stock = stock.as_ref().unwrap();
    assert_eq!(fast.dims(), stock.dims(), "{name}");
    let (fast, stock) = (numbers(fast), numbers(stock));
    let scale = stock.iter().fold(1.0_f32, |max, x| max.max(x.abs()));
    let worst = fast.iter().zip(&stock).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance * scale, "{name}: {worst:e} of {scale}");
}

/// Instruction sets of this machine.
fn sets() -> Vec<Isa> {
    match Isa::best() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => vec![Isa::Avx512, Isa::Avx2, Isa::Portable],
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => vec![Isa::Avx2, Isa::Portable],
        Isa::Portable => vec![Isa::Portable],
    }
}

/// Holds entropies, collisions and first choices against the distributions themselves, computed in `f64`.
fn check_extras(
    hidden: &Tensor,
    weight: &Tensor,
    targets: &Tensor,
    precision: Precision,
    [entropies, collisions]: [&Tensor; 2],
    are_top: &[Tensor],
) {
    let rounded = |x: &Tensor| super::rounded(x, precision).unwrap().to_vec2::<f32>().unwrap();
    let (hidden, weight, targets) = (rounded(hidden), rounded(weight), targets.to_vec1::<u32>().unwrap());
    let (entropies, collisions) = (numbers(entropies), numbers(collisions));
    let are_top: Vec<Vec<u8>> = are_top.iter().map(|are_top| are_top.to_vec1().unwrap()).collect();
    for (row, hidden) in hidden.iter().enumerate() {
        let product =
            |weight: &Vec<f32>| -> f64 { hidden.iter().zip(weight).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum() };
        let logits: Vec<f64> = weight.iter().map(product).collect();
        let log_sum = logits.iter().map(|logit| logit.exp()).sum::<f64>().ln();
        let logps: Vec<f64> = logits.iter().map(|logit| logit - log_sum).collect();
        let entropy: f64 = logps.iter().map(|logp| -logp * logp.exp()).sum();
        let collision = logps.iter().map(|logp| (2.0 * logp).exp()).sum::<f64>().ln();
        assert!((f64::from(entropies[row]) - entropy).abs() < 2e-5, "row {row}: {} is not {entropy}", entropies[row]);
        assert!(
            (f64::from(collisions[row]) - collision).abs() < 2e-5,
            "row {row}: {} is not {collision}",
            collisions[row]
        );
        // A logit so near the largest that f32 may take it for that decides nothing.
        let target = logits[targets[row] as usize];
        let gap =
            logits.iter().enumerate().filter(|(v, _)| *v != targets[row] as usize).map(|(_, logit)| target - logit);
        let gap = gap.fold(f64::INFINITY, f64::min);
        if gap.abs() > 1e-4 {
            assert!(are_top.iter().all(|top| top[row] == u8::from(gap > 0.0)), "row {row}: {gap} above the others");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn linear_maps(n_rows in 1..70_usize, n_in in 1..100_usize, n_out in 1..100_usize, precision in precisions()) {
        let (x, w, b) = (random(1, &[n_rows, n_in]), random(2, &[n_out, n_in]), random(3, &[n_out]));
        let (dy, residual, sum) = (random(4, &[n_rows, n_out]), random(5, &[n_rows, n_out]), random(6, &[n_out, n_in]));
        let [own, stock] = both(precision);
        let y = linear::forward(&x, &w, Some(&b), own).unwrap();
        agree("forward", &y, &linear::forward(&x, &w, Some(&b), stock));
        let onto = linear::forward_onto(&residual, &x, &w, Some(&b), own).unwrap();
        agree("forward onto", &onto, &linear::forward_onto(&residual, &x, &w, Some(&b), stock));
        // In place: the sum it is added to is its own.
        let into = |compute| linear::forward_into(residual.copy().unwrap(), &x, &w, compute);
        agree("forward into", &into(own).unwrap(), &into(stock));
        let maps = [(&dy, &w), (&dy, &w)];
        agree("input", &linear::backward_input(&maps, own).unwrap(), &linear::backward_input(&maps, stock));
        let want = linear::backward_weight_into(&sum, &dy, &x, stock);
        agree("weight", &linear::backward_weight_into(&sum, &dy, &x, own).unwrap(), &want);
        agree("bias", &linear::backward_bias(&dy, own).unwrap(), &linear::backward_bias(&dy, stock));
    }

    /// Sums over `k` longer than a block, and all ways a matrix can lie in memory.
    #[test]
    fn products_have_one_order_whatever_the_instructions(
        m in 1..30_usize,
        k in prop_oneof![1..40_usize, 760..780_usize, 1530..1560_usize],
        n in 1..70_usize,
    ) {
        let (a, b) = (numbers(&random(1, &[m, k])), numbers(&random(2, &[k, n])));
        let (at, bt) = (transpose(&a, m, k), transpose(&b, k, n));
        let run = |isa, precision, a: Matrix<'_>, b: Matrix<'_>| {
            let mut out = vec![0.0; m * n];
            gemm(isa, precision, a, b, &mut out, Update::Replace);
            out
        };
        for (precision, tolerance) in [(Precision::F32, 1e-4), (Precision::Bf16, 1e-3)] {
            let want: Vec<f64> = (0..m * n)
                .map(|at| (0..k).map(|i| product(precision, a[at / n * k + i], b[i * n + at % n])).sum())
                .collect();
            let mut fused = Vec::new();
            for isa in sets() {
                let out = run(isa, precision, Matrix::new(&a, m, k), Matrix::new(&b, k, n));
                let worst = out.iter().zip(&want).map(|(x, y)| (f64::from(*x) - y).abs()).fold(0.0, f64::max);
                prop_assert!(worst < tolerance, "{isa:?}, {precision:?}: {worst:e}");
                let (at, bt) = (Matrix::new(&at, k, m).transposed(), Matrix::new(&bt, n, k).transposed());
                prop_assert_eq!(&out, &run(isa, precision, at, bt), "{:?}, {:?}", isa, precision);
                if isa.is_fused() && !(precision == Precision::Bf16 && cpu::pairs::is_for(isa)) {
                    fused.push(out);
                }
            }
            prop_assert!(fused.windows(2).all(|pair| pair[0] == pair[1]), "instruction sets with other bits");
        }
    }

    #[test]
    fn norms(n_rows in 1..70_usize, width in 1..70_usize) {
        let (x, w, dy) = (random(1, &[n_rows, width]), random(2, &[width]), random(3, &[n_rows, width]));
        let stock = Kernels::Stock;
        agree("forward", &norm::forward(&x, &w, 1e-5, OWN).unwrap(), &norm::forward(&x, &w, 1e-5, stock));
        let (dx, dw) = norm::backward(&dy, &x, &w, 1e-5, OWN).unwrap();
        let (dx_stock, dw_stock) = norm::backward(&dy, &x, &w, 1e-5, stock).unwrap();
        let (onto, _) = norm::backward_onto(&x, &dy, &x, &w, 1e-5, OWN).unwrap();
        let (onto_stock, _) = norm::backward_onto(&x, &dy, &x, &w, 1e-5, stock).unwrap();
        agree("onto", &onto, &Ok(onto_stock));
        let input = |kernels| norm::backward_input(&dy, &x, &w, 1e-5, kernels);
        agree("x alone", &input(OWN).unwrap(), &input(stock));
        let input_onto = |kernels| norm::backward_input_onto(&x, &dy, &x, &w, 1e-5, kernels);
        agree("x alone, onto", &input_onto(OWN).unwrap(), &input_onto(stock));
        prop_assert!(numbers(&input_onto(OWN).unwrap()) == numbers(&onto), "other bits without the weight");
        agree("x", &dx, &Ok(dx_stock));
        agree("weight", &dw, &Ok(dw_stock));
    }

    #[test]
    fn rotations_and_gates(n_rows in 1..70_usize, n_heads in 1..4_usize, half in 1..20_usize) {
        let positions: Vec<u32> = (0..70).map(|i| i * 13 % 91).take(n_rows).collect();
        let frequencies: Vec<f32> = (0..20).map(|i| 0.7_f32.powi(i)).take(half).collect();
        let rotation = rope::Rotation::new(&positions, &frequencies, &Device::Cpu).unwrap();
        let x = random(1, &[n_rows, n_heads, 2 * half]);
        let stock = Kernels::Stock;
        agree("forth", &rope::forward(&x, &rotation, OWN).unwrap(), &rope::forward(&x, &rotation, stock));
        agree("back", &rope::backward(&x, &rotation, OWN).unwrap(), &rope::backward(&x, &rotation, stock));

        let gate = (random(2, &[n_rows, half]) * 8.0).unwrap();
        let (up, dy) = (random(3, &[n_rows, half]), random(4, &[n_rows, half]));
        agree("gate", &swiglu::forward(&gate, &up, OWN).unwrap(), &swiglu::forward(&gate, &up, stock));
        let (d_gate, d_up) = swiglu::backward(&dy, &gate, &up, OWN).unwrap();
        let (d_gate_stock, d_up_stock) = swiglu::backward(&dy, &gate, &up, stock).unwrap();
        agree("d gate", &d_gate, &Ok(d_gate_stock));
        agree("d up", &d_up, &Ok(d_up_stock));
    }

    #[test]
    fn heads(
        n_rows in 1..120_usize,
        vocabulary in 1..700_usize,
        width in 1..40_usize,
        precision in precisions(),
    ) {
        let (hidden, weight) = (random(1, &[n_rows, width]), random(2, &[vocabulary, width]));
        let (slopes, sum) = (random(3, &[n_rows]), random(4, &[vocabulary, width]));
        let targets: Vec<u32> = (0..120).map(|i| i * 7919).take(n_rows).collect();
        let size = u32::try_from(vocabulary).unwrap();
        let targets: Vec<u32> = targets.into_iter().map(|target| target % size).collect();
        let targets = Tensor::new(targets, &Device::Cpu).unwrap();
        let [own_compute, stock_compute] = both(precision);
        let stock = head::forward(&hidden, &weight, &targets, stock_compute, Extras::None).unwrap();
        let fast = head::forward(&hidden, &weight, &targets, own_compute, Extras::None).unwrap();
        agree("logps", &fast.logps, &Ok(stock.logps));
        agree("log sums", &fast.log_sums, &Ok(stock.log_sums));
        prop_assert!(matches!((&stock.found, &fast.found), (Found::Nothing, Found::Nothing)));
        // With extras, the log-probs are the same to the bit.
        let with = |extras| {
            let [with_fast, with_stock] = [own_compute, stock_compute]
                .map(|compute| head::forward(&hidden, &weight, &targets, compute, extras).unwrap());
            assert_eq!(numbers(&with_fast.logps), numbers(&fast.logps), "{extras:?}");
            assert_eq!(numbers(&with_fast.log_sums), numbers(&fast.log_sums), "{extras:?}");
            (with_fast.found, with_stock.found)
        };
        let (Found::Collisions(collisions), Found::Collisions(twins)) = with(Extras::Collisions) else {
            panic!("other extras")
        };
        agree("collisions", &collisions, &Ok(twins));
        // Between 1/V, where all tokens are as likely, and 1, where one is certain.
        let most = (vocabulary as f32).ln();
        prop_assert!(numbers(&collisions).iter().all(|ln| (-most - 1e-5..=1e-5).contains(ln)));
        let (
            Found::Entropies { entropies, are_top },
            Found::Entropies { entropies: twin_entropies, are_top: twin_tops },
        ) = with(Extras::Entropies) else { panic!("other extras") };
        agree("entropies", &entropies, &Ok(twin_entropies));
        check_extras(&hidden, &weight, &targets, precision, [&entropies, &collisions], &[are_top, twin_tops]);
        // The gradients of logits are rounded to bf16 too, and the last bit of a logit can move one to its neighbour.
        let tolerance = if precision == Precision::F32 { 2e-5 } else { 2e-3 };
        let log_sums = &fast.log_sums;
        let inputs = head::Inputs { hidden: &hidden, weight: &weight, targets: &targets, log_sums };
        let (d_hidden_stock, d_weight_stock) = head::backward_into(&sum, &slopes, inputs, stock_compute).unwrap();
        let (d_hidden, d_weight) = head::backward_into(&sum, &slopes, inputs, own_compute).unwrap();
        let alone = head::backward_input(&slopes, inputs, own_compute).unwrap();
        agree_within(tolerance, "hidden alone", &alone, &head::backward_input(&slopes, inputs, stock_compute));
        prop_assert!(numbers(&alone) == numbers(&d_hidden), "other bits without the weight");
        agree_within(tolerance, "hidden", &d_hidden, &Ok(d_hidden_stock));
        agree_within(tolerance, "weight", &d_weight, &Ok(d_weight_stock));
    }

    /// Sequences longer than a task of queries and a panel of keys, heads wider and narrower than a panel.
    #[test]
    fn attentions(
        lengths in proptest::collection::vec(
            (prop_oneof![1..6_usize, 30..130_usize], proptest::collection::vec(1..110_usize, 0..3)), 1..3),
        (n_heads, n_kv_heads, width) in prop_oneof![Just((1, 1, 8)), Just((4, 2, 40)), Just((3, 3, 64)), Just((6, 2, 4))],
        window in prop_oneof![Just(None), Just(Some(1)), Just(Some(3)), Just(Some(50))],
    ) {
        let batch = batch(&lengths);
        let attention = Attention { segments: &batch.segments, scale: 0.3, window, kernels: OWN };
        let twin = Attention { kernels: Kernels::Stock, ..attention };
        let n = batch.ids.len();
        let (q, k) = (random(1, &[n, n_heads, width]), random(2, &[n, n_kv_heads, width]));
        let (v, dy) = (random(3, &[n, n_kv_heads, width]), random(4, &[n, n_heads, width]));
        agree("forward", &attention.forward(&q, &k, &v).unwrap(), &twin.forward(&q, &k, &v));
        let fast = attention.backward(&dy, &q, &k, &v).unwrap();
        let stock = twin.backward(&dy, &q, &k, &v).unwrap();
        agree("q", &fast.dq, &Ok(stock.dq));
        agree("k", &fast.dk, &Ok(stock.dk));
        agree("v", &fast.dv, &Ok(stock.dv));
    }

    #[test]
    fn embeddings(n_rows in 1..40_usize, width in 1..20_usize) {
        let (sum, dy) = (random(1, &[7, width]), random(2, &[n_rows, width]));
        let ids: Vec<u32> = (0..40).map(|i| i * i % 7).take(n_rows).collect();
        let ids = Tensor::new(ids, &Device::Cpu).unwrap();
        // The own kernel adds in place: the twin goes first.
        let stock = embedding::backward_into(&sum, &dy, &ids, Kernels::Stock);
        agree("table", &embedding::backward_into(&sum, &dy, &ids, OWN).unwrap(), &stock);
    }

    /// Both change all three tensors in place, several steps from the same start.
    #[test]
    fn updates(n_rows in 1..20_usize, width in 1..20_usize, keep in prop_oneof![Just(1.0), Just(0.9)]) {
        let shape = [n_rows, width];
        let start = || [random(1, &shape), (random(2, &shape) * 0.1).unwrap(), random(3, &shape).sqr().unwrap()];
        let (own, stock) = (start(), start());
        for seed in 4..7 {
            let gradient = random(seed, &shape);
            let step = adamw::Step { factor: 0.7, beta1: 0.9, beta2: 0.99, keep, rate: 1e-2, root: 0.8, eps: 1e-8 };
            for (tensors, kernels) in [(&own, OWN), (&stock, Kernels::Stock)] {
                step.apply(&tensors[0], &tensors[1], &tensors[2], &gradient, kernels).unwrap();
            }
        }
        for (name, (own, stock)) in ["theta", "first", "second"].into_iter().zip(own.iter().zip(stock)) {
            agree(name, own, &Ok(stock));
        }
        prop_assert!(numbers(&own[0]) != numbers(&start()[0]), "nothing was changed");
    }

    #[test]
    fn other_updates(
        n_rows in 1..20_usize, width in 1..20_usize, decay in prop_oneof![Just(0.0), Just(0.1)], has_momentum: bool,
    ) {
        let shape = [n_rows, width];
        // A parameter and its buffer for each of the two, a mean square, a mean.
        let start = || [1, 2, 1, 2, 3, 4].map(|seed| random(seed, &shape));
        let (own, stock) = (start(), start());
        for tensors in [&own, &stock] {
            tensors[4].slice_set(&tensors[4].sqr().unwrap(), 0, 0).unwrap();
        }
        for seed in 5..8 {
            // A view with gaps.
            let gradient = random(seed, &[width, n_rows]).t().unwrap();
            let (factor, momentum, rate) = (0.7, 0.9, 1e-2);
            let rmsprop = rmsprop::Step { factor, decay, alpha: 0.99, eps: 1e-8, momentum, rate };
            let sgd = sgd::Step { factor, decay, momentum, rate };
            for (tensors, kernels) in [(&own, OWN), (&stock, Kernels::Stock)] {
                let buffer = |at: usize| has_momentum.then(|| &tensors[at]);
                rmsprop.apply(&tensors[0], &tensors[4], buffer(1), &gradient, kernels).unwrap();
                sgd.apply(&tensors[2], buffer(3), &gradient, kernels).unwrap();
                average::approach(&tensors[5], &tensors[2], 0.1, kernels).unwrap();
            }
        }
        let names = ["rmsprop", "its buffer", "sgd", "its buffer", "mean square", "mean"];
        for (name, (own, stock)) in names.into_iter().zip(own.iter().zip(stock)) {
            agree(name, own, &Ok(stock));
        }
        for at in [0, 2, 5] {
            prop_assert!(numbers(&own[at]) != numbers(&start()[at]), "{} was not changed", names[at]);
        }
    }
}

fn both(precision: Precision) -> [Compute; 2] {
    [OWN, Kernels::Stock].map(|kernels| Compute { kernels, precision })
}

fn precisions() -> impl Strategy<Value = Precision> {
    prop_oneof![Just(Precision::F32), Just(Precision::Bf16)]
}

/// The exact product of what the two numbers are rounded to.
fn product(precision: Precision, x: f32, y: f32) -> f64 {
    match precision {
        Precision::F32 => f64::from(x) * f64::from(y),
        Precision::Bf16 => half::bf16::from_f32(x).to_f64() * half::bf16::from_f32(y).to_f64(),
    }
}

fn transpose(x: &[f32], n_rows: usize, n_columns: usize) -> Vec<f32> {
    (0..n_rows * n_columns).map(|at| x[at % n_rows * n_columns + at / n_rows]).collect()
}

fn batch(lengths: &[(usize, Vec<usize>)]) -> GroupBatch {
    const IDS: &[u32] = &[0; 256];
    let group = |(prompt, completions): &(usize, Vec<usize>)| Group {
        prompt: &IDS[..*prompt],
        completions: completions.iter().map(|&n| &IDS[..n]).collect(),
    };
    GroupBatch::new(&lengths.iter().map(group).collect::<Vec<_>>()).unwrap()
}

/// All kernels of rows and of attention: other instructions, the same bits.
#[test]
fn instruction_sets_give_the_same_bits() {
    let (n, n_heads, n_kv_heads, width) = (200, 4, 2, 40);
    let x = numbers(&(random(1, &[n, n_heads * width]) * 4.0).unwrap());
    let y = numbers(&random(2, &[n, n_heads * width]));
    let batch = batch(&[(70, vec![61, 71])]);
    let (k, v) = (numbers(&random(3, &[n, n_kv_heads * width])), numbers(&random(4, &[n, n_kv_heads * width])));
    let shape = cpu::attention::Shape { n_heads, n_kv_heads, width, scale: 0.3, window: usize::MAX };
    let run = |isa| {
        let mut outs = vec![vec![0.0; x.len()]; 3];
        cpu::rows::norm(isa, &x, &y[..160], 1e-5, &mut outs[0]);
        cpu::rows::swiglu(isa, &x, &y, &mut outs[1]);
        cpu::attention::forward(isa, &batch.segments, &shape, &x, &k, &v, &mut outs[2]);
        outs
    };
    let outs: Vec<_> = sets().into_iter().filter(|isa| isa.is_fused()).map(run).collect();
    assert!(outs.windows(2).all(|pair| pair[0] == pair[1]));
}
