//! The HE engine.

mod multiply;
mod noise;
#[cfg(feature = "fhe-rs")]
mod oracle;
mod ring;
mod rotation;
mod rotation_sum;
mod wire;

use std::sync::Arc;
use stria::rlwe::{KeySwitch, Packing, ParameterSpec, Parameters, Randomness, SecretKey, plain_prime};

/// Small parameters, one for each key-switch variant.
pub(crate) fn small() -> Vec<Arc<Parameters>> {
    let special =
        |bits: &[u32], primes_per_digit| KeySwitch::Special { bits: bits.to_vec(), primes_per_digit };
    [
        (64, vec![49, 49], special(&[50], 1)),
        (32, vec![40, 36, 50], special(&[50], 1)),
        (64, vec![45, 45, 45], special(&[46, 46], 2)),
        (16, vec![49, 49], KeySwitch::Digits { bits: 17 }),
        (64, vec![49, 49], KeySwitch::Digits { bits: 25 }),
    ]
    .into_iter()
    .map(|(ring, prime_bits, key_switch)| {
        let plain_modulus = plain_prime(17, ring).unwrap();
        let spec = ParameterSpec { ring, plain_modulus, prime_bits, key_switch };
        Parameters::insecure_for_tests(spec).unwrap()
    })
    .collect()
}

/// The parameters that networks are run with.
pub(crate) fn real() -> Vec<Arc<Parameters>> {
    let special = || KeySwitch::Special { bits: vec![49], primes_per_digit: 1 };
    [
        (4096, vec![49, 49], KeySwitch::Digits { bits: 25 }),
        (8192, vec![49, 49], special()),
        (8192, vec![49, 49, 49], special()),
    ]
    .into_iter()
    .map(|(ring, prime_bits, key_switch)| {
        let plain_modulus = plain_prime(20, ring).unwrap();
        Parameters::new(ParameterSpec { ring, plain_modulus, prime_bits, key_switch }).unwrap()
    })
    .collect()
}

/// A secret key and the randomness it came from.
pub(crate) fn key(params: &Arc<Parameters>, seed: u64) -> (SecretKey, Randomness) {
    let mut randomness = Randomness::insecure_from_seed(seed);
    (SecretKey::generate(params, &mut randomness), randomness)
}

/// N repeatable values below t.
pub(crate) fn values(params: &Parameters, seed: u64) -> Vec<u64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..params.ring()).map(|_| next() % params.plain_modulus()).collect()
}

/// The same values in `-t/2..=t/2`.
pub(crate) fn signed(params: &Parameters, values: &[u64]) -> Vec<i64> {
    let t = params.plain_modulus();
    values.iter().map(|&x| if x > t / 2 { -((t - x) as i64) } else { x as i64 }).collect()
}

pub(crate) const PACKINGS: [Packing; 2] = [Packing::Slots, Packing::Coefficients];
