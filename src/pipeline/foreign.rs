//! Settings of TRL, transformers and PEFT that have another name here, and what they mean in ours.
//!
//! The nearest name is bad advice for them: what is near `rpo_alpha` is another objective. Each entry says what its
//! source does with the setting, in settings that give the same result.

/// Names of other programs, and what to say in their place. Flags are in backticks as they are typed.
const FOREIGN: &[(&[&str], &str)] = &[
    // `DPOTrainer` of TRL before 0.29 adds `rpo_alpha` times the mean negative log-likelihood of the tokens of the
    // chosen completions; TRL's own advice names the same two losses.
    (
        &["rpo_alpha"],
        "TRL's `rpo_alpha=A` is `--loss-type sigmoid --loss-type sft --loss-weights 1,A`: the loss of DPO and A times the \
         likelihood of the chosen completions",
    ),
    (&["cdpo", "label_smoothing_factor"], "it is `--label-smoothing`"),
    (
        &["sft_weight", "sft_loss_weight", "pref_ftx"],
        "a term of likelihood is a second objective: `--loss-type sigmoid --loss-type sft --loss-weights 1,A`",
    ),
    (&["pref_beta"], "it is `--beta`"),
    (&["pref_loss"], "it is `--loss-type`"),
    (&["dpo_alpha"], "with `alpha_divergence` it is `--f-alpha-divergence-coef`"),
    (
        &[
            "precompute_ref_log_probs",
            "precompute_ref_batch_size",
            "ref_model",
            "ref_model_name_or_path",
            "model_ref",
            "force_use_ref_model",
        ],
        "the reference is the table: `piref precompute --model REFERENCE` scores it once, `--table` trains from it",
    ),
    (
        &["sync_ref_model", "ref_model_mixup_alpha", "ref_model_sync_steps"],
        "the reference of a table never changes: train from a table of the last policy in its place",
    ),
    (
        &["max_length", "max_prompt_length", "max_completion_length", "truncation_mode", "cutoff_len"],
        "lengths are cut when the table is made: `--max-length` and `--truncation-mode` of `piref precompute`",
    ),
    (
        &["padding_value", "label_pad_token_id", "pad_to_multiple_of", "padding_free"],
        "nothing is padded here: leave it out",
    ),
    (&["disable_dropout"], "models have no dropout here, an adapter has `--lora-dropout`: leave it out"),
    (&["generate_during_eval"], "it is `--eval-samples`"),
    (&["output_dir"], "it is `--out`"),
    (&["overwrite_output_dir"], "it is `--fresh`"),
    (&["resume_from_checkpoint"], "the same command goes on from the newest checkpoint in `--out`: leave it out"),
    (&["model_name_or_path", "model_id", "base_model", "pretrained_model_name_or_path"], "it is `--model`"),
    (&["adapter_name_or_path", "peft_model_id", "lora_model_dir"], "it is `--adapter`"),
    (&["use_peft", "peft_config", "use_lora", "finetuning_type"], "an adapter is trained with `--lora-r`"),
    (&["lora_rank", "lora_dim"], "it is `--lora-r`"),
    (&["lora_target", "target_modules", "lora_target_linear"], "it is `--lora-target-modules`"),
    (&["torch_dtype", "bf16", "fp16", "tf32", "precision", "compute_type"], "it is `--dtype f32` or `--dtype bf16`"),
    (&["save_safetensors", "save_precision"], "it is `--save-dtype`"),
    (
        &["per_device_train_batch_size", "train_batch_size", "micro_batch_size", "gradient_accumulation_steps"],
        "`--batch-size` is the pairs of an optimiser step: devices × `per_device_train_batch_size` × \
         `gradient_accumulation_steps`; `--max-tokens` is the size of a pass",
    ),
    (&["per_device_eval_batch_size", "eval_batch_size"], "passes are cut by tokens: `--max-tokens`"),
    (&["num_epochs", "epochs", "n_epochs"], "it is `--num-train-epochs`"),
    (&["lr"], "it is `--learning-rate`"),
    (&["lr_scheduler", "scheduler", "lr_schedule"], "it is `--lr-scheduler-type`"),
    (&["lr_scheduler_kwargs"], "of `cosine_with_min_lr` they are `--min-lr` and `--min-lr-rate`"),
    (
        &["gradient_checkpointing", "activation_checkpointing", "gradient_checkpointing_kwargs"],
        "it is `--recompute layer`",
    ),
    (&["eval_strategy", "evaluation_strategy"], "it is `--eval-steps`, with `--eval-table` or `--eval-share`"),
    (&["val_set_size", "test_size", "eval_fraction", "validation_split"], "it is `--eval-share`"),
    (&["save_strategy"], "it is `--save-steps`"),
    (&["greater_is_better"], "it follows from `--metric-for-best-model`: of a loss less is better, of the others more"),
    (
        &["dataset_name", "dataset", "train_file", "data_path", "data_files"],
        "`--data` of `piref precompute` makes the table that `--table` trains from",
    ),
    (&["use_cpu", "no_cuda", "local_rank", "device_map"], "it is `--device`"),
    (&["data_seed"], "it is `--seed`"),
    (
        &["sampler", "train_sampling_strategy", "dataloader_shuffle"],
        "the order of the table is `--no-shuffle`, another one `--order-by`",
    ),
    (&["max_grad_norm_clip", "gradient_clipping", "grad_clip"], "it is `--max-grad-norm`"),
    (&["run_name", "logging_dir", "project"], "metrics go to the folder `--out`"),
];

/// What a setting of another program means here, by its name as a key or as a flag.
pub(crate) fn advice(name: &str) -> Option<&'static str> {
    let name = name.trim_start_matches('-').replace('-', "_").to_lowercase();
    FOREIGN.iter().find(|(names, _)| names.contains(&name.as_str())).map(|(_, advice)| *advice)
}

/// Every name there is advice for.
#[cfg(test)]
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FOREIGN.iter().flat_map(|(names, _)| names.iter().copied())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_name_is_found_as_a_flag_and_as_a_key() {
        for name in ["--rpo-alpha", "rpo_alpha", "rpo-alpha"] {
            assert!(
                advice(name).unwrap().contains("`--loss-type sigmoid --loss-type sft --loss-weights 1,A`"),
                "{name}"
            );
        }
        assert_eq!(advice("learning_rate"), None);
        let names: Vec<&str> = names().collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "a name stands in two entries");
    }
}
