//! The costs that the program ships with: cost files beside this one, as `stria calibrate` writes them.
//!
//! On one thread of an AMD EPYC server processor: processor time, the fastest of several batches, on a
//! machine that did other work as well, so good to about a quarter. The bfv backend with AVX-512, one
//! special prime, primes of 45 to 50 bits; the fhe-rs backend (crate `fhe` 0.1.1 with its feature
//! `tfhe-ntt`), primes of 35 bits (ring 4096), 52 (8192), 54 to 58 (larger). The crate has no hoisting and
//! nothing that sums could divide together: each rotation costs what the first one does.

use super::{CostFile, CostTable, TfheCosts};
use crate::params::Scheme;

const BFV: &str = include_str!("shipped/bfv.yaml");
const FHE_RS: &str = include_str!("shipped/fhe_rs.yaml");

impl CostTable {
    /// The shipped table of `scheme`'s backend.
    #[must_use]
    pub fn shipped(scheme: Scheme) -> Self {
        let text = match scheme {
            Scheme::Bfv => BFV,
            Scheme::FheRs => FHE_RS,
        };
        let file = CostFile::from_yaml(text.as_bytes());
        let table = file.and_then(|file| file.table(scheme, "shipped"));
        table.expect("the shipped cost files are read by a test")
    }
}

impl TfheCosts {
    /// The shipped costs of the non-interactive mode.
    #[must_use]
    pub fn shipped() -> Self {
        let tfhe = CostFile::from_yaml(BFV.as_bytes()).ok().and_then(|file| file.tfhe());
        tfhe.expect("the shipped cost files are read by a test")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_files_are_cost_files() {
        for scheme in [Scheme::Bfv, Scheme::FheRs] {
            let table = CostTable::shipped(scheme);
            assert!(table.rows.len() >= 6, "{}", scheme.name());
        }
        assert!((1e-3..0.1).contains(&TfheCosts::shipped().bootstrap));
    }
}
