//! Chooses a kernel, and with it the layouts, for every linear layer: `IntNetwork` to [`Plan`].
//!
//! Only convolutions and fully connected layers compute on ciphertexts; everything between them works
//! on shares and has no layout. So each layer chooses freely, but for what all of them share: parameters and
//! Galois keys. [`plan`] makes the plan that it is told, or of fewest rotations; [`search`] finds the
//! plan of fewest seconds by a table of measured costs. Must not know the scheme's library.

mod alternatives;
mod facts;
mod pick;
mod quote;
mod search;
mod shared;

pub use facts::{Facts, LayerCost, Prices, workload};
pub use pick::{Operands, Operation, Pick};
pub use quote::{Quote, Quotes};
pub use search::{Asked, Found, search};
pub use shared::{Choosing, KEY_BYTES, KEY_INFERENCES, PlanCost};

use crate::graph::{IntNetwork, IntWeights, NodeId};
use crate::kernels::{Candidate, Kernel, KernelError};
use crate::lower::LowerError;
use crate::params::Encoding;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How the encoding of linear layers is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encode {
    /// Either for each layer.
    Auto,
    /// Slots for all; what is chosen where nobody says otherwise.
    #[default]
    Slots,
    /// Coefficients for all.
    Coefficients,
}

/// Which kernels in slots are weighed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kernels {
    /// All of them, by predicted seconds.
    Auto,
    /// That of the literature: taps turn inputs, diagonals turn sums; hybrid diagonals for fully connected
    /// layers.
    OutputRotation,
    /// Baby and giant steps of fewest rotations, ciphertexts and Galois keys weighed with them.
    #[default]
    Unified,
}

/// What plans are looked for among.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Encodings.
    pub encode: Encode,
    /// Kernels in slots.
    pub kernels: Kernels,
    /// Zeros found in weights.
    pub sparsity: Sparsity,
}

impl From<(Encode, Kernels)> for Allowed {
    fn from((encode, kernels): (Encode, Kernels)) -> Self {
        Self { encode, kernels, sparsity: Sparsity::Hidden }
    }
}

/// The kernels of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Ring degree N of layers in slots.
    pub ring: u32,
    /// Ring degree of layers in coefficients.
    pub coefficient_ring: u32,
    /// One a linear layer, in order of execution.
    pub layers: Vec<PlannedLayer>,
    /// Whole plans that were weighed, the cheapest first; none if nothing was.
    pub compared: Vec<Compared>,
    /// What becomes of zeros found in weights.
    pub sparsity: Sparsity,
}

/// What becomes of zeros that are found in weights and that the model does not declare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sparsity {
    /// They are computed like other weights: a circuit tells nothing of the weights.
    #[default]
    Hidden,
    /// Products by plaintexts of nothing but zeros are left out, which the client can see.
    Leaked,
}

/// A whole plan and what it takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// What kind of plan.
    pub plan: WholePlan,
    /// What it takes.
    pub cost: PlanCost,
}

/// Kinds of whole plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WholePlan {
    /// The one chosen.
    Planned,
    /// Output rotation and hybrid diagonals for all layers.
    OutputRotation,
    /// For all layers in slots of fewest rotations.
    Unified,
    /// All layers in coefficients.
    Coefficients,
}

/// What a layer's choice was between.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weighed {
    /// Seconds of the layer as planned: of both parties, of its bytes, and its share of Galois keys that no
    /// other layer uses.
    pub seconds: f64,
    /// The best other way to compute it, everything else as it is; none if there is no other.
    pub runner_up: Option<RunnerUp>,
}

/// The second choice for a layer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunnerUp {
    /// What it is.
    pub pick: Pick,
    /// What it would take, counted as for the choice.
    pub seconds: f64,
}

/// A linear layer with its kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedLayer {
    /// Its node in the network.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// How it is computed; the layouts are the kernel's.
    pub kernel: Kernel,
    /// Plaintexts that are left out, by id, ascending: none unless [`Sparsity::Leaked`].
    pub dropped: Vec<u32>,
    /// By what it was chosen; none if nothing was weighed.
    pub weighed: Option<Weighed>,
}

/// Ring degrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    /// For layers in slots.
    pub slots: u32,
    /// For layers in coefficients.
    pub coefficients: u32,
}

/// What linear layers are computed by: in an encoding, the kernel that is best by rotation count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encodings<'a> {
    /// One for all.
    All(Encoding),
    /// One for each, in order of execution.
    Each(&'a [Encoding]),
    /// The kernel itself for each, in order of execution.
    Picks(&'a [Pick]),
}

/// Why a network has no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A layer has no kernel.
    #[error("layer `{layer}`: {source}")]
    Kernel {
        /// The layer's name.
        layer: String,
        /// Why.
        source: KernelError,
    },
    /// A candidate's circuit is wrong: an error of ours.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// A candidate multiplies a product: an error of ours.
    #[error("internal error: a candidate's circuit multiplies a product")]
    Depth,
    /// Encodings for another number of layers.
    #[error("{found} encodings for {expected} linear layers")]
    Encodings {
        /// How many there are.
        found: usize,
        /// How many are needed.
        expected: usize,
    },
    /// A linear layer has not exactly one operand.
    #[error("layer `{layer}` has {found} operands, expected 1")]
    Operands {
        /// The layer's name.
        layer: String,
        /// How many.
        found: usize,
    },
}

impl PlanError {
    /// The same about `layer`.
    fn about(self, layer: &str) -> Self {
        match self {
            Self::Kernel { source, .. } => Self::Kernel { layer: layer.into(), source },
            Self::Operands { .. } | Self::Lower(_) | Self::Depth | Self::Encodings { .. } => self,
        }
    }

    /// The layer that it is about, if it is about one.
    #[must_use]
    pub fn layer(&self) -> Option<&str> {
        match self {
            Self::Kernel { layer, .. } | Self::Operands { layer, .. } => Some(layer),
            Self::Encodings { .. } | Self::Lower(_) | Self::Depth => None,
        }
    }
}

impl Encodings<'_> {
    /// What is asked of linear layer `index`: slots where nothing is.
    fn of(self, index: usize) -> Wanted {
        match self {
            Self::All(encoding) => Wanted::Encoding(encoding),
            Self::Each(each) => Wanted::Encoding(each.get(index).copied().unwrap_or_default()),
            Self::Picks(picks) => {
                picks.get(index).map_or(Wanted::Encoding(Encoding::Slots), |pick| Wanted::Pick(*pick))
            }
        }
    }

    fn check(self, expected: usize) -> Result<(), PlanError> {
        let found = match self {
            Self::Each(each) => each.len(),
            Self::Picks(picks) => picks.len(),
            Self::All(_) => expected,
        };
        if found == expected { Ok(()) } else { Err(PlanError::Encodings { found, expected }) }
    }
}

/// What is asked of one layer.
enum Wanted {
    /// The best kernel by rotation count in this encoding.
    Encoding(Encoding),
    Pick(Pick),
}

impl Rings {
    /// That of an encoding.
    #[must_use]
    pub fn of(self, encoding: Encoding) -> u32 {
        match encoding {
            Encoding::Slots => self.slots,
            Encoding::Coefficients => self.coefficients,
        }
    }
}

impl Plan {
    /// Its ring degrees.
    #[must_use]
    pub fn rings(&self) -> Rings {
        Rings { slots: self.ring, coefficients: self.coefficient_ring }
    }

    /// Leaves out the products by plaintexts that are zero under `weights`.
    ///
    /// # Errors
    /// If weights have another shape than their layer.
    pub fn drop_zeros(&mut self, weights: &IntWeights) -> Result<(), PlanError> {
        self.sparsity = Sparsity::Leaked;
        for layer in &mut self.layers {
            let Some(weights) = weights.0.get(&layer.node) else { continue };
            layer.dropped = zeros(&layer.kernel, &weights.weight)
                .map_err(|source| PlanError::Kernel { layer: layer.name.clone(), source })?;
        }
        Ok(())
    }

    /// What each layer is computed by: all of the plan but for predictions.
    #[must_use]
    pub fn picks(&self) -> Vec<Pick> {
        self.layers.iter().map(|layer| Pick::of(&layer.kernel)).collect()
    }
}

/// The plaintexts of `kernel` that are zero under `weights`, by id, ascending.
fn zeros(kernel: &Kernel, weights: &Tensor<i8>) -> Result<Vec<u32>, KernelError> {
    let zeros = kernel.zeros(weights)?;
    Ok((0..).zip(zeros).filter_map(|(id, zero)| zero.then_some(id)).collect())
}

/// The linear layers of `network` in order of execution.
///
/// # Errors
/// The first one with another number of operands than one.
pub fn linear_layers(network: &IntNetwork) -> Result<Vec<(NodeId, Operation)>, PlanError> {
    let mut layers = Vec::new();
    for node in network.graph.ids() {
        let operation = Operation::of(network, node).map_err(|Operands(found)| PlanError::Operands {
            layer: network.graph.node(node).name.clone(),
            found,
        })?;
        layers.extend(operation.map(|operation| (node, operation)));
    }
    Ok(layers)
}

/// Plans every linear layer of `network` as asked, nothing weighed by seconds.
///
/// # Errors
/// The first layer without a kernel, and what to do about it.
pub fn plan(network: &IntNetwork, rings: Rings, encodings: Encodings<'_>) -> Result<Plan, PlanError> {
    let linear = linear_layers(network)?;
    encodings.check(linear.len())?;
    let mut layers = Vec::with_capacity(linear.len());
    for (index, (node, operation)) in linear.into_iter().enumerate() {
        let kernel = match encodings.of(index) {
            Wanted::Encoding(Encoding::Slots) => operation.by_rotations(rings.slots as usize),
            Wanted::Encoding(Encoding::Coefficients) => operation.kernel(Pick::Coefficients, rings),
            Wanted::Pick(pick) => operation.kernel(pick, rings),
        };
        let name = network.graph.node(node).name.clone();
        match kernel {
            Ok(kernel) => {
                layers.push(PlannedLayer { node, name, kernel, dropped: Vec::new(), weighed: None })
            }
            Err(source) => return Err(PlanError::Kernel { layer: name, source }),
        }
    }
    Ok(Plan {
        ring: rings.slots,
        coefficient_ring: rings.coefficients,
        layers,
        compared: Vec::new(),
        sparsity: Sparsity::Hidden,
    })
}

/// The choices of the kernel of `node`, of fewest rotations first; none for a layer without kernel.
///
/// # Errors
/// If the layer has no kernel at ring degree `ring`.
pub fn candidates(network: &IntNetwork, node: NodeId, ring: u32) -> Result<Vec<Candidate>, PlanError> {
    let layer = || network.graph.node(node).name.clone();
    let operation = Operation::of(network, node)
        .map_err(|Operands(found)| PlanError::Operands { layer: layer(), found })?;
    let candidates = match operation {
        Some(Operation::Conv(ref geometry)) => Kernel::candidates(geometry, ring as usize),
        Some(Operation::Features { inputs, outputs }) => {
            Kernel::linear_candidates(inputs, outputs, ring as usize)
        }
        None => return Ok(Vec::new()),
    };
    candidates.map_err(|source| PlanError::Kernel { layer: layer(), source })
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan: ring {}", self.ring)?;
        for PlannedLayer { node, name, kernel, dropped, weighed } in &self.layers {
            writeln!(f, "\nlayer {name} (node {}): {}", node.0, kernel.name())?;
            if let Some(choice) = kernel.choice() {
                writeln!(f, "  {choice}")?;
            }
            if let Some(weighed) = weighed {
                writeln!(f, "  {weighed}")?;
            }
            if self.sparsity == Sparsity::Leaked {
                writeln!(f, "  {} of {} products left out", dropped.len(), kernel.products())?;
            }
            let [input, output] = kernel.layouts();
            writeln!(f, "  in  {input}\n  out {output}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Weighed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ms", self.seconds * 1e3)?;
        match &self.runner_up {
            Some(RunnerUp { pick, seconds }) => write!(f, ", next {:.2} ms by {pick}", seconds * 1e3),
            None => Ok(()),
        }
    }
}

impl WholePlan {
    /// What the reports call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::OutputRotation => "all output rotation",
            Self::Unified => "all unified",
            Self::Coefficients => "all coefficients",
        }
    }
}
