//! Learning-rate schedules, as transformers defines them (`optimization.py`).

use serde::Serialize;

/// The shape of a schedule after its warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// The learning rate as it is.
    Constant,
    /// Down to 0 at the last step, along a line.
    #[default]
    Linear,
    /// Down to 0 at the last step, along half a cosine.
    Cosine,
    /// Down to a floor at the last step, along half a cosine.
    CosineWithMinLr {
        /// The floor, as a share of the learning rate.
        min_lr_rate: f64,
    },
    /// Down with the root of the steps, at half of the rate after four times the warm-up.
    InverseSqrt,
}

impl ScheduleKind {
    /// Whether a longer run has another rate at a step that both make; the length of the warm-up aside.
    pub fn depends_on_length(self) -> bool {
        match self {
            Self::Constant | Self::InverseSqrt => false,
            Self::Linear | Self::Cosine | Self::CosineWithMinLr { .. } => true,
        }
    }
}

/// How long the rate rises from 0, along a line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Warmup {
    /// So many steps.
    Steps(u64),
    /// This share of all steps, in [0, 1], rounded up.
    Ratio(f64),
}

/// Steps after which an inverse root without a warm-up is at 1/√2 of the rate.
const INVERSE_SQRT_STEPS: f64 = 10_000.0;

impl Warmup {
    /// How many of `n_steps`; no less than all steps where there are fewer than it asks for.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count is a count")]
    pub fn steps(self, n_steps: u64) -> u64 {
        match self {
            Self::Steps(steps) => steps,
            Self::Ratio(ratio) => (ratio * n_steps as f64).ceil() as u64,
        }
    }
}

/// A learning-rate schedule over a known number of steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Its shape.
    pub kind: ScheduleKind,
    /// What comes before.
    pub warmup: Warmup,
}

impl Schedule {
    /// Factor of the learning rate in optimiser step `step` (from 0) of `n_steps`.
    ///
    /// With a warm-up the first step has factor 0, as in transformers. Departure: transformers' `constant` ignores the
    /// warm-up and wants `constant_with_warmup` for it; here the shape and the warm-up are two settings.
    pub fn factor(&self, step: u64, n_steps: u64) -> f64 {
        let warmup_steps = self.warmup.steps(n_steps);
        if step < warmup_steps {
            return step as f64 / warmup_steps.max(1) as f64;
        }
        let after = (step - warmup_steps) as f64;
        let progress = after / n_steps.saturating_sub(warmup_steps).max(1) as f64;
        let cosine = || 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        match self.kind {
            ScheduleKind::Constant => 1.0,
            ScheduleKind::Linear => (1.0 - progress).max(0.0),
            ScheduleKind::Cosine => cosine().max(0.0),
            ScheduleKind::CosineWithMinLr { min_lr_rate } => (cosine() * (1.0 - min_lr_rate) + min_lr_rate).max(0.0),
            ScheduleKind::InverseSqrt => {
                let scale = if warmup_steps == 0 { INVERSE_SQRT_STEPS } else { warmup_steps as f64 };
                ((after + scale) / scale).sqrt().recip()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_does_not_depend_on_the_length_is_the_same_in_a_longer_run() {
        let kinds = [
            ScheduleKind::Constant,
            ScheduleKind::Linear,
            ScheduleKind::Cosine,
            ScheduleKind::CosineWithMinLr { min_lr_rate: 0.1 },
            ScheduleKind::InverseSqrt,
        ];
        for kind in kinds {
            let schedule = Schedule { kind, warmup: Warmup::Steps(2) };
            let is_same = (0..9).all(|step| schedule.factor(step, 10) == schedule.factor(step, 20));
            assert_eq!(is_same, !kind.depends_on_length(), "{kind:?}");
        }
    }

    /// transformers: `math.ceil(num_training_steps * ratio)`, in f64.
    #[test]
    fn a_share_of_the_steps_is_rounded_up() {
        for (ratio, n_steps, want) in
            [(0.0, 100, 0), (0.1, 10, 1), (0.1, 11, 2), (0.1, 30, 3), (0.3, 10, 3), (1.0, 7, 7)]
        {
            assert_eq!(Warmup::Ratio(ratio).steps(n_steps), want, "{ratio} of {n_steps}");
        }
        assert_eq!(Warmup::Steps(9).steps(4), 9);
    }
}
