//! Chooses a kernel, and with it the layouts, for every linear layer: `IntNetwork` to [`Plan`]. The choice is
//! the best by rotation count.
//!
//! Only convolutions and fully connected layers compute on ciphertexts; everything between them works
//! on shares and has no layout.

use crate::graph::{IntLayer, IntNetwork, NodeId};
use crate::kernels::{Candidate, Kernel, KernelError};
use crate::params::Encoding;
use crate::tensor::ConvGeometry;
use std::fmt;

/// The kernels of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Ring degree N of layers in slots.
    pub ring: u32,
    /// Ring degree of layers in coefficients.
    pub coefficient_ring: u32,
    /// One a linear layer, in order of execution.
    pub layers: Vec<PlannedLayer>,
}

/// A linear layer with its kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedLayer {
    /// Its node in the network.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// How it is computed; the layouts are the kernel's.
    pub kernel: Kernel,
}

/// Ring degrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    /// For layers in slots.
    pub slots: u32,
    /// For layers in coefficients.
    pub coefficients: u32,
}

/// The encodings of linear layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encodings<'a> {
    /// One for all.
    All(Encoding),
    /// One for each, in order of execution.
    Each(&'a [Encoding]),
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
    /// The layer that it is about, if it is about one.
    #[must_use]
    pub fn layer(&self) -> Option<&str> {
        match self {
            Self::Kernel { layer, .. } | Self::Operands { layer, .. } => Some(layer),
            Self::Encodings { .. } => None,
        }
    }
}

impl Encodings<'_> {
    /// That of linear layer `index`: slots where none is given.
    fn of(self, index: usize) -> Encoding {
        match self {
            Self::All(encoding) => encoding,
            Self::Each(each) => each.get(index).copied().unwrap_or_default(),
        }
    }

    fn check(self, layers: usize) -> Result<(), PlanError> {
        match self {
            Self::Each(each) if each.len() != layers => {
                Err(PlanError::Encodings { found: each.len(), expected: layers })
            }
            Self::All(_) | Self::Each(_) => Ok(()),
        }
    }
}

/// Plans every linear layer of `network`.
///
/// # Errors
/// The first layer without a kernel, and what to do about it.
pub fn plan(network: &IntNetwork, rings: Rings, encodings: Encodings<'_>) -> Result<Plan, PlanError> {
    let mut layers = Vec::new();
    for node in network.graph.ids() {
        let name = network.graph.node(node).name.clone();
        let Some(layer) = linear_layer(network, node)? else { continue };
        let kernel = match encodings.of(layers.len()) {
            Encoding::Slots => layer.in_slots(rings.slots as usize),
            Encoding::Coefficients => layer.in_coefficients(rings.coefficients as usize),
        };
        match kernel {
            Ok(kernel) => layers.push(PlannedLayer { node, name, kernel }),
            Err(source) => return Err(PlanError::Kernel { layer: name, source }),
        }
    }
    encodings.check(layers.len())?;
    Ok(Plan { ring: rings.slots, coefficient_ring: rings.coefficients, layers })
}

/// The choices of the kernel of `node`, the best by rotation count first; none for a layer without kernel.
///
/// # Errors
/// If the layer has no kernel at ring degree `ring`.
pub fn candidates(network: &IntNetwork, node: NodeId, ring: u32) -> Result<Vec<Candidate>, PlanError> {
    let candidates = match linear_layer(network, node)? {
        Some(Linear::Conv(geometry)) => Kernel::candidates(&geometry, ring as usize),
        Some(Linear::Features(inputs, outputs)) => Kernel::linear_candidates(inputs, outputs, ring as usize),
        None => return Ok(Vec::new()),
    };
    let layer = || network.graph.node(node).name.clone();
    candidates.map_err(|source| PlanError::Kernel { layer: layer(), source })
}

/// A layer that computes on ciphertexts.
enum Linear {
    Conv(ConvGeometry),
    /// Features in and out.
    Features(usize, usize),
}

impl Linear {
    fn in_slots(&self, ring: usize) -> Result<Kernel, KernelError> {
        match self {
            Self::Conv(geometry) => Kernel::conv(geometry, ring),
            Self::Features(inputs, outputs) => Kernel::linear(*inputs, *outputs, ring),
        }
    }

    fn in_coefficients(&self, ring: usize) -> Result<Kernel, KernelError> {
        match self {
            Self::Conv(geometry) => Kernel::coefficient_conv(geometry, ring),
            Self::Features(inputs, outputs) => Kernel::coefficient_linear(*inputs, *outputs, ring),
        }
    }
}

fn linear_layer(network: &IntNetwork, node: NodeId) -> Result<Option<Linear>, PlanError> {
    let entry = network.graph.node(node);
    let shape = || match *network.graph.input_shapes(node).as_slice() {
        [shape] => Ok(shape),
        ref shapes => Err(PlanError::Operands { layer: entry.name.clone(), found: shapes.len() }),
    };
    Ok(match &entry.layer {
        IntLayer::Conv(conv) => Some(Linear::Conv(conv.geometry(shape()?))),
        IntLayer::Linear(linear) => Some(Linear::Features(shape()?.elements(), linear.out)),
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
        | IntLayer::Flatten => None,
    })
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan: ring {}", self.ring)?;
        for PlannedLayer { node, name, kernel } in &self.layers {
            writeln!(f, "\nlayer {name} (node {}): {}", node.0, kernel.name())?;
            if let Some(choice) = kernel.choice() {
                writeln!(f, "  {choice}")?;
            }
            writeln!(f, "  in  {}", kernel.input())?;
            writeln!(f, "  out {}", kernel.output())?;
        }
        Ok(())
    }
}
