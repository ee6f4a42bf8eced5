//! Named, ordered parameters and their gradients.

use candle_core::{Result, Tensor};

use crate::ops::{Kernels, reduce};

/// Which parameter: its place in [`Params`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParamId(usize);

/// The parameters of a model, in the order of its layers, under their Hugging Face names.
///
/// The order is part of the contract: sums over parameters, checkpoints and logs follow it. Frozen parameters come first:
/// they have no gradient, no moments and no place in a checkpoint. A clone shares
/// the tensors.
#[derive(Debug, Clone)]
pub struct Params {
    names: Vec<String>,
    tensors: Vec<Tensor>,
    n_frozen: usize,
    kernels: Kernels,
}

impl Params {
    /// No parameter yet, of tensors that these kernels work on.
    pub fn new(kernels: Kernels) -> Self {
        Self { names: Vec::new(), tensors: Vec::new(), n_frozen: 0, kernels }
    }

    /// The kernels that work on them, on their gradients and on what an optimiser keeps of them.
    pub fn kernels(&self) -> Kernels {
        self.kernels
    }

    /// Appends a parameter, which is trained.
    pub fn push(&mut self, name: String, tensor: Tensor) {
        self.names.push(name);
        self.tensors.push(tensor);
    }

    /// The tensor of a parameter.
    pub fn get(&self, id: ParamId) -> &Tensor {
        &self.tensors[id.0]
    }

    /// The parameter of a name.
    pub fn id(&self, name: &str) -> Option<ParamId> {
        self.names.iter().position(|known| known == name).map(ParamId)
    }

    /// All parameters in order.
    pub fn iter(&self) -> impl Iterator<Item = (ParamId, &str, &Tensor)> {
        self.names
            .iter()
            .zip(&self.tensors)
            .enumerate()
            .map(|(index, (name, tensor))| (ParamId(index), &**name, tensor))
    }

    /// Freezes all parameters there are; those that are appended later are trained.
    pub(crate) fn freeze(&mut self) {
        self.n_frozen = self.names.len();
    }

    /// Forgets the trained parameters and trains the frozen ones.
    pub(super) fn only_frozen(&mut self) {
        self.names.truncate(self.n_frozen);
        self.tensors.truncate(self.n_frozen);
        self.n_frozen = 0;
    }

    /// Whether a parameter is changed by training. A backward computes no gradient in one that is not.
    pub fn is_trained(&self, id: ParamId) -> bool {
        id.0 >= self.n_frozen
    }

    /// The trained parameters in order.
    pub fn trained(&self) -> impl Iterator<Item = (ParamId, &str, &Tensor)> {
        self.iter().skip(self.n_frozen)
    }

    /// Puts another tensor in the place of a parameter.
    pub(super) fn set(&mut self, id: ParamId, tensor: Tensor) {
        self.tensors[id.0] = tensor;
    }

    /// Puts other tensors in the place of all trained parameters, in their order.
    pub(crate) fn replace_trained(&mut self, tensors: Vec<Tensor>) {
        debug_assert_eq!(tensors.len(), self.names.len() - self.n_frozen);
        self.tensors.truncate(self.n_frozen);
        self.tensors.extend(tensors);
    }

    /// Changes places: the trained parameters for other tensors, in their order.
    pub(crate) fn swap_trained(&mut self, tensors: &mut [Tensor]) {
        debug_assert_eq!(tensors.len(), self.names.len() - self.n_frozen);
        self.tensors.iter_mut().skip(self.n_frozen).zip(tensors).for_each(|(old, new)| std::mem::swap(old, new));
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// How many numbers they hold.
    pub fn n_parameters(&self) -> usize {
        self.tensors.iter().map(Tensor::elem_count).sum()
    }

    /// How many of these numbers are trained.
    pub fn n_trained(&self) -> usize {
        self.trained().map(|(_, _, tensor)| tensor.elem_count()).sum()
    }
}

/// Gradients of a loss in the parameters, summed over micro-batches.
#[derive(Debug)]
pub struct Gradients {
    slots: Vec<Option<Tensor>>,
    kernels: Kernels,
}

impl Gradients {
    /// No gradient for any of `params` yet.
    pub fn new(params: &Params) -> Self {
        Self { slots: vec![None; params.len()], kernels: params.kernels }
    }

    /// Adds to the gradient of a parameter.
    pub fn add(&mut self, id: ParamId, gradient: Tensor) -> Result<()> {
        let slot = &mut self.slots[id.0];
        *slot = Some(match slot.take() {
            Some(sum) => (sum + gradient)?,
            None => gradient,
        });
        Ok(())
    }

    /// Replaces the gradient of a parameter by a function of it; zeros where there is none yet.
    pub fn update(&mut self, id: ParamId, like: &Tensor, f: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<()> {
        let slot = &mut self.slots[id.0];
        let sum = match slot.take() {
            Some(sum) => sum,
            None => like.zeros_like()?,
        };
        *slot = Some(f(&sum)?);
        Ok(())
    }

    /// The gradient of a parameter, if any pass gave it one.
    pub fn get(&self, id: ParamId) -> Option<&Tensor> {
        self.slots[id.0].as_ref()
    }

    /// L2 norm over all parameters, accumulated in `f64` in parameter order.
    pub fn norm(&self) -> Result<f64> {
        let mut sum = 0.0;
        for gradient in self.slots.iter().flatten() {
            sum += reduce::sum_of_squares(gradient, self.kernels)?;
        }
        Ok(sum.sqrt())
    }
}
