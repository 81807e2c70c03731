//! Linear layers as operations, and the picks among the ways to compute one: small, exact, and all that a
//! compiled file keeps of a plan.

use super::Rings;
use crate::graph::{Affine, IntNetwork, NodeId};
use crate::kernels::{Choice, Kernel, KernelError};
use crate::params::Encoding;
use crate::tensor::ConvGeometry;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a linear layer computes. Layers of one operation have the same kernels at the same costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A convolution.
    Conv(ConvGeometry),
    /// A fully connected layer.
    Features {
        /// Features in.
        inputs: usize,
        /// Features out.
        outputs: usize,
    },
}

/// How a linear layer is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Pick {
    /// In slots by baby and giant steps; a fully connected layer as the convolution of one pixel.
    Steps(Choice),
    /// A fully connected layer in slots, by hybrid diagonals.
    Diagonals,
    /// In coefficients.
    Coefficients,
}

/// Why a node has no operation: it has so many operands, not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operands(pub usize);

impl Operation {
    /// The operation of `node`; none if nothing of it is computed on ciphertexts.
    ///
    /// # Errors
    /// If it has another number of operands than one.
    pub fn of(network: &IntNetwork, node: NodeId) -> Result<Option<Self>, Operands> {
        let shape = || match *network.graph.input_shapes(node).as_slice() {
            [shape] => Ok(shape),
            ref shapes => Err(Operands(shapes.len())),
        };
        Ok(match network.graph.node(node).layer.affine() {
            Some(Affine::Conv(conv)) => Some(Self::Conv(conv.geometry(shape()?))),
            Some(Affine::Linear(linear)) => {
                Some(Self::Features { inputs: shape()?.elements(), outputs: linear.out })
            }
            None => None,
        })
    }

    /// The kernel that `pick` names.
    ///
    /// # Errors
    /// If the operation has no such kernel at these ring degrees.
    pub fn kernel(&self, pick: Pick, rings: Rings) -> Result<Kernel, KernelError> {
        let (slots, coefficients) = (rings.slots as usize, rings.coefficients as usize);
        match (self, pick) {
            (Self::Conv(g), Pick::Steps(choice)) => Kernel::conv_as(g, slots, choice),
            (Self::Conv(_), Pick::Diagonals) => Err(KernelError::Size {
                what: "kernel height of hybrid diagonals",
                found: 1,
                expected: "a fully connected layer",
            }),
            (Self::Conv(g), Pick::Coefficients) => Kernel::coefficient_conv(g, coefficients),
            (&Self::Features { inputs, outputs }, Pick::Steps(choice)) => {
                Kernel::linear_as(inputs, outputs, slots, choice)
            }
            (&Self::Features { inputs, outputs }, Pick::Diagonals) => Kernel::hybrid(inputs, outputs, slots),
            (&Self::Features { inputs, outputs }, Pick::Coefficients) => {
                Kernel::coefficient_linear(inputs, outputs, coefficients)
            }
        }
    }

    /// The kernel in slots that is best by rotation count.
    pub(super) fn by_rotations(&self, ring: usize) -> Result<Kernel, KernelError> {
        match *self {
            Self::Conv(ref g) => Kernel::conv(g, ring),
            Self::Features { inputs, outputs } => Kernel::linear(inputs, outputs, ring),
        }
    }

    /// The kernel of the literature: output rotation, or hybrid diagonals.
    pub(super) fn output_rotation(&self, ring: usize) -> Result<Kernel, KernelError> {
        match *self {
            Self::Conv(ref g) => Kernel::output_rotation(g, ring),
            Self::Features { inputs, outputs } => Kernel::hybrid(inputs, outputs, ring),
        }
    }
}

impl Pick {
    /// What makes `kernel`.
    #[must_use]
    pub fn of(kernel: &Kernel) -> Self {
        match (kernel, kernel.choice()) {
            (Kernel::Conv(_) | Kernel::Features(_), Some(choice)) => Self::Steps(choice),
            (Kernel::Conv(_) | Kernel::Features(_), None) | (Kernel::Linear(_), _) => Self::Diagonals,
            (Kernel::Coefficients(_), _) => Self::Coefficients,
        }
    }

    /// What its ciphertexts hold.
    #[must_use]
    pub fn encoding(self) -> Encoding {
        match self {
            Self::Steps(_) | Self::Diagonals => Encoding::Slots,
            Self::Coefficients => Encoding::Coefficients,
        }
    }

    /// How it is laid out and scheduled, where there is a choice.
    #[must_use]
    pub fn choice(self) -> Option<Choice> {
        match self {
            Self::Steps(choice) => Some(choice),
            Self::Diagonals | Self::Coefficients => None,
        }
    }

    /// What the reports call the kernel.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Steps(choice) => choice.name(),
            Self::Diagonals => "hybrid-diagonals",
            Self::Coefficients => "coefficients",
        }
    }
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps(choice) => write!(f, "{}: {choice}", self.name()),
            Self::Diagonals | Self::Coefficients => f.write_str(self.name()),
        }
    }
}
