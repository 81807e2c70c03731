//! A compiled network, all that is needed to run it, and its file `.striac`.
//!
//! The file holds the quantised network, its weights, ring degree and plaintext prime; plan, circuit and
//! moduli follow from them and are made anew on load, so that a file cannot bring a circuit or moduli of
//! its own. Layout: the magic
//! `STRIAC\r\n`, the version (u32, little-endian), the BLAKE3 hash of the body, the body's length (u64), the
//! body (postcard). Everything is checked on load: hash, graph, shapes of weights, parameters.

use crate::backend::SchemeParams;
use crate::circuit::Circuit;
use crate::cost;
use crate::graph::{
    self, Graph, GraphError, Header, IntLayer, IntNetwork, IntWeights, Interval, Node, NodeId,
};
use crate::layers::Conv;
use crate::lower::{LowerError, lower};
use crate::params::{self, Fit, ParamsError, Scheme, Workload};
use crate::quant::intervals_are_proven;
use crate::select::{self, Plan, PlanError};
use crate::tensor::{MAX_ACTIVATION, Shape};
use serde::{Deserialize, Serialize};

/// First bytes of a `.striac` file. The line ending shows damage by text-mode transfers.
pub const MAGIC: &[u8; 8] = b"STRIAC\r\n";

/// Version of the format.
pub const VERSION: u32 = 3;

const PREFIX: usize = 8 + 4 + 32 + 8;

/// All that is needed to run a network, or to report its cost.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The quantised network, public.
    pub network: IntNetwork,
    /// Its weights; absent if the model has none.
    pub weights: Option<IntWeights>,
    /// Who computes BFV.
    pub scheme: Scheme,
    /// Parameters of the scheme.
    pub params: SchemeParams,
    /// Kernels and layouts.
    pub plan: Plan,
    /// Instructions.
    pub circuit: Circuit,
}

/// Why bytes are no compiled network.
#[derive(Debug, thiserror::Error)]
pub enum CompiledError {
    /// Another kind of file.
    #[error("not a compiled network (.striac): the first bytes are not its magic")]
    Foreign,
    /// Another version.
    #[error("compiled by another version of the format: found {found}, expected {VERSION}; compile it again")]
    Version {
        /// The file's version.
        found: u32,
    },
    /// Too short or too long.
    #[error("truncated or padded: found {found} bytes, expected {expected}")]
    Length {
        /// Bytes found.
        found: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// The hash does not fit.
    #[error("altered or damaged: the hash of the contents does not match")]
    Hash,
    /// The body does not parse or write.
    #[error("malformed contents: {0}")]
    Body(#[from] postcard::Error),
    /// The graph is inconsistent.
    #[error("inconsistent network: {0}")]
    Graph(#[from] GraphError),
    /// A layer has no weights, or of another shape.
    #[error("layer `{layer}`: weights of shape {found}, expected {expected}")]
    Weights {
        /// The layer.
        layer: String,
        /// Shape found; empty if there are none.
        found: Shape,
        /// Shape wanted.
        expected: Shape,
    },
    /// A tap that the kernel's shape excludes is not zero.
    #[error("layer `{layer}`: a weight outside of the kernel's declared taps")]
    Support {
        /// The layer.
        layer: String,
    },
    /// The bounds are not those that the weights prove, so the plaintext prime may be too small.
    #[error("inconsistent network: the bounds of its values are not those of its weights")]
    Bounds,
    /// An activation beyond what a run can hold.
    #[error("layer `{layer}`: an activation of {elements} elements, at most {MAX_ACTIVATION} can run")]
    TooLarge {
        /// The layer.
        layer: String,
        /// Elements of its result.
        elements: usize,
    },
    /// The parameters are refused.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// No secure moduli hold a layer's circuit.
    #[error("layer `{layer}`: {error}")]
    Unfit {
        /// The layer.
        layer: String,
        /// The bound.
        error: ParamsError,
    },
    /// A layer's circuit multiplies twice: an error of ours.
    #[error("internal error: a layer's circuit multiplies a product")]
    Depth,
    /// No plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// No circuit.
    #[error(transparent)]
    Lower(#[from] LowerError),
}

impl CompiledError {
    /// The layer that it is about.
    #[must_use]
    pub fn layer(&self) -> Option<&str> {
        match self {
            Self::Weights { layer, .. }
            | Self::Support { layer }
            | Self::TooLarge { layer, .. }
            | Self::Unfit { layer, .. } => Some(layer),
            Self::Plan(error) => Some(error.layer()),
            Self::Foreign
            | Self::Version { .. }
            | Self::Length { .. }
            | Self::Hash
            | Self::Body(_)
            | Self::Graph(_)
            | Self::Bounds
            | Self::Params(_)
            | Self::Depth
            | Self::Lower(_) => None,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Saved {
    header: Header,
    nodes: Vec<(Node<IntLayer>, Vec<NodeId>)>,
    output: NodeId,
    intervals: Vec<Interval>,
    input_scale: f64,
    output_scale: f64,
    assumed: bool,
    weights: Option<IntWeights>,
    ring: u32,
    plain_modulus: u64,
}

/// How moduli are chosen.
type Choose = fn(Scheme, u32, u64, &Workload) -> Result<SchemeParams, ParamsError>;

impl Compiled {
    /// Plans and lowers a quantised network for `ring` and the plaintext prime, and chooses the moduli of
    /// the default scheme. They may not hold the circuit: see [`fits`](Self::fits).
    ///
    /// # Errors
    /// If no kernel takes a layer, or there are no secure parameters.
    pub fn new(
        network: IntNetwork,
        weights: Option<IntWeights>,
        ring: u32,
        plain_modulus: u64,
    ) -> Result<Self, CompiledError> {
        Self::build(network, weights, ring, plain_modulus, params::choose)
    }

    /// As [`new`](Self::new) for any ring, without any security: for tests.
    ///
    /// # Errors
    /// If no kernel takes a layer, or there are no parameters.
    pub fn insecure_for_tests(
        network: IntNetwork,
        weights: Option<IntWeights>,
        ring: u32,
        plain_modulus: u64,
    ) -> Result<Self, CompiledError> {
        Self::build(network, weights, ring, plain_modulus, params::choose_insecure)
    }

    fn build(
        network: IntNetwork,
        weights: Option<IntWeights>,
        ring: u32,
        plain_modulus: u64,
        choose: Choose,
    ) -> Result<Self, CompiledError> {
        let plan = select::plan(&network, ring)?;
        let circuit = lower(&plan)?;
        let scheme = Scheme::default();
        let params = choose(scheme, ring, plain_modulus, &workload(&circuit)?)?;
        Ok(Self { network, weights, scheme, params, plan, circuit })
    }

    /// The same network with secure moduli of `scheme`.
    ///
    /// # Errors
    /// If there are none.
    pub fn for_scheme(self, scheme: Scheme) -> Result<Self, CompiledError> {
        if scheme == self.scheme {
            return Ok(self);
        }
        let SchemeParams { ring, plain_modulus, workload, .. } = self.params.clone();
        let params = params::choose(scheme, ring, plain_modulus, &workload)?;
        Ok(Self { scheme, params, ..self })
    }

    /// Refuses a circuit that would not decrypt under its parameters, or whose replies would show its
    /// noise.
    ///
    /// # Errors
    /// [`CompiledError::Unfit`], with the layer that goes furthest beyond them.
    pub fn fits(&self) -> Result<Fit, CompiledError> {
        let whole = match params::fit(self.scheme, &self.params, &self.params.workload) {
            Ok(fit) => return Ok(fit),
            Err(error) => error,
        };
        let sent = self.params.workload.values_sent;
        let unfit = self.circuit.segments.iter().filter_map(|segment| {
            let workload = Workload::of(cost::depth(segment), sent);
            let error = params::fit(self.scheme, &self.params, &workload).err()?;
            Some((&segment.layer, error))
        });
        match unfit.max_by(|(_, a), (_, b)| a.excess().total_cmp(&b.excess())) {
            Some((layer, error)) => Err(CompiledError::Unfit { layer: layer.clone(), error }),
            None => Err(whole.into()),
        }
    }

    /// The bytes of its file.
    ///
    /// # Errors
    /// If it cannot be written, which is an error of ours.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CompiledError> {
        let graph = &self.network.graph;
        let saved = Saved {
            header: self.network.header.clone(),
            nodes: graph.ids().map(|id| (graph.node(id).clone(), graph.inputs(id))).collect(),
            output: graph.output(),
            intervals: self.network.intervals.clone(),
            input_scale: self.network.input_scale,
            output_scale: self.network.output_scale,
            assumed: self.network.assumed,
            weights: self.weights.clone(),
            ring: self.params.ring,
            plain_modulus: self.params.plain_modulus,
        };
        let body = postcard::to_stdvec(&saved)?;
        let mut bytes = Vec::with_capacity(PREFIX + body.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(blake3::hash(&body).as_bytes());
        bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// If they are foreign, damaged or inconsistent.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CompiledError> {
        let body = checked_body(bytes)?;
        let saved: Saved = postcard::from_bytes(body)?;
        let mut graph = Graph::default();
        for (node, inputs) in saved.nodes {
            let operand = inputs.iter().map(|i| i.0).max().unwrap_or(0);
            graph.add(node, &inputs).map_err(|node| GraphError::Order { node: node.name, operand })?;
        }
        graph.set_output(saved.output);
        let network = IntNetwork {
            header: saved.header,
            graph,
            intervals: saved.intervals,
            input_scale: saved.input_scale,
            output_scale: saved.output_scale,
            assumed: saved.assumed,
        };
        graph::verify(&network)?;
        if let Some(weights) = &saved.weights {
            check_weights(&network, weights)?;
            if !intervals_are_proven(&network, weights).unwrap_or(false) {
                return Err(CompiledError::Bounds);
            }
        }
        params::require_plain(saved.plain_modulus, network.largest_accumulator())?;
        Self::new(network, saved.weights, saved.ring, saved.plain_modulus)
    }
}

/// What parameters must provide for so that `circuit` runs.
fn workload(circuit: &Circuit) -> Result<Workload, CompiledError> {
    let depths = circuit.segments.iter().map(|segment| cost::depth(segment).ok_or(CompiledError::Depth));
    let depths: Vec<_> = depths.collect::<Result<_, _>>()?;
    let sent: u64 = circuit.segments.iter().map(|segment| segment.outputs.len() as u64).sum();
    Ok(Workload::of(depths, sent.saturating_mul(u64::from(circuit.ring))))
}

fn checked_body(bytes: &[u8]) -> Result<&[u8], CompiledError> {
    let Some((magic, rest)) = bytes.split_first_chunk::<8>() else { return Err(CompiledError::Foreign) };
    if magic != MAGIC {
        return Err(CompiledError::Foreign);
    }
    let short = || CompiledError::Length { found: bytes.len() as u64, expected: PREFIX as u64 };
    let (version, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let found = u32::from_le_bytes(*version);
    if found != VERSION {
        return Err(CompiledError::Version { found });
    }
    let (hash, rest) = rest.split_first_chunk::<32>().ok_or_else(short)?;
    let (length, body) = rest.split_first_chunk::<8>().ok_or_else(short)?;
    let length = u64::from_le_bytes(*length);
    if length != body.len() as u64 {
        let expected = length.saturating_add(PREFIX as u64);
        return Err(CompiledError::Length { found: bytes.len() as u64, expected });
    }
    if blake3::hash(body) != blake3::Hash::from_bytes(*hash) {
        return Err(CompiledError::Hash);
    }
    Ok(body)
}

fn check_weights(network: &IntNetwork, weights: &IntWeights) -> Result<(), CompiledError> {
    let graph = &network.graph;
    for id in graph.ids() {
        let node = graph.node(id);
        let elements = node.shape.elements();
        if elements > MAX_ACTIVATION {
            return Err(CompiledError::TooLarge { layer: node.name.clone(), elements });
        }
        let Some(input) = graph.input_shapes(id).first().map(|s| (*s).clone()) else { continue };
        let expected = match &node.layer {
            IntLayer::Conv(conv) => conv.weight_shape(input.channels()),
            IntLayer::Linear(linear) => Shape::of(&[linear.out, input.elements()]),
            IntLayer::Input(_)
            | IntLayer::Add { .. }
            | IntLayer::Concat { .. }
            | IntLayer::Shuffle(_)
            | IntLayer::Subsample(_)
            | IntLayer::PadChannels(_)
            | IntLayer::SumPool(_)
            | IntLayer::MaxPool(_)
            | IntLayer::Requant(_)
            | IntLayer::Poly { .. }
            | IntLayer::Flatten => continue,
        };
        let found = weights.0.get(&id);
        let fits = found.is_some_and(|w| {
            w.weight.shape == expected
                && w.weight.data.len() == expected.elements()
                && w.bias.len() == node.shape.channels()
        });
        if !fits {
            let found = found.map_or_else(|| Shape::of(&[]), |w| w.weight.shape.clone());
            return Err(CompiledError::Weights { layer: node.name.clone(), found, expected });
        }
        if let (IntLayer::Conv(conv), Some(weights)) = (&node.layer, found)
            && !keeps_support(conv, &weights.weight.data)
        {
            return Err(CompiledError::Support { layer: node.name.clone() });
        }
    }
    Ok(())
}

/// Whether every weight outside of the declared taps is zero.
fn keeps_support(conv: &Conv, weights: &[i8]) -> bool {
    let (taps, columns) = (conv.kernel.0 * conv.kernel.1, conv.kernel.1);
    let per_row = weights.len() / conv.out.max(1);
    weights.iter().enumerate().filter(|&(_, &w)| w != 0).all(|(i, _)| {
        let tap = i % taps.max(1);
        conv.support.has((tap / columns, tap % columns), conv.kernel, i / per_row.max(1), conv.out)
    })
}
