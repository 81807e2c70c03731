//! The costs that the program ships with.
//!
//! On one thread of an AMD EPYC server processor: processor time, the fastest of several batches, on a
//! machine that did other work as well, so good to about a quarter. The bfv backend with AVX-512, one
//! special prime, primes of 45 to 50 bits; the fhe-rs backend (crate `fhe` 0.1.1 with its feature
//! `tfhe-ntt`), primes of 35 bits (ring 4096), 52 (8192), 54 to 58 (larger). The crate has no hoisting: a
//! further rotation costs what the first one does.

use super::{CostTable, OpCosts};
use crate::params::{Encoding, Scheme};

/// Ring, primes with the special ones, and microseconds of: rotate, hoisted, mult, encode, add, plaintext
/// added, load, store, encrypt, decrypt, key generation.
type Row = (u32, u32, [f64; 11]);

#[rustfmt::skip]
const BFV: [Row; 6] = [
    (8192, 3, [250.0, 150.0, 5.0, 60.0, 4.9, 72.0, 200.0, 850.0, 330.0, 196.0, 1_150.0]),
    (8192, 4, [480.0, 320.0, 8.0, 80.0, 8.8, 98.0, 290.0, 1_150.0, 450.0, 195.0, 2_450.0]),
    (16384, 4, [980.0, 600.0, 25.0, 163.0, 17.3, 206.0, 545.0, 2_400.0, 915.0, 396.0, 4_900.0]),
    (16384, 6, [2_570.0, 1_400.0, 66.0, 245.0, 30.0, 310.0, 930.0, 3_800.0, 1_390.0, 395.0, 9_500.0]),
    (32768, 4, [2_430.0, 1_300.0, 200.0, 390.0, 37.0, 470.0, 1_120.0, 5_300.0, 2_200.0, 860.0, 8_300.0]),
    (32768, 6, [5_400.0, 3_700.0, 400.0, 510.0, 63.0, 700.0, 1_800.0, 7_900.0, 3_100.0, 810.0, 28_000.0]),
];

/// In coefficients: ring, primes, and microseconds of: mult, encode, add, plaintext added, load, store,
/// encrypt, decrypt.
type CoefficientRow = (u32, u32, [f64; 8]);

#[rustfmt::skip]
const BFV_COEFFICIENTS: [CoefficientRow; 2] = [
    (4096, 2, [3.0, 21.0, 2.4, 25.0, 74.0, 345.0, 127.0, 74.0]),
    (8192, 3, [6.0, 62.0, 5.0, 75.0, 200.0, 1_000.0, 340.0, 157.0]),
];

#[rustfmt::skip]
const FHE_RS: [Row; 6] = [
    (4096, 3, [640.0, 640.0, 10.0, 113.0, 16.0, 297.0, 496.0, 1_584.0, 1_196.0, 928.0, 4_174.0]),
    (8192, 3, [1_326.0, 1_326.0, 13.0, 264.0, 36.0, 627.0, 1_035.0, 3_690.0, 3_242.0, 1_625.0, 8_233.0]),
    (8192, 4, [2_002.0, 2_002.0, 21.0, 286.0, 44.0, 788.0, 1_491.0, 3_952.0, 2_947.0, 1_043.0, 20_216.0]),
    (16384, 4, [4_109.0, 4_109.0, 23.0, 545.0, 81.0, 1_393.0, 2_786.0, 8_825.0, 6_172.0, 2_725.0, 35_023.0]),
    (16384, 7, [12_369.0, 12_369.0, 58.0, 889.0, 146.0, 2_547.0, 6_661.0, 19_149.0, 10_469.0, 2_506.0, 96_320.0]),
    (32768, 4, [10_193.0, 10_193.0, 125.0, 1_364.0, 160.0, 3_057.0, 6_008.0, 21_555.0, 16_636.0, 6_345.0, 74_110.0]),
];

impl CostTable {
    /// The shipped table of `scheme`'s backend.
    #[must_use]
    pub fn shipped(scheme: Scheme) -> Self {
        let (slots, coefficients) = match scheme {
            Scheme::Bfv => (&BFV, &BFV_COEFFICIENTS[..]),
            Scheme::FheRs => (&FHE_RS, &[][..]),
        };
        let rows = slots.iter().map(costs).chain(coefficients.iter().map(coefficient_costs)).collect();
        Self { name: "shipped".into(), rows }
    }
}

fn coefficient_costs(&(ring, primes, microseconds): &CoefficientRow) -> OpCosts {
    let [mult, encode, add, add_plain, load, store, encrypt, decrypt] = microseconds;
    let all = [0.0, 0.0, mult, encode, add, add_plain, load, store, encrypt, decrypt, 0.0];
    OpCosts { encoding: Encoding::Coefficients, ..costs(&(ring, primes, all)) }
}

fn costs(&(ring, primes, microseconds): &Row) -> OpCosts {
    let [rotate, hoisted, mult, encode, add, add_plain, load, store, encrypt, decrypt, keygen] =
        microseconds.map(|time| time * 1e-6);
    OpCosts {
        encoding: Encoding::Slots,
        ring,
        primes,
        rotate,
        hoisted,
        mult,
        encode,
        add,
        add_plain,
        load,
        store,
        encrypt,
        decrypt,
        keygen,
    }
}
