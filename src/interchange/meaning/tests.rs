use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Tokens and log-probs of completions, one column of the fixture.
fn smollm2(data: &str, side: usize) -> Vec<(usize, f64)> {
    let text = std::fs::read_to_string("fixtures/interchange/smollm2.csv").unwrap();
    let rows = text.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
    rows.filter(|row| row[0] == data)
        .map(|row| (row[1 + 2 * side].parse().unwrap(), row[2 + 2 * side].parse().unwrap()))
        .collect()
}

fn averages(sums: &[(usize, f64)]) -> Vec<(usize, f64)> {
    sums.iter().map(|&(n, sum)| (n, sum / n as f64)).collect()
}

const VOCAB: usize = 49_152;

#[track_caller]
fn judge(completions: &[(usize, f64)]) -> Result<Meaning, Doubt> {
    Evidence::of(completions.iter().copied()).judge(VOCAB)
}

#[test]
fn real_sums_and_the_same_as_averages_are_told() {
    for data in ["hh-rlhf", "ultrafeedback", "llmbar", "pandalm"] {
        for side in 0..2 {
            let sums = smollm2(data, side);
            assert!(sums.len() >= 80, "{data}: {}", sums.len());
            assert_eq!(judge(&sums), Ok(Meaning::Sums), "{data}, side {side}");
            assert_eq!(judge(&averages(&sums)), Ok(Meaning::Averages), "{data}, side {side}");
        }
    }
}

#[test]
fn a_column_of_both_is_unclear() {
    let sums = smollm2("hh-rlhf", 0);
    let both = sums.iter().copied().zip(averages(&sums)).enumerate();
    let mixed: Vec<_> = both.map(|(row, (sum, average))| if row % 2 == 0 { sum } else { average }).collect();
    assert_eq!(judge(&mixed), Err(Doubt::Slope));
}

#[test]
fn few_completions_and_equal_lengths_are_unclear() {
    let sums = smollm2("hh-rlhf", 0);
    assert_eq!(judge(&sums[..MIN_COMPLETIONS - 1]), Err(Doubt::TooFew));
    assert!(judge(&[]).is_err());
    let equal: Vec<_> = sums.iter().map(|&(n, sum)| (100, sum / n as f64 * 100.0)).collect();
    assert_eq!(judge(&equal), Err(Doubt::NoSpread));
    let short: Vec<_> = (0..200).map(|row| (1 + row % 7, -3.0)).collect();
    assert_eq!(judge(&short), Err(Doubt::TooFew));
    // A log-prob of 0 says nothing of the length.
    let zeros: Vec<_> = sums.iter().map(|&(n, _)| (n, 0.0)).collect();
    assert_eq!(judge(&zeros), Err(Doubt::TooFew));
}

#[test]
fn numbers_that_no_language_model_gives_are_unclear() {
    let sums = smollm2("hh-rlhf", 0);
    // Perplexities of e¹⁰⁰ a token and of 1.00001.
    for factor in [100.0, 1e-5] {
        let scaled: Vec<_> = sums.iter().map(|&(n, sum)| (n, sum * factor)).collect();
        assert_eq!(judge(&scaled), Err(Doubt::Nats), "{factor}");
        assert_eq!(judge(&averages(&scaled)), Err(Doubt::Nats), "{factor}");
    }
    // Neither falling nor growing in proportion: a square root.
    let root: Vec<_> = sums.iter().map(|&(n, sum)| (n, sum / (n as f64).sqrt())).collect();
    assert_eq!(judge(&root), Err(Doubt::Slope));
}

#[test]
fn the_reason_of_a_doubt_has_its_numbers() {
    let evidence = Evidence::of([(10, -20.0), (20, -40.0)].into_iter());
    let reason = evidence.reason(Doubt::TooFew, VOCAB);
    assert_eq!(reason, "expected at least 32 completions of 8 tokens or more, found 2");
    let reason = evidence.reason(Doubt::Slope, VOCAB);
    assert!(reason.starts_with("slope 1.00 ± 0.00 of ln(−logps) on ln(tokens) over 2 completions"), "{reason}");
    assert!(reason.ends_with("median 2.000 nats a token if they are sums, 40.000 if they are averages"), "{reason}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the lengths and the nats a token: what is told is right.
    #[test]
    fn a_verdict_is_never_wrong(
        completions in vec((1..800_usize, 0.3..4.0_f64), 16..300),
        fall in 0.0..0.2_f64,
    ) {
        let nats = |n: usize, h: f64| h * (n as f64).powf(-fall);
        let sums: Vec<_> = completions.iter().map(|&(n, h)| (n, -nats(n, h) * n as f64)).collect();
        if let Ok(found) = judge(&sums) {
            prop_assert_eq!(found, Meaning::Sums);
        }
        if let Ok(found) = judge(&averages(&sums)) {
            prop_assert_eq!(found, Meaning::Averages);
        }
    }
}
