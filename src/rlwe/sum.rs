//! Sums of products of ciphertexts and encoded plaintexts, reduced once at the end.
//!
//! All terms of a call are added up for one tile of coefficients before the next. Sums over the same
//! ciphertexts are made four at a time: a tile of those is then in a near cache, each residue is loaded once
//! for four products, the accumulators are registers, and factors stream by, each read once. A sum that grows
//! holds, for each prime and each 8 coefficients, the low and the high halves of both polynomials side by
//! side, and is folded before its low halves could overflow, so it can have any number of terms.

use super::cipher::{Ciphertext, same};
use super::encode::Plaintext;
use super::error::RlweError;
use super::galois::LANES;
use super::kernels::{self, ACCUMULATOR, SUMS, SharedSums};
use super::modulus::MOST_TERMS;
use super::packed::PackedPoly;
use super::params::Parameters;
use super::poly::{Ntt, Poly};
use super::pool::Words;
use std::sync::Arc;

/// Coefficients of a tile.
const TILE: usize = 512;

/// A term: both polynomials of the first are multiplied by the second.
pub(super) type Product<'a> = (&'a [Poly<Ntt>; 2], &'a PackedPoly);

/// Sums of products over the ciphertext primes, all tile by tile: nothing but results is written to memory, and
/// what the sums multiply is read from it once.
fn sums_of_products(
    params: &Arc<Parameters>,
    ciphertexts: &[&Ciphertext],
    sums: &[&[&Plaintext]],
) -> Vec<Ciphertext> {
    let tile = TILE.min(params.ring());
    let mut outs: Vec<_> = sums.iter().map(|_| Ciphertext::unset(params, params.top())).collect();
    let mut operands = Vec::with_capacity(ciphertexts.len());
    let mut factors = Vec::with_capacity(SUMS * ciphertexts.len());
    for (i, prime) in params.own().iter().enumerate() {
        for at in (0..params.ring()).step_by(tile) {
            operands.clear();
            operands
                .extend(ciphertexts.iter().map(|c| c.parts.each_ref().map(|x| &x.limb(i)[at..at + tile])));
            for (sums, outs) in sums.chunks(SUMS).zip(outs.chunks_mut(SUMS)) {
                factors.clear();
                for j in 0..ciphertexts.len() {
                    factors.extend(sums.iter().map(|sum| sum[j].poly.limb_from(i, prime.modulus, at)));
                }
                let mut tiles: [[&mut [u64]; 2]; SUMS] = Default::default();
                for (tiles, out) in tiles.iter_mut().zip(&mut *outs) {
                    *tiles = out.parts.each_mut().map(|part| &mut part.limb_mut(i)[at..at + tile]);
                }
                let job = SharedSums { modulus: prime.modulus, operands: &operands, factors: &factors };
                kernels::sum_products(&job, &mut tiles[..sums.len()]);
            }
        }
    }
    outs
}

/// Unreduced sums of products of two polynomials at once, over some primes.
#[derive(Clone, Debug)]
pub(super) struct WideSums {
    words: Words,
    primes: usize,
    terms: usize,
}

impl WideSums {
    pub(super) fn new(params: &Parameters, primes: usize) -> Self {
        let words = params.scratch.zeroed(params.ring() / LANES * ACCUMULATOR * primes);
        Self { words, primes, terms: 0 }
    }

    /// Adds products.
    pub(super) fn add<'a>(&mut self, params: &Parameters, terms: impl Iterator<Item = Product<'a>>) {
        let terms: Vec<Product<'a>> = terms.collect();
        let tile = TILE.min(params.ring());
        let tiles = params.ring() / tile;
        let (mut operands, mut factors) = (Vec::new(), Vec::new());
        for pass in terms.chunks(MOST_TERMS - 1) {
            let full = self.terms + pass.len() > MOST_TERMS;
            self.terms = pass.len() + if full { 1 } else { self.terms };
            for (index, sums) in self.words.chunks_exact_mut(tile / LANES * ACCUMULATOR).enumerate() {
                let (i, at) = (index / tiles, index % tiles * tile);
                let modulus = params.primes[i].modulus;
                if full {
                    kernels::fold(modulus, sums);
                }
                operands.clear();
                operands.extend(pass.iter().map(|(x, _)| x.each_ref().map(|x| &x.limb(i)[at..at + tile])));
                factors.clear();
                factors.extend(pass.iter().map(|(_, factor)| factor.limb_from(i, modulus, at)));
                let job = SharedSums { modulus, operands: &operands, factors: &factors };
                kernels::accumulate(&job, sums);
            }
        }
    }

    /// The sums modulo each prime.
    pub(super) fn reduce(&self, params: &Parameters) -> [Poly<Ntt>; 2] {
        let len = self.words.len() / self.primes;
        let part = || Poly::pooled(&params.scratch, params.ring(), self.primes);
        let mut parts = [part(), part()];
        let [first, second] = &mut parts;
        let outs = first.limbs_mut().zip(second.limbs_mut());
        for ((prime, sums), (out0, out1)) in params.primes.iter().zip(self.words.chunks_exact(len)).zip(outs)
        {
            kernels::reduce(prime.modulus, sums, out0, out1);
        }
        parts
    }
}

/// A sum of ciphertext times plaintext over any number of terms.
#[derive(Clone, Debug)]
pub struct DotProduct {
    params: Arc<Parameters>,
    sums: WideSums,
}

impl DotProduct {
    /// An empty sum of ciphertexts with all ciphertext primes.
    #[must_use]
    pub fn new(params: &Arc<Parameters>) -> Self {
        Self { sums: WideSums::new(params, params.top()), params: params.clone() }
    }

    /// The sum of exactly these terms, quicker than one that grows.
    ///
    /// # Errors
    /// If parameters differ or a ciphertext lacks primes.
    pub fn of(
        params: &Arc<Parameters>,
        terms: &[(&Ciphertext, &Plaintext)],
    ) -> Result<Ciphertext, RlweError> {
        let (ciphertexts, factors): (Vec<_>, Vec<_>) = terms.iter().copied().unzip();
        let mut sums = Self::of_each(params, &ciphertexts, &[&factors])?;
        Ok(sums.swap_remove(0))
    }

    /// Several sums over the same ciphertexts, each with its own factors, quicker than one after the other:
    /// the ciphertexts are read from memory once.
    ///
    /// # Errors
    /// If parameters differ, a ciphertext lacks primes, or a sum has not as many factors as there are
    /// ciphertexts.
    pub fn of_each(
        params: &Arc<Parameters>,
        ciphertexts: &[&Ciphertext],
        factors: &[&[&Plaintext]],
    ) -> Result<Vec<Ciphertext>, RlweError> {
        ciphertexts.iter().try_for_each(|ciphertext| accepts(params, ciphertext))?;
        factors.iter().copied().flatten().try_for_each(|factor| factor.fits(params, params.top()))?;
        let expected = ciphertexts.len();
        if let Some(other) = factors.iter().find(|factors| factors.len() != expected) {
            return Err(RlweError::Length { expected, found: other.len() });
        }
        if expected <= MOST_TERMS {
            return Ok(sums_of_products(params, ciphertexts, factors));
        }
        let growing = factors.iter().map(|factors| {
            let mut sum = Self::new(params);
            sum.sums.add(params, ciphertexts.iter().zip(*factors).map(|(c, f)| (&c.parts, &f.poly)));
            sum.finish()
        });
        Ok(growing.collect())
    }

    /// Adds terms; the more at a time the quicker.
    ///
    /// # Errors
    /// If parameters differ or a ciphertext lacks primes; nothing is added then.
    pub fn add(&mut self, terms: &[(&Ciphertext, &Plaintext)]) -> Result<(), RlweError> {
        for (ciphertext, factor) in terms {
            accepts(&self.params, ciphertext)?;
            factor.fits(&self.params, self.params.top())?;
        }
        self.sums.add(&self.params, terms.iter().map(|(c, factor)| (&c.parts, &factor.poly)));
        Ok(())
    }

    /// The sum.
    #[must_use]
    pub fn finish(&self) -> Ciphertext {
        Ciphertext { params: self.params.clone(), parts: self.sums.reduce(&self.params) }
    }
}

fn accepts(params: &Arc<Parameters>, ciphertext: &Ciphertext) -> Result<(), RlweError> {
    same(params, &ciphertext.params)?;
    let (expected, found) = (params.top(), ciphertext.primes());
    if found < expected { Err(RlweError::Level { expected, found }) } else { Ok(()) }
}
