//! Non-linear functions of each element.

use crate::tensor::Tensor;
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
    /// The plain meaning.
    pub(crate) fn apply(self, x: &Tensor<f32>) -> Tensor<f32> {
        match self {
            Self::Relu => x.map(|v| v.max(0.0)),
            Self::Relu6 => x.map(|v| v.clamp(0.0, 6.0)),
            Self::Square => x.map(|v| v * v),
            Self::Quad { a, b, c } => x.map(|&v| {
                let v = f64::from(v);
                #[expect(clippy::cast_possible_truncation, reason = "rounding to the tensor's precision")]
                let y = ((a * v + b) * v + c) as f32;
                y
            }),
        }
    }

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
