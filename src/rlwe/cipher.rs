//! Ciphertexts and what can be done with them without any key.

use super::encode::{Packing, Plaintext};
use super::error::RlweError;
use super::kernels;
use super::params::Parameters;
use super::poly::{Ntt, Poly};
use std::sync::Arc;

/// A ciphertext: two polynomials modulo the first primes of its parameters.
#[derive(Debug, PartialEq)]
pub struct Ciphertext {
    pub(super) params: Arc<Parameters>,
    pub(super) parts: [Poly<Ntt>; 2],
}

impl Clone for Ciphertext {
    fn clone(&self) -> Self {
        let parts = self.parts.each_ref().map(|part| part.pooled_copy(&self.params.scratch));
        Self { params: self.params.clone(), parts }
    }
}

/// Refuses objects of two parameters.
pub(super) fn same(a: &Arc<Parameters>, b: &Arc<Parameters>) -> Result<(), RlweError> {
    if Arc::ptr_eq(a, b) || a == b { Ok(()) } else { Err(RlweError::Mixed) }
}

impl Ciphertext {
    /// An encryption of zero without noise or mask, to sum into.
    #[must_use]
    pub fn zero(params: &Arc<Parameters>) -> Self {
        let part = || Poly::pooled_zero(&params.scratch, params.ring(), params.top());
        Self { params: params.clone(), parts: [part(), part()] }
    }

    /// To be written over: modulo the first `primes` primes, its residues unspecified.
    pub(super) fn unset(params: &Arc<Parameters>, primes: usize) -> Self {
        let part = || Poly::pooled(&params.scratch, params.ring(), primes);
        Self { params: params.clone(), parts: [part(), part()] }
    }

    /// The parameters it was made for.
    #[must_use]
    pub fn parameters(&self) -> &Arc<Parameters> {
        &self.params
    }

    /// How many primes its modulus has.
    #[must_use]
    pub fn primes(&self) -> usize {
        self.parts[0].primes()
    }

    /// `self += other`.
    ///
    /// # Errors
    /// If the parameters or levels differ.
    pub fn add_assign(&mut self, other: &Self) -> Result<(), RlweError> {
        self.matches(other)?;
        for (a, b) in self.parts.iter_mut().zip(&other.parts) {
            a.add_assign(&self.params.primes, b);
        }
        Ok(())
    }

    /// `self -= other`.
    ///
    /// # Errors
    /// If the parameters or levels differ.
    pub fn sub_assign(&mut self, other: &Self) -> Result<(), RlweError> {
        self.matches(other)?;
        for (a, b) in self.parts.iter_mut().zip(&other.parts) {
            a.sub_assign(&self.params.primes, b);
        }
        Ok(())
    }

    /// Adds N values below t.
    ///
    /// # Errors
    /// If there are not N values, or one is not below t.
    pub fn add_plain(&mut self, values: &[u64], packing: Packing) -> Result<(), RlweError> {
        let scaled = self.params.scaled_message(values, packing, self.primes())?;
        let params = &self.params;
        let mut lifted = params.scratch.take(params.ring());
        for (i, (prime, limb)) in params.primes.iter().zip(self.parts[0].limbs_mut()).enumerate() {
            params.scale_up(i, &scaled, &mut lifted);
            prime.forward(&mut lifted);
            kernels::add(prime.modulus, limb, &lifted);
        }
        Ok(())
    }

    /// Multiplies by an encoded plaintext.
    ///
    /// # Errors
    /// If the plaintext is of other parameters or lacks one of the ciphertext's primes.
    pub fn multiply_plain(&self, factor: &Plaintext) -> Result<Self, RlweError> {
        factor.fits(&self.params, self.primes())?;
        let params = &*self.params;
        let mut product = Self::unset(&self.params, self.primes());
        let mut row = params.scratch.take(params.ring());
        for (i, prime) in params.primes[..self.primes()].iter().enumerate() {
            kernels::unpack(prime.modulus, factor.poly.limb(i), &mut row);
            for (out, part) in product.parts.iter_mut().zip(&self.parts) {
                kernels::multiply(prime.modulus, out.limb_mut(i), part.limb(i), &row);
            }
        }
        Ok(product)
    }

    /// Forgets all but the first `primes` primes of an encryption of zero, which stays one.
    pub(super) fn truncate(&mut self, primes: usize) {
        self.parts.iter_mut().for_each(|part| part.truncate(primes));
    }

    /// Divides modulus and noise by the last prime: one prime fewer.
    ///
    /// # Errors
    /// If there is but one prime.
    pub fn switch_down(&mut self) -> Result<(), RlweError> {
        let primes = self.primes();
        if primes < 2 {
            return Err(RlweError::Level { expected: 2, found: primes });
        }
        let params = self.params.clone();
        let (own, last) = (&params.primes[..primes - 1], &params.primes[primes - 1]);
        let mut residue = params.scratch.take(params.ring());
        let mut lifted = params.scratch.take(params.ring());
        for part in &mut self.parts {
            residue.copy_from_slice(part.limb(primes - 1));
            last.inverse(&mut residue);
            kernels::scale(last.modulus, &mut residue, last.degree_inverse);
            part.truncate(primes - 1);
            for ((prime, limb), &w) in own.iter().zip(part.limbs_mut()).zip(&params.level(primes).drop) {
                kernels::lift_scaled(last.modulus, prime.modulus, w, &residue, &mut lifted);
                prime.forward(&mut lifted);
                kernels::scale(prime.modulus, limb, w);
                kernels::sub(prime.modulus, limb, &lifted);
            }
        }
        Ok(())
    }

    /// Refuses another ciphertext of other parameters or another level.
    pub(super) fn matches(&self, other: &Self) -> Result<(), RlweError> {
        same(&self.params, &other.params)?;
        if self.primes() == other.primes() {
            Ok(())
        } else {
            Err(RlweError::Level { expected: self.primes(), found: other.primes() })
        }
    }
}
