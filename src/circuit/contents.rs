//! What a segment's polynomials hold, and what of its outputs is sent.
//!
//! Slots are sent whole. Of an output in coefficients only the wanted ones are sent: they lie on a grid of
//! channels, rows and columns, kept as three counts and steps, for a network sends millions of them.

use crate::params::Encoding;

/// What a segment's polynomials hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Slots; every slot of an output is sent.
    Slots,
    /// Coefficients.
    Coefficients {
        /// The most coefficients of a plaintext that may be other than 0, by declaration.
        weights: u32,
        /// What is sent of each output.
        sent: Vec<Places>,
    },
}

/// So many places, each so far from the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// How many.
    pub count: u32,
    /// Coefficients from one to the next.
    pub step: u32,
}

/// Coefficients `first + a * axes[0].step + b * axes[1].step + c * axes[2].step`, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// The first coefficient.
    pub first: u32,
    /// From the widest steps to the narrowest.
    pub axes: [Axis; 3],
}

impl Contents {
    /// Their encoding.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        match self {
            Self::Slots => Encoding::Slots,
            Self::Coefficients { .. } => Encoding::Coefficients,
        }
    }

    /// The coefficients that are sent of output `output`; none if all slots are.
    #[must_use]
    pub fn sent(&self, output: usize) -> Option<Vec<u32>> {
        match self {
            Self::Slots => None,
            Self::Coefficients { sent, .. } => {
                Some(sent.get(output).map_or_else(Vec::new, |places| places.iter().collect()))
            }
        }
    }

    /// How many values of `outputs` ciphertexts of degree `ring` are sent.
    #[must_use]
    pub fn values_sent(&self, outputs: usize, ring: u32) -> u64 {
        match self {
            Self::Slots => outputs as u64 * u64::from(ring),
            Self::Coefficients { sent, .. } => sent.iter().map(Places::len).sum(),
        }
    }
}

impl Places {
    /// How many they are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.axes.iter().fold(1, |n, axis| n * u64::from(axis.count))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each of them, ascending if [`fits`](Self::fits).
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let [a, b, c] = self.axes;
        let along = |axis: Axis| (0..axis.count).map(move |i| i * axis.step);
        let first = self.first;
        along(a).flat_map(move |x| along(b).flat_map(move |y| along(c).map(move |z| first + x + y + z)))
    }

    /// Whether there is one at least, all are different, in ascending order and below `ring`.
    #[must_use]
    pub fn fits(&self, ring: u32) -> bool {
        let mut span = 0_u64;
        for axis in self.axes.iter().rev() {
            if axis.count == 0 || (axis.count > 1 && u64::from(axis.step) <= span) {
                return false;
            }
            span = span.saturating_add(u64::from(axis.count - 1) * u64::from(axis.step));
        }
        u64::from(self.first).saturating_add(span) < u64::from(ring)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart_from_what_does_not_fit() {
        let axes = |axes: [(u32, u32); 3]| axes.map(|(count, step)| Axis { count, step });
        let grid = Places { first: 5, axes: axes([(2, 20), (3, 6), (2, 3)]) };
        assert_eq!(grid.iter().collect::<Vec<_>>(), [5, 8, 11, 14, 17, 20, 25, 28, 31, 34, 37, 40]);
        assert_eq!((grid.len(), grid.is_empty()), (12, false));
        assert!(grid.fits(41) && !grid.fits(40));
        for wrong in [[(2, 15), (3, 6), (2, 3)], [(2, 20), (3, 3), (2, 3)], [(2, 20), (3, 6), (0, 3)]] {
            assert!(!Places { first: 0, axes: axes(wrong) }.fits(1 << 20), "{wrong:?}");
        }
        assert!(Places { first: 3, axes: axes([(1, 0); 3]) }.fits(4));
        assert!(!Places { first: u32::MAX, axes: axes([(u32::MAX, u32::MAX); 3]) }.fits(u32::MAX));
    }
}
