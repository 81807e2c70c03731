//! The parameters under which costs are measured.

use crate::backend::SchemeParams;
use crate::params::{self, Depth, Scheme, Workload};
use std::collections::BTreeMap;

const RINGS: [u32; 4] = [4096, 8192, 16384, 32768];
/// Bits of t: from the least that there is to what deep layers with wide accumulators need.
const PLAIN_BITS: [u32; 4] = [17, 23, 29, 35];

/// One set for each ring and number of primes that [`params::choose`] picks for `scheme`, for small layers
/// as for large ones and for short t as for long, by ring. Without those under which nothing decrypts: at
/// ring 4096 flooding leaves the engine none.
#[must_use]
pub fn parameter_sets(scheme: Scheme) -> Vec<SchemeParams> {
    let small = Depth { input_switches: 0, terms: 9, sums: 1, output_switches: 0 };
    let workloads = [Workload::reference(), Workload::of([small], 1 << 13)];
    let mut sets = BTreeMap::new();
    for ring in RINGS {
        for bits in PLAIN_BITS {
            let Ok(t) = params::plain_prime(ring, 0, Some(bits)) else { continue };
            for workload in &workloads {
                if let Ok(set) = params::choose(scheme, ring, t, workload)
                    && params::fit(scheme, &set, workload).is_ok()
                {
                    sets.entry((ring, set.modulus_bits.len())).or_insert(set);
                }
            }
        }
    }
    sets.into_values().collect()
}
