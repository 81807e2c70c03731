//! The driver: source text to everything that is needed to run, one line a stage.
//!
//! Files and printing belong to the caller: it opens what [`declared`](crate::resolve::declared) names
//! and prints the stages that it wants.

use crate::compiled::{Compiled, CompiledError};
use crate::cost::{CostTable, LAN};
use crate::graph::{self, IntNetwork, IntWeights, Interval, Model, NodeId};
use crate::params::{self, Encoding, ParamsError, Scheme};
use crate::passes::{FloatModel, POOL_FIRST, PassError, pool_first, run_float};
use crate::protocol::{self, Step};
use crate::quant::{
    FloatWeights, LostBits, Meaning, QuantError, Quantised, Statistics, quantise, quantise_measured,
};
use crate::select::{Allowed, Encodings};
pub use crate::select::{Encode, Kernels, Sparsity};
use crate::tensor::{MAX_ACTIVATION, Tensor};
use crate::weights::WeightSource;

/// What the command line may change.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Ring degree instead of the model's.
    pub ring: Option<u32>,
    /// Bits of the plaintext prime instead of the smallest that fits.
    pub plain_bits: Option<u32>,
    /// Encoding of linear layers.
    pub encode: Encode,
    /// Kernels in slots.
    pub kernels: Kernels,
    /// By what plans are weighed; the shipped costs if absent.
    pub costs: Option<&'a CostTable>,
    /// Ranges that were measured before, instead of calibration images.
    pub measured: Option<&'a Statistics>,
    /// Whether zeros found in weights are left out, which shows.
    pub sparsity: Sparsity,
}

/// Why a resolved model could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Activations or weights beyond what a run can hold.
    #[error(
        "layer `{layer}`: an activation of {elements} elements, {weights} weights up to there; at most \
         {MAX_ACTIVATION} and {MAX_WEIGHTS} can run; remove `weights:` for a plan and a report"
    )]
    TooLarge {
        /// The layer.
        layer: String,
        /// Elements of its result.
        elements: usize,
        /// Weights of the network up to it.
        weights: usize,
    },
    /// A pass broke the graph: an error of ours.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// Quantisation.
    #[error(transparent)]
    Quant(#[from] QuantError),
    /// No plaintext prime for the largest accumulator.
    #[error("layer `{layer}`: {error}")]
    Params {
        /// The layer with it.
        layer: String,
        /// Why.
        error: ParamsError,
    },
    /// No plan or circuit.
    #[error(transparent)]
    Compiled(#[from] CompiledError),
}

impl CompileError {
    /// The layer that it is about.
    #[must_use]
    pub fn layer(&self) -> Option<&str> {
        match self {
            Self::TooLarge { layer, .. } | Self::Params { layer, .. } => Some(layer),
            Self::Pass(PassError::Refused { error, .. }) => Some(error.layer()),
            Self::Quant(error) => error.layer(),
            Self::Compiled(error) => error.layer(),
            Self::Pass(PassError::Broken { .. }) => None,
        }
    }
}

/// The most weights of a network: 2 GB as floats.
const MAX_WEIGHTS: usize = 1 << 29;

/// Refuses a network too large to be evaluated, before anything of its size is allocated. Without weights
/// none of this is held, and plans and reports have no such bound.
///
/// # Errors
/// [`CompileError::TooLarge`].
pub fn require_runnable(model: &Model) -> Result<(), CompileError> {
    let mut weights = 0_usize;
    for id in model.graph.ids() {
        let node = model.graph.node(id);
        let input = model.graph.input_shapes(id).first().map(|shape| node.layer.weights(shape));
        let wanted = input.iter().flatten().map(|w| w.shape.elements());
        weights = wanted.fold(weights, usize::saturating_add);
        let elements = node.shape.elements();
        if elements > MAX_ACTIVATION || weights > MAX_WEIGHTS {
            return Err(CompileError::TooLarge { layer: node.name.clone(), elements, weights });
        }
    }
    Ok(())
}

/// What the stages after resolution produced.
#[derive(Debug)]
pub struct Stages {
    /// The float model after its passes, with its weights if it has any.
    pub float: FloatModel,
    /// The text of the graph after each pass, in order.
    pub after_passes: Vec<(&'static str, String)>,
    /// What the integers of each node of `reference` stand for; empty without weights.
    pub meaning: Vec<Meaning>,
    /// The quantised network before it was rewritten: what `compiled` must equal.
    pub reference: IntNetwork,
    /// Values that keep few of their bits.
    pub lost: Vec<LostBits>,
    /// The compiled network.
    pub compiled: Compiled,
}

/// What the stages up to quantisation produced: all that modes have in common.
#[derive(Debug)]
pub struct Integers {
    /// The float model after its passes, with its weights if it has any.
    pub float: FloatModel,
    /// The text of the graph after each pass, in order.
    pub after_passes: Vec<(&'static str, String)>,
    /// The quantised network.
    pub quantised: Quantised,
}

/// Runs the float passes on a resolved model and quantises it, with ranges from images or measured before.
///
/// # Errors
/// The first stage that fails.
pub fn integers(
    model: &Model,
    source: Option<&dyn WeightSource>,
    (calibration, measured): (Option<&[Tensor<f32>]>, Option<&Statistics>),
) -> Result<Integers, CompileError> {
    let mut after_passes = Vec::new();
    let float = float_model(model, source, &mut |pass, changes, after| {
        after_passes.push((pass, format!("{changes} changes\n{}", after.model)));
    })?;
    let quantised = match measured {
        Some(measured) => quantise_measured(&float.model, float.weights.as_ref(), Some(measured)),
        None => quantise(&float.model, float.weights.as_ref(), calibration),
    }?;
    Ok(Integers { float, after_passes, quantised })
}

/// Compiles a resolved model.
///
/// # Errors
/// The first stage that fails.
pub fn compile(
    model: &Model,
    source: Option<&dyn WeightSource>,
    calibration: Option<&[Tensor<f32>]>,
    options: Options<'_>,
) -> Result<Stages, CompileError> {
    let Integers { float, mut after_passes, quantised } =
        integers(model, source, (calibration, options.measured))?;
    let Quantised { network, weights, meaning, lost } = quantised;
    let ring = options.ring.unwrap_or(model.header.ring);
    let t = params::plain_prime(ring, network.largest_accumulator(), options.plain_bits)
        .map_err(|error| CompileError::Params { layer: widest(&network), error })?;
    let shipped;
    let table = match options.costs {
        Some(table) => table,
        None => {
            shipped = CostTable::shipped(Scheme::Bfv);
            &shipped
        }
    };
    let mut rewritten = network.clone();
    let changes = pool_first(&mut rewritten, &|network, id| step_seconds(network, id, t, table));
    after_passes.push((POOL_FIRST, format!("{changes} changes\n{rewritten}")));
    let broken = |error| PassError::Broken { pass: POOL_FIRST, error };
    graph::verify(&rewritten).map_err(broken)?;
    let compiled = plan(rewritten, weights, (ring, t), (options, table))?;
    Ok(Stages { float, after_passes, meaning, lost, reference: network, compiled })
}

/// Predicted seconds of the two-party step at node `id`, on one core of either party with its bytes and rounds
/// over a local network; none if there is no such step on shares modulo `t`.
fn step_seconds(network: &IntNetwork, id: NodeId, t: u64, table: &CostTable) -> Option<f64> {
    let cost = protocol::cost(&Step::of(network, id, t)?).ok()?;
    let bytes = cost.offline_bytes.saturating_add(cost.online_bytes);
    let rounds = cost.offline_rounds.saturating_add(cost.rounds);
    Some(table.transfers.seconds(cost.transfers) + LAN.seconds(bytes, rounds))
}

/// The float model after its passes, with its weights; `seen` hears of each pass.
///
/// # Errors
/// If the weights do not fit, or a pass refuses the model.
pub fn float_model(
    model: &Model,
    source: Option<&dyn WeightSource>,
    seen: &mut dyn FnMut(&'static str, usize, &FloatModel),
) -> Result<FloatModel, CompileError> {
    if source.is_some() {
        require_runnable(model)?;
    }
    let weights = source.map(|source| FloatWeights::load(model, source)).transpose()?;
    let mut float = FloatModel { model: model.clone(), weights };
    run_float(&mut float, seen)?;
    Ok(float)
}

/// The layer with the largest values.
fn widest(network: &IntNetwork) -> String {
    let magnitude = |id: &NodeId| network.intervals.get(id.0 as usize).map(Interval::magnitude);
    let widest = network.graph.ids().max_by_key(|id| (magnitude(id), std::cmp::Reverse(id.0)));
    widest.map_or_else(String::new, |id| network.graph.node(id).name.clone())
}

/// Plans, lowers and chooses parameters.
fn plan(
    network: IntNetwork,
    weights: Option<IntWeights>,
    sizes: (u32, u64),
    (options, table): (Options<'_>, &CostTable),
) -> Result<Compiled, CompiledError> {
    let Options { encode, kernels, sparsity, .. } = options;
    if (encode, kernels, sparsity) == (Encode::Slots, Kernels::Unified, Sparsity::Hidden) {
        return Compiled::encoded(network, weights, sizes, Encodings::All(Encoding::Slots));
    }
    Compiled::planned(network, weights, sizes, Allowed { encode, kernels, sparsity }, table)
}
