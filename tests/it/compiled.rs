//! The `.striac` file: round trip, and bytes that somebody made up with a valid hash.

use crate::random::stages;
use proptest::prelude::*;
use stria::compiled::{Compiled, CompiledError};

/// Bytes before the body: magic, version, hash, length.
const PREFIX: usize = 8 + 4 + 32 + 8;

/// The file with `body` and the hash and length that belong to it.
fn sealed(file: &[u8], body: &[u8]) -> Vec<u8> {
    let mut forged = file[..12].to_vec();
    forged.extend(blake3::hash(body).as_bytes());
    forged.extend((body.len() as u64).to_le_bytes());
    forged.extend(body);
    forged
}

#[test]
fn a_file_gives_back_the_same_network_plan_and_circuit() {
    let compiled = stages(11).compiled;
    let bytes = compiled.to_bytes().unwrap();
    let read = Compiled::from_bytes(&bytes).unwrap();
    assert_eq!(read.to_bytes().unwrap(), bytes);
    assert_eq!(read.plan, compiled.plan);
    assert_eq!(read.circuit, compiled.circuit);
    assert_eq!(read.weights, compiled.weights);
    assert_eq!(read.params, compiled.params);
    assert_eq!(read.network.to_string(), compiled.network.to_string());
    assert_eq!(sealed(&bytes, &bytes[PREFIX..]), bytes);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(5), ..ProptestConfig::default() })]

    /// Whatever a body says, reading it ends in an error or in a network that is consistent.
    #[test]
    fn forged_bodies_are_refused_or_consistent(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let compiled = stages(11).compiled;
        let bytes = compiled.to_bytes().unwrap();
        let mut body = bytes[PREFIX..].to_vec();
        for (at, value) in edits {
            let at = at.index(body.len());
            body[at] = value;
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        match Compiled::from_bytes(&sealed(&bytes, &body)) {
            Ok(read) => prop_assert!(read.to_bytes().is_ok()),
            Err(error) => prop_assert!(!matches!(error, CompiledError::Lower(_)), "{}", error),
        }
    }
}
