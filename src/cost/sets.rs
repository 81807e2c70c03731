//! The parameters under which costs are measured.

use crate::backend::SchemeParams;
use crate::params::{self, Depth, Encoding, Scheme, Workload};
use std::collections::BTreeMap;

const RINGS: [u32; 4] = [4096, 8192, 16384, 32768];

/// One set for each ring, number of primes and form of key switch that [`params::choose`] picks for
/// `scheme`, for small layers as for large ones and for short t as for long, by ring. Without those under which nothing decrypts:
/// flooding leaves the engine little at ring 4096. The engine computes in coefficients as well, at the two
/// least rings.
#[must_use]
pub fn parameter_sets(scheme: Scheme) -> Vec<SchemeParams> {
    let small = Depth { input_switches: 0, terms: 9, sums: 1, output_switches: 0 };
    let deep = Depth { input_switches: 1, terms: 288, sums: 128, output_switches: 1 };
    let reference = Workload::reference();
    // Bits of t and what it is for.
    let cases = [
        (17, Workload::of([small], 1 << 13)),
        (23, reference.clone()),
        (32, Workload::of([deep], reference.values_sent)),
        (35, reference),
    ];
    let weights = Depth { input_switches: 0, terms: 4608, sums: 1, output_switches: 0 };
    let coefficients = match scheme {
        Scheme::Bfv => vec![
            (4096, (20, Workload::of([weights], 1 << 14).encoded(Encoding::Coefficients))),
            (8192, (26, Workload::of([weights], 1 << 22).encoded(Encoding::Coefficients))),
        ],
        Scheme::FheRs => Vec::new(),
    };
    let slots = RINGS.iter().flat_map(|&ring| cases.iter().map(move |case| (ring, case.clone())));
    let mut sets = BTreeMap::new();
    for (ring, (bits, workload)) in slots.chain(coefficients) {
        let t = params::plain_prime(ring, 0, Some(bits));
        if let Ok(set) = t.and_then(|t| params::choose(scheme, ring, t, &workload))
            && params::fit(scheme, &set, &workload).is_ok()
        {
            let key = (workload.encoding, ring, set.modulus_bits.len(), set.key_switch);
            sets.entry(key).or_insert(set);
        }
    }
    sets.into_values().collect()
}
