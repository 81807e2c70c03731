//! Circuit passes and closed counts: passes keep results and counts and change nothing the second time; formulas are
//! those of the instructions for every layer of the examples; blocks cost while they run what is said of them.

use crate::examples::compiled as example;
use crate::kernels::{PRIME, cases, deterministic, run, small_numbers};
use crate::protocol::service;
use crate::random::{images, stages_of};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use std::collections::BTreeMap;
use stria::backend::clear::{ClearEvaluator, ClearKeys};
use stria::circuit::{Counts, Segment, count, verify};
use stria::compile::{Encode, Kernels, Options};
use stria::compiled::Compiled;
use stria::cost::CostTable;
use stria::graph::evaluate;
use stria::kernels::{Candidate, Kernel};
use stria::params::Scheme;
use stria::passes::{CIRCUIT_PASSES, run_circuit};
use stria::protocol::{Activations, Choices, run_in_process};
use stria::select::{Operation, linear_layers};
use stria::tensor::{Shape, Tensor};

/// What passes must keep.
fn kept(segment: &Segment) -> [u64; 5] {
    let counts = count(segment);
    [counts.internal, counts.external, counts.plain_mults, counts.adds, counts.ciphertexts_out]
}

#[test]
fn passes_keep_results_and_rest_after_one_run() {
    let config = Config { cases: 150, failure_persistence: None, ..Config::default() };
    let changed: std::cell::RefCell<BTreeMap<&str, usize>> = Default::default();
    let outcome = TestRunner::new_with_rng(config.clone(), deterministic(&config)).run(&cases(), |case| {
        let g = &case.geometry;
        let Ok(candidates) = Kernel::candidates(g, case.ring) else { return Ok(()) };
        let choice = candidates[usize::try_from(case.seed).unwrap_or(0) % candidates.len()].choice;
        let kernel = Kernel::conv_as(g, case.ring, choice).unwrap();
        let ring = u32::try_from(case.ring).unwrap();
        let shape = Shape::of(&[g.c_out, g.c_in / g.groups.count(), g.kernel.0, g.kernel.1]);
        let weights = Tensor { data: small_numbers(case.seed, shape.elements()), shape };
        let plains = kernel.plains(&weights, PRIME).unwrap();
        let mut segment = kernel.emit("layer");
        let inputs: Vec<Vec<i64>> = (0..u64::from(segment.inputs))
            .map(|i| small_numbers(case.seed ^ i, case.ring).into_iter().map(i64::from).collect())
            .collect();
        let residues = |segment: &Segment| -> Vec<Vec<i64>> {
            let outputs = run(segment, &plains, case.ring, inputs.clone());
            outputs
                .into_iter()
                .map(|ct| ct.iter().map(|x| x.rem_euclid(PRIME.cast_signed())).collect())
                .collect()
        };
        let (expected, counts) = (residues(&segment), kept(&segment));
        for pass in CIRCUIT_PASSES {
            let changes = (pass.run)(&mut segment, ring);
            *changed.borrow_mut().entry(pass.name).or_default() += usize::from(changes > 0);
            verify(&segment, ring).map_err(|e| TestCaseError::fail(format!("{}: {e}", pass.name)))?;
            assert_eq!(kept(&segment), counts, "{}", pass.name);
            assert_eq!(residues(&segment), expected, "{}", pass.name);
            let once = segment.clone();
            assert_eq!((pass.run)(&mut segment, ring), 0, "{}: {choice:?}", pass.name);
            assert_eq!(segment, once, "{}", pass.name);
        }
        let once = segment.clone();
        run_circuit(&mut segment, ring).unwrap();
        assert_eq!(segment, once);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    let changed = changed.into_inner();
    for pass in CIRCUIT_PASSES {
        assert!(changed.get(pass.name).is_some_and(|&times| times > 5), "{changed:?}");
    }
}

const EXAMPLES: [&str; 9] = [
    "fashion_mnist/dense",
    "fashion_mnist/stria",
    "shapes/lenet5",
    "shapes/mobilenet_v2",
    "shapes/resnet18",
    "shapes/resnet20",
    "shapes/resnet32",
    "shapes/resnet50",
    "shapes/vgg16",
];

/// The best candidates by rank, and of layers with few products many more.
#[test]
fn formulas_are_the_instructions_for_every_layer_of_the_examples() {
    let mut seen: Vec<(Operation, u32)> = Vec::new();
    for model in EXAMPLES {
        let options = Options { encode: Encode::Coefficients, kernels: Kernels::Auto, ..Options::default() };
        let compiled = example(&format!("{model}.stria"), options);
        for (_, operation) in linear_layers(&compiled.network).unwrap() {
            if !seen.contains(&(operation, compiled.plan.ring)) {
                seen.push((operation, compiled.plan.ring));
            }
        }
    }
    assert!(seen.len() > 60, "{}", seen.len());
    let mut compared = 0;
    for (operation, ring) in seen {
        let ring = ring as usize;
        let candidates = match operation {
            Operation::Conv(ref g) => Kernel::candidates(g, ring),
            Operation::Features { inputs, outputs } => Kernel::linear_candidates(inputs, outputs, ring),
        };
        let mut products = 0;
        for (index, Candidate { choice, tally }) in candidates.unwrap().into_iter().enumerate() {
            products += tally.plain_mults;
            if index > 1 && products > 8000 {
                break;
            }
            let kernel = match operation {
                Operation::Conv(ref g) => Kernel::conv_as(g, ring, choice),
                Operation::Features { inputs, outputs } => Kernel::linear_as(inputs, outputs, ring, choice),
            };
            let c = count(&kernel.unwrap().emit("layer"));
            let emitted =
                [c.internal, c.external, c.plain_mults, c.adds, c.ciphertexts_in, c.ciphertexts_out];
            let t = tally;
            let closed = [t.internal, t.external, t.plain_mults, t.adds, t.ciphertexts_in, t.ciphertexts_out];
            assert_eq!(closed, emitted, "{operation:?}: {choice}");
            compared += 1;
        }
    }
    assert!(compared > 300, "{compared}");
}

/// Counted while it runs.
fn executed(layers: &str, kernels: Kernels) -> Vec<Counts> {
    let text = format!(
        "model blocks {{\n    ring: 8192\n    weights: random(3)\n    input image: tensor[256, 16, 16]\n    \
         let x = image |> relu\n{layers}    output x\n}}\n"
    );
    let Compiled { network, weights, params, .. } = stages_of(text, 3).compiled;
    let sizes = (8192, params.plain_modulus);
    let table = CostTable::shipped(Scheme::Bfv);
    let compiled = Compiled::planned(network, weights, sizes, (Encode::Slots, kernels), &table).unwrap();
    let image = &images(&compiled, 3)[..1];
    let choices = Choices { activations: Activations::Revealed, ..Choices::default() };
    let weights = compiled.weights.as_ref().unwrap();
    let run = run_in_process::<ClearKeys, ClearEvaluator>;
    let session = run(service(&compiled, weights), choices, image, &|_| {}, &|_| {}).unwrap();
    let expected = evaluate(&compiled.network, weights, &image[0]).unwrap();
    assert_eq!(session.inferences[0].answer.logits(), Some(&expected));
    session.inferences[0].layers.iter().map(|layer| layer.counts).collect()
}

/// A block `striped 1x1, cross or strips, striped 1x1` of inner ratio 3/4 against a basic block of two 3x3, at 16x16
/// and 256 channels: external 0; internal at most 19 % by output rotation, with strips by the best schedule too.
#[test]
fn a_stria_block_costs_while_it_runs_what_is_said_of_it() {
    let sums = |counts: Vec<Counts>| -> (u64, u64) {
        (counts.iter().map(|c| c.internal).sum(), counts.iter().map(|c| c.external).sum())
    };
    let block = |kernel: &str| format!("    x = stria_block(x, inner: 192, kernel: {kernel}, stripes: 32)\n");
    let conv = |groups: &str| format!("    x = conv(x, out: 256, kernel: 3x3, pad: same{groups}) |> relu\n");
    let (basic, taps) = (conv("").repeat(2), conv(", striped: 32").repeat(2));
    let literature = sums(executed(&basic, Kernels::OutputRotation));
    assert_eq!(literature, (128, 496));
    for kernel in ["cross(3)", "strips(3)"] {
        let (internal, external) = sums(executed(&block(kernel), Kernels::OutputRotation));
        assert_eq!((internal, external), (24, 0), "{kernel}");
        assert!(100 * internal <= 19 * literature.0);
    }
    // The taps of the basic block by the best schedule, without its channels' diagonals.
    let best = sums(executed(&taps, Kernels::Unified));
    assert_eq!(best, (64, 0));
    let strips = sums(executed(&block("strips(3)"), Kernels::Unified));
    assert_eq!(strips, (12, 0));
    assert!(100 * strips.0 <= 19 * best.0);
    // All of it: diagonals and taps share rotations, and a block of stripes has taps alone.
    let (internal, external) = sums(executed(&basic, Kernels::Unified));
    assert_eq!(internal + external, 512);
}
