//! The secret key, the public key, and encryption and decryption with them.
//!
//! A ciphertext `(c0, c1)` of m has `c0 + c1 s = round(Q m / t) + noise` modulo Q. Secrets and errors
//! are wiped after use; no secret is ever shown.

use super::cipher::{Ciphertext, same};
use super::encode::Packing;
use super::error::RlweError;
use super::kernels;
use super::params::Parameters;
use super::poly::{Coefficients, Ntt, Poly};
use super::pool::Words;
use super::random::{Randomness, Seed, expand};
use std::fmt;
use std::sync::Arc;
use zeroize::{Zeroize, Zeroizing};

/// A ternary secret. Never printed, wiped when dropped.
pub struct SecretKey {
    pub(super) params: Arc<Parameters>,
    /// Its coefficients.
    pub(super) coefficients: Zeroizing<Vec<i64>>,
    /// Its transform modulo all primes.
    pub(super) transform: Zeroizing<Poly<Ntt>>,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// An encryption of zero that everybody can encrypt with; its uniform half is a seed.
#[derive(Clone, Debug)]
pub struct PublicKey {
    pub(super) params: Arc<Parameters>,
    pub(super) seed: Seed,
    pub(super) masked: Poly<Ntt>,
    /// The expanded seed.
    pub(super) uniform: Poly<Ntt>,
}

/// A fresh symmetric encryption: half the bytes, its uniform half is a seed.
#[derive(Clone, Debug)]
pub struct SeededCiphertext {
    pub(super) params: Arc<Parameters>,
    pub(super) seed: Seed,
    pub(super) masked: Poly<Ntt>,
}

impl SeededCiphertext {
    /// The ciphertext itself.
    #[must_use]
    pub fn expand(self) -> Ciphertext {
        let uniform = expand(&self.seed, 0, self.params.ring(), self.params.own());
        Ciphertext { parts: [self.masked, uniform], params: self.params }
    }
}

impl SecretKey {
    /// A fresh key.
    #[must_use]
    pub fn generate(params: &Arc<Parameters>, randomness: &mut Randomness) -> Self {
        let mut coefficients = Zeroizing::new(vec![0; params.ring()]);
        randomness.ternary(&mut coefficients);
        Self::from_coefficients(params, coefficients)
    }

    pub(super) fn from_coefficients(params: &Arc<Parameters>, coefficients: Zeroizing<Vec<i64>>) -> Self {
        let transform = Poly::<Coefficients>::from_signed(&params.primes, &coefficients);
        let transform = Zeroizing::new(transform.into_ntt(&params.primes));
        Self { params: params.clone(), coefficients, transform }
    }

    /// The parameters it was made for.
    #[must_use]
    pub fn parameters(&self) -> &Arc<Parameters> {
        &self.params
    }

    /// A fresh public key.
    #[must_use]
    pub fn public_key(&self, randomness: &mut Randomness) -> PublicKey {
        let params = self.params.clone();
        let seed = randomness.seed();
        let uniform = expand(&seed, 0, params.ring(), params.own());
        let mut masked = error(&params, randomness, params.top());
        masked.multiply_sub(params.own(), &uniform, &self.transform);
        PublicKey { params, seed, masked, uniform }
    }

    /// Encrypts N values below t.
    ///
    /// # Errors
    /// If there are not N values, or one is not below t.
    pub fn encrypt(
        &self,
        values: &[u64],
        packing: Packing,
        randomness: &mut Randomness,
    ) -> Result<SeededCiphertext, RlweError> {
        let (params, n) = (self.params.clone(), self.params.ring());
        let scaled = params.scaled_message(values, packing, params.top())?;
        let seed = randomness.seed();
        let uniform = expand(&seed, 0, n, params.own());
        let mut masked = noisy(&params, randomness, Some(&scaled));
        masked.multiply_sub(params.own(), &uniform, &self.transform);
        Ok(SeededCiphertext { params, seed, masked })
    }

    /// Decrypts to N values below t.
    ///
    /// # Errors
    /// If the ciphertext is of other parameters.
    pub fn decrypt(&self, ciphertext: &Ciphertext, packing: Packing) -> Result<Vec<u64>, RlweError> {
        let mut phase = self.phase(ciphertext)?;
        let mut message = self.params.scale_down(&mut phase, ciphertext.primes());
        Ok(self.params.unplace(&mut message, packing))
    }

    /// N times the coefficients of `c0 + c1 s`.
    pub(super) fn phase(&self, ciphertext: &Ciphertext) -> Result<Zeroizing<Vec<u64>>, RlweError> {
        same(&self.params, &ciphertext.params)?;
        let [c0, c1] = &ciphertext.parts;
        let mut phase = Zeroizing::new(vec![0; self.params.ring() * ciphertext.primes()]);
        let limbs = phase.chunks_exact_mut(self.params.ring()).zip(&self.params.primes);
        for (i, (limb, prime)) in limbs.enumerate() {
            limb.copy_from_slice(c0.limb(i));
            kernels::multiply_add(prime.modulus, limb, c1.limb(i), self.transform.limb(i));
            prime.inverse(limb);
        }
        Ok(phase)
    }
}

impl PublicKey {
    /// Encrypts N values below t.
    ///
    /// # Errors
    /// If there are not N values, or one is not below t.
    pub fn encrypt(
        &self,
        values: &[u64],
        packing: Packing,
        randomness: &mut Randomness,
    ) -> Result<Ciphertext, RlweError> {
        let scaled = self.params.scaled_message(values, packing, self.params.top())?;
        Ok(self.encrypt_scaled(Some(&scaled), randomness))
    }

    /// A fresh encryption of zero.
    #[must_use]
    pub fn encrypt_zero(&self, randomness: &mut Randomness) -> Ciphertext {
        self.encrypt_scaled(None, randomness)
    }

    fn encrypt_scaled(&self, scaled: Option<&[u64]>, randomness: &mut Randomness) -> Ciphertext {
        let params = &self.params;
        let own = params.own();
        let mut ternary = Zeroizing::new(vec![0; params.ring()]);
        randomness.ternary(&mut ternary);
        let mask = Zeroizing::new(Poly::<Coefficients>::from_signed(own, &ternary).into_ntt(own));
        let mut c0 = noisy(params, randomness, scaled);
        c0.multiply_add(own, &self.masked, &mask);
        let mut c1 = noisy(params, randomness, None);
        c1.multiply_add(own, &self.uniform, &mask);
        Ciphertext { params: params.clone(), parts: [c0, c1] }
    }
}

/// A fresh error modulo the first `primes` primes, transformed.
pub(super) fn error(params: &Parameters, randomness: &mut Randomness, primes: usize) -> Poly<Ntt> {
    let mut errors = Zeroizing::new(vec![0; params.ring()]);
    randomness.errors(&mut errors);
    let primes = &params.primes[..primes];
    Poly::<Coefficients>::from_signed(primes, &errors).into_ntt(primes)
}

/// A scaled message, if any, plus a fresh error, transformed.
fn noisy(params: &Parameters, randomness: &mut Randomness, scaled: Option<&[u64]>) -> Poly<Ntt> {
    let Some(scaled) = scaled else { return error(params, randomness, params.top()) };
    let mut errors = Zeroizing::new(vec![0; params.ring()]);
    randomness.errors(&mut errors);
    let mut poly = Poly::<Coefficients>::zero(params.ring(), params.top());
    let mut lifted = Words::zero(params.ring());
    for (i, (prime, limb)) in params.own().iter().zip(poly.limbs_mut()).enumerate() {
        params.scale_up(i, scaled, limb);
        kernels::lift_signed(prime.modulus, &errors, &mut lifted);
        kernels::add(prime.modulus, limb, &lifted);
    }
    lifted.zeroize();
    poly.into_ntt(params.own())
}
