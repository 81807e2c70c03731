//! Convolution and the batch normalisation that follows one.

use super::{ShapeError, WantedWeight};
use crate::tensor::{ConvGeometry, Groups, MAX_ELEMENTS, Pad, Shape, Support};
use serde::{Deserialize, Serialize};

/// A convolution. In files the weight is `[out, in / g, kh, kw]`, rows as [`Groups::file_row`] says; in
/// memory row `o` is output channel `o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Conv {
    /// Output channels.
    pub out: usize,
    /// Kernel rows and columns, both odd or the layer unpadded.
    pub kernel: (usize, usize),
    /// Taps in use.
    pub support: Support,
    /// Rows and columns of stride.
    pub stride: (usize, usize),
    /// Zero padding.
    pub pad: Pad,
    /// Channel grouping.
    pub groups: Groups,
    /// Whether a bias is read: yes, no, or if the weights have one.
    pub bias: Option<bool>,
}

impl Conv {
    pub(super) fn infer(&self, x: &Shape) -> Result<Shape, ShapeError> {
        if !x.is_image() {
            return Err(ShapeError::new(
                "shape-mismatch",
                format!("conv wants an image [C, H, W], found {x}"),
                "use `linear` for features",
            ));
        }
        let (c, h, w) = x.chw();
        let g = self.groups.count();
        if g == 0 || !c.is_multiple_of(g) || !self.out.is_multiple_of(g) {
            return Err(ShapeError::new(
                "group-count",
                format!("{g} groups do not divide {c} input and {} output channels", self.out),
                format!("choose a divisor of both, such as {}", gcd(c, self.out)),
            ));
        }
        let (kh, kw) = self.kernel;
        if kh == 0 || kw == 0 || self.out == 0 || self.stride.0 == 0 || self.stride.1 == 0 {
            return Err(ShapeError::new(
                "attribute-value",
                "kernel, stride and output channels must be at least 1",
                "use a positive number",
            ));
        }
        let (ph, pw) = (h + 2 * self.pad.h, w + 2 * self.pad.w);
        if kh > ph || kw > pw {
            return Err(ShapeError::new(
                "kernel-too-large",
                format!("a {kh}x{kw} kernel does not fit a {h}x{w} image padded to {ph}x{pw}"),
                "use a smaller kernel or more padding",
            ));
        }
        let out = Shape::image(self.out, (ph - kh) / self.stride.0 + 1, (pw - kw) / self.stride.1 + 1);
        if out.elements() > MAX_ELEMENTS {
            return Err(ShapeError::new(
                "limit",
                format!("{out} has more than 2^31 elements"),
                "use a smaller layer",
            ));
        }
        Ok(out)
    }

    /// The layer with the shape that it is applied to.
    #[must_use]
    pub fn geometry(&self, x: &Shape) -> ConvGeometry {
        let (c_in, h, w) = x.chw();
        ConvGeometry {
            c_in,
            c_out: self.out,
            h,
            w,
            kernel: self.kernel,
            stride: self.stride,
            pad: self.pad,
            groups: self.groups,
            support: self.support,
        }
    }

    /// The weight's shape for `c_in` input channels.
    #[must_use]
    pub fn weight_shape(&self, c_in: usize) -> Shape {
        Shape::of(&[self.out, c_in / self.groups.count().max(1), self.kernel.0, self.kernel.1])
    }

    pub(super) fn weights(&self, x: &Shape) -> Vec<WantedWeight> {
        let mut wanted =
            vec![WantedWeight { suffix: "weight", shape: self.weight_shape(x.channels()), optional: false }];
        if self.bias != Some(false) {
            wanted.push(WantedWeight {
                suffix: "bias",
                shape: Shape::flat(self.out),
                optional: self.bias.is_none(),
            });
        }
        wanted
    }
}

/// Batch normalisation in inference: `(x - mean) / sqrt(var + eps) * weight + bias` per channel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchNorm {
    /// Added to the variance.
    pub eps: f64,
}

impl BatchNorm {
    pub(super) fn weights(self, x: &Shape) -> Vec<WantedWeight> {
        ["weight", "bias", "running_mean", "running_var"]
            .map(|suffix| WantedWeight { suffix, shape: Shape::flat(x.channels()), optional: false })
            .to_vec()
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
