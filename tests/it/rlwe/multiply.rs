//! Products of ciphertexts: their meaning, their noise, what is refused.

use super::noise::check;
use super::{PACKINGS, key, small, values};
use proptest::prelude::*;
use proptest::{collection, sample};
use std::sync::Arc;
use stria::rlwe::{
    Automorphism, Basis, Ciphertext, FactorNorm, KeySwitch, Noise, Packing, ParameterSpec, Parameters,
    RelinearisationKey, RlweError, SecretKey, plain_prime,
};

/// Rings that networks are run with, of two to seven primes.
fn real() -> Vec<Arc<Parameters>> {
    let special =
        |primes_per_digit| KeySwitch::Special { bits: vec![49; primes_per_digit], primes_per_digit };
    [
        (4096, vec![49, 49], KeySwitch::Digits { bits: 25 }),
        (8192, vec![49, 49], special(1)),
        (8192, vec![49, 49, 49], special(1)),
        (16384, vec![49; 6], special(2)),
    ]
    .into_iter()
    .map(|(ring, prime_bits, key_switch)| {
        let plain_modulus = plain_prime(20, ring).unwrap();
        Parameters::new(ParameterSpec { ring, plain_modulus, prime_bits, key_switch }).unwrap()
    })
    .collect()
}

fn slots(t: u64, a: &[u64], b: &[u64]) -> Vec<u64> {
    a.iter().zip(b).map(|(x, y)| x * y % t).collect()
}

/// A negacyclic convolution.
fn convolution(t: u64, a: &[u64], b: &[u64]) -> Vec<u64> {
    let n = a.len();
    let mut out = vec![0; n];
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            let term = if i + j < n { x * y % t } else { t - x * y % t };
            out[(i + j) % n] = (out[(i + j) % n] + term) % t;
        }
    }
    out
}

fn fits(noise: Noise, params: &Parameters, primes: usize) -> bool {
    noise.bits(params) < params.room_bits(primes)
}

struct Setup {
    secret: SecretKey,
    key: RelinearisationKey,
    messages: [Vec<u64>; 2],
    ciphertexts: [Ciphertext; 2],
}

fn setup(params: &Arc<Parameters>, packing: Packing) -> Setup {
    let (secret, mut randomness) = key(params, 100);
    let key = secret.relinearisation_key(&mut randomness).unwrap().expand().unwrap();
    let messages = [101, 102].map(|seed| values(params, seed));
    let ciphertexts =
        messages.each_ref().map(|m| secret.encrypt(m, packing, &mut randomness).unwrap().expand());
    Setup { secret, key, messages, ciphertexts }
}

#[test]
fn products_and_squares_mean_what_they_do_in_slots() {
    for params in small().into_iter().chain(real()) {
        let t = params.plain_modulus();
        let Setup { secret, key, messages: [x, y], ciphertexts: [a, b] } = setup(&params, Packing::Slots);
        let primes = a.primes();
        let noise = Noise::fresh().multiplied(Noise::fresh(), &params, primes);
        let decrypt = |c: &Ciphertext| secret.decrypt(c, Packing::Slots).unwrap();
        let product = key.multiply(&a, &b).unwrap();
        assert_eq!(decrypt(&product), slots(t, &x, &y), "{:?}", params.spec());
        check("product", &secret, &product, noise);
        let square = key.square(&a).unwrap();
        assert_eq!(square, key.multiply(&a, &a).unwrap());
        assert_eq!(decrypt(&square), slots(t, &x, &x));
        check("square", &secret, &square, noise);

        // On, as long as the modulus permits: products of products, and by what is less noisy.
        let (mut power, mut value, mut estimate, mut depth) = (square, slots(t, &x, &x), noise, 1);
        while fits(estimate.multiplied(estimate, &params, primes), &params, primes) {
            (power, value) = (key.square(&power).unwrap(), slots(t, &value, &value));
            estimate = estimate.multiplied(estimate, &params, primes);
            assert_eq!(decrypt(&power), value);
            check("power", &secret, &power, estimate);
            depth += 1;
        }
        if fits(estimate.multiplied(Noise::fresh(), &params, primes), &params, primes) {
            let mixed = key.multiply(&power, &b).unwrap();
            assert_eq!(decrypt(&mixed), slots(t, &value, &y));
            check("mixed", &secret, &mixed, estimate.multiplied(Noise::fresh(), &params, primes));
        }
        assert!(depth >= primes / 2, "{depth} of {:?}", params.spec());
    }
}

#[test]
fn products_go_with_all_other_operations() {
    for params in small().into_iter().chain(real()) {
        let t = params.plain_modulus();
        let (secret, mut randomness) = super::key(&params, 100);
        let by = Automorphism::Rotate(1);
        let galois = secret.galois_keys(&[by], &mut randomness).expand();
        let Setup { secret, key, messages: [x, y], ciphertexts: [a, b] } = setup(&params, Packing::Slots);
        let factor = params.encode(&vec![3; params.ring()], Packing::Slots, Basis::Ciphertext).unwrap();
        let tripled = a.multiply_plain(&factor).unwrap();
        let noise = Noise::fresh().times(FactorNorm::of_slots(&params)).rotated(&params);
        let turned = galois.rotate(&tripled, by).unwrap();
        let estimate = noise.multiplied(Noise::fresh(), &params, a.primes());
        if !fits(estimate.plus_plain(), &params, a.primes()) {
            continue;
        }
        let mut out = key.multiply(&turned, &b).unwrap();
        out.add_plain(&y, Packing::Slots).unwrap();
        let row = params.ring() / 2;
        let at = |i: usize| 3 * x[i / row * row + (i + 1) % row] % t;
        let expected: Vec<u64> = (0..params.ring()).map(|i| (at(i) * y[i] + y[i]) % t).collect();
        assert_eq!(secret.decrypt(&out, Packing::Slots).unwrap(), expected, "{:?}", params.spec());
        let measured = secret.noise_bits(&out).unwrap();
        assert!(measured <= estimate.plus_plain().bits(&params));
    }
}

#[test]
fn products_work_at_every_level_that_digits_allow() {
    for params in small().into_iter().chain(real()) {
        let t = params.plain_modulus();
        let Setup { secret, key, messages: [x, y], ciphertexts: [mut a, mut b] } =
            setup(&params, Packing::Slots);
        let mut noise = Noise::fresh();
        while a.primes() > 1 {
            a.switch_down().unwrap();
            b.switch_down().unwrap();
            noise = noise.switched(&params, a.primes() + 1, a.primes());
            let estimate = noise.multiplied(noise, &params, a.primes());
            match key.multiply(&a, &b) {
                Ok(product) if fits(estimate, &params, a.primes()) => {
                    assert_eq!(product.primes(), a.primes());
                    assert_eq!(secret.decrypt(&product, Packing::Slots).unwrap(), slots(t, &x, &y));
                    check("lower", &secret, &product, estimate);
                }
                Ok(_) => {}
                Err(RlweError::Level { .. }) => assert!(matches!(
                    params.spec().key_switch,
                    KeySwitch::Special { primes_per_digit: 2, .. }
                )),
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let [params, foreign] = [0, 1].map(|i| small().swap_remove(i));
    let Setup { key, ciphertexts: [a, b], .. } = setup(&params, Packing::Slots);
    let other = Ciphertext::zero(&foreign);
    assert_eq!(key.multiply(&a, &other), Err(RlweError::Mixed));
    assert_eq!(key.square(&other), Err(RlweError::Mixed));
    let mut lower = b;
    lower.switch_down().unwrap();
    assert_eq!(key.multiply(&a, &lower), Err(RlweError::Level { expected: 2, found: 1 }));
    // One prime leaves no room for a product, neither when a key is made nor when one is read.
    let key_switch = KeySwitch::Special { bits: vec![49], primes_per_digit: 1 };
    let plain_modulus = plain_prime(20, 8192).unwrap();
    let spec = ParameterSpec { ring: 8192, plain_modulus, prime_bits: vec![49], key_switch };
    let params = Parameters::new(spec).unwrap();
    let (secret, mut randomness) = super::key(&params, 103);
    let refused = secret.relinearisation_key(&mut randomness).unwrap_err();
    assert!(matches!(refused, RlweError::NoRoom { .. }), "{refused}");
}

/// One of the small parameters and two messages, the ends of the range over-represented.
fn messages() -> impl Strategy<Value = (Arc<Parameters>, Packing, Vec<u64>, Vec<u64>)> {
    (sample::select(small()), sample::select(PACKINGS.to_vec())).prop_flat_map(|(params, packing)| {
        let t = params.plain_modulus();
        let edge = sample::select(vec![0, 1, t / 2, t / 2 + 1, t - 1]);
        let message = collection::vec(prop_oneof![edge, 0..t], params.ring());
        (Just(params), Just(packing), message.clone(), message)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn products_are_those_of_the_message_ring((params, packing, x, y) in messages(), seed: u64) {
        let (secret, mut randomness) = super::key(&params, seed);
        let key = secret.relinearisation_key(&mut randomness).unwrap().expand().unwrap();
        let public = secret.public_key(&mut randomness);
        let a = secret.encrypt(&x, packing, &mut randomness).unwrap().expand();
        let b = public.encrypt(&y, packing, &mut randomness).unwrap();
        let product = key.multiply(&a, &b).unwrap();
        let t = params.plain_modulus();
        let expected = if packing == Packing::Slots { slots(t, &x, &y) } else { convolution(t, &x, &y) };
        prop_assert_eq!(secret.decrypt(&product, packing).unwrap(), expected);
        let estimate = Noise::fresh().multiplied(Noise::fresh_public(&params), &params, a.primes());
        prop_assert!(secret.noise_bits(&product).unwrap() <= estimate.bits(&params));
    }
}
