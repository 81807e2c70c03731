//! From floats to small integers: weights, ranges, scales, the quantised network and its bounds.
//!
//! Every channel of every tensor has one step (`real = step * integer`), and shifts are the only factors
//! between steps: a layer's weights absorb the rest. The order of events: where values are requantised
//! (`skeleton`), which steps depend on each other (`classes`, `rescale`), how far values reach
//! (`calibrate`, `ranges`), steps and shifts of least error (`solve`, `search`), the network with
//! them (`emit`), integer weights (`round`), bounds of every value (`bounds`). Knows no ciphertexts.

mod auto;
mod bounds;
mod calibrate;
mod classes;
mod clip;
mod compare;
mod emit;
mod float;
mod loss;
mod measured;
mod random;
mod ranges;
mod rescale;
mod round;
mod search;
mod site;
mod skeleton;
mod solve;

pub use auto::{AutoBits, BitsOf, Judges, PlaceBits, auto_bits};
pub use clip::{Clipped, InputRange};
pub use compare::{LayerError, layer_errors};
pub use float::{FloatWeights, float_eval, float_eval_with};
pub use loss::LostBits;
pub use measured::{Statistics, StatisticsFault};
pub use random::{RandomWeights, random_images};

use crate::graph::{GraphError, IntNetwork, IntWeights, Model, NodeId, ReferenceError, verify};
use crate::tensor::{Shape, Tensor};
use crate::weights::WeightError;
pub(crate) use bounds::rounding_term;
use bounds::{Assumption, Knowledge};
use calibrate::Spread;
use rescale::Fitted;
use site::Site;
use solve::Solution;
use std::collections::BTreeMap;

/// A quantised network, with its weights if the model had some.
#[derive(Clone, Debug)]
pub struct Quantised {
    /// The network: public to both parties.
    pub network: IntNetwork,
    /// Its weights: the server's.
    pub weights: Option<IntWeights>,
    /// What each node's integers stand for; empty without weights.
    pub meaning: Vec<Meaning>,
    /// Values that keep few of their bits.
    pub lost: Vec<LostBits>,
}

/// What a node's integers stand for.
#[derive(Clone, Debug, PartialEq)]
pub struct Meaning {
    /// The layer of the model whose value the node approximates.
    pub layer: String,
    /// The step of each channel, in real units.
    pub steps: Vec<f64>,
}

/// Quantises a model whose batch normalisations are folded.
///
/// With weights, ranges come from the file's attributes, else from `calibration` (normalised images). Without
/// weights the structure is the same, but shifts and bounds are assumed from bit widths and fan-in, and
/// steps are meaningless.
///
/// # Errors
/// If a range is missing, the weights do not fit, a bit width is not 2..=8, or a value could exceed 2^62;
/// the layer is named.
pub fn quantise(
    model: &Model,
    weights: Option<&FloatWeights>,
    calibration: Option<&[Tensor<f32>]>,
) -> Result<Quantised, QuantError> {
    let images = calibration.filter(|images| !images.is_empty());
    let measured = weights.zip(images).map(|(weights, images)| Statistics::measure(model, weights, images));
    quantise_measured(model, weights, measured.transpose()?.as_ref())
}

/// As [`quantise`], with ranges that were measured before.
///
/// # Errors
/// As [`quantise`]; also if they were measured with other weights, or on values of other shapes.
pub fn quantise_measured(
    model: &Model,
    weights: Option<&FloatWeights>,
    measured: Option<&Statistics>,
) -> Result<Quantised, QuantError> {
    let mut fitted = rescale::fit(model, weights)?;
    let quantised = if let Some(weights) = weights {
        let spreads = measured.map(|m| m.of(model, weights, &fitted.model)).transpose()?;
        with_weights(&mut fitted, spreads.as_ref())?
    } else {
        without_weights(&mut fitted)?
    };
    verify(&quantised.network)?;
    Ok(quantised)
}

fn with_weights(
    fitted: &mut Fitted,
    spreads: Option<&BTreeMap<NodeId, Spread>>,
) -> Result<Quantised, QuantError> {
    let ranges = ranges::ranges(fitted, spreads)?;
    let mut sites = Site::all(fitted, spreads)?;
    let solution = solve::solve(fitted, &mut sites, &ranges)?;
    let rho = emit::settle(fitted, &solution.shifts, &solution.finer);
    emit::fill(fitted, &solution, &rho)?;
    let weights = round::weights(fitted, &solution, &rho, &sites)?;
    let mut network = network(fitted, &solution, &rho);
    bounds::bound(&mut network, Knowledge::Weights(&weights))?;
    let meaning = meaning(fitted, &solution, &rho);
    let lost = loss::lost_bits(fitted, &solution, &rho, &ranges);
    Ok(Quantised { network, weights: Some(weights), meaning, lost })
}

fn without_weights(fitted: &mut Fitted) -> Result<Quantised, QuantError> {
    let solution = solve::assume(fitted)?;
    let rho = emit::settle(fitted, &solution.shifts, &solution.finer);
    emit::fill(fitted, &solution, &rho)?;
    let mut assumptions = vec![Assumption::default(); rho.len()];
    for id in fitted.skeleton.graph.ids() {
        let Some((fan_in, bits)) = solve::fan_in(fitted, id)? else { continue };
        let largest_weight = (1_i64 << (bits - 1)) - 1;
        let shift = solution.shifts.get(&id).copied().unwrap_or(0);
        let top = (1_i64 << fitted.model.header.activation_bits.min(8)) - 1;
        assumptions[id.0 as usize] = Assumption {
            row: i64::try_from(fan_in).unwrap_or(i64::MAX).saturating_mul(largest_weight),
            bias: if emit::biased(fitted, id) { top << shift } else { 0 },
        };
    }
    let mut network = network(fitted, &solution, &rho);
    bounds::bound(&mut network, Knowledge::Assumed(&assumptions))?;
    Ok(Quantised { network, weights: None, meaning: Vec::new(), lost: Vec::new() })
}

fn meaning(fitted: &Fitted, solution: &Solution, rho: &[i32]) -> Vec<Meaning> {
    let graph = &fitted.skeleton.graph;
    let of = |id: NodeId| Meaning {
        layer: fitted.model.graph.node(fitted.skeleton.notes[id.0 as usize].source).name.clone(),
        steps: (0..graph.node(id).shape.channels())
            .map(|c| emit::step(fitted, solution, rho, id, c))
            .collect(),
    };
    graph.ids().map(of).collect()
}

/// A step that stands for itself where a value is always 0.
fn positive(step: f64) -> f64 {
    if step > 0.0 { step } else { 1.0 }
}

/// The filled skeleton as a network whose intervals are still to be computed.
fn network(fitted: &Fitted, solution: &Solution, rho: &[i32]) -> IntNetwork {
    let output = fitted.skeleton.graph.output();
    IntNetwork {
        header: fitted.model.header.clone(),
        graph: fitted.skeleton.graph.clone(),
        intervals: Vec::new(),
        input_scale: positive(emit::step(fitted, solution, rho, NodeId(0), 0)),
        output_scale: positive(emit::step(fitted, solution, rho, output, 0)),
        assumed: fitted.weights.is_none(),
    }
}

/// Whether the intervals that `network` carries are those that its weights prove.
///
/// # Errors
/// If a value could exceed 2^62.
pub fn intervals_are_proven(network: &IntNetwork, weights: &IntWeights) -> Result<bool, QuantError> {
    let mut proven = network.clone();
    bounds::bound(&mut proven, Knowledge::Weights(weights))?;
    Ok(proven.intervals == network.intervals)
}

/// Why a model could not be weighed or quantised.
#[derive(Debug, thiserror::Error)]
pub enum QuantError {
    /// A weight that cannot be had.
    #[error(transparent)]
    Weight(#[from] WeightError),
    /// A weight of another shape.
    #[error("tensor `{name}` has shape {found}, the model wants {wanted}")]
    WeightShape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Shape,
        /// The shape that the layer wants.
        wanted: Shape,
    },
    /// An infinite or undefined weight, or a variance that is not positive.
    #[error("tensor `{name}` holds a number that is not usable (infinite, undefined or a negative variance)")]
    NotFinite {
        /// The tensor.
        name: String,
    },
    /// A tap that the kernel's support excludes is not zero.
    #[error("tensor `{name}`: tap {tap:?} of output channel {channel} must be zero by the kernel's shape")]
    Support {
        /// The tensor.
        name: String,
        /// Output channel.
        channel: usize,
        /// Row and column of the kernel.
        tap: (usize, usize),
    },
    /// A layer's weights are missing from the table or do not fit.
    #[error("layer `{node}` has no weights that fit it")]
    Weights {
        /// The layer.
        node: String,
    },
    /// An image of another shape.
    #[error("an image has shape {found}, the model wants {wanted}")]
    ImageShape {
        /// The image's shape.
        found: Shape,
        /// The model's.
        wanted: Shape,
    },
    /// A batch normalisation is left.
    #[error("batch_norm `{node}` must be folded before quantisation")]
    BatchNorm {
        /// The layer.
        node: String,
    },
    /// A bit width that is not supported.
    #[error("layer `{node}` wants {bits} bits; choose 2 to 8")]
    Bits {
        /// The layer.
        node: String,
        /// The width.
        bits: u32,
    },
    /// A range, written or measured, that is not an interval of finite numbers.
    #[error("the range of `{node}` is not an interval of finite numbers")]
    Range {
        /// The layer.
        node: String,
    },
    /// Neither a range in the file nor calibration images.
    #[error(
        "the range of `{node}` is not known: add `range: R` to the layer, or `calibration: \"FILE\"` with images to the model"
    )]
    NoRange {
        /// The layer.
        node: String,
    },
    /// Ranges measured with other weights.
    #[error(
        "the measured ranges belong to other weights: import the model again, or let `calibration:` name images"
    )]
    OtherWeights {
        /// The input.
        node: String,
    },
    /// Ranges measured on a value with another number of channels.
    #[error("the measured ranges of `{node}` are for another number of channels: measure them again")]
    Channels {
        /// The layer.
        node: String,
    },
    /// More channels than scales are tracked for.
    #[error("the network has too many channels (at layer `{node}`)")]
    TooLarge {
        /// The layer.
        node: String,
    },
    /// Scales that no shift can align, and no room for layers that would.
    #[error(
        "the scales of `{node}` cannot be aligned with at most {limit} added layers; requantise a branch by a linear layer"
    )]
    Conflicts {
        /// A layer.
        node: String,
        /// How many layers may be added.
        limit: usize,
    },
    /// No scale fits the layer's weights.
    #[error("no scale fits layer `{node}`: its weights are too large for the ranges of its input and output")]
    Unsolvable {
        /// The layer.
        node: String,
    },
    /// A value could leave the range of exact arithmetic.
    #[error("values of layer `{node}` could exceed 2^62: use smaller weights, or fewer bits")]
    Overflow {
        /// The layer.
        node: String,
    },
    /// The graph has too many nodes.
    #[error("the graph has no room for layer `{node}`")]
    Full {
        /// The layer.
        node: String,
    },
    /// The quantised network cannot be evaluated.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The quantised network does not verify: a fault of this program.
    #[error("internal error after quantisation: {0}")]
    Broken(#[from] GraphError),
}

impl QuantError {
    /// The layer that it is about.
    #[must_use]
    pub fn layer(&self) -> Option<&str> {
        match self {
            Self::Weight(WeightError::Missing(name) | WeightError::Unusable { name, .. })
            | Self::WeightShape { name, .. }
            | Self::NotFinite { name }
            | Self::Support { name, .. } => name.rsplit_once('.').map(|(layer, _)| layer),
            Self::Weights { node }
            | Self::BatchNorm { node }
            | Self::Bits { node, .. }
            | Self::Range { node }
            | Self::NoRange { node }
            | Self::OtherWeights { node }
            | Self::Channels { node }
            | Self::TooLarge { node }
            | Self::Conflicts { node, .. }
            | Self::Unsolvable { node }
            | Self::Overflow { node }
            | Self::Full { node } => Some(node),
            Self::Reference(_) | Self::ImageShape { .. } | Self::Broken(_) => None,
        }
    }
}
