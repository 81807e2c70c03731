//! Sums of rotated ciphertexts that are divided by the special primes once.
//!
//! Each term's digits meet its key, and the extended products of all terms are added up as they are made:
//! `sum_j sigma_j(x_j)` costs the two inverse and 2k forward transforms of the division once instead of once
//! a term, and its rounding error once. Terms that are not rotated are added as they are. Different
//! ciphertexts, different automorphisms, hoisted or not, in any order.

use super::cipher::{Ciphertext, same};
use super::error::RlweError;
use super::galois::Automorphism;
use super::galois_keys::GaloisKeys;
use super::kernels::{self, Addends, Onto};
use super::params::Parameters;
use super::poly::{Ntt, Poly};
use super::rotate::{Digits, Hoisted, complete};
use super::switch::divided;
use std::sync::Arc;

/// A sum of rotated ciphertexts, extended until it is finished.
///
/// Its noise is that of [`Noise::rotated_extended`](super::Noise::rotated_extended) for each rotated term,
/// that of the ciphertext for each other, added up, then
/// [`Noise::divided`](super::Noise::divided) once. Rotations of *one* ciphertext have dependent noises: add
/// them with [`Noise::plus_dependent`](super::Noise::plus_dependent).
#[derive(Clone, Debug)]
pub struct RotationSum {
    params: Arc<Parameters>,
    /// Modulo all primes, in the extended form of `switch`.
    parts: [Poly<Ntt>; 2],
}

impl RotationSum {
    /// An empty sum.
    #[must_use]
    pub fn new(params: &Arc<Parameters>) -> Self {
        let part = || Poly::pooled_zero(&params.scratch, params.ring(), params.primes.len());
        Self { params: params.clone(), parts: [part(), part()] }
    }

    /// Adds `source`, rotated.
    ///
    /// # Errors
    /// If the key is missing, parameters differ, or the ciphertext lacks primes; nothing is added then.
    pub fn add(&mut self, keys: &GaloisKeys, source: &Ciphertext, by: Automorphism) -> Result<(), RlweError> {
        same(&self.params, &source.params)?;
        complete(keys, source)?;
        self.add_digits(keys, Digits::stream(source)?, by)
    }

    /// Adds the source of `hoisted`, rotated.
    ///
    /// # Errors
    /// If the key is missing or parameters differ; nothing is added then.
    pub fn add_hoisted(
        &mut self,
        keys: &GaloisKeys,
        hoisted: &Hoisted<'_>,
        by: Automorphism,
    ) -> Result<(), RlweError> {
        same(&self.params, &hoisted.source.params)?;
        complete(keys, hoisted.source)?;
        self.add_digits(keys, Digits::Hoisted(hoisted), by)
    }

    /// Adds a ciphertext as it is.
    ///
    /// # Errors
    /// If parameters differ or the ciphertext lacks primes.
    pub fn add_ciphertext(&mut self, source: &Ciphertext) -> Result<(), RlweError> {
        same(&self.params, &source.params)?;
        let (expected, found) = (self.params.top(), source.primes());
        if found != expected {
            return Err(RlweError::Level { expected, found });
        }
        for (sum, part) in self.parts.iter_mut().zip(&source.parts) {
            for ((prime, sum), limb) in self.params.own().iter().zip(sum.limbs_mut()).zip(part.limbs()) {
                kernels::add(prime.modulus, sum, limb);
            }
        }
        Ok(())
    }

    /// The sum, divided by P.
    #[must_use]
    pub fn finish(self) -> Ciphertext {
        let parts = self.parts.map(|part| divided(&self.params, part));
        Ciphertext { params: self.params, parts }
    }

    fn add_digits(
        &mut self,
        keys: &GaloisKeys,
        mut digits: Digits<'_>,
        by: Automorphism,
    ) -> Result<(), RlweError> {
        let source = digits.source();
        let Some(key) = keys.key(by)? else { return self.add_ciphertext(source) };
        let params = &*self.params;
        for r in 0..params.primes.len() {
            let base = (r < params.top()).then(|| source.parts[0].limb(r));
            let addends = Addends { base, onto: Onto::Sum, ..Addends::default() };
            let [sum0, sum1] = &mut self.parts;
            key.apply(params, r, 0, &digits.at(r), addends, [sum0.limb_mut(r), sum1.limb_mut(r)]);
        }
        Ok(())
    }
}
