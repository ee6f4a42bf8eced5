//! Which metrics stand together in a figure, and what a reader has to know of them.

/// A figure of metrics.
#[derive(Debug)]
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) note: &'static str,
    pub(super) unit: Option<&'static str>,
    /// Name of a line, and its column; at most two that a run has.
    pub(super) lines: &'static [(&'static str, &'static str)],
    /// Levels that mean something.
    pub(super) guides: &'static [(f64, &'static str)],
}

const NO_GUIDES: &[(f64, &str)] = &[];

const AS_REFERENCE: &[(f64, &str)] = &[(0.0, "as the reference")];

/// Of the steps, beside the held-out pairs where both have a number.
pub(super) const TRAINING: &[Panel] = &[
    Panel {
        title: "Loss",
        note: "The objective, before the update of the step.",
        unit: None,
        lines: &[("trained on", "loss"), ("held out", "eval_loss")],
        guides: NO_GUIDES,
    },
    Panel {
        title: "Reward accuracy",
        note: "Share of pairs whose chosen reward is above the rejected one; dotted: chance.",
        unit: None,
        lines: &[("trained on", "rewards/accuracies"), ("held out", "eval_rewards/accuracies")],
        guides: &[(0.5, "chance"), (0.0, "none"), (1.0, "all")],
    },
    Panel {
        title: "Reward margin",
        note: "Chosen minus rejected reward; 0 where the policy is its reference.",
        unit: None,
        lines: &[("trained on", "rewards/margins"), ("held out", "eval_rewards/margins")],
        guides: AS_REFERENCE,
    },
    Panel {
        title: "Rewards",
        note: "β·(ln π_θ − ln π_ref). A margin may grow while both fall.",
        unit: None,
        lines: &[("chosen", "rewards/chosen"), ("rejected", "rewards/rejected")],
        guides: AS_REFERENCE,
    },
    Panel {
        title: "Log-probs",
        note: "ln π_θ of a completion, summed over its tokens.",
        unit: Some("nats"),
        lines: &[("chosen", "logps/chosen"), ("rejected", "logps/rejected")],
        guides: NO_GUIDES,
    },
    Panel {
        title: "Displacement",
        note: "Share of pairs whose chosen completion is less likely than under the reference.",
        unit: None,
        lines: &[("trained on", "displacement"), ("held out", "eval_displacement")],
        guides: &[(0.0, "none"), (1.0, "all")],
    },
    Panel {
        title: "Gradient norm",
        note: "Over all trained parameters, before clipping.",
        unit: None,
        lines: &[("gradient norm", "grad_norm")],
        guides: &[(0.0, "none")],
    },
    Panel {
        title: "Learning rate",
        note: "",
        unit: None,
        lines: &[("learning rate", "learning_rate")],
        guides: &[(0.0, "none")],
    },
];

/// Of evaluations alone.
pub(super) const HELD_OUT: &[Panel] = &[
    Panel {
        title: "Held-out rewards",
        note: "β·(ln π_θ − ln π_ref) of pairs that are not trained on.",
        unit: None,
        lines: &[("chosen", "eval_rewards/chosen"), ("rejected", "eval_rewards/rejected")],
        guides: AS_REFERENCE,
    },
    Panel {
        title: "Held-out log-probs",
        note: "ln π_θ of a completion, summed over its tokens.",
        unit: Some("nats"),
        lines: &[("chosen", "eval_logps/chosen"), ("rejected", "eval_logps/rejected")],
        guides: NO_GUIDES,
    },
    Panel {
        title: "Distance to the reference",
        note: "ln π_θ − ln π_ref per token, on completions that the policy has not written.",
        unit: Some("nats per token"),
        lines: &[("chosen", "eval_kl/chosen"), ("rejected", "eval_kl/rejected")],
        guides: AS_REFERENCE,
    },
];

/// Of the clock.
pub(super) const TIME: &[Panel] = &[Panel {
    title: "Speed",
    note: "Tokens of a step by its wall time, each prompt counted once per completion.",
    unit: Some("tokens/s"),
    lines: &[("speed", "tokens_per_second")],
    guides: &[(0.0, "none")],
}];
