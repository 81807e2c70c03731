//! The costs that the program ships with.
//!
//! The fhe-rs backend (crate `fhe` 0.1.1 with its feature `tfhe-ntt`) on one thread of an AMD EPYC server
//! processor with AVX2: processor time, the fastest of six batches, on a machine that did other work as
//! well, so good to about a quarter. Primes of 35 bits (ring 4096), 52 (8192), 54 to 58 (larger). The crate
//! has no hoisting: a further rotation costs what the first one does.

use super::{CostTable, OpCosts};

/// Ring, primes, and microseconds of: rotate, mult, encode, add, plaintext added, load, store, encrypt,
/// decrypt, key generation.
type Row = (u32, u32, [u32; 10]);

const ROWS: [Row; 6] = [
    (4096, 3, [640, 10, 113, 16, 297, 496, 1_584, 1_196, 928, 4_174]),
    (8192, 3, [1_326, 13, 264, 36, 627, 1_035, 3_690, 3_242, 1_625, 8_233]),
    (8192, 4, [2_002, 21, 286, 44, 788, 1_491, 3_952, 2_947, 1_043, 20_216]),
    (16384, 4, [4_109, 23, 545, 81, 1_393, 2_786, 8_825, 6_172, 2_725, 35_023]),
    (16384, 7, [12_369, 58, 889, 146, 2_547, 6_661, 19_149, 10_469, 2_506, 96_320]),
    (32768, 4, [10_193, 125, 1_364, 160, 3_057, 6_008, 21_555, 16_636, 6_345, 74_110]),
];

impl CostTable {
    /// The shipped table, of the fhe-rs backend.
    #[must_use]
    pub fn shipped() -> Self {
        Self { rows: ROWS.iter().map(costs).collect() }
    }
}

fn costs(&(ring, primes, microseconds): &Row) -> OpCosts {
    let [rotate, mult, encode, add, add_plain, load, store, encrypt, decrypt, keygen] =
        microseconds.map(|time| f64::from(time) * 1e-6);
    let hoisted = rotate;
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
