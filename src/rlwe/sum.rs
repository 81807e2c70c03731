//! Sums of products of ciphertexts and encoded plaintexts, reduced once at the end.
//!
//! An accumulator holds, for each prime and each 8 coefficients, the low and the high halves of both
//! polynomials side by side; products are added to it four at a time. It is folded before its low halves
//! could overflow, so any number of terms can be summed.

use super::cipher::{Ciphertext, same};
use super::encode::Plaintext;
use super::error::RlweError;
use super::galois::LANES;
use super::kernels::{self, ACCUMULATOR, TERMS_PER_PASS, TermSlices};
use super::modulus::MOST_TERMS;
use super::params::Parameters;
use super::poly::{Ntt, Poly, Words, words};
use std::sync::Arc;

/// Unreduced sums of products of two polynomials at once, over some primes.
#[derive(Clone, Debug)]
pub(super) struct WideSums {
    words: Words,
    primes: usize,
    terms: usize,
}

impl WideSums {
    pub(super) fn new(ring: usize, primes: usize) -> Self {
        Self { words: words(ring / LANES * ACCUMULATOR * primes), primes, terms: 0 }
    }

    /// Adds `parts[0] * factor` and `parts[1] * factor` for each term.
    pub(super) fn add(&mut self, params: &Parameters, terms: &[(&[Poly<Ntt>; 2], &Poly<Ntt>)]) {
        let len = self.words.len() / self.primes;
        for pass in terms.chunks(TERMS_PER_PASS) {
            if self.terms + pass.len() > MOST_TERMS {
                for (prime, sums) in params.primes.iter().zip(self.words.chunks_exact_mut(len)) {
                    kernels::fold(prime.modulus, sums);
                }
                self.terms = 1;
            }
            self.terms += pass.len();
            for (i, sums) in self.words.chunks_exact_mut(len).enumerate() {
                let mut slices: [TermSlices<'_>; TERMS_PER_PASS] = [(&[], &[], &[]); TERMS_PER_PASS];
                for (slice, (parts, factor)) in slices.iter_mut().zip(pass) {
                    *slice = (parts[0].limb(i), parts[1].limb(i), factor.limb(i));
                }
                kernels::accumulate(sums, &slices[..pass.len()]);
            }
        }
    }

    /// The sums modulo each prime.
    pub(super) fn reduce(&self, params: &Parameters) -> [Poly<Ntt>; 2] {
        let len = self.words.len() / self.primes;
        let ring = params.ring();
        let mut parts = [Poly::zero(ring, self.primes), Poly::zero(ring, self.primes)];
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
        Self { sums: WideSums::new(params.ring(), params.top()), params: params.clone() }
    }

    /// Adds terms; four at a time are quickest.
    ///
    /// # Errors
    /// If parameters differ or a ciphertext lacks primes; nothing is added then.
    pub fn add(&mut self, terms: &[(&Ciphertext, &Plaintext)]) -> Result<(), RlweError> {
        let top = self.params.top();
        for (ciphertext, factor) in terms {
            same(&self.params, &ciphertext.params)?;
            factor.fits(&self.params, top)?;
            let found = ciphertext.primes();
            if found < top {
                return Err(RlweError::Level { expected: top, found });
            }
        }
        for pass in terms.chunks(TERMS_PER_PASS) {
            let mut refs = [(&pass[0].0.parts, &pass[0].1.poly); TERMS_PER_PASS];
            for (slot, (c, p)) in refs.iter_mut().zip(pass) {
                *slot = (&c.parts, &p.poly);
            }
            self.sums.add(&self.params, &refs[..pass.len()]);
        }
        Ok(())
    }

    /// The sum.
    #[must_use]
    pub fn finish(&self) -> Ciphertext {
        Ciphertext { params: self.params.clone(), parts: self.sums.reduce(&self.params) }
    }
}
