//! Vector kernels against portable ones, bit for bit.

use super::*;
use crate::rlwe::packed::{packed_words, residue};
use crate::rlwe::prime::choose;
use proptest::prelude::*;

const RING: usize = 64;

fn moduli() -> impl Strategy<Value = Modulus> {
    let primes = choose(&[50, 50, 49, 36, 25, 20], 2 * RING, &[]);
    proptest::sample::select(primes.unwrap_or_default()).prop_map(Modulus::new)
}

/// Residues with both ends of the range over-represented.
fn residues(m: Modulus, len: usize) -> impl Strategy<Value = Vec<u64>> {
    let p = m.value;
    let edge = proptest::sample::select(vec![0, 1, p / 2, p / 2 + 1, p - 2, p - 1]);
    proptest::collection::vec(prop_oneof![edge, 0..p], len)
}

fn pair() -> impl Strategy<Value = (Modulus, Vec<u64>, Vec<u64>, Vec<u64>)> {
    moduli().prop_flat_map(|m| (Just(m), residues(m, RING), residues(m, RING), residues(m, RING)))
}

fn packed(m: Modulus, residues: &[u64]) -> Vec<u64> {
    let mut out = vec![u64::MAX; packed_words(m, residues.len())];
    portable::pack(m, residues, &mut out);
    out
}

type Job = (Modulus, Vec<Vec<u64>>, Vec<u64>, Vec<u64>, usize);

fn products() -> impl Strategy<Value = Job> {
    (moduli(), 1usize..=9, 0usize..RING).prop_flat_map(|(m, terms, k)| {
        let digits = proptest::collection::vec(residues(m, RING), terms);
        (Just(m), digits, residues(m, 2 * RING * terms), residues(m, RING), Just(2 * k + 1))
    })
}

proptest! {
    #[test]
    fn elementwise((m, a, b, c) in pair()) {
        let Some(simd) = simd::Avx512::detect() else { return Ok(()) };
        let w = m.factor(b[0]);
        macro_rules! same {
            ($start:expr, $name:ident($($arg:expr),*)) => {{
                let (mut fast, mut plain): (Vec<u64>, Vec<u64>) = ($start.clone(), $start.clone());
                simd.$name(m, &mut fast, $($arg),*);
                portable::$name(m, &mut plain, $($arg),*);
                prop_assert_eq!(fast, plain);
            }};
        }
        same!(a, add(&b));
        same!(a, sub(&b));
        same!(a, sub_from(&b));
        same!(a, scale(w));
        same!(c, multiply(&a, &b));
        same!(c, multiply_add(&a, &b));
        same!(c, multiply_sub(&a, &b));
        let signed: Vec<i64> = a.iter().map(|&x| m.centre(x)).collect();
        let (mut fast, mut plain) = (c.clone(), c);
        simd.lift_signed(m, &signed, &mut fast);
        portable::lift_signed(m, &signed, &mut plain);
        prop_assert_eq!(&fast, &a);
        prop_assert_eq!(&plain, &a);
    }

    #[test]
    fn lifts((from, a, _, _) in pair(), to in moduli(), shift in 0u32..30) {
        let Some(simd) = simd::Avx512::detect() else { return Ok(()) };
        let (mut fast, mut plain) = (vec![0; RING], vec![0; RING]);
        simd.lift(from, to, &a, &mut fast);
        portable::lift(from, to, &a, &mut plain);
        prop_assert_eq!(&fast, &plain);
        for (&x, &y) in a.iter().zip(&plain) {
            prop_assert_eq!(to.residue(from.centre(x)), y);
        }
        let w = to.factor(from.value ^ 12345);
        simd.lift_scaled(from, to, w, &a, &mut fast);
        portable::lift_scaled(from, to, w, &a, &mut plain);
        prop_assert_eq!(&fast, &plain);
        let digit = Digit { offset: 1 << 50, shift, mask: (1 << 17) - 1, half: 1 << 16 };
        simd.digit(from, to, digit, &a, &mut fast);
        portable::digit(from, to, digit, &a, &mut plain);
        prop_assert_eq!(&fast, &plain);
    }

    #[test]
    fn packing((m, a, b, _) in pair(), len in 1usize..=RING / 8) {
        let a = &a[..8 * len];
        let mut plain = packed(m, a);
        for (i, &x) in a.iter().enumerate() {
            prop_assert_eq!(residue(m, &plain, i), x);
        }
        let mut back = b[..8 * len].to_vec();
        portable::unpack(m, &plain, &mut back);
        prop_assert_eq!(&back, a);
        let Some(simd) = simd::Avx512::detect() else { return Ok(()) };
        let mut fast = vec![u64::MAX; plain.len()];
        simd.pack(m, a, &mut fast);
        prop_assert_eq!(&fast, &plain);
        back.fill(0);
        plain.fill(0);
        simd.unpack(m, &fast, &mut back);
        prop_assert_eq!(&back, a);
    }

    #[test]
    fn sums((m, digits, key, base, g) in products()) {
        let Some(simd) = simd::Avx512::detect() else { return Ok(()) };
        let slices: Vec<&[u64]> = digits.iter().map(Vec::as_slice).collect();
        let permutation = Permutation::new(RING, g);
        let minus = [&key[..RING], &base[..]];
        let onto = if g % 8 < 4 { Onto::Sum } else { Onto::Anything };
        let addends = Addends { base: Some(&base), minus: (g % 4 == 1).then_some(minus), onto };
        let packed_key = packed(m, &key);
        let job = InnerProduct {
            modulus: m, digits: &slices, key: &packed_key, key_digits: digits.len(), addends, permutation: &permutation, first_block: 0,
        };
        let held = [base.clone(), digits[0].clone()];
        let (mut fast, mut plain) = (held.clone(), held);
        let [f0, f1] = &mut fast;
        simd.inner_product(&job, f0, f1);
        let [p0, p1] = &mut plain;
        portable::inner_product(&job, p0, p1);
        prop_assert_eq!(&fast, &plain);

        let fewer = InnerProduct { digits: &slices[..slices.len().div_ceil(2)], ..job };
        let [f0, f1] = &mut fast;
        simd.inner_product(&fewer, f0, f1);
        let [p0, p1] = &mut plain;
        portable::inner_product(&fewer, p0, p1);
        prop_assert_eq!(&fast, &plain);

        let factors: Vec<Vec<u64>> = digits.iter().map(|digit| packed(m, digit)).collect();
        let combined: Vec<(&[u64], u64)> = factors.iter().zip(&key).map(|(f, &c)| (&f[..], c)).collect();
        let (mut fast, mut plain) = (vec![0; RING], vec![0; RING]);
        simd.combine(m, &combined, &mut fast);
        portable::combine(m, &combined, &mut plain);
        prop_assert_eq!(&fast, &plain);

        let weighed: Vec<(&[u64], u64)> = slices.iter().zip(&key).map(|(&d, &c)| (d, c)).collect();
        let mut rows = vec![0; RING];
        simd.weigh(m, &weighed, &mut rows);
        prop_assert_eq!(&rows, &plain);
        portable::weigh(m, &weighed, &mut rows);
        prop_assert_eq!(&rows, &plain);

        // One sum with the same factor, and up to four with different ones.
        let operands: Vec<[&[u64]; 2]> = slices.iter().map(|&d| [d, &base[..]]).collect();
        let same = vec![&packed_key[..]; operands.len()];
        let job = SharedSums { modulus: m, operands: &operands, factors: &same };
        let (mut fast, mut plain) = (vec![0; 4 * RING], vec![0; 4 * RING]);
        for _ in 0..2 {
            simd.accumulate(&job, &mut fast);
            portable::accumulate(&job, &mut plain);
            prop_assert_eq!(&fast, &plain);
        }
        for count in 1..=SUMS {
            let factors: Vec<&[u64]> =
                (0..count * operands.len()).map(|i| &factors[i * i % factors.len()][..]).collect();
            let job = SharedSums { modulus: m, operands: &operands, factors: &factors };
            let [mut fast, mut plain] = [(); 2].map(|()| vec![[vec![0; RING], vec![0; RING]]; count]);
            let mut refs: Vec<[&mut [u64]; 2]> =
                fast.iter_mut().map(|halves| halves.each_mut().map(|half| &mut half[..])).collect();
            simd.sum_products(&job, &mut refs);
            let mut refs: Vec<[&mut [u64]; 2]> =
                plain.iter_mut().map(|halves| halves.each_mut().map(|half| &mut half[..])).collect();
            portable::sum_products(&job, &mut refs);
            prop_assert_eq!(&fast, &plain);
        }

        let (mut fast, mut plain) = (vec![0; 4 * RING], vec![0; 4 * RING]);
        let job = SharedSums { modulus: m, operands: &operands, factors: &same };
        simd.accumulate(&job, &mut fast);
        portable::accumulate(&job, &mut plain);
        let (mut f0, mut f1, mut p0, mut p1) =
            (vec![0; RING], vec![0; RING], vec![0; RING], vec![0; RING]);
        simd.reduce(m, &fast, &mut f0, &mut f1);
        portable::reduce(m, &plain, &mut p0, &mut p1);
        prop_assert_eq!((&f0, &f1), (&p0, &p1));
        for lane in 0..RING {
            let sum = digits.iter().map(|d| u128::from(d[lane]) * u128::from(key[lane])).sum::<u128>();
            prop_assert_eq!(u128::from(p0[lane]), sum % u128::from(m.value));
        }
        portable::fold(m, &mut plain);
        let (mut again0, mut again1) = (vec![0; RING], vec![0; RING]);
        portable::reduce(m, &plain, &mut again0, &mut again1);
        prop_assert_eq!((again0, again1), (p0, p1));
    }
}
