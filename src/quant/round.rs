//! Integer weights and biases of the linear layers, once all steps are known.
//!
//! `W_q = round(W * S_x / S_w)` and `b_q = round((b - drift) / S_w)`: the drift is what rounding the weights
//! adds to the accumulator on average, for inputs of the measured mean (padding left aside); without
//! measurements it is 0.

use super::QuantError;
use super::emit::step;
use super::rescale::Fitted;
use super::site::{Site, weights_of};
use super::solve::Solution;
use crate::graph::{IntLayer, IntWeights, LayerWeights};
use crate::tensor::{Shape, Tensor};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// No bias may exceed it.
const MAX_BIAS: f64 = (1_u64 << 52) as f64;

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
    let (out, channels) = (node.shape.channels(), site.channels());
    let per = (weight.len() / out.max(1)).max(1);
    let inputs: Vec<f64> = (0..channels).map(|i| step(fitted, solution, rho, site.operand, i)).collect();
    let nonzero = |step: f64| if step > 0.0 { step } else { 1.0 };
    let outputs: Vec<f64> = (0..out).map(|o| nonzero(step(fitted, solution, rho, site.id, o))).collect();
    let mut data = vec![0_i8; weight.len()];
    let drifts: Vec<f64> = data
        .par_chunks_mut(per)
        .zip(weight.par_chunks(per))
        .enumerate()
        .map(|(o, (row, real))| round_row(site, o, row, real, &inputs, outputs[o]))
        .collect();
    let biases = (0..out).map(|o| {
        let real = bias.map_or(0.0, |b| f64::from(b[o])) - drifts[o];
        let steps = (real / outputs[o]).round();
        #[expect(clippy::cast_possible_truncation, reason = "checked to be below 2^52")]
        (steps.abs() <= MAX_BIAS)
            .then_some(steps as i64)
            .ok_or_else(|| QuantError::Overflow { node: node.name.clone() })
    });
    let biases: Vec<i64> = biases.collect::<Result<_, _>>()?;
    let shape = if let IntLayer::Conv(conv) = &node.layer {
        conv.weight_shape(channels)
    } else {
        Shape::of(&[out, per])
    };
    Ok(LayerWeights { weight: Arc::new(Tensor { shape, data }), bias: Arc::new(biases) })
}

/// Rounds the weights of output channel `o`; gives its drift in real units.
fn round_row(site: &Site, o: usize, row: &mut [i8], real: &[f32], inputs: &[f64], output: f64) -> f64 {
    let taps = (row.len() / site.columns().max(1)).max(1);
    let mut drift = 0.0;
    for (k, (q, w)) in row.iter_mut().zip(real).enumerate() {
        let i = site.input(o, k / taps);
        let steps = (f64::from(*w) * inputs[i] / output).round();
        let steps = steps.clamp(-site.largest_weight, site.largest_weight);
        #[expect(clippy::cast_possible_truncation, reason = "clamped to the bits of a weight")]
        let rounded = steps as i8;
        *q = rounded;
        if inputs[i] > 0.0 {
            let mean = site.means.as_ref().map_or(0.0, |m| m[i]);
            drift += (steps * output / inputs[i] - f64::from(*w)) * mean;
        }
    }
    drift
}
