//! Hybrid runs equal the reference, and cost what is predicted.

use super::service;
use crate::random::{small_ring, small_ring_of};
use proptest::prelude::*;
use stria::backend::clear::{ClearEvaluator, ClearKeys};
use stria::compiled::Compiled;
use stria::graph::{NodeId, evaluate};
use stria::protocol::{
    Activations, Ahead, Answer, Choices, Cost, Function, Inference, Made, NodeCost, NodeRun, Reveal, Step,
    Traffic, cost, first_of_greatest, predicted, run_in_process, steps,
};
use stria::tensor::Tensor;

/// Runs `images` and compares: answers with the reference, counts with the plan, bytes and rounds with what is
/// predicted.
pub(super) fn check(compiled: &Compiled, images: &[Tensor<i64>], choices: Choices) {
    let weights = compiled.weights.as_ref().unwrap();
    let run = run_in_process::<ClearKeys, ClearEvaluator>;
    let session = run(service(compiled, weights), choices, images, &|_| {}, &|_| {}).unwrap();
    assert_eq!(session.inferences.len(), images.len());
    for (image, inference) in images.iter().zip(&session.inferences) {
        let expected = evaluate(&compiled.network, weights, image).unwrap();
        assert_eq!(inference.answer.label(), first_of_greatest(&expected.data));
        match choices.reveal {
            Reveal::Logits => assert_eq!(inference.answer, Answer::Logits(expected)),
            Reveal::Label => assert_eq!(inference.answer.logits(), None),
        }
        for (layer, segment) in inference.layers.iter().zip(&compiled.circuit.segments) {
            let mut planned = stria::circuit::count(segment);
            planned.plain_adds = planned.ciphertexts_in + planned.ciphertexts_out;
            assert_eq!(layer.counts, planned);
        }
        costs(compiled, inference, choices);
    }
}

fn bytes(traffic: Traffic) -> u64 {
    traffic.sent + traffic.received
}

/// Bytes, rounds and transfers of every layer and of telling the answer are those predicted.
fn costs(compiled: &Compiled, inference: &Inference, choices: Choices) {
    let predicted = predicted(&compiled.network, compiled.params.plain_modulus, choices).unwrap();
    let found = |run: &NodeRun| Cost {
        transfers: run.made.transfers,
        offline_bytes: bytes(run.made.traffic),
        offline_rounds: run.made.traffic.rounds,
        online_bytes: bytes(run.traffic),
        rounds: run.traffic.rounds,
    };
    let mut rest = inference.runs.iter().filter(|run| run.work.is_some()).peekable();
    for NodeCost { node, cost } in predicted.steps {
        // Nothing is said where the result is the same for every value.
        let run = rest.next_if(|run| run.node == node);
        assert_eq!(run.map(found).unwrap_or_default(), cost, "{node:?}, {choices:?}");
    }
    assert!(rest.next().is_none());
    assert_eq!(found(&inference.told), predicted.told, "{choices:?}");
    for run in inference.runs.iter().filter(|run| run.work.is_none()) {
        assert_eq!((run.traffic.rounds, run.made), (1, Made::default()), "{:?}", run.node);
    }
    let transfers = predicted_transfers(compiled, choices);
    assert_eq!(inference.made().transfers, transfers);
    assert_eq!(inference.ahead.transfers, if choices.ahead == Ahead::Image { transfers } else { 0 });
}

/// Transfers of an inference by the steps alone.
fn predicted_transfers(compiled: &Compiled, choices: Choices) -> u64 {
    match choices.activations {
        Activations::Revealed => 0,
        Activations::TwoParty => {
            let steps = steps(&compiled.network, compiled.params.plain_modulus, choices.reveal);
            steps.iter().map(|step| cost(step).unwrap().transfers).sum()
        }
    }
}

/// Every choice comes in turn.
fn choices(seed: u64) -> Choices {
    Choices {
        activations: if seed.is_multiple_of(7) { Activations::Revealed } else { Activations::TwoParty },
        reveal: if seed.is_multiple_of(3) { Reveal::Label } else { Reveal::Logits },
        ahead: if seed.is_multiple_of(2) { Ahead::Image } else { Ahead::Layer },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(7), ..ProptestConfig::default() })]

    /// Reference on the quantised graph = hybrid run on the clear backend; its counts are the plan's, its bytes
    /// and rounds those predicted.
    #[test]
    fn random_networks_run_like_their_reference(seed in any::<u64>()) {
        let (compiled, images) = small_ring(seed);
        check(&compiled, &images, choices(seed / 4));
    }

    /// What the client may know gives the same steps as what the server knows.
    #[test]
    fn both_parties_derive_the_same_steps(seed in any::<u64>()) {
        let (compiled, _) = small_ring(seed);
        let t = compiled.params.plain_modulus;
        let public = compiled.public().network;
        prop_assert_eq!(steps(&compiled.network, t, Reveal::Label), steps(&public, t, Reveal::Label));
        for (own, wide) in compiled.network.intervals.iter().zip(&public.intervals) {
            prop_assert!(wide.lo <= own.lo && wide.hi >= own.hi && wide.magnitude() <= (t - 3) / 2);
        }
    }
}

/// A pool of accumulators, whose differences exceed what their modulus can compare; windows overlap and are cut
/// off at the edges. The same holds for the output's label.
#[test]
fn maxima_of_accumulators_are_carried_to_a_wider_modulus() {
    let text = "model pooled {
    ring: 4096
    weights: random(5)
    input image: tensor[2, 7, 6] { mean: 0.4, std: 0.3 }
    let x = conv(image, out: 3, kernel: 3x3, pad: same) |> max_pool(kernel: 3x3, stride: 2, pad: 1) |> relu
    output flatten(x) |> linear(out: 5)
}";
    let (compiled, images) = small_ring_of(text.into(), 5);
    let t = compiled.params.plain_modulus;
    let apart = |step: &Step| step.range.hi.abs_diff(step.range.lo) > (t - 3) / 2;
    let all = steps(&compiled.network, t, Reveal::Label);
    let wide: Vec<_> = all.iter().filter(|step| apart(step)).map(|step| step.function).collect();
    assert!(wide.iter().any(|function| matches!(function, Function::MaxPool(_))), "{wide:?}");
    for reveal in [Reveal::Logits, Reveal::Label] {
        check(&compiled, &images, Choices { reveal, ..Choices::default() });
    }
}

/// The bounds that both parties know tell no more of proven ones than their powers of two.
#[test]
fn public_bounds_are_coarse() {
    let (compiled, _) = small_ring(8);
    let t = compiled.params.plain_modulus;
    let mut moved = compiled.clone();
    let accumulators: Vec<NodeId> = compiled.plan.layers.iter().map(|layer| layer.node).collect();
    for id in &accumulators {
        let interval = &mut moved.network.intervals[id.0 as usize];
        assert!(interval.hi > 100, "{interval:?}");
        let (lo, hi) = (interval.lo.unsigned_abs().next_power_of_two(), interval.hi.unsigned_abs() + 1);
        interval.lo = -i64::try_from(lo).unwrap().min(i64::try_from((t - 3) / 2).unwrap());
        interval.hi =
            i64::try_from(hi.next_power_of_two() - 1).unwrap().min(i64::try_from((t - 3) / 2).unwrap());
    }
    for id in accumulators {
        if !matches!(Step::of(&compiled.network, id, t), Some(Step { function: Function::Poly { .. }, .. })) {
            let [own, moved] = [&compiled, &moved].map(|c| c.public().network.intervals[id.0 as usize]);
            assert_eq!(own, moved);
        }
    }
}
