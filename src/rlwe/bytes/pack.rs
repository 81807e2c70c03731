//! Residues packed to a number of bits, little-endian, each array padded to whole bytes.

use crate::rlwe::modulus::low;

/// Bytes that `len` residues of `bits` bits take.
pub(super) fn packed_len(len: usize, bits: u32) -> usize {
    (len * bits as usize).div_ceil(8)
}

/// Writes bytes.
#[derive(Debug)]
pub(super) struct Packer {
    out: Vec<u8>,
}

impl Packer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes) }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Residues below `2^bits`, at most 63 bits.
    pub(super) fn residues(&mut self, bits: u32, residues: &[u64]) {
        let (mut pending, mut filled) = (0u128, 0);
        for &x in residues {
            pending |= u128::from(x) << filled;
            filled += bits;
            if filled >= 64 {
                self.out.extend_from_slice(&low(pending).to_le_bytes());
                pending >>= 64;
                filled -= 64;
            }
        }
        let rest = filled.div_ceil(8) as usize;
        self.out.extend_from_slice(&pending.to_le_bytes()[..rest]);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.out
    }
}

/// Reads bytes; every method gives nothing where too few are left.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Bytes not yet read.
    pub(super) fn left(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn array<const LEN: usize>(&mut self) -> Option<[u8; LEN]> {
        let (array, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(*array)
    }

    /// Fills `out` with residues of `bits` bits, at most 63; the largest of them.
    pub(super) fn residues(&mut self, bits: u32, out: &mut [u64]) -> Option<u64> {
        let (packed, rest) = self.bytes.split_at_checked(packed_len(out.len(), bits))?;
        self.bytes = rest;
        let (words, tail) = packed.as_chunks::<8>();
        let mut last = [0; 8];
        last[..tail.len()].copy_from_slice(tail);
        let mut words = words.iter().chain([&last]).map(|word| u128::from(u64::from_le_bytes(*word)));
        let (mut pending, mut filled, mut largest) = (0u128, 0, 0);
        for out in out {
            if filled < bits {
                pending |= words.next()? << filled;
                filled += 64;
            }
            *out = low(pending) & ((1 << bits) - 1);
            largest = largest.max(*out);
            pending >>= bits;
            filled -= bits;
        }
        Some(largest)
    }
}
