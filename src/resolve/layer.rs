//! From a call to a layer in the graph.

use super::attributes::find;
use super::capacity;
use super::expand::{Expander, Operand};
use super::names::Part;
use super::signature::{Operands, Signature};
use super::value::Value;
use crate::diag::{Diagnostic, Span};
use crate::graph::{MAX_LAYERS, Node, NodeId, QuantAttributes};
use crate::layers::{
    Activation, BatchNorm, Conv, Layer, Linear, PadChannels, Pool, PoolKind, Rounding, ShapeError, Shuffle,
    Subsample,
};
use crate::syntax::ast::{Call, Named};
use crate::tensor::{Groups, MAX_ELEMENTS, Pad, Shape};

/// PyTorch's default for batch normalisation.
const DEFAULT_EPS: f64 = 1e-5;

/// A tensor operand with its place.
pub(super) type Input = (NodeId, Span);

/// A layer on its way into the graph.
pub(super) struct Adding<'a> {
    pub(super) layer: Layer,
    pub(super) part: Part,
    pub(super) quant: QuantAttributes,
    pub(super) span: Span,
    /// The call's attributes, to point at the one that does not fit.
    pub(super) attributes: &'a [Named],
}

impl<'a> Expander<'a> {
    /// A call of a built-in layer or block.
    pub(super) fn layer(&mut self, call: &'a Call, signature: &Signature, operands: &[Operand]) -> Value {
        let fits = match signature.operands {
            Operands::One => operands.len() == 1,
            Operands::Several => operands.len() >= 2,
        };
        let inputs = if fits { self.inputs(signature.word, operands) } else { None };
        let first = inputs.as_ref().and_then(|inputs| inputs.first());
        let shape = first.map(|(id, _)| self.graph.node(*id).shape.clone());
        if signature.word == "stria_block" {
            return self.stria_block(call, first.copied().zip(shape));
        }
        let layer = self.described(call, shape.as_ref());
        let part = self.part(call, signature.word);
        let quant = layer.as_ref().map(|layer| self.quantisation(&call.attributes, layer));
        match (layer, quant, inputs) {
            (Some(layer), Some(quant), Some(inputs)) => self
                .add(Adding { layer, part, quant, span: call.span, attributes: &call.attributes }, &inputs),
            _ => Value::Poison,
        }
    }

    /// A call of an activation that a parameter holds.
    pub(super) fn apply(&mut self, call: &'a Call, layer: Layer, operands: &[Operand]) -> Value {
        let part = self.part(call, layer.kind());
        let quant = self.quantisation(&call.attributes, &layer);
        match self.inputs(&call.callee.text, operands) {
            Some(inputs) => self
                .add(Adding { layer, part, quant, span: call.span, attributes: &call.attributes }, &inputs),
            None => Value::Poison,
        }
    }

    /// The operands as tensors.
    fn inputs(&mut self, word: &str, operands: &[Operand]) -> Option<Vec<Input>> {
        let mut inputs = Vec::new();
        let mut sound = true;
        for operand in operands {
            let wanted = format!("a tensor as operand of `{word}`");
            match self.expect(&wanted, operand.value, operand.span, operand.value.tensor()) {
                Some(id) => inputs.push((id, operand.span)),
                None => sound = false,
            }
        }
        sound.then_some(inputs)
    }

    /// The layer that a call describes, if its attributes are right. `x` is the first operand's shape,
    /// none if that is poison: attributes are read all the same.
    fn described(&mut self, call: &'a Call, x: Option<&Shape>) -> Option<Layer> {
        let given = call.attributes.as_slice();
        match call.callee.text.as_str() {
            "conv" => self.conv(given, x),
            "linear" => {
                let out = find(given, "out").and_then(|expr| self.bounded(expr, 1, MAX_ELEMENTS));
                let bias = self.truth(given, "bias");
                Some(Layer::Linear(Linear { out: out?, bias: bias? }))
            }
            "batch_norm" => {
                let eps = self.real_or(given, "eps", DEFAULT_EPS)?;
                if eps < 0.0
                    && let Some(expr) = find(given, "eps")
                {
                    self.report(
                        Diagnostic::error(
                            "attribute-value",
                            "`eps` cannot be negative",
                            expr.span,
                            "negative",
                        )
                        .hint("PyTorch's default is 1e-5"),
                    );
                    return None;
                }
                Some(Layer::BatchNorm(BatchNorm { eps }))
            }
            "add" => Some(Layer::Add),
            "concat" => Some(Layer::Concat),
            "channel_shuffle" => {
                let groups = find(given, "groups").and_then(|expr| self.bounded(expr, 1, MAX_ELEMENTS));
                Some(Layer::Shuffle(Shuffle { groups: groups? }))
            }
            "subsample" => {
                let stride = self.pair_or(given, "stride", 1, None);
                Some(Layer::Subsample(Subsample { stride: stride? }))
            }
            "pad_channels" => {
                let before = self.size_or(given, "before", 0, 0);
                let after = self.size_or(given, "after", 0, 0);
                Some(Layer::PadChannels(PadChannels { before: before?, after: after? }))
            }
            "avg_pool" => self.pool(PoolKind::Average, given),
            "max_pool" => self.pool(PoolKind::Max, given),
            "global_avg_pool" => {
                let (_, h, w) = x?.chw();
                let pad = Pad { h: 0, w: 0 };
                let (kernel, stride, rounding) = ((h, w), (h, w), Rounding::Down);
                Some(Layer::Pool(Pool { kind: PoolKind::GlobalAverage, kernel, stride, pad, rounding }))
            }
            "relu" => Some(Layer::Activation(Activation::Relu)),
            "relu6" => Some(Layer::Activation(Activation::Relu6)),
            "square" => Some(Layer::Activation(Activation::Square)),
            "quad" => {
                let a = find(given, "a").and_then(|expr| self.real(expr));
                let b = self.real_or(given, "b", 0.0);
                let c = self.real_or(given, "c", 0.0);
                Some(Layer::Activation(Activation::Quad { a: a?, b: b?, c: c? }))
            }
            "flatten" => Some(Layer::Flatten),
            _ => None,
        }
    }

    fn pool(&mut self, kind: PoolKind, given: &'a [Named]) -> Option<Layer> {
        let kernel = self.pair_or(given, "kernel", 1, None);
        let stride = match find(given, "stride") {
            Some(expr) => self.pair(expr, 1),
            None => kernel,
        };
        let pad = self.pad(given, kernel);
        let rounding = match self.truth(given, "ceil")? {
            Some(true) => Rounding::Up,
            Some(false) | None => Rounding::Down,
        };
        Some(Layer::Pool(Pool { kind, kernel: kernel?, stride: stride?, pad: pad?, rounding }))
    }

    fn conv(&mut self, given: &'a [Named], x: Option<&Shape>) -> Option<Layer> {
        let depthwise = find(given, "groups").is_some_and(|expr| self.word(expr) == Some("depthwise"));
        let out = match find(given, "out") {
            Some(expr) => self.bounded(expr, 1, MAX_ELEMENTS),
            None => x.filter(|_| depthwise).map(Shape::channels),
        };
        let kernel = find(given, "kernel").and_then(|expr| self.kernel(expr));
        let stride = self.pair_or(given, "stride", 1, Some((1, 1)));
        let pad = self.pad(given, kernel.map(|(size, _)| size));
        let bias = self.truth(given, "bias");
        let groups = self.groups(given, x, out);
        let (kernel, support) = kernel?;
        let (out, stride, pad, groups, bias) = (out?, stride?, pad?, groups?, bias?);
        Some(Layer::Conv(Conv { out, kernel, support, stride, pad, groups, bias }))
    }

    fn groups(&mut self, given: &'a [Named], x: Option<&Shape>, out: Option<usize>) -> Option<Groups> {
        match (find(given, "groups"), find(given, "striped")) {
            (None, None) => Some(Groups::Dense),
            (Some(groups), Some(striped)) => {
                let message = "a convolution has either `groups` or `striped`";
                self.report(
                    Diagnostic::error("attribute-value", message, striped.span, "this one stripes")
                        .also(groups.span, "this one groups")
                        .hint("`groups` takes contiguous channels, `striped` every g-th; keep one"),
                );
                None
            }
            (Some(expr), None) => match self.word(expr) {
                Some("depthwise") => x.map(|x| Groups::Contiguous(x.channels())),
                Some(_) => None,
                None => self.bounded(expr, 1, MAX_ELEMENTS).map(|g| match g {
                    1 => Groups::Dense,
                    g => Groups::Contiguous(g),
                }),
            },
            (None, Some(expr)) => match self.word(expr) {
                Some("auto") => {
                    let (c, h, w) = x?.chw();
                    Some(stripes(gcd(capacity(self.ring, h, w), gcd(c, out?))))
                }
                Some(_) => None,
                None => self.bounded(expr, 1, MAX_ELEMENTS).map(stripes),
            },
        }
    }

    /// Adds a layer to the graph.
    pub(super) fn add(&mut self, adding: Adding<'a>, inputs: &[Input]) -> Value {
        let Adding { layer, part, quant, span, attributes } = adding;
        let shapes: Vec<&Shape> = inputs.iter().map(|(id, _)| &self.graph.node(*id).shape).collect();
        let shape = match layer.infer(&shapes) {
            Ok(shape) => shape,
            Err(error) => {
                let found = self.shape_error(&error, span, attributes, inputs);
                self.report(found);
                return Value::Poison;
            }
        };
        let wanted = shapes.first().map(|x| layer.weights(x)).unwrap_or_default();
        let largest = wanted.iter().map(|weight| &weight.shape).chain([&shape]).max_by_key(|s| s.elements());
        if let Some(largest) = largest.filter(|largest| largest.elements() > MAX_ELEMENTS) {
            let message = format!("a tensor {largest} has more than 2^31 elements");
            self.report(Diagnostic::error("limit", message, span, "too large").hint("use fewer channels"));
            return Value::Poison;
        }
        let ids: Vec<NodeId> = inputs.iter().map(|(id, _)| *id).collect();
        let weighted = !wanted.is_empty();
        let node = Node { name: String::new(), block: None, layer, shape, span, quant };
        match self.graph.add(node, &ids) {
            Ok(id) => {
                self.names.layer(self.scope, part, weighted);
                self.sites.push(self.sink.calls.first().copied());
                Value::Tensor(id)
            }
            Err(_) => {
                let message = format!("the model has more than the limit of {MAX_LAYERS} layers");
                self.stop("limit", message, span, "repeat less often");
                Value::Poison
            }
        }
    }

    /// The diagnostic for shapes that do not fit: it points at the attribute in question, or at the
    /// call, and shows every operand's shape.
    fn shape_error(
        &self,
        error: &ShapeError,
        span: Span,
        attributes: &'a [Named],
        inputs: &[Input],
    ) -> Diagnostic {
        let blamed = match error.code {
            "group-count" => ["groups", "striped", "stripes"].as_slice(),
            "kernel-too-large" => ["kernel"].as_slice(),
            _ => [].as_slice(),
        };
        let at = blamed.iter().find_map(|name| find(attributes, name));
        let (place, label) = match at {
            Some(expr) => (expr.span, "this does not fit"),
            None => (span, "does not fit"),
        };
        let mut found = Diagnostic::error(error.code, error.message.clone(), place, label);
        for (id, operand) in inputs.iter().take(4) {
            found = found.also(*operand, format!("this is {}", self.graph.node(*id).shape));
        }
        found.hint(error.hint.clone())
    }
}

/// Striped groups; one stripe is a dense convolution.
pub(super) fn stripes(g: usize) -> Groups {
    if g == 1 { Groups::Dense } else { Groups::Striped(g) }
}

/// The greatest common divisor.
pub(super) fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
