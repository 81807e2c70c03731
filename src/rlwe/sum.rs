//! Sums of products of ciphertexts and encoded plaintexts, reduced once at the end.
//!
//! An accumulator holds, for each prime and each 8 coefficients, the low and the high halves of both
//! polynomials side by side; products are added to it four at a time. All terms of a call are added to one
//! tile of it before the next, so that it stays in the nearest cache while operands stream by. It is folded
//! before its low halves could overflow, so any number of terms can be summed.

use super::cipher::{Ciphertext, same};
use super::encode::Plaintext;
use super::error::RlweError;
use super::galois::LANES;
use super::kernels::{self, ACCUMULATOR, TERMS_PER_PASS, TermSlices};
use super::modulus::{MOST_TERMS, Modulus};
use super::params::Parameters;
use super::poly::{Ntt, Poly};
use super::pool::Words;
use std::sync::Arc;

/// Coefficients of a tile, whose accumulator of 16 KiB fits the nearest cache.
const TILE: usize = 512;

/// A term: both polynomials of the first are multiplied by the second.
pub(super) type Product<'a> = (&'a [Poly<Ntt>; 2], &'a Poly<Ntt>);

/// Adds the products modulo prime `i` of the coefficients in a tile to its accumulator, which sums `count`
/// products already; returns how many then.
fn add_tile<'a, T>(
    (m, i): (Modulus, usize),
    sums: &mut [u64],
    first: usize,
    (terms, product): (&'a [T], impl Fn(&'a T) -> Product<'a>),
    mut count: usize,
) -> usize {
    let range = first..first + sums.len() / ACCUMULATOR * LANES;
    for pass in terms.chunks(TERMS_PER_PASS) {
        if count + pass.len() > MOST_TERMS {
            kernels::fold(m, sums);
            count = 1;
        }
        count += pass.len();
        let mut slices: [TermSlices<'_>; TERMS_PER_PASS] = [(&[], &[], &[]); TERMS_PER_PASS];
        for (slice, term) in slices.iter_mut().zip(pass) {
            let (parts, factor) = product(term);
            let tile = |poly: &'a Poly<Ntt>| &poly.limb(i)[range.clone()];
            *slice = (tile(&parts[0]), tile(&parts[1]), tile(factor));
        }
        kernels::accumulate(sums, &slices[..pass.len()]);
    }
    count
}

/// Sums of products over the ciphertext primes, all tile by tile: nothing but results is written to memory, and
/// what several sums multiply is read from it once.
fn sums_of_products(params: &Arc<Parameters>, sums: &[&[(&Ciphertext, &Plaintext)]]) -> Vec<Ciphertext> {
    let tile = TILE.min(params.ring());
    let mut outs: Vec<_> = sums.iter().map(|_| Ciphertext::unset(params, params.top())).collect();
    let mut accumulator = params.scratch.take(tile / LANES * ACCUMULATOR);
    for (i, prime) in params.own().iter().enumerate() {
        for at in (0..params.ring()).step_by(tile) {
            for (terms, out) in sums.iter().zip(&mut outs) {
                accumulator.fill(0);
                add_tile((prime.modulus, i), &mut accumulator, at, (terms, product), 0);
                let [out0, out1] = out.parts.each_mut().map(|part| &mut part.limb_mut(i)[at..at + tile]);
                kernels::reduce(prime.modulus, &accumulator, out0, out1);
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
    pub(super) fn add<'a, T>(
        &mut self,
        params: &Parameters,
        terms: &'a [T],
        product: impl Fn(&'a T) -> Product<'a> + Copy,
    ) {
        let tile = TILE.min(params.ring());
        let len = tile / LANES * ACCUMULATOR;
        let tiles = params.ring() / tile;
        let before = self.terms;
        for (index, sums) in self.words.chunks_exact_mut(len).enumerate() {
            let (i, at) = (index / tiles, index % tiles * tile);
            let m = params.primes[i].modulus;
            self.terms = add_tile((m, i), sums, at, (terms, product), before);
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
        let mut sums = Self::of_each(params, &[terms])?;
        Ok(sums.swap_remove(0))
    }

    /// Several sums, quicker than one after the other where they multiply the same ciphertexts: each part of
    /// those is then read from memory once.
    ///
    /// # Errors
    /// If parameters differ or a ciphertext lacks primes.
    pub fn of_each(
        params: &Arc<Parameters>,
        sums: &[&[(&Ciphertext, &Plaintext)]],
    ) -> Result<Vec<Ciphertext>, RlweError> {
        sums.iter().copied().flatten().try_for_each(|term| accepts(params, term))?;
        Ok(sums_of_products(params, sums))
    }

    /// Adds terms; the more at a time the quicker, in steps of four.
    ///
    /// # Errors
    /// If parameters differ or a ciphertext lacks primes; nothing is added then.
    pub fn add(&mut self, terms: &[(&Ciphertext, &Plaintext)]) -> Result<(), RlweError> {
        terms.iter().try_for_each(|term| accepts(&self.params, term))?;
        self.sums.add(&self.params, terms, product);
        Ok(())
    }

    /// The sum.
    #[must_use]
    pub fn finish(&self) -> Ciphertext {
        Ciphertext { params: self.params.clone(), parts: self.sums.reduce(&self.params) }
    }
}

fn accepts(
    params: &Arc<Parameters>,
    &(ciphertext, factor): &(&Ciphertext, &Plaintext),
) -> Result<(), RlweError> {
    same(params, &ciphertext.params)?;
    factor.fits(params, params.top())?;
    let (expected, found) = (params.top(), ciphertext.primes());
    if found < expected { Err(RlweError::Level { expected, found }) } else { Ok(()) }
}

fn product<'a>(&(ciphertext, factor): &(&'a Ciphertext, &'a Plaintext)) -> Product<'a> {
    (&ciphertext.parts, &factor.poly)
}
