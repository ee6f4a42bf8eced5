//! Medians, of which the robust statistics are made.

/// The median: the middle value, or the mean of the two in the middle. `None` without values. Reorders them.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    let is_even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    let lower = below.iter().copied().max_by(f64::total_cmp).filter(|_| is_even);
    Some(lower.map_or(upper, |lower| f64::midpoint(lower, upper)))
}

/// The median and the median absolute deviation from it.
pub(super) fn median_and_mad(mut values: Vec<f64>) -> Option<(f64, f64)> {
    let center = median(&mut values)?;
    for value in &mut values {
        *value = (*value - center).abs();
    }
    Some((center, median(&mut values)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_odd_and_even_counts() {
        for (values, want) in [
            (vec![], None),
            (vec![3.0], Some((3.0, 0.0))),
            (vec![5.0, 1.0, 9.0], Some((5.0, 4.0))),
            // Median (3 + 4)/2; deviations 2.5, 0.5, 0.5, 96.5.
            (vec![100.0, 1.0, 4.0, 3.0], Some((3.5, 1.5))),
        ] {
            assert_eq!(median_and_mad(values.clone()), want, "{values:?}");
        }
    }
}
