//! The `.striac` file: round trip, and bytes that somebody made up with a valid hash.

use crate::protocol::service;
use crate::random::{images, stages};
use proptest::prelude::*;
use stria::backend::clear::{ClearEvaluator, ClearKeys};
use stria::compiled::{Compiled, CompiledError};
use stria::graph::evaluate;
use stria::protocol::{Choices, run_in_process};
use stria::tensor::Tensor;

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

fn on_clear(compiled: &Compiled, image: &Tensor<i64>) -> Tensor<i64> {
    let service = service(compiled, compiled.weights.as_ref().unwrap());
    let images = std::slice::from_ref(image);
    let session =
        run_in_process::<ClearKeys, ClearEvaluator>(service, Choices::default(), images, &|_| {}, &|_| {})
            .unwrap();
    session.inferences[0].answer.logits().unwrap().clone()
}

/// A file whose bounds were narrowed, so that a smaller plaintext prime would do, is refused.
#[test]
fn bounds_that_the_weights_do_not_prove_are_refused() {
    let mut compiled = stages(11).compiled;
    for interval in &mut compiled.network.intervals {
        interval.lo = interval.lo.max(-300);
        interval.hi = interval.hi.min(300);
    }
    let read = Compiled::from_bytes(&compiled.to_bytes().unwrap());
    assert!(matches!(read, Err(CompiledError::Bounds | CompiledError::Graph(_))), "{:?}", read.err());
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
            Ok(read) => {
                prop_assert!(read.to_bytes().is_ok());
                if let Some(weights) = &read.weights {
                    let image = &images(&read, 1)[0];
                    if let Ok(expected) = evaluate(&read.network, weights, image) {
                        prop_assert_eq!(on_clear(&read, image), expected);
                    }
                }
            }
            Err(error) => prop_assert!(!matches!(error, CompiledError::Lower(_)), "{}", error),
        }
    }
}

/// The text of a compiled network for debugging shows no weight.
#[test]
fn debugging_shows_no_weights() {
    let compiled = stages(11).compiled;
    let weights = compiled.weights.as_ref().unwrap();
    let shown = format!("{weights:?}");
    assert!(shown.contains("shape") && !shown.contains("bias") && !shown.contains("data"), "{shown}");
}
