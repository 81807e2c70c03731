//! Where values are requantised: the quantised network's nodes, before any scale or shift is known.
//!
//! A value is *small* if it came out of a clamp and was only re-indexed since; others are accumulators.
//! Linear layers and polynomials read small values. An accumulator that one of them reads, perhaps through
//! shuffles, zero channels, flattening or a concatenation, gets an explicit requantisation
//! `<name>.requant`, which all its other users but activations see too. Shifts are left at 0.

use super::QuantError;
use crate::graph::{Graph, IntLayer, Interval, Model, Node, NodeId, QuantAttributes, Requant};
use crate::layers::{Activation, Layer, PoolKind};
use std::collections::BTreeSet;

/// The clamp of a requantisation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clamp {
    /// Bits of the result.
    pub(super) bits: u32,
    /// Whether it is 0..=2^bits - 1 or symmetric about 0.
    pub(super) unsigned: bool,
    /// A real value at which it saturates (6 for relu6).
    pub(super) cap: Option<f64>,
    /// The range that the file gives.
    pub(super) range: Option<(f64, f64)>,
}

/// What the quantiser knows of a node beside its layer.
#[derive(Clone, Debug)]
pub(super) struct Note {
    /// The model's node whose value this one approximates.
    pub(super) source: NodeId,
    /// Bits of the magnitude, if the value is small.
    pub(super) magnitude: Option<u32>,
    /// Whether no value is negative.
    pub(super) nonnegative: bool,
    /// Set for input, requantisations and polynomials.
    pub(super) clamp: Option<Clamp>,
    /// The real polynomial, of `quad` only.
    pub(super) quad: Option<(f64, f64, f64)>,
}

/// The network without scales.
#[derive(Debug)]
pub(super) struct Skeleton {
    pub(super) graph: Graph<IntLayer>,
    /// One a node.
    pub(super) notes: Vec<Note>,
}

/// The greatest signed number of `bits`.
pub(super) fn top(bits: u32) -> i32 {
    (1 << (bits.clamp(2, 8) - 1)) - 1
}

impl Clamp {
    /// The greatest result.
    pub(super) fn top(&self) -> i64 {
        if self.unsigned { (1 << self.bits) - 1 } else { top(self.bits).into() }
    }

    /// Both bounds.
    pub(super) fn bounds(&self) -> Interval {
        Interval { lo: if self.unsigned { 0 } else { -self.top() }, hi: self.top() }
    }

    fn magnitude(&self) -> u32 {
        if self.unsigned { self.bits } else { self.bits - 1 }
    }
}

impl Skeleton {
    /// Lays out the quantised network of `model`.
    pub(super) fn build(model: &Model) -> Result<Self, QuantError> {
        let wanted = Wanted::of(model);
        let names = model.graph.ids().map(|id| model.graph.node(id).name.clone()).collect();
        let mut builder = Builder {
            model,
            skeleton: Self { graph: Graph::default(), notes: Vec::new() },
            names,
            raw: Vec::new(),
            seen: Vec::new(),
        };
        for id in model.graph.ids() {
            let raw = builder.place(id)?;
            let note = &builder.skeleton.notes[raw.0 as usize];
            let seen = if wanted.small[id.0 as usize] && note.magnitude.is_none() {
                let unsigned = note.nonnegative;
                builder.requantise(id, raw, wanted.attributes[id.0 as usize], unsigned)?
            } else {
                raw
            };
            builder.raw.push(raw);
            builder.seen.push(seen);
        }
        let output = builder.raw[model.graph.output().0 as usize];
        builder.skeleton.graph.set_output(output);
        Ok(builder.skeleton)
    }
}

/// Which of the model's values must be small, and what the file says of their quantisation.
struct Wanted {
    small: Vec<bool>,
    attributes: Vec<QuantAttributes>,
}

impl Wanted {
    fn of(model: &Model) -> Self {
        let graph = &model.graph;
        let mut small = vec![false; graph.len()];
        let mut attributes: Vec<_> = graph.ids().map(|id| graph.node(id).quant).collect();
        for id in graph.ids().rev() {
            let own = attributes[id.0 as usize];
            let wants = match graph.node(id).layer {
                Layer::Conv(_)
                | Layer::Linear(_)
                | Layer::Activation(Activation::Square | Activation::Quad { .. }) => true,
                Layer::Shuffle(_) | Layer::PadChannels(_) | Layer::Flatten | Layer::Concat => {
                    small[id.0 as usize]
                }
                Layer::Input
                | Layer::BatchNorm(_)
                | Layer::Add
                | Layer::Subsample(_)
                | Layer::Pool(_)
                | Layer::Activation(Activation::Relu | Activation::Relu6) => false,
            };
            for input in graph.inputs(id).into_iter().filter(|_| wants) {
                small[input.0 as usize] = true;
                inherit(&mut attributes[input.0 as usize], &graph.node(id).layer, own);
            }
        }
        Self { small, attributes }
    }
}

/// What an operand's requantisation takes over from its user's attributes.
fn inherit(operand: &mut QuantAttributes, user: &Layer, own: QuantAttributes) {
    match user {
        Layer::Shuffle(_) | Layer::PadChannels(_) | Layer::Flatten | Layer::Concat => {
            operand.range = operand.range.or(own.range);
            operand.bits = operand.bits.or(own.bits);
        }
        Layer::Activation(Activation::Square) => {
            let root = |(lo, hi): (f64, f64)| (-lo.abs().max(hi).sqrt(), lo.abs().max(hi).sqrt());
            operand.range = operand.range.or(own.range.map(root));
        }
        Layer::Input
        | Layer::Conv(_)
        | Layer::Linear(_)
        | Layer::BatchNorm(_)
        | Layer::Add
        | Layer::Subsample(_)
        | Layer::Pool(_)
        | Layer::Activation(Activation::Relu | Activation::Relu6 | Activation::Quad { .. }) => {}
    }
}

struct Builder<'a> {
    model: &'a Model,
    skeleton: Skeleton,
    names: BTreeSet<String>,
    /// The node that computes a model node's value.
    raw: Vec<NodeId>,
    /// The node that its users but activations read.
    seen: Vec<NodeId>,
}

impl Builder<'_> {
    /// Adds the node of model node `id` itself.
    fn place(&mut self, id: NodeId) -> Result<NodeId, QuantError> {
        let node = self.model.graph.node(id);
        let inputs = self.model.graph.inputs(id);
        let seen: Vec<_> = inputs.iter().map(|i| self.seen[i.0 as usize]).collect();
        let plain = |layer| (layer, None, None);
        let (layer, clamp, quad) = match &node.layer {
            Layer::Input => {
                let clamp = self.clamp(node, node.quant, false)?;
                (IntLayer::Input(clamp.bounds()), Some(clamp), None)
            }
            Layer::Conv(l) => plain(IntLayer::Conv(*l)),
            Layer::Linear(l) => plain(IntLayer::Linear(*l)),
            Layer::BatchNorm(_) => return Err(QuantError::BatchNorm { node: node.name.clone() }),
            Layer::Add => plain(IntLayer::Add { shifts: vec![0; inputs.len()] }),
            Layer::Concat => plain(IntLayer::Concat { shifts: vec![0; inputs.len()] }),
            Layer::Shuffle(l) => plain(IntLayer::Shuffle(*l)),
            Layer::Subsample(l) => plain(IntLayer::Subsample(*l)),
            Layer::PadChannels(l) => plain(IntLayer::PadChannels(*l)),
            Layer::Pool(l) => plain(match l.kind {
                PoolKind::Max => IntLayer::MaxPool(*l),
                PoolKind::Average | PoolKind::GlobalAverage => IntLayer::SumPool(*l),
            }),
            Layer::Flatten => plain(IntLayer::Flatten),
            Layer::Activation(activation) => return self.activate(id, *activation),
        };
        self.push(id, node.name.clone(), layer, &seen, clamp, quad)
    }

    /// Adds an activation: a clamp of the accumulator, or a polynomial of the small operand.
    fn activate(&mut self, id: NodeId, activation: Activation) -> Result<NodeId, QuantError> {
        let node = self.model.graph.node(id);
        let operand = self.model.graph.inputs(id).first().map_or(0, |i| i.0 as usize);
        let (raw, seen) = (self.raw[operand], self.seen[operand]);
        let clamp = |unsigned| self.clamp(node, node.quant, unsigned);
        let (layer, clamp, quad, operand) = match activation {
            Activation::Relu => (None, clamp(true)?, None, raw),
            Activation::Relu6 => (None, Clamp { cap: Some(6.0), ..clamp(true)? }, None, raw),
            Activation::Square => {
                let clamp = clamp(true)?;
                let magnitude = self.skeleton.notes[seen.0 as usize].magnitude.unwrap_or(clamp.bits);
                let shift = (2 * magnitude).saturating_sub(clamp.bits);
                let requant = Requant { shift, ..unshifted(&clamp) };
                (Some(IntLayer::Poly { a: 1, b: 0, c: 0, requant }), clamp, None, seen)
            }
            Activation::Quad { a, b, c } => {
                let never_negative =
                    if a > 0.0 { b * b <= 4.0 * a * c } else { a == 0.0 && b == 0.0 && c >= 0.0 };
                let clamp = clamp(never_negative)?;
                let layer = IntLayer::Poly { a: 0, b: 0, c: 0, requant: unshifted(&clamp) };
                (Some(layer), clamp, Some((a, b, c)), seen)
            }
        };
        let layer = layer.unwrap_or_else(|| IntLayer::Requant(unshifted(&clamp)));
        self.push(id, node.name.clone(), layer, &[operand], Some(clamp), quad)
    }

    fn requantise(
        &mut self,
        id: NodeId,
        raw: NodeId,
        attributes: QuantAttributes,
        unsigned: bool,
    ) -> Result<NodeId, QuantError> {
        let node = self.model.graph.node(id);
        let clamp = self.clamp(node, attributes, unsigned)?;
        let mut name = format!("{}.requant", node.name);
        while !self.names.insert(name.clone()) {
            name.push('_');
        }
        self.push(id, name, IntLayer::Requant(unshifted(&clamp)), &[raw], Some(clamp), None)
    }

    fn clamp(
        &self,
        node: &Node<Layer>,
        attributes: QuantAttributes,
        unsigned: bool,
    ) -> Result<Clamp, QuantError> {
        let bits = attributes.bits.unwrap_or(self.model.header.activation_bits);
        if !(2..=8).contains(&bits) {
            return Err(QuantError::Bits { node: node.name.clone(), bits });
        }
        if attributes.range.is_some_and(|(lo, hi)| !(lo.is_finite() && hi.is_finite() && lo <= hi)) {
            return Err(QuantError::Range { node: node.name.clone() });
        }
        Ok(Clamp { bits, unsigned, cap: None, range: attributes.range })
    }

    fn push(
        &mut self,
        source: NodeId,
        name: String,
        layer: IntLayer,
        inputs: &[NodeId],
        clamp: Option<Clamp>,
        quad: Option<(f64, f64, f64)>,
    ) -> Result<NodeId, QuantError> {
        let node = self.model.graph.node(source);
        let operands = || inputs.iter().map(|i| &self.skeleton.notes[i.0 as usize]);
        let carried = || operands().map(|n| n.magnitude).collect::<Option<Vec<_>>>()?.into_iter().max();
        let magnitude = match &layer {
            IntLayer::Conv(_) | IntLayer::Linear(_) | IntLayer::Add { .. } | IntLayer::SumPool(_) => None,
            IntLayer::Input(_) | IntLayer::Requant(_) | IntLayer::Poly { .. } => clamp.map(|c| c.magnitude()),
            IntLayer::Concat { .. }
            | IntLayer::Shuffle(_)
            | IntLayer::Subsample(_)
            | IntLayer::PadChannels(_)
            | IntLayer::MaxPool(_)
            | IntLayer::Flatten => carried(),
        };
        let linear = matches!(layer, IntLayer::Conv(_) | IntLayer::Linear(_));
        let nonnegative = clamp.map_or(!linear && operands().all(|n| n.nonnegative), |c| c.unsigned);
        let note = Note { source, magnitude, nonnegative, clamp, quad };
        let node = Node {
            name,
            block: node.block.clone(),
            layer,
            shape: node.shape.clone(),
            span: node.span,
            quant: node.quant,
        };
        let id = self.skeleton.graph.add(node, inputs).map_err(|n| QuantError::Full { node: n.name })?;
        self.skeleton.notes.push(note);
        Ok(id)
    }
}

fn unshifted(clamp: &Clamp) -> Requant {
    let Interval { lo, hi } = clamp.bounds();
    Requant { shift: 0, lo, hi }
}
