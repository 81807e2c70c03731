//! Fills the skeleton with what the solver chose: shifts of sums and clamps, bounds, integer polynomials.
//!
//! [`settle`] turns shifts into the power of two by which each node's step differs from its class's; all
//! else here is a reading of those.

use super::QuantError;
use super::classes::ceil_log2;
use super::rescale::Fitted;
use super::site::weights_of;
use super::skeleton::Skeleton;
use super::solve::Solution;
use crate::graph::{IntLayer, NodeId, Requant};
use crate::layers::{Conv, Linear};
use std::collections::BTreeMap;

/// Bits that the integer coefficients of a polynomial add below the result's step.
const POLY_SHIFT: u32 = 14;
/// No coefficient may exceed it.
const MAX_COEFFICIENT: f64 = (1_u64 << 52) as f64;

/// How many powers of two each node's step lies above its class's: `rho` of [`super::classes`].
pub(super) fn settle(
    fitted: &Fitted,
    shifts: &BTreeMap<NodeId, u32>,
    finer: &BTreeMap<NodeId, i32>,
) -> Vec<i32> {
    let graph = &fitted.skeleton.graph;
    let mut rho: Vec<i32> = Vec::with_capacity(graph.len());
    for id in graph.ids() {
        let inputs = graph.inputs(id);
        let below: Vec<i32> = inputs.iter().map(|i| rho[i.0 as usize]).collect();
        let first = below.first().copied().unwrap_or(0);
        rho.push(match &graph.node(id).layer {
            IntLayer::Input(_) => finer.get(&id).copied().unwrap_or(0),
            IntLayer::Poly { .. } => 0,
            IntLayer::Conv(_) | IntLayer::Linear(_) => -shifts.get(&id).map_or(0, |k| signed(*k)),
            IntLayer::Add { .. } => {
                let offsets = fitted.classes.alignment.get(&id).into_iter().flatten();
                below.iter().zip(offsets).map(|(r, d)| r + d).min().unwrap_or(0)
            }
            IntLayer::Concat { .. } => below.iter().copied().min().unwrap_or(0),
            IntLayer::SumPool(pool) => {
                let n = graph.input_shapes(id).first().map_or(1, |s| pool.divisor(s));
                first - signed(ceil_log2(n))
            }
            IntLayer::Requant(_) => finer.get(&id).copied().unwrap_or(0).max(first),
            IntLayer::Shuffle(_)
            | IntLayer::Subsample(_)
            | IntLayer::PadChannels(_)
            | IntLayer::MaxPool(_)
            | IntLayer::Flatten => first,
        });
    }
    rho
}

/// The step of channel `c` of a node, in real units; 0 for a channel that is always 0.
pub(super) fn step(fitted: &Fitted, solution: &Solution, rho: &[i32], id: NodeId, c: usize) -> f64 {
    let terms = &fitted.classes.terms[id.0 as usize];
    terms.get(c).map_or(1.0, |t| (t.at(&solution.x) + f64::from(rho[id.0 as usize])).exp2())
}

/// Writes shifts, bounds and polynomials into the skeleton.
pub(super) fn fill(fitted: &mut Fitted, solution: &Solution, rho: &[i32]) -> Result<(), QuantError> {
    for id in fitted.skeleton.graph.ids() {
        let inputs = fitted.skeleton.graph.inputs(id);
        let node = fitted.skeleton.graph.node(id);
        let own = rho[id.0 as usize];
        let below: Vec<i32> = inputs.iter().map(|i| rho[i.0 as usize]).collect();
        let shift = |above: i32| {
            u32::try_from(above)
                .ok()
                .filter(|s| *s <= 62)
                .ok_or_else(|| QuantError::Unsolvable { node: node.name.clone() })
        };
        let layer = match &node.layer {
            IntLayer::Add { .. } => {
                let offsets = fitted.classes.alignment.get(&id).into_iter().flatten();
                let shifts = below.iter().zip(offsets).map(|(r, d)| shift(r + d - own));
                IntLayer::Add { shifts: shifts.collect::<Result<_, _>>()? }
            }
            IntLayer::Concat { .. } => {
                let shifts = below.iter().map(|r| shift(r - own));
                IntLayer::Concat { shifts: shifts.collect::<Result<_, _>>()? }
            }
            IntLayer::Requant(requant) => {
                let shift = shift(own - below.first().copied().unwrap_or(0))?;
                let hi = saturation(fitted, solution, rho, id).unwrap_or(requant.hi);
                IntLayer::Requant(Requant { shift, lo: requant.lo, hi })
            }
            IntLayer::Poly { requant, .. } if fitted.skeleton.notes[id.0 as usize].quad.is_some() => {
                let steps = fitted.weights.is_some().then(|| {
                    let operand = inputs.first().copied().unwrap_or(id);
                    let real = |id| step(fitted, solution, rho, id, 0);
                    (real(operand), real(id))
                });
                quad(&fitted.skeleton, id, *requant, steps)?
            }
            IntLayer::Conv(conv) => IntLayer::Conv(Conv { bias: Some(biased(fitted, id)), ..*conv }),
            IntLayer::Linear(l) => IntLayer::Linear(Linear { bias: Some(biased(fitted, id)), ..*l }),
            IntLayer::Input(_)
            | IntLayer::Shuffle(_)
            | IntLayer::Subsample(_)
            | IntLayer::PadChannels(_)
            | IntLayer::SumPool(_)
            | IntLayer::MaxPool(_)
            | IntLayer::Poly { .. }
            | IntLayer::Flatten => continue,
        };
        fitted.skeleton.graph.node_mut(id).layer = layer;
    }
    Ok(())
}

/// The integer at which an activation with a cap saturates.
fn saturation(fitted: &Fitted, solution: &Solution, rho: &[i32], id: NodeId) -> Option<i64> {
    let clamp = fitted.skeleton.notes[id.0 as usize].clamp?;
    let cap = clamp.cap.filter(|_| fitted.weights.is_some())?;
    let hi = (cap / step(fitted, solution, rho, id, 0)).round();
    #[expect(clippy::cast_possible_truncation, reason = "the conversion saturates and is clamped")]
    let hi = (hi as i64).clamp(1, clamp.top());
    Some(hi)
}

/// The integer polynomial of `quad`, given the steps of operand and result; without them, one that fills
/// the result's bits.
fn quad(
    skeleton: &Skeleton,
    id: NodeId,
    requant: Requant,
    steps: Option<(f64, f64)>,
) -> Result<IntLayer, QuantError> {
    let note = &skeleton.notes[id.0 as usize];
    let operand = skeleton.graph.inputs(id).first().map_or(0, |i| i.0 as usize);
    let top = f64::from((1_u32 << skeleton.notes[operand].magnitude.unwrap_or(8)) - 1);
    #[expect(clippy::cast_precision_loss, reason = "a clamp has at most 8 bits")]
    let hi = requant.hi as f64;
    let (a, b, c) = match (note.quad, steps) {
        (Some((a, b, c)), Some((s_in, s_out))) => (a * s_in * s_in / s_out, b * s_in / s_out, c / s_out),
        (Some(_) | None, _) => (hi / (top * top), hi / top, 0.0),
    };
    let fine = f64::from(1_u32 << POLY_SHIFT);
    let round = |v: f64| {
        let v = (v * fine).round();
        #[expect(clippy::cast_possible_truncation, reason = "checked to be below 2^52")]
        (v.abs() <= MAX_COEFFICIENT)
            .then_some(v as i64)
            .ok_or_else(|| QuantError::Overflow { node: skeleton.graph.node(id).name.clone() })
    };
    let requant = Requant { shift: POLY_SHIFT, ..requant };
    Ok(IntLayer::Poly { a: round(a)?, b: round(b)?, c: round(c)?, requant })
}

/// Whether the layer has a bias; where the file left that to the weights and there are none, it may.
pub(super) fn biased(fitted: &Fitted, id: NodeId) -> bool {
    if fitted.weights.is_some() {
        return weights_of(fitted, id).is_ok_and(|(_, bias)| bias.is_some());
    }
    let source = fitted.model.graph.node(fitted.skeleton.notes[id.0 as usize].source);
    let shapes = fitted.model.graph.input_shapes(fitted.skeleton.notes[id.0 as usize].source);
    shapes.first().is_some_and(|x| source.layer.weights(x).iter().any(|w| w.suffix == "bias"))
}

fn signed(shift: u32) -> i32 {
    i32::try_from(shift).unwrap_or(i32::MAX)
}
