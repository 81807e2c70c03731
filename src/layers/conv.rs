//! Convolution and the batch normalisation that follows one.

use super::number::{Number, accumulate};
use super::{ShapeError, WantedWeight};
use crate::tensor::{ConvGeometry, Groups, MAX_ELEMENTS, Pad, Shape, Support, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Elements of the patch matrix that is held at once: about a second-level cache.
const TILE: usize = 1 << 17;

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
        if self.pad.h > MAX_ELEMENTS || self.pad.w > MAX_ELEMENTS {
            return Err(ShapeError::new("limit", "padding of more than 2^31 pixels", "use less padding"));
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

    /// The input channel that column `j` of weight row `o` reads.
    #[must_use]
    pub fn input_channel(&self, o: usize, j: usize, c_in: usize) -> usize {
        match self.groups {
            Groups::Dense => j,
            Groups::Contiguous(g) => o / (self.out / g) * (c_in / g) + j,
            Groups::Striped(g) => j * g + o % g,
        }
    }

    /// The plain meaning. `weight` has [`Conv::weight_shape`], in memory order; `x` fits [`Conv::infer`].
    ///
    /// Patches are laid out as one line of output pixels for each input channel and tap, a tile of rows
    /// at a time; an output channel is a sum of weighted lines.
    pub(crate) fn apply<T: Number, W: Copy + Sync + Into<T>>(
        &self,
        x: &Tensor<T>,
        weight: &[W],
        bias: Option<&[T]>,
    ) -> Tensor<T> {
        let geometry = self.geometry(&x.shape);
        let (rows, columns) = geometry.out_size();
        let (pixels, taps) = (rows * columns, self.kernel.0 * self.kernel.1);
        let (c_in, per) = (geometry.c_in, geometry.c_in / self.groups.count() * taps);
        let tile = (TILE / (c_in * taps * columns).max(1)).clamp(1, rows);
        let mut out = Tensor::zeros(Shape::image(self.out, rows, columns));
        let mut patches = vec![T::default(); c_in * taps * tile * columns];
        for first in (0..rows).step_by(tile) {
            let n = tile.min(rows - first) * columns;
            let lines = &mut patches[..c_in * taps * n];
            lines.par_chunks_mut(n).enumerate().for_each(|(k, line)| {
                let plane = &x.data[k / taps * geometry.h * geometry.w..][..geometry.h * geometry.w];
                gather(&geometry, plane, k % taps, first, line);
            });
            let lines = &*lines;
            out.data.par_chunks_mut(pixels).enumerate().for_each_init(Vec::new, |terms, (o, map)| {
                let sums = &mut map[first * columns..][..n];
                sums.fill(bias.map_or(T::default(), |b| b[o]));
                terms.clear();
                for (j, row) in weight[o * per..][..per].chunks_exact(taps).enumerate() {
                    let seen = &lines[self.input_channel(o, j, c_in) * taps * n..][..taps * n];
                    let weighted = row.iter().map(|&w| w.into()).zip(seen.chunks_exact(n));
                    terms.extend(weighted.filter(|&(w, _)| w != T::default()));
                }
                accumulate(sums, terms);
            });
        }
        out
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
    /// The scale and the shift of one channel, from its weight, bias, mean and variance; none if the
    /// variance with `eps` is not positive.
    #[must_use]
    pub fn affine(self, weight: f32, bias: f32, mean: f32, var: f32) -> Option<(f32, f32)> {
        let spread = (f64::from(var) + self.eps).sqrt();
        let scale = f64::from(weight) / spread;
        let shift = f64::from(bias) - f64::from(mean) * scale;
        #[expect(clippy::cast_possible_truncation, reason = "rounding to the tensor's precision is meant")]
        let (scale, shift) = (scale as f32, shift as f32);
        (spread > 0.0 && scale.is_finite() && shift.is_finite()).then_some((scale, shift))
    }

    /// The plain meaning, given each channel's `(scale, shift)`.
    pub(crate) fn apply(x: &Tensor<f32>, scale: &[f32], shift: &[f32]) -> Tensor<f32> {
        let mut out = x.clone();
        let plane = (x.data.len() / x.shape.channels().max(1)).max(1);
        for ((values, s), b) in out.data.chunks_mut(plane).zip(scale).zip(shift) {
            values.iter_mut().for_each(|v| *v = *v * s + b);
        }
        out
    }

    pub(super) fn weights(self, x: &Shape) -> Vec<WantedWeight> {
        ["weight", "bias", "running_mean", "running_var"]
            .map(|suffix| WantedWeight { suffix, shape: Shape::flat(x.channels()), optional: false })
            .to_vec()
    }
}

/// Fills `line` with what tap number `tap` sees of `plane` at the output pixels from row `first` on.
fn gather<T: Number>(g: &ConvGeometry, plane: &[T], tap: usize, first: usize, line: &mut [T]) {
    let (ky, kx) = (tap / g.kernel.1, tap % g.kernel.1);
    let columns = g.out_size().1;
    for (row, out) in line.chunks_mut(columns).enumerate() {
        let y = ((first + row) * g.stride.0 + ky).wrapping_sub(g.pad.h);
        if y >= g.h {
            out.fill(T::default());
            continue;
        }
        let source = &plane[y * g.w..][..g.w];
        for (column, v) in out.iter_mut().enumerate() {
            let x = (column * g.stride.1 + kx).wrapping_sub(g.pad.w);
            *v = source.get(x).copied().unwrap_or_default();
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
