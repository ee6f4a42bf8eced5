//! Causal attention over groups: a completion sees its whole prompt and its own past, nothing else.
//!
//! No padded batch and no mask over the batch: each group is a triangle (prompt on itself) and, for each completion, a
//! rectangle (completion on prompt) beside a triangle (completion on itself). Probabilities are not kept for the
//! backward, which makes them again. In the stock twin, query heads that share a key/value head are stacked into one
//! product.

use std::ops::Range;

use candle_core::{D, Device, Result, Tensor};

use super::Kernels;
use super::cpu::attention as fast;
use super::cpu::tensors::{Values, filled, tensor};
use super::profile::{self, Op};
use crate::batch::Segment;

/// What attention needs to know besides its inputs.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    /// The groups of the batch.
    pub segments: &'a [Segment],
    /// Factor of the scores, usually `1/√d`.
    pub scale: f64,
    /// Sliding window: a query sees keys fewer than this many positions before it. `None`: all.
    pub window: Option<usize>,
    /// Which form to take.
    pub kernels: Kernels,
}

/// Gradients in queries, keys and values.
#[derive(Debug)]
pub struct Gradients {
    /// `(T, H, d)`
    pub dq: Tensor,
    /// `(T, G, d)`
    pub dk: Tensor,
    /// `(T, G, d)`
    pub dv: Tensor,
}

/// What the backward of every block reads.
struct Inputs<'a> {
    d_out: &'a Tensor,
    q: &'a Tensor,
    k: &'a Tensor,
    v: &'a Tensor,
}

/// Rows that attend: the queries of one block and the one or two row ranges their keys come from.
struct Block {
    queries: Range<usize>,
    /// The prompt, where the queries are a completion's; else empty.
    prompt: Range<usize>,
}

impl Attention<'_> {
    /// # Shapes
    /// `q` `(T, H, d)`, `k` and `v` `(T, G, d)` with `H` a multiple of `G`; returns `(T, H, d)`.
    pub fn forward(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        let _timer = profile::start(Op::AttentionForward, || self.flops(q, 2.0));
        let Some(isa) = self.kernels.isa() else { return self.forward_stock(q, k, v) };
        let (q, k, v) = (q.contiguous()?, k.contiguous()?, v.contiguous()?);
        let mut out = filled(0.0, q.elem_count());
        let shape = self.shape(&q, &k)?;
        let (q_values, k, v) = (Values::of(&q)?, Values::of(&k)?, Values::of(&v)?);
        fast::forward(isa, self.segments, &shape, &q_values, &k, &v, &mut out);
        tensor(out, q.shape())
    }

    /// The gradients for `d_out = ∂loss/∂out`. // (T, H, d)
    pub fn backward(&self, d_out: &Tensor, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Gradients> {
        let _timer = profile::start(Op::AttentionBackward, || self.flops(q, 5.0));
        let Some(isa) = self.kernels.isa() else { return self.backward_stock(d_out, q, k, v) };
        let (d_out, q, k, v) = (d_out.contiguous()?, q.contiguous()?, k.contiguous()?, v.contiguous()?);
        let zeros = |x: &Tensor| filled(0.0, x.elem_count());
        let (mut dq, mut dk, mut dv) = (zeros(&q), zeros(&k), zeros(&v));
        let inputs =
            fast::Inputs { d_out: &Values::of(&d_out)?, q: &Values::of(&q)?, k: &Values::of(&k)?, v: &Values::of(&v)? };
        let mut gradients = fast::Gradients { dq: &mut dq, dk: &mut dk, dv: &mut dv };
        fast::backward(isa, self.segments, &self.shape(&q, &k)?, inputs, &mut gradients);
        Ok(Gradients { dq: tensor(dq, q.shape())?, dk: tensor(dk, k.shape())?, dv: tensor(dv, v.shape())? })
    }

    /// Operations of `n_products` products over the keys each query sees.
    fn flops(&self, q: &Tensor, n_products: f64) -> f64 {
        let width: usize = q.dims().iter().skip(1).product();
        2.0 * n_products * width as f64 * visible_keys(self.segments, self.window)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the scale is a constant of the configuration")]
    fn shape(&self, q: &Tensor, k: &Tensor) -> Result<fast::Shape> {
        let (_, n_heads, width) = q.dims3()?;
        let window = self.window.unwrap_or(usize::MAX);
        Ok(fast::Shape { n_heads, n_kv_heads: k.dim(1)?, width, scale: self.scale as f32, window })
    }

    /// The same from stock operations, on any device.
    fn forward_stock(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        let (n_heads, n_kv_heads) = (q.dim(1)?, k.dim(1)?);
        let mut rows = Vec::new();
        for segment in self.segments {
            for block in std::iter::once(Block::prompt(segment)).chain(Block::completions(segment)) {
                let queries = stack(&block.own(q)?, n_kv_heads)?; // (G, H/G·Q, d)
                let probabilities = self.probabilities(&block, &queries, &block.gather(k)?)?;
                rows.push(unstack(&probabilities.matmul(&block.gather(v)?)?, n_heads)?); // (Q, H, d)
            }
        }
        Tensor::cat(&rows, 0)
    }

    fn backward_stock(&self, d_out: &Tensor, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Gradients> {
        let inputs = Inputs { d_out, q, k, v };
        let (mut dq, mut dk, mut dv) = (Vec::new(), Vec::new(), Vec::new());
        for segment in self.segments {
            let mut prompt = self.block_backward(&Block::prompt(segment), &inputs)?;
            let mut completions = Vec::new();
            for block in Block::completions(segment) {
                // What a completion says of the prompt's keys is added to what the prompt says of them.
                let (n_prompt, n_own) = (block.prompt.len(), block.queries.len());
                let gradients = self.block_backward(&block, &inputs)?;
                prompt.dk = (prompt.dk + gradients.dk.narrow(0, 0, n_prompt)?)?;
                prompt.dv = (prompt.dv + gradients.dv.narrow(0, 0, n_prompt)?)?;
                completions.push(Gradients {
                    dq: gradients.dq,
                    dk: gradients.dk.narrow(0, n_prompt, n_own)?,
                    dv: gradients.dv.narrow(0, n_prompt, n_own)?,
                });
            }
            for gradients in std::iter::once(prompt).chain(completions) {
                dq.push(gradients.dq);
                dk.push(gradients.dk);
                dv.push(gradients.dv);
            }
        }
        Ok(Gradients { dq: Tensor::cat(&dq, 0)?, dk: Tensor::cat(&dk, 0)?, dv: Tensor::cat(&dv, 0)? })
    }

    /// Gradients in the queries of a block and in all keys and values it sees.
    ///
    /// With `P` the probabilities: `dV = Pᵀ·dO`, `dP = dO·Vᵀ`, `dS = P·(dP − Σ dP·P)`, `dQ = scale·dS·K`,
    /// `dK = scale·dSᵀ·Q`.
    fn block_backward(&self, block: &Block, inputs: &Inputs<'_>) -> Result<Gradients> {
        let (n_heads, n_kv_heads) = (inputs.q.dim(1)?, inputs.k.dim(1)?);
        let queries = stack(&block.own(inputs.q)?, n_kv_heads)?; // (G, H/G·Q, d)
        let d_rows = stack(&block.own(inputs.d_out)?, n_kv_heads)?;
        let keys = block.gather(inputs.k)?; // (G, K, d)
        let values = block.gather(inputs.v)?;

        let p = self.probabilities(block, &queries, &keys)?; // (G, H/G·Q, K)
        let dv = p.t()?.matmul(&d_rows)?; // (G, K, d)
        let dp = d_rows.matmul(&values.t()?)?;
        let mean = (&dp * &p)?.sum_keepdim(D::Minus1)?;
        let ds = (p * (dp.broadcast_sub(&mean)? * self.scale)?)?;
        Ok(Gradients {
            dq: unstack(&ds.matmul(&keys)?, n_heads)?,
            dk: ds.t()?.matmul(&queries)?.transpose(0, 1)?.contiguous()?, // (K, G, d)
            dv: dv.transpose(0, 1)?.contiguous()?,
        })
    }

    /// Softmax of the scaled and masked scores. // (G, H/G·Q, K)
    fn probabilities(&self, block: &Block, queries: &Tensor, keys: &Tensor) -> Result<Tensor> {
        let scores = (queries.matmul(&keys.t()?)? * self.scale)?;
        let (g, stacked, n_keys) = scores.dims3()?;
        let n_queries = block.queries.len();
        let mask = block.mask(self.window, queries.device())?; // (Q, K)
        let scores = scores.reshape((g, stacked / n_queries, n_queries, n_keys))?.broadcast_add(&mask)?;
        candle_nn::ops::softmax_last_dim(&scores)?.reshape((g, stacked, n_keys))
    }
}

/// Keys that the queries of a batch see, all queries together.
pub fn visible_keys(segments: &[Segment], window: Option<usize>) -> f64 {
    let window = window.unwrap_or(usize::MAX);
    let seen =
        |first: usize, n: usize| (first..first + n).map(|position| (position + 1).min(window) as f64).sum::<f64>();
    let of_segment = |segment: &Segment| {
        let n_prompt = segment.prompt.len();
        let completions = segment.completions.iter().map(|rows| seen(n_prompt, rows.len()));
        seen(0, n_prompt) + completions.sum::<f64>()
    };
    segments.iter().map(of_segment).sum()
}

impl Block {
    fn prompt(segment: &Segment) -> Self {
        Self { queries: segment.prompt.clone(), prompt: 0..0 }
    }

    /// A completion of one token has no rows and so no block.
    fn completions(segment: &Segment) -> impl Iterator<Item = Self> {
        let with_rows = segment.completions.iter().filter(|rows| !rows.is_empty());
        with_rows.map(|rows| Self { queries: rows.clone(), prompt: segment.prompt.clone() })
    }

    /// The rows of the block's queries. // (Q, …)
    fn own(&self, x: &Tensor) -> Result<Tensor> {
        x.narrow(0, self.queries.start, self.queries.len())
    }

    /// The rows of the block's keys: the prompt's, then its own. // (G, K, d)
    fn gather(&self, x: &Tensor) -> Result<Tensor> {
        let own = self.own(x)?;
        let rows = if self.prompt.is_empty() {
            own
        } else {
            Tensor::cat(&[x.narrow(0, self.prompt.start, self.prompt.len())?, own], 0)?
        };
        rows.transpose(0, 1)?.contiguous()
    }

    /// 0 where a query sees a key, −∞ where not. // (Q, K)
    fn mask(&self, window: Option<usize>, device: &Device) -> Result<Tensor> {
        let (n_queries, n_prompt) = (self.queries.len(), self.prompt.len());
        let n_keys = n_prompt + n_queries;
        let window = window.unwrap_or(usize::MAX);
        let mask: Vec<f32> = (0..n_queries)
            .flat_map(|query| {
                let position = n_prompt + query;
                (0..n_keys).map(move |key| {
                    let visible = key <= position && position - key < window;
                    if visible { 0.0 } else { f32::NEG_INFINITY }
                })
            })
            .collect();
        Tensor::from_vec(mask, (n_queries, n_keys), device)
    }
}

/// `(Q, H, d)` to `(G, H/G·Q, d)`: the query heads of one key/value head under each other.
fn stack(x: &Tensor, n_kv_heads: usize) -> Result<Tensor> {
    let (n_rows, n_heads, width) = x.dims3()?;
    x.reshape((n_rows, n_kv_heads, n_heads / n_kv_heads, width))?.permute((1, 2, 0, 3))?.reshape((
        n_kv_heads,
        n_heads / n_kv_heads * n_rows,
        width,
    ))
}

/// The inverse of [`stack`]. // (Q, H, d)
fn unstack(x: &Tensor, n_heads: usize) -> Result<Tensor> {
    let (n_kv_heads, stacked, width) = x.dims3()?;
    let per_kv_head = n_heads / n_kv_heads;
    x.reshape((n_kv_heads, per_kv_head, stacked / per_kv_head, width))?.permute((2, 0, 1, 3))?.reshape((
        stacked / per_kv_head,
        n_heads,
        width,
    ))
}
