//! Galois keys: made from the secret key, sent half-size, prepared for use.
//!
//! A key hides the turned secret under the old one, once a digit, weighted by the gadget. In use it is
//! stored permuted by the inverse automorphism, so that digits are used unpermuted and only the two
//! results are permuted, on their way to memory; with all digits of 8 coefficients side by side, so that it
//! is read as one stream; and packed, because that stream comes from memory.

use super::cipher::same;
use super::error::RlweError;
use super::galois::{Automorphism, LANES, Permutation};
use super::kernels::{self, Addends, InnerProduct};
use super::keys::{SecretKey, error};
use super::packed::packed_words;
use super::params::Parameters;
use super::poly::{Ntt, Poly};
use super::pool::Words;
use super::random::{Randomness, Seed, expand};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One Galois key as it travels: its uniform half is a seed.
#[derive(Clone, Debug)]
pub(super) struct SeededGaloisKey {
    pub(super) automorphism: Automorphism,
    pub(super) seed: Seed,
    /// For each digit.
    pub(super) masked: Vec<Poly<Ntt>>,
}

/// Galois keys as they travel: half the bytes.
#[derive(Clone, Debug)]
pub struct SeededGaloisKeys {
    pub(super) params: Arc<Parameters>,
    pub(super) keys: Vec<SeededGaloisKey>,
}

#[derive(Clone, Debug)]
pub(super) struct GaloisKey {
    permutation: Permutation,
    /// `[prime][block of 8 coefficients][digit][half][lane]`, times 2^52, each prime's packed.
    prepared: Words,
    /// The word at which each prime's begin, then the end.
    starts: Vec<usize>,
}

/// Galois keys ready for use, by the exponent of their automorphism.
#[derive(Clone, Debug)]
pub struct GaloisKeys {
    pub(super) params: Arc<Parameters>,
    keys: BTreeMap<usize, GaloisKey>,
}

impl SecretKey {
    /// Galois keys for exactly these automorphisms; repetitions and the identity get none.
    #[must_use]
    pub fn galois_keys(
        &self,
        automorphisms: &[Automorphism],
        randomness: &mut Randomness,
    ) -> SeededGaloisKeys {
        let ring = self.params.ring();
        let mut wanted = BTreeMap::new();
        for &automorphism in automorphisms {
            wanted.entry(automorphism.exponent(ring)).or_insert(automorphism);
        }
        wanted.remove(&1);
        let keys = wanted.into_iter().map(|(g, a)| self.galois_key(a, g, randomness)).collect();
        SeededGaloisKeys { params: self.params.clone(), keys }
    }

    fn galois_key(
        &self,
        automorphism: Automorphism,
        g: usize,
        randomness: &mut Randomness,
    ) -> SeededGaloisKey {
        let params = &self.params;
        let (ring, primes) = (params.ring(), &params.primes);
        let permutation = Permutation::new(ring, g);
        let seed = randomness.seed();
        let mut turned = zeroize::Zeroizing::new(vec![0; ring]);
        let masked = (0u64..).zip(0..params.gadget.digits()).map(|(stream, j)| {
            let uniform = expand(&seed, stream, ring, primes);
            let mut masked = error(params, randomness, primes.len());
            masked.multiply_sub(primes, &uniform, &self.transform);
            for (r, (prime, limb)) in primes.iter().zip(masked.limbs_mut()).enumerate() {
                let weight = params.gadget.values[r][j];
                if weight != 0 {
                    permutation.apply(self.transform.limb(r), &mut turned);
                    kernels::scale(prime.modulus, &mut turned, prime.modulus.factor(weight));
                    kernels::add(prime.modulus, limb, &turned);
                }
            }
            masked
        });
        let masked = masked.collect();
        SeededGaloisKey { automorphism, seed, masked }
    }
}

impl SeededGaloisKeys {
    /// The automorphisms that have a key.
    pub fn automorphisms(&self) -> impl Iterator<Item = Automorphism> {
        self.keys.iter().map(|k| k.automorphism)
    }

    /// The keys, expanded and prepared for use, on all cores.
    #[must_use]
    pub fn expand(&self) -> GaloisKeys {
        let ring = self.params.ring();
        let keys = self.keys.par_iter().map(|key| {
            let g = key.automorphism.exponent(ring);
            (g, GaloisKey::prepare(&self.params, key, g))
        });
        GaloisKeys { params: self.params.clone(), keys: keys.collect() }
    }
}

impl GaloisKey {
    fn prepare(params: &Parameters, key: &SeededGaloisKey, g: usize) -> Self {
        let ring = params.ring();
        let digits = params.gadget.digits();
        let back = Permutation::new(ring, inverse(g, 2 * ring));
        let mut starts = vec![0];
        for (r, prime) in params.primes.iter().enumerate() {
            starts.push(starts[r] + packed_words(prime.modulus, ring * digits * 2));
        }
        let mut prepared = Words::zero(starts[params.primes.len()]);
        let uniforms = (0u64..).take(digits).map(|stream| expand(&key.seed, stream, ring, &params.primes));
        let uniforms: Vec<_> = uniforms.collect();
        let (mut limb, mut turned) = (Words::zero(ring * digits * 2), Words::zero(ring));
        for (r, prime) in params.primes.iter().enumerate() {
            for (j, halves) in key.masked.iter().zip(&uniforms).enumerate() {
                for (half, poly) in [halves.0, halves.1].into_iter().enumerate() {
                    back.apply(poly.limb(r), &mut turned);
                    kernels::scale(prime.modulus, &mut turned, params.gadget.preparations[r][j]);
                    let places = limb.chunks_exact_mut(LANES).skip(2 * j + half).step_by(2 * digits);
                    for (place, block) in places.zip(turned.chunks_exact(LANES)) {
                        place.copy_from_slice(block);
                    }
                }
            }
            kernels::pack(prime.modulus, &limb, &mut prepared[starts[r]..starts[r + 1]]);
        }
        Self { permutation: Permutation::new(ring, g), prepared, starts }
    }

    /// The inner product with digits modulo prime `r`, with the addends, permuted; from block `first` of the
    /// ring on, a multiple of 8, as many blocks as the digits have.
    pub(super) fn apply(
        &self,
        params: &Parameters,
        r: usize,
        first: usize,
        digits: &[&[u64]],
        addends: Addends<'_>,
        out: [&mut [u64]; 2],
    ) {
        let (modulus, key_digits) = (params.primes[r].modulus, params.gadget.digits());
        debug_assert!(first.is_multiple_of(LANES));
        let before = first / LANES * 2 * key_digits * modulus.bits() as usize;
        let job = InnerProduct {
            modulus,
            digits,
            key: &self.prepared[self.starts[r] + before..self.starts[r + 1]],
            key_digits,
            addends,
            permutation: &self.permutation,
            first_block: first,
        };
        let [out0, out1] = out;
        kernels::inner_product(&job, out0, out1);
    }
}

impl GaloisKeys {
    /// No keys yet.
    #[must_use]
    pub fn none(params: &Arc<Parameters>) -> Self {
        Self { params: params.clone(), keys: BTreeMap::new() }
    }

    /// Takes over other keys of the same parameters.
    ///
    /// # Errors
    /// If the parameters differ.
    pub fn merge(&mut self, other: Self) -> Result<(), RlweError> {
        same(&self.params, &other.params)?;
        self.keys.extend(other.keys);
        Ok(())
    }

    /// Bytes of memory that the keys take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.keys.values().map(|k| size_of_val(&*k.prepared)).sum()
    }

    /// Whether `automorphism` can be applied.
    #[must_use]
    pub fn contains(&self, automorphism: Automorphism) -> bool {
        let g = automorphism.exponent(self.params.ring());
        g == 1 || self.keys.contains_key(&g)
    }

    pub(super) fn key(&self, automorphism: Automorphism) -> Result<Option<&GaloisKey>, RlweError> {
        let g = automorphism.exponent(self.params.ring());
        if g == 1 {
            return Ok(None);
        }
        self.keys.get(&g).map(Some).ok_or(RlweError::MissingKey(automorphism))
    }
}

/// `g^-1` modulo a power of two.
fn inverse(g: usize, cycle: usize) -> usize {
    let mut x = g;
    while g * x % cycle != 1 {
        x = x * (2 * cycle + 2 - g * x % cycle) % cycle;
    }
    x
}
