//! Plans a network: the step of every value, the noise of every activation, and whether it all fits.
//!
//! An accumulator has as large a step as what it reaches leaves room for on the torus; the results of an
//! activation get the step of the accumulators that they enter, so that weights stay the small integers that
//! they are. Where a value enters several, steps are powers of two and weights are multiplied by their ratio.
//! What accumulators reach is proven by the weights where noise stays below [`PROVEN_NOISE`] with it, else seen
//! on calibration images and widened by [`MARGIN`] on both sides: then an image that reaches further is answered
//! wrongly. How likely that is follows from the spread of what each image reaches ([`PlannedLayer::beyond`]), and
//! whoever has weights and image can tell ([`Plan::beyond_reach`]).

use super::TfheError;
use super::input::{InputLayout, Product, Tap};
use super::linear::{Combination, apply};
pub use super::observe::Forecast;
use super::observe::{Seen, forecast, observe};
use super::params::{INPUT_STEP, Variances};
use super::table::{Activation, Table};
use crate::graph::{IntLayer, IntNetwork, IntWeights, Interval, NodeId, evaluate_with, walk};
use crate::tensor::{Shape, Tensor};
use std::collections::BTreeSet;

/// By how much of what calibration images span more is allowed for, on each side.
pub const MARGIN: f64 = 0.25;

/// Fewer calibration images than these tell little of what others reach.
pub const FEW_IMAGES: usize = 16;

/// The largest standard deviation of the noise of an activation, in steps of its result.
pub const MAX_NOISE: f64 = 0.5;

/// The largest standard deviation of noise, in steps of the result, with which what an accumulator reaches is
/// proven rather than seen.
pub const PROVEN_NOISE: f64 = 0.125;

/// The most values: pixels and activations.
pub const MAX_VALUES: usize = 1 << 20;

/// The most bits of an accumulator.
pub const MAX_BITS: u32 = 30;

/// What part of the torus accumulators leave to noise.
const GUARD: f64 = 0.04;

/// Values that come from one place: the input, or an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The number of its first value.
    pub first: u32,
    /// How many values.
    pub count: u32,
    /// One unit on the torus.
    pub step: u64,
    /// Whether it is encrypted afresh.
    pub fresh: bool,
}

/// A result before its activation: `terms` in units of the sources, `bias` on the torus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Sources with their weights.
    pub terms: Vec<(u32, i64)>,
    /// The constant.
    pub bias: u64,
}

/// An activation with the linear layers before it, or the network's output.
#[derive(Clone, Debug)]
pub struct PlannedLayer {
    /// The activation's name, or that of the last layer.
    pub name: String,
    /// The shape of its result.
    pub shape: Shape,
    /// One unit of the accumulator on the torus.
    pub step: u64,
    /// The results.
    pub rows: Vec<Row>,
    /// The same as products of polynomials, if it is a convolution of the input.
    pub product: Option<Product>,
    /// What bootstraps look up; none for the output.
    pub table: Option<Table>,
    /// The largest |w|_2 of a result, of its weights on activations.
    pub norm: f64,
    /// What the accumulator is taken to reach.
    pub reach: (i64, i64),
    /// Whether no image reaches further.
    pub proven: bool,
    /// The node whose value is the accumulator.
    pub node: NodeId,
    /// Between which accumulators it is answered right, but for noise: `reach` and what room it leaves.
    pub right: (f64, f64),
    /// Probability that an image like the calibration ones leaves `right`; 0 if proven.
    pub beyond: f64,
    /// Standard deviation of the noise of an accumulator, in its units, key and modulus switch included where
    /// it is bootstrapped; the largest of the layer.
    pub noise: f64,
    /// The same in steps of the activation's result.
    pub noise_steps: f64,
    /// What noise changes, by the accumulators of calibration images, or spread evenly over the ramp.
    pub forecast: Forecast,
}

impl PlannedLayer {
    /// Products of a ciphertext with a polynomial of weights.
    #[must_use]
    pub fn products(&self) -> usize {
        let ciphertexts = |taps: &Vec<Tap>| {
            let used: BTreeSet<usize> = taps.iter().map(|tap| tap.ciphertext).collect();
            used.len()
        };
        self.product.as_ref().map_or(0, |product| product.taps.iter().map(ciphertexts).sum())
    }
}

/// A network that runs in this mode. The server's: it has the weights.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The model's name.
    pub model: String,
    /// How the input lies in ciphertexts.
    pub input: InputLayout,
    /// The input, then each activation.
    pub sources: Vec<Source>,
    /// The activations in order, the output last.
    pub layers: Vec<PlannedLayer>,
    /// One step of the output, in the model's units.
    pub output_scale: f64,
    /// Whether what an accumulator reaches was seen on images, rather than proven.
    pub seen: bool,
    /// On how many images.
    pub images: usize,
}

/// An activation, or the output, before steps are known.
struct Sink {
    /// The node whose value is the accumulator.
    node: NodeId,
    name: String,
    shape: Shape,
    rows: Vec<Combination>,
    activation: Option<Activation>,
}

impl Plan {
    /// Plans `network`; `images`, normalised, show what its accumulators reach.
    ///
    /// # Errors
    /// If a layer is not for this mode, or does not fit: it is named, with the bound.
    pub fn new(
        network: &IntNetwork,
        weights: &IntWeights,
        images: &[Tensor<f32>],
    ) -> Result<Self, TfheError> {
        let (sinks, mut sources) = sinks(network, weights)?;
        let nodes: Vec<NodeId> = sinks.iter().map(|sink| sink.node).collect();
        let seen = observe(network, weights, images, &nodes)?;
        let used: Vec<BTreeSet<usize>> = sinks.iter().map(|sink| used(sink, &sources)).collect();
        let shared = (1..sources.len()).any(|s| used.iter().filter(|used| used.contains(&s)).count() > 1);
        let reach = |sink: &Sink| reach(sink, proven(network, sink.node), seen.get(&sink.node), shared);
        let reaches: Vec<Reach> = sinks.iter().map(reach).collect();
        let steps = steps(&sinks, &reaches, &used, shared, &mut sources)?;
        let input = input_layout(network);
        let mut layers = Vec::with_capacity(sinks.len());
        for (((index, sink), reach), step) in sinks.into_iter().enumerate().zip(reaches).zip(steps) {
            let step_out = sources.get(index + 1).map_or(0, |source| source.step);
            let seen = seen.get(&sink.node);
            let product = product(network, weights, sink.node, (&input, step));
            layers.push(layer(sink, product, reach, (step, step_out), &sources, seen)?);
        }
        Ok(Self {
            model: network.header.name.clone(),
            input,
            sources,
            seen: layers.iter().any(|layer| !layer.proven),
            images: images.len(),
            layers,
            output_scale: network.output_scale,
        })
    }

    /// How many programmable bootstraps an inference takes.
    #[must_use]
    pub fn bootstraps(&self) -> usize {
        self.layers.iter().filter(|layer| layer.table.is_some()).map(|layer| layer.rows.len()).sum()
    }

    /// The output.
    #[must_use]
    pub fn output(&self) -> Option<&PlannedLayer> {
        self.layers.last()
    }

    /// How many activations of an inference noise is expected to change.
    #[must_use]
    pub fn changed(&self) -> f64 {
        let bootstrapped = self.layers.iter().filter(|layer| layer.table.is_some());
        bootstrapped.map(|layer| layer.rows.len() as f64 * layer.forecast.changed).sum()
    }

    /// The probability that an inference has an activation that is not even a neighbour of the exact one.
    #[must_use]
    pub fn far(&self) -> f64 {
        let bootstrapped = self.layers.iter().filter(|layer| layer.table.is_some());
        let none = bootstrapped.map(|layer| layer.rows.len() as f64 * (-layer.forecast.far).ln_1p());
        -none.sum::<f64>().exp_m1()
    }
}

impl Plan {
    /// The probability that an image like the calibration ones reaches beyond what some layer answers right.
    #[must_use]
    pub fn beyond(&self) -> f64 {
        let within: f64 = self.layers.iter().map(|layer| 1.0 - layer.beyond).product();
        1.0 - within
    }

    /// The layers that answer this quantised `image` wrongly, because their accumulators reach further than
    /// planned for.
    ///
    /// # Errors
    /// If the image has another shape.
    pub fn beyond_reach(
        &self,
        network: &IntNetwork,
        weights: &IntWeights,
        image: &Tensor<i64>,
    ) -> Result<Vec<&str>, TfheError> {
        let mut names = Vec::new();
        evaluate_with(network, weights, image, &mut |id, value| {
            let beyond = |layer: &&PlannedLayer| {
                let right = layer.right.0..=layer.right.1;
                layer.node == id && value.data.iter().any(|x| !right.contains(&(*x as f64)))
            };
            names.extend(self.layers.iter().filter(beyond).map(|layer| layer.name.as_str()));
        })?;
        Ok(names)
    }
}

/// Walks the graph; gives the activations and the output, and where values come from.
fn sinks(network: &IntNetwork, weights: &IntWeights) -> Result<(Vec<Sink>, Vec<Source>), TfheError> {
    let graph = &network.graph;
    let (mut sinks, mut sources): (Vec<Sink>, Vec<Source>) = (Vec::new(), Vec::new());
    let output = walk(graph, |id, operands: &[&Vec<Combination>]| {
        let node = graph.node(id);
        let activation = match &node.layer {
            IntLayer::Input(_) => None,
            IntLayer::Requant(requant) => Some(Activation::Clamp(*requant)),
            IntLayer::Poly { a, b, c, requant } => {
                Some(Activation::Poly { a: *a, b: *b, c: *c, requant: *requant })
            }
            IntLayer::Conv(_)
            | IntLayer::Linear(_)
            | IntLayer::Add { .. }
            | IntLayer::Concat { .. }
            | IntLayer::Shuffle(_)
            | IntLayer::Subsample(_)
            | IntLayer::PadChannels(_)
            | IntLayer::SumPool(_)
            | IntLayer::MaxPool(_)
            | IntLayer::Flatten => {
                let shapes = graph.input_shapes(id);
                let pairs = shapes.into_iter().zip(operands);
                let operands: Vec<_> = pairs.map(|(shape, values)| (shape, values.as_slice())).collect();
                return apply((&node.name, &node.layer, &node.shape), &operands, weights.0.get(&id));
            }
        };
        let elements = node.shape.elements();
        let first = sources.last().map_or(0, |last| last.first + last.count);
        let found = (first as usize).saturating_add(elements);
        let count = u32::try_from(elements).ok().filter(|_| found <= MAX_VALUES);
        let count = count.ok_or_else(|| TfheError::Values { layer: node.name.clone(), found })?;
        let fresh = activation.is_none();
        sources.push(Source { first, count, step: INPUT_STEP, fresh });
        if let (Some(rows), Some(&operand)) = (operands.first(), graph.inputs(id).first()) {
            let (name, shape) = (node.name.clone(), node.shape.clone());
            sinks.push(Sink { node: operand, name, shape, rows: (*rows).clone(), activation });
        }
        Ok((first..first + count).map(Combination::of).collect())
    })?;
    let node = graph.output();
    let (name, shape) = (graph.node(node).name.clone(), graph.node(node).shape.clone());
    let rows = output.ok_or_else(|| TfheError::Weights { layer: name.clone() })?;
    sinks.push(Sink { node, name, shape, rows, activation: None });
    Ok((sinks, sources))
}

/// What an accumulator is taken to reach.
#[derive(Clone, Copy)]
struct Reach {
    ends: (i64, i64),
    proven: bool,
}

/// What the weights let the value of `node` reach.
fn proven(network: &IntNetwork, node: NodeId) -> (i64, i64) {
    let Interval { lo, hi } =
        network.intervals.get(node.0 as usize).copied().unwrap_or(Interval { lo: 0, hi: 0 });
    (lo, hi)
}

/// What the accumulator of `sink` is taken to reach, of what is `proven` and what was `seen`.
fn reach(sink: &Sink, proven: (i64, i64), seen: Option<&Seen>, shared: bool) -> Reach {
    let all = Reach { ends: proven, proven: true };
    let Some((lo, hi)) = seen.map(Seen::range) else { return all };
    #[expect(clippy::cast_possible_truncation, reason = "a quarter of a span below 2^63, saturating")]
    let margin = ((hi - lo) as f64 * MARGIN).ceil() as i64 + 1;
    let ends = ((lo - margin).max(proven.0), (hi + margin).min(proven.1));
    let seen = Reach { ends, proven: ends == proven };
    let (Some(step), Some(wide)) = (step(sink, seen, shared), step(sink, all, shared)) else { return seen };
    // Where activations are shared, a smaller step costs their other accumulators room.
    let fits = if shared { wide == step } else { noise(sink, wide, proven) <= PROVEN_NOISE };
    if fits { all } else { seen }
}

/// Standard deviation of the noise in steps of the result, if activations that enter have the same `step`.
fn noise(sink: &Sink, step: u64, reach: (i64, i64)) -> f64 {
    let variances = Variances::new();
    let square = |row: &Combination| row.terms.iter().map(|&(_, w)| (w as f64).powi(2)).sum::<f64>();
    let norm = sink.rows.iter().map(square).fold(0.0, f64::max);
    let (switches, a_step) = sink.activation.map_or((0.0, 1.0), |activation| {
        (variances.key_switch + variances.modulus_switch, activation.units_a_step(reach))
    });
    (norm * variances.bootstrap + switches).sqrt() * 2_f64.powi(64) / step as f64 / a_step
}

/// The sources that a sink reads.
fn used(sink: &Sink, sources: &[Source]) -> BTreeSet<usize> {
    let numbers = sink.rows.iter().flat_map(|row| row.terms.iter().map(|(source, _)| *source));
    numbers.map(|number| source_of(sources, number)).collect()
}

fn source_of(sources: &[Source], number: u32) -> usize {
    sources.partition_point(|source| source.first <= number).saturating_sub(1)
}

/// The whole turn of the torus, in units of the accumulator, that its table needs.
fn turn(activation: Option<Activation>, (lo, hi): (i64, i64)) -> f64 {
    let span = (hi - lo) as f64;
    let units = match activation {
        // Outputs are decoded as the integers around 0, not around the middle of what they reach.
        None => 2.0 * lo.unsigned_abs().max(hi.unsigned_abs()) as f64 + 2.0,
        Some(Activation::Poly { .. }) => 2.0 * (span + 2.0),
        Some(clamp @ Activation::Clamp(_)) => {
            let (from, to) = clamp.ramp((lo, hi));
            let centre = (from as f64 + to as f64 - 1.0) / 2.0;
            2.0 * (centre - lo as f64).max(hi as f64 - centre) + (to - from) as f64 + 2.0
        }
    };
    // A value that is always the same has all the room, but steps stay well below a turn.
    (units / (1.0 - GUARD)).max(8.0)
}

/// The step of the accumulator of `sink`; none if it has more than [`MAX_BITS`]. A power of two where steps must
/// divide each other, and for a proven output: the client gets the step, which shall not tell sums of weights.
fn step(sink: &Sink, reach: Reach, shared: bool) -> Option<u64> {
    let units = turn(sink.activation, reach.ends);
    if units.log2() > f64::from(MAX_BITS) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "2^34 to 2^61")]
    let step = (2_f64.powi(64) / units) as u64;
    let told = sink.activation.is_none() && reach.proven;
    let step = if shared || told { 1 << step.ilog2() } else { step };
    Some(step / INPUT_STEP * INPUT_STEP)
}

/// The step of each sink's accumulator; sets those of the sources.
fn steps(
    sinks: &[Sink],
    reaches: &[Reach],
    used: &[BTreeSet<usize>],
    shared: bool,
    sources: &mut [Source],
) -> Result<Vec<u64>, TfheError> {
    let mut steps = Vec::with_capacity(sinks.len());
    for (sink, &reach) in sinks.iter().zip(reaches) {
        let bits = turn(sink.activation, reach.ends).log2();
        let wide = || TfheError::Wide { layer: sink.name.clone(), bits };
        steps.push(step(sink, reach, shared).ok_or_else(wide)?);
    }
    for (index, source) in sources.iter_mut().enumerate().filter(|(_, source)| !source.fresh) {
        let users = used.iter().zip(&steps).filter(|(used, _)| used.contains(&index));
        source.step = users.map(|(_, step)| *step).min().unwrap_or(1 << 56);
    }
    Ok(steps)
}

/// How the input of `network` lies in ciphertexts: by its shape and the convolutions that read it alone.
#[must_use]
pub fn input_layout(network: &IntNetwork) -> InputLayout {
    InputLayout::new(&network.graph.node(NodeId(0)).shape, frame(network))
}

/// The widest padding of the convolutions that read the input.
fn frame(network: &IntNetwork) -> (usize, usize) {
    let users = network.graph.users(NodeId(0)).into_iter();
    let pads = users.filter_map(|id| {
        let IntLayer::Conv(conv) = &network.graph.node(id).layer else { return None };
        Some((conv.pad.h, conv.pad.w))
    });
    pads.fold((0, 0), |(h, w), pad| (h.max(pad.0), w.max(pad.1)))
}

/// The accumulator `node` as a product of polynomials, if it is a convolution of the input.
fn product(
    network: &IntNetwork,
    weights: &IntWeights,
    node: NodeId,
    (input, step): (&InputLayout, u64),
) -> Option<Product> {
    let graph = &network.graph;
    let (IntLayer::Conv(conv), [NodeId(0)]) = (&graph.node(node).layer, graph.inputs(node).as_slice()) else {
        return None;
    };
    input.product(conv, weights.0.get(&node)?, i64::try_from(step / INPUT_STEP).ok()?)
}

/// The layer with its steps; refuses it if its noise is too much.
fn layer(
    sink: Sink,
    product: Option<Product>,
    Reach { ends: reach, proven }: Reach,
    (step, step_out): (u64, u64),
    sources: &[Source],
    seen: Option<&Seen>,
) -> Result<PlannedLayer, TfheError> {
    let variances = Variances::new();
    let (mut norm, mut largest, mut sum) = (0.0_f64, 0.0_f64, 0.0_f64);
    let mut rows = Vec::with_capacity(sink.rows.len());
    for row in &sink.rows {
        let (mut own, mut variance) = (0.0, 0.0);
        let mut terms = Vec::with_capacity(row.terms.len());
        for &(number, weight) in &row.terms {
            let Some(source) = sources.get(source_of(sources, number)) else { continue };
            let factor = i64::try_from(step / source.step).unwrap_or(i64::MAX).wrapping_mul(weight);
            let added = if source.fresh { variances.fresh } else { variances.bootstrap };
            variance += (factor as f64).powi(2) * added;
            own += if source.fresh { 0.0 } else { (weight as f64).powi(2) };
            terms.push((number, factor));
        }
        norm = norm.max(own.sqrt());
        largest = largest.max(variance);
        sum += variance;
        #[expect(clippy::cast_sign_loss, reason = "the torus is the residues mod 2^64")]
        let bias = (row.bias as u64).wrapping_mul(step);
        rows.push(Row { terms, bias });
    }
    let mean = sum / rows.len().max(1) as f64;
    let unit = 2_f64.powi(64) / step as f64;
    let switches = variances.key_switch + variances.modulus_switch;
    let switches = if sink.activation.is_some() { switches } else { 0.0 };
    let (noise, mean) = ((largest + switches).sqrt() * unit, (mean + switches).sqrt() * unit);
    let (mut noise_steps, mut told) = (noise, Forecast::default());
    let mut table = None;
    let right = right(sink.activation, reach, unit);
    if let Some(activation) = sink.activation {
        let a_step = activation.units_a_step(reach);
        noise_steps = noise / a_step;
        if noise_steps > MAX_NOISE {
            return Err(refusal(&sink, norm, (noise_steps, largest), unit / a_step));
        }
        let (from, to) = activation.ramp(reach);
        let even: Vec<i64> =
            (from..=to).step_by(usize::try_from((to - from) / 1024 + 1).unwrap_or(1)).collect();
        let accumulators = seen.map_or(even.as_slice(), |seen| seen.values.as_slice());
        told = forecast(activation, accumulators, mean, right);
        table = Some(Table::new(activation, reach, step, step_out));
    }
    let beyond = seen.filter(|_| !proven).map_or(0.0, |seen| seen.beyond(right));
    let Sink { name, shape, node, .. } = sink;
    let forecast = told;
    Ok(PlannedLayer {
        node,
        right,
        beyond,
        name,
        shape,
        step,
        rows,
        product,
        table,
        norm,
        reach,
        proven,
        noise,
        noise_steps,
        forecast,
    })
}

/// Between which accumulators a table, or the decoding of an output, is right on a turn of `turn` units.
fn right(activation: Option<Activation>, reach: (i64, i64), turn: f64) -> (f64, f64) {
    let (centre, half) = match activation {
        None => (0.0, turn / 2.0),
        Some(clamp @ Activation::Clamp(_)) => {
            let (from, to) = clamp.ramp(reach);
            ((from as f64 + to as f64 - 1.0) / 2.0, (turn - (to - from) as f64) / 2.0)
        }
        Some(Activation::Poly { .. }) => return (reach.0 as f64, reach.1 as f64),
    };
    (centre - half, centre + half)
}

/// Says which bound a noisy layer breaks: `noise` in steps with the variance from weights, a turn of `steps`
/// steps.
fn refusal(sink: &Sink, norm: f64, (noise, weighted): (f64, f64), steps: f64) -> TfheError {
    let variances = Variances::new();
    let switches = variances.key_switch + variances.modulus_switch;
    let room = (MAX_NOISE / steps).powi(2) - switches;
    let layer = sink.name.clone();
    if room <= 0.0 || norm == 0.0 {
        return TfheError::Bits { layer, steps, limit: MAX_NOISE / switches.sqrt() };
    }
    TfheError::Norm { layer, norm, limit: norm * (room / weighted).sqrt(), noise }
}
