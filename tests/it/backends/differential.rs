//! Random circuits: every backend that encrypts against the clear one and the plain interpretation.
//!
//! `STRIA_CIRCUITS=10000 cargo test --release random_circuits -- --nocapture` runs as many circuits as it
//! says, and shows what they covered. Every second circuit runs as the circuit passes leave it.

use super::circuits::execute;
use super::{Random, Weights, interpret, random_segment, small_for, steps};
use rayon::prelude::*;
use std::collections::BTreeMap;
use stria::backend::bfv::{BfvEvaluator, BfvKeys};
use stria::backend::clear::{ClearEvaluator, ClearKeys};
use stria::backend::{ClientKeys, Evaluator};
use stria::circuit::{Counts, Inst, Segment, Step, count};
use stria::params::{self, Scheme, Workload};
use stria::passes::CIRCUIT_PASSES;
use stria::{cost, exec};

/// Circuits without the environment variable.
const CIRCUITS: u64 = 200;

fn circuits() -> u64 {
    std::env::var("STRIA_CIRCUITS").map_or(CIRCUITS, |n| n.parse().expect("STRIA_CIRCUITS is a number"))
}

/// A circuit, its inputs and weights, and what parameters must provide for.
struct Case {
    segment: Segment,
    inputs: Vec<Vec<u64>>,
    weights: Weights,
    workload: Workload,
}

/// The same for every scheme, but for the moduli; none if no moduli hold it.
fn case(scheme: Scheme, seed: u64) -> Option<Case> {
    let random = &mut Random(seed.wrapping_mul(0x1234_5678_9abc_def1));
    let ring = [64, 128, 512, 1024, 2048][random.index(5)];
    let bits = [17, 20, 23, 26, 30, 34, 38][random.index(7)];
    let size = 3 + random.index(12);
    let mut segment = random_segment(random, ring, 3, size);
    if seed.is_multiple_of(2) {
        CIRCUIT_PASSES.iter().for_each(|pass| {
            (pass.run)(&mut segment, ring);
        });
    }
    let sent = segment.outputs.len() as u64 * u64::from(ring);
    let workload = Workload::of(cost::depth(&segment), sent);
    let t = params::plain_prime(ring, 1000, Some(bits)).unwrap();
    let params = params::choose_insecure(scheme, ring, t, &workload).ok()?;
    params::fit(scheme, &params, &workload).ok()?;
    let inputs = (0..3).map(|_| random.slots(&params)).collect();
    let weight_bits = [1, 8, bits][random.index(3)];
    Some(Case { segment, inputs, weights: Weights { params, seed, bits: weight_bits }, workload })
}

/// Adds to `coverage` what the circuit holds.
fn cover(coverage: &mut BTreeMap<String, u64>, case: &Case) {
    let params = &case.weights.params;
    let mut saw = |what: String, times: u64| *coverage.entry(what).or_default() += times;
    for inst in &case.segment.insts {
        saw(
            match *inst {
                Inst::Automorphism { step: Step::SwapRows, .. } => "swap rows".into(),
                Inst::Automorphism { step: Step::Rotate(k), .. } if k < 0 => "rotate right".into(),
                Inst::Automorphism { .. } => "rotate left".into(),
                Inst::Extended { .. } => "extended rotation".into(),
                Inst::RotateSum { len, .. } if len > 8 => "sum of rotations of over 8 summands".into(),
                Inst::RotateSum { .. } => "sum of rotations".into(),
                Inst::Dot { len, .. } if len > 64 => "dot product of over 64 terms".into(),
                Inst::Dot { .. } => "dot product".into(),
                Inst::Add(a, b) if a == b => "doubling".into(),
                Inst::Add(..) => "addition".into(),
            },
            1,
        );
    }
    let counts = count(&case.segment);
    saw("rotation in a hoisted group".into(), counts.key_switches - counts.hoisted_groups);
    saw("dot product over extended values".into(), counts.extended_dots);
    let mixed = case.segment.insts.iter().filter(|&&inst| mixed(&case.segment, inst));
    saw("mixed dot product".into(), mixed.count() as u64);
    let batches = case.segment.batches();
    let sources = |batch| case.segment.batch_operands(batch).len();
    let shared = batches.iter().filter(|batch| batch.len() > 1 && sources(batch) > 1);
    saw("batch of several sources".into(), shared.count() as u64);
    saw(format!("ring {:4}", params.ring), 1);
    saw(format!("t of {} bits", u64::BITS - params.plain_modulus.leading_zeros()), 1);
    saw(format!("{:2} primes, {}", params.modulus_bits.len(), params.key_switch), 1);
    for depth in &case.workload.depths {
        saw(format!("depth: {} switches, dot, {} switches", depth.input_switches, depth.output_switches), 1);
    }
}

/// Whether a dot product reads ciphertexts as well as extended rotations.
fn mixed(segment: &Segment, inst: Inst) -> bool {
    let Inst::Dot { first, len } = inst else { return false };
    let terms = segment.dot_terms(first, len);
    let extended = terms.iter().filter(|(value, _)| segment.is_extended(*value)).count();
    (1..terms.len()).contains(&extended)
}

fn outputs<K: ClientKeys, E: Evaluator>(case: &Case, keys: &K, seed: u64) -> Vec<Vec<u64>> {
    let (outputs, counts) = execute::<K, E>(keys, &case.segment, &case.inputs, &case.weights);
    assert_eq!(counts, count(&case.segment), "counts of circuit {seed}");
    outputs
}

fn agree(scheme: Scheme, seed: u64, case: &Case) {
    let params = &case.weights.params;
    let clear = outputs::<_, ClearEvaluator>(case, &ClearKeys::generate(params).unwrap(), seed);
    assert_eq!(clear, interpret(&case.segment, &case.inputs, &case.weights), "clear, circuit {seed}");
    let encrypted = match scheme {
        Scheme::Bfv => {
            let keys = BfvKeys::generate_insecure(params).unwrap();
            noise_is_bounded(case, &keys, seed);
            outputs::<_, BfvEvaluator>(case, &keys, seed)
        }
        Scheme::FheRs => oracle(case, seed),
    };
    assert_eq!(encrypted, clear, "circuit {seed} under {params:?}");
}

#[cfg(feature = "fhe-rs")]
fn oracle(case: &Case, seed: u64) -> Vec<Vec<u64>> {
    use stria::backend::fhe_rs::{FheEvaluator, FheKeys};
    outputs::<_, FheEvaluator>(case, &FheKeys::generate_insecure(&case.weights.params).unwrap(), seed)
}

#[cfg(not(feature = "fhe-rs"))]
fn oracle(_: &Case, _: u64) -> Vec<Vec<u64>> {
    Vec::new()
}

/// No output has more noise than replies are flooded for.
fn noise_is_bounded(case: &Case, keys: &BfvKeys, seed: u64) {
    let params = &case.weights.params;
    let bound = params::fit(Scheme::Bfv, params, &case.workload).unwrap().noise_bits;
    let evaluator =
        BfvEvaluator::from_keys(params, &keys.evaluation_keys(&steps(&case.segment)).unwrap()).unwrap();
    let inputs = case.inputs.iter().map(|slots| evaluator.load(&keys.encrypt(slots).unwrap()).unwrap());
    let results = exec::run(&evaluator, &case.segment, &case.weights, inputs.collect(), &|_| ()).unwrap();
    for result in &results {
        let measured = keys.noise_bits(result).unwrap();
        assert!(measured <= bound, "circuit {seed}: {measured:.1} bits of noise, estimated {bound:.1}");
    }
}

/// Runs the circuits and says what they covered; few may go beyond all moduli.
fn run(scheme: Scheme, circuits: u64) {
    let cases: Vec<Option<Case>> = (0..circuits)
        .into_par_iter()
        .map(|seed| {
            let case = case(scheme, seed)?;
            agree(scheme, seed, &case);
            Some(Case { inputs: Vec::new(), ..case })
        })
        .collect();
    let mut coverage = BTreeMap::new();
    cases.iter().flatten().for_each(|case| cover(&mut coverage, case));
    let ran = cases.iter().flatten().count();
    let mut text = format!("{ran} of {circuits} circuits ran on {} and agree; they hold\n", scheme.name());
    coverage.iter().for_each(|(what, times)| text.push_str(&format!("{times:8} {what}\n")));
    eprint!("{text}");
    assert!(ran as u64 * 10 >= circuits * 9, "{text}");
    let kinds = ["swap rows", "rotate right", "rotate left", "dot product", "doubling", "addition"];
    let rarer = [
        "dot product of over 64 terms",
        "rotation in a hoisted group",
        "extended rotation",
        "sum of rotations",
        "mixed dot product",
        "dot product over extended values",
        "batch of several sources",
    ];
    for kind in kinds.into_iter().chain(rarer) {
        assert!(coverage.get(kind).is_some_and(|&times| times * 10 >= circuits), "{kind}: {text}");
    }
}

#[test]
fn random_circuits() {
    run(Scheme::Bfv, circuits());
}

#[cfg(feature = "fhe-rs")]
#[test]
fn random_circuits_on_the_oracle() {
    run(Scheme::FheRs, circuits());
}

/// What the passes leave gives the same slots with the same products and additions and no more rotations, and
/// no pass finds more to do. (A rotation that was there both extended and not is left once.)
#[test]
fn circuit_passes_keep_the_slots() {
    let mut changes = BTreeMap::new();
    for seed in 0..circuits() {
        let random = &mut Random(seed ^ 0xabcd);
        let params = small_for(Scheme::FheRs, 64, 20);
        let size = 4 + random.index(20);
        let before = random_segment(random, params.ring, 3, size);
        let inputs: Vec<_> = (0..3).map(|_| random.slots(&params)).collect();
        let weights = Weights { params, seed, bits: 8 };
        let expected = interpret(&before, &inputs, &weights);
        let mut segment = before.clone();
        for pass in CIRCUIT_PASSES {
            *changes.entry(pass.name).or_insert(0) += (pass.run)(&mut segment, 64);
            assert_eq!(interpret(&segment, &inputs, &weights), expected, "{}, circuit {seed}", pass.name);
            let once = segment.clone();
            assert_eq!((pass.run)(&mut segment, 64), 0, "{}, circuit {seed}", pass.name);
            assert_eq!(segment, once, "{}, circuit {seed}", pass.name);
        }
        let kept = |c: Counts| [c.plain_mults, c.adds];
        let (was, is) = (count(&before), count(&segment));
        assert_eq!(kept(is), kept(was), "circuit {seed}");
        assert!(is.internal <= was.internal && is.external <= was.external, "circuit {seed}");
        assert!(is.divisions() <= was.divisions(), "circuit {seed}");
        for pass in CIRCUIT_PASSES {
            assert_eq!((pass.run)(&mut segment, 64), 0, "{} again, circuit {seed}", pass.name);
        }
    }
    assert!(changes.values().all(|&n| n as u64 * 10 >= circuits()), "{changes:?}");
}
