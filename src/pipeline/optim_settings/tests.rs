use super::*;
use crate::pipeline::file::parse;

/// `[train]` with these lines over the defaults.
fn settings(lines: &str) -> TrainSettings {
    let given = parse(&format!("[train]\n{lines}")).unwrap();
    file::defaults().unwrap().under(&given).unwrap().train
}

#[track_caller]
fn refused<T>(made: Result<T, PipelineError>) -> (String, Option<String>) {
    let error = made.err().unwrap();
    (error.to_string(), error.hint())
}

#[test]
fn each_optimiser_reads_its_own_constants() {
    let optimizer = |lines: &str| settings(lines).optimizer().unwrap();
    assert_eq!(optimizer(""), AdamWParams::default().into());
    assert_eq!(optimizer("optim = 'rmsprop'"), RmsPropParams::default().into());
    assert_eq!(optimizer("optim = 'sgd'"), SgdParams::default().into());
    assert_eq!(
        optimizer("optim = 'adamw'\nadam_beta1 = 0.8\nadam_beta2 = 0.95\nadam_epsilon = 1e-6\nweight_decay = 0.1"),
        AdamWParams { beta1: 0.8, beta2: 0.95, eps: 1e-6, weight_decay: 0.1 }.into()
    );
    assert_eq!(
        optimizer("optim = 'rmsprop'\nrmsprop_alpha = 0.9\nrmsprop_epsilon = 1e-6\nmomentum = 0.5\nweight_decay = 0.1"),
        RmsPropParams { alpha: 0.9, eps: 1e-6, momentum: 0.5, weight_decay: 0.1 }.into()
    );
    assert_eq!(
        optimizer("optim = 'sgd'\nmomentum = 0.9\nweight_decay = 0.1"),
        SgdParams { momentum: 0.9, weight_decay: 0.1 }.into()
    );
}

#[test]
fn a_constant_of_another_optimiser_is_refused_unless_it_has_its_default() {
    let cases = [
        ("momentum = 0.9", "momentum", "adamw", "`rmsprop` and `sgd`"),
        ("rmsprop_alpha = 0.9", "rmsprop_alpha", "adamw", "`rmsprop`"),
        ("optim = 'sgd'\nrmsprop_epsilon = 1e-6", "rmsprop_epsilon", "sgd", "`rmsprop`"),
        ("optim = 'sgd'\nadam_beta2 = 0.95", "adam_beta2", "sgd", "`adamw`"),
        ("optim = 'rmsprop'\nadam_epsilon = 1e-6", "adam_epsilon", "rmsprop", "`adamw`"),
    ];
    for (lines, setting, optim, readers) in cases {
        let (message, hint) = refused(settings(lines).optimizer());
        assert_eq!(message, format!("`train.{setting}` is set, and optimiser `{optim}` does not read it"));
        assert_eq!(hint.unwrap(), format!("it is a setting of {readers}"));
    }
    settings("optim = 'rmsprop'\nadam_beta1 = 0.9").optimizer().unwrap();
}

#[test]
fn schedules_have_the_names_of_transformers() {
    let schedule = |lines: &str| settings(lines).schedule().unwrap();
    for (name, kind) in [
        ("constant", ScheduleKind::Constant),
        ("constant_with_warmup", ScheduleKind::Constant),
        ("linear", ScheduleKind::Linear),
        ("cosine", ScheduleKind::Cosine),
        ("inverse_sqrt", ScheduleKind::InverseSqrt),
    ] {
        let want = Schedule { kind, warmup: Warmup::Steps(3) };
        assert_eq!(schedule(&format!("lr_scheduler_type = '{name}'\nwarmup_steps = 3")), want);
    }
    assert_eq!(schedule("warmup_ratio = 0.1"), Schedule { kind: ScheduleKind::Linear, warmup: Warmup::Ratio(0.1) });
}

#[test]
fn a_floor_is_a_share_of_the_rate_or_a_rate() {
    let floor =
        |lines: &str| settings(&format!("lr_scheduler_type = 'cosine_with_min_lr'\nlearning_rate = 8e-6\n{lines}"));
    for lines in ["min_lr_rate = 0.25", "min_lr = 2e-6"] {
        let kind = floor(lines).schedule().unwrap().kind;
        assert_eq!(kind, ScheduleKind::CosineWithMinLr { min_lr_rate: 0.25 }, "{lines}");
    }
    for (lines, found) in [("", "neither"), ("min_lr = 0\nmin_lr_rate = 0", "both")] {
        let (message, hint) = refused(floor(lines).schedule());
        assert!(message.ends_with(&format!("`train.min_lr` or `train.min_lr_rate`, found {found}")), "{message}");
        assert!(hint.unwrap().contains("--min-lr-rate 0.1"));
    }
    let (message, _) = refused(floor("min_lr = 1e-5").schedule());
    assert_eq!(message, "expected `train.min_lr` of at most the learning rate, 8e-6, found 1e-5");
    let (message, hint) = refused(settings("min_lr_rate = 0.1").schedule());
    assert_eq!(message, "`train.min_lr_rate` is set, and only the schedule `cosine_with_min_lr` reads it");
    assert!(hint.unwrap().contains("--lr-scheduler-type cosine_with_min_lr"));
}

#[test]
fn a_warm_up_is_said_once() {
    let (message, hint) = refused(settings("warmup_steps = 5\nwarmup_ratio = 0.1").schedule());
    assert_eq!(message, "`train.warmup_steps` and `train.warmup_ratio` are both set: found 5 and 0.1");
    assert!(hint.unwrap().contains("--warmup-steps 0"));
}
