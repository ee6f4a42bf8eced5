//! One transformer layer: forward, and backward from what the forward kept.

use candle_core::{Result as CandleResult, Tensor};

use super::config::DecoderConfig;
use super::lora;
use super::lora_modules::MAPS;
use super::params::{Gradients, ParamId, Params};
use super::weights::Spec;
use crate::ops::attention::Attention;
use crate::ops::dropout::{self, Stream};
use crate::ops::rope::Rotation;
use crate::ops::{Compute, linear, norm, rope, swiglu};

/// A linear map of the model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Projection {
    weight: ParamId,
    bias: Option<ParamId>,
    adapter: Option<LowRank>,
}

/// The adapter of a linear map: `s·B·A`, of which nothing of the size of the map is ever made.
#[derive(Debug, Clone, Copy)]
pub(super) struct LowRank {
    pub(super) a: ParamId, // (r, in)
    pub(super) b: ParamId, // (out, r)
    /// `s`.
    pub(super) scaling: f64,
    /// Where its dropout is drawn, within a pass.
    place: u64,
}

/// A linear map in its backward: what the gradient in its input is made of.
struct Backward<'a> {
    map: Projection,
    dy: &'a Tensor, // (T, out)
    /// The gradient in what `A` makes, where there is an adapter. // (T, r)
    d_low: Option<Tensor>,
}

impl Projection {
    fn forward(self, ctx: &Context<'_>, x: &Tensor) -> CandleResult<Tensor> {
        let bias = self.bias.map(|bias| ctx.params.get(bias));
        let y = linear::forward(x, self.weight(ctx), bias, ctx.compute)?;
        self.adapted(ctx, x, y)
    }

    fn forward_onto(self, residual: &Tensor, ctx: &Context<'_>, x: &Tensor) -> CandleResult<Tensor> {
        let bias = self.bias.map(|bias| ctx.params.get(bias));
        let y = linear::forward_onto(residual, x, self.weight(ctx), bias, ctx.compute)?;
        self.adapted(ctx, x, y)
    }

    /// Adds to `y` what the adapter makes of `x`.
    fn adapted(self, ctx: &Context<'_>, x: &Tensor, y: Tensor) -> CandleResult<Tensor> {
        let Some(adapter) = self.adapter else { return Ok(y) };
        let low = adapter.low(ctx, &adapter.dropped(ctx, x)?)?; // (T, r)
        linear::forward_into(y, &low, ctx.params.get(adapter.b), ctx.compute)
    }

    /// Adds the gradients of its trained parameters.
    fn backward<'a>(
        self,
        ctx: &Context<'_>,
        dy: &'a Tensor,
        x: &Tensor,
        gradients: &mut Gradients,
    ) -> CandleResult<Backward<'a>> {
        let weight = self.weight(ctx);
        if ctx.params.is_trained(self.weight) {
            gradients.update(self.weight, weight, |sum| linear::backward_weight_into(sum, dy, x, ctx.compute))?;
        }
        if let Some(bias) = self.bias.filter(|bias| ctx.params.is_trained(*bias)) {
            gradients.add(bias, linear::backward_bias(dy, ctx.compute)?)?;
        }
        let d_low = self.adapter.map(|adapter| adapter.backward(ctx, dy, x, gradients)).transpose()?;
        Ok(Backward { map: self, dy, d_low })
    }

    /// Adds its adapter to its weight and forgets it.
    fn merge(&mut self, params: &mut Params) -> CandleResult<()> {
        let Some(adapter) = self.adapter.take() else { return Ok(()) };
        let product = params.get(adapter.b).matmul(params.get(adapter.a))?; // (out, in)
        let merged = (params.get(self.weight) + (product * adapter.scaling)?)?;
        params.set(self.weight, merged);
        Ok(())
    }

    fn weight<'a>(self, ctx: &Context<'a>) -> &'a Tensor {
        ctx.params.get(self.weight)
    }
}

impl LowRank {
    /// `x` as `A` reads it: dropout is on this input alone.
    fn dropped(self, ctx: &Context<'_>, x: &Tensor) -> CandleResult<Tensor> {
        match ctx.dropout {
            Some((rate, stream)) => dropout::apply(x, rate, stream.at(self.place), ctx.compute.kernels),
            None => Ok(x.clone()),
        }
    }

    /// `s·x·Aᵀ`: the scaling goes where the fewest numbers are. // (T, r)
    fn low(self, ctx: &Context<'_>, dropped: &Tensor) -> CandleResult<Tensor> {
        linear::forward(dropped, ctx.params.get(self.a), None, ctx.compute)? * self.scaling
    }

    /// Adds the gradients in `A` and `B`, returns the one in `x·Aᵀ`. // (T, r)
    fn backward(self, ctx: &Context<'_>, dy: &Tensor, x: &Tensor, gradients: &mut Gradients) -> CandleResult<Tensor> {
        let (a, b) = (ctx.params.get(self.a), ctx.params.get(self.b));
        let dropped = self.dropped(ctx, x)?;
        let low = self.low(ctx, &dropped)?;
        gradients.update(self.b, b, |sum| linear::backward_weight_into(sum, dy, &low, ctx.compute))?;
        let d_low = (linear::backward_input(&[(dy, b)], ctx.compute)? * self.scaling)?;
        // As its transpose: a product is shared among threads by the rows of its result, and `A` has few.
        let zeros = a.t()?.zeros_like()?;
        let d_a = linear::backward_weight_into(&zeros, &dropped, &d_low, ctx.compute)?; // (in, r)
        gradients.add(self.a, d_a.t()?.contiguous()?)?;
        Ok(d_low)
    }
}

/// Gradient in the input of maps that read the same, through their weights and their adapters. // (T, in)
fn input_gradient(ctx: &Context<'_>, maps: &[Backward<'_>]) -> CandleResult<Tensor> {
    let mut terms: Vec<(&Tensor, &Tensor)> = maps.iter().map(|map| (map.dy, map.map.weight(ctx))).collect();
    let low = maps.iter().filter_map(|map| Some((map.map.adapter?, map.d_low.as_ref()?)));
    if ctx.dropout.is_none() {
        terms.extend(low.map(|(adapter, d_low)| (d_low, ctx.params.get(adapter.a))));
        return linear::backward_input(&terms, ctx.compute);
    }
    let mut dx = linear::backward_input(&terms, ctx.compute)?;
    for (adapter, d_low) in low {
        let d_dropped = linear::backward_input(&[(d_low, ctx.params.get(adapter.a))], ctx.compute)?;
        dx = (dx + adapter.dropped(ctx, &d_dropped)?)?;
    }
    Ok(dx)
}

/// The name of a linear map.
fn module(index: usize, part: &str) -> String {
    format!("model.layers.{index}.{part}")
}

/// The parameters of a layer.
#[derive(Debug, Clone)]
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
    /// Share and draws of the dropout before adapters, where there is one.
    pub(super) dropout: Option<(f64, Stream)>,
}

impl Context<'_> {
    /// Adds the gradient in the weight of a norm, if it is trained; returns the one in its input.
    pub(super) fn norm_backward(
        &self,
        dy: &Tensor,
        x: &Tensor,
        weight: ParamId,
        gradients: &mut Gradients,
    ) -> CandleResult<Tensor> {
        let (tensor, eps, kernels) = (self.params.get(weight), self.config.rms_norm_eps, self.compute.kernels);
        if !self.params.is_trained(weight) {
            return norm::backward_input(dy, x, tensor, eps, kernels);
        }
        let (dx, d_weight) = norm::backward(dy, x, tensor, eps, kernels)?;
        gradients.add(weight, d_weight)?;
        Ok(dx)
    }

    /// The same for an input that also reaches the loss past the norm.
    fn norm_backward_onto(
        &self,
        residual: &Tensor,
        dy: &Tensor,
        x: &Tensor,
        weight: ParamId,
        gradients: &mut Gradients,
    ) -> CandleResult<Tensor> {
        let (tensor, eps, kernels) = (self.params.get(weight), self.config.rms_norm_eps, self.compute.kernels);
        if !self.params.is_trained(weight) {
            return norm::backward_input_onto(residual, dy, x, tensor, eps, kernels);
        }
        let (dx, d_weight) = norm::backward_onto(residual, dy, x, tensor, eps, kernels)?;
        gradients.add(weight, d_weight)?;
        Ok(dx)
    }

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
            Ok(Projection { weight: id(&format!("{part}.weight"))?, bias, adapter: None })
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

    /// Gives the maps of layer `index` the adapters that there are: parameters by their names, and `s` by that of the map.
    pub(super) fn attach(
        &mut self,
        index: usize,
        id: impl Fn(&str) -> Option<ParamId>,
        scaling: impl Fn(&str) -> Option<f64>,
    ) {
        let projections = self.projections();
        let n_projections = projections.len();
        for (at, (part, projection)) in projections.into_iter().enumerate() {
            let module = module(index, part);
            let [a, b] = lora::parameters(&module);
            let place = (index * n_projections + at) as u64;
            let found = id(&a).zip(id(&b)).zip(scaling(&module));
            projection.adapter = found.map(|((a, b), scaling)| LowRank { a, b, scaling, place });
        }
    }

    /// The adapters of the maps of layer `index`, by the names of the maps.
    pub(super) fn adapters(&self, index: usize) -> impl Iterator<Item = (String, LowRank)> {
        let maps = [self.q, self.k, self.v, self.o, self.gate, self.up, self.down];
        MAPS.into_iter().zip(maps).filter_map(move |(part, map)| Some((module(index, part), map.adapter?)))
    }

    /// Adds the adapters of its maps to their weights and forgets them.
    pub(super) fn merge(&mut self, params: &mut Params) -> CandleResult<()> {
        self.projections().into_iter().try_for_each(|(_, projection)| projection.merge(params))
    }

    /// Its linear maps by name, in the order of a pass.
    fn projections(&mut self) -> [(&'static str, &mut Projection); 7] {
        let Self { q, k, v, o, gate, up, down, .. } = self;
        let [q_name, k_name, v_name, o_name, gate_name, up_name, down_name] = MAPS;
        [(q_name, q), (k_name, k), (v_name, v), (o_name, o), (gate_name, gate), (up_name, up), (down_name, down)]
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

    /// Adds the gradients of the layer's trained parameters, returns the one in its input.
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
        let down = self.down.backward(ctx, dy, &activated, gradients)?;
        drop(activated);
        let d_activated = input_gradient(ctx, &[down])?; // (T, F)
        let (d_gate, d_up) = swiglu::backward(&d_activated, &tape.gate, &tape.up, kernels)?;
        let normed = norm::forward(&tape.middle, params.get(self.mlp_norm), eps, kernels)?;
        let maps =
            [self.gate.backward(ctx, &d_gate, &normed, gradients)?, self.up.backward(ctx, &d_up, &normed, gradients)?];
        let d_normed = input_gradient(ctx, &maps)?; // (T, D)
        ctx.norm_backward_onto(dy, &d_normed, &tape.middle, self.mlp_norm, gradients)
    }

    fn backward_attention(
        &self,
        ctx: &Context<'_>,
        d_middle: &Tensor,
        tape: &LayerTape,
        gradients: &mut Gradients,
    ) -> CandleResult<Tensor> {
        let (params, eps, kernels) = (ctx.params, ctx.config.rms_norm_eps, ctx.compute.kernels);
        let o = self.o.backward(ctx, d_middle, &tape.attended, gradients)?;
        let d_attended = input_gradient(ctx, &[o])?.reshape(tape.q.shape())?;
        let attention = ctx.attention(self.window).backward(&d_attended, &tape.q, &tape.k, &tape.v)?;
        let mut dq = rope::backward(&attention.dq, ctx.rotation, kernels)?; // (T, H, d)
        let mut dk = rope::backward(&attention.dk, ctx.rotation, kernels)?; // (T, G, d)
        if let (Some((q_norm, k_norm)), Some((q, k))) = (self.qk_norms, &tape.before_norm) {
            dq = ctx.norm_backward(&dq, q, q_norm, gradients)?;
            dk = ctx.norm_backward(&dk, k, k_norm, gradients)?;
        }
        let normed = norm::forward(&tape.x, params.get(self.attention_norm), eps, kernels)?;
        let (dq, dk, dv) = (dq.flatten_from(1)?, dk.flatten_from(1)?, attention.dv.flatten_from(1)?);
        let maps = [
            self.q.backward(ctx, &dq, &normed, gradients)?,
            self.k.backward(ctx, &dk, &normed, gradients)?,
            self.v.backward(ctx, &dv, &normed, gradients)?,
        ];
        let d_normed = input_gradient(ctx, &maps)?; // (T, D)
        ctx.norm_backward_onto(d_middle, &d_normed, &tape.x, self.attention_norm, gradients)
    }
}
