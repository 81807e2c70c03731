//! Parameters: ring degree, primes, plaintext modulus, key-switch variant, and every constant of them.
//!
//! Values of this type are 128-bit secure, ternary secret and error of standard deviation 3.2, by
//! *Security Guidelines for Implementing Homomorphic Encryption* (ePrint 2024/463, classical), whose bounds
//! lie below the 2018 standard's. The one way around the bound has `insecure` in its name.

use super::error::RlweError;
use super::gadget::{Gadget, KeySwitch};
use super::galois::generator_power;
use super::modulus::{Factor, MOST_BITS, low};
use super::ntt::{Limb, position};
use super::pool::Pool;
use super::prime::{choose, is_prime};
use std::sync::Arc;

/// Ring degrees and the bits that the whole modulus, special primes included, may have.
const SECURITY: [(usize, u32); 5] =
    [(1 << 12, 106), (1 << 13, 214), (1 << 14, 430), (1 << 15, 868), (1 << 16, 1747)];
/// Ring degrees of tests.
const LEAST_RING: usize = 16;
/// Primes that a modulus may have.
const MOST_PRIMES: usize = 40;

/// What parameters are made from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ParameterSpec {
    /// Ring degree N: 2^12 to 2^16.
    pub ring: usize,
    /// Plaintext prime t, 1 modulo 2N, below 2^50.
    pub plain_modulus: u64,
    /// Bits of each ciphertext prime, 20 to 50; the last are dropped first by modulus switching.
    pub prime_bits: Vec<u32>,
    /// How key switching keeps its noise down.
    pub key_switch: KeySwitch,
}

/// The constants of ciphertexts modulo the first primes.
#[derive(Clone, Debug)]
pub(super) struct Level {
    /// `-Q mod t` and `-Q * N^-1 mod t`: scale a plaintext up, see `encode`.
    pub(super) scale_up: [Factor; 2],
    /// For each prime q: `N^-1 * (Q/q)^-1 mod q`.
    pub(super) recombine: Vec<Factor>,
    /// For each prime q: `floor(t/q)` and `floor(2^64 (t mod q) / q)`.
    pub(super) scale_down: Vec<(u64, u64)>,
    /// For each prime q but the last: the last prime's inverse.
    pub(super) drop: Vec<Factor>,
}

/// Parameters of BFV with all constants; equal parameters have equal fingerprints.
#[derive(Debug)]
pub struct Parameters {
    pub(super) spec: ParameterSpec,
    pub(super) primes: Vec<Limb>,
    pub(super) plain: Limb,
    /// For each prime: `t^-1`.
    pub(super) plain_inverses: Vec<Factor>,
    /// `levels[l - 1]`: modulo the first l primes.
    pub(super) levels: Vec<Level>,
    pub(super) gadget: Gadget,
    /// Entry of the transform mod t that holds each slot.
    pub(super) slots: Vec<u32>,
    /// Slot that each entry holds.
    pub(super) entries: Vec<u32>,
    pub(super) scratch: Arc<Pool>,
    fingerprint: [u8; 16],
}

impl PartialEq for Parameters {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}

impl Parameters {
    /// Secure parameters.
    ///
    /// # Errors
    /// If the modulus is too large for 128 bits of security, or a number is out of range.
    pub fn new(spec: ParameterSpec) -> Result<Arc<Self>, RlweError> {
        let (least, most) = (SECURITY[0].0, SECURITY[SECURITY.len() - 1].0);
        let limit = security_limit(spec.ring).ok_or(RlweError::Ring { ring: spec.ring, least, most })?;
        let parameters = Self::insecure_for_tests(spec)?;
        let bits = parameters.total_bits();
        if bits > f64::from(limit) {
            return Err(RlweError::Insecure { ring: parameters.ring(), bits, limit });
        }
        Ok(parameters)
    }

    /// Parameters of any security, down to N = 16: for tests, which small rings make quick.
    ///
    /// # Errors
    /// If a number is out of the range that the engine computes with.
    pub fn insecure_for_tests(spec: ParameterSpec) -> Result<Arc<Self>, RlweError> {
        let ring = spec.ring;
        let most = SECURITY[SECURITY.len() - 1].0;
        if !ring.is_power_of_two() || !(LEAST_RING..=most).contains(&ring) {
            return Err(RlweError::Ring { ring, least: LEAST_RING, most });
        }
        let (cycle, t) = (2 * ring, spec.plain_modulus);
        let refused = RlweError::PlainModulus { plain: t, cycle };
        if t >> MOST_BITS != 0 || t % cycle as u64 != 1 || !is_prime(t) {
            return Err(refused);
        }
        let levels = spec.prime_bits.len();
        let mut bits = spec.prime_bits.clone();
        if let KeySwitch::Special { bits: special, .. } = &spec.key_switch {
            count("special primes", special.len(), MOST_PRIMES)?;
            bits.extend(special);
        }
        count("ciphertext primes", levels, MOST_PRIMES)?;
        let primes = choose(&bits, cycle, &[t])?;
        let limb = |p: u64| Limb::new(ring, p).ok_or(RlweError::PlainModulus { plain: p, cycle });
        let primes = primes.into_iter().map(limb).collect::<Result<Vec<_>, _>>()?;
        let plain = Limb::new(ring, t).ok_or(refused)?;
        let gadget = Gadget::new(&spec.key_switch, &primes, levels, ring)?;
        let plain_inverses =
            primes.iter().map(|q| q.modulus.factor(q.modulus.invert(t % q.modulus.value))).collect();
        let levels = (1..=levels).map(|l| Level::new(&primes[..l], &plain)).collect();
        let fingerprint = fingerprint(&primes, &plain, &spec);
        let slots = slot_entries(ring);
        let mut entries = slots.clone();
        for (slot, &entry) in (0..).zip(&slots) {
            entries[entry as usize] = slot;
        }
        Ok(Arc::new(Self {
            slots,
            entries,
            spec,
            primes,
            plain,
            plain_inverses,
            levels,
            gadget,
            scratch: Arc::default(),
            fingerprint,
        }))
    }

    /// Ring degree N.
    #[must_use]
    pub fn ring(&self) -> usize {
        self.spec.ring
    }

    /// Plaintext prime t.
    #[must_use]
    pub fn plain_modulus(&self) -> u64 {
        self.spec.plain_modulus
    }

    /// What these parameters were made from.
    #[must_use]
    pub fn spec(&self) -> &ParameterSpec {
        &self.spec
    }

    /// The ciphertext primes.
    #[must_use]
    pub fn ciphertext_primes(&self) -> Vec<u64> {
        self.own().iter().map(|q| q.modulus.value).collect()
    }

    /// The special primes.
    #[must_use]
    pub fn special_primes(&self) -> Vec<u64> {
        self.primes[self.top()..].iter().map(|q| q.modulus.value).collect()
    }

    /// log2 of the whole modulus, special primes included.
    #[must_use]
    pub fn total_bits(&self) -> f64 {
        self.primes.iter().map(|q| (q.modulus.value as f64).log2()).sum()
    }

    /// 16 bytes that tell parameters apart in serialised objects.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 16] {
        self.fingerprint
    }

    /// How many ciphertext primes.
    #[must_use]
    pub fn top(&self) -> usize {
        self.spec.prime_bits.len()
    }

    /// The ciphertext primes with their transforms.
    pub(super) fn own(&self) -> &[Limb] {
        &self.primes[..self.top()]
    }

    /// Constants of ciphertexts with `primes` primes, one at least.
    pub(super) fn level(&self, primes: usize) -> &Level {
        &self.levels[primes - 1]
    }

    /// log2 of the product of the first `primes` primes.
    pub(super) fn bits_at(&self, primes: usize) -> f64 {
        self.primes[..primes].iter().map(|q| (q.modulus.value as f64).log2()).sum()
    }
}

/// Bits that a modulus may have at ring degree `ring` for 128-bit security, special primes included.
#[must_use]
pub fn security_limit(ring: usize) -> Option<u32> {
    SECURITY.iter().find(|(n, _)| *n == ring).map(|&(_, bits)| bits)
}

fn count(what: &'static str, count: usize, most: usize) -> Result<(), RlweError> {
    if (1..=most).contains(&count) { Ok(()) } else { Err(RlweError::Count { what, count, least: 1, most }) }
}

/// Slot `row * N/2 + i` is the value at the root's power `3^i` (row 0) or `-3^i` (row 1).
fn slot_entries(ring: usize) -> Vec<u32> {
    let (log, cycle) = (ring.trailing_zeros(), 2 * ring);
    let mut entries = vec![0; ring];
    for i in 0..ring / 2 {
        let e = generator_power(i, cycle);
        for (row, e) in [e, cycle - e].into_iter().enumerate() {
            entries[row * ring / 2 + i] = u32::try_from(position(e, log)).unwrap_or(u32::MAX);
        }
    }
    entries
}

fn fingerprint(primes: &[Limb], plain: &Limb, spec: &ParameterSpec) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    let mut put = |x: u64| {
        hasher.update(&x.to_le_bytes());
    };
    put(spec.ring as u64);
    put(plain.modulus.value);
    put(spec.prime_bits.len() as u64);
    primes.iter().for_each(|q| put(q.modulus.value));
    match spec.key_switch {
        KeySwitch::Special { primes_per_digit, .. } => put(primes_per_digit as u64),
        KeySwitch::Digits { bits } => put((1 << 32) + u64::from(bits)),
    }
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    short
}

impl Level {
    fn new(primes: &[Limb], plain: &Limb) -> Self {
        let t = plain.modulus;
        let product = primes.iter().fold(1, |acc, q| t.mul(acc, q.modulus.value % t.value));
        let recombine = |q: &Limb| {
            let m = q.modulus;
            let others = primes.iter().map(|r| r.modulus.value).filter(|&r| r != m.value);
            let others = others.fold(1, |acc, r| m.mul(acc, r % m.value));
            m.factor(m.mul(q.degree_inverse.value, m.invert(others)))
        };
        let scale_down = |q: &Limb| {
            let q = q.modulus.value;
            (t.value / q, low((u128::from(t.value % q) << 64) / u128::from(q)))
        };
        let last = primes[primes.len() - 1].modulus.value;
        let drop = |q: &Limb| q.modulus.factor(q.modulus.invert(last % q.modulus.value));
        Self {
            scale_up: [1, plain.degree_inverse.value].map(|n| t.factor(t.mul(t.sub(0, product), n))),
            recombine: primes.iter().map(recombine).collect(),
            scale_down: primes.iter().map(scale_down).collect(),
            drop: primes[..primes.len() - 1].iter().map(drop).collect(),
        }
    }
}
