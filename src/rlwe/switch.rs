//! Key switching: digits of a polynomial, and the division by the special primes.
//!
//! The product of a polynomial with a secret that nobody has a key for is replaced by the inner product
//! of its digits with a key. That lives modulo all primes, in a scaled form called *extended*: x stands
//! as `x * P^-1` modulo a ciphertext prime and `x * N^-1 * (P/p)^-1` modulo a special prime p, so that an
//! inverse transform of the special residues and one transform a ciphertext prime divide it by P.

use super::gadget::{Decomposition, Group};
use super::kernels;
use super::modulus::{Factor, Modulus};
use super::ntt::Limb;
use super::params::Parameters;
use super::poly::{Ntt, Poly};
use super::pool::Words;

/// The N-fold coefficients of a polynomial, from which digits are cut.
#[derive(Debug)]
pub(super) struct Undigested<'a> {
    params: &'a Parameters,
    /// Prime after prime; for groups of several primes, already times the group's inverses.
    coefficients: Words,
}

impl<'a> Undigested<'a> {
    pub(super) fn new(params: &'a Parameters, poly: &Poly<Ntt>) -> Self {
        let n = params.ring();
        let mut coefficients = params.scratch.take(n * poly.primes());
        for (i, limb) in coefficients.chunks_exact_mut(n).enumerate() {
            limb.copy_from_slice(poly.limb(i));
            params.primes[i].inverse(limb);
        }
        if let Decomposition::Groups(groups) = &params.gadget.decomposition {
            for group in groups.iter().filter(|g| g.len > 1 && g.first + g.len <= poly.primes()) {
                for (i, &w) in (group.first..).zip(&group.inverses) {
                    kernels::scale(params.primes[i].modulus, &mut coefficients[i * n..(i + 1) * n], w);
                }
            }
        }
        Self { params, coefficients }
    }

    /// Digit `j` modulo prime `r`, transformed; not for a digit that reuses the polynomial itself.
    pub(super) fn digit(&self, r: usize, j: usize, out: &mut [u64]) {
        let (params, n) = (self.params, self.params.ring());
        let prime = &params.primes[r];
        let residues = |i: usize| &self.coefficients[i * n..(i + 1) * n];
        match &params.gadget.decomposition {
            Decomposition::Groups(groups) => {
                let Group { first, len, ref cofactors, ref products, .. } = groups[j];
                let from = &params.primes[first..first + len];
                if let [single] = from {
                    kernels::lift(single.modulus, prime.modulus, residues(first), out);
                } else {
                    let src = &self.coefficients[first * n..(first + len) * n];
                    convert(from, prime.modulus, src, &cofactors[r], products[r], out);
                }
            }
            Decomposition::Cuts(cuts) => {
                let cut = cuts[j];
                let from = params.primes[cut.prime].modulus;
                kernels::digit(from, prime.modulus, cut.digit, residues(cut.prime), out);
            }
        }
        prime.forward(out);
    }
}

/// The centred integer with residues `src[i] * (D / q_i)` modulo the primes q of product D, modulo
/// `to`; `factors` are those cofactors modulo `to` and `product` is D. How often D is to be subtracted is
/// found in floating point: a value within 2^-48 D of the boundary may come out on the other side, which
/// costs noise and nothing else.
fn convert(from: &[Limb], to: Modulus, src: &[u64], factors: &[Factor], product: u64, out: &mut [u64]) {
    let n = out.len();
    for (i, out) in out.iter_mut().enumerate() {
        let (mut sum, mut share) = (0, 0.5);
        for ((limb, prime), &w) in src.chunks_exact(n).zip(from).zip(factors) {
            share += limb[i] as f64 / prime.modulus.value as f64;
            sum = to.add(sum, to.scale(limb[i], w));
        }
        *out = to.sub(sum, to.mul(whole(share), product));
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a small positive count of primes"
)]
fn whole(share: f64) -> u64 {
    share as u64
}

/// The special residues of an extended polynomial, from transforms to what [`lifted`] takes.
pub(super) fn special_coefficients(params: &Parameters, special: &mut [u64]) {
    for (prime, limb) in params.primes[params.top()..].iter().zip(special.chunks_exact_mut(params.ring())) {
        prime.inverse(limb);
    }
}

/// An extended polynomial divided by P; its special residues are overwritten.
pub(super) fn divided(params: &Parameters, mut extended: Poly<Ntt>) -> Poly<Ntt> {
    let (top, ring) = (params.top(), params.ring());
    if extended.primes() == top {
        return extended;
    }
    let mut out = Poly::pooled(&params.scratch, ring, top);
    let (own, special) = extended.split_at_mut(top);
    special_coefficients(params, special);
    for (r, (out, own)) in out.limbs_mut().zip(own.chunks_exact(ring)).enumerate() {
        lifted(params, r, special, out);
        kernels::sub_from(params.primes[r].modulus, out, own);
    }
    out
}

/// What the division of an extended polynomial by P subtracts modulo ciphertext prime `r`: the centred
/// remainder over P, transformed.
pub(super) fn lifted(params: &Parameters, r: usize, special: &[u64], out: &mut [u64]) {
    let specials = &params.primes[params.top()..];
    let (prime, inverses) = (&params.primes[r], &params.gadget.special_inverses[r]);
    if let ([single], [w]) = (specials, &inverses[..]) {
        kernels::lift_scaled(single.modulus, prime.modulus, *w, special, out);
    } else {
        convert(specials, prime.modulus, special, inverses, 1, out);
    }
    prime.forward(out);
}
