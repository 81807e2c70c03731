//! Non-linear functions of each element.

use serde::{Deserialize, Serialize};

/// A function of each element.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x * x`.
    Square,
    /// `a x^2 + b x + c`.
    Quad {
        /// Of `x^2`.
        a: f64,
        /// Of `x`.
        b: f64,
        /// Constant.
        c: f64,
    },
}

impl Activation {
    /// The word of the language.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::Square => "square",
            Self::Quad { .. } => "quad",
        }
    }
}
