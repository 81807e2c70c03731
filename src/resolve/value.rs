//! What an expression stands for.

use crate::graph::NodeId;
use crate::layers::Activation;
use crate::tensor::Support;

/// A value of the language. Decimal numbers, lists and texts are not values: they stand only in
/// attributes, which read them themselves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    /// The result of a mistake that was reported; nothing more is said about it.
    Poison,
    /// A layer's output.
    Tensor(NodeId),
    /// An integer.
    Int(i64),
    /// `true` or `false`.
    Truth(bool),
    /// `3x3`: rows and columns.
    Pair(i64, i64),
    /// `cross(k)` or `strips(k)`.
    Kernel(i64, Support),
    /// A function of each element, as a block's parameter.
    Activation(Activation),
}

impl Value {
    /// The integer, if it is one.
    pub(super) fn int(self) -> Option<i64> {
        if let Self::Int(n) = self { Some(n) } else { None }
    }

    /// The truth value, if it is one.
    pub(super) fn truth(self) -> Option<bool> {
        if let Self::Truth(t) = self { Some(t) } else { None }
    }

    /// The tensor, if it is one.
    pub(super) fn tensor(self) -> Option<NodeId> {
        if let Self::Tensor(id) = self { Some(id) } else { None }
    }

    /// The activation, if it is one.
    pub(super) fn activation(self) -> Option<Activation> {
        if let Self::Activation(function) = self { Some(function) } else { None }
    }

    /// Rows and columns: a size, or one integer for both.
    pub(super) fn pair(self) -> Option<(i64, i64)> {
        match self {
            Self::Int(n) => Some((n, n)),
            Self::Pair(rows, columns) => Some((rows, columns)),
            Self::Poison | Self::Tensor(_) | Self::Truth(_) | Self::Kernel(..) | Self::Activation(_) => None,
        }
    }

    /// Rows, columns and taps in use: a kernel, a size, or one integer.
    pub(super) fn kernel(self) -> Option<(i64, i64, Support)> {
        match self {
            Self::Kernel(k, support) => Some((k, k, support)),
            Self::Poison
            | Self::Tensor(_)
            | Self::Int(_)
            | Self::Truth(_)
            | Self::Pair(..)
            | Self::Activation(_) => self.pair().map(|(rows, columns)| (rows, columns, Support::Full)),
        }
    }

    /// In words, for messages.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Poison => "a mistake",
            Self::Tensor(_) => "a tensor",
            Self::Int(_) => "an integer",
            Self::Truth(_) => "a truth value",
            Self::Pair(..) => "a size such as 3x3",
            Self::Kernel(..) => "a kernel",
            Self::Activation(_) => "an activation",
        }
    }
}

/// The activation that a word stands for.
pub(super) fn activation(word: &str) -> Option<Activation> {
    match word {
        "relu" => Some(Activation::Relu),
        "relu6" => Some(Activation::Relu6),
        "square" => Some(Activation::Square),
        _ => None,
    }
}
