//! Layers that only re-index: channel shuffle, subsampling, zero channels.

use super::ShapeError;
use super::number::Number;
use crate::tensor::{Shape, Tensor};
use serde::{Deserialize, Serialize};

/// Channel shuffle: channels as a `groups x C/groups` matrix, transposed. Output channel
/// `j * groups + i` is input channel `i * (C / groups) + j` (as in ShuffleNet).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shuffle {
    /// Rows of the matrix.
    pub groups: usize,
}

impl Shuffle {
    pub(super) fn infer(self, x: &Shape) -> Result<Shape, ShapeError> {
        if self.groups == 0 || !x.channels().is_multiple_of(self.groups) {
            return Err(ShapeError::new(
                "group-count",
                format!("{} groups do not divide {} channels", self.groups, x.channels()),
                "choose a divisor of the channel count",
            ));
        }
        Ok(x.clone())
    }

    /// The plain meaning.
    pub(crate) fn apply<T: Number>(self, x: &Tensor<T>) -> Tensor<T> {
        let c = x.shape.channels();
        let plane = x.data.len() / c.max(1);
        let data = (0..c).flat_map(|o| &x.data[self.source(o, c) * plane..][..plane]).copied().collect();
        Tensor { shape: x.shape.clone(), data }
    }

    /// The input channel that output channel `o` of `channels` comes from.
    #[must_use]
    pub fn source(self, o: usize, channels: usize) -> usize {
        (o % self.groups) * (channels / self.groups) + o / self.groups
    }
}

/// Every `stride`-th pixel, starting at the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Subsample {
    /// Rows and columns of stride.
    pub stride: (usize, usize),
}

impl Subsample {
    pub(super) fn infer(self, x: &Shape) -> Result<Shape, ShapeError> {
        let (c, h, w) = x.chw();
        if !x.is_image() || self.stride.0 == 0 || self.stride.1 == 0 {
            return Err(ShapeError::new(
                "shape-mismatch",
                format!("subsample wants an image and a stride of at least 1, found {x}"),
                "apply it to an image [C, H, W]",
            ));
        }
        Ok(Shape::image(c, h.div_ceil(self.stride.0), w.div_ceil(self.stride.1)))
    }

    /// The plain meaning.
    pub(crate) fn apply<T: Number>(self, x: &Tensor<T>) -> Tensor<T> {
        let (c, h, w) = x.shape.chw();
        let ((sh, sw), mut data) = (self.stride, Vec::new());
        for y in (0..c).flat_map(|c| (0..h).step_by(sh).map(move |y| c * h + y)) {
            data.extend(x.data[y * w..][..w].iter().step_by(sw));
        }
        Tensor { shape: Shape::image(c, h.div_ceil(sh), w.div_ceil(sw)), data }
    }
}

/// Zero channels before and after those of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PadChannels {
    /// Zero channels in front.
    pub before: usize,
    /// Zero channels behind.
    pub after: usize,
}

impl PadChannels {
    pub(super) fn infer(self, x: &Shape) -> Result<Shape, ShapeError> {
        let (c, h, w) = x.chw();
        let c = c.saturating_add(self.before).saturating_add(self.after);
        let out = if x.is_image() { Shape::image(c, h, w) } else { Shape::flat(c) };
        if out.elements() > crate::tensor::MAX_ELEMENTS {
            return Err(ShapeError::new("limit", "more than 2^31 elements", "pad with fewer channels"));
        }
        Ok(out)
    }

    /// The plain meaning.
    pub(crate) fn apply<T: Number>(self, x: &Tensor<T>) -> Tensor<T> {
        let (c, h, w) = x.shape.chw();
        let out = c + self.before + self.after;
        let shape = if x.shape.is_image() { Shape::image(out, h, w) } else { Shape::flat(out) };
        let mut padded = Tensor::zeros(shape);
        padded.data[self.before * h * w..][..x.data.len()].copy_from_slice(&x.data);
        padded
    }
}
