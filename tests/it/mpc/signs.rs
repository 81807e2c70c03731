//! Comparison, sign and ReLU.

use super::harness::{all_pairs, modulus, of_pairs, outcome, some_pairs};
use stria::mpc::Function;

#[test]
fn private_numbers_compare() {
    for bits in [1, 2, 3, 4, 5, 6] {
        let pairs: Vec<(u64, u64)> =
            (0..1 << bits).flat_map(|u| (0..1 << bits).map(move |v| (u, v))).collect();
        let client: Vec<u64> = pairs.iter().map(|p| p.0).collect();
        let server: Vec<u64> = pairs.iter().map(|p| p.1).collect();
        let outcome = outcome(&Function::Less { bits }, [&client, &server], 3);
        for ((u, v), (a, b)) in pairs.iter().zip(outcome.client.iter().zip(&outcome.server)) {
            assert_eq!(a ^ b, u64::from(u < v), "{u} < {v} of {bits} bits");
        }
    }
}

#[test]
fn relu_is_exact_for_every_value_and_share_of_small_moduli() {
    for t in [5, 7, 11, 13, 17, 31, 33, 97, 127, 129, 193, 257, 8, 16, 64, 256] {
        let modulus = modulus(t);
        let limit = modulus.limit().cast_signed();
        let least = -limit - 1;
        let pairs = all_pairs(t, (least, limit));
        let relu = of_pairs(&Function::Relu { modulus }, t, t, &pairs);
        for ((x, a), y) in pairs.iter().zip(relu) {
            assert_eq!(y, (*x).max(0), "x {x} client's share {a} modulo {t}");
        }
    }
}

#[test]
fn only_the_greatest_residue_has_an_uncertain_sign() {
    let t = 193;
    let greatest = i64::try_from(t / 2).unwrap();
    let pairs = all_pairs(t, (greatest, greatest));
    let relu = of_pairs(&Function::Relu { modulus: modulus(t) }, t, t, &pairs);
    let wrong = relu.iter().filter(|&&y| y != greatest).count();
    assert!(wrong > 0 && relu.iter().all(|&y| y == greatest || y == 0), "{wrong} wrong");
}

#[test]
fn relu_is_exact_at_the_edges_of_real_moduli() {
    for t in [65_537, 786_433, 1_032_193, 33_538_049, (1 << 40) - 87, 1 << 20, 1 << 32, 1 << 41] {
        let modulus = modulus(t);
        let limit = modulus.limit().cast_signed();
        let pairs = some_pairs(t, (-limit - 1, limit), &[1 << 15, -(1 << 15)], 500);
        let relu = of_pairs(&Function::Relu { modulus }, t, t, &pairs);
        for ((x, a), y) in pairs.iter().zip(relu) {
            assert_eq!(y, (*x).max(0), "x {x} client's share {a} modulo {t}");
        }
    }
}
