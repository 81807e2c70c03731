//! Fills the skeleton with what the solver chose: shifts of sums and clamps, integer polynomials, integer
//! weights and biases.

use super::QuantError;
use super::classes::ceil_log2;
use super::rescale::Fitted;
use super::site::{Site, weights_of};
use super::skeleton::Skeleton;
use super::solve::Solution;
use crate::graph::{IntLayer, IntWeights, LayerWeights, NodeId, Requant};
use crate::layers::{Conv, Linear};
use crate::tensor::{Shape, Tensor};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bits that the integer coefficients of a polynomial add below the result's step.
const POLY_SHIFT: u32 = 14;
/// No bias may exceed it.
const MAX_BIAS: f64 = (1_u64 << 52) as f64;

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
            IntLayer::Input(_) | IntLayer::Poly { .. } => 0,
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

/// The step of channel `c` of a node, in real units.
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
        (v.abs() <= MAX_BIAS)
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

/// Integer weights and biases of every linear layer.
pub(super) fn weights(
    fitted: &Fitted,
    solution: &Solution,
    rho: &[i32],
    sites: &[Site],
) -> Result<IntWeights, QuantError> {
    let mut table = BTreeMap::new();
    for site in sites {
        table.insert(site.id, layer_weights(fitted, solution, rho, site)?);
    }
    Ok(IntWeights(table))
}

fn layer_weights(
    fitted: &Fitted,
    solution: &Solution,
    rho: &[i32],
    site: &Site,
) -> Result<LayerWeights, QuantError> {
    let (weight, bias) = weights_of(fitted, site.id)?;
    let node = fitted.skeleton.graph.node(site.id);
    let out = node.shape.channels();
    let per = (weight.len() / out.max(1)).max(1);
    let taps = (per / site.columns().max(1)).max(1);
    let channels = fitted.skeleton.graph.node(site.operand).shape.channels();
    let inputs: Vec<f64> = (0..channels).map(|i| step(fitted, solution, rho, site.operand, i)).collect();
    let outputs: Vec<f64> = (0..out).map(|o| step(fitted, solution, rho, site.id, o)).collect();
    let mut data = vec![0_i8; weight.len()];
    data.par_chunks_mut(per).zip(weight.par_chunks(per)).enumerate().for_each(|(o, (row, real))| {
        for (k, (q, w)) in row.iter_mut().zip(real).enumerate() {
            let steps = f64::from(*w) * inputs[site.input(o, k / taps)] / outputs[o];
            let steps = steps.round().clamp(-site.largest_weight, site.largest_weight);
            #[expect(clippy::cast_possible_truncation, reason = "clamped to the bits of a weight")]
            let steps = steps as i8;
            *q = steps;
        }
    });
    let zeros = vec![0.0; out];
    let bias = bias.unwrap_or(&zeros).iter().zip(&outputs).map(|(b, s)| {
        let steps = (f64::from(*b) / s).round();
        #[expect(clippy::cast_possible_truncation, reason = "checked to be below 2^52")]
        (steps.abs() <= MAX_BIAS)
            .then_some(steps as i64)
            .ok_or_else(|| QuantError::Overflow { node: node.name.clone() })
    });
    let shape = if let IntLayer::Conv(conv) = &node.layer {
        conv.weight_shape(channels)
    } else {
        Shape::of(&[out, per])
    };
    let weight = Arc::new(Tensor { shape, data });
    Ok(LayerWeights { weight, bias: Arc::new(bias.collect::<Result<_, _>>()?) })
}

fn signed(shift: u32) -> i32 {
    i32::try_from(shift).unwrap_or(i32::MAX)
}
