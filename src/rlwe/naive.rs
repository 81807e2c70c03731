//! The engine against integers modulo Q, written out: schoolbook products, one division, no transform.

use super::cipher::Ciphertext;
use super::encode::Packing;
use super::gadget::{Decomposition, KeySwitch};
use super::keys::SecretKey;
use super::modulus::low;
use super::params::{ParameterSpec, Parameters};
use super::poly::{Coefficients, Ntt, Poly};
use super::prime::plain_prime;
use super::random::{Randomness, expand};
use super::switch::{Undigested, lifted, special_coefficients};
use std::sync::Arc;

const RING: usize = 16;

fn parameters(prime_bits: &[u32], key_switch: KeySwitch) -> Arc<Parameters> {
    let plain_modulus = plain_prime(17, RING).unwrap();
    let prime_bits = prime_bits.to_vec();
    Parameters::insecure_for_tests(ParameterSpec { ring: RING, plain_modulus, prime_bits, key_switch })
        .unwrap()
}

fn special(bits: &[u32], primes_per_digit: usize) -> KeySwitch {
    KeySwitch::Special { bits: bits.to_vec(), primes_per_digit }
}

fn product(primes: &[u64]) -> u128 {
    primes.iter().map(|&q| u128::from(q)).product()
}

/// The integers from 0 to the primes' product with these residues, one prime after the other.
fn integers(poly: &Poly<Coefficients>, primes: &[u64]) -> Vec<u128> {
    let one = |i: usize| {
        let (mut x, mut modulus) = (0u128, 1u128);
        for (limb, &q) in poly.limbs().zip(primes) {
            let q = u128::from(q);
            // modulus^(q-2) mod q, by the definition of the inverse.
            let inverse = (1..64).fold((1u128, modulus % q), |(acc, base), bit| {
                let acc = if (q - 2) >> (bit - 1) & 1 == 1 { acc * base % q } else { acc };
                (acc, base * base % q)
            });
            let wanted = (u128::from(limb[i]) + q - x % q) % q;
            x += wanted * inverse.0 % q * modulus;
            modulus *= q;
        }
        x
    };
    (0..RING).map(one).collect()
}

/// `a * s` of an integer and a ternary polynomial modulo `modulus` and X^N + 1.
fn times_ternary(a: &[u128], s: &[i64], modulus: u128) -> Vec<u128> {
    let mut out = vec![0; RING];
    for (i, &x) in a.iter().enumerate() {
        for (j, &sign) in s.iter().enumerate() {
            let sign = if i + j < RING { sign } else { -sign };
            let slot = &mut out[(i + j) % RING];
            *slot = match sign {
                1 => (*slot + x) % modulus,
                -1 => (*slot + modulus - x) % modulus,
                _ => *slot,
            };
        }
    }
    out
}

fn round_div(x: u128, by: u128) -> u128 {
    (x + by / 2) / by
}

fn coefficients(params: &Parameters, poly: &Poly<Ntt>) -> Poly<Coefficients> {
    poly.clone().into_coefficients(&params.primes)
}

#[test]
fn phase_and_decryption_are_the_definition() {
    let params = parameters(&[49, 45], special(&[50], 1));
    let mut randomness = Randomness::insecure_from_seed(1);
    let secret = SecretKey::generate(&params, &mut randomness);
    let t = u128::from(params.plain_modulus());
    let message: Vec<u64> = (0..RING as u64).map(|i| (i * 7919) % params.plain_modulus()).collect();
    let mut ciphertext = secret.encrypt(&message, Packing::Coefficients, &mut randomness).unwrap().expand();
    for primes in [2, 1] {
        let own = &params.ciphertext_primes()[..primes];
        let q = product(own);
        let [c0, c1] = [0, 1].map(|i| integers(&coefficients(&params, &ciphertext.parts[i]), own));
        let phase = times_ternary(&c1, &secret.coefficients, q);
        let phase: Vec<u128> = phase.iter().zip(&c0).map(|(a, b)| (a + b) % q).collect();
        let decrypted: Vec<u64> = phase.iter().map(|&x| low(round_div(x * t, q) % t)).collect();
        assert_eq!(decrypted, message);
        // The noise is what is left of round(Q m / t), and as small as it should be.
        let noise = phase.iter().zip(&message).map(|(&x, &m)| {
            let d = (x + q - round_div(q * u128::from(m), t)) % q;
            d.min(q - d)
        });
        let noise = noise.max().unwrap();
        assert!((1..=21 + RING as u128).contains(&noise), "{noise}");
        assert_eq!(secret.noise_bits(&ciphertext).unwrap(), (noise as f64).log2());
        if primes > 1 {
            ciphertext.switch_down().unwrap();
        }
    }
}

#[test]
fn scaling_is_exact_and_decryption_holds_up_to_the_bound() {
    let params = parameters(&[49, 45], special(&[50], 1));
    let secret = SecretKey::generate(&params, &mut Randomness::insecure_from_seed(2));
    let own = params.ciphertext_primes();
    let (q, t) = (product(&own), u128::from(params.plain_modulus()));
    let message: Vec<u64> = [0, 1, 2, t / 2, t / 2 + 1, t - 1].map(low).repeat(3)[..RING].to_vec();
    let mut trivial = Ciphertext::zero(&params);
    trivial.add_plain(&message, Packing::Coefficients).unwrap();
    let scaled = integers(&coefficients(&params, &trivial.parts[0]), &own);
    for (&m, &x) in message.iter().zip(&scaled) {
        assert_eq!(x, round_div(q * u128::from(m), t) % q);
    }
    // Noise just below Q/2t on either side, then just above.
    let bound = q / (2 * t);
    for (noise, fits) in [(bound - bound / 4000, true), (bound + bound / 4000, false)] {
        for negative in [false, true] {
            let shifted =
                scaled.iter().map(|&x| if negative { (x + q - noise) % q } else { (x + noise) % q });
            let mut poly = Poly::<Coefficients>::zero(RING, 2);
            for (i, x) in shifted.enumerate() {
                for (r, &prime) in own.iter().enumerate() {
                    poly.limb_mut(r)[i] = low(x % u128::from(prime));
                }
            }
            let mut ciphertext = trivial.clone();
            ciphertext.parts[0] = poly.into_ntt(&params.primes[..2]);
            let decrypted = secret.decrypt(&ciphertext, Packing::Coefficients).unwrap();
            assert_eq!(decrypted == message, fits, "{noise} {negative}");
        }
    }
}

#[test]
fn modulus_switching_rounds_every_coefficient() {
    let params = parameters(&[40, 36, 45], special(&[50], 1));
    let own = params.ciphertext_primes();
    let uniform = expand(&[9; 32], 0, RING, params.own());
    let mut ciphertext = Ciphertext { params: params.clone(), parts: [uniform.clone(), uniform] };
    let before = integers(&coefficients(&params, &ciphertext.parts[0]), &own);
    ciphertext.switch_down().unwrap();
    let after = integers(&coefficients(&params, &ciphertext.parts[0]), &own[..2]);
    let (last, q) = (u128::from(own[2]), product(&own[..2]));
    for (&x, &y) in before.iter().zip(&after) {
        assert_eq!(round_div(x, last) % q, y);
    }
}

#[test]
fn digits_recombine_to_the_polynomial() {
    let variants = [
        special(&[50], 1),
        special(&[50, 50], 2),
        special(&[50, 49, 48], 3),
        KeySwitch::Digits { bits: 7 },
        KeySwitch::Digits { bits: 25 },
        KeySwitch::Digits { bits: 44 },
    ];
    for key_switch in variants {
        let params = parameters(&[49, 45, 44], key_switch.clone());
        let poly = expand(&[3; 32], 0, RING, params.own());
        let undigested = Undigested::new(&params, &poly);
        let digits = params.gadget.digits();
        for (r, prime) in params.own().iter().enumerate() {
            let m = prime.modulus;
            let special = params.special_primes().iter().fold(1, |acc, &p| m.mul(acc, p % m.value));
            let mut sum = vec![0; RING];
            let mut digit = vec![0; RING];
            for j in 0..digits {
                let reused = params.gadget.reuses(r, j);
                if reused {
                    let n = m.factor(RING as u64);
                    digit.iter_mut().zip(poly.limb(r)).for_each(|(d, &x)| *d = m.scale(x, n));
                } else {
                    undigested.digit(r, j, &mut digit);
                }
                let weight = params.gadget.values[r][j];
                sum.iter_mut().zip(&digit).for_each(|(s, &d)| *s = m.add(*s, m.mul(d, weight)));
            }
            let expected: Vec<u64> = poly.limb(r).iter().map(|&x| m.mul(x, special)).collect();
            assert_eq!(sum, expected, "{key_switch:?} {r}");
        }
        // Each digit is one small integer, seen modulo every prime.
        for j in 0..digits {
            let seen: Vec<Vec<i64>> = (0..params.primes.len())
                .filter(|&r| !params.gadget.reuses(r, j))
                .map(|r| {
                    let mut digit = vec![0; RING];
                    undigested.digit(r, j, &mut digit);
                    params.primes[r].inverse(&mut digit);
                    let m = params.primes[r].modulus;
                    digit.iter().map(|&x| m.centre(m.scale(x, params.primes[r].degree_inverse))).collect()
                })
                .collect();
            if let Decomposition::Cuts(cuts) = &params.gadget.decomposition {
                assert!(seen.iter().all(|s| s == &seen[0]));
                let half = cuts[j].digit.half as i64;
                assert!(seen[0].iter().all(|x| x.abs() <= half));
            }
        }
    }
}

#[test]
fn division_by_special_primes_rounds_every_coefficient() {
    for bits in [vec![30], vec![31, 29]] {
        let params = parameters(&[30, 28], special(&bits, bits.len()));
        let all: Vec<u64> = params.primes.iter().map(|p| p.modulus.value).collect();
        let (own, specials) = all.split_at(2);
        let x = expand(&[5; 32], 0, RING, &params.primes);
        let before = integers(&coefficients(&params, &x), &all);
        // The extended form, by its definition.
        let mut extended = x;
        for (r, limb) in extended.limbs_mut().enumerate() {
            let m = params.primes[r].modulus;
            let others =
                specials.iter().filter(|&&p| p != m.value).fold(1, |acc, &p| m.mul(acc, p % m.value));
            let divisor = if r < 2 { others } else { m.mul(others, RING as u64) };
            let scale = m.factor(m.invert(divisor));
            limb.iter_mut().for_each(|x| *x = m.scale(*x, scale));
        }
        let mut special: Vec<u64> = (2..all.len()).flat_map(|r| extended.limb(r).to_vec()).collect();
        extended.truncate(2);
        special_coefficients(&params, &mut special);
        for (r, limb) in extended.limbs_mut().enumerate() {
            let mut fraction = vec![0; RING];
            lifted(&params, r, &special, &mut fraction);
            let m = params.primes[r].modulus;
            limb.iter_mut().zip(&fraction).for_each(|(x, &f)| *x = m.sub(*x, f));
        }
        let after = integers(&coefficients(&params, &extended), own);
        let (q, p) = (product(own), product(specials));
        for (&x, &y) in before.iter().zip(&after) {
            assert_eq!(round_div(x, p) % q, y);
        }
    }
}
