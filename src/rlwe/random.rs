//! Randomness: where it comes from and how it is shaped.
//!
//! Secrets and errors come from one `ChaCha20` stream, public seeds from another, each keyed by the
//! operating system. Ternary and error sampling take the same time for every outcome. Uniform residues
//! are drawn by rejection from a stream that is public.

use super::error::RlweError;
use super::modulus::{Modulus, low};
use super::ntt::Limb;
use super::poly::{Ntt, Poly};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::fmt;
use zeroize::Zeroize;

/// A public seed, from which the uniform half of a ciphertext or key is expanded.
pub type Seed = [u8; 32];

/// Parameter eta of the centred binomial error: a difference of two sums of 21 bits, variance 10.5.
pub(super) const ETA: u32 = 21;
/// Variance of an error coefficient.
pub(super) const ERROR_VARIANCE: f64 = ETA as f64 / 2.0;

/// Words drawn from a stream at once.
const DRAW: usize = 512;

/// A source of secret and of public randomness.
pub struct Randomness {
    secret: ChaCha20Rng,
    public: ChaCha20Rng,
}

impl fmt::Debug for Randomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Randomness(..)")
    }
}

impl Drop for Randomness {
    fn drop(&mut self) {
        self.secret = ChaCha20Rng::from_seed([0; 32]);
        std::hint::black_box(&mut self.secret);
    }
}

impl Randomness {
    /// Keyed by the operating system.
    ///
    /// # Errors
    /// If it has no entropy.
    pub fn from_os() -> Result<Self, RlweError> {
        let mut keys = [[0u8; 32]; 2];
        for key in &mut keys {
            getrandom::fill(key).map_err(|_| RlweError::Entropy)?;
        }
        let randomness =
            Self { secret: ChaCha20Rng::from_seed(keys[0]), public: ChaCha20Rng::from_seed(keys[1]) };
        keys.zeroize();
        Ok(randomness)
    }

    /// Repeatable, so without any secrecy: for tests and benchmarks.
    #[must_use]
    pub fn insecure_from_seed(seed: u64) -> Self {
        let stream = |id| {
            let mut stream = ChaCha20Rng::seed_from_u64(seed);
            stream.set_stream(id);
            stream
        };
        Self { secret: stream(1), public: stream(2) }
    }

    /// A fresh public seed.
    pub(super) fn seed(&mut self) -> Seed {
        let mut seed = [0; 32];
        self.public.fill_bytes(&mut seed);
        seed
    }

    /// Coefficients of the centred binomial distribution.
    pub(super) fn errors(&mut self, out: &mut [i64]) {
        const HALF: u64 = (1 << ETA) - 1;
        self.each_word(out, |x| i64::from(ones(x & HALF)) - i64::from(ones((x >> ETA) & HALF)));
    }

    /// Coefficients that are -1, 0 or 1, each with probability 1/3 up to 2^-64.
    pub(super) fn ternary(&mut self, out: &mut [i64]) {
        self.each_word(out, |x| low((u128::from(x) * 3) >> 64).cast_signed() - 1);
    }

    /// Uniform secret residues modulo `m`; the time depends only on the rejected draws.
    pub(super) fn residues(&mut self, m: Modulus, out: &mut [u64]) {
        fill_uniform(&mut self.secret, m, out);
    }

    /// Secret words.
    pub(super) fn secret_words(&mut self, out: &mut [u64]) {
        draw(&mut self.secret, out);
    }

    fn each_word(&mut self, out: &mut [i64], shape: impl Fn(u64) -> i64) {
        let mut raw = [0u64; DRAW];
        for chunk in out.chunks_mut(DRAW) {
            let raw = &mut raw[..chunk.len()];
            draw(&mut self.secret, raw);
            for (out, &word) in chunk.iter_mut().zip(&*raw) {
                *out = shape(word);
            }
        }
        raw.zeroize();
    }
}

/// How many bits of `x` (below 2^32) are set, by the same instructions for every x.
fn ones(x: u64) -> u8 {
    let x = x - ((x >> 1) & 0x5555_5555);
    let x = (x & 0x3333_3333) + ((x >> 2) & 0x3333_3333);
    let x = (x + (x >> 4)) & 0x0f0f_0f0f;
    x.wrapping_mul(0x0101_0101).to_le_bytes()[3]
}

/// A uniform polynomial expanded from a public seed. `stream` tells apart the polynomials of one seed.
pub(super) fn expand(seed: &Seed, stream: u64, ring: usize, primes: &[Limb]) -> Poly<Ntt> {
    let mut rng = ChaCha20Rng::from_seed(*seed);
    rng.set_stream(stream);
    let mut poly = Poly::zero(ring, primes.len());
    for (prime, limb) in primes.iter().zip(poly.limbs_mut()) {
        fill_uniform(&mut rng, prime.modulus, limb);
    }
    poly
}

/// Little-endian words of the stream.
fn draw(rng: &mut ChaCha20Rng, out: &mut [u64]) {
    let mut bytes = [0u8; DRAW * 8];
    for chunk in out.chunks_mut(DRAW) {
        let bytes = &mut bytes[..chunk.len() * 8];
        rng.fill_bytes(bytes);
        for (word, bytes) in chunk.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
    }
    bytes.zeroize();
}

/// Rejection: words cut to the prime's bits, kept while below the prime.
fn fill_uniform(rng: &mut ChaCha20Rng, m: Modulus, out: &mut [u64]) {
    let mask = (1u64 << m.bits()) - 1;
    let mut filled = 0;
    let mut raw = [0u64; DRAW];
    while filled < out.len() {
        let raw = &mut raw[..DRAW.min(out.len() - filled)];
        draw(rng, raw);
        for &word in &*raw {
            let word = word & mask;
            if word < m.value {
                out[filled] = word;
                filled += 1;
            }
        }
    }
    raw.zeroize();
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: usize = 1 << 18;

    fn moments(values: &[i64]) -> (f64, f64, i64) {
        let n = values.len() as f64;
        let mean = values.iter().map(|&x| x as f64).sum::<f64>() / n;
        let variance = values.iter().map(|&x| (x as f64 - mean).powi(2)).sum::<f64>() / n;
        (mean, variance, values.iter().map(|x| x.abs()).max().unwrap())
    }

    #[test]
    fn errors_have_the_binomials_moments() {
        let mut out = vec![0; SAMPLES];
        Randomness::insecure_from_seed(1).errors(&mut out);
        let (mean, variance, largest) = moments(&out);
        // Standard errors: 0.0063 of the mean, 0.029 of the variance.
        assert!(mean.abs() < 0.03, "{mean}");
        assert!((variance - ERROR_VARIANCE).abs() < 0.13, "{variance}");
        assert!(largest <= i64::from(ETA));
        let fourth = out.iter().map(|&x| (x as f64).powi(4)).sum::<f64>() / SAMPLES as f64;
        let expected = 3.0 * ERROR_VARIANCE.powi(2) - ERROR_VARIANCE / 2.0;
        assert!((fourth / expected - 1.0).abs() < 0.05, "{fourth} for {expected}");
    }

    #[test]
    fn ternary_is_even() {
        let mut out = vec![0; SAMPLES];
        Randomness::insecure_from_seed(2).ternary(&mut out);
        for value in -1..=1 {
            let share = out.iter().filter(|&&x| x == value).count() as f64 / SAMPLES as f64;
            assert!((share - 1.0 / 3.0).abs() < 0.005, "{value}: {share}");
        }
    }

    #[test]
    fn ones_counts_bits() {
        for x in [0, 1, 0x1f_ffff, 0x15_5555, 0x0a_aaaa, 0x10_0001] {
            assert_eq!(u32::from(ones(x)), x.count_ones());
        }
    }

    #[test]
    fn uniform_residues_fill_their_range() {
        let prime = super::super::prime::choose(&[30], 2048, &[1_073_707_009]).unwrap()[0];
        let limb = Limb::new(1024, prime).unwrap();
        let poly = expand(&[7; 32], 0, 1024, std::slice::from_ref(&limb));
        assert!(poly.limb(0).iter().all(|&x| x < prime));
        let mean = poly.limb(0).iter().map(|&x| x as f64).sum::<f64>() / 1024.0 / prime as f64;
        assert!((mean - 0.5).abs() < 0.05, "{mean}");
        assert_ne!(poly, expand(&[7; 32], 1, 1024, std::slice::from_ref(&limb)));
        assert_ne!(poly, expand(&[8; 32], 0, 1024, std::slice::from_ref(&limb)));
    }

    #[test]
    fn secret_and_public_streams_differ() {
        let mut randomness = Randomness::insecure_from_seed(3);
        let mut secret = [0u64; 4];
        randomness.secret_words(&mut secret);
        let seed = randomness.seed();
        assert_ne!(
            seed.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect::<Vec<_>>(),
            secret
        );
        assert!(!format!("{randomness:?}").contains(char::is_numeric));
    }
}
