//! Average, global average and max pooling.

use super::ShapeError;
use super::number::Number;
use crate::tensor::{Pad, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// What a pool takes of its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PoolKind {
    /// The mean; padding counts as zeros (PyTorch's `count_include_pad=True`).
    Average,
    /// The mean of the whole map; the output is features.
    GlobalAverage,
    /// The maximum; padding never wins.
    Max,
}

impl PoolKind {
    /// The word of the language.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Average => "avg_pool",
            Self::GlobalAverage => "global_avg_pool",
            Self::Max => "max_pool",
        }
    }
}

/// A pool. For [`PoolKind::GlobalAverage`] window and stride are the whole map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pool {
    /// Average or maximum.
    pub kind: PoolKind,
    /// Rows and columns of the window (ignored by the global pool).
    pub kernel: (usize, usize),
    /// Rows and columns of stride.
    pub stride: (usize, usize),
    /// Padding on each side, at most half the window.
    pub pad: Pad,
}

impl Pool {
    /// Window, stride and padding, given the input's shape.
    #[must_use]
    pub fn window(&self, x: &Shape) -> ((usize, usize), (usize, usize), Pad) {
        let (_, h, w) = x.chw();
        match self.kind {
            PoolKind::GlobalAverage => ((h, w), (h, w), Pad { h: 0, w: 0 }),
            PoolKind::Average | PoolKind::Max => (self.kernel, self.stride, self.pad),
        }
    }

    /// What an average divides its sum by, given the input's shape.
    #[must_use]
    pub fn divisor(&self, x: &Shape) -> usize {
        let ((kh, kw), ..) = self.window(x);
        kh * kw
    }

    /// The plain meaning.
    pub(crate) fn apply(&self, x: &Tensor<f32>) -> Tensor<f32> {
        match self.kind {
            PoolKind::Max => self.max(x),
            PoolKind::Average | PoolKind::GlobalAverage => {
                #[expect(clippy::cast_precision_loss, reason = "windows are far below 2^24 pixels")]
                let n = self.divisor(&x.shape) as f32;
                self.sum(x).map(|v| v / n)
            }
        }
    }

    /// The sum over each window; padding counts as zeros.
    pub(crate) fn sum<T: Number>(&self, x: &Tensor<T>) -> Tensor<T> {
        self.reduce(x, |sum, v| sum.plus(v))
    }

    /// The maximum over each window; padding never wins.
    pub(crate) fn max<T: Number>(&self, x: &Tensor<T>) -> Tensor<T> {
        self.reduce(x, |max, v| if v > max { v } else { max })
    }

    fn reduce<T: Number>(&self, x: &Tensor<T>, join: impl Fn(T, T) -> T) -> Tensor<T> {
        let (c, h, w) = x.shape.chw();
        let ((kh, kw), (sh, sw), pad) = self.window(&x.shape);
        let (rows, columns) = ((h + 2 * pad.h - kh) / sh + 1, (w + 2 * pad.w - kw) / sw + 1);
        let clip = |at: usize, k: usize, pad: usize, n: usize| at.max(pad) - pad..(at + k - pad).min(n);
        let mut data = Vec::with_capacity(c * rows * columns);
        for plane in x.data.chunks((h * w).max(1)) {
            for (i, j) in (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))) {
                let (ys, xs) = (clip(i * sh, kh, pad.h, h), clip(j * sw, kw, pad.w, w));
                let values = ys.flat_map(|y| &plane[y * w + xs.start..y * w + xs.end]).copied();
                data.push(values.reduce(&join).unwrap_or_default());
            }
        }
        let shape = match self.kind {
            PoolKind::GlobalAverage => Shape::flat(c),
            PoolKind::Average | PoolKind::Max => Shape::image(c, rows, columns),
        };
        Tensor { shape, data }
    }

    pub(super) fn infer(&self, x: &Shape) -> Result<Shape, ShapeError> {
        if !x.is_image() {
            return Err(ShapeError::new(
                "shape-mismatch",
                format!("{} wants an image [C, H, W], found {x}", self.kind.word()),
                "apply it before `flatten`",
            ));
        }
        let (c, h, w) = x.chw();
        if self.kind == PoolKind::GlobalAverage {
            return Ok(Shape::flat(c));
        }
        let ((kh, kw), (sh, sw)) = (self.kernel, self.stride);
        if kh == 0 || kw == 0 || sh == 0 || sw == 0 || 2 * self.pad.h > kh || 2 * self.pad.w > kw {
            return Err(ShapeError::new(
                "attribute-value",
                format!("a {kh}x{kw} window with stride {sh}x{sw} and padding {}x{}", self.pad.h, self.pad.w),
                "window and stride must be at least 1, padding at most half the window",
            ));
        }
        let (ph, pw) = (h + 2 * self.pad.h, w + 2 * self.pad.w);
        if kh > ph || kw > pw {
            return Err(ShapeError::new(
                "kernel-too-large",
                format!("a {kh}x{kw} window does not fit a {h}x{w} image padded to {ph}x{pw}"),
                "use a smaller window or more padding",
            ));
        }
        Ok(Shape::image(c, (ph - kh) / sh + 1, (pw - kw) / sw + 1))
    }
}
