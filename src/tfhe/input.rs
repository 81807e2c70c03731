//! Where an image's values lie in the coefficients of its ciphertexts.
//!
//! Row by row, framed by the zeros that the first convolutions pad with, as many channels a ciphertext as fit:
//!
//! ```text
//!  0 0 0 0 0 . .    two channels of 2x3, padded by 1: a row's right frame is the left one of the next.
//!  0 a b c 0 d e f  Then a convolution is one product with a polynomial of the kernel's weights: the
//!  0 0 0 0 0        coefficient at an output's first pixel is the output.
//! ```
//!
//! A channel that does not fit a ciphertext with its frame lies without one, across ciphertexts if need be.

use super::params::RING;
use crate::graph::LayerWeights;
use crate::layers::Conv;
use crate::tensor::Shape;
use serde::{Deserialize, Serialize};

/// The layout of an input; what a client needs to know of a model, beside its normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputLayout {
    /// Channels, rows, columns.
    pub size: (usize, usize, usize),
    /// Rows and columns of zeros around a channel.
    pub frame: (usize, usize),
    /// Channels in a ciphertext; 0: values follow each other across ciphertexts, without frame.
    pub channels: usize,
}

/// A weight of a product: what coefficient `offset` beyond an output's own counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tap {
    /// Which of the input's ciphertexts.
    pub ciphertext: usize,
    /// Offset of the coefficient.
    pub offset: usize,
    /// The weight, times the ratio of the accumulator's step to the input's.
    pub weight: i64,
}

/// A convolution of the input as products of polynomials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// The weights of each output channel.
    pub taps: Vec<Vec<Tap>>,
    /// The coefficient of each output pixel of a channel.
    pub positions: Vec<usize>,
}

impl InputLayout {
    /// The layout of `shape` for convolutions that pad by up to `frame`.
    #[must_use]
    pub fn new(shape: &Shape, frame: (usize, usize)) -> Self {
        let size = shape.chw();
        for frame in [frame, (0, 0)] {
            let layout = Self { size, frame, channels: 1 };
            if let Some(channels @ 1..) = RING.checked_div(layout.plane()) {
                return Self { channels: channels.min(size.0.max(1)), ..layout };
            }
        }
        Self { size, frame: (0, 0), channels: 0 }
    }

    fn row(&self) -> usize {
        self.size.2.saturating_add(self.frame.1)
    }

    /// Coefficients of a channel.
    fn plane(&self) -> usize {
        let rows = self.size.1.saturating_add(self.frame.0.saturating_mul(2));
        rows.saturating_mul(self.row()).saturating_add(self.frame.1)
    }

    /// How many ciphertexts.
    #[must_use]
    pub fn ciphertexts(&self) -> usize {
        let (c, h, w) = self.size;
        match self.channels {
            0 => (c * h * w).div_ceil(RING),
            channels => c.div_ceil(channels),
        }
    }

    /// Ciphertext and coefficient of an element.
    #[must_use]
    pub fn position(&self, element: usize) -> (usize, usize) {
        let (_, h, w) = self.size;
        if self.channels == 0 {
            return (element / RING, element % RING);
        }
        let (channel, y, x) = (element / (h * w).max(1), element / w.max(1) % h.max(1), element % w.max(1));
        let inside = (y + self.frame.0) * self.row() + x + self.frame.1;
        (channel / self.channels, channel % self.channels * self.plane() + inside)
    }

    /// `conv` of the input as products, its weights times `factor`; none if its padding is not in the frame.
    #[must_use]
    pub fn product(&self, conv: &Conv, weights: &LayerWeights, factor: i64) -> Option<Product> {
        let (c, h, w) = self.size;
        if self.channels == 0 || conv.pad.h > self.frame.0 || conv.pad.w > self.frame.1 {
            return None;
        }
        let (kh, kw) = conv.kernel;
        let columns = c / conv.groups.count().max(1);
        let mut taps = Vec::with_capacity(conv.out);
        for (o, weight) in weights.weight.data.chunks((columns * kh * kw).max(1)).enumerate() {
            let mut channel_taps = Vec::new();
            for (i, &weight) in weight.iter().enumerate().filter(|(_, w)| **w != 0) {
                let channel = conv.input_channel(o, i / (kh * kw), c);
                let inside = i / kw % kh * self.row() + i % kw;
                channel_taps.push(Tap {
                    ciphertext: channel / self.channels,
                    offset: channel % self.channels * self.plane() + inside,
                    weight: i64::from(weight).wrapping_mul(factor),
                });
            }
            taps.push(channel_taps);
        }
        let geometry = conv.geometry(&Shape::image(c, h, w));
        let (rows, across) = geometry.out_size();
        let first = (self.frame.0 - conv.pad.h) * self.row() + self.frame.1 - conv.pad.w;
        let position = |y, x| first + y * conv.stride.0 * self.row() + x * conv.stride.1;
        let positions = (0..rows).flat_map(|y| (0..across).map(move |x| position(y, x))).collect();
        Some(Product { taps, positions })
    }
}
