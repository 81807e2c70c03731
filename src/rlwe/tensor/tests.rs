//! The rounded tensor product against integers, written out.

use super::*;
use crate::rlwe::gadget::KeySwitch;
use crate::rlwe::modulus::index;
use crate::rlwe::params::ParameterSpec;
use crate::rlwe::poly::Coefficients;
use crate::rlwe::prime::plain_prime;
use crate::rlwe::random::expand;
use std::sync::Arc;

const RING: usize = 16;

fn parameters(prime_bits: &[u32]) -> Arc<Parameters> {
    let key_switch = KeySwitch::Special { bits: vec![49], primes_per_digit: 1 };
    let plain_modulus = plain_prime(17, RING).unwrap();
    let spec = ParameterSpec { ring: RING, plain_modulus, prime_bits: prime_bits.to_vec(), key_switch };
    Parameters::insecure_for_tests(spec).unwrap()
}

/// The integers in `-Q/2..Q/2` with these residues, by trying every multiple of the others' product.
fn centred(params: &Parameters, poly: &Poly<Ntt>) -> Vec<i128> {
    let primes = poly.primes();
    let poly = poly.clone().into_coefficients(&params.primes);
    let moduli: Vec<Modulus> = params.primes[..primes].iter().map(|q| q.modulus).collect();
    let q: i128 = moduli.iter().map(|m| i128::from(m.value)).product();
    let one = |i: usize| {
        let (mut x, mut step) = (0i128, 1i128);
        for (r, m) in moduli.iter().enumerate() {
            let p = i128::from(m.value);
            let inverse = i128::from(m.invert(u64::try_from(step % p).unwrap()));
            x += (i128::from(poly.limb(r)[i]) - x).rem_euclid(p) * inverse % p * step;
            step *= p;
        }
        if x > q / 2 { x - q } else { x }
    };
    (0..RING).map(one).collect()
}

fn from_integers(params: &Parameters, primes: usize, values: &[i128]) -> Poly<Ntt> {
    let mut poly = Poly::<Coefficients>::zero(RING, primes);
    for (q, limb) in params.primes.iter().zip(poly.limbs_mut()) {
        for (x, value) in limb.iter_mut().zip(values) {
            *x = u64::try_from(value.rem_euclid(i128::from(q.modulus.value))).unwrap();
        }
    }
    poly.into_ntt(&params.primes[..primes])
}

fn negacyclic(a: &[i128], b: &[i128]) -> Vec<i128> {
    let mut out = vec![0; RING];
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            out[(i + j) % RING] += if i + j < RING { x * y } else { -x * y };
        }
    }
    out
}

fn check(params: &Arc<Parameters>, a: [Poly<Ntt>; 2], b: [Poly<Ntt>; 2]) {
    let tensor = Tensor::new(params).unwrap();
    let primes = a[0].primes();
    let moduli = params.primes[..primes].iter().map(|q| i128::from(q.modulus.value));
    let (q, t) = (moduli.product::<i128>(), i128::from(params.plain_modulus()));
    let [x, y] = [&a, &b].map(|parts| parts.each_ref().map(|part| centred(params, part)));
    let crossed = negacyclic(&x[0], &y[1]).into_iter().zip(negacyclic(&x[1], &y[0]));
    let expected =
        [negacyclic(&x[0], &y[0]), crossed.map(|(x, y)| x + y).collect(), negacyclic(&x[1], &y[1])];
    let [a, b] = [a, b].map(|parts| Ciphertext { params: params.clone(), parts });
    let found = tensor.product(&tensor.lift(&a), &tensor.lift(&b));
    for (expected, found) in expected.iter().zip(&found) {
        let rounded: Vec<i128> = expected
            .iter()
            .map(|d| {
                let (whole, rest) = (d.div_euclid(q), d.rem_euclid(q));
                let y = (t * whole + (2 * t * rest + q).div_euclid(2 * q)).rem_euclid(q);
                if y > q / 2 { y - q } else { y }
            })
            .collect();
        assert_eq!(centred(params, found), rounded, "{primes} primes");
    }
}

#[test]
fn tensor_products_are_rounded_integers() {
    for bits in [&[49][..], &[25, 24], &[20, 21, 20]] {
        let params = parameters(bits);
        for primes in 1..=bits.len() {
            let uniform = |stream| expand(&[8; 32], stream, RING, &params.primes[..primes]);
            for i in 0..20 {
                let parts = [0, 1, 2, 3].map(|j| uniform(4 * i + j));
                let [a0, a1, b0, b1] = parts;
                check(&params, [a0, a1], [b0, b1]);
            }
        }
    }
}

/// Coefficients as large as they may be, with the signs that make a product largest.
#[test]
fn the_largest_products_are_exact() {
    for bits in [&[49][..], &[25, 24], &[20, 21, 20]] {
        let params = parameters(bits);
        let q: i128 = params.ciphertext_primes().iter().map(|&q| i128::from(q)).product();
        let most = q / 2 - q / 1000;
        for (seed, sign) in [(0u64, 1), (1, -1)] {
            let a: Vec<i128> = (0..RING).map(|i| if i > index(seed) { most } else { -most }).collect();
            // Negated where the product wraps, reversed: every term of one coefficient has the same sign.
            let b: Vec<i128> = a.iter().rev().map(|x| x * sign).collect();
            let [a, b] = [a, b].map(|x| from_integers(&params, bits.len(), &x));
            check(&params, [a.clone(), b.clone()], [b, a]);
        }
    }
}
