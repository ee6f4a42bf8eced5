//! Groups of parameters.

/// Whether a parameter of this name decays: matrices and embeddings do, biases and norms do not, as in the groups of
/// transformers' Trainer (`get_decay_parameter_names`).
pub fn decays(name: &str) -> bool {
    let mut parts = name.rsplit('.');
    let kind = parts.next();
    let is_norm =
        parts.next().is_some_and(|part| part == "norm" || part.ends_with("layernorm") || part.ends_with("_norm"));
    kind != Some("bias") && !is_norm
}

/// The weight decay of a parameter of this name.
pub(super) fn decay(name: &str, weight_decay: f64) -> f64 {
    if decays(name) { weight_decay } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn biases_and_norms_do_not_decay() {
        for name in [
            "model.embed_tokens.weight",
            "lm_head.weight",
            "model.layers.0.mlp.up_proj.weight",
            "model.layers.0.mlp.up_proj.lora_A.weight",
        ] {
            assert!(decays(name), "{name}");
        }
        for name in [
            "model.norm.weight",
            "model.layers.0.self_attn.q_proj.bias",
            "model.layers.0.input_layernorm.weight",
            "model.layers.0.self_attn.k_norm.weight",
        ] {
            assert!(!decays(name), "{name}");
        }
    }
}
