//! What words are added in: residues, or bit by bit.

use super::modulus::Modulus;

/// What words are added in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ring {
    /// Residues.
    Sum(Modulus),
    /// Words of as many bits, added bit by bit.
    Xor(u32),
}

impl Ring {
    pub(super) fn bits(self) -> u32 {
        match self {
            Self::Sum(t) => t.bits(),
            Self::Xor(bits) => bits,
        }
    }

    pub(super) fn add(self, a: u64, b: u64) -> u64 {
        match self {
            Self::Sum(t) => t.add(a, b),
            Self::Xor(_) => a ^ b,
        }
    }

    pub(super) fn sub(self, a: u64, b: u64) -> u64 {
        match self {
            Self::Sum(t) => t.sub(a, b),
            Self::Xor(_) => a ^ b,
        }
    }

    pub(super) fn negate_if(self, mask: u64, a: u64) -> u64 {
        match self {
            Self::Sum(t) => t.negate_if(mask, a),
            Self::Xor(_) => a,
        }
    }

    /// An element from 128 uniform bits.
    pub(super) fn uniform(self, bits: u128) -> u64 {
        match self {
            Self::Sum(t) => t.uniform(bits),
            Self::Xor(width) => low(bits) >> (u64::BITS - width),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half")]
fn low(bits: u128) -> u64 {
    bits as u64
}
