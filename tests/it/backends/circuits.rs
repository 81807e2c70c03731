//! Whole circuits: every backend against the plain interpretation, counts and memory of execution.

use super::{Random, Weights, chosen, interpret, random_segment, small, steps};
use std::sync::atomic::{AtomicU64, Ordering};
use stria::backend::bfv::{BfvEvaluator, BfvKeys};
use stria::backend::clear::{ClearEvaluator, ClearKeys};
use stria::backend::{BackendError, Basis, ClientKeys, Counting, Evaluator, SchemeParams, Sent};
use stria::circuit::{
    self, BlockGeometry, Builder, Contents, Counts, Inst, PlainId, PlainSource, Segment, Step, Turn, Value,
};
use stria::exec::{self, ExecError, Kept};
use stria::params::Scheme;

/// Runs `segment` as client and server would; outputs and executed counts.
pub(super) fn execute<K: ClientKeys, E: Evaluator>(
    keys: &K,
    segment: &Segment,
    inputs: &[Vec<u64>],
    weights: &Weights,
) -> (Vec<Vec<u64>>, Counts) {
    let evaluation_keys = keys.evaluation_keys(&steps(segment)).unwrap();
    let evaluator = Counting::<E>::from_keys(&weights.params, &evaluation_keys).unwrap();
    let once = |kept: Kept<E::Plaintext>| {
        let loaded = inputs.iter().map(|slots| evaluator.load(&keys.encrypt(slots).unwrap()).unwrap());
        let progress = AtomicU64::new(0);
        let plains = (weights as &dyn PlainSource, &kept);
        let outputs = exec::run_kept(&evaluator, segment, plains, loaded.collect(), &|n| {
            progress.fetch_add(n, Ordering::Relaxed);
        });
        assert_eq!(progress.into_inner(), segment.insts.len() as u64, "progress");
        let opened = outputs.unwrap().into_iter().map(|output| {
            keys.decrypt(&evaluator.store(&output, Sent::Slots).unwrap(), Sent::Slots).unwrap()
        });
        (opened.collect(), evaluator.take(segment.geometry))
    };
    let single = once(Kept::none());
    for budget in [u64::MAX, 20 * evaluator.plaintext_bytes(Basis::Ciphertext)] {
        let shared = once(Kept::of(std::slice::from_ref(segment), budget).remove(0));
        assert!(single == shared, "{budget} bytes of kept plaintexts change results or counts");
    }
    single
}

fn agrees<K: ClientKeys, E: Evaluator>(keys: &K, params: &SchemeParams, seed: u64, size: usize) {
    let random = &mut Random(seed);
    let segment = random_segment(random, params.ring, 3, size);
    let inputs: Vec<_> = (0..3).map(|_| random.slots(params)).collect();
    let weights = Weights { params: params.clone(), seed, bits: 8 };
    let (outputs, counts) = execute::<K, E>(keys, &segment, &inputs, &weights);
    assert_eq!(outputs, interpret(&segment, &inputs, &weights), "seed {seed}");
    assert_eq!(counts, circuit::count(&segment), "seed {seed}");
}

#[test]
fn clear_runs_random_circuits() {
    let params = small(45);
    let keys = ClearKeys::generate(&params).unwrap();
    for seed in 0..30 {
        agrees::<_, ClearEvaluator>(&keys, &params, seed, 12);
    }
}

#[cfg(feature = "fhe-rs")]
mod fhe_rs {
    use super::super::chosen;
    use super::agrees;
    use stria::backend::ClientKeys;
    use stria::backend::fhe_rs::{FheEvaluator, FheKeys};
    use stria::params::Scheme;

    #[test]
    fn runs_random_circuits_4096() {
        let params = chosen(Scheme::FheRs, 4096, 1000, None);
        let keys = FheKeys::generate(&params).unwrap();
        for seed in 100..106 {
            agrees::<_, FheEvaluator>(&keys, &params, seed, 6);
        }
    }

    #[test]
    fn runs_random_circuits_8192() {
        for (seed, bits) in [(200, 26), (201, 45)] {
            let params = chosen(Scheme::FheRs, 8192, 1000, Some(bits));
            let keys = FheKeys::generate(&params).unwrap();
            agrees::<_, FheEvaluator>(&keys, &params, seed, 5);
        }
    }
}

fn geometry() -> BlockGeometry {
    BlockGeometry { block: 64, reach: 9 }
}

/// A dot product longer than one piece, whose sums must not depend on the cut.
#[test]
fn long_dot_products_are_cut() {
    let params = small(30);
    let keys = ClearKeys::generate(&params).unwrap();
    let mut builder = Builder::new("long", params.ring, geometry(), 2);
    let terms: Vec<_> = (0..333).map(|i| (builder.input(i % 2), builder.plain())).collect();
    let sum = builder.dot(terms);
    builder.output(sum);
    let segment = builder.finish();
    let random = &mut Random(3);
    let inputs = vec![random.slots(&params), random.slots(&params)];
    let weights = Weights { params: params.clone(), seed: 3, bits: 8 };
    let (outputs, counts) = execute::<_, ClearEvaluator>(&keys, &segment, &inputs, &weights);
    assert_eq!(outputs, interpret(&segment, &inputs, &weights));
    assert_eq!((counts.plain_mults, counts.adds), (333, 332));
}

/// Seven dot products over the same values, rotations between them: short, cut into pieces, over extended
/// values, over both.
#[test]
fn dot_products_over_the_same_values() {
    for (terms, extended) in [(9, 0), (40, 0), (150, 0), (9, 9), (150, 3)] {
        let params = chosen(Scheme::Bfv, 8192, 1000, None);
        let mut builder = Builder::new("shared", params.ring, geometry(), 2);
        let inputs = [builder.input(0), builder.input(1)];
        let turned: Vec<_> = (1..=extended).map(|i| builder.extended(inputs[0], Step::Rotate(i))).collect();
        let values: Vec<_> = turned.into_iter().chain(inputs.into_iter().cycle()).take(terms).collect();
        for _ in 0..7 {
            let products: Vec<_> = values.iter().map(|&value| (value, builder.plain())).collect();
            let sum = builder.dot(products);
            let rotated = builder.rotate(sum, 1);
            builder.output(rotated);
        }
        let segment = builder.finish();
        let random = &mut Random(4);
        let inputs = vec![random.slots(&params), random.slots(&params)];
        let weights = Weights { params: params.clone(), seed: 4, bits: 8 };
        let keys = BfvKeys::generate(&params).unwrap();
        let bfv = execute::<_, BfvEvaluator>(&keys, &segment, &inputs, &weights);
        let keys = ClearKeys::generate(&params).unwrap();
        let clear = execute::<_, ClearEvaluator>(&keys, &segment, &inputs, &weights);
        assert!(clear.0 == interpret(&segment, &inputs, &weights), "{terms} terms, {extended} extended");
        assert!(bfv.0 == clear.0, "{terms} terms, {extended} extended");
        assert_eq!(clear.1, circuit::count(&segment));
        assert_eq!(bfv.1, clear.1);
    }
}

/// 40 groups of a dot product, its rotation and its addition to the total: held one after the other.
#[test]
fn ciphertexts_are_freed_after_their_last_use() {
    let params = small(17);
    let keys = ClearKeys::generate(&params).unwrap();
    let mut builder = Builder::new("chain", params.ring, geometry(), 2);
    let mut total = None;
    for i in 0..40 {
        let plains = [builder.plain(), builder.plain()];
        let part = builder.dot([(builder.input(0), plains[0]), (builder.input(1), plains[1])]);
        let part = builder.rotate(part, i + 1);
        total = Some(total.map_or(part, |total| builder.add(total, part)));
    }
    builder.output(total.unwrap());
    let segment = builder.finish();
    let weights = Weights { params: params.clone(), seed: 5, bits: 8 };
    let evaluator =
        ClearEvaluator::from_keys(&params, &keys.evaluation_keys(&steps(&segment)).unwrap()).unwrap();
    let one = keys.encrypt(&vec![1; params.ring as usize]).unwrap();
    let inputs = || vec![evaluator.load(&one).unwrap(), evaluator.load(&one).unwrap()];
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let executed =
        one_thread.install(|| exec::run_measured(&evaluator, &segment, &weights, inputs(), &|_| ())).unwrap();
    assert!(executed.peak_live <= 6, "{} live of {}", executed.peak_live, segment.insts.len() + 2);
    let two_threads = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let executed = two_threads
        .install(|| exec::run_measured(&evaluator, &segment, &weights, inputs(), &|_| ()))
        .unwrap();
    assert!(executed.peak_live < segment.insts.len() / 2, "{} live", executed.peak_live);
}

#[test]
fn a_missing_key_stops_execution() {
    let params = small(17);
    let keys = ClearKeys::generate(&params).unwrap();
    let segment = random_segment(&mut Random(11), params.ring, 3, 12);
    let mut given = steps(&segment);
    let missing = given.pop().unwrap();
    let evaluator = ClearEvaluator::from_keys(&params, &keys.evaluation_keys(&given).unwrap()).unwrap();
    let one = keys.encrypt(&vec![1; params.ring as usize]).unwrap();
    let inputs = (0..3).map(|_| evaluator.load(&one).unwrap()).collect();
    let weights = Weights { params, seed: 5, bits: 8 };
    let result = exec::run(&evaluator, &segment, &weights, inputs, &|_| ());
    assert!(
        matches!(&result, Err(ExecError::Backend(BackendError::MissingKey(step))) if *step == missing),
        "{:?}",
        result.map(|_| ())
    );
}

/// Segments that the builder would not make.
#[test]
fn malformed_segments_are_refused() {
    let params = small(17);
    let keys = ClearKeys::generate(&params).unwrap();
    let evaluator = ClearEvaluator::from_keys(&params, &keys.evaluation_keys(&[]).unwrap()).unwrap();
    let one = keys.encrypt(&vec![1; params.ring as usize]).unwrap();
    let weights = Weights { params: params.clone(), seed: 5, bits: 8 };
    let run = |insts: Vec<Inst>, terms: Vec<(Value, PlainId)>, outputs: Vec<Value>, given: usize| {
        let inputs = (0..given).map(|_| evaluator.load(&one).unwrap()).collect();
        let plains = 1;
        let turns = vec![Turn { src: Value(0), step: None }];
        let segment = Segment {
            layer: "bad".into(),
            contents: Contents::Slots,
            geometry: geometry(),
            inputs: 1,
            plains,
            insts,
            terms,
            turns,
            outputs,
        };
        exec::run(&evaluator, &segment, &weights, inputs, &|_| ()).map(|outputs| outputs.len())
    };
    let add = |a, b| Inst::Add(Value(a), Value(b));
    let term = (Value(0), PlainId(0));
    assert!(matches!(run(vec![], vec![], vec![Value(0), Value(0)], 1), Ok(2)));
    assert!(matches!(run(vec![], vec![], vec![], 2), Err(ExecError::Inputs { expected: 1, found: 2 })));
    assert!(matches!(run(vec![add(0, 1)], vec![], vec![], 1), Err(ExecError::Undefined { .. })));
    assert!(matches!(run(vec![], vec![], vec![Value(1)], 1), Err(ExecError::Undefined { .. })));
    let turn = Inst::Automorphism { src: Value(9), step: Step::SwapRows };
    assert!(matches!(run(vec![turn], vec![], vec![], 1), Err(ExecError::Undefined { .. })));
    for (first, len) in [(0, 0), (0, 2), (1, 1), (u32::MAX, 2)] {
        let result = run(vec![Inst::Dot { first, len }], vec![term], vec![], 1);
        assert!(matches!(result, Err(ExecError::Terms { .. })), "{first}, {len}");
    }
    for (first, len) in [(0, 0), (0, 2), (1, 1), (u32::MAX, 2)] {
        let result = run(vec![Inst::RotateSum { first, len }], vec![], vec![], 1);
        assert!(matches!(result, Err(ExecError::Turns { .. })), "{first}, {len}");
    }
    let extended = Inst::Extended { src: Value(0), step: Step::SwapRows };
    for insts in
        [vec![extended, add(0, 1)], vec![extended, Inst::Extended { src: Value(1), step: Step::SwapRows }]]
    {
        assert!(matches!(run(insts, vec![], vec![], 1), Err(ExecError::Extended(Value(1)))));
    }
    assert!(matches!(run(vec![extended], vec![], vec![Value(1)], 1), Err(ExecError::Extended(Value(1)))));
    let late = run(vec![Inst::Dot { first: 0, len: 1 }], vec![(Value(1), PlainId(0))], vec![], 1);
    assert!(matches!(late, Err(ExecError::Undefined { .. })));
}
