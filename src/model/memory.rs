//! Memory of a training step, from the shapes of a model.

use super::config::DecoderConfig;
use super::params::Params;

const BYTES: u64 = size_of::<f32>() as u64;

/// What does not grow with rows: packed sides of products, the head's partial sums, the program itself.
const REST: u64 = 192 << 20;

/// What a training step holds in memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainingMemory {
    /// Layers of the model.
    pub n_layers: usize,
    /// The trained weights.
    pub trained: u64,
    /// Weights, and of the trained ones gradients and the two moments of AdamW.
    state: u64,
    /// A row's share of what one layer keeps for its backward.
    tape_row: u64,
    /// A row's input of one layer, which is kept in any case.
    input_row: u64,
    /// A row's share of what a backward has in hand at once.
    working_row: u64,
}

impl TrainingMemory {
    /// Of a model with these parameters. What an adapter makes is as wide as its rank, for one map at a time, and not
    /// counted. Its dropout is, as a dropped input of the widest map and the gradient in it.
    pub(super) fn of(config: &DecoderConfig, params: &Params) -> Self {
        let (width, inner) = (config.hidden_size as u64, config.intermediate_size as u64);
        let (heads, kv_heads) = (config.n_heads as u64, config.n_kv_heads as u64);
        let (queries, keys) = (heads * config.head_dim as u64, kv_heads * config.head_dim as u64);
        let before_norm = if config.qk_norm { queries + keys } else { 0 };
        let dropped = if params.n_trained() < params.n_parameters() { 2 * inner.max(width) } else { 0 };
        Self {
            n_layers: config.n_layers(),
            trained: params.n_trained() as u64 * BYTES,
            state: (params.n_parameters() + 3 * params.n_trained()) as u64 * BYTES,
            tape_row: (before_norm + 2 * queries + 2 * keys + width + 2 * inner) * BYTES,
            input_row: width * BYTES,
            // The backward of the MLP: activated, its gradient, those of gate and up, and as much again packed; the
            // tape of one layer, made again; hidden states of the head and their gradients.
            working_row: (8 * inner + dropped + 8 * width + before_norm + 2 * queries + 2 * keys + 2 * inner) * BYTES,
        }
    }

    /// Most memory a step holds at once in micro-batches of `n_rows` rows, if the tapes of `n_recomputed` layers are made
    /// again: an estimate from above.
    pub fn peak(&self, n_rows: usize, n_recomputed: usize) -> u64 {
        let n_kept = self.n_layers.saturating_sub(n_recomputed) as u64;
        let row = n_kept * self.tape_row + self.n_layers as u64 * self.input_row + self.working_row;
        self.state + REST + n_rows as u64 * row
    }

    /// The fewest layers whose tapes have to be made again for a micro-batch to fit into `budget` bytes; all of them
    /// where even that does not fit.
    pub fn n_recomputed(&self, n_rows: usize, budget: u64) -> usize {
        (0..self.n_layers).find(|&n| self.peak(n_rows, n) <= budget).unwrap_or(self.n_layers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> TrainingMemory {
        TrainingMemory {
            n_layers: 4,
            trained: 1 << 28,
            state: 1 << 30,
            tape_row: 1000,
            input_row: 100,
            working_row: 5000,
        }
    }

    #[test]
    fn a_smaller_budget_makes_more_layers_again() {
        let memory = memory();
        let [all, some, none] = [0, 2, 4].map(|n| memory.peak(1000, n));
        assert!(all > some && some > none, "{all} {some} {none}");
        assert_eq!(all - none, 4 * 1000 * 1000);
        for n in 0..=4 {
            assert_eq!(memory.n_recomputed(1000, memory.peak(1000, n)), n);
        }
        assert_eq!(
            memory.n_recomputed(1000, memory.peak(1000, 4) - 1),
            4,
            "what does not fit is made as small as it can be"
        );
        assert_eq!(memory.n_recomputed(1000, u64::MAX), 0);
    }
}
