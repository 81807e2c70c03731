//! Shift, clamp and polynomials against the integer reference.

use super::harness::{all_pairs, modulus, of_pairs, some_pairs};
use stria::graph::{Interval, Requant};
use stria::mpc::Function;

fn check(from: u64, to: u64, requant: Requant, range: Interval, pairs: &[(i64, u64)]) {
    let function = Function::Requant { from: modulus(from), to: modulus(to), requant, range };
    let found = of_pairs(&function, from, to, pairs);
    for ((x, a), y) in pairs.iter().zip(found) {
        let wanted = requant.apply(*x);
        assert_eq!(y, wanted, "{requant:?} of {x} (client's share {a}) in {range:?} from {from} to {to}");
    }
}

/// The widest range that leaves room for the rounding term.
fn widest(t: u64, shift: u32) -> Interval {
    let limit = modulus(t).limit().cast_signed();
    let rounding = if shift == 0 { 0 } else { 1 << (shift - 1) };
    Interval { lo: -limit, hi: limit - rounding }
}

#[test]
fn exact_for_every_value_and_share_of_small_moduli() {
    for t in [61, 97, 64] {
        for shift in [0, 1, 2, 3, 4] {
            let range = widest(t, shift);
            let ranges = [range, Interval { lo: 0, ..range }, Interval { lo: -7, hi: 9 }];
            for range in ranges {
                let pairs = all_pairs(t, (range.lo, range.hi));
                for (lo, hi) in [(0, 3), (-2, 2), (0, 1000), (-1000, 1000), (-1000, 1), (1, 2), (-3, 0)] {
                    check(t, t, Requant { shift, lo, hi }, range, &pairs);
                }
                check(t, 41, Requant { shift, lo: 0, hi: 5 }, range, &pairs);
                check(t, 32, Requant { shift, lo: -4, hi: 3 }, range, &pairs);
                check(t, 1 << 20, Requant { shift, lo: -3, hi: 3 }, range, &pairs);
            }
        }
    }
}

#[test]
fn exact_at_every_boundary_of_real_moduli() {
    for (t, to) in [
        (65_537, 786_433),
        (786_433, 786_433),
        (1_032_193, 1 << 24),
        (33_538_049, 65_537),
        ((1 << 40) - 87, (1 << 40) - 87),
        (1 << 24, 1_032_193),
        (1 << 38, 1 << 20),
    ] {
        for shift in [0, 1, 7, 12, 15] {
            let widest = widest(t, shift);
            let narrow = Interval { lo: widest.lo / 3, hi: widest.hi / 3 };
            for range in [widest, narrow] {
                for (lo, hi) in [(0, 127), (-128, 127), (3, 11)] {
                    let step = 1_i64 << shift;
                    let boundary = |y: i64| y.saturating_mul(step) - step / 2;
                    let edges: Vec<i64> = [lo, hi, hi + 1, 0, 1, -1, 5, -5].map(boundary).to_vec();
                    let pairs = some_pairs(t, (range.lo, range.hi), &edges, 100);
                    check(t, to, Requant { shift, lo, hi }, range, &pairs);
                }
            }
        }
    }
}

#[test]
fn polynomials_are_exact() {
    for (t, reach, coefficients) in
        [(1_032_193, 127, [1, 0, 0]), (33_538_049, 255, [-3, 200, 17]), (1 << 24, 100, [2, -1, -5])]
    {
        let range = Interval { lo: -reach, hi: reach };
        for requant in [Requant { shift: 6, lo: 0, hi: 127 }, Requant { shift: 4, lo: -128, hi: 127 }] {
            let pairs = some_pairs(t, (range.lo, range.hi), &[reach / 2], 200);
            let (from, to) = (modulus(t), modulus(t));
            let function = Function::Poly { from, to, coefficients, requant, range };
            let [a, b, c] = coefficients;
            for ((x, _), y) in pairs.iter().zip(of_pairs(&function, t, t, &pairs)) {
                assert_eq!(y, requant.apply(a * x * x + b * x + c), "{coefficients:?} at {x} modulo {t}");
            }
        }
    }
}

#[test]
fn ranges_that_do_not_fit_are_refused() {
    let (from, to) = (modulus(97), modulus(97));
    let requant = Requant { shift: 3, lo: 0, hi: 7 };
    let fits = Interval { lo: -47, hi: 43 };
    for (range, fine) in
        [(fits, true), (Interval { hi: 44, ..fits }, false), (Interval { lo: -60, ..fits }, false)]
    {
        let function = Function::Requant { from, to, requant, range };
        let step = stria::mpc::Step { id: 0, values: 1, function };
        assert_eq!(step.batches().is_ok(), fine, "{range:?}");
    }
}
