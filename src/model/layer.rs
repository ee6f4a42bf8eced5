//! One transformer layer: forward, and backward from what the forward kept.

use candle_core::{Result as CandleResult, Tensor};

use super::config::DecoderConfig;
use super::params::{Gradients, ParamId, Params};
use super::weights::Spec;
use crate::ops::attention::Attention;
use crate::ops::rope::Rotation;
use crate::ops::{Compute, linear, norm, rope, swiglu};

/// A linear map of the model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Projection {
    weight: ParamId,
    bias: Option<ParamId>,
}

impl Projection {
    fn forward(self, ctx: &Context<'_>, x: &Tensor) -> CandleResult<Tensor> {
        let bias = self.bias.map(|bias| ctx.params.get(bias));
        linear::forward(x, self.weight(ctx), bias, ctx.compute)
    }

    fn forward_onto(self, residual: &Tensor, ctx: &Context<'_>, x: &Tensor) -> CandleResult<Tensor> {
        let bias = self.bias.map(|bias| ctx.params.get(bias));
        linear::forward_onto(residual, x, self.weight(ctx), bias, ctx.compute)
    }

    /// Adds the gradients of its parameters.
    fn backward(self, ctx: &Context<'_>, dy: &Tensor, x: &Tensor, gradients: &mut Gradients) -> CandleResult<()> {
        gradients.update(self.weight, self.weight(ctx), |sum| linear::backward_weight_into(sum, dy, x, ctx.compute))?;
        match self.bias {
            Some(bias) => gradients.add(bias, linear::backward_bias(dy, ctx.compute)?),
            None => Ok(()),
        }
    }

    fn weight<'a>(self, ctx: &Context<'a>) -> &'a Tensor {
        ctx.params.get(self.weight)
    }
}

/// The parameters of a layer.
#[derive(Debug)]
pub(super) struct Layer {
    attention_norm: ParamId,
    q: Projection,
    k: Projection,
    v: Projection,
    o: Projection,
    /// Norms of queries and keys, per head.
    qk_norms: Option<(ParamId, ParamId)>,
    mlp_norm: ParamId,
    gate: Projection,
    up: Projection,
    down: Projection,
    window: Option<usize>,
}

/// What the backward of a layer reads. `T` rows; everything else is made again.
#[derive(Debug)]
pub(super) struct LayerTape {
    x: Tensor,                             // (T, D)
    before_norm: Option<(Tensor, Tensor)>, // queries (T, H, d) and keys (T, G, d)
    q: Tensor,                             // (T, H, d), rotated
    k: Tensor,                             // (T, G, d), rotated
    v: Tensor,                             // (T, G, d)
    attended: Tensor,                      // (T, H·d)
    middle: Tensor,                        // (T, D)
    gate: Tensor,                          // (T, F)
    up: Tensor,                            // (T, F)
}

/// What all layers share in one pass.
pub(super) struct Context<'a> {
    pub(super) config: &'a DecoderConfig,
    pub(super) params: &'a Params,
    pub(super) rotation: &'a Rotation,
    pub(super) segments: &'a [crate::batch::Segment],
    pub(super) compute: Compute,
}

impl Context<'_> {
    fn attention(&self, window: Option<usize>) -> Attention<'_> {
        let scale = (self.config.head_dim as f64).sqrt().recip();
        Attention { segments: self.segments, scale, window, kernels: self.compute.kernels }
    }
}

/// Names and shapes of the parameters of layer `index`.
pub(super) fn specs(config: &DecoderConfig, index: usize) -> Vec<Spec> {
    let (width, inner) = (config.hidden_size, config.intermediate_size);
    let (q_width, kv_width) = (config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim);
    let mut specs = Vec::new();
    let mut push = |part: &str, shape: &[usize]| {
        specs.push(Spec { name: format!("model.layers.{index}.{part}"), shape: shape.to_vec() });
    };
    let mut projection = |part: &str, out: usize, input: usize, has_bias: bool| {
        push(&format!("{part}.weight"), &[out, input]);
        if has_bias {
            push(&format!("{part}.bias"), &[out]);
        }
    };
    projection("self_attn.q_proj", q_width, width, config.qkv_bias);
    projection("self_attn.k_proj", kv_width, width, config.qkv_bias);
    projection("self_attn.v_proj", kv_width, width, config.qkv_bias);
    projection("self_attn.o_proj", width, q_width, config.output_bias);
    projection("mlp.gate_proj", inner, width, config.mlp_bias);
    projection("mlp.up_proj", inner, width, config.mlp_bias);
    projection("mlp.down_proj", width, inner, config.mlp_bias);
    push("input_layernorm.weight", &[width]);
    push("post_attention_layernorm.weight", &[width]);
    if config.qk_norm {
        push("self_attn.q_norm.weight", &[config.head_dim]);
        push("self_attn.k_norm.weight", &[config.head_dim]);
    }
    specs
}

impl Layer {
    /// Layer `index`, its parameters looked up by name.
    pub(super) fn new<E>(
        config: &DecoderConfig,
        index: usize,
        id: impl Fn(&str) -> Result<ParamId, E>,
    ) -> Result<Self, E> {
        let id = |part: &str| id(&format!("model.layers.{index}.{part}"));
        let projection = |part: &str, has_bias: bool| {
            let bias = if has_bias { Some(id(&format!("{part}.bias"))?) } else { None };
            Ok(Projection { weight: id(&format!("{part}.weight"))?, bias })
        };
        let qk_norms =
            if config.qk_norm { Some((id("self_attn.q_norm.weight")?, id("self_attn.k_norm.weight")?)) } else { None };
        Ok(Self {
            attention_norm: id("input_layernorm.weight")?,
            q: projection("self_attn.q_proj", config.qkv_bias)?,
            k: projection("self_attn.k_proj", config.qkv_bias)?,
            v: projection("self_attn.v_proj", config.qkv_bias)?,
            o: projection("self_attn.o_proj", config.output_bias)?,
            qk_norms,
            mlp_norm: id("post_attention_layernorm.weight")?,
            gate: projection("mlp.gate_proj", config.mlp_bias)?,
            up: projection("mlp.up_proj", config.mlp_bias)?,
            down: projection("mlp.down_proj", config.mlp_bias)?,
            window: config.windows[index],
        })
    }

    /// # Shapes
    /// `x` `(T, D)`; returns the same and what a backward needs.
    pub(super) fn forward(&self, ctx: &Context<'_>, x: &Tensor) -> CandleResult<(Tensor, LayerTape)> {
        let (config, params) = (ctx.config, ctx.params);
        let (eps, kernels) = (config.rms_norm_eps, ctx.compute.kernels);
        let n_rows = x.dim(0)?;

        let normed = norm::forward(x, params.get(self.attention_norm), eps, kernels)?;
        let heads = |y: Tensor, n: usize| y.reshape((n_rows, n, config.head_dim));
        let mut q = heads(self.q.forward(ctx, &normed)?, config.n_heads)?; // (T, H, d)
        let mut k = heads(self.k.forward(ctx, &normed)?, config.n_kv_heads)?; // (T, G, d)
        let v = heads(self.v.forward(ctx, &normed)?, config.n_kv_heads)?;
        let mut before_norm = None;
        if let Some((q_norm, k_norm)) = self.qk_norms {
            let normed = (
                norm::forward(&q, params.get(q_norm), eps, kernels)?,
                norm::forward(&k, params.get(k_norm), eps, kernels)?,
            );
            before_norm = Some((q, k));
            (q, k) = normed;
        }
        let (q, k) = (rope::forward(&q, ctx.rotation, kernels)?, rope::forward(&k, ctx.rotation, kernels)?);
        let attended = ctx.attention(self.window).forward(&q, &k, &v)?.flatten_from(1)?; // (T, H·d)
        let middle = self.o.forward_onto(x, ctx, &attended)?; // (T, D)

        let normed = norm::forward(&middle, params.get(self.mlp_norm), eps, kernels)?;
        let gate = self.gate.forward(ctx, &normed)?; // (T, F)
        let up = self.up.forward(ctx, &normed)?;
        let y = self.down.forward_onto(&middle, ctx, &swiglu::forward(&gate, &up, kernels)?)?;
        Ok((y, LayerTape { x: x.clone(), before_norm, q, k, v, attended, middle, gate, up }))
    }

    /// Adds the gradients of the layer's parameters, returns the one in its input.
    ///
    /// # Shapes
    /// `dy` `(T, D)`; returns the same.
    pub(super) fn backward(
        &self,
        ctx: &Context<'_>,
        dy: &Tensor,
        tape: &LayerTape,
        gradients: &mut Gradients,
    ) -> CandleResult<Tensor> {
        let d_middle = self.backward_mlp(ctx, dy, tape, gradients)?;
        self.backward_attention(ctx, &d_middle, tape, gradients)
    }

    fn backward_mlp(
        &self,
        ctx: &Context<'_>,
        dy: &Tensor,
        tape: &LayerTape,
        gradients: &mut Gradients,
    ) -> CandleResult<Tensor> {
        let (params, eps, kernels) = (ctx.params, ctx.config.rms_norm_eps, ctx.compute.kernels);
        let activated = swiglu::forward(&tape.gate, &tape.up, kernels)?;
        self.down.backward(ctx, dy, &activated, gradients)?;
        drop(activated);
        let d_activated = linear::backward_input(&[(dy, self.down.weight(ctx))], ctx.compute)?; // (T, F)
        let (d_gate, d_up) = swiglu::backward(&d_activated, &tape.gate, &tape.up, kernels)?;
        let normed = norm::forward(&tape.middle, params.get(self.mlp_norm), eps, kernels)?;
        self.gate.backward(ctx, &d_gate, &normed, gradients)?;
        self.up.backward(ctx, &d_up, &normed, gradients)?;
        let maps = [(&d_gate, self.gate.weight(ctx)), (&d_up, self.up.weight(ctx))];
        let d_normed = linear::backward_input(&maps, ctx.compute)?; // (T, D)
        let weight = params.get(self.mlp_norm);
        let (d_middle, d_weight) = norm::backward_onto(dy, &d_normed, &tape.middle, weight, eps, kernels)?;
        gradients.add(self.mlp_norm, d_weight)?;
        Ok(d_middle)
    }

    fn backward_attention(
        &self,
        ctx: &Context<'_>,
        d_middle: &Tensor,
        tape: &LayerTape,
        gradients: &mut Gradients,
    ) -> CandleResult<Tensor> {
        let (params, eps, kernels) = (ctx.params, ctx.config.rms_norm_eps, ctx.compute.kernels);
        self.o.backward(ctx, d_middle, &tape.attended, gradients)?;
        let d_attended = linear::backward_input(&[(d_middle, self.o.weight(ctx))], ctx.compute)?;
        let d_attended = d_attended.reshape(tape.q.shape())?;
        let attention = ctx.attention(self.window).backward(&d_attended, &tape.q, &tape.k, &tape.v)?;
        let mut dq = rope::backward(&attention.dq, ctx.rotation, kernels)?; // (T, H, d)
        let mut dk = rope::backward(&attention.dk, ctx.rotation, kernels)?; // (T, G, d)
        if let (Some((q_norm, k_norm)), Some((q, k))) = (self.qk_norms, &tape.before_norm) {
            let d_weights;
            (dq, d_weights) = norm::backward(&dq, q, params.get(q_norm), eps, kernels)?;
            gradients.add(q_norm, d_weights)?;
            let d_weights;
            (dk, d_weights) = norm::backward(&dk, k, params.get(k_norm), eps, kernels)?;
            gradients.add(k_norm, d_weights)?;
        }
        let normed = norm::forward(&tape.x, params.get(self.attention_norm), eps, kernels)?;
        let (dq, dk, dv) = (dq.flatten_from(1)?, dk.flatten_from(1)?, attention.dv.flatten_from(1)?);
        let maps = [(self.q, &dq), (self.k, &dk), (self.v, &dv)];
        for (map, dy) in maps {
            map.backward(ctx, dy, &normed, gradients)?;
        }
        let d_normed = linear::backward_input(&maps.map(|(map, dy)| (dy, map.weight(ctx))), ctx.compute)?; // (T, D)
        let weight = params.get(self.attention_norm);
        let (dx, d_weight) = norm::backward_onto(d_middle, &d_normed, &tape.x, weight, eps, kernels)?;
        gradients.add(self.attention_norm, d_weight)?;
        Ok(dx)
    }
}
