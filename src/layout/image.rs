//! Images in blocks of slots.
//!
//! Ciphertexts are numbered phase by phase, in it tile pair by tile pair, in it by channels. A layer of
//! stride `(sy, sx)` reads its input as up to `sy * sx` phase images, of which only those are packed that
//! a tap reads, and of them only the pixels that are read.

use super::{Grid, Run};
use crate::tensor::Groups;
use std::fmt;
use std::ops::Range;

/// Where the channels of an image stand. Channels come in groups, groups stand in lanes of blocks, a
/// group's channels in the places of its lane:
/// ```text
/// block       0      1      2      3      4      5      6      7      2 lanes of 4 places
/// lane        0      1      0      1      0      1      0      1      group `round * lanes + lane`
/// place       0      0      1      1      2      2      3      3      segments of `period` places
/// ```
/// Ciphertexts are numbered round by round; tiles have one lane of one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Which channels make a group.
    pub groups: Groups,
    /// Groups side by side.
    pub lanes: usize,
    /// Blocks of a lane.
    pub places: usize,
    /// Places of a segment.
    pub period: usize,
    /// Channels of a segment, in its first places.
    pub width: usize,
    /// Channels from one segment's first to the next one's; 0 if all segments hold the same.
    pub advance: usize,
    /// Channels of a group that one ciphertext holds.
    pub per_ciphertext: usize,
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
    /// How many ciphertexts hold one group of each lane, if there are `channels` in all.
    #[must_use]
    pub fn parts_per_round(&self, channels: usize) -> usize {
        (channels / self.groups.count()).div_ceil(self.per_ciphertext)
    }

    /// How many times the lanes are filled with groups.
    #[must_use]
    pub fn rounds(&self) -> usize {
        self.groups.count().div_ceil(self.lanes)
    }

    /// How many ciphertexts hold `channels` channels of one phase and tile pair.
    #[must_use]
    pub fn parts(&self, channels: usize) -> usize {
        self.rounds().saturating_mul(self.parts_per_round(channels))
    }

    /// The group, and which of its channels, that stands in `block` of ciphertext `part`, of `channels`.
    #[must_use]
    pub fn member(&self, channels: usize, part: usize, block: usize) -> Option<(usize, usize)> {
        let per_round = self.parts_per_round(channels);
        let (lane, place) = (block % self.lanes, block / self.lanes);
        let group = part / per_round * self.lanes + lane;
        let (segment, within) = (place / self.period, place % self.period);
        let index = part % per_round * self.per_ciphertext + segment * self.advance + within;
        let groups = self.groups.count();
        let held = place < self.places && within < self.width;
        (held && group < groups && index < channels / groups).then_some((group, index))
    }

    /// The channel in `block` of ciphertext `part`, of `channels`.
    #[must_use]
    pub fn channel(&self, channels: usize, part: usize, block: usize) -> Option<usize> {
        let (group, index) = self.member(channels, part, block)?;
        Some(self.groups.member(group, index, channels))
    }
}

impl Image {
    pub(super) fn elements(&self) -> usize {
        self.shape.0 * self.shape.1 * self.shape.2
    }

    pub(super) fn capacity(&self) -> usize {
        match (self.grid.tiles, self.grid.pairs()) {
            (None, _) => self.grid.blocks(),
            (Some(_), 1) => 1,
            (Some(_), _) => 0,
        }
    }

    /// How many ciphertexts hold the channels of one phase and tile pair.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.spread.parts(self.shape.0)
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
        let block = if self.grid.tiles.is_some() { 0 } else { block };
        self.spread.channel(self.shape.0, part, block)
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
        if let Some(t) = self.grid.tiles {
            write!(f, "{} tiles of {} rows ({h}x{w}), two a ciphertext", t.count, t.rows)?;
        } else {
            write!(f, "{} blocks of {} ({h}x{w})", self.grid.blocks(), self.grid.block)?;
            self.spread.fmt(f)?;
        }
        match self.phases.len() {
            1 if self.stride == (1, 1) => Ok(()),
            1 => write!(f, ", 1 phase of stride {}x{}", self.stride.0, self.stride.1),
            n => write!(f, ", {n} phases of stride {}x{}", self.stride.0, self.stride.1),
        }
    }
}

/// What departs from one channel a block in natural order.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lanes, places, period, width, .. } = self;
        if *lanes > 1 {
            write!(f, ", {} groups in {lanes} lanes", self.groups.count())?;
        }
        if self.advance == 0 && period < places {
            write!(f, ", channels repeated every {period}")?;
        } else if width < period {
            write!(f, ", {width} of every {period} hold a channel")?;
        }
        Ok(())
    }
}
