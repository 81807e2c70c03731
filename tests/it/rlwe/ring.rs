//! Encryption and the operations without keys, against a naive ring.

use super::{PACKINGS, key, real, signed, small, values};
use proptest::prelude::*;
use proptest::{collection, sample};
use std::sync::Arc;
use stria::rlwe::{
    Basis, Ciphertext, DotProduct, KeySwitch, Packing, ParameterSpec, Parameters, RlweError, plain_prime,
};

/// The product of messages: slot by slot, or a negacyclic convolution.
fn product(t: u64, packing: Packing, a: &[u64], b: &[u64]) -> Vec<u64> {
    let mul = |x: u64, y: u64| x * y % t;
    if packing == Packing::Slots {
        return a.iter().zip(b).map(|(&x, &y)| mul(x, y)).collect();
    }
    let n = a.len();
    let mut out = vec![0; n];
    for (i, &x) in a.iter().enumerate() {
        for (j, &y) in b.iter().enumerate() {
            let term = mul(x, y);
            let slot = &mut out[(i + j) % n];
            *slot = if i + j < n { (*slot + term) % t } else { (*slot + t - term) % t };
        }
    }
    out
}

fn sum(t: u64, a: &[u64], b: &[u64]) -> Vec<u64> {
    a.iter().zip(b).map(|(&x, &y)| (x + y) % t).collect()
}

#[test]
fn decryption_undoes_encryption() {
    for params in small().into_iter().chain(real()) {
        let (secret, mut randomness) = key(&params, 1);
        let public = secret.public_key(&mut randomness);
        for packing in PACKINGS {
            let message = values(&params, 2);
            let symmetric = secret.encrypt(&message, packing, &mut randomness).unwrap().expand();
            assert_eq!(secret.decrypt(&symmetric, packing).unwrap(), message);
            let with_public = public.encrypt(&message, packing, &mut randomness).unwrap();
            assert_eq!(secret.decrypt(&with_public, packing).unwrap(), message);
            assert_ne!(with_public, public.encrypt(&message, packing, &mut randomness).unwrap());
            let (stranger, _) = key(&params, 3);
            assert_ne!(stranger.decrypt(&symmetric, packing).unwrap(), message);
        }
        let zero = public.encrypt_zero(&mut randomness);
        assert_eq!(secret.decrypt(&zero, Packing::Slots).unwrap(), vec![0; params.ring()]);
    }
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
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn operations_are_those_of_the_message_ring((params, packing, a, b) in messages(), seed: u64) {
        let (secret, mut randomness) = key(&params, seed);
        let t = params.plain_modulus();
        let mut encrypt = |m: &[u64]| secret.encrypt(m, packing, &mut randomness).unwrap().expand();
        let (x, y) = (encrypt(&a), encrypt(&b));
        let decrypt = |c: &Ciphertext| secret.decrypt(c, packing).unwrap();

        let mut out = x.clone();
        out.add_assign(&y).unwrap();
        prop_assert_eq!(decrypt(&out), sum(t, &a, &b));
        out.sub_assign(&y).unwrap();
        prop_assert_eq!(decrypt(&out), a.clone());
        out.add_plain(&b, packing).unwrap();
        prop_assert_eq!(decrypt(&out), sum(t, &a, &b));

        let factor = params.encode(&signed(&params, &b), packing, Basis::Ciphertext).unwrap();
        let mut out = x.multiply_plain(&factor).unwrap();
        prop_assert_eq!(decrypt(&out), product(t, packing, &a, &b));
        while out.primes() > 1 {
            out.switch_down().unwrap();
            prop_assert_eq!(decrypt(&out), product(t, packing, &a, &b));
        }
        out.add_plain(&b, packing).unwrap();
        prop_assert_eq!(decrypt(&out), sum(t, &product(t, packing, &a, &b), &b));
        prop_assert_eq!(out.switch_down(), Err(RlweError::Level { expected: 2, found: 1 }));
    }
}

#[test]
fn dot_products_of_any_length_are_sums_of_products() {
    let params = small().swap_remove(1);
    let (secret, mut randomness) = key(&params, 7);
    let t = params.plain_modulus();
    let messages: Vec<_> = (0..5).map(|i| values(&params, 10 + i)).collect();
    let encrypt = |m: &Vec<u64>| secret.encrypt(m, Packing::Slots, &mut randomness).unwrap().expand();
    let ciphertexts: Vec<_> = messages.iter().map(encrypt).collect();
    let ones = vec![1; params.ring()];
    let one = params.encode(&ones, Packing::Slots, Basis::Extended).unwrap();
    // Enough terms that the accumulator is folded more than once.
    let terms: Vec<_> = (0..9001).map(|i| (&ciphertexts[i % 5], &one)).collect();
    let mut dot = DotProduct::new(&params);
    for part in terms.chunks(7) {
        dot.add(part).unwrap();
    }
    let mut expected = vec![0; params.ring()];
    for i in 0..terms.len() {
        expected = sum(t, &expected, &messages[i % 5]);
    }
    assert_eq!(secret.decrypt(&dot.finish(), Packing::Slots).unwrap(), expected);
    let mut expected = Ciphertext::zero(&params);
    for (ciphertext, factor) in &terms {
        expected.add_assign(&ciphertext.multiply_plain(factor).unwrap()).unwrap();
    }
    assert_eq!(dot.finish(), expected);
    assert_eq!(DotProduct::of(&params, &terms).unwrap(), expected);
}

#[test]
fn sums_at_once_are_the_sums_one_by_one() {
    for params in small().into_iter().chain(super::real()) {
        let (secret, mut randomness) = key(&params, 8);
        let mut encrypt = |seed| secret.encrypt(&values(&params, seed), Packing::Slots, &mut randomness);
        let ciphertexts: Vec<_> = (0..3).map(|i| encrypt(10 + i).unwrap().expand()).collect();
        let encode = |seed| {
            let values = super::signed(&params, &values(&params, seed));
            params.encode(&values, Packing::Slots, Basis::Ciphertext).unwrap()
        };
        let factors: Vec<_> = (20..30).map(encode).collect();
        for (terms, sums) in [(0, 2), (1, 1), (9, 7), (4, 4), (2, 0)] {
            let operands: Vec<_> = (0..terms).map(|i| &ciphertexts[i % 3]).collect();
            let factors: Vec<Vec<_>> =
                (0..sums).map(|s| (0..terms).map(|i| &factors[(3 * s + i) % 10]).collect()).collect();
            let slices: Vec<_> = factors.iter().map(Vec::as_slice).collect();
            let at_once = DotProduct::of_each(&params, &operands, &slices).unwrap();
            assert_eq!(at_once.len(), sums);
            for (factors, found) in factors.iter().zip(at_once) {
                let terms: Vec<_> = operands.iter().copied().zip(factors.iter().copied()).collect();
                let mut growing = DotProduct::new(&params);
                terms.chunks(3).for_each(|part| growing.add(part).unwrap());
                assert_eq!(found, growing.finish());
                assert_eq!(found, DotProduct::of(&params, &terms).unwrap());
            }
        }
        let mut lower = ciphertexts[0].clone();
        lower.switch_down().unwrap();
        let level = RlweError::Level { expected: params.top(), found: params.top() - 1 };
        let one = [&factors[0]];
        assert_eq!(DotProduct::of_each(&params, &[&lower], &[&one]).unwrap_err(), level);
        let length = RlweError::Length { expected: 2, found: 1 };
        let two = [&ciphertexts[0], &ciphertexts[1]];
        assert_eq!(DotProduct::of_each(&params, &two, &[&one]).unwrap_err(), length);
    }
}

#[test]
fn factors_are_taken_modulo_t() {
    let params = small().swap_remove(0);
    let t = params.plain_modulus() as i64;
    let encode = |x: i64| {
        let mut values = vec![0; params.ring()];
        values[3] = x;
        params.encode(&values, Packing::Slots, Basis::Ciphertext).unwrap()
    };
    for (a, b) in [(5, 5 - t), (-1, t - 1), (7, 7 + 1000 * t), (i64::MIN, i64::MIN.rem_euclid(t)), (0, -t)] {
        assert_eq!(encode(a), encode(b), "{a} {b}");
    }
    assert_ne!(encode(1), encode(2));
}

#[test]
fn what_does_not_fit_is_refused() {
    let [params, other] = [0, 1].map(|i| small().swap_remove(i));
    let (secret, mut randomness) = key(&params, 8);
    let t = params.plain_modulus();
    let short = secret.encrypt(&[1, 2], Packing::Slots, &mut randomness).unwrap_err();
    assert_eq!(short, RlweError::Length { expected: 64, found: 2 });
    let large = secret.encrypt(&[t; 64], Packing::Slots, &mut randomness).unwrap_err();
    assert_eq!(large, RlweError::Value { value: t, plain: t });
    let foreign = Ciphertext::zero(&other);
    assert_eq!(secret.decrypt(&foreign, Packing::Slots), Err(RlweError::Mixed));
    let mut own = Ciphertext::zero(&params);
    assert_eq!(own.add_assign(&foreign), Err(RlweError::Mixed));
    let mut lower = own.clone();
    lower.switch_down().unwrap();
    assert_eq!(own.add_assign(&lower), Err(RlweError::Level { expected: 2, found: 1 }));
    assert!(
        DotProduct::new(&params)
            .add(&[(&lower, &params.encode(&[0; 64], Packing::Slots, Basis::Ciphertext).unwrap())])
            .is_err()
    );
}

#[test]
fn insecure_parameters_need_the_insecure_function() {
    let spec = |ring: usize, prime_bits: &[u32], special: u32| ParameterSpec {
        ring,
        plain_modulus: plain_prime(20, ring).unwrap(),
        prime_bits: prime_bits.to_vec(),
        key_switch: KeySwitch::Special { bits: vec![special], primes_per_digit: 1 },
    };
    assert!(Parameters::new(spec(8192, &[49, 49, 49], 49)).is_ok());
    let refused = Parameters::new(spec(4096, &[36, 36], 37)).unwrap_err();
    assert!(matches!(refused, RlweError::Insecure { ring: 4096, limit: 106, .. }), "{refused}");
    assert!(Parameters::insecure_for_tests(spec(4096, &[36, 36], 37)).is_ok());
    assert!(matches!(Parameters::new(spec(2048, &[25], 25)), Err(RlweError::Ring { ring: 2048, .. })));
    assert!(matches!(Parameters::new(spec(8192, &[51], 49)), Err(RlweError::PrimeBits { bits: 51, .. })));
    assert!(matches!(Parameters::new(spec(8192, &[], 49)), Err(RlweError::Count { count: 0, .. })));
    for plain_modulus in [0, 1, 2, 65536, 786_434, 16385, 1 << 60] {
        let spec = ParameterSpec { plain_modulus, ..spec(8192, &[49], 49) };
        let refused = Parameters::new(spec).unwrap_err();
        assert_eq!(refused, RlweError::PlainModulus { plain: plain_modulus, cycle: 16384 });
    }
}

#[test]
fn secrets_are_not_shown() {
    let params = small().swap_remove(0);
    let (secret, _) = key(&params, 9);
    assert_eq!(format!("{secret:?}"), "SecretKey(..)");
}
