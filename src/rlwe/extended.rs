//! Double hoisting: rotated ciphertexts stay extended, are multiplied by plaintexts and summed, and the
//! sum is divided by the special primes once.
//!
//! The key is the outermost loop: each part of it is read once for several ciphertexts.

use super::cipher::{Ciphertext, same};
use super::encode::Plaintext;
use super::error::RlweError;
use super::galois::{Automorphism, LANES};
use super::galois_keys::GaloisKeys;
use super::kernels::Addends;
use super::params::Parameters;
use super::poly::{Ntt, Poly};
use super::rotate::{Hoisted, complete};
use super::sum::WideSums;
use super::switch::divided;
use std::sync::Arc;

/// Blocks of 8 coefficients of a key that several ciphertexts use while the cache holds them.
const TILE: usize = 64;

/// A ciphertext in extended form, before the division by P: what double-hoisted sums are made of.
#[derive(Clone, Debug)]
pub struct Extended {
    params: Arc<Parameters>,
    parts: [Poly<Ntt>; 2],
}

impl Extended {
    /// Zero, to be written over.
    #[must_use]
    pub fn zero(params: &Arc<Parameters>) -> Self {
        let part = || Poly::pooled_zero(&params.scratch, params.ring(), params.primes.len());
        Self { params: params.clone(), parts: [part(), part()] }
    }

    /// A ciphertext with all its primes as it is, for the terms of a sum that are not rotated.
    fn set(&mut self, source: &Ciphertext) {
        for (part, from) in self.parts.iter_mut().zip(&source.parts) {
            let mut limbs = from.limbs();
            for limb in part.limbs_mut() {
                match limbs.next() {
                    Some(residues) => limb.copy_from_slice(residues),
                    None => limb.fill(0),
                }
            }
        }
    }
}

impl GaloisKeys {
    /// One rotation of several hoisted ciphertexts, left extended. Each part of the key is read from
    /// memory once for all of them; four are a good number.
    ///
    /// # Errors
    /// If the key is missing, parameters differ, or there are not as many targets as sources.
    pub fn rotate_extended(
        &self,
        hoisted: &[&Hoisted<'_>],
        by: Automorphism,
        out: &mut [Extended],
    ) -> Result<(), RlweError> {
        if hoisted.len() != out.len() {
            return Err(RlweError::Length { expected: hoisted.len(), found: out.len() });
        }
        let params = &*self.params;
        for (source, out) in hoisted.iter().zip(&*out) {
            complete(self, source.source)?;
            same(&self.params, &out.params)?;
        }
        let Some(key) = self.key(by)? else {
            hoisted.iter().zip(out).for_each(|(source, out)| out.set(source.source));
            return Ok(());
        };
        let blocks = params.ring() / LANES;
        for r in 0..params.primes.len() {
            for first in (0..blocks).step_by(TILE) {
                let tile = TILE.min(blocks - first);
                for (source, out) in hoisted.iter().zip(&mut *out) {
                    let range = first * LANES..(first + tile) * LANES;
                    let slices = source.slices(r, range.clone());
                    let base = (r < params.top()).then(|| &source.source.parts[0].limb(r)[range]);
                    let addends = Addends { base, ..Addends::default() };
                    let [out0, out1] = &mut out.parts;
                    let halves = [out0.limb_mut(r), out1.limb_mut(r)];
                    key.apply(params, r, first, &slices, addends, halves);
                }
            }
        }
        Ok(())
    }
}

/// A double-hoisted sum: extended ciphertexts times plaintexts, divided by P once.
#[derive(Clone, Debug)]
pub struct ExtendedSum {
    params: Arc<Parameters>,
    sums: WideSums,
}

impl ExtendedSum {
    /// An empty sum.
    #[must_use]
    pub fn new(params: &Arc<Parameters>) -> Self {
        Self { sums: WideSums::new(params, params.primes.len()), params: params.clone() }
    }

    /// Adds terms, of plaintexts encoded for [`Basis::Extended`](super::Basis); the more at a time the
    /// quicker, in steps of four.
    ///
    /// # Errors
    /// If parameters differ or a plaintext lacks the special primes; nothing is added then.
    pub fn add(&mut self, terms: &[(&Extended, &Plaintext)]) -> Result<(), RlweError> {
        let expected = self.params.primes.len();
        for (ciphertext, factor) in terms {
            same(&self.params, &ciphertext.params)?;
            factor.fits(&self.params, expected)?;
        }
        let terms = terms.iter().map(|&(ciphertext, factor)| (&ciphertext.parts, &factor.poly));
        self.sums.add(&self.params, terms);
        Ok(())
    }

    /// The sum, divided by P.
    #[must_use]
    pub fn finish(&self) -> Ciphertext {
        let parts = self.sums.reduce(&self.params).map(|part| divided(&self.params, part));
        Ciphertext { params: self.params.clone(), parts }
    }
}
