//! Rotations: what they do to slots, and that all ways of computing them agree.

use super::{key, real, signed, small, values};
use proptest::prelude::*;
use proptest::sample;
use std::sync::Arc;
use stria::rlwe::{
    Automorphism, Basis, Ciphertext, Extended, ExtendedSum, GaloisKeys, Hoisted, KeySwitch, Noise, Packing,
    Parameters, RlweError, SecretKey,
};

/// What an automorphism does to slots.
pub(super) fn turned(slots: &[u64], by: Automorphism) -> Vec<u64> {
    let row = slots.len() / 2;
    let from = |i: usize| match by {
        Automorphism::SwapRows => (i + row) % slots.len(),
        Automorphism::Rotate(k) => {
            let left = k.unsigned_abs() as usize % row;
            i / row * row + (i + if k < 0 { row - left } else { left }) % row
        }
    };
    (0..slots.len()).map(|i| slots[from(i)]).collect()
}

pub(super) fn row(params: &Parameters) -> i32 {
    i32::try_from(params.ring() / 2).unwrap()
}

pub(super) fn steps(params: &Parameters) -> Vec<Automorphism> {
    let row = row(params);
    let mut steps: Vec<_> = [1, -1, 2, 3, -3, row / 2, 1 - row / 2].map(Automorphism::Rotate).to_vec();
    steps.push(Automorphism::SwapRows);
    steps
}

pub(super) struct Setup {
    pub(super) params: Arc<Parameters>,
    pub(super) secret: SecretKey,
    pub(super) keys: GaloisKeys,
    pub(super) message: Vec<u64>,
    pub(super) ciphertext: Ciphertext,
}

pub(super) fn setup(params: Arc<Parameters>) -> Setup {
    let (secret, mut randomness) = key(&params, 20);
    let keys = secret.galois_keys(&steps(&params), &mut randomness).expand();
    let message = values(&params, 21);
    let ciphertext = secret.encrypt(&message, Packing::Slots, &mut randomness).unwrap().expand();
    Setup { params, secret, keys, message, ciphertext }
}

impl Setup {
    pub(super) fn slots(&self, ciphertext: &Ciphertext) -> Vec<u64> {
        self.secret.decrypt(ciphertext, Packing::Slots).unwrap()
    }
}

#[test]
fn rotations_turn_rows() {
    for params in small().into_iter().chain(real()) {
        let s = setup(params);
        let hoisted = Hoisted::new(&s.ciphertext).unwrap();
        for by in steps(&s.params) {
            let rotated = s.keys.rotate(&s.ciphertext, by).unwrap();
            assert_eq!(s.slots(&rotated), turned(&s.message, by), "{by:?} {:?}", s.params.spec());
            // Plain and hoisted rotations do the same arithmetic in another order.
            assert_eq!(s.keys.rotate_hoisted(&hoisted, by).unwrap(), rotated);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rotations_compose_as_a_group(params in sample::select(small()), a: i32, b: i32) {
        let (secret, mut randomness) = key(&params, 23);
        let (one, other) = (Automorphism::Rotate(a / 2), Automorphism::Rotate(b / 2));
        let both = Automorphism::Rotate(a / 2 + b / 2);
        let swap = Automorphism::SwapRows;
        let keys = secret.galois_keys(&[one, other, both, swap], &mut randomness).expand();
        let message = values(&params, 24);
        let fresh = secret.encrypt(&message, Packing::Slots, &mut randomness).unwrap().expand();
        let after = |path: &[Automorphism]| {
            let turn = |c: Ciphertext, &by: &Automorphism| keys.rotate(&c, by).unwrap();
            secret.decrypt(&path.iter().fold(fresh.clone(), turn), Packing::Slots).unwrap()
        };
        prop_assert_eq!(after(&[one]), turned(&message, one));
        prop_assert_eq!(after(&[one, other]), after(&[both]));
        prop_assert_eq!(after(&[other, one]), after(&[both]));
        prop_assert_eq!(after(&[one, swap]), after(&[swap, one]));
        prop_assert_eq!(after(&[swap, swap]), message);
    }
}

/// Threads share keys and working memory.
#[test]
fn rotations_on_several_threads_are_those_on_one() {
    let s = setup(small().swap_remove(1));
    let expected = s.keys.rotate(&s.ciphertext, Automorphism::Rotate(1)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(s.keys.rotate(&s.ciphertext, Automorphism::Rotate(1)).unwrap(), expected);
                }
            });
        }
    });
}

#[test]
fn keys_merge_and_tell_their_size() {
    let params = small().swap_remove(0);
    let (secret, mut randomness) = key(&params, 25);
    let mut make = |k| secret.galois_keys(&[Automorphism::Rotate(k)], &mut randomness).expand();
    let mut keys = GaloisKeys::none(&params);
    assert_eq!((keys.bytes(), keys.contains(Automorphism::Rotate(0))), (0, true));
    keys.merge(make(1)).unwrap();
    keys.merge(make(2)).unwrap();
    // Two keys of two digits, two polynomials of 64 residues each, packed, and padding for each prime.
    let prime = |bits: usize| 2 * 2 * 64 * bits / 8 + 64;
    assert_eq!(keys.bytes(), 2 * (2 * prime(49) + prime(50)));
    assert!(keys.contains(Automorphism::Rotate(2 - 32)) && !keys.contains(Automorphism::Rotate(3)));
    let foreign = small().swap_remove(1);
    assert_eq!(keys.merge(GaloisKeys::none(&foreign)), Err(RlweError::Mixed));
    let hoisted_of_another = Ciphertext::zero(&foreign);
    assert!(matches!(keys.rotate(&hoisted_of_another, Automorphism::Rotate(1)), Err(RlweError::Mixed)));
}

#[test]
fn steps_count_modulo_the_row_and_no_step_needs_no_key() {
    let s = setup(small().swap_remove(0));
    let row = row(&s.params);
    let rotate = |k| s.keys.rotate(&s.ciphertext, Automorphism::Rotate(k)).unwrap();
    assert_eq!(rotate(1), rotate(1 - row));
    assert_eq!(rotate(-1), rotate(row - 1));
    assert_eq!(rotate(0), s.ciphertext);
    assert_eq!(rotate(row), s.ciphertext);
    assert_eq!(rotate(i32::MIN), s.ciphertext);
    let missing = s.keys.rotate(&s.ciphertext, Automorphism::Rotate(5)).unwrap_err();
    assert_eq!(missing, RlweError::MissingKey(Automorphism::Rotate(5)));
    let mut out = Ciphertext::zero(&s.params);
    let mut lower = s.ciphertext.clone();
    lower.switch_down().unwrap();
    let level = Err(RlweError::Level { expected: 2, found: 1 });
    assert_eq!(s.keys.rotate_into(&lower, Automorphism::Rotate(1), &mut out), level);
}

/// The keys of all primes serve fewer, where the primes that are left make up whole digits.
#[test]
fn rotations_work_at_every_level() {
    let mut checked = 0;
    for params in small().into_iter().chain(real()) {
        let s = setup(params);
        let mut lower = s.ciphertext.clone();
        let mut noise = Noise::fresh();
        while lower.primes() > 1 {
            lower.switch_down().unwrap();
            let (from, to) = (lower.primes() + 1, lower.primes());
            noise = noise.switched(&s.params, from, to);
            let Ok(hoisted) = Hoisted::new(&lower) else {
                assert!(matches!(s.params.spec().key_switch, KeySwitch::Special { primes_per_digit: 2, .. }));
                let level = Err(RlweError::Level { expected: 3, found: to });
                assert_eq!(s.keys.rotate(&lower, Automorphism::Rotate(1)), level);
                continue;
            };
            for by in steps(&s.params) {
                let rotated = s.keys.rotate(&lower, by).unwrap();
                assert_eq!(rotated.primes(), to);
                assert_eq!(s.keys.rotate_hoisted(&hoisted, by).unwrap(), rotated);
                let estimate = noise.rotated(&s.params);
                // Digits of 25 bits make more noise than a single prime of 49 bits has room for.
                if estimate.bits(&s.params) < s.params.room_bits(to) {
                    assert!(s.slots(&rotated) == turned(&s.message, by), "{by:?} {:?}", s.params.spec());
                    super::noise::check("at a level", &s.secret, &rotated, estimate);
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 40, "{checked}");
}

#[test]
fn several_rotations_by_one_key_are_each_by_itself() {
    for params in small() {
        let s = setup(params);
        let by = steps(&s.params);
        let sources: Vec<_> = by.iter().map(|&by| s.keys.rotate(&s.ciphertext, by).unwrap()).collect();
        let sources: Vec<&Ciphertext> = sources.iter().collect();
        let hoisted: Vec<_> = sources.iter().map(|source| Hoisted::new(source).unwrap()).collect();
        let hoisted: Vec<_> = hoisted.iter().collect();
        for by in [Automorphism::Rotate(0), by[0], Automorphism::SwapRows] {
            let each: Vec<_> = sources.iter().map(|source| s.keys.rotate(source, by).unwrap()).collect();
            assert_eq!(s.keys.rotate_many(&sources, by).unwrap(), each);
            assert_eq!(s.keys.rotate_hoisted_many(&hoisted, by).unwrap(), each);
        }
        assert_eq!(s.keys.rotate_many(&[], by[0]).unwrap(), []);
        let foreign = Ciphertext::zero(&super::real()[0]);
        assert_eq!(s.keys.rotate_many(&[sources[0], &foreign], by[0]), Err(RlweError::Mixed));
    }
}

#[test]
fn keys_are_made_for_the_steps_asked_and_no_others() {
    let params = small().swap_remove(0);
    let (secret, mut randomness) = key(&params, 22);
    let asked = [3, 0, 3, 3 - 32, 32].map(Automorphism::Rotate);
    let made = secret.galois_keys(&asked, &mut randomness);
    assert_eq!(made.automorphisms().collect::<Vec<_>>(), [Automorphism::Rotate(3)]);
}

#[test]
fn double_hoisted_sums_are_sums_of_products_of_rotations() {
    for params in small().into_iter().chain(real().into_iter().take(2)) {
        let s = setup(params);
        let t = s.params.plain_modulus();
        let other = s.keys.rotate(&s.ciphertext, Automorphism::SwapRows).unwrap();
        let sources = [&s.ciphertext, &other];
        let hoisted = sources.map(|c| Hoisted::new(c).unwrap());
        let mut extended = [Extended::zero(&s.params), Extended::zero(&s.params)];
        let mut sum = ExtendedSum::new(&s.params);
        let mut expected = vec![0; s.params.ring()];
        let with_zero = steps(&s.params).into_iter().chain([Automorphism::Rotate(0)]);
        for (i, by) in with_zero.enumerate() {
            s.keys.rotate_extended(&[&hoisted[0], &hoisted[1]], by, &mut extended).unwrap();
            let factors = [30 + i as u64, 60 + i as u64].map(|seed| values(&s.params, seed));
            let encoded = factors
                .clone()
                .map(|f| s.params.encode(&signed(&s.params, &f), Packing::Slots, Basis::Extended).unwrap());
            let terms: Vec<_> = extended.iter().zip(&encoded).collect();
            sum.add(&terms).unwrap();
            for (source, factor) in sources.iter().zip(&factors) {
                let slots = turned(&s.slots(source), by);
                for ((e, &x), &f) in expected.iter_mut().zip(&slots).zip(factor) {
                    *e = (*e + x * f) % t;
                }
            }
        }
        assert_eq!(s.slots(&sum.finish()), expected, "{:?}", s.params.spec());
    }
}

#[test]
fn double_hoisting_refuses_what_does_not_fit() {
    let s = setup(small().swap_remove(0));
    let foreign = small().swap_remove(4);
    let hoisted = Hoisted::new(&s.ciphertext).unwrap();
    let one = Automorphism::Rotate(1);
    let mut extended = [Extended::zero(&s.params)];
    let none = s.keys.rotate_extended(&[], one, &mut extended);
    assert_eq!(none, Err(RlweError::Length { expected: 0, found: 1 }));
    let other = s.keys.rotate_extended(&[&hoisted], one, &mut [Extended::zero(&foreign)]);
    assert_eq!(other, Err(RlweError::Mixed));
    let missing = s.keys.rotate_extended(&[&hoisted], Automorphism::Rotate(9), &mut extended);
    assert_eq!(missing, Err(RlweError::MissingKey(Automorphism::Rotate(9))));

    let encode = |params: &Parameters, basis| params.encode(&[1; 64], Packing::Slots, basis).unwrap();
    let mut sum = ExtendedSum::new(&s.params);
    let short = encode(&s.params, Basis::Ciphertext);
    assert_eq!(sum.add(&[(&extended[0], &short)]), Err(RlweError::Level { expected: 3, found: 2 }));
    let of_another = encode(&foreign, Basis::Extended);
    assert_eq!(sum.add(&[(&extended[0], &of_another)]), Err(RlweError::Mixed));
    assert_eq!(s.ciphertext.multiply_plain(&of_another), Err(RlweError::Mixed));
}
