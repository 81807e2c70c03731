//! Integer weights and biases of the linear layers, once all steps are known.
//!
//! `W_q = round(W * S_x / S_w)`, where weights of few bits are rounded kernel by kernel ([`balance`]), and `b_q = round((b - drift) / S_w)`: the drift is what rounding the weights
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

/// Weights of up to this magnitude are rounded kernel by kernel: finer ones gain nothing.
const FEW: f64 = 15.0;
/// The correlation of neighbouring inputs that is assumed.
const ALIKE: f64 = 0.6;

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
    let mut steps = Vec::with_capacity(taps);
    for (j, (row, real)) in row.chunks_mut(taps).zip(real.chunks(taps)).enumerate() {
        let i = site.input(o, j);
        let exact = |w: &f32| f64::from(*w) * inputs[i] / output;
        steps.clear();
        steps.extend(real.iter().map(|w| exact(w).round().clamp(-site.largest_weight, site.largest_weight)));
        if site.largest_weight <= FEW {
            balance(&mut steps, site.largest_weight, |at| exact(&real[at]));
        }
        let mean = site.means.as_ref().map_or(0.0, |m| m[i]);
        for ((q, w), steps) in row.iter_mut().zip(real).zip(&steps) {
            #[expect(clippy::cast_possible_truncation, reason = "clamped to the bits of a weight")]
            let rounded = *steps as i8;
            *q = rounded;
            if inputs[i] > 0.0 {
                drift += (steps * output / inputs[i] - f64::from(*w)) * mean;
            }
        }
    }
    drift
}

/// Rounds some weights of a kernel the other way, as long as that makes the error of its result smaller: its taps
/// read neighbours, which are alike, so that errors of one sign add up. Weights that are 0, declared so or pruned, stay.
fn balance(steps: &mut [f64], largest: f64, exact: impl Fn(usize) -> f64) {
    let mut sum: f64 = steps.iter().enumerate().map(|(at, step)| step - exact(at)).sum();
    for _ in 0..steps.len() {
        let turn = -sum.signum();
        let error = |at: usize| steps[at] - exact(at);
        let free = (0..steps.len()).filter(|&at| exact(at) != 0.0 && (steps[at] + turn).abs() <= largest);
        let Some(at) = free.min_by(|&a, &b| (turn * error(a)).total_cmp(&(turn * error(b)))) else { break };
        let growth = |error: f64| (error + turn).powi(2) - error.powi(2);
        if (1.0 - ALIKE) * growth(error(at)) + ALIKE * growth(sum) >= 0.0 {
            break;
        }
        steps[at] += turn;
        sum += turn;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balanced(exact: [f64; 5], largest: f64) -> [f64; 5] {
        let mut steps = exact.map(|w| w.round().clamp(-largest, largest));
        balance(&mut steps, largest, |at| exact[at]);
        steps
    }

    #[test]
    fn errors_of_one_sign_are_balanced() {
        // Each loses 0.3 or more: the two that lose most are rounded up instead.
        assert_eq!(balanced([1.3, 2.4, 3.45, -1.55, 0.3], 7.0), [1.0, 2.0, 4.0, -1.0, 0.0]);
        assert_eq!(balanced([-1.3, -2.4, -3.45, 1.55, -0.3], 7.0), [-1.0, -2.0, -4.0, 1.0, 0.0]);
        // Errors that cancel stay, and so does a small sum.
        assert_eq!(balanced([0.4, -0.4, 1.1, 2.9, 5.2], 7.0), [0.0, 0.0, 1.0, 3.0, 5.0]);
        assert_eq!(balanced([0.0; 5], 7.0), [0.0; 5]);
    }

    #[test]
    fn nothing_leaves_the_bits_of_a_weight() {
        assert_eq!(balanced([7.9, 7.4, 0.4, 0.3, -7.3], 7.0), [7.0, 7.0, 1.0, 1.0, -7.0]);
        assert_eq!(balanced([7.9; 5], 7.0), [7.0; 5]);
        // Nor does a tap that is 0 come to life where all others are clamped.
        assert_eq!(balanced([7.9, 0.0, 7.9, 0.0, 7.9], 7.0), [7.0, 0.0, 7.0, 0.0, 7.0]);
    }
}
