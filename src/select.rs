//! Chooses a kernel, and with it the layouts, for every linear layer: `IntNetwork` to [`Plan`]. The choice is
//! the best by rotation count.
//!
//! Only convolutions and fully connected layers compute on ciphertexts; everything between them works
//! on shares and has no layout.

use crate::graph::{IntLayer, IntNetwork, NodeId};
use crate::kernels::{Candidate, Kernel, KernelError};
use crate::tensor::ConvGeometry;
use std::fmt;

/// The kernels of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Ring degree N.
    pub ring: u32,
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
    /// A linear layer has not exactly one operand.
    #[error("layer `{layer}` has {found} operands, expected 1")]
    Operands {
        /// The layer's name.
        layer: String,
        /// How many.
        found: usize,
    },
}

/// Plans every linear layer of `network` for ring degree `ring`.
///
/// # Errors
/// The first layer without a kernel, and what to do about it.
pub fn plan(network: &IntNetwork, ring: u32) -> Result<Plan, PlanError> {
    let mut layers = Vec::new();
    for node in network.graph.ids() {
        let name = network.graph.node(node).name.clone();
        let kernel = match linear_layer(network, node)? {
            Some(Linear::Conv(geometry)) => Kernel::conv(&geometry, ring as usize),
            Some(Linear::Features(inputs, outputs)) => Kernel::linear(inputs, outputs, ring as usize),
            None => continue,
        };
        match kernel {
            Ok(kernel) => layers.push(PlannedLayer { node, name, kernel }),
            Err(source) => return Err(PlanError::Kernel { layer: name, source }),
        }
    }
    Ok(Plan { ring, layers })
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
