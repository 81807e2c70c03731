//! Interval analysis of the quantised network: bounds of every value over all inputs that the clamp of
//! the image allows.
//!
//! With weights the bounds are proven, channel by channel: positive weights meet the upper bound of their
//! input, negative ones the lower. Without, they follow from bit widths and fan-in, with room for a bias
//! as large as the following clamp. A value that feeds a clamp includes its rounding term.

use super::QuantError;
use crate::graph::{
    Graph, IntLayer, IntNetwork, IntWeights, Interval, LayerWeights, MAX_VALUE, NodeId, Requant,
};
use crate::layers::Conv;
use crate::tensor::Pad;
use rayon::prelude::*;

/// Bounds of one channel, wide enough for any intermediate sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    lo: i128,
    hi: i128,
}

/// What is known of the linear layers.
#[derive(Clone, Copy)]
pub(super) enum Knowledge<'a> {
    /// All weights.
    Weights(&'a IntWeights),
    /// For each node, how large a sum of `|weight|` over the fan-in can be, and the bias.
    Assumed(&'a [Assumption]),
}

/// Bounds of a linear layer's unknown weights.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Assumption {
    /// The largest sum of magnitudes in a row.
    pub(super) row: i64,
    /// The largest bias.
    pub(super) bias: i64,
}

/// Fills in the intervals of a network.
pub(super) fn bound(network: &mut IntNetwork, knowledge: Knowledge<'_>) -> Result<(), QuantError> {
    let graph = &network.graph;
    let mut ranges: Vec<Vec<Range>> = Vec::with_capacity(graph.len());
    let mut last_use: Vec<u32> = graph.ids().map(|id| id.0).collect();
    for id in graph.ids() {
        graph.inputs(id).iter().for_each(|i| last_use[i.0 as usize] = id.0);
    }
    network.intervals.clear();
    for id in graph.ids() {
        let inputs = graph.inputs(id);
        let operands: Vec<&[Range]> = inputs.iter().map(|i| ranges[i.0 as usize].as_slice()).collect();
        let own = propagate(graph, id, &operands, knowledge);
        let rounding = rounding_term(graph, id);
        let interval = union(&own).and_then(|r| narrow(r, rounding));
        let overflow = || QuantError::Overflow { node: graph.node(id).name.clone() };
        network.intervals.push(interval.ok_or_else(overflow)?);
        ranges.push(own);
        for input in inputs.iter().filter(|i| last_use[i.0 as usize] == id.0) {
            ranges[input.0 as usize] = Vec::new();
        }
    }
    Ok(())
}

/// The largest rounding term of the clamps that read a value.
pub(crate) fn rounding_term(graph: &Graph<IntLayer>, id: NodeId) -> i128 {
    let shift = |user: NodeId| {
        if let IntLayer::Requant(requant) = graph.node(user).layer { requant.shift } else { 0 }
    };
    let shift = graph.users(id).into_iter().map(shift).max().unwrap_or(0);
    (1_i128 << shift) >> 1
}

fn narrow(range: Range, rounding: i128) -> Option<Interval> {
    let limit = i128::from(MAX_VALUE);
    if range.lo < -limit || range.hi + rounding > limit {
        return None;
    }
    Some(Interval { lo: i64::try_from(range.lo).ok()?, hi: i64::try_from(range.hi + rounding).ok()? })
}

fn union(ranges: &[Range]) -> Option<Range> {
    ranges.iter().copied().reduce(Range::hull)
}

impl Range {
    fn hull(self, other: Self) -> Self {
        Self { lo: self.lo.min(other.lo), hi: self.hi.max(other.hi) }
    }

    fn plus(self, other: Self) -> Self {
        Self { lo: self.lo + other.lo, hi: self.hi + other.hi }
    }

    fn times(self, factor: i128) -> Self {
        let (a, b) = (self.lo * factor, self.hi * factor);
        Self { lo: a.min(b), hi: a.max(b) }
    }

    fn magnitude(self) -> i128 {
        self.lo.abs().max(self.hi.abs())
    }

    /// With the zeros of padding.
    fn padded(self, pad: Pad) -> Self {
        if pad.h + pad.w == 0 { self } else { self.hull(Self { lo: 0, hi: 0 }) }
    }

    fn requantised(self, requant: Requant) -> Self {
        let rounding = if requant.shift == 0 { 0 } else { 1_i128 << (requant.shift - 1) };
        let apply = |v: i128| ((v + rounding) >> requant.shift).clamp(requant.lo.into(), requant.hi.into());
        Self { lo: apply(self.lo), hi: apply(self.hi) }
    }

    /// Of `a x^2 + b x + c`.
    fn polynomial(self, a: i128, b: i128, c: i128) -> Self {
        let value = |x: i128| (a * x + b) * x + c;
        let ends = Self { lo: value(self.lo), hi: value(self.lo) }
            .hull(Self { lo: value(self.hi), hi: value(self.hi) });
        if a == 0 {
            return ends;
        }
        let turn = -b / (2 * a);
        let near = (turn - 1..=turn + 1).filter(|x| (self.lo..=self.hi).contains(x)).map(value);
        near.fold(ends, |r, v| r.hull(Range { lo: v, hi: v }))
    }
}

/// The ranges of a node's channels; shapes fit, as verified.
fn propagate(
    graph: &Graph<IntLayer>,
    id: NodeId,
    operands: &[&[Range]],
    knowledge: Knowledge<'_>,
) -> Vec<Range> {
    let node = graph.node(id);
    let x = operands.first().copied().unwrap_or_default();
    let shifted = |shifts: &[u32]| -> Vec<Vec<Range>> {
        let shift = |(o, s): (&&[Range], &u32)| o.iter().map(|r| r.times(1 << s)).collect();
        operands.iter().zip(shifts).map(shift).collect()
    };
    match &node.layer {
        IntLayer::Input(i) => vec![Range { lo: i.lo.into(), hi: i.hi.into() }; node.shape.channels()],
        IntLayer::Conv(conv) => {
            let padded: Vec<_> = x.iter().map(|r| r.padded(conv.pad)).collect();
            linear(knowledge, id, &padded, node.shape.channels(), Some(conv))
        }
        IntLayer::Linear(_) => linear(knowledge, id, x, node.shape.channels(), None),
        IntLayer::Add { shifts } => {
            let sum = |a: Vec<Range>, b: Vec<Range>| a.into_iter().zip(b).map(|(a, b)| a.plus(b)).collect();
            shifted(shifts).into_iter().reduce(sum).unwrap_or_default()
        }
        IntLayer::Concat { shifts } => shifted(shifts).concat(),
        IntLayer::Shuffle(l) => (0..x.len()).map(|o| x[l.source(o, x.len())]).collect(),
        IntLayer::PadChannels(l) => {
            let zeros = |n| std::iter::repeat_n(Range { lo: 0, hi: 0 }, n);
            zeros(l.before).chain(x.iter().copied()).chain(zeros(l.after)).collect()
        }
        IntLayer::SumPool(l) => {
            let shapes = graph.input_shapes(id);
            let n = shapes.first().map_or(1, |s| l.divisor(s));
            x.iter().map(|r| r.padded(l.pad).times(i128::try_from(n).unwrap_or(i128::MAX))).collect()
        }
        IntLayer::Subsample(_) | IntLayer::MaxPool(_) => x.to_vec(),
        IntLayer::Requant(requant) => x.iter().map(|r| r.requantised(*requant)).collect(),
        IntLayer::Poly { a, b, c, requant } => {
            let poly = |r: &Range| r.polynomial((*a).into(), (*b).into(), (*c).into());
            x.iter().map(|r| poly(r).requantised(*requant)).collect()
        }
        IntLayer::Flatten => {
            let shapes = graph.input_shapes(id);
            let plane = shapes.first().map_or(1, |s| s.elements() / s.channels().max(1));
            x.iter().flat_map(|r| std::iter::repeat_n(*r, plane)).collect()
        }
    }
}

fn linear(knowledge: Knowledge<'_>, id: NodeId, x: &[Range], out: usize, conv: Option<&Conv>) -> Vec<Range> {
    match knowledge {
        Knowledge::Weights(table) => table.0.get(&id).map_or_else(Vec::new, |w| exact(w, x, conv)),
        Knowledge::Assumed(table) => {
            let assumption = table.get(id.0 as usize).copied().unwrap_or_default();
            let largest = x.iter().map(|r| r.magnitude()).max().unwrap_or(0);
            let bound = largest * i128::from(assumption.row) + i128::from(assumption.bias);
            vec![Range { lo: -bound, hi: bound }; out]
        }
    }
}

fn exact(weights: &LayerWeights, x: &[Range], conv: Option<&Conv>) -> Vec<Range> {
    let out = weights.bias.len();
    let per = (weights.weight.data.len() / out.max(1)).max(1);
    let taps = conv.map_or(1, |c| c.kernel.0 * c.kernel.1);
    let row = |(o, row): (usize, &[i8])| {
        let bias = i128::from(weights.bias[o]);
        let mut sum = Range { lo: bias, hi: bias };
        for (j, taps) in row.chunks(taps).enumerate() {
            let input = x[conv.map_or(j, |c| c.input_channel(o, j, x.len()))];
            let positive: i128 = taps.iter().map(|w| i128::from(*w).max(0)).sum();
            let negative: i128 = taps.iter().map(|w| i128::from(*w).min(0)).sum();
            sum = sum.plus(input.times(positive)).plus(input.times(negative));
        }
        sum
    };
    weights.weight.data.par_chunks(per).enumerate().map(row).collect()
}
