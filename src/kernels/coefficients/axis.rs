//! One axis of a convolution: which pixels its outputs read, whole or in tiles.
//!
//! ```text
//! whole   | pixels . . |      zeros behind the pixels; they pad the next row's, or channel's, front as well
//! tiles   | 0 pixels |  | halo pixels halo |  | pixels 0 |      each with all that its outputs read
//! ```
//! Outputs that read no pixel, taps that meet none and pixels that nothing reads are left out first, so no
//! kernel is longer than what it slides over.

use crate::layout::{Tile, Tiling};
use std::ops::Range;

/// What an axis reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reads {
    /// Pixels of the input.
    size: usize,
    stride: usize,
    /// Outputs that read a pixel.
    outputs: Range<usize>,
    /// Taps that meet a pixel, from the first to the last.
    pub(super) taps: Range<usize>,
    /// The first pixel that is read.
    origin: usize,
    /// Padding before it that the first output reads.
    lead: usize,
}

/// An axis cut into tiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Places of a tile, zeros among them.
    pub(super) extent: usize,
    /// Places from what one output reads to what the next one reads.
    spacing: usize,
    /// Padding that the first output reads out of the zeros before the tile.
    lead: usize,
    taps: usize,
    inputs: Vec<Tile>,
    /// Pixels from one place to the next.
    stride: usize,
    outputs: Vec<Tile>,
}

impl Reads {
    /// `None` if no output reads a pixel. Sizes and stride are at least 1, the kernel fits the padded image.
    pub(super) fn new(size: usize, kernel: usize, stride: usize, pad: usize) -> Option<Self> {
        let most = ((size + 2 * pad - kernel) / stride).min((size - 1 + pad) / stride);
        let first = (pad + 1).saturating_sub(kernel).div_ceil(stride);
        let meets = |tap: &usize| {
            let low = pad.saturating_sub(*tap).div_ceil(stride).max(first);
            let high = (size - 1 + pad).checked_sub(*tap).map(|reach| (reach / stride).min(most));
            high.is_some_and(|high| low <= high)
        };
        let taps = (0..kernel).find(meets)?..(0..kernel).rfind(meets)? + 1;
        let start = first * stride + taps.start;
        let (origin, lead) = (start.saturating_sub(pad), pad.saturating_sub(start));
        Some(Self { size, stride, outputs: first..most + 1, taps, origin, lead })
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs.len()
    }

    /// Pixels that so many outputs in a row read.
    fn window(&self, outputs: usize) -> usize {
        (outputs - 1) * self.stride + self.taps.len()
    }

    /// The most outputs of a tile of `extent` places; none if there is no room for one.
    pub(super) fn outputs_within(&self, extent: usize) -> Option<usize> {
        match self.taps.len() {
            1 => Some(extent).filter(|&n| n > 0),
            taps => extent.checked_sub(taps).map(|rest| rest / self.stride + 1),
        }
    }

    /// Tiles of `per_tile` outputs.
    pub(super) fn cut(&self, per_tile: usize) -> Cut {
        let outputs: Vec<Tile> = (0..self.outputs())
            .step_by(per_tile)
            .map(|at| Tile {
                pixel: self.outputs.start + at,
                place: 0,
                count: per_tile.min(self.outputs() - at),
            })
            .collect();
        let cut = Cut {
            extent: self.window(per_tile),
            spacing: self.stride,
            lead: 0,
            taps: self.taps.len(),
            inputs: Vec::new(),
            stride: 1,
            outputs,
        };
        match (self.taps.len(), cut.outputs.len()) {
            (1, _) => self.pixel_by_pixel(cut, per_tile),
            (_, 1) => self.whole(cut),
            _ => self.with_halo(cut, per_tile),
        }
    }

    /// One tap: only the pixels that it reads.
    fn pixel_by_pixel(&self, cut: Cut, per_tile: usize) -> Cut {
        let tile = |(at, out): (usize, &Tile)| Tile {
            pixel: self.origin + at * per_tile * self.stride,
            place: 0,
            count: out.count,
        };
        let inputs = cut.outputs.iter().enumerate().map(tile).collect();
        Cut { extent: per_tile, spacing: 1, inputs, stride: self.stride, ..cut }
    }

    /// One tile, padded by zeros behind it.
    fn whole(&self, cut: Cut) -> Cut {
        let end = self.window(self.outputs()) - self.lead;
        let held = end.min(self.size - self.origin);
        let inputs = vec![Tile { pixel: self.origin, place: 0, count: held }];
        Cut { extent: held + self.lead.max(end - held), lead: self.lead, inputs, ..cut }
    }

    /// Several tiles, padding and halo in each.
    fn with_halo(&self, cut: Cut, per_tile: usize) -> Cut {
        let tile = |(at, out): (usize, &Tile)| {
            // In pixels from `origin - lead`.
            let start = at * per_tile * self.stride;
            let end = (start + self.window(out.count)).min(self.lead + self.size - self.origin);
            let first = start.max(self.lead);
            Tile { pixel: self.origin + first - self.lead, place: first - start, count: end - first }
        };
        let inputs = cut.outputs.iter().enumerate().map(tile).collect();
        Cut { inputs, ..cut }
    }
}

impl Cut {
    pub(super) fn tiles(&self) -> usize {
        self.outputs.len()
    }

    /// Where the first output's sum of products stands, in places.
    pub(super) fn offset(&self) -> usize {
        self.taps - 1 - self.lead
    }

    /// The layout of the input, `step` coefficients a place.
    pub(super) fn input(&self, step: usize) -> Tiling {
        Tiling { tiles: self.inputs.clone(), step, stride: self.stride }
    }

    /// The layout of the wanted coefficients, `step` coefficients a place.
    pub(super) fn output(&self, step: usize) -> Tiling {
        Tiling { tiles: self.outputs.clone(), step: step * self.spacing, stride: 1 }
    }
}
