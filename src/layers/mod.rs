//! The layers of the language: attributes, shape inference, plain (float) meaning, one file a layer.
//!
//! A layer holds no weights; it names none either (the graph's node does) and knows no graph.
//! [`Layer::infer`] is the only place that decides which shapes fit.

mod activation;
mod channels;
mod conv;
mod join;
mod linear;
mod narrow;
mod number;
mod pool;
mod scaling;

pub use activation::Activation;
pub use channels::{PadChannels, Shuffle, Subsample};
pub use conv::{BatchNorm, Conv};
pub(crate) use join::concat;
pub use linear::Linear;
pub(crate) use narrow::LARGEST;
pub use pool::{Pool, PoolKind, Rounding, Windows};

use crate::tensor::{Shape, Tensor};
use serde::{Deserialize, Serialize};

/// A layer of the language, before quantisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Layer {
    /// The network's input.
    Input,
    /// Convolution.
    Conv(Conv),
    /// Fully connected layer on features.
    Linear(Linear),
    /// Batch normalisation with running statistics.
    BatchNorm(BatchNorm),
    /// Sum of two or more tensors of one shape.
    Add,
    /// Concatenation along channels.
    Concat,
    /// Channel shuffle.
    Shuffle(Shuffle),
    /// Strided subsampling of pixels.
    Subsample(Subsample),
    /// Zero channels before and after.
    PadChannels(PadChannels),
    /// Average, global average or max pooling.
    Pool(Pool),
    /// A non-linear function of each element.
    Activation(Activation),
    /// An image as features, channel outermost.
    Flatten,
}

/// Why shapes do not fit a layer: one sentence each for what was found, expected and could be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ShapeError {
    /// A stable short name for the diagnostic, such as `shape-mismatch`.
    pub code: &'static str,
    /// What is wrong, with the shapes.
    pub message: String,
    /// What was expected, or one thing to do.
    pub hint: String,
}

impl ShapeError {
    /// An error with its hint.
    pub fn new(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: hint.into() }
    }
}

/// One weight tensor that a layer wants: suffix after the node's weight path, shape, optional or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedWeight {
    /// `weight`, `bias`, `running_mean`, `running_var`.
    pub suffix: &'static str,
    /// Its shape, PyTorch's order.
    pub shape: Shape,
    /// Whether the layer works without it.
    pub optional: bool,
}

impl Layer {
    /// The word of the language.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Conv(_) => "conv",
            Self::Linear(_) => "linear",
            Self::BatchNorm(_) => "batch_norm",
            Self::Add => "add",
            Self::Concat => "concat",
            Self::Shuffle(_) => "channel_shuffle",
            Self::Subsample(_) => "subsample",
            Self::PadChannels(_) => "pad_channels",
            Self::Pool(p) => p.kind.word(),
            Self::Activation(a) => a.word(),
            Self::Flatten => "flatten",
        }
    }

    /// The output's shape.
    ///
    /// # Errors
    /// If the inputs do not fit, with both shapes named.
    pub fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        match self {
            Self::Input => {
                Err(ShapeError::new("shape-mismatch", "an input takes no operand", "remove the operand"))
            }
            Self::Conv(l) => l.infer(one(inputs)?),
            Self::Linear(l) => l.infer(one(inputs)?),
            Self::BatchNorm(_) | Self::Activation(_) => Ok(one(inputs)?.clone()),
            Self::Add => join::infer_add(inputs),
            Self::Concat => join::infer_concat(inputs),
            Self::Shuffle(l) => l.infer(one(inputs)?),
            Self::Subsample(l) => l.infer(one(inputs)?),
            Self::PadChannels(l) => l.infer(one(inputs)?),
            Self::Pool(l) => l.infer(one(inputs)?),
            Self::Flatten => Ok(Shape::flat(one(inputs)?.elements())),
        }
    }

    /// The weight tensors that the layer reads, given its input's shape.
    #[must_use]
    pub fn weights(&self, input: &Shape) -> Vec<WantedWeight> {
        match self {
            Self::Conv(l) => l.weights(input),
            Self::Linear(l) => l.weights(input),
            Self::BatchNorm(l) => l.weights(input),
            Self::Input
            | Self::Add
            | Self::Concat
            | Self::Shuffle(_)
            | Self::Subsample(_)
            | Self::PadChannels(_)
            | Self::Pool(_)
            | Self::Activation(_)
            | Self::Flatten => Vec::new(),
        }
    }
}

/// The float weights of one layer, in memory order.
#[derive(Clone, Debug, PartialEq)]
pub enum FloatLayer {
    /// Of a convolution or a fully connected layer.
    Linear {
        /// `[out, in / g, kh, kw]` or `[out, in]`, row `o` is output channel `o`.
        weight: Tensor<f32>,
        /// One an output channel.
        bias: Option<Vec<f32>>,
    },
    /// Of a batch normalisation: `y = x * scale + shift` per channel.
    Norm {
        /// One a channel.
        scale: Vec<f32>,
        /// One a channel.
        shift: Vec<f32>,
    },
}

impl Layer {
    /// The plain meaning on floats; none if the operands or weights are not those of the layer. Their
    /// shapes must fit [`Layer::infer`] and [`Layer::weights`].
    pub(crate) fn apply(&self, inputs: &[&Tensor<f32>], weights: Option<&FloatLayer>) -> Option<Tensor<f32>> {
        let x = *inputs.first()?;
        Some(match (self, weights) {
            (Self::Conv(l), Some(FloatLayer::Linear { weight, bias })) => {
                l.apply(x, &weight.data, bias.as_deref())
            }
            (Self::Linear(l), Some(FloatLayer::Linear { weight, bias })) => {
                l.apply(x, &weight.data, bias.as_deref())
            }
            (Self::BatchNorm(_), Some(FloatLayer::Norm { scale, shift })) => {
                BatchNorm::apply(x, scale, shift)
            }
            (Self::Input | Self::Conv(_) | Self::Linear(_) | Self::BatchNorm(_), _) => return None,
            (Self::Add, _) => join::add(inputs)?,
            (Self::Concat, _) => concat(inputs)?,
            (Self::Shuffle(l), _) => l.apply(x),
            (Self::Subsample(l), _) => l.apply(x),
            (Self::PadChannels(l), _) => l.apply(x),
            (Self::Pool(l), _) => l.apply(x),
            (Self::Activation(l), _) => l.apply(x),
            (Self::Flatten, _) => Tensor { shape: Shape::flat(x.data.len()), data: x.data.clone() },
        })
    }
}

fn one<'a>(inputs: &[&'a Shape]) -> Result<&'a Shape, ShapeError> {
    match inputs {
        [only] => Ok(only),
        _ => Err(ShapeError::new(
            "operand-count",
            format!("takes one tensor, found {}", inputs.len()),
            "pass exactly one tensor",
        )),
    }
}
