//! What is shown of a training run while it runs.

use std::time::{Duration, Instant};

use super::progress::{Position, Progress, clock};
use crate::train::{EvaluationMetrics, Event, StepMetrics};

/// The display of a training run.
#[derive(Default)]
pub(crate) struct TrainProgress {
    /// Where tokens are counted from: the end of the first step made now.
    counted: Option<Counted>,
}

/// A count of tokens, and when it stood there.
struct Counted {
    n_tokens: u64,
    at: Instant,
}

impl TrainProgress {
    pub(crate) fn show(&mut self, event: &Event<'_>, progress: &mut Progress<'_>) {
        match event {
            Event::Note(line) => progress.note(line),
            Event::Checked { n_pairs, max_delta, mean_delta } => {
                progress.note(format_args!(
                    "{n_pairs} pairs of the table scored again: at most {max_delta:.1e}, on average {mean_delta:.1e} nats off"
                ));
                progress.begin(0);
            }
            Event::Resumed { step } => {
                progress.note(format_args!("going on from step {step}"));
                progress.begin(*step);
            }
            Event::Evaluating { step, n_scored, n_pairs } => {
                let text = format!("evaluation after step {step}: {n_scored} of {n_pairs} pairs");
                progress.advance(&Position { done: *n_scored as u64, total: *n_pairs as u64, text: &text });
            }
            Event::Sampling { step, n_completed, n_prompts } => {
                let text = format!("samples after step {step}: {n_completed} of {n_prompts} prompts");
                progress.advance(&Position { done: *n_completed as u64, total: *n_prompts as u64, text: &text });
            }
            Event::Evaluated { metrics, n_steps } => progress.note(evaluation_line(metrics, *n_steps)),
            Event::Saved { path } => progress.note(format_args!("saved: {}", path.display())),
            Event::Step { metrics, n_steps, is_logged } => {
                if *is_logged {
                    progress.note(step_line(metrics, *n_steps));
                }
                let (_, left) = progress.pace(metrics.step, *n_steps);
                let text = bar_text(metrics, *n_steps, self.tokens_per_second(metrics), left);
                progress.advance(&Position { done: metrics.step, total: *n_steps, text: &text });
            }
        }
    }

    /// Over all steps made now; of the first, its own.
    fn tokens_per_second(&mut self, metrics: &StepMetrics) -> f64 {
        let now = Instant::now();
        let counted = self.counted.get_or_insert(Counted { n_tokens: metrics.num_tokens, at: now });
        let seconds = now.duration_since(counted.at).as_secs_f64();
        match metrics.num_tokens.saturating_sub(counted.n_tokens) {
            n_tokens if n_tokens > 0 && seconds > 0.0 => n_tokens as f64 / seconds,
            _ => metrics.tokens_per_second,
        }
    }
}

fn step_line(metrics: &StepMetrics, n_steps: u64) -> String {
    format!(
        "step {}/{n_steps}: loss {:.4}, rewards/accuracies {:.2}, rewards/margins {:.4}, grad_norm {:.3}",
        metrics.step, metrics.loss, metrics.rewards_accuracies, metrics.rewards_margins, metrics.grad_norm
    )
}

fn evaluation_line(evaluation: &EvaluationMetrics, n_steps: u64) -> String {
    let EvaluationMetrics { step, metrics, .. } = evaluation;
    format!(
        "evaluation after step {step}/{n_steps}: eval_loss {:.4}, eval_rewards/accuracies {:.2} (ties {:.2}), \
         eval_rewards/margins {:.4}, eval_displacement {:.2}",
        metrics.loss, metrics.rewards_accuracies, metrics.rewards_ties, metrics.rewards_margins, metrics.displacement
    )
}

/// Short enough to stand beside the bar on a terminal of 80 columns.
fn bar_text(metrics: &StepMetrics, n_steps: u64, tokens_per_second: f64, left: Duration) -> String {
    format!(
        "step {}/{n_steps}: loss {:.4}, accuracy {:.2}, {tokens_per_second:.0} tokens/s, {} left",
        metrics.step,
        metrics.loss,
        metrics.rewards_accuracies,
        clock(left)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(step: u64, num_tokens: u64) -> StepMetrics {
        StepMetrics {
            step,
            epoch: 0.5,
            loss: 0.512_34,
            grad_norm: 1.5,
            learning_rate: 1e-6,
            rewards_chosen: 0.0,
            rewards_rejected: 0.0,
            rewards_margins: 0.0,
            rewards_accuracies: 0.625,
            logps_chosen: -20.0,
            logps_rejected: -21.0,
            num_tokens,
            n_pairs: 8,
            displacement: 0.5,
            tokens_per_second: 750.0,
            step_seconds: 0.25,
        }
    }

    #[test]
    fn the_bar_says_where_the_run_is_and_how_long_it_takes() {
        let text = bar_text(&metrics(12, 4000), 60, 1234.4, Duration::from_secs(185));
        assert_eq!(text, "step 12/60: loss 0.5123, accuracy 0.62, 1234 tokens/s, 3 min 05 s left");
    }

    #[test]
    fn speed_is_over_the_steps_made_now() {
        let mut progress = TrainProgress::default();
        // The steps of an earlier start do not count.
        assert_eq!(progress.tokens_per_second(&metrics(41, 90_000)), 750.0);
        let ten_seconds_ago = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        progress.counted = Some(Counted { n_tokens: 90_000, at: ten_seconds_ago });
        let speed = progress.tokens_per_second(&metrics(42, 95_000));
        assert!((490.0..=500.0).contains(&speed), "{speed}");
    }
}
