//! A linear layer as the solver sees it: the largest weight between each input and output channel, and
//! how large its inputs are on average.

use super::calibrate::Spread;
use super::float::fits;
use super::rescale::Fitted;
use super::solve::fan_in;
use super::{QuantError, positive};
use crate::graph::{IntLayer, NodeId};
use crate::layers::{Conv, FloatLayer, Layer};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// The part of full scale that integer inputs have as root mean square where nothing was measured.
const ASSUMED_RMS: f64 = 0.25;

/// Weights of up to this magnitude may saturate.
const CLIPPED: f64 = 15.0;

/// Weights that are not worth a second thread.
const SERIAL: usize = 1 << 15;

/// Products that are compared together.
const LANES: usize = 8;

/// A linear layer with weights.
pub(super) struct Site {
    pub(super) id: NodeId,
    /// The node that it reads.
    pub(super) operand: NodeId,
    /// The largest shift that is of use.
    pub(super) cap: u32,
    /// `2^(bits - 1) - 1`.
    pub(super) largest_weight: f64,
    conv: Option<Conv>,
    channels: usize,
    columns: usize,
    taps: f64,
    /// `[out, columns]`, over taps.
    maxima: Vec<f32>,
    /// For each output channel the part of its largest weight at which weights saturate.
    clips: Vec<f64>,
    /// Per input channel in real units, or one number in integer units.
    squares: Squares,
    /// Means of the inputs per channel in real units, if they were measured.
    pub(super) means: Option<Vec<f64>>,
}

enum Squares {
    Measured(Vec<f64>),
    Assumed(f64),
}

/// What a site asks of one output channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    /// `log2 a`: the least logarithm of the step at shift 0; minus infinity if all weights are zero.
    pub(super) step: f64,
    /// The sum of the mean squares of the integer inputs.
    pub(super) power: f64,
}

impl Site {
    /// All linear layers in topological order.
    pub(super) fn all(
        fitted: &Fitted,
        spreads: Option<&BTreeMap<NodeId, Spread>>,
    ) -> Result<Vec<Self>, QuantError> {
        let mut sites = Vec::new();
        for id in fitted.skeleton.graph.ids() {
            if let Some((fan_in, bits)) = fan_in(fitted, id)? {
                sites.push(Self::new(fitted, id, spreads, fan_in, bits)?);
            }
        }
        Ok(sites)
    }

    fn new(
        fitted: &Fitted,
        id: NodeId,
        spreads: Option<&BTreeMap<NodeId, Spread>>,
        fan_in: usize,
        bits: u32,
    ) -> Result<Self, QuantError> {
        let graph = &fitted.skeleton.graph;
        let (weight, _) = weights_of(fitted, id)?;
        let source = fitted.skeleton.notes[id.0 as usize].source;
        let operand = graph.inputs(id)[0];
        let note = &fitted.skeleton.notes[operand.0 as usize];
        let (channels, out) = (graph.node(operand).shape.channels(), graph.node(id).shape.channels());
        let conv =
            if let Layer::Conv(conv) = fitted.model.graph.node(source).layer { Some(conv) } else { None };
        let columns = conv.map_or(channels, |c| channels / c.groups.count().max(1));
        let taps = (weight.len() / (out * columns).max(1)).max(1);
        let maxima = weight.chunks(taps).map(|w| w.iter().fold(0.0, |m: f32, w| m.max(w.abs()))).collect();
        let spread = spreads.and_then(|s| s.get(&note.source));
        let measured = spread.map(|s| s.mean_square.clone());
        let assumed = ASSUMED_RMS * f64::from(1_u32 << note.magnitude.unwrap_or(8));
        #[expect(clippy::cast_precision_loss, reason = "a kernel has few taps")]
        let taps = (fan_in / columns.max(1)) as f64;
        Ok(Self {
            id,
            operand,
            cap: bits - 1 + super::classes::ceil_log2(fan_in) + 1,
            largest_weight: f64::from((1_u32 << (bits - 1)) - 1),
            conv,
            channels,
            columns,
            taps,
            maxima,
            clips: vec![1.0; out],
            means: spread.map(|s| s.mean.clone()),
            squares: measured.map_or(Squares::Assumed(assumed * assumed), Squares::Measured),
        })
    }

    /// The input channel of column `j` for output channel `o`.
    pub(super) fn input(&self, o: usize, j: usize) -> usize {
        self.conv.map_or(j, |c| c.input_channel(o, j, self.channels))
    }

    /// How many numbers [`Site::needs`] looks at.
    pub(super) fn size(&self) -> usize {
        self.maxima.len()
    }

    /// Channels of the input.
    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    /// Columns of the weight: input channels that meet one output channel.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// Steps of the input's channels, and the sums of mean squares of their integers over the taps.
    fn inputs(&self, steps: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let scales: Vec<f64> = steps.iter().map(|s| s.exp2()).collect();
        let power = |i: usize| match &self.squares {
            _ if scales[i] == 0.0 => 0.0,
            Squares::Measured(squares) => self.taps * squares[i] / (scales[i] * scales[i]),
            Squares::Assumed(square) => self.taps * square,
        };
        let powers = (0..scales.len()).map(power).collect();
        (scales, powers)
    }

    /// Lets the largest weights of few bits saturate where that makes the error of the results smaller,
    /// given the logarithms of the input's steps.
    pub(super) fn clip(&mut self, weight: &[f32], steps: &[f64]) {
        if self.largest_weight > CLIPPED {
            return;
        }
        let (scales, powers) = self.inputs(steps);
        let per = (weight.len() / self.clips.len().max(1)).max(1);
        let taps = (per / self.columns.max(1)).max(1);
        let row = |(o, row): (usize, &[f32])| {
            let weights = row.iter().enumerate().map(|(k, w)| {
                let i = self.input(o, k / taps);
                (f64::from(*w) * scales[i], powers[i])
            });
            let weights: Vec<_> = weights.collect();
            let largest = weights.iter().fold(0.0_f64, |m, (w, _)| m.max(w.abs()));
            let error = |clip: f64| -> f64 {
                let step = positive(largest * clip / self.largest_weight);
                let rounded =
                    |w: f64| (w / step).round().clamp(-self.largest_weight, self.largest_weight) * step;
                weights.iter().map(|(w, power)| power * (w - rounded(*w)).powi(2)).sum()
            };
            let clips = (0..=10).map(|tenths| 1.0 - 0.05 * f64::from(tenths));
            clips
                .map(|clip| (error(clip), clip))
                .min_by(|a, b| a.0.total_cmp(&b.0))
                .map_or(1.0, |(_, clip)| clip)
        };
        self.clips = weight.par_chunks(per).enumerate().map(row).collect();
    }

    /// What each output channel asks, given the logarithms of the input's steps.
    pub(super) fn needs(&self, steps: &[f64]) -> Vec<Need> {
        let (scales, powers) = self.inputs(steps);
        let columns = self.columns.max(1);
        let gathered = |o: usize| {
            let inputs = || (0..columns).map(|j| self.input(o, j));
            (inputs().map(|i| scales[i]).collect::<Vec<_>>(), inputs().map(|i| powers[i]).sum::<f64>())
        };
        // Output channels that share their first input channel share all.
        let mut groups: BTreeMap<usize, (Vec<f64>, f64)> = BTreeMap::new();
        if columns >= LANES {
            for o in 0..self.maxima.len() / columns {
                groups.entry(self.input(o, 0)).or_insert_with(|| gathered(o));
            }
        }
        let row = |(o, row): (usize, &[f32])| {
            let (largest, power) = match groups.get(&self.input(o, 0)) {
                Some((scales, power)) => (greatest_product(row, scales), *power),
                None => row.iter().enumerate().fold((0.0_f64, 0.0), |(largest, power), (j, w)| {
                    let i = self.input(o, j);
                    (largest.max(f64::from(*w) * scales[i]), power + powers[i])
                }),
            };
            Need { step: (largest * self.clips[o] / self.largest_weight).log2(), power }
        };
        if self.maxima.len() < SERIAL {
            return self.maxima.chunks(columns).enumerate().map(row).collect();
        }
        self.maxima.par_chunks(columns).enumerate().map(row).collect()
    }
}

/// The greatest product, 0 at least, of two factors in the same place; in lanes, as a compiler may not reorder.
fn greatest_product(weights: &[f32], scales: &[f64]) -> f64 {
    let greater = |a: f64, b: f64| if b > a { b } else { a };
    let mut lanes = [0.0; LANES];
    let (whole, rest) = weights.as_chunks::<LANES>();
    let (whole_scales, rest_scales) = scales.as_chunks::<LANES>();
    for (weights, scales) in whole.iter().zip(whole_scales) {
        for (lane, (w, scale)) in lanes.iter_mut().zip(weights.iter().zip(scales)) {
            *lane = greater(*lane, f64::from(*w) * scale);
        }
    }
    let rest = rest.iter().zip(rest_scales).map(|(w, scale)| f64::from(*w) * scale);
    lanes.into_iter().chain(rest).fold(0.0, greater)
}

/// Whether the layer has weights.
pub(super) fn is_linear(layer: &IntLayer) -> bool {
    matches!(layer, IntLayer::Conv(_) | IntLayer::Linear(_))
}

/// Weight and bias of a linear node.
pub(super) fn weights_of(fitted: &Fitted, id: NodeId) -> Result<(&[f32], Option<&[f32]>), QuantError> {
    let source = fitted.skeleton.notes[id.0 as usize].source;
    let node = fitted.model.graph.node(source);
    let missing = || QuantError::Weights { node: node.name.clone() };
    let layer = fitted.weights.as_ref().and_then(|w| w.0.get(&source));
    let shapes = fitted.model.graph.input_shapes(source);
    match layer {
        Some(FloatLayer::Linear { weight, bias }) if fits(&node.layer, shapes[0], layer) => {
            Ok((&weight.data, bias.as_deref()))
        }
        _ => Err(missing()),
    }
}
