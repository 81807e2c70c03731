//! The costs that the program ships with.
//!
//! On one thread of an AMD EPYC server processor: processor time, the fastest of several batches, on a
//! machine that did other work as well, so good to about a quarter. The bfv backend with AVX-512, one
//! special prime, primes of 45 to 50 bits; the fhe-rs backend (crate `fhe` 0.1.1 with its feature
//! `tfhe-ntt`), primes of 35 bits (ring 4096), 52 (8192), 54 to 58 (larger). The crate has no hoisting: a
//! further rotation costs what the first one does. A fused product of the engine costs less than an
//! addition, so the addition that every product but the first brings along stands for both.

use super::{CostTable, OpCosts};
use crate::params::Scheme;

/// Ring, primes with the special ones, and microseconds of: rotate, hoisted, mult, encode, add, plaintext
/// added, load, store, encrypt, decrypt, key generation.
type Row = (u32, u32, [f64; 11]);

#[rustfmt::skip]
const BFV: [Row; 6] = [
    (8192, 3, [233.0, 192.0, 0.0, 57.0, 4.9, 72.0, 190.0, 888.0, 333.0, 196.0, 1_148.0]),
    (8192, 4, [430.0, 338.0, 0.0, 74.0, 8.8, 92.0, 267.0, 1_169.0, 439.0, 188.0, 2_429.0]),
    (16384, 4, [854.0, 671.0, 0.0, 164.0, 17.2, 206.0, 546.0, 2_490.0, 910.0, 392.0, 5_399.0]),
    (16384, 6, [2_572.0, 1_429.0, 0.0, 250.0, 29.5, 327.0, 944.0, 3_801.0, 1_380.0, 395.0, 12_391.0]),
    (32768, 4, [2_540.0, 1_458.0, 0.0, 388.0, 37.6, 474.0, 1_124.0, 6_692.0, 2_266.0, 870.0, 8_331.0]),
    (32768, 6, [6_881.0, 3_706.0, 0.0, 505.0, 64.6, 704.0, 1_789.0, 7_844.0, 3_228.0, 810.0, 30_206.0]),
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
        let rows = match scheme {
            Scheme::Bfv => &BFV,
            Scheme::FheRs => &FHE_RS,
        };
        Self { name: "shipped".into(), rows: rows.iter().map(costs).collect() }
    }
}

fn costs(&(ring, primes, microseconds): &Row) -> OpCosts {
    let [rotate, hoisted, mult, encode, add, add_plain, load, store, encrypt, decrypt, keygen] =
        microseconds.map(|time| time * 1e-6);
    OpCosts {
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
