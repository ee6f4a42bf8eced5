//! Axes: where their ticks are, how numbers are written on them.

/// A linear map from numbers to places in a drawing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    /// Numbers at both ends, the lower one first.
    pub(super) range: (f64, f64),
    /// Places of these ends.
    pub(super) places: (f64, f64),
}

impl Scale {
    /// Where a number is.
    pub(super) fn at(&self, number: f64) -> f64 {
        let ((low, high), (from, to)) = (self.range, self.places);
        from + (number - low) / (high - low) * (to - from)
    }
}

/// Round numbers within a range.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ticks {
    /// From one to the next.
    pub(super) step: f64,
    /// In their order.
    pub(super) numbers: Vec<f64>,
}

impl Ticks {
    /// About `n` of them within the range: multiples of 1, 2 or 5 times a power of ten.
    pub(super) fn within((low, high): (f64, f64), n: u32) -> Self {
        let rough = (high - low) / f64::from(n);
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough * 0.999);
        let step = step.unwrap_or(10.0 * power);
        let first = (low / step - 1e-6).ceil();
        let number = |idx: u32| (first + f64::from(idx)) * step;
        let numbers = (0..=4 * n).map(number).take_while(|number| *number <= high + step * 1e-6);
        // Adding a positive zero takes the sign off a negative one.
        Self { step, numbers: numbers.map(|number| number + 0.0).collect() }
    }

    /// A range widened to the ticks around it, and its ticks.
    pub(super) fn around((low, high): (f64, f64), n: u32) -> ((f64, f64), Self) {
        let step = Self::within((low, high), n).step;
        let range = ((low / step + 1e-6).floor() * step, (high / step - 1e-6).ceil() * step);
        (range, Self::within(range, n))
    }

    /// The tick as it is written, alike along the axis.
    pub(super) fn label(&self, number: f64) -> String {
        let largest = self.numbers.iter().copied().map(f64::abs).fold(0.0, f64::max);
        if number == 0.0 {
            return "0".into();
        }
        if largest >= 1e6 || self.step < 1e-4 {
            return scientific(number);
        }
        let is_round = |decimals: &usize| {
            let scaled = self.step * 10_f64.powf(*decimals as f64);
            (scaled - scaled.round()).abs() < 1e-6
        };
        let decimals = (0..6).find(is_round).unwrap_or(6);
        format!("{number:.decimals$}")
    }
}

/// The range of the finite ones of some numbers, not empty; 0 to 1 where there are none.
pub(super) fn range(numbers: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let finite = numbers.into_iter().filter(|number| number.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    if low > high {
        return (0.0, 1.0);
    }
    // A curve that stays where it is lies in the middle.
    let least = 1e-9 * low.abs().max(high.abs()).max(1e-9);
    if high - low > least { (low, high) } else { (low - low.abs().max(1e-9) * 0.1, high + high.abs().max(1e-9) * 0.1) }
}

/// A number for a table: four decimals, more where it is small; digits and an exponent where it is very large or small.
pub(super) fn number(number: f64) -> String {
    match number.abs() {
        0.0 => "0".into(),
        size if (1e-2..1e9).contains(&size) => trimmed(&format!("{number:.4}")).to_owned(),
        size if (1e-4..1e-2).contains(&size) => trimmed(&format!("{number:.6}")).to_owned(),
        _ => scientific(number),
    }
}

fn scientific(number: f64) -> String {
    let text = format!("{number:.3e}");
    match text.split_once('e') {
        Some((digits, exponent)) => format!("{}e{exponent}", trimmed(digits)),
        // Infinities and NaN.
        None => text,
    }
}

/// Without zeros behind the point.
fn trimmed(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(range: (f64, f64), want: &[&str]) {
        let (_, ticks) = Ticks::around(range, 4);
        let labels: Vec<String> = ticks.numbers.iter().map(|number| ticks.label(*number)).collect();
        assert_eq!(labels, want, "{range:?}");
    }

    #[test]
    fn ticks_are_round_numbers_around_a_range() {
        check((0.0, 1.0), &["0", "0.5", "1.0"]);
        check((0.61, 0.72), &["0.60", "0.65", "0.70", "0.75"]);
        check((-31.7, 12.2), &["-40", "-20", "0", "20"]);
        check((1.0, 60.0), &["0", "20", "40", "60"]);
        check((1e-7, 9.9e-7), &["0", "5e-7", "1e-6"]);
        check((0.0, 3.2e6), &["0", "1e6", "2e6", "3e6", "4e6"]);
        check((-1200.0, -300.0), &["-1500", "-1000", "-500", "0"]);
    }

    #[test]
    fn a_range_is_never_empty_and_takes_no_notice_of_what_is_no_number() {
        for (numbers, want) in [
            (vec![], (0.0, 1.0)),
            (vec![f64::NAN, f64::INFINITY], (0.0, 1.0)),
            (vec![2.0, f64::NAN, -1.0], (-1.0, 2.0)),
            (vec![10.0, 10.0], (9.0, 11.0)),
        ] {
            assert_eq!(range(numbers.clone()), want, "{numbers:?}");
        }
        for same in [0.0, 1e-6, -4e7] {
            let (low, high) = range([same, same]);
            assert!(low < same && same < high, "{same}");
            assert!(Ticks::within((low, high), 4).numbers.len() >= 2, "{same}");
        }
    }

    #[test]
    fn numbers_are_written_short() {
        for (value, want) in [
            (0.0, "0"),
            (0.693_18, "0.6932"),
            (-12.5, "-12.5"),
            (100.0, "100"),
            (0.000_360_94, "0.000361"),
            (5e-7, "5e-7"),
            (1_234_567.0, "1234567"),
            (2.5e12, "2.5e12"),
        ] {
            assert_eq!(number(value), want);
        }
    }

    #[test]
    fn a_scale_may_run_down() {
        let scale = Scale { range: (0.0, 10.0), places: (200.0, 0.0) };
        assert_eq!([0.0, 2.5, 10.0].map(|number| scale.at(number)), [200.0, 150.0, 0.0]);
    }
}
