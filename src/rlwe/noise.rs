//! Noise: estimated without any key, measured with the secret one.
//!
//! An estimate is the variance of a noise coefficient; a bound is its standard deviation times the tail
//! factor that no coefficient of a ciphertext exceeds but with probability 2^-64 (subgaussian, union over
//! N). Rounding errors, key-switching digits and ternary secrets have their exact variances, plaintext
//! factors the largest norm that their range allows, so a bound does not depend on weights. The noises of
//! terms that are summed count as independent; they are where ciphertexts or plaintexts differ.

use super::cipher::Ciphertext;
use super::encode::Packing;
use super::error::RlweError;
use super::gadget::Decomposition;
use super::kernels;
use super::keys::SecretKey;
use super::modulus::Modulus;
use super::params::Parameters;
use super::random::ERROR_VARIANCE;
use zeroize::Zeroizing;

/// Variance of a rounding error, uniform over an interval of length 1.
const ROUNDING: f64 = 1.0 / 12.0;
/// Variance of a ternary coefficient.
const TERNARY: f64 = 2.0 / 3.0;
/// log2 of the probability that some coefficient exceeds a bound.
const FAILURE_BITS: f64 = 64.0;

/// The estimated noise of a ciphertext.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    variance: f64,
    /// How often the secret is a factor of it, at most.
    secrets: u32,
}

/// The squared Euclidean norm of a plaintext factor's coefficients, at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FactorNorm(f64);

impl FactorNorm {
    /// Any factor: N coefficients of magnitude t/2. Slots give no better bound, whatever is in them.
    #[must_use]
    pub fn of_slots(params: &Parameters) -> Self {
        let t = params.plain_modulus() as f64;
        Self(params.ring() as f64 * t * t / 4.0)
    }

    /// A combination of slot factors by integers whose magnitudes sum up to `weight` at most: its coefficients
    /// are that many times larger than those of an encoded factor, log2 of it in bits of noise.
    #[must_use]
    pub fn of_combination(params: &Parameters, weight: u64) -> Self {
        Self(Self::of_slots(params).0 * (weight as f64).powi(2))
    }

    /// A coefficient-packed factor of `count` coefficients that are not 0, of magnitude at most `most`.
    #[must_use]
    pub fn of_coefficients(count: usize, most: u64) -> Self {
        Self(count as f64 * (most as f64).powi(2))
    }
}

/// Variance of `e0 + e1 s` for two independent errors of variance 1.
fn masked(params: &Parameters) -> f64 {
    1.0 + params.ring() as f64 * TERNARY
}

impl Noise {
    /// No noise at all.
    #[must_use]
    pub fn none() -> Self {
        Self { variance: 0.0, secrets: 0 }
    }

    /// A fresh encryption with the secret key.
    #[must_use]
    pub fn fresh() -> Self {
        Self { variance: ERROR_VARIANCE + ROUNDING, secrets: 0 }
    }

    /// A fresh encryption with the public key.
    #[must_use]
    pub fn fresh_public(params: &Parameters) -> Self {
        let products = 2.0 * params.ring() as f64 * TERNARY;
        Self { variance: ERROR_VARIANCE * (1.0 + products) + ROUNDING, secrets: 1 }
    }

    /// The sum with another ciphertext.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { variance: self.variance + other.variance, secrets: self.secrets.max(other.secrets) }
    }

    /// The sum with a ciphertext whose noise may be the same up to an automorphism, as another rotation of
    /// one source: an automorphism leaves the constant coefficient where it is, so magnitudes add up.
    #[must_use]
    pub fn plus_dependent(self, other: Self) -> Self {
        let variance = (self.variance.sqrt() + other.variance.sqrt()).powi(2);
        Self { variance, ..self.plus(other) }
    }

    /// The sum of `terms` ciphertexts like this one.
    #[must_use]
    pub fn summed(self, terms: usize) -> Self {
        Self { variance: self.variance * terms as f64, ..self }
    }

    /// After values were added.
    #[must_use]
    pub fn plus_plain(self) -> Self {
        Self { variance: self.variance + ROUNDING, ..self }
    }

    /// After multiplication by a plaintext factor.
    #[must_use]
    pub fn times(self, factor: FactorNorm) -> Self {
        Self { variance: self.variance * factor.0, ..self }
    }

    /// The product with another ciphertext, both with `primes` primes, relinearised. With phases
    /// `Q m / t + v + Q k` it is `v_a (m_b + t k_b) + v_b (m_a + t k_a) + (t / Q) v_a v_b`, then the rounding
    /// of three polynomials and a key switch. The bracketed polynomials are `t / Q` times phases, so their
    /// coefficients have the variance `t^2 / 12` of `c0 + c1 s` for uniform c0, c1. The two noises may be the
    /// same, as in a square: magnitudes add up. Where the secret is a factor of the noise already, its
    /// transform weighs the same values once more: the mean of the d-th power of what are exponentially
    /// distributed squares is d! times that of their mean, so the d-th product costs d times the variance.
    #[must_use]
    pub fn multiplied(self, other: Self, params: &Parameters, primes: usize) -> Self {
        let (n, t) = (params.ring() as f64, params.plain_modulus() as f64);
        let noises = self.plus_dependent(other);
        let secrets = noises.secrets + 1;
        let crossed = noises.variance * n * t.powi(2) * ROUNDING * masked(params) * f64::from(secrets);
        let share = t.log2() - params.bits_at(primes.min(params.top()));
        let both = 2.0 * n * self.variance * other.variance * (2.0 * share).exp2();
        // A coefficient of s^2 sums products in pairs.
        let squared = ROUNDING * n * 2.0 * n * TERNARY.powi(2);
        let variance = crossed + both + Self::rounded(params).variance + squared;
        Self { variance, secrets }.rotated(params)
    }

    /// After a rotation.
    #[must_use]
    pub fn rotated(self, params: &Parameters) -> Self {
        self.rotated_extended(params).divided(params)
    }

    /// After a rotation that is left extended.
    #[must_use]
    pub fn rotated_extended(self, params: &Parameters) -> Self {
        let special: f64 = params.special_primes().iter().map(|&p| p as f64).product();
        let width = |primes: std::ops::Range<usize>| -> f64 {
            params.primes[primes].iter().map(|q| q.modulus.value as f64).product()
        };
        let squares: f64 = match &params.gadget.decomposition {
            Decomposition::Groups(groups) => {
                groups.iter().map(|g| width(g.first..g.first + g.len).powi(2)).sum()
            }
            Decomposition::Cuts(cuts) => cuts.iter().map(|c| (2.0 * c.digit.half as f64).powi(2)).sum(),
        };
        let digits = params.ring() as f64 * ROUNDING * squares / special.powi(2);
        Self { variance: self.variance + digits * ERROR_VARIANCE, ..self }
    }

    /// After an extended sum is divided by the special primes.
    #[must_use]
    pub fn divided(self, params: &Parameters) -> Self {
        if params.special_primes().is_empty() {
            return self;
        }
        self.plus(Self::rounded(params))
    }

    /// After the switch from `from` (at most all) to `to` primes.
    #[must_use]
    pub fn switched(self, params: &Parameters, from: usize, to: usize) -> Self {
        (to..from.min(params.top())).rev().fold(self, |noise, last| {
            let q = params.primes[last].modulus.value as f64;
            Self { variance: noise.variance / q.powi(2), ..noise }.plus(Self::rounded(params))
        })
    }

    /// The rounding of both polynomials.
    fn rounded(params: &Parameters) -> Self {
        Self { variance: ROUNDING * masked(params), secrets: 1 }
    }

    /// After both polynomials were rounded to multiples of `step`.
    #[must_use]
    pub(super) fn quantised(self, params: &Parameters, step: f64) -> Self {
        let rounded = Self::rounded(params);
        self.plus(Self { variance: step.powi(2) * rounded.variance, ..rounded })
    }

    /// log2 of the magnitude that no coefficient exceeds, but with probability 2^-64.
    #[must_use]
    pub fn bits(self, params: &Parameters) -> f64 {
        let union = FAILURE_BITS + 1.0 + (params.ring() as f64).log2();
        let tail = (2.0 * std::f64::consts::LN_2 * union).sqrt();
        (self.variance.sqrt() * tail).log2()
    }
}

impl Parameters {
    /// log2 of the noise up to which a ciphertext with `primes` primes decrypts: Q / 2t, less what
    /// decryption itself rounds. More primes than there are count as all.
    #[must_use]
    pub fn room_bits(&self, primes: usize) -> f64 {
        self.bits_at(primes.min(self.top())) - (self.plain_modulus() as f64).log2() - 1.001
    }
}

impl SecretKey {
    /// log2 of the largest noise coefficient of a ciphertext that decrypts; 0 if there is no noise.
    ///
    /// # Errors
    /// If the ciphertext is of other parameters.
    pub fn noise_bits(&self, ciphertext: &Ciphertext) -> Result<f64, RlweError> {
        let (params, primes, n) = (&self.params, ciphertext.primes(), self.params.ring());
        let mut noise = self.phase(ciphertext)?;
        let message = params.scale_down(&mut noise.clone(), primes);
        let scaled = params.scaled_message(&message, Packing::Coefficients, primes)?;
        let mut lifted = Zeroizing::new(vec![0; n]);
        for (i, limb) in noise.chunks_exact_mut(n).enumerate() {
            let prime = &params.primes[i];
            kernels::scale(prime.modulus, limb, prime.degree_inverse);
            params.scale_up(i, &scaled, &mut lifted);
            kernels::sub(prime.modulus, limb, &lifted);
        }
        let moduli: Vec<Modulus> = params.primes[..primes].iter().map(|q| q.modulus).collect();
        let largest = (0..n)
            .map(|i| {
                let residues: Vec<u64> = noise.chunks_exact(n).map(|limb| limb[i]).collect();
                magnitude(&moduli, residues)
            })
            .fold(1.0, f64::max);
        Ok(largest.log2())
    }
}

/// The magnitude of the centred integer with these residues.
fn magnitude(moduli: &[Modulus], residues: Vec<u64>) -> f64 {
    let negated = residues.iter().zip(moduli).map(|(&x, m)| m.sub(0, x)).collect();
    value(moduli, residues).min(value(moduli, negated))
}

/// The integer from 0 to Q with these residues, by its mixed-radix digits (Garner).
fn value(moduli: &[Modulus], mut residues: Vec<u64>) -> f64 {
    let (mut sum, mut weight) = (0.0, 1.0);
    for (i, q) in moduli.iter().enumerate() {
        let digit = residues[i];
        sum += digit as f64 * weight;
        weight *= q.value as f64;
        for (m, x) in moduli.iter().zip(&mut residues).skip(i + 1) {
            *x = m.mul(m.sub(*x, digit % m.value), m.invert(q.value % m.value));
        }
    }
    sum
}
