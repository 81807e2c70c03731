//! Features of a linear layer, one a slot.
//!
//! ```text
//! | 0 1 .. width-1 . . | advance .. advance+width-1 . . | ...     each segment `pitch` slots long
//! ```
//! With `advance = 0` every segment holds the same features.

use super::Run;
use std::fmt;

/// A layout of features in segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Slots of a ciphertext.
    pub ring: usize,
    /// How many features.
    pub len: usize,
    /// Slots of a segment; divides N/2.
    pub pitch: usize,
    /// Features of a segment, in its first slots.
    pub width: usize,
    /// Features from one segment's first to the next one's.
    pub advance: usize,
    /// Features from one ciphertext's first to the next one's; positive.
    pub per_ciphertext: usize,
}

impl Features {
    pub(super) fn segments(&self) -> usize {
        self.ring / self.pitch
    }

    pub(super) fn ciphertexts(&self) -> usize {
        self.len.div_ceil(self.per_ciphertext)
    }

    pub(super) fn element(&self, ct: usize, slot: usize) -> Option<usize> {
        let (segment, place) = (slot / self.pitch, slot % self.pitch);
        let end = self.len.min((ct + 1) * self.per_ciphertext);
        let element = ct * self.per_ciphertext + segment * self.advance + place;
        (place < self.width && element < end).then_some(element)
    }

    pub(super) fn runs(&self, ct: usize, mut visit: impl FnMut(Run)) {
        let end = self.len.min((ct + 1) * self.per_ciphertext);
        for segment in 0..self.segments() {
            let element = ct * self.per_ciphertext + segment * self.advance;
            if element < end {
                let len = self.width.min(end - element);
                visit(Run { slot: segment * self.pitch, spacing: 1, element, stride: 1, len });
            }
        }
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n, width, pitch) = (self.segments(), self.width, self.pitch);
        match self.advance {
            0 => write!(f, "{n} copies of {width} features"),
            _ => write!(f, "{n} segments of {width} features, one every {pitch} slots"),
        }
    }
}
