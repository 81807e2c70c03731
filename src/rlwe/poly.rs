//! Polynomials modulo several primes, with their representation as a type.
//!
//! A polynomial is one array of N words a prime, prime after prime, aligned to cache lines. The first
//! primes are those of the ciphertext modulus; an extended polynomial goes on with the special primes.
//! It does not hold its primes: every operation is given them.

use super::kernels;
use super::ntt::Limb;
use super::pool::{Pool, Words};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use zeroize::Zeroize;

/// Coefficients in natural order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coefficients {}

/// Values of the transform, see `ntt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ntt {}

/// A polynomial of degree below N modulo several primes; residues are canonical.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Poly<R> {
    words: Words,
    ring: usize,
    representation: PhantomData<R>,
}

impl<R> fmt::Debug for Poly<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poly").field("ring", &self.ring).field("primes", &self.primes()).finish()
    }
}

impl<R> Zeroize for Poly<R> {
    fn zeroize(&mut self) {
        self.words.zeroize();
    }
}

impl<R> Poly<R> {
    /// Zero modulo `primes` primes, in memory of no pool.
    pub(super) fn zero(ring: usize, primes: usize) -> Self {
        Self::of(Words::zero(ring * primes), ring)
    }

    /// Zero modulo `primes` primes, in memory that goes back to the pool.
    pub(super) fn pooled_zero(pool: &Arc<Pool>, ring: usize, primes: usize) -> Self {
        Self::of(pool.zeroed(ring * primes), ring)
    }

    /// To be written over: unspecified words modulo `primes` primes, in memory that goes back to the pool.
    pub(super) fn pooled(pool: &Arc<Pool>, ring: usize, primes: usize) -> Self {
        Self::of(pool.take(ring * primes), ring)
    }

    /// A copy in memory that goes back to the pool.
    pub(super) fn pooled_copy(&self, pool: &Arc<Pool>) -> Self {
        let mut words = pool.take(self.words.len());
        words.copy_from_slice(&self.words);
        Self::of(words, self.ring)
    }

    fn of(words: Words, ring: usize) -> Self {
        Self { words, ring, representation: PhantomData }
    }

    /// How many primes.
    pub(super) fn primes(&self) -> usize {
        self.words.len() / self.ring
    }

    /// The residues modulo prime `i`.
    pub(super) fn limb(&self, i: usize) -> &[u64] {
        &self.words[i * self.ring..(i + 1) * self.ring]
    }

    /// The residues modulo prime `i`.
    pub(super) fn limb_mut(&mut self, i: usize) -> &mut [u64] {
        &mut self.words[i * self.ring..(i + 1) * self.ring]
    }

    /// The residues, prime after prime.
    pub(super) fn limbs(&self) -> impl Iterator<Item = &[u64]> {
        self.words.chunks_exact(self.ring)
    }

    /// The residues, prime after prime.
    pub(super) fn limbs_mut(&mut self) -> impl Iterator<Item = &mut [u64]> {
        self.words.chunks_exact_mut(self.ring)
    }

    /// The residues modulo the first `primes` primes, and those modulo the others.
    pub(super) fn split_at_mut(&mut self, primes: usize) -> (&mut [u64], &mut [u64]) {
        self.words.split_at_mut(primes * self.ring)
    }

    /// Forgets all but the first `primes` primes.
    pub(super) fn truncate(&mut self, primes: usize) {
        self.words.truncate(self.ring * primes);
    }

    /// `self += other`.
    pub(super) fn add_assign(&mut self, primes: &[Limb], other: &Self) {
        for ((prime, a), b) in primes.iter().zip(self.limbs_mut()).zip(other.limbs()) {
            kernels::add(prime.modulus, a, b);
        }
    }

    /// `self -= other`.
    pub(super) fn sub_assign(&mut self, primes: &[Limb], other: &Self) {
        for ((prime, a), b) in primes.iter().zip(self.limbs_mut()).zip(other.limbs()) {
            kernels::sub(prime.modulus, a, b);
        }
    }

    fn relabelled<S>(self) -> Poly<S> {
        Poly { words: self.words, ring: self.ring, representation: PhantomData }
    }
}

impl Poly<Coefficients> {
    /// Small signed coefficients modulo each of `primes`.
    pub(super) fn from_signed(primes: &[Limb], coefficients: &[i64]) -> Self {
        let mut poly = Self::zero(coefficients.len(), primes.len());
        for (prime, limb) in primes.iter().zip(poly.limbs_mut()) {
            kernels::lift_signed(prime.modulus, coefficients, limb);
        }
        poly
    }

    /// The transform.
    pub(super) fn into_ntt(mut self, primes: &[Limb]) -> Poly<Ntt> {
        for (prime, limb) in primes.iter().zip(self.limbs_mut()) {
            prime.forward(limb);
        }
        self.relabelled()
    }
}

impl Poly<Ntt> {
    /// The coefficients.
    pub(super) fn into_coefficients(mut self, primes: &[Limb]) -> Poly<Coefficients> {
        for (prime, limb) in primes.iter().zip(self.limbs_mut()) {
            prime.inverse(limb);
            kernels::scale(prime.modulus, limb, prime.degree_inverse);
        }
        self.relabelled()
    }

    /// `self += a * b`.
    pub(super) fn multiply_add(&mut self, primes: &[Limb], a: &Self, b: &Self) {
        for (i, (prime, out)) in primes.iter().zip(self.limbs_mut()).enumerate() {
            kernels::multiply_add(prime.modulus, out, a.limb(i), b.limb(i));
        }
    }

    /// `self -= a * b`.
    pub(super) fn multiply_sub(&mut self, primes: &[Limb], a: &Self, b: &Self) {
        for (i, (prime, out)) in primes.iter().zip(self.limbs_mut()).enumerate() {
            kernels::multiply_sub(prime.modulus, out, a.limb(i), b.limb(i));
        }
    }
}
