//! Shapes and plain tensors. Nothing here knows of encryption.
//!
//! A shape is either an image (channels, height, width) or flat features; data lies row-major with
//! the channel outermost.

mod conv;

pub use conv::{ConvGeometry, Groups, Pad, Support};

use serde::{Deserialize, Serialize};
use std::fmt;

/// The most elements that a tensor may have.
pub const MAX_ELEMENTS: usize = 1 << 31;

/// The most elements of an activation of a network that runs: 1 GB as integers.
pub const MAX_ACTIVATION: usize = 1 << 27;

/// The shape of an activation: `[C, H, W]` or `[F]`; no batch dimension.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// An image of `c` channels, `h` rows, `w` columns.
    #[must_use]
    pub fn image(c: usize, h: usize, w: usize) -> Self {
        Self(vec![c, h, w])
    }

    /// A vector of `n` features.
    #[must_use]
    pub fn flat(n: usize) -> Self {
        Self(vec![n])
    }

    /// A weight's shape, of any rank.
    #[must_use]
    pub fn of(dims: &[usize]) -> Self {
        Self(dims.to_vec())
    }

    /// The dimensions.
    #[must_use]
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// `(C, H, W)`; features count as channels of one pixel.
    #[must_use]
    pub fn chw(&self) -> (usize, usize, usize) {
        match *self.0.as_slice() {
            [c, h, w] => (c, h, w),
            _ => (self.elements(), 1, 1),
        }
    }

    /// Whether it is an image.
    #[must_use]
    pub fn is_image(&self) -> bool {
        self.0.len() == 3
    }

    /// Channels, or features.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.0.first().copied().unwrap_or(1)
    }

    /// The number of elements, saturating.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.0.iter().fold(1, |n, &d| n.saturating_mul(d))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[")?;
        for (i, d) in self.0.iter().enumerate() {
            write!(f, "{}{d}", if i == 0 { "" } else { ", " })?;
        }
        write!(f, "]")
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A plain tensor, row-major. `data.len() == shape.elements()`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tensor<T> {
    /// Its shape.
    pub shape: Shape,
    /// Its elements.
    pub data: Vec<T>,
}

impl<T: Clone + Default> Tensor<T> {
    /// All zeros.
    #[must_use]
    pub fn zeros(shape: Shape) -> Self {
        let data = vec![T::default(); shape.elements()];
        Self { shape, data }
    }
}

impl<T> Tensor<T> {
    /// A tensor of `data`, if there are as many elements as `shape` wants.
    #[must_use]
    pub fn new(shape: Shape, data: Vec<T>) -> Option<Self> {
        (shape.elements() == data.len()).then_some(Self { shape, data })
    }

    /// The same shape with every element mapped.
    pub fn map<U>(&self, f: impl FnMut(&T) -> U) -> Tensor<U> {
        Tensor { shape: self.shape.clone(), data: self.data.iter().map(f).collect() }
    }
}
