//! The optimisers behind one name.

use candle_core::{Result as CandleResult, Tensor};
use serde::Serialize;

use super::adamw::{AdamW, AdamWParams, Moments};
use super::rmsprop::{RmsProp, RmsPropParams, Squares};
use super::sgd::{Sgd, SgdParams};
use crate::model::{Gradients, Params};

// Of the tensors an optimiser keeps, before the name of the parameter; the last two are torch's.
const FIRST: &str = "first";
const SECOND: &str = "second";
const SQUARE: &str = "square_avg";
const BUFFER: &str = "momentum_buffer";

/// Which optimiser, and its constants.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum OptimizerParams {
    /// [`AdamW`].
    AdamW(AdamWParams),
    /// [`RmsProp`].
    RmsProp(RmsPropParams),
    /// [`Sgd`].
    Sgd(SgdParams),
}

impl OptimizerParams {
    /// Its name, as a user writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AdamW(_) => "adamw",
            Self::RmsProp(_) => "rmsprop",
            Self::Sgd(_) => "sgd",
        }
    }

    /// Names of the tensors it keeps of every trained parameter, each shaped like it.
    pub fn slots(&self) -> &'static [&'static str] {
        match self {
            Self::AdamW(_) => &[FIRST, SECOND],
            Self::RmsProp(constants) if constants.momentum > 0.0 => &[SQUARE, BUFFER],
            Self::RmsProp(_) => &[SQUARE],
            Self::Sgd(constants) if constants.momentum > 0.0 => &[BUFFER],
            Self::Sgd(_) => &[],
        }
    }

    fn has(&self, slot: &str) -> bool {
        self.slots().contains(&slot)
    }
}

/// AdamW, as where nobody says which.
impl Default for OptimizerParams {
    fn default() -> Self {
        Self::AdamW(AdamWParams::default())
    }
}

impl From<AdamWParams> for OptimizerParams {
    fn from(constants: AdamWParams) -> Self {
        Self::AdamW(constants)
    }
}

impl From<RmsPropParams> for OptimizerParams {
    fn from(constants: RmsPropParams) -> Self {
        Self::RmsProp(constants)
    }
}

impl From<SgdParams> for OptimizerParams {
    fn from(constants: SgdParams) -> Self {
        Self::Sgd(constants)
    }
}

/// An optimiser with what it keeps.
#[derive(Debug)]
pub enum Optimizer {
    /// AdamW.
    AdamW(AdamW),
    /// RMSprop.
    RmsProp(RmsProp),
    /// Stochastic gradient descent.
    Sgd(Sgd),
}

impl Optimizer {
    /// An optimiser that has made no step.
    pub fn new(constants: impl Into<OptimizerParams>, params: &Params) -> CandleResult<Self> {
        Self::resume(constants, 0, params, |_, theta| theta.zeros_like())
    }

    /// An optimiser that has made `n_steps`. `tensor` is asked for each tensor it keeps, by slot and parameter as
    /// [`named`](Self::named) joins them, and is given the parameter.
    ///
    /// # Errors
    /// Those of `tensor`.
    pub fn resume<E>(
        constants: impl Into<OptimizerParams>,
        n_steps: u64,
        params: &Params,
        mut tensor: impl FnMut(&str, &Tensor) -> Result<Tensor, E>,
    ) -> Result<Self, E> {
        let constants = constants.into();
        let mut slot = |slot: &str, name: &str, theta: &Tensor| tensor(&join(slot, name), theta);
        let trained = params.trained();
        Ok(match constants {
            OptimizerParams::AdamW(of_adamw) => {
                let mut moments = Vec::new();
                for (_, name, theta) in trained {
                    moments.push(Moments { first: slot(FIRST, name, theta)?, second: slot(SECOND, name, theta)? });
                }
                Self::AdamW(AdamW::resume(of_adamw, n_steps, moments))
            }
            OptimizerParams::RmsProp(of_rmsprop) => {
                let mut kept = Vec::new();
                for (_, name, theta) in trained {
                    let square = slot(SQUARE, name, theta)?;
                    let buffer = constants.has(BUFFER).then(|| slot(BUFFER, name, theta)).transpose()?;
                    kept.push(Squares { square, buffer });
                }
                Self::RmsProp(RmsProp::resume(of_rmsprop, kept))
            }
            OptimizerParams::Sgd(of_sgd) => {
                let mut buffers = Vec::new();
                for (_, name, theta) in trained {
                    buffers.push(constants.has(BUFFER).then(|| slot(BUFFER, name, theta)).transpose()?);
                }
                Self::Sgd(Sgd::resume(of_sgd, buffers))
            }
        })
    }

    /// All it keeps, as `slot.parameter`, in the order of the trained parameters.
    pub fn named<'a>(&'a self, params: &Params) -> Vec<(String, &'a Tensor)> {
        let kept: Vec<Vec<(&str, &Tensor)>> = match self {
            Self::AdamW(adamw) => {
                adamw.moments().iter().map(|kept| vec![(FIRST, &kept.first), (SECOND, &kept.second)]).collect()
            }
            Self::RmsProp(rmsprop) => {
                let of_one = |kept: &'a Squares| -> Vec<(&'static str, &'a Tensor)> {
                    let buffer = kept.buffer.as_ref().map(|buffer| (BUFFER, buffer));
                    [(SQUARE, &kept.square)].into_iter().chain(buffer).collect()
                };
                rmsprop.kept().iter().map(of_one).collect()
            }
            Self::Sgd(sgd) => {
                sgd.buffers().iter().map(|kept| kept.iter().map(|kept| (BUFFER, kept)).collect()).collect()
            }
        };
        let of_all = params.trained().zip(kept);
        of_all.flat_map(|((_, name, _), kept)| kept.into_iter().map(|(slot, kept)| (join(slot, name), kept))).collect()
    }

    /// Changes the trained parameters in place: one step against `gradients`, each first multiplied by `factor`
    /// (clipping).
    pub fn step(&mut self, params: &Params, gradients: &Gradients, lr: f64, factor: f64) -> CandleResult<()> {
        match self {
            Self::AdamW(adamw) => adamw.step(params, gradients, lr, factor),
            Self::RmsProp(rmsprop) => rmsprop.step(params, gradients, lr, factor),
            Self::Sgd(sgd) => sgd.step(params, gradients, lr, factor),
        }
    }
}

fn join(slot: &str, name: &str) -> String {
    format!("{slot}.{name}")
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::ops::Kernels;

    fn params() -> Params {
        let mut params = Params::new(Kernels::Own);
        params.push("w".into(), Tensor::new(&[1_f32, 2.0], &Device::Cpu).unwrap());
        params.push("norm.weight".into(), Tensor::new(&[3_f32], &Device::Cpu).unwrap());
        params
    }

    fn every_kind() -> [OptimizerParams; 5] {
        [
            AdamWParams::default().into(),
            RmsPropParams::default().into(),
            RmsPropParams { momentum: 0.9, ..RmsPropParams::default() }.into(),
            SgdParams::default().into(),
            SgdParams { momentum: 0.9, ..SgdParams::default() }.into(),
        ]
    }

    #[test]
    fn what_is_kept_has_the_names_of_the_slots_in_the_order_of_the_parameters() {
        let params = params();
        for constants in every_kind() {
            let optimizer = Optimizer::new(constants, &params).unwrap();
            let names: Vec<String> = optimizer.named(&params).into_iter().map(|(name, _)| name).collect();
            let want =
                ["w", "norm.weight"].map(|name| constants.slots().iter().map(move |slot| format!("{slot}.{name}")));
            assert_eq!(names, want.into_iter().flatten().collect::<Vec<_>>(), "{constants:?}");
        }
    }

    /// Each asks for what it named, and goes on as the one that was not stopped.
    #[test]
    fn an_optimiser_goes_on_from_what_it_named() {
        for constants in every_kind() {
            let step = |optimizer: &mut Optimizer, params: &Params, at: f32| {
                let mut gradients = Gradients::new(params);
                gradients.add(params.id("w").unwrap(), Tensor::new(&[at, -0.5], &Device::Cpu).unwrap()).unwrap();
                optimizer.step(params, &gradients, 0.1, 0.5).unwrap();
            };
            let straight = params();
            let mut optimizer = Optimizer::new(constants, &straight).unwrap();
            step(&mut optimizer, &straight, 0.3);
            let mut resumed = params();
            resumed.replace_trained(straight.trained().map(|(_, _, tensor)| tensor.copy().unwrap()).collect());
            let saved: Vec<(String, Tensor)> =
                optimizer.named(&straight).into_iter().map(|(name, kept)| (name, kept.copy().unwrap())).collect();
            let find =
                |name: &str, _: &Tensor| saved.iter().find(|(known, _)| known == name).map(|(_, kept)| kept.clone());
            let mut again =
                Optimizer::resume(constants, 1, &resumed, |name, theta| find(name, theta).ok_or(())).unwrap();
            step(&mut optimizer, &straight, -2.0);
            step(&mut again, &resumed, -2.0);
            let numbers = |params: &Params| -> Vec<Vec<f32>> {
                params.trained().map(|(_, _, tensor)| tensor.to_vec1().unwrap()).collect()
            };
            assert_eq!(numbers(&straight), numbers(&resumed), "{constants:?}");
            assert_ne!(numbers(&straight)[0], numbers(&params())[0], "{constants:?}");
            assert_eq!(numbers(&straight)[1], [3.0], "no gradient, no change: {constants:?}");
        }
    }
}
