//! Sums of rotated ciphertexts that are divided once, against rotations that are added.

use super::rotation::{Setup, setup, steps, turned};
use super::{real, signed, small, values};
use stria::rlwe::{
    Automorphism, Basis, Ciphertext, FactorNorm, Hoisted, Noise, Packing, RlweError, RotationSum,
};

/// Adds `more` to `sum`, slot by slot modulo t.
fn add(sum: &mut [u64], more: &[u64], t: u64) {
    sum.iter_mut().zip(more).for_each(|(s, m)| *s = (*s + m) % t);
}

/// The ciphertext times values that differ from one `seed` to the next, and its noise.
fn product(s: &Setup, seed: u64) -> (Ciphertext, Noise) {
    let factor = signed(&s.params, &values(&s.params, seed));
    let factor = s.params.encode(&factor, Packing::Slots, Basis::Ciphertext).unwrap();
    let noise = Noise::fresh().times(FactorNorm::of_slots(&s.params));
    (s.ciphertext.multiply_plain(&factor).unwrap(), noise)
}

#[test]
fn sums_are_sums_of_rotations_and_their_noise_is_estimated() {
    for params in small().into_iter().chain(real()) {
        let s = setup(params);
        let t = s.params.plain_modulus();
        let mut sum = RotationSum::new(&s.params);
        let mut expected = vec![0; s.params.ring()];
        let mut estimate = Noise::none();
        for (seed, by) in (70..).zip(steps(&s.params)) {
            let (term, noise) = product(&s, seed);
            if seed % 2 == 0 {
                sum.add(&s.keys, &term, by).unwrap();
            } else {
                sum.add_hoisted(&s.keys, &Hoisted::new(&term).unwrap(), by).unwrap();
            }
            estimate = estimate.plus(noise.rotated_extended(&s.params));
            add(&mut expected, &turned(&s.slots(&term), by), t);
        }
        let (term, noise) = product(&s, 90);
        sum.add_ciphertext(&term).unwrap();
        sum.add(&s.keys, &term, Automorphism::Rotate(0)).unwrap();
        sum.add_hoisted(&s.keys, &Hoisted::new(&term).unwrap(), Automorphism::Rotate(0)).unwrap();
        let estimate = estimate.plus(noise.plus_dependent(noise).plus_dependent(noise));
        for _ in 0..3 {
            add(&mut expected, &s.slots(&term), t);
        }
        let out = sum.finish();
        assert_eq!(s.slots(&out), expected, "{:?}", s.params.spec());
        super::noise::check("sum", &s.secret, &out, estimate.divided(&s.params));
    }
}

/// What the sum saves is noise too: it is never above that of the rotations added one by one.
#[test]
fn rotations_of_one_ciphertext_keep_below_the_dependent_estimate() {
    for params in small().into_iter().chain(real()) {
        let s = setup(params);
        let hoisted = Hoisted::new(&s.ciphertext).unwrap();
        let mut sum = RotationSum::new(&s.params);
        let mut estimate = Noise::none();
        for by in steps(&s.params) {
            sum.add_hoisted(&s.keys, &hoisted, by).unwrap();
            estimate = estimate.plus_dependent(Noise::fresh().rotated_extended(&s.params));
        }
        super::noise::check("one source", &s.secret, &sum.finish(), estimate.divided(&s.params));
    }
}

/// A sum of one term is the rotation itself, bit for bit: both divide the same extended product.
#[test]
fn a_sum_of_one_is_a_rotation() {
    for params in small() {
        let s = setup(params);
        for by in steps(&s.params) {
            let mut sum = RotationSum::new(&s.params);
            sum.add(&s.keys, &s.ciphertext, by).unwrap();
            assert_eq!(sum.finish(), s.keys.rotate(&s.ciphertext, by).unwrap());
        }
        let empty = RotationSum::new(&s.params).finish();
        assert_eq!(empty, Ciphertext::zero(&s.params));
    }
}

#[test]
fn sums_refuse_what_does_not_fit_and_stay_as_they_are() {
    let s = setup(small().swap_remove(0));
    let foreign = setup(small().swap_remove(1));
    let mut sum = RotationSum::new(&s.params);
    let one = Automorphism::Rotate(1);
    sum.add(&s.keys, &s.ciphertext, one).unwrap();
    assert_eq!(sum.add(&foreign.keys, &foreign.ciphertext, one), Err(RlweError::Mixed));
    assert_eq!(sum.add(&foreign.keys, &s.ciphertext, one), Err(RlweError::Mixed));
    assert_eq!(sum.add_ciphertext(&foreign.ciphertext), Err(RlweError::Mixed));
    let hoisted = Hoisted::new(&foreign.ciphertext).unwrap();
    assert_eq!(sum.add_hoisted(&foreign.keys, &hoisted, one), Err(RlweError::Mixed));
    let missing = Automorphism::Rotate(9);
    assert_eq!(sum.add(&s.keys, &s.ciphertext, missing), Err(RlweError::MissingKey(missing)));
    let mut lower = s.ciphertext.clone();
    lower.switch_down().unwrap();
    let level = Err(RlweError::Level { expected: 2, found: 1 });
    assert_eq!(sum.add(&s.keys, &lower, one), level);
    assert_eq!(sum.add_ciphertext(&lower), level);
    assert_eq!(sum.finish(), s.keys.rotate(&s.ciphertext, one).unwrap());
}
