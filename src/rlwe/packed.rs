//! Residues packed to the bits of their prime: what is streamed from memory, factors and keys, is kept so.
//!
//! Residue i of b bits takes the bits from `b i` on, little-endian, so 8 neighbours take b bytes, whatever b is.
//! At the end of every prime's residues lie [`PADDING`] words that are 0: the vector kernels load 64 bytes for
//! every 8 residues. What is packed is never secret.

use super::kernels;
use super::modulus::Modulus;
use super::ntt::Limb;
use super::pool::{Pool, Words};
use std::sync::Arc;

/// Words after the last residue.
pub(super) const PADDING: usize = 8;

/// Words that `len` residues modulo `m` take.
pub(super) fn packed_words(m: Modulus, len: usize) -> usize {
    (len * m.bits() as usize).div_ceil(64) + PADDING
}

/// Residue `i` of packed ones.
#[inline(always)]
pub(super) fn residue(m: Modulus, packed: &[u64], i: usize) -> u64 {
    let bit = i * m.bits() as usize;
    let two = u128::from(packed[bit / 64 + 1]) << 64 | u128::from(packed[bit / 64]);
    super::modulus::low(two >> (bit % 64)) & ((1 << m.bits()) - 1)
}

/// A polynomial modulo several primes, packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PackedPoly {
    words: Words,
    /// The word at which each prime's residues begin, then the end.
    starts: Vec<usize>,
}

impl PackedPoly {
    /// Each prime's residues are written to a row of words by `fill`, given the prime and its number.
    pub(super) fn new(
        pool: &Arc<Pool>,
        ring: usize,
        primes: &[Limb],
        mut fill: impl FnMut(usize, &Limb, &mut [u64]),
    ) -> Self {
        let mut starts = vec![0; primes.len() + 1];
        for (i, prime) in primes.iter().enumerate() {
            starts[i + 1] = starts[i] + packed_words(prime.modulus, ring);
        }
        let mut words = pool.take(starts[primes.len()]);
        let mut row = pool.take(ring);
        for (i, prime) in primes.iter().enumerate() {
            fill(i, prime, &mut row);
            kernels::pack(prime.modulus, &row, &mut words[starts[i]..starts[i + 1]]);
        }
        Self { words, starts }
    }

    /// How many primes.
    pub(super) fn primes(&self) -> usize {
        self.starts.len() - 1
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.words)
    }

    /// The packed residues modulo prime `i`, which is `m`, from coefficient `first` (a multiple of 64) on.
    pub(super) fn limb_from(&self, i: usize, m: Modulus, first: usize) -> &[u64] {
        debug_assert!(first.is_multiple_of(64));
        &self.words[self.starts[i] + first / 64 * m.bits() as usize..self.starts[i + 1]]
    }

    /// The packed residues modulo prime `i`.
    pub(super) fn limb(&self, i: usize) -> &[u64] {
        &self.words[self.starts[i]..self.starts[i + 1]]
    }
}
