//! Chooses a kernel, and with it the layouts, for every linear layer: `IntNetwork` to [`Plan`].
//!
//! Only convolutions and fully connected layers compute on ciphertexts; everything between them works
//! on shares and has no layout.

use crate::graph::{IntLayer, IntNetwork, NodeId};
use crate::kernels::{Kernel, KernelError};
use crate::params::Encoding;
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
        let entry = network.graph.node(node);
        let shape = || match *network.graph.input_shapes(node).as_slice() {
            [shape] => Ok(shape),
            ref shapes => Err(PlanError::Operands { layer: entry.name.clone(), found: shapes.len() }),
        };
        let kernel = match &entry.layer {
            IntLayer::Conv(conv) => {
                let geometry = conv.geometry(shape()?);
                match encodings.of(layers.len()) {
                    Encoding::Slots => Kernel::conv(&geometry, rings.slots as usize),
                    Encoding::Coefficients => {
                        Kernel::coefficient_conv(&geometry, rings.coefficients as usize)
                    }
                }
            }
            IntLayer::Linear(linear) => {
                let inputs = shape()?.elements();
                match encodings.of(layers.len()) {
                    Encoding::Slots => Kernel::linear(inputs, linear.out, rings.slots as usize),
                    Encoding::Coefficients => {
                        Kernel::coefficient_linear(inputs, linear.out, rings.coefficients as usize)
                    }
                }
            }
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
    encodings.check(layers.len())?;
    Ok(Plan { ring: rings.slots, coefficient_ring: rings.coefficients, layers })
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
