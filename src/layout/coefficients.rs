//! Images and features in the coefficients of polynomials (Cheetah, USENIX Security 2022).
//!
//! ```text
//! coefficient   first + channel * plane + row * rows.step + column * columns.step
//! ```
//! An input holds whole rows, `pitch` coefficients long with their padding, an output those coefficients of
//! a product that are wanted. Ciphertexts are numbered tile by tile, rows of tiles first, in a tile by
//! channels. Features are channels of one pixel.

use super::Run;
use std::fmt;

/// A layout in coefficients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coefficients {
    /// Coefficients of a ciphertext.
    pub ring: usize,
    /// Channels, rows and columns of the tensor.
    pub shape: (usize, usize, usize),
    /// Which channels are neighbours.
    pub order: Order,
    /// Channels of a ciphertext.
    pub channels: usize,
    /// The coefficient of a tile's place (0, 0) of the first channel.
    pub first: usize,
    /// Coefficients from one channel to the next.
    pub plane: usize,
    /// Tiles of rows.
    pub rows: Tiling,
    /// Tiles of columns.
    pub columns: Tiling,
}

/// The order of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As in the tensor.
    Natural,
    /// Group by group, channel `c` in group `c` modulo so many.
    Striped(usize),
}

/// Tiles along rows or columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// One at least.
    pub tiles: Vec<Tile>,
    /// Coefficients from one place to the next.
    pub step: usize,
    /// Pixels of the tensor from one place to the next.
    pub stride: usize,
}

/// Pixels `pixel, pixel + stride, ..` in places `place, place + 1, ..`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// The first pixel.
    pub pixel: usize,
    /// Its place.
    pub place: usize,
    /// How many pixels.
    pub count: usize,
}

/// A ciphertext: its tiles, its first channel in [`Order`] and how many.
struct Part {
    rows: Tile,
    columns: Tile,
    channels: std::ops::Range<usize>,
}

impl Order {
    /// The channel, of `channels`, at `place` of the order.
    #[must_use]
    pub fn channel(self, place: usize, channels: usize) -> usize {
        match self {
            Self::Natural => place,
            Self::Striped(groups) => {
                let fan = channels / groups;
                place % fan * groups + place / fan
            }
        }
    }
}

impl Coefficients {
    /// How many ciphertexts hold the channels of one tile.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.shape.0.div_ceil(self.channels)
    }

    /// How many tiles a channel is cut into.
    #[must_use]
    pub fn tiles(&self) -> usize {
        self.rows.tiles.len() * self.columns.tiles.len()
    }

    /// The coefficients that hold an element of ciphertext `ct`: the first, then counts and steps of
    /// channels, rows and columns.
    #[must_use]
    pub fn places(&self, ct: usize) -> Option<(usize, [(usize, usize); 3])> {
        let part = self.part(ct)?;
        let first = self.first + part.rows.place * self.rows.step + part.columns.place * self.columns.step;
        let counts = [
            (part.channels.len(), self.plane),
            (part.rows.count, self.rows.step),
            (part.columns.count, self.columns.step),
        ];
        Some((first, counts))
    }

    pub(super) fn ciphertexts(&self) -> usize {
        self.tiles() * self.parts()
    }

    pub(super) fn elements(&self) -> usize {
        self.shape.0 * self.shape.1 * self.shape.2
    }

    pub(super) fn capacity(&self) -> usize {
        if self.tiles() > 1 { 0 } else { self.channels }
    }

    pub(super) fn element(&self, ct: usize, coefficient: usize) -> Option<usize> {
        let part = self.part(ct)?;
        let offset = coefficient.checked_sub(self.first)?;
        let (place, offset) = (offset / self.plane, offset % self.plane);
        let (row, offset) = (offset / self.rows.step, offset % self.rows.step);
        let (column, over) = (offset / self.columns.step, offset % self.columns.step);
        let pixel = |tiling: &Tiling, tile: Tile, place: usize| {
            let from_first = place.checked_sub(tile.place).filter(|&i| i < tile.count)?;
            Some(tile.pixel + from_first * tiling.stride)
        };
        let y = pixel(&self.rows, part.rows, row)?;
        let x = pixel(&self.columns, part.columns, column)?;
        if over > 0 || place >= part.channels.len() {
            return None;
        }
        let channel = self.order.channel(part.channels.start + place, self.shape.0);
        Some((channel * self.shape.1 + y) * self.shape.2 + x)
    }

    pub(super) fn runs(&self, ct: usize, mut visit: impl FnMut(Run)) {
        let (Some(part), Some((first, _))) = (self.part(ct), self.places(ct)) else { return };
        for (place, position) in part.channels.clone().enumerate() {
            let channel = self.order.channel(position, self.shape.0);
            for i in 0..part.rows.count {
                let y = part.rows.pixel + i * self.rows.stride;
                visit(Run {
                    slot: first + place * self.plane + i * self.rows.step,
                    spacing: self.columns.step,
                    element: (channel * self.shape.1 + y) * self.shape.2 + part.columns.pixel,
                    stride: self.columns.stride,
                    len: part.columns.count,
                });
            }
        }
    }

    fn part(&self, ct: usize) -> Option<Part> {
        let (parts, across) = (self.parts(), self.columns.tiles.len());
        let (tile, part) = (ct / parts, ct % parts);
        let rows = *self.rows.tiles.get(tile / across)?;
        let columns = *self.columns.tiles.get(tile % across)?;
        let channels = part * self.channels..((part + 1) * self.channels).min(self.shape.0);
        Some(Part { rows, columns, channels })
    }
}

impl fmt::Display for Coefficients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = |tiling: &Tiling| tiling.tiles.iter().map(|tile| tile.count).max().unwrap_or(0);
        let (h, w) = (most(&self.rows), most(&self.columns));
        write!(f, "coefficients: {} channels of {h}x{w}, {} apart", self.channels, self.plane)?;
        match self.tiles() {
            1 => Ok(()),
            n => write!(f, ", {n} tiles"),
        }
    }
}
