//! A linear layer that scales every channel by itself: a depthwise 1x1 convolution, or a diagonal matrix
//! on features.

use super::{Conv, FloatLayer, Layer, Linear};
use crate::tensor::{Groups, Pad, Shape, Support, Tensor};

/// The most features that a diagonal matrix is made for.
const MAX_DIAGONAL: usize = 4096;

impl Layer {
    /// The layer that scales and shifts the channels of a tensor of this shape; none for more than 4096
    /// features.
    #[must_use]
    pub fn scaling(shape: &Shape) -> Option<Self> {
        let c = shape.channels();
        if !shape.is_image() {
            return (c <= MAX_DIAGONAL).then_some(Self::Linear(Linear { out: c, bias: Some(true) }));
        }
        Some(Self::Conv(Conv {
            out: c,
            kernel: (1, 1),
            support: Support::Full,
            stride: (1, 1),
            pad: Pad { h: 0, w: 0 },
            groups: Groups::Contiguous(c),
            bias: Some(true),
        }))
    }
}

impl FloatLayer {
    /// The weights of [`Layer::scaling`] for one scale and shift a channel.
    #[must_use]
    pub fn scaling(shape: &Shape, scale: &[f32], shift: &[f32]) -> Self {
        let c = scale.len();
        let weight = if shape.is_image() {
            Tensor { shape: Shape::of(&[c, 1, 1, 1]), data: scale.to_vec() }
        } else {
            let mut diagonal = Tensor::zeros(Shape::of(&[c, c]));
            diagonal.data.iter_mut().step_by(c + 1).zip(scale).for_each(|(w, s)| *w = *s);
            diagonal
        };
        Self::Linear { weight, bias: Some(shift.to_vec()) }
    }
}
