//! Chooses scales and shifts.
//!
//! Notation, for a linear layer with shift `k`, per output channel `o`: `S_y` the step of its result,
//! `S_w = S_y / 2^k` the step of its accumulator, `W' = W * S_x` its weights on integer inputs,
//! `W_q = round(W' / S_w)`, so `S_y >= a 2^k` with `a = max|W'| / wmax`. A larger `k` refines the weights,
//! but may coarsen the result. The error of a result is about
//! `S_y^2 / 12 * (1 + Q / 4^k)`, with `Q` the sum of the mean squares of the integer inputs; shifts are
//! sought that minimise it, with `S_y = max(floor, a 2^k)` and `floor` from the ranges. Scales of a
//! residual stream depend on each other in a circle, so that the search ([`super::search`]) weighs the
//! network as a whole; then the scales are kept and every layer gets the largest shift that fits them.
//!
//! Channels that no clamp and no weight reaches (zero padding) are always 0: their step is 0, and weights
//! that read them count for nothing.

use super::QuantError;
use super::classes::ceil_log2;
use super::emit::settle;
use super::rescale::Fitted;
use super::search::{Problem, TOLERANCE};
use super::site::{Site, weights_of};
use crate::graph::{Affine, IntLayer, NodeId};
use crate::tensor::Support;
use std::collections::BTreeMap;

/// Scales and shifts.
pub(super) struct Solution {
    /// The unknowns of `Classes`; minus infinity for channels that are always 0.
    pub(super) x: Vec<f64>,
    /// Shift of each linear layer.
    pub(super) shifts: BTreeMap<NodeId, u32>,
    /// Clamps whose step is a power of two finer than their class's.
    pub(super) finer: BTreeMap<NodeId, i32>,
}

/// Shifts without weights: the accumulator of a layer with fan-in `n` and `b`-bit weights is taken to grow
/// by `b - 2 + log2(n) / 2` bits.
pub(super) fn assume(fitted: &Fitted) -> Result<Solution, QuantError> {
    let mut shifts = BTreeMap::new();
    for id in fitted.skeleton.graph.ids() {
        if let Some((fan_in, bits)) = fan_in(fitted, id)? {
            shifts.insert(id, ceil_log2(fan_in).div_ceil(2) + bits - 2);
        }
    }
    Ok(Solution { x: vec![0.0; fitted.classes.vars], shifts, finer: BTreeMap::new() })
}

/// Fan-in and weight bits of a linear layer; none for other nodes.
pub(super) fn fan_in(fitted: &Fitted, id: NodeId) -> Result<Option<(usize, u32)>, QuantError> {
    let graph = &fitted.skeleton.graph;
    let node = graph.node(id);
    let channels = graph.input_shapes(id).first().map_or(1, |s| s.channels());
    let Some(affine) = node.layer.affine() else { return Ok(None) };
    let fan_in = match affine {
        Affine::Conv(conv) => {
            let (kh, kw) = conv.kernel;
            let taps = match conv.support {
                Support::Full => kh * kw,
                Support::Cross => kh + kw - 1,
                Support::Strips => kh.max(kw),
            };
            channels / conv.groups.count().max(1) * taps
        }
        Affine::Linear(_) => graph.input_shapes(id).first().map_or(1, |s| s.elements()),
    };
    let bits = node.quant.weight_bits.unwrap_or(fitted.model.header.weight_bits);
    if !(2..=8).contains(&bits) {
        return Err(QuantError::Bits { node: node.name.clone(), bits });
    }
    Ok(Some((fan_in, bits)))
}

/// Scales and shifts for known weights and ranges.
pub(super) fn solve(
    fitted: &Fitted,
    sites: &mut [Site],
    ranges: &BTreeMap<NodeId, Vec<f64>>,
) -> Result<Solution, QuantError> {
    let floor = floors(fitted, ranges);
    for site in &mut *sites {
        let (weight, _) = weights_of(fitted, site.id)?;
        site.clip(weight, &steps(fitted, site.operand, &floor, 0));
    }
    let sites = &*sites;
    let operands = sites.iter().map(|site| clamp_behind(fitted, site.operand)).collect();
    let problem = Problem { fitted, sites, operands, finer: finer(fitted, ranges, &floor), floor };
    let mut x = problem.search();
    let mut finer = finer(fitted, ranges, &x);
    loop {
        let shifts = problem.largest_shifts(&finer, &mut x)?;
        if !limit(fitted, &shifts, &mut finer) {
            return Ok(Solution { x, shifts, finer });
        }
    }
}

/// Takes back finer steps that would need a left shift; whether there were any.
fn limit(fitted: &Fitted, shifts: &BTreeMap<NodeId, u32>, finer: &mut BTreeMap<NodeId, i32>) -> bool {
    let rho = settle(fitted, shifts, finer);
    let mut limited = false;
    for (id, own) in finer {
        limited |= *own < rho[id.0 as usize];
        *own = rho[id.0 as usize];
    }
    limited
}

/// The least unknowns at which every clamp holds its range; minus infinity where nothing is clamped.
fn floors(fitted: &Fitted, ranges: &BTreeMap<NodeId, Vec<f64>>) -> Vec<f64> {
    let mut floor = vec![f64::NEG_INFINITY; fitted.classes.vars];
    for (id, range) in ranges {
        let Some(top) = top(fitted, *id) else { continue };
        for (term, r) in fitted.classes.terms[id.0 as usize].iter().zip(range) {
            floor[term.var] = floor[term.var].max(term.solve((r / top).log2()));
        }
    }
    floor
}

/// The greatest integer of a clamp.
pub(super) fn top(fitted: &Fitted, id: NodeId) -> Option<f64> {
    let clamp = fitted.skeleton.notes[id.0 as usize].clamp?;
    Some(f64::from(u32::try_from(clamp.top()).ok()?))
}

/// The logarithms of the steps of a node's channels, `rho` powers of two above its class.
pub(super) fn steps(fitted: &Fitted, id: NodeId, x: &[f64], rho: i32) -> Vec<f64> {
    fitted.classes.terms[id.0 as usize].iter().map(|t| t.at(x) + f64::from(rho)).collect()
}

/// Clamps that leave a whole power of two unused in every channel get a finer step, where only linear
/// layers, sums and averages read them: a sum shifts its other operands to the left.
fn finer(fitted: &Fitted, ranges: &BTreeMap<NodeId, Vec<f64>>, x: &[f64]) -> BTreeMap<NodeId, i32> {
    let mut finer = BTreeMap::new();
    for (id, range) in ranges {
        let Some(top) = top(fitted, *id).filter(|_| alignable(fitted, *id)) else { continue };
        let steps = steps(fitted, *id, x, 0);
        let slack = steps.iter().zip(range).map(|(s, r)| s - (r / top).log2()).fold(f64::MAX, f64::min);
        #[expect(clippy::cast_possible_truncation, reason = "clamped to 0..=16")]
        let bits = (slack + TOLERANCE).floor().clamp(0.0, 16.0) as i32;
        if bits > 0 && slack < f64::MAX {
            finer.insert(*id, -bits);
        }
    }
    finer
}

/// Whether powers of two between the node's step and its class's can be made up for by whoever reads it.
fn alignable(fitted: &Fitted, id: NodeId) -> bool {
    let graph = &fitted.skeleton.graph;
    let clamp = matches!(graph.node(id).layer, IntLayer::Requant(_) | IntLayer::Input(_));
    let mut readers = if clamp { graph.users(id) } else { Vec::new() };
    let found = !readers.is_empty();
    while let Some(reader) = readers.pop() {
        match graph.node(reader).layer {
            IntLayer::Conv(_) | IntLayer::Linear(_) | IntLayer::Add { .. } | IntLayer::SumPool(_) => {}
            IntLayer::Shuffle(_)
            | IntLayer::Subsample(_)
            | IntLayer::PadChannels(_)
            | IntLayer::MaxPool(_)
            | IntLayer::Flatten => {
                let more = graph.users(reader);
                if more.is_empty() {
                    return false;
                }
                readers.extend(more);
            }
            IntLayer::Input(_) | IntLayer::Concat { .. } | IntLayer::Requant(_) | IntLayer::Poly { .. } => {
                return false;
            }
        }
    }
    found
}

/// The clamp whose values a small value re-indexes; the node itself where that is not one clamp.
fn clamp_behind(fitted: &Fitted, id: NodeId) -> NodeId {
    let graph = &fitted.skeleton.graph;
    let mut at = id;
    loop {
        match (&graph.node(at).layer, graph.inputs(at).as_slice()) {
            (
                IntLayer::Shuffle(_)
                | IntLayer::Subsample(_)
                | IntLayer::PadChannels(_)
                | IntLayer::MaxPool(_)
                | IntLayer::Flatten,
                [only],
            ) => at = *only,
            (_, _) => return at,
        }
    }
}
