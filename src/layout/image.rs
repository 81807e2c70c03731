//! Images in blocks of slots.
//!
//! Ciphertexts are numbered phase by phase, in it tile pair by tile pair, in it by channels. A layer of
//! stride `(sy, sx)` reads its input as up to `sy * sx` phase images, of which only those are packed that
//! a tap reads, and of them only the pixels that are read.

use super::{Grid, Run};
use std::fmt;
use std::ops::Range;

/// Where the channels of an image stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Channel `c` in block `c mod capacity` of ciphertext `c / capacity`.
    Blocks,
    /// One ciphertext whose block `b` holds channel `b mod period`.
    Replicated {
        /// A power of two, at least the number of channels.
        period: usize,
    },
    /// One channel a ciphertext, a tile in each row of slots.
    Tiled,
}

/// A subsampled image: its pixel `(y, x)` is pixel `origin + stride * (y, x)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Row and column of its first pixel.
    pub origin: (usize, usize),
    /// Rows and columns of it that are packed.
    pub size: (usize, usize),
}

/// An image layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Channels, rows and columns of the tensor.
    pub shape: (usize, usize, usize),
    /// Blocks and tiles.
    pub grid: Grid,
    /// Where channels stand.
    pub spread: Spread,
    /// Rows and columns from one pixel of a phase to the next.
    pub stride: (usize, usize),
    /// The phases packed, at least one.
    pub phases: Vec<Phase>,
    /// Whether tiles hold their halo: inputs do, outputs do not.
    pub halo: Halo,
}

/// Whether tiles overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halo {
    /// Each tile with the rows around it.
    Held,
    /// Each row in one tile.
    None,
}

impl Spread {
    /// The channel, of `channels`, in `block` of the `part`-th ciphertext of a set, where a ciphertext
    /// has `blocks` blocks.
    #[must_use]
    pub fn channel(self, channels: usize, blocks: usize, part: usize, block: usize) -> Option<usize> {
        let c = match self {
            Self::Blocks => part * blocks + block,
            Self::Replicated { period } => block % period,
            Self::Tiled => part,
        };
        (c < channels).then_some(c)
    }

    /// How many ciphertexts hold `channels` channels of one phase and tile pair.
    #[must_use]
    pub fn parts(self, channels: usize, blocks: usize) -> usize {
        match self {
            Self::Blocks => channels.div_ceil(blocks),
            Self::Replicated { .. } => 1,
            Self::Tiled => channels,
        }
    }
}

impl Image {
    pub(super) fn elements(&self) -> usize {
        self.shape.0 * self.shape.1 * self.shape.2
    }

    pub(super) fn capacity(&self) -> usize {
        match (self.spread, self.grid.pairs()) {
            (Spread::Blocks | Spread::Replicated { .. }, _) => self.grid.blocks(),
            (Spread::Tiled, 1) => 1,
            (Spread::Tiled, _) => 0,
        }
    }

    /// How many ciphertexts hold the channels of one phase and tile pair.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.spread.parts(self.shape.0, self.grid.blocks())
    }

    pub(super) fn ciphertexts(&self) -> usize {
        self.phases.len() * self.grid.pairs() * self.parts()
    }

    pub(super) fn element(&self, ct: usize, slot: usize) -> Option<usize> {
        let (phase, pair, part) = self.split(ct)?;
        let (block, place) = self.grid.locate(slot)?;
        let channel = self.channel(part, block)?;
        let (row, x) = (place / self.grid.pitch, place % self.grid.pitch);
        let window = self.grid.window(pair, block, phase.size.0);
        let y = window.pixel_row(row).filter(|y| self.rows(pair, block, phase).contains(y))?;
        (x < phase.size.1).then(|| self.pixel(phase, channel, y) + x * self.stride.1)
    }

    pub(super) fn runs(&self, ct: usize, mut visit: impl FnMut(Run)) {
        let Some((phase, pair, part)) = self.split(ct) else { return };
        for block in 0..self.grid.blocks() {
            let Some(channel) = self.channel(part, block) else { continue };
            let window = self.grid.window(pair, block, phase.size.0);
            for y in self.rows(pair, block, phase) {
                visit(Run {
                    slot: self.grid.base(block) + window.local(y) * self.grid.pitch,
                    spacing: 1,
                    element: self.pixel(phase, channel, y),
                    stride: self.stride.1,
                    len: phase.size.1,
                });
            }
        }
    }

    fn split(&self, ct: usize) -> Option<(&Phase, usize, usize)> {
        let (parts, pairs) = (self.parts(), self.grid.pairs());
        Some((self.phases.get(ct / parts / pairs)?, ct / parts % pairs, ct % parts))
    }

    fn channel(&self, part: usize, block: usize) -> Option<usize> {
        self.spread.channel(self.shape.0, self.grid.blocks(), part, block)
    }

    fn rows(&self, pair: usize, block: usize, phase: &Phase) -> Range<usize> {
        let window = self.grid.window(pair, block, phase.size.0);
        match self.halo {
            Halo::Held => window.held,
            Halo::None => window.rows,
        }
    }

    /// The element of the first pixel in row `y` of `phase`.
    fn pixel(&self, phase: &Phase, channel: usize, y: usize) -> usize {
        let (_, h, w) = self.shape;
        (channel * h + phase.origin.0 + y * self.stride.0) * w + phase.origin.1
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (h, w) = self.phases.iter().fold((0, 0), |m, p| (m.0.max(p.size.0), m.1.max(p.size.1)));
        match (self.spread, self.grid.tiles) {
            (Spread::Tiled, Some(t)) => {
                write!(f, "{} tiles of {} rows ({h}x{w}), two a ciphertext", t.count, t.rows)
            }
            (Spread::Tiled | Spread::Blocks, _) => {
                write!(f, "{} blocks of {} ({h}x{w})", self.grid.blocks(), self.grid.block)
            }
            (Spread::Replicated { period }, _) => {
                let (n, block) = (self.grid.blocks(), self.grid.block);
                write!(f, "{n} blocks of {block} ({h}x{w}), channels repeated every {period}")
            }
        }?;
        match self.phases.len() {
            1 if self.stride == (1, 1) => Ok(()),
            1 => write!(f, ", 1 phase of stride {}x{}", self.stride.0, self.stride.1),
            n => write!(f, ", {n} phases of stride {}x{}", self.stride.0, self.stride.1),
        }
    }
}
