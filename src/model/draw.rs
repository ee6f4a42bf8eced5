//! A model before it has learnt anything: weights drawn at random, as transformers initialises them.

use std::path::Path;

use candle_core::Tensor;
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use serde_json::Value;

use super::config_hf;
use super::decoder::{Decoder, specs};
use super::error::{ModelError, shown};
use crate::model_source::ModelSource;
use crate::ops::Backend;

/// `initializer_range` where `config.json` has none: transformers' default of every family the decoder implements.
const DEFAULT_RANGE: f64 = 0.02;

impl Decoder {
    /// A model of the configuration of `source`, whose weights are not read: matrices and the embedding are normal with the
    /// standard deviation `initializer_range`, norms are 1, biases 0. `rng` makes the generator of a parameter, by its name.
    ///
    /// # Errors
    /// If the configuration is not one the decoder honours, or if `source` is a GGUF file: it has no such range.
    pub fn draw<R: Rng>(source: &ModelSource, backend: &Backend, rng: impl Fn(&str) -> R) -> Result<Self, ModelError> {
        let ModelSource::Folder(folder) = source else {
            return Err(ModelError::NothingToDraw { path: source.path().to_owned() });
        };
        let path = folder.join("config.json");
        let (config, range) = (config_hf::read(&path)?, initializer_range(&path)?);
        let mut tensors = Vec::new();
        for spec in specs(&config) {
            let n_values = spec.shape.iter().product();
            let values = values(&spec.name, n_values, spec.shape.len() == 2, range, &rng);
            let tensor = Tensor::from_vec(values, spec.shape.as_slice(), backend.device())
                .map_err(ModelError::tensor("drawing weights"))?;
            tensors.push((spec, tensor));
        }
        Self::of(source, config, tensors.into_iter(), backend)
    }
}

/// The values of a parameter. Products are made in `f64`, so that they do not depend on how a machine rounds twice.
#[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
fn values<R: Rng>(name: &str, n_values: usize, is_matrix: bool, range: f64, rng: impl Fn(&str) -> R) -> Vec<f32> {
    if is_matrix {
        let mut rng = rng(name);
        let normal = (0..n_values).map(|_| -> f64 { StandardNormal.sample(&mut rng) });
        normal.map(|value| (range * value) as f32).collect()
    } else {
        let is_bias = name.rsplit('.').next() == Some("bias");
        vec![if is_bias { 0.0 } else { 1.0 }; n_values]
    }
}

fn initializer_range(path: &Path) -> Result<f64, ModelError> {
    match config_hf::object(path)?.get("initializer_range") {
        None | Some(Value::Null) => Ok(DEFAULT_RANGE),
        Some(found) => {
            found.as_f64().filter(|range| range.is_finite() && *range > 0.0).ok_or_else(|| ModelError::ConfigValue {
                path: path.to_owned(),
                key: "initializer_range".into(),
                expected: "a number above 0".into(),
                found: shown(found.to_string()),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::digest::Digest;
    use crate::io;

    fn folder(config: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        io::write(&folder.path().join("config.json"), config.as_bytes()).unwrap();
        folder
    }

    fn draw(folder: &Path, seed: &str) -> Result<Decoder, ModelError> {
        let rng = |name: &str| ChaCha8Rng::from_seed(*Digest::of(format!("{seed}{name}").as_bytes()).as_bytes());
        Decoder::draw(&ModelSource::Folder(folder.to_owned()), &Backend::cpu(), rng)
    }

    const QWEN2: &str = r#"{"model_type": "qwen2", "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": false, "initializer_range": 0.1}"#;

    #[test]
    fn matrices_are_normal_norms_one_and_biases_zero() {
        let folder = folder(QWEN2);
        let model = draw(folder.path(), "a").unwrap();
        let (mut n_biases, mut n_matrices) = (0, 0);
        for (_, name, tensor) in model.params().iter() {
            let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            if tensor.rank() == 2 {
                n_matrices += 1;
                let n = values.len() as f64;
                let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / n;
                let std = (values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / n).sqrt();
                // Five standard errors of a mean of n draws and of their spread.
                assert!(mean.abs() < 0.5 / n.sqrt() && (std - 0.1).abs() < 0.36 / n.sqrt(), "{name}: {mean} ± {std}");
            } else {
                let want = if name.ends_with("bias") { 0.0 } else { 1.0 };
                n_biases += usize::from(want == 0.0);
                assert!(values.iter().all(|value| *value == want), "{name}");
            }
        }
        assert_eq!((n_matrices, n_biases), (2 + 2 * 7, 2 * 3));
    }

    #[test]
    fn each_parameter_has_draws_of_its_own_and_a_seed_draws_the_same_again() {
        let folder = folder(QWEN2);
        let values = |seed| -> Vec<Vec<Vec<f32>>> {
            let model = draw(folder.path(), seed).unwrap();
            let matrices = model.params().iter().filter(|(_, _, tensor)| tensor.rank() == 2);
            matrices.map(|(_, _, tensor)| tensor.to_vec2().unwrap()).collect()
        };
        let a = values("a");
        assert_eq!(a, values("a"));
        assert_ne!(a, values("b"));
        assert_ne!(a[0], a[a.len() - 1], "embedding and head");
    }

    #[test]
    fn a_range_that_is_none_is_refused_by_name() {
        for range in ["0.0", "-1.0", "\"wide\""] {
            let folder = folder(&QWEN2.replace("0.1}", &format!("{range}}}")));
            let error = draw(folder.path(), "a").unwrap_err().to_string();
            assert!(error.contains("key `initializer_range`: expected a number"), "{error}");
        }
        let gguf = ModelSource::Gguf("a.gguf".into());
        assert!(matches!(
            Decoder::draw(&gguf, &Backend::cpu(), |_| ChaCha8Rng::seed_from_u64(0)),
            Err(ModelError::NothingToDraw { .. })
        ));
    }
}
