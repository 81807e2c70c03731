//! Values to plaintext polynomials and back.
//!
//! A message is N values modulo t, either slots (two rows of N/2, index `row * N/2 + i`; products are
//! slot by slot) or coefficients (products are negacyclic convolutions). As a factor it is lifted to
//! `-t/2..t/2` and transformed modulo each prime. As an addend it is scaled up to `round(Q m / t)`, not
//! `floor(Q/t) m`: with r the centred residue of `-Q m` modulo t, `round(Q m / t) = (Q m + r) / t`, which
//! is `r / t` modulo every prime of Q.

use super::error::RlweError;
use super::kernels;
use super::modulus::{MOST_TERMS, Modulus, low};
use super::ntt::Limb;
use super::packed::{PackedPoly, packed_words};
use super::params::Parameters;
use zeroize::Zeroizing;

/// Where the values of a message lie in its polynomial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Two rows of N/2 slots.
    Slots,
    /// The N coefficients.
    Coefficients,
}

/// Which primes an encoded factor covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The ciphertext primes: for products with ciphertexts.
    Ciphertext,
    /// The special primes too: also for products inside a double-hoisted sum.
    Extended,
}

/// A message encoded as a factor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plaintext {
    pub(super) poly: PackedPoly,
    /// That of its parameters.
    fingerprint: [u8; 16],
}

impl Plaintext {
    /// Refuses a factor of other parameters or without all of the first `primes` primes.
    pub(super) fn fits(&self, params: &Parameters, primes: usize) -> Result<(), RlweError> {
        if self.fingerprint != params.fingerprint() {
            return Err(RlweError::Mixed);
        }
        let found = self.poly.primes();
        if found < primes { Err(RlweError::Level { expected: primes, found }) } else { Ok(()) }
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.poly.bytes()
    }
}

impl Parameters {
    /// Encodes N signed integers, taken modulo t, for multiplication.
    ///
    /// # Errors
    /// If there are not N values.
    pub fn encode(&self, values: &[i64], packing: Packing, basis: Basis) -> Result<Plaintext, RlweError> {
        let t = self.plain.modulus;
        let mut message = self.scratch.take(self.ring());
        self.place(values, packing, &mut message, |x| reduce_signed(t, x))?;
        if packing == Packing::Slots {
            self.plain.inverse(&mut message);
            kernels::scale(t, &mut message, self.plain.degree_inverse);
        }
        let poly = PackedPoly::new(&self.scratch, self.ring(), self.basis(basis), |_, prime, row| {
            kernels::lift(t, prime.modulus, &message, row);
            prime.forward(row);
        });
        Ok(Plaintext { poly, fingerprint: self.fingerprint() })
    }

    /// Bytes of memory that an encoded factor takes.
    #[must_use]
    pub fn plaintext_bytes(&self, basis: Basis) -> usize {
        let words = |m| packed_words(m, self.ring());
        size_of::<u64>() * self.basis(basis).iter().map(|prime| words(prime.modulus)).sum::<usize>()
    }

    fn basis(&self, basis: Basis) -> &[Limb] {
        match basis {
            Basis::Ciphertext => self.own(),
            Basis::Extended => &self.primes,
        }
    }

    /// The linear combination of encoded factors, without encoding anew. Its coefficients are not reduced
    /// modulo t: its norm is [`FactorNorm::of_combination`](super::FactorNorm::of_combination), and so many
    /// bits larger is the noise of its products.
    ///
    /// # Errors
    /// If there is no factor or more than 4096, or one is of other parameters.
    pub fn combine(&self, terms: &[(i64, &Plaintext)]) -> Result<Plaintext, RlweError> {
        terms.iter().try_for_each(|(_, factor)| factor.fits(self, 0))?;
        let primes = terms.iter().map(|(_, factor)| factor.poly.primes()).min().unwrap_or(0);
        if !(1..=MOST_TERMS).contains(&terms.len()) {
            let count = terms.len();
            return Err(RlweError::Count { what: "factors", count, least: 1, most: MOST_TERMS });
        }
        let mut residues: Vec<(&[u64], u64)> = Vec::with_capacity(terms.len());
        let poly = PackedPoly::new(&self.scratch, self.ring(), &self.primes[..primes], |i, prime, row| {
            residues.clear();
            residues.extend(terms.iter().map(|(c, factor)| (factor.poly.limb(i), prime.modulus.residue(*c))));
            kernels::combine(prime.modulus, &residues, row);
        });
        Ok(Plaintext { poly, fingerprint: self.fingerprint() })
    }

    /// The centred residue r of `-Q m` modulo t, as residues, for Q the first `primes` primes.
    ///
    /// # Errors
    /// If there are not N values, or one is not below t.
    pub(super) fn scaled_message(
        &self,
        values: &[u64],
        packing: Packing,
        primes: usize,
    ) -> Result<Zeroizing<Vec<u64>>, RlweError> {
        let t = self.plain.modulus;
        if let Some(&value) = values.iter().find(|&&x| x >= t.value) {
            return Err(RlweError::Value { value, plain: t.value });
        }
        let mut message = Zeroizing::new(vec![0; self.ring()]);
        self.place(values, packing, &mut message, |x| x)?;
        let [plain, turned] = self.level(primes).scale_up;
        let factor = match packing {
            Packing::Coefficients => plain,
            Packing::Slots => {
                self.plain.inverse(&mut message);
                turned
            }
        };
        kernels::scale(t, &mut message, factor);
        Ok(message)
    }

    /// `round(Q m / t)` modulo prime `i`, in coefficients, from [`Self::scaled_message`].
    pub(super) fn scale_up(&self, i: usize, scaled: &[u64], out: &mut [u64]) {
        let (t, q) = (self.plain.modulus, self.primes[i].modulus);
        kernels::lift_scaled(t, q, self.plain_inverses[i], scaled, out);
    }

    /// `round(t x / Q)` modulo t, from N times the coefficients of x, which are overwritten.
    pub(super) fn scale_down(&self, x: &mut [u64], primes: usize) -> Zeroizing<Vec<u64>> {
        let level = self.level(primes);
        let n = self.ring();
        for ((limb, prime), &w) in x.chunks_exact_mut(n).zip(&self.primes).zip(&level.recombine) {
            kernels::scale(prime.modulus, limb, w);
        }
        let t = self.plain.modulus;
        let mut out = Zeroizing::new(vec![0; n]);
        for (i, out) in out.iter_mut().enumerate() {
            let (mut whole, mut fraction) = (0u64, 1u128 << 63);
            for (limb, &(integer, part)) in x.chunks_exact(n).zip(&level.scale_down) {
                whole += limb[i] * integer;
                fraction += u128::from(limb[i]) * u128::from(part);
            }
            *out = t.reduce_wide(whole + low(fraction >> 64), 0);
        }
        out
    }

    /// The values of a message polynomial with coefficients modulo t, which are overwritten.
    pub(super) fn unplace(&self, message: &mut [u64], packing: Packing) -> Vec<u64> {
        match packing {
            Packing::Coefficients => message.to_vec(),
            Packing::Slots => {
                self.plain.forward(message);
                self.slots.iter().map(|&i| message[i as usize]).collect()
            }
        }
    }

    /// Puts values where the packing wants them, before the inverse transform.
    fn place<T: Copy>(
        &self,
        values: &[T],
        packing: Packing,
        out: &mut [u64],
        residue: impl Fn(T) -> u64,
    ) -> Result<(), RlweError> {
        if values.len() != self.ring() {
            return Err(RlweError::Length { expected: self.ring(), found: values.len() });
        }
        match packing {
            Packing::Slots => {
                for (out, &slot) in out.iter_mut().zip(&self.entries) {
                    *out = residue(values[slot as usize]);
                }
            }
            Packing::Coefficients => {
                for (out, &value) in out.iter_mut().zip(values) {
                    *out = residue(value);
                }
            }
        }
        Ok(())
    }
}

/// A signed integer modulo t; quick where its magnitude is below t.
#[inline(always)]
fn reduce_signed(t: Modulus, x: i64) -> u64 {
    let (word, bound) = (x.cast_unsigned(), t.value);
    let raised = word.min(word.wrapping_add(bound));
    if raised < bound { raised } else { t.residue(x) }
}
