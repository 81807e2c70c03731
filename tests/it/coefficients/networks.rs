//! Whole networks in coefficients, and with both encodings: reference = clear = encrypted, counts executed =
//! planned, no rotation, no Galois key.

use crate::examples;
use crate::protocol::service;
use crate::random::{images, small_ring, stages};
use proptest::prelude::*;
use stria::backend::bfv::{BfvEvaluator, BfvKeys};
use stria::backend::clear::{ClearEvaluator, ClearKeys};
use stria::backend::{ClientKeys, Evaluator};
use stria::circuit::count;
use stria::compile::{Encode, Options};
use stria::compiled::{Compiled, CompiledError};
use stria::cost::CostTable;
use stria::graph::evaluate;
use stria::lower::galois_steps;
use stria::params::{Encoding, ParamsError, Scheme, plain_prime};
use stria::protocol::{Answer, Choices, run_in_process};
use stria::report::report;
use stria::select::{Encodings, Kernels, PlanError};
use stria::tensor::Tensor;

const ALL: Encodings<'static> = Encodings::All(Encoding::Coefficients);

/// Runs `images`: all logits are the reference's, all counts the plan's.
fn check<K: ClientKeys, E: Evaluator>(compiled: &Compiled, images: &[Tensor<i64>]) {
    let weights = compiled.weights.as_ref().unwrap();
    let session =
        run_in_process::<K, E>(service(compiled, weights), Choices::default(), images, &|_| {}, &|_| {})
            .unwrap();
    let keys = galois_steps(&compiled.circuit.segments).len() as u64;
    for (image, inference) in images.iter().zip(&session.inferences) {
        let expected = evaluate(&compiled.network, weights, image).unwrap();
        assert_eq!(inference.answer, Answer::Logits(expected));
        assert_eq!(inference.galois_keys, keys);
        assert_eq!(inference.layers.len(), compiled.circuit.segments.len());
        for (layer, segment) in inference.layers.iter().zip(&compiled.circuit.segments) {
            let mut planned = count(segment);
            planned.plain_adds = planned.ciphertexts_in + planned.ciphertexts_out;
            assert_eq!(layer.counts, planned, "{}", segment.layer);
        }
    }
}

/// Layers in turn in either encoding, the first one as `seed` says.
fn in_turn(compiled: &Compiled, seed: u64) -> Vec<Encoding> {
    let first = usize::try_from(seed % 2).unwrap();
    let both = [Encoding::Slots, Encoding::Coefficients];
    (0..compiled.plan.layers.len()).map(|i| both[(first + i) % 2]).collect()
}

/// The random network `seed` at `ring`.
fn at(seed: u64, ring: u32, encodings: impl Fn(&Compiled) -> Vec<Encoding>) -> Compiled {
    let compiled = stages(seed).compiled;
    let t = plain_prime(ring, compiled.network.largest_accumulator(), None).unwrap();
    let encodings = encodings(&compiled);
    let Compiled { network, weights, .. } = compiled;
    Compiled::encoded(network, weights, (ring, t), Encodings::Each(&encodings)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(8), ..ProptestConfig::default() })]

    /// Reference on the quantised graph = hybrid run on the clear backend, at rings where every regime of
    /// the layouts occurs.
    #[test]
    fn random_networks_run_like_their_reference(seed in any::<u64>()) {
        let (compiled, images) = small_ring(seed);
        let (ring, t) = (compiled.plan.ring, compiled.params.plain_modulus);
        let each = in_turn(&compiled, seed);
        for encodings in [ALL, Encodings::Each(&each)] {
            let Compiled { network, weights, .. } = compiled.clone();
            let compiled = Compiled::insecure_encoded(network, weights, (ring, t), encodings).unwrap();
            check::<ClearKeys, ClearEvaluator>(&compiled, &images);
        }
    }
}

#[test]
fn random_networks_run_encrypted() {
    for seed in 0..6 {
        let compiled = at(seed, 4096, |c| vec![Encoding::Coefficients; c.plan.layers.len()]);
        compiled.fits().unwrap();
        assert!(compiled.sets().slots.is_none());
        check::<BfvKeys, BfvEvaluator>(&compiled, &images(&compiled, seed)[..1]);
    }
}

/// Two sets of parameters and two secret keys, in one network.
#[test]
fn both_encodings_run_encrypted_in_one_network() {
    for seed in [3, 11, 14] {
        let compiled = at(seed, 8192, |c| in_turn(c, seed));
        compiled.fits().unwrap();
        let sets = compiled.sets();
        let (slots, coefficients) = (sets.slots.unwrap(), sets.coefficients.unwrap());
        assert_eq!((slots.ring, coefficients.ring), (8192, 4096));
        assert_eq!(slots.plain_modulus, coefficients.plain_modulus);
        assert_eq!(slots.workload.values_sent, coefficients.workload.values_sent, "hidden together");
        check::<BfvKeys, BfvEvaluator>(&compiled, &images(&compiled, seed)[..1]);

        let read = Compiled::from_bytes(&compiled.to_bytes().unwrap()).unwrap();
        assert_eq!((&read.plan, &read.circuit), (&compiled.plan, &compiled.circuit));
        assert_eq!((&read.params, &read.coefficients), (&compiled.params, &compiled.coefficients));
        let foreign = compiled.for_scheme(Scheme::FheRs);
        assert!(matches!(foreign, Err(CompiledError::Params(ParamsError::Encoding { .. }))));
    }
}

#[test]
fn encodings_for_other_layers_are_refused() {
    let Compiled { network, weights, params, .. } = stages(3).compiled;
    let sizes = (params.ring, params.plain_modulus);
    let error = Compiled::encoded(network, weights, sizes, Encodings::Each(&[])).unwrap_err();
    assert!(matches!(error, CompiledError::Plan(PlanError::Encodings { found: 0, .. })), "{error}");
}

const EXAMPLES: [&str; 2] = ["fashion_mnist/dense.stria", "fashion_mnist/stria.stria"];

#[test]
fn examples_in_coefficients() {
    for model in EXAMPLES {
        let options = Options { encode: Encode::Coefficients, ..Options::default() };
        let compiled = examples::compiled(model, options);
        compiled.fits().unwrap();
        let coefficients = compiled.coefficients.as_ref().unwrap();
        // Within the 109 bits that 128-bit security allows at this ring.
        let bits: u32 = coefficients.modulus_bits.iter().sum();
        assert!(coefficients.ring == 4096 && bits <= 109, "{model}: {:?}", coefficients.modulus_bits);
        let report = report(&compiled, &CostTable::shipped(Scheme::Bfv));
        assert_eq!((report.totals.rotations.total, report.totals.galois_keys), (0, 0));
        let data = examples::images(&compiled, "fashion_mnist/images");
        assert_eq!(examples::check::<ClearKeys, ClearEvaluator>(&compiled, &data, 1), 1, "{model}");
        // The baseline takes the second image, a T-shirt, for a shirt; so does its reference.
        let right = if model.contains("dense") { 1 } else { 2 };
        assert_eq!(examples::check::<BfvKeys, BfvEvaluator>(&compiled, &data, 2), right, "{model}");
    }
}

/// The plan of fewest seconds mixes encodings where that is cheaper, and what comes out is right.
#[test]
fn the_plan_of_fewest_seconds_runs_encrypted() {
    for model in EXAMPLES {
        let options = Options { encode: Encode::Auto, kernels: Kernels::Auto, ..Options::default() };
        let auto = examples::compiled(model, options);
        let data = examples::images(&auto, "fashion_mnist/images");
        assert_eq!(examples::check::<BfvKeys, BfvEvaluator>(&auto, &data, 1), 1, "{model}");
    }
}
