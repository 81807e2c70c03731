//! A compiled network, all that is needed to run it, and its file `.striac`.
//!
//! The file holds the quantised network, its weights, ring degree, plaintext prime and the pick of each linear
//! layer, with what it was weighed against, and where zeros of weights are left out, of which products; kernels,
//! circuit and moduli follow from them and are made anew on load, so that a file cannot bring a circuit or moduli of
//! its own. In a checked envelope of the magic `STRIAC\r\n`, by postcard. Everything is checked on load: hash, graph,
//! shapes of weights, parameters.

mod zeros;

use crate::backend::SchemeParams;
use crate::circuit::{Circuit, Segment};
use crate::cost::{self, CostTable};
use crate::envelope::Envelope;
pub use crate::envelope::EnvelopeError;
use crate::graph::{
    self, Affine, Graph, GraphError, Header, IntLayer, IntNetwork, IntWeights, Interval, Node, NodeId,
};
use crate::layers::Conv;
use crate::lower::{LowerError, lower};
use crate::params::{self, Encoding, Fit, ParamsError, Scheme, Sets, Workload};
use crate::quant::intervals_are_proven;
use crate::select::{
    self, Allowed, Asked, Choosing, Compared, Encode, Encodings, Facts, Pick, Plan, PlanError, PlannedLayer,
    Rings, Sparsity, Weighed,
};
use crate::tensor::{MAX_ACTIVATION, Shape};
use serde::{Deserialize, Serialize};
use zeros::{Dropped, Zeros};

/// First bytes of a `.striac` file. The line ending shows damage by text-mode transfers.
pub const MAGIC: &[u8; 8] = b"STRIAC\r\n";

/// Version of the format.
pub const VERSION: u32 = 5;

const ENVELOPE: Envelope = Envelope { magic: *MAGIC, version: VERSION };

/// All that is needed to run a network, or to report its cost.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The quantised network, public.
    pub network: IntNetwork,
    /// Its weights; absent if the model has none.
    pub weights: Option<IntWeights>,
    /// Who computes BFV.
    pub scheme: Scheme,
    /// Parameters of the layers in slots; those of the layers in coefficients where all are.
    pub params: SchemeParams,
    /// Parameters of the layers in coefficients, if there are any.
    pub coefficients: Option<SchemeParams>,
    /// Kernels and layouts.
    pub plan: Plan,
    /// Instructions.
    pub circuit: Circuit,
}

/// Why bytes are no compiled network.
#[derive(Debug, thiserror::Error)]
pub enum CompiledError {
    /// Another file, of another version, or damaged.
    #[error("not a compiled network (.striac): {0}")]
    Envelope(#[from] EnvelopeError),
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
    /// Products are left out that are not zero, or not there.
    #[error("layer `{layer}`: a product is left out whose weights are not all zero")]
    Dropped {
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
            | Self::Dropped { layer }
            | Self::TooLarge { layer, .. }
            | Self::Unfit { layer, .. } => Some(layer),
            Self::Plan(error) => error.layer(),
            Self::Envelope(_)
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
    picks: Vec<Pick>,
    weighed: Vec<Option<Weighed>>,
    compared: Vec<Compared>,
    /// By layer, the plaintexts that are left out; none if zeros of weights are hidden.
    dropped: Option<Dropped>,
}

const SECURE: Choosing = Choosing { params: params::choose, least_ring: LEAST_RING };

fn insecure(ring: u32) -> Choosing {
    Choosing { params: params::choose_insecure, least_ring: ring }
}

/// The least ring degree with secure parameters.
const LEAST_RING: u32 = 4096;

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
        Self::encoded(network, weights, (ring, plain_modulus), Encodings::All(Encoding::Slots))
    }

    /// As [`new`](Self::new), for ring degree and plaintext prime, with layers in `encodings`. Layers in
    /// coefficients run at the least ring, of those up to the other layers', whose moduli hold them.
    ///
    /// # Errors
    /// If no kernel takes a layer, or there are no secure parameters.
    pub fn encoded(
        network: IntNetwork,
        weights: Option<IntWeights>,
        sizes: (u32, u64),
        encodings: Encodings<'_>,
    ) -> Result<Self, CompiledError> {
        Self::build(network, weights, (sizes, SECURE), encodings, Zeros::Hidden)
    }

    /// As [`encoded`](Self::encoded), with the layers' kernels that take the fewest seconds by `table`, among
    /// those that are `allowed`. Where no secure moduli hold any plan, the best by rotation count.
    ///
    /// # Errors
    /// If no kernel takes a layer, or there are no secure parameters.
    pub fn planned(
        network: IntNetwork,
        weights: Option<IntWeights>,
        sizes: (u32, u64),
        allowed: impl Into<Allowed>,
        table: &CostTable,
    ) -> Result<Self, CompiledError> {
        Self::search(network, weights, (sizes, SECURE), allowed.into(), table)
    }

    /// As [`planned`](Self::planned) for any ring, without any security: for tests.
    ///
    /// # Errors
    /// If no kernel takes a layer, or there are no parameters.
    pub fn insecure_planned(
        network: IntNetwork,
        weights: Option<IntWeights>,
        sizes: (u32, u64),
        allowed: impl Into<Allowed>,
        table: &CostTable,
    ) -> Result<Self, CompiledError> {
        Self::search(network, weights, (sizes, insecure(sizes.0)), allowed.into(), table)
    }

    fn search(
        network: IntNetwork,
        weights: Option<IntWeights>,
        ((ring, plain_modulus), choosing): ((u32, u64), Choosing),
        allowed: Allowed,
        table: &CostTable,
    ) -> Result<Self, CompiledError> {
        let (shown, zeros) = match allowed.sparsity {
            Sparsity::Hidden => (None, Zeros::Hidden),
            Sparsity::Leaked => (weights.as_ref(), Zeros::Found),
        };
        let Allowed { encode, kernels, .. } = allowed;
        let asked = Asked { ring, plain_modulus, choosing, encode, kernels, table, weights: shown };
        let sizes = ((ring, plain_modulus), choosing);
        let Some(found) = select::search(&network, &asked)? else {
            let encoding = match encode {
                Encode::Coefficients => Encoding::Coefficients,
                Encode::Slots | Encode::Auto => Encoding::Slots,
            };
            return Self::build(network, weights, sizes, Encodings::All(encoding), zeros);
        };
        let mut compiled = Self::build(network, weights, sizes, Encodings::Picks(&found.picks), zeros)?;
        compiled.note(found.weighed.into_iter().map(Some), found.compared);
        Ok(compiled)
    }

    /// Notes by what the plan was chosen.
    fn note(&mut self, weighed: impl Iterator<Item = Option<Weighed>>, compared: Vec<Compared>) {
        for (layer, weighed) in self.plan.layers.iter_mut().zip(weighed) {
            layer.weighed = weighed;
        }
        self.plan.compared = compared;
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
        Self::insecure_encoded(network, weights, (ring, plain_modulus), Encodings::All(Encoding::Slots))
    }

    /// As [`encoded`](Self::encoded) for any ring, without any security: for tests.
    ///
    /// # Errors
    /// If no kernel takes a layer, or there are no parameters.
    pub fn insecure_encoded(
        network: IntNetwork,
        weights: Option<IntWeights>,
        sizes: (u32, u64),
        encodings: Encodings<'_>,
    ) -> Result<Self, CompiledError> {
        Self::build(network, weights, (sizes, insecure(sizes.0)), encodings, Zeros::Hidden)
    }

    fn build(
        network: IntNetwork,
        weights: Option<IntWeights>,
        ((ring, plain_modulus), choose): ((u32, u64), Choosing),
        encodings: Encodings<'_>,
        zeros: Zeros<'_>,
    ) -> Result<Self, CompiledError> {
        let scheme = Scheme::default();
        let mut coefficient_ring = zeros.first_ring(choose.least_ring.min(ring), ring);
        loop {
            let rings = Rings { slots: ring, coefficients: coefficient_ring };
            let mut plan = select::plan(&network, rings, encodings)?;
            zeros.leave_out(&mut plan, weights.as_ref())?;
            let circuit = lower(&plan)?;
            let facts = |(layer, segment): (&PlannedLayer, &Segment)| {
                let ring = circuit.ring_of(segment.contents.encoding());
                Facts::of(&layer.kernel, segment, ring).ok_or(CompiledError::Depth)
            };
            let layers = plan.layers.iter().zip(&circuit.segments);
            let facts = layers.map(facts).collect::<Result<Vec<_>, _>>()?;
            let set = |encoding| {
                let workload = select::workload(facts.iter(), encoding);
                let set =
                    workload.map(|w| (choose.params)(scheme, circuit.ring_of(encoding), plain_modulus, &w));
                set.transpose()
            };
            let coefficients = set(Encoding::Coefficients);
            let holds = match &coefficients {
                Ok(set) => set.as_ref().is_none_or(|set| params::fit(scheme, set, &set.workload).is_ok()),
                Err(_) => false,
            };
            if !holds && coefficient_ring < ring {
                coefficient_ring *= 2;
                continue;
            }
            let coefficients = coefficients?;
            let params = match (set(Encoding::Slots)?, &coefficients) {
                (Some(params), _) => params,
                (None, Some(params)) => params.clone(),
                (None, None) => (choose.params)(scheme, ring, plain_modulus, &Workload::of([], 0))?,
            };
            return Ok(Self { network, weights, scheme, params, coefficients, plan, circuit });
        }
    }

    /// What the client may have: without weights, and with bounds that tell little of them.
    #[must_use]
    pub fn public(&self) -> Self {
        let network = self.network.public(self.params.plain_modulus);
        Self { network, weights: None, ..self.clone() }
    }

    /// The parameters in use, by encoding.
    #[must_use]
    pub fn sets(&self) -> Sets<'_> {
        let slots = (self.params.workload.encoding == Encoding::Slots).then_some(&self.params);
        Sets { slots, coefficients: self.coefficients.as_ref() }
    }

    /// The encoding of each linear layer.
    #[must_use]
    pub fn encodings(&self) -> Vec<Encoding> {
        self.plan.layers.iter().map(|layer| layer.kernel.encoding()).collect()
    }

    /// The same network with secure moduli of `scheme`.
    ///
    /// # Errors
    /// If there are none, or the scheme does not compute in coefficients.
    pub fn for_scheme(self, scheme: Scheme) -> Result<Self, CompiledError> {
        if scheme == self.scheme {
            return Ok(self);
        }
        if let (Scheme::FheRs, Some(_)) = (scheme, &self.coefficients) {
            return Err(ParamsError::Encoding { scheme }.into());
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
        if let Some(coefficients) = &self.coefficients {
            self.fits_set(coefficients)?;
        }
        self.fits_set(&self.params)
    }

    /// As [`fits`](Self::fits) for one of the two sets of parameters.
    ///
    /// # Errors
    /// [`CompiledError::Unfit`].
    pub fn fits_set(&self, set: &SchemeParams) -> Result<Fit, CompiledError> {
        let whole = match params::fit(self.scheme, set, &set.workload) {
            Ok(fit) => return Ok(fit),
            Err(error) => error,
        };
        let (sent, encoding) = (set.workload.values_sent, set.workload.encoding);
        let unfit = in_encoding(&self.circuit, encoding).filter_map(|segment| {
            let workload = Workload::of(cost::depth(segment), sent).encoded(encoding);
            let error = params::fit(self.scheme, set, &workload).err()?;
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
            ring: self.plan.ring,
            plain_modulus: self.params.plain_modulus,
            picks: self.plan.picks(),
            weighed: self.plan.layers.iter().map(|layer| layer.weighed).collect(),
            compared: self.plan.compared.clone(),
            dropped: Dropped::of(&self.plan),
        };
        Ok(ENVELOPE.seal(&[&postcard::to_stdvec(&saved)?]))
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// If they are foreign, damaged or inconsistent.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CompiledError> {
        let saved: Saved = postcard::from_bytes(ENVELOPE.open(bytes)?)?;
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
        let sizes = (saved.ring, saved.plain_modulus);
        let zeros = saved.dropped.as_ref().map_or(Zeros::Hidden, Zeros::Given);
        let encodings = Encodings::Picks(&saved.picks);
        let mut compiled = Self::build(network, saved.weights, (sizes, SECURE), encodings, zeros)?;
        compiled.note(saved.weighed.into_iter(), saved.compared);
        Ok(compiled)
    }
}

fn in_encoding(circuit: &Circuit, encoding: Encoding) -> impl Iterator<Item = &Segment> {
    circuit.segments.iter().filter(move |segment| segment.contents.encoding() == encoding)
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
        let Some(affine) = node.layer.affine() else { continue };
        let expected = affine.weight_shape(&input);
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
        if let (Affine::Conv(conv), Some(weights)) = (affine, found)
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
