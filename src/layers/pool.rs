//! Average, global average and max pooling.

use super::ShapeError;
use super::number::Number;
use crate::tensor::{Pad, Shape, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

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

/// What becomes of pixels at the end of a side that do not fill a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Rounding {
    /// They are left out.
    #[default]
    Down,
    /// They have a window, which ends beyond the padding (PyTorch's `ceil_mode=True`); of maxima only.
    Up,
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
    /// The number of windows, rounded.
    pub rounding: Rounding,
}

impl Pool {
    /// What an average divides its sum by, given the input's shape.
    #[must_use]
    pub fn divisor(&self, x: &Shape) -> usize {
        let (_, h, w) = x.chw();
        let (kh, kw) = self.windows((h, w)).kernel;
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
        let windows = self.windows((h, w));
        let (rows, columns) = windows.count();
        let mut data = Vec::with_capacity(c * rows * columns);
        for plane in x.data.chunks((h * w).max(1)) {
            data.extend(windows.positions().map(|(ys, xs)| {
                let values = ys.flat_map(|y| &plane[y * w + xs.start..y * w + xs.end]).copied();
                values.reduce(&join).unwrap_or_default()
            }));
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
        if kh == 0 || kw == 0 || sh == 0 || sw == 0 || self.pad.h > kh / 2 || self.pad.w > kw / 2 {
            return Err(ShapeError::new(
                "attribute-value",
                format!("a {kh}x{kw} window with stride {sh}x{sw} and padding {}x{}", self.pad.h, self.pad.w),
                "window and stride must be at least 1, padding at most half the window",
            ));
        }
        let (ph, pw) = (h.saturating_add(2 * self.pad.h), w.saturating_add(2 * self.pad.w));
        if kh > ph || kw > pw {
            return Err(ShapeError::new(
                "kernel-too-large",
                format!("a {kh}x{kw} window does not fit a {h}x{w} image padded to {ph}x{pw}"),
                "use a smaller window or more padding",
            ));
        }
        if self.rounding == Rounding::Up && self.kind != PoolKind::Max {
            return Err(ShapeError::new(
                "attribute-value",
                "an average has no windows that end beyond the padding",
                "pad the image, or leave the last pixels out",
            ));
        }
        let (rows, columns) = self.windows((h, w)).count();
        Ok(Shape::image(c, rows, columns))
    }
}

/// A pool's windows over a map of known size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    map: (usize, usize),
    kernel: (usize, usize),
    stride: (usize, usize),
    pad: Pad,
    rounding: Rounding,
}

impl Pool {
    /// The windows over a map of `h x w` pixels.
    #[must_use]
    pub fn windows(&self, map: (usize, usize)) -> Windows {
        match self.kind {
            PoolKind::GlobalAverage => {
                let pad = Pad { h: 0, w: 0 };
                Windows { map, kernel: map, stride: (1, 1), pad, rounding: Rounding::Down }
            }
            PoolKind::Average | PoolKind::Max => {
                let Self { kernel, stride, pad, rounding, .. } = *self;
                Windows { map, kernel, stride, pad, rounding }
            }
        }
    }
}

impl Windows {
    /// Rows and columns of windows. Rounded up, a last window still begins in the image or the padding in
    /// front of it.
    #[must_use]
    pub fn count(self) -> (usize, usize) {
        let along = |size: usize, kernel: usize, stride: usize, pad: usize| {
            let stride = stride.max(1);
            size.saturating_add(2 * pad).checked_sub(kernel).map_or(0, |room| match self.rounding {
                Rounding::Down => room / stride + 1,
                Rounding::Up => room.div_ceil(stride).min((size + pad).saturating_sub(1) / stride) + 1,
            })
        };
        (
            along(self.map.0, self.kernel.0, self.stride.0, self.pad.h),
            along(self.map.1, self.kernel.1, self.stride.1, self.pad.w),
        )
    }

    /// Pixels of all windows together, padding left out.
    #[must_use]
    pub fn pixels(self) -> usize {
        let along = |count: usize, size, kernel, stride, pad| {
            (0..count).map(|i| span(i, size, kernel, stride, pad).len()).fold(0, usize::saturating_add)
        };
        let (rows, columns) = self.count();
        let down = along(rows, self.map.0, self.kernel.0, self.stride.0, self.pad.h);
        down.saturating_mul(along(columns, self.map.1, self.kernel.1, self.stride.1, self.pad.w))
    }

    /// How many windows have so many pixels inside the map: `(pixels, windows)`, each number of pixels once.
    #[must_use]
    pub fn sizes(self) -> Vec<(usize, usize)> {
        let along = |count: usize, size, kernel, stride, pad| {
            let mut lengths = BTreeMap::new();
            for i in 0..count {
                *lengths.entry(span(i, size, kernel, stride, pad).len()).or_insert(0_usize) += 1;
            }
            lengths
        };
        let (rows, columns) = self.count();
        let down = along(rows, self.map.0, self.kernel.0, self.stride.0, self.pad.h);
        let across = along(columns, self.map.1, self.kernel.1, self.stride.1, self.pad.w);
        let mut sizes = BTreeMap::new();
        for (&height, &above) in &down {
            for (&width, &beside) in &across {
                *sizes.entry(height * width).or_insert(0_usize) += above.saturating_mul(beside);
            }
        }
        sizes.into_iter().collect()
    }

    /// Rows and columns of each window inside the map, windows in row-major order.
    pub fn positions(self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let (rows, columns) = self.count();
        (0..rows).flat_map(move |i| {
            let ys = span(i, self.map.0, self.kernel.0, self.stride.0, self.pad.h);
            let xs = move |j| span(j, self.map.1, self.kernel.1, self.stride.1, self.pad.w);
            (0..columns).map(move |j| (ys.clone(), xs(j)))
        })
    }
}

/// The pixels of window `i` along one side.
fn span(i: usize, size: usize, kernel: usize, stride: usize, pad: usize) -> Range<usize> {
    let start = i.saturating_mul(stride);
    start.saturating_sub(pad).min(size)..start.saturating_add(kernel).saturating_sub(pad).min(size)
}
