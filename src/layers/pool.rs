//! Average, global average and max pooling.

use super::ShapeError;
use crate::tensor::{Pad, Shape};
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
