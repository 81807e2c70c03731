//! Packed layouts: which element of a tensor stands in which slot or coefficient of which ciphertext.
//!
//! A ciphertext has N slots in two rows of N/2; slot `u` is position `u mod N/2` of row `u / (N/2)`; or it
//! has N coefficients. What is said of slots here holds for coefficients too.
//! An element may stand in several slots (replicas, halos), a slot holds at most one element, and a slot
//! without an element is packed as 0. A [`Packing`] is a value computed from shapes alone, so both
//! parties derive the same one. Nothing here knows layers, weights or circuits.

mod coefficients;
mod features;
mod grid;
mod image;

pub use coefficients::{Coefficients, Order, Tile, Tiling};
pub use features::Features;
pub use grid::{Grid, Tiles, Window};
pub use image::{Halo, Image, Phase, Spread};

use std::fmt;

/// A layout of one tensor in ciphertexts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Channels of an image, each in a block of slots.
    Image(Image),
    /// Features, one a slot.
    Features(Features),
    /// Channels of an image, or features, in coefficients.
    Coefficients(Coefficients),
}

/// Elements `element, element + stride, ..` stand in slots `slot, slot + spacing, ..`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    slot: usize,
    spacing: usize,
    element: usize,
    stride: usize,
    len: usize,
}

impl Packing {
    /// Slots of a ciphertext: the ring degree N.
    #[must_use]
    pub fn ring(&self) -> usize {
        match self {
            Self::Image(l) => l.grid.ring,
            Self::Features(l) => l.ring,
            Self::Coefficients(l) => l.ring,
        }
    }

    /// How many ciphertexts hold the tensor.
    #[must_use]
    pub fn ciphertexts(&self) -> usize {
        match self {
            Self::Image(l) => l.ciphertexts(),
            Self::Features(l) => l.ciphertexts(),
            Self::Coefficients(l) => l.ciphertexts(),
        }
    }

    /// How many elements the tensor has.
    #[must_use]
    pub fn elements(&self) -> usize {
        match self {
            Self::Image(l) => l.elements(),
            Self::Features(l) => l.len,
            Self::Coefficients(l) => l.elements(),
        }
    }

    /// Channel capacity: how many channels fit a ciphertext; 0 if a channel needs several. For features:
    /// how many segments.
    #[must_use]
    pub fn capacity(&self) -> usize {
        match self {
            Self::Image(l) => l.capacity(),
            Self::Features(l) => l.segments(),
            Self::Coefficients(l) => l.capacity(),
        }
    }

    /// The element in `slot` of ciphertext `ct`, if any.
    #[must_use]
    pub fn element(&self, ct: usize, slot: usize) -> Option<usize> {
        if ct >= self.ciphertexts() || slot >= self.ring() {
            return None;
        }
        match self {
            Self::Image(l) => l.element(ct, slot),
            Self::Features(l) => l.element(ct, slot),
            Self::Coefficients(l) => l.element(ct, slot),
        }
    }

    /// The coefficients of ciphertext `ct` that hold an element, in ascending order; none in slots.
    #[must_use]
    pub fn sent(&self, ct: usize) -> Option<Vec<u32>> {
        let Self::Coefficients(layout) = self else { return None };
        let (first, axes) = layout.places(ct)?;
        let along = |(count, step): (usize, usize)| (0..count).map(move |i| i * step);
        let places = along(axes[0])
            .flat_map(|a| along(axes[1]).flat_map(move |b| along(axes[2]).map(move |c| first + a + b + c)));
        Some(places.filter_map(|place| u32::try_from(place).ok()).collect())
    }

    /// The slots of every ciphertext.
    ///
    /// # Panics
    /// If `values` has fewer than [`Packing::elements`] elements.
    #[must_use]
    pub fn pack(&self, values: &[u64]) -> Vec<Vec<u64>> {
        (0..self.ciphertexts()).map(|ct| self.pack_one(values, ct)).collect()
    }

    /// The slots of ciphertext `ct` alone.
    ///
    /// # Panics
    /// If `values` has fewer than [`Packing::elements`] elements.
    #[must_use]
    pub fn pack_one(&self, values: &[u64], ct: usize) -> Vec<u64> {
        let mut slots = vec![0; self.ring()];
        self.runs(ct, |run| {
            let target = slots[run.slot..].iter_mut().step_by(run.spacing).take(run.len);
            for (slot, value) in target.zip(values[run.element..].iter().step_by(run.stride)) {
                *slot = *value;
            }
        });
        slots
    }

    /// The tensor from the slots of every ciphertext; elements that are in no slot are 0.
    ///
    /// # Panics
    /// If there are fewer than [`Packing::ciphertexts`] ciphertexts, or one is shorter than N.
    #[must_use]
    pub fn unpack(&self, ciphertexts: &[Vec<u64>]) -> Vec<u64> {
        let mut values = vec![0; self.elements()];
        for (ct, slots) in ciphertexts.iter().enumerate().take(self.ciphertexts()) {
            self.runs(ct, |run| {
                let target = values[run.element..].iter_mut().step_by(run.stride);
                for (value, slot) in target.zip(slots[run.slot..].iter().step_by(run.spacing).take(run.len)) {
                    *value = *slot;
                }
            });
        }
        values
    }

    fn runs(&self, ct: usize, visit: impl FnMut(Run)) {
        match self {
            Self::Image(l) => l.runs(ct, visit),
            Self::Features(l) => l.runs(ct, visit),
            Self::Coefficients(l) => l.runs(ct, visit),
        }
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(l) => l.fmt(f),
            Self::Features(l) => l.fmt(f),
            Self::Coefficients(l) => l.fmt(f),
        }?;
        let n = self.ciphertexts();
        write!(f, ", {n} ciphertext{}", if n == 1 { "" } else { "s" })
    }
}
