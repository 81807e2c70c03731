//! Chooses a kernel, and with it the layouts, for every linear layer: `IntNetwork` to [`Plan`].
//!
//! Only convolutions and fully connected layers compute on ciphertexts; everything between them works
//! on shares and has no layout.

use crate::graph::{IntLayer, IntNetwork, NodeId};
use crate::kernels::{Kernel, KernelError};
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

impl PlanError {
    /// The layer that it is about.
    #[must_use]
    pub fn layer(&self) -> &str {
        match self {
            Self::Kernel { layer, .. } | Self::Operands { layer, .. } => layer,
        }
    }
}

/// Plans every linear layer of `network` for ring degree `ring`.
///
/// # Errors
/// The first layer without a kernel, and what to do about it.
pub fn plan(network: &IntNetwork, ring: u32) -> Result<Plan, PlanError> {
    let mut layers = Vec::new();
    let degree = ring as usize;
    for node in network.graph.ids() {
        let entry = network.graph.node(node);
        let shape = || match *network.graph.input_shapes(node).as_slice() {
            [shape] => Ok(shape),
            ref shapes => Err(PlanError::Operands { layer: entry.name.clone(), found: shapes.len() }),
        };
        let kernel = match &entry.layer {
            IntLayer::Conv(conv) => Kernel::conv(&conv.geometry(shape()?), degree),
            IntLayer::Linear(linear) => Kernel::linear(shape()?.elements(), linear.out, degree),
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
        let name = entry.name.clone();
        match kernel {
            Ok(kernel) => layers.push(PlannedLayer { node, name, kernel }),
            Err(source) => return Err(PlanError::Kernel { layer: name, source }),
        }
    }
    Ok(Plan { ring, layers })
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan: ring {}", self.ring)?;
        for PlannedLayer { node, name, kernel } in &self.layers {
            writeln!(f, "\nlayer {name} (node {}): {}", node.0, kernel.name())?;
            writeln!(f, "  in  {}", kernel.input())?;
            writeln!(f, "  out {}", kernel.output())?;
        }
        Ok(())
    }
}
