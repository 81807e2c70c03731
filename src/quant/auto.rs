//! The fewest bits within a budget of accuracy, for every place of the text on its own.
//!
//! A place is what one call of the text can say: the weight bits of the linear layers that it makes, or the
//! bits of the values that it clamps; layers of a block that is called several times share theirs. First all
//! places go down together, then weights alone, then activations alone, then each place by itself, those with
//! the largest accumulators first: the largest of all decides the plaintext prime. A step is kept if the
//! quantised network still answers well enough on the images. Nothing is random.

use super::calibrate::Spread;
use super::rescale::{self, Fitted};
use super::site::is_linear;
use super::{FloatWeights, QuantError, Quantised, Statistics, float_eval, with_weights};
use crate::diag::Span;
use crate::graph::{
    IntNetwork, IntWeights, Model, NodeId, QuantAttributes, evaluate, quantise_input, verify,
};
use crate::layers::Layer;
use crate::tensor::Tensor;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Fewer bits are not tried.
const LEAST: u32 = 4;
const TOLERANCE: f64 = 1e-9;

/// What a choice of bits is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Judges<'a> {
    /// Normalised images.
    pub images: &'a [Tensor<f32>],
    /// Their classes; without them the float network's answers count as right.
    pub labels: Option<&'a [usize]>,
}

/// What bits stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BitsOf {
    /// The weights of linear layers.
    Weights,
    /// The values that a layer gives.
    Activations,
}

/// Bits of one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceBits {
    /// What they stand for.
    pub of: BitsOf,
    /// The layers of the model that have them.
    pub nodes: Vec<NodeId>,
    /// Before.
    pub before: u32,
    /// As found.
    pub bits: u32,
}

/// The outcome of a search.
#[derive(Clone, Debug)]
pub struct AutoBits {
    /// The model with the bits of every place written at its layers.
    pub model: Model,
    /// All places: weights, then activations, each in the order of the model.
    pub places: Vec<PlaceBits>,
    /// Percent of the images that the float network answers right.
    pub float: f64,
    /// Percent that the network answers right with the bits before.
    pub before: f64,
    /// Percent with the bits found.
    pub after: f64,
    /// Whether the bits found are within the budget; else they are those before.
    pub within: bool,
    /// The largest accumulator before and after.
    pub largest_accumulator: (u64, u64),
    /// Networks that were tried.
    pub tried: usize,
}

/// Searches the fewest bits, down to 4, with which `model` (batch norms folded) loses at most `max_drop`
/// points on `judges` against the float network, with ranges as `measured`. `progress` hears of every network tried: its number and
/// the percentage of right answers.
///
/// # Errors
/// If the model cannot be quantised with the bits it has.
pub fn auto_bits(
    model: &Model,
    weights: &FloatWeights,
    measured: Option<&Statistics>,
    judges: Judges<'_>,
    max_drop: f64,
    progress: &mut dyn FnMut(usize, f64),
) -> Result<AutoBits, QuantError> {
    let fitted = rescale::fit(model, Some(weights))?;
    let spreads = measured.map(|m| m.of(model, weights, &fitted.model)).transpose()?;
    let answers =
        judges.images.par_iter().map(|image| Ok(first_largest(&float_eval(model, weights, image)?.data)));
    let answers: Vec<usize> = answers.collect::<Result<_, QuantError>>()?;
    let wanted = judges.labels.unwrap_or(&answers);
    let mut trial = Trial { weights, spreads, images: judges.images, wanted, tried: 0, progress };
    let places = places(&fitted, model);
    let float = percent(&answers, wanted);
    let (before, quantised) = trial.score(model)?;
    let start = quantised.network.largest_accumulator();
    let mut found = Found {
        model: model.clone(),
        places,
        score: before,
        network: quantised.network,
        need: float - max_drop,
    };
    let within = found.score + TOLERANCE >= found.need;
    if within {
        found.together(&mut trial)?;
        found.each(&mut trial)?;
    }
    let Found { model, places, score, network, .. } = found;
    let largest_accumulator = (start, network.largest_accumulator());
    Ok(AutoBits {
        model,
        places,
        float,
        before,
        after: score,
        within,
        largest_accumulator,
        tried: trial.tried,
    })
}

/// What a trial needs beside the model.
struct Trial<'a> {
    weights: &'a FloatWeights,
    spreads: Option<BTreeMap<NodeId, Spread>>,
    images: &'a [Tensor<f32>],
    wanted: &'a [usize],
    tried: usize,
    progress: &'a mut dyn FnMut(usize, f64),
}

impl Trial<'_> {
    /// Percent of right answers.
    fn score(&mut self, model: &Model) -> Result<(f64, Quantised), QuantError> {
        let mut fitted = rescale::fit(model, Some(self.weights))?;
        let quantised = with_weights(&mut fitted, self.spreads.as_ref())?;
        verify(&quantised.network)?;
        let none = IntWeights::default();
        let weights = quantised.weights.as_ref().unwrap_or(&none);
        let answer = |image| {
            let input = quantise_input(&quantised.network, image)?;
            Ok(first_largest(&evaluate(&quantised.network, weights, &input)?.data))
        };
        let answers: Vec<usize> = self.images.par_iter().map(answer).collect::<Result<_, QuantError>>()?;
        let score = percent(&answers, self.wanted);
        self.tried += 1;
        (self.progress)(self.tried, score);
        Ok((score, quantised))
    }
}

/// The best choice so far.
struct Found {
    model: Model,
    places: Vec<PlaceBits>,
    score: f64,
    network: IntNetwork,
    /// The least score.
    need: f64,
}

impl Found {
    /// Takes the bits that `choose` gives each place, if the score allows; whether it did.
    fn attempt(
        &mut self,
        trial: &mut Trial<'_>,
        choose: impl Fn(usize, &PlaceBits) -> u32,
    ) -> Result<bool, QuantError> {
        let bits: Vec<u32> = self.places.iter().enumerate().map(|(i, place)| choose(i, place)).collect();
        if bits.iter().zip(&self.places).all(|(bits, place)| *bits == place.bits) {
            return Ok(false);
        }
        let mut model = self.model.clone();
        for (place, bits) in self.places.iter().zip(&bits) {
            place.nodes.iter().for_each(|id| place.of.write(&mut model.graph.node_mut(*id).quant, *bits));
        }
        let (score, quantised) = match trial.score(&model) {
            Ok(scored) => scored,
            // Scales that no longer fit are a reason to keep the bits.
            Err(QuantError::Unsolvable { .. } | QuantError::Overflow { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        if score + TOLERANCE < self.need {
            return Ok(false);
        }
        self.places.iter_mut().zip(bits).for_each(|(place, bits)| place.bits = bits);
        (self.model, self.score, self.network) = (model, score, quantised.network);
        Ok(true)
    }

    /// All places down to one number of bits; then weights, then activations.
    fn together(&mut self, trial: &mut Trial<'_>) -> Result<(), QuantError> {
        for some in [&[BitsOf::Weights, BitsOf::Activations][..], &[BitsOf::Weights], &[BitsOf::Activations]]
        {
            while let Some(most) = self.most(some).filter(|most| *most > LEAST) {
                let lower = |_, place: &PlaceBits| {
                    if some.contains(&place.of) { place.bits.min(most - 1) } else { place.bits }
                };
                if !self.attempt(trial, lower)? {
                    break;
                }
            }
        }
        Ok(())
    }

    fn most(&self, some: &[BitsOf]) -> Option<u32> {
        self.places.iter().filter(|place| some.contains(&place.of)).map(|place| place.bits).max()
    }

    /// Every place by itself as far as it goes, largest accumulators first.
    fn each(&mut self, trial: &mut Trial<'_>) -> Result<(), QuantError> {
        let mut order: Vec<usize> = (0..self.places.len()).collect();
        let bounds = self.bounds();
        order.sort_by_key(|i| (std::cmp::Reverse(bounds[*i]), *i));
        for i in order {
            while self.places[i].bits > LEAST
                && self.attempt(trial, |j, place| place.bits - u32::from(i == j))?
            {}
        }
        Ok(())
    }

    /// The largest accumulator that each place enters.
    fn bounds(&self) -> Vec<u64> {
        let graph = &self.network.graph;
        let mut largest: BTreeMap<&str, u64> = BTreeMap::new();
        for id in graph.ids() {
            let magnitude = self.network.intervals[id.0 as usize].magnitude();
            let readers = graph.inputs(id).into_iter().map(|operand| &graph.node(operand).name);
            for name in readers.chain([&graph.node(id).name]) {
                let name = name.strip_suffix(".requant").unwrap_or(name);
                let entry = largest.entry(name).or_default();
                *entry = magnitude.max(*entry);
            }
        }
        let entered = |id: &NodeId| largest.get(self.model.graph.node(*id).name.as_str());
        let bound = |place: &PlaceBits| place.nodes.iter().filter_map(entered).max().copied();
        self.places.iter().map(|place| bound(place).unwrap_or(0)).collect()
    }
}

impl BitsOf {
    fn write(self, quant: &mut QuantAttributes, bits: u32) {
        match self {
            Self::Weights => quant.weight_bits = Some(bits),
            Self::Activations => quant.bits = Some(bits),
        }
    }
}

/// The places of a model. Values within a built-in block have none: its call says the bits of its end only.
fn places(fitted: &Fitted, model: &Model) -> Vec<PlaceBits> {
    let names: BTreeMap<&str, NodeId> =
        model.graph.ids().map(|id| (model.graph.node(id).name.as_str(), id)).collect();
    let several: BTreeMap<Span, bool> = model.graph.ids().fold(BTreeMap::new(), |mut spans, id| {
        let node = model.graph.node(id);
        *spans.entry(node.span).or_default() |= matches!(node.layer, Layer::Conv(_));
        spans
    });
    let mut groups: BTreeMap<(BitsOf, Span, u32), PlaceBits> = BTreeMap::new();
    for (id, note) in fitted.skeleton.graph.ids().zip(&fitted.skeleton.notes) {
        let source = &fitted.model.graph.node(note.source).name;
        let Some(&source) = names.get(source.as_str()) else { continue };
        let node = model.graph.node(source);
        let (of, before) = if is_linear(&fitted.skeleton.graph.node(id).layer) {
            (BitsOf::Weights, node.quant.weight_bits.unwrap_or(model.header.weight_bits))
        } else if let Some(clamp) = note.clamp {
            (BitsOf::Activations, clamp.bits)
        } else {
            continue;
        };
        let inner = of == BitsOf::Activations
            && node.span != Span::default()
            && several[&node.span]
            && !matches!(node.layer, Layer::Conv(_) | Layer::Add);
        if inner {
            continue;
        }
        // A model that no text says has a place for each layer.
        let alone = if node.span == Span::default() { source.0 } else { 0 };
        let place = groups.entry((of, node.span, alone)).or_insert_with(|| PlaceBits {
            of,
            nodes: Vec::new(),
            before,
            bits: before,
        });
        place.nodes.push(source);
        place.before = place.before.max(before);
        place.bits = place.before;
    }
    let mut places: Vec<_> = groups.into_values().collect();
    places.sort_by_key(|place| (place.of, place.nodes.first().copied()));
    places
}

fn first_largest<T: PartialOrd + Copy>(values: &[T]) -> usize {
    let mut best = 0;
    for (i, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = i;
        }
    }
    best
}

#[expect(clippy::cast_precision_loss, reason = "counts of images are far below 2^52")]
fn percent(answers: &[usize], wanted: &[usize]) -> f64 {
    let right = answers.iter().zip(wanted).filter(|(answer, wanted)| answer == wanted).count();
    100.0 * right as f64 / answers.len().max(1) as f64
}
