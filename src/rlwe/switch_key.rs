//! Keys that switch from another secret to the key's own: made from the secret key, sent half-size, prepared
//! for use.
//!
//! A key hides the other secret under the own one, once a digit, weighted by the gadget. In use it is
//! stored permuted by the inverse of the automorphism that goes with it, so that digits are used unpermuted
//! and only the two results are permuted, on their way to memory; with all digits of 8 coefficients side by
//! side, so that it is read as one stream; and packed, because that stream comes from memory.

use super::galois::{LANES, Permutation};
use super::kernels::{self, Addends, InnerProduct};
use super::keys::{SecretKey, error};
use super::packed::packed_words;
use super::params::Parameters;
use super::poly::{Ntt, Poly};
use super::pool::Words;
use super::random::{Randomness, Seed, expand};
use zeroize::Zeroizing;

/// A switch key as it travels: its uniform half is a seed.
#[derive(Clone, Debug)]
pub(super) struct SeededSwitchKey {
    pub(super) seed: Seed,
    /// For each digit.
    pub(super) masked: Vec<Poly<Ntt>>,
}

/// A switch key ready for use.
#[derive(Clone, Debug)]
pub(super) struct SwitchKey {
    permutation: Permutation,
    /// `[prime][block of 8 coefficients][digit][half][lane]`, times 2^52, each prime's packed.
    prepared: Words,
    /// The word at which each prime's begin, then the end.
    starts: Vec<usize>,
}

impl SecretKey {
    /// A key to switch from another secret, whose transform modulo each prime `other` writes.
    pub(super) fn switch_key(
        &self,
        randomness: &mut Randomness,
        other: impl Fn(usize, &mut [u64]),
    ) -> SeededSwitchKey {
        let params = &self.params;
        let (ring, primes) = (params.ring(), &params.primes);
        let seed = randomness.seed();
        let mut secret = Zeroizing::new(vec![0; ring]);
        let masked = (0u64..).zip(0..params.gadget.digits()).map(|(stream, j)| {
            let uniform = expand(&seed, stream, ring, primes);
            let mut masked = error(params, randomness, primes.len());
            masked.multiply_sub(primes, &uniform, &self.transform);
            for (r, (prime, limb)) in primes.iter().zip(masked.limbs_mut()).enumerate() {
                let weight = params.gadget.values[r][j];
                if weight != 0 {
                    other(r, &mut secret);
                    kernels::scale(prime.modulus, &mut secret, prime.modulus.factor(weight));
                    kernels::add(prime.modulus, limb, &secret);
                }
            }
            masked
        });
        let masked = masked.collect();
        SeededSwitchKey { seed, masked }
    }
}

impl SwitchKey {
    /// Ready to switch what `X -> X^g` is then applied to.
    pub(super) fn prepare(params: &Parameters, key: &SeededSwitchKey, g: usize) -> Self {
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

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.prepared)
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

/// `g^-1` modulo a power of two.
fn inverse(g: usize, cycle: usize) -> usize {
    let mut x = g;
    while g * x % cycle != 1 {
        x = x * (2 * cycle + 2 - g * x % cycle) % cycle;
    }
    x
}
