//! Each operation of a backend alone, against its definition.

use super::{Random, multiply_add, small, turned};
use std::sync::Arc;
use stria::backend::clear::{ClearEvaluator, ClearKeys};
use stria::backend::{BackendError, Basis, ClientKeys, Counting, Evaluator, Operand, SchemeParams, Sent};
use stria::circuit::{BlockGeometry, Step};

const STEPS: [Step; 5] =
    [Step::Rotate(-256), Step::Rotate(-3), Step::Rotate(1), Step::Rotate(200), Step::SwapRows];

fn every_operation<K: ClientKeys, E: Evaluator>(keys: &K, params: &SchemeParams, weight_bits: u32) {
    let t = params.plain_modulus;
    let random = &mut Random(7);
    let evaluator = E::from_keys(params, &keys.evaluation_keys(&STEPS).unwrap()).unwrap();
    assert_eq!(evaluator.ring(), params.ring as usize);
    let (a, b) = (random.slots(params), random.slots(params));
    let load = |slots: &[u64]| evaluator.load(&keys.encrypt(slots).unwrap()).unwrap();
    let open = |ciphertext: &E::Ciphertext| {
        keys.decrypt(&evaluator.store(ciphertext, Sent::Slots).unwrap(), Sent::Slots).unwrap()
    };

    assert_eq!(keys.decrypt(&keys.encrypt(&a).unwrap(), Sent::Slots).unwrap(), a, "encrypt, decrypt");
    assert_eq!(open(&load(&a)), a, "load, store");

    let loaded = [load(&a), load(&b)];
    let one = evaluator.automorphisms(&[&loaded[0]], &[(0, STEPS[0])]).unwrap();
    assert_eq!(open(&one[0]), turned(&a, STEPS[0]), "alone");
    let sources = [&loaded[0], &loaded[1]];
    let batch: Vec<(usize, Step)> = STEPS.iter().flat_map(|&step| [(0, step), (1, step)]).collect();
    let all = evaluator.automorphisms(&sources, &batch).unwrap();
    assert_eq!(all.len(), batch.len());
    for (&(source, step), ciphertext) in batch.iter().zip(&all) {
        assert_eq!(open(ciphertext), turned([&a, &b][source], step), "{step:?}");
    }
    let summands = [
        (sources[0], Some(STEPS[0])),
        (sources[1], None),
        (sources[0], Some(STEPS[4])),
        (sources[1], Some(STEPS[0])),
    ];
    let mut expected = vec![0; params.ring as usize];
    for (summand, slots) in summands.iter().zip([&a, &b, &a, &b]) {
        let turned = summand.1.map_or(slots.clone(), |step| turned(slots, step));
        expected.iter_mut().zip(&turned).for_each(|(sum, x)| *sum = (*sum + x) % t);
    }
    assert_eq!(open(&evaluator.rotate_sum(&summands).unwrap()), expected, "rotate_sum");
    assert_eq!(open(&evaluator.rotate_sum(&summands[1..2]).unwrap()), b, "a sum of one");
    products_with_extended::<K, E>(&evaluator, keys, params, &a, sources[0], weight_bits);

    let mut sum = load(&a);
    evaluator.add_assign(&mut sum, &load(&b));
    let plain_sum: Vec<u64> = a.iter().zip(&b).map(|(a, b)| (a + b) % t).collect();
    assert_eq!(open(&sum), plain_sum, "add_assign");
    let mut shared = load(&a);
    evaluator.add_plain(&mut shared, &b).unwrap();
    assert_eq!(open(&shared), plain_sum, "add_plain");

    let weights: Vec<Vec<i64>> = (0..40).map(|_| random.weights(params, weight_bits)).collect();
    let operands = [load(&a), load(&b)];
    let mut expected = vec![0; params.ring as usize];
    for (i, weights) in weights.iter().enumerate() {
        multiply_add(&mut expected, [&a, &b][i % 2], weights, t);
    }
    let mut terms = weights.iter().zip(operands.iter().cycle());
    let mut encoded = terms.by_ref().map(|(weights, operand)| {
        let plaintext = evaluator.encode(weights, Basis::Ciphertext)?;
        Ok((Operand::Ciphertext(operand), Arc::new(plaintext)))
    });
    assert_eq!(open(&evaluator.dot(&mut encoded).unwrap()), expected, "dot");

    let extremes: Vec<i64> =
        [i64::MIN, i64::MAX, -1, 0, 1, t.cast_signed(), -t.cast_signed(), (t / 2).cast_signed() + 1]
            .into_iter()
            .cycle()
            .take(params.ring as usize)
            .collect();
    let mut expected = vec![0; params.ring as usize];
    multiply_add(&mut expected, &a, &extremes, t);
    let plaintext = Arc::new(evaluator.encode(&extremes, Basis::Ciphertext).unwrap());
    let operand = Operand::Ciphertext(&operands[0]);
    let product = evaluator.dot(&mut std::iter::once(Ok((operand, plaintext)))).unwrap();
    assert_eq!(open(&product), expected, "slots beyond t");
}

/// Dot products over extended rotations, alone and among ciphertexts.
fn products_with_extended<K: ClientKeys, E: Evaluator>(
    evaluator: &E,
    keys: &K,
    params: &SchemeParams,
    slots: &[u64],
    ciphertext: &E::Ciphertext,
    weight_bits: u32,
) {
    let t = params.plain_modulus;
    let random = &mut Random(9);
    let batch: Vec<(usize, Step)> = STEPS.iter().map(|&step| (0, step)).collect();
    let rotated = evaluator.extended(&[ciphertext], &batch).unwrap();
    assert_eq!(rotated.len(), STEPS.len());
    for wholes in [0, 1, 6] {
        let mut expected = vec![0; params.ring as usize];
        let mut terms = Vec::new();
        for (step, rotated) in STEPS.iter().zip(&rotated) {
            let weights = random.weights(params, weight_bits);
            multiply_add(&mut expected, &turned(slots, *step), &weights, t);
            let plaintext = evaluator.encode(&weights, Basis::Extended).unwrap();
            terms.push(Ok((Operand::Extended(rotated), Arc::new(plaintext))));
        }
        for i in 0..wholes {
            let weights = random.weights(params, weight_bits);
            multiply_add(&mut expected, slots, &weights, t);
            let basis = [Basis::Ciphertext, Basis::Extended][i % 2];
            let plaintext = evaluator.encode(&weights, basis).unwrap();
            terms.push(Ok((Operand::Ciphertext(ciphertext), Arc::new(plaintext))));
        }
        let sum = evaluator.dot(&mut terms.into_iter()).unwrap();
        assert_eq!(
            keys.decrypt(&evaluator.store(&sum, Sent::Slots).unwrap(), Sent::Slots).unwrap(),
            expected,
            "{wholes} unrotated"
        );
    }
}

fn refusals<K: ClientKeys, E: Evaluator>(keys: &K, params: &SchemeParams) {
    let evaluator = E::from_keys(params, &keys.evaluation_keys(&[Step::Rotate(2)]).unwrap()).unwrap();
    let slots = vec![1; params.ring as usize];
    let ciphertext = evaluator.load(&keys.encrypt(&slots).unwrap()).unwrap();
    for step in [Step::Rotate(1), Step::Rotate(-2), Step::SwapRows, Step::Rotate(0)] {
        let batch = [(0, Step::Rotate(2)), (0, step)];
        let summands = [(&ciphertext, Some(Step::Rotate(2))), (&ciphertext, Some(step))];
        for refused in [
            evaluator.automorphisms(&[&ciphertext], &batch).map(|_| ()),
            evaluator.extended(&[&ciphertext], &batch).map(|_| ()),
            evaluator.rotate_sum(&summands).map(|_| ()),
        ] {
            assert!(
                matches!(refused, Err(BackendError::MissingKey(missing)) if missing == step),
                "{step:?}: {refused:?}"
            );
        }
    }
    assert!(keys.evaluation_keys(&[Step::Rotate(0)]).is_err());
    assert!(keys.encrypt(&slots[1..]).is_err());
    assert!(keys.encrypt(&vec![params.plain_modulus; slots.len()]).is_err());
    assert!(evaluator.encode(&[0; 3], Basis::Ciphertext).is_err());
    assert!(evaluator.add_plain(&mut ciphertext.clone(), &[0; 3]).is_err());
    let stops = &mut std::iter::once(Err(BackendError::MissingKey(Step::SwapRows)));
    assert!(evaluator.dot(stops).is_err(), "an error among the terms ends the sum");
}

#[test]
fn clear_operations() {
    for bits in [17, 26, 45] {
        let params = small(bits);
        let keys = ClearKeys::generate(&params).unwrap();
        every_operation::<_, ClearEvaluator>(&keys, &params, 8);
        every_operation::<_, ClearEvaluator>(&keys, &params, bits);
        every_operation::<_, Counting<ClearEvaluator>>(&keys, &params, 8);
        refusals::<_, ClearEvaluator>(&keys, &params);
    }
}

#[test]
fn counting_counts_calls() {
    let params = small(17);
    let keys = ClearKeys::generate(&params).unwrap();
    let bytes = keys.evaluation_keys(&STEPS).unwrap();
    let counting = Counting::<ClearEvaluator>::from_keys(&params, &bytes).unwrap();
    let slots = vec![1; params.ring as usize];
    let mut a = counting.load(&keys.encrypt(&slots).unwrap()).unwrap();
    let batch: Vec<(usize, Step)> = STEPS.iter().map(|&step| (0, step)).collect();
    counting.automorphisms(&[&a], &batch).unwrap();
    assert!(counting.automorphisms(&[&a], &[(0, Step::Rotate(77))]).is_err());
    let b = a.clone();
    counting.extended(&[&a, &b], &[(0, Step::Rotate(1)), (1, Step::Rotate(1))]).unwrap();
    counting.rotate_sum(&[(&a, Some(Step::Rotate(1))), (&b, None), (&b, Some(Step::SwapRows))]).unwrap();
    counting.add_assign(&mut a, &b);
    counting.add_plain(&mut a, &slots).unwrap();
    counting.store(&a, Sent::Slots).unwrap();
    let geometry = BlockGeometry { block: 64, reach: 3 };
    let counts = counting.take(geometry);
    assert_eq!((counts.internal, counts.external), (2 + 2 + 1, 3 + 1));
    assert_eq!((counts.key_switches, counts.hoisted_groups), (5 + 2 + 2, 1 + 2 + 2));
    assert_eq!((counts.extended_rotations, counts.sum_rotations, counts.rotate_sums), (2, 2, 1));
    assert_eq!(counts.divisions(), 5 + 1, "what is left extended is divided by a dot product");
    assert_eq!((counts.adds, counts.plain_adds, counts.plain_mults), (2 + 1, 1, 0));
    assert_eq!((counts.ciphertexts_in, counts.ciphertexts_out), (1, 1));
    assert_eq!(counting.take(geometry), stria::circuit::Counts::default(), "taken");
}

mod bfv {
    use super::super::{chosen, small_for};
    use super::{every_operation, refusals};
    use stria::backend::bfv::{BfvEvaluator, BfvKeys};
    use stria::backend::{BackendError, ClientKeys, Evaluator, SchemeParams, Sent};
    use stria::params::{Depth, KeySwitching, Scheme, Workload};

    #[test]
    fn operations() {
        for bits in [17, 26, 36] {
            let params = small_for(Scheme::Bfv, 1024, bits);
            let keys = BfvKeys::generate_insecure(&params).unwrap();
            every_operation::<_, BfvEvaluator>(&keys, &params, bits.min(8));
            every_operation::<_, BfvEvaluator>(&keys, &params, bits);
            refusals::<_, BfvEvaluator>(&keys, &params);
        }
    }

    /// The forms of key switching that the choice does not take at this ring.
    #[test]
    fn every_key_switch() {
        let shallow = Depth { input_switches: 1, terms: 64, sums: 1, output_switches: 1 };
        let workload = Workload::of([shallow], 1024);
        let small = SchemeParams { workload, ..small_for(Scheme::Bfv, 1024, 20) };
        for (primes, key_switch) in [
            (4, KeySwitching::Digits { bits: 25 }),
            (6, KeySwitching::Special { special: 2, primes_per_digit: 2 }),
            (5, KeySwitching::Special { special: 1, primes_per_digit: 1 }),
        ] {
            let params = SchemeParams { modulus_bits: vec![50; primes], key_switch, ..small.clone() };
            every_operation::<_, BfvEvaluator>(&BfvKeys::generate_insecure(&params).unwrap(), &params, 8);
        }
    }

    #[test]
    fn secure_parameters() {
        let params = chosen(Scheme::Bfv, 8192, 1000, Some(20));
        let keys = BfvKeys::generate(&params).unwrap();
        every_operation::<_, BfvEvaluator>(&keys, &params, 8);
        assert_eq!(format!("{keys:?}"), format!("BfvKeys {{ params: {params:?}, .. }}"));
        assert!(BfvKeys::generate(&small_for(Scheme::Bfv, 1024, 17)).is_err(), "insecure");
    }

    /// Two replies of one ciphertext share nothing: the second polynomial would show the weights.
    #[test]
    fn replies_are_fresh() {
        let params = small_for(Scheme::Bfv, 1024, 17);
        let keys = BfvKeys::generate_insecure(&params).unwrap();
        let evaluator = BfvEvaluator::from_keys(&params, &keys.evaluation_keys(&[]).unwrap()).unwrap();
        let ciphertext = evaluator.load(&keys.encrypt(&vec![1; 1024]).unwrap()).unwrap();
        let store = || evaluator.store(&ciphertext, Sent::Slots).unwrap();
        let (one, other) = (store(), store());
        for poly in [45..one.len() / 2, one.len() / 2..one.len() - 16] {
            let equal = one[poly.clone()].iter().zip(&other[poly.clone()]).filter(|(a, b)| a == b).count();
            assert!(equal < poly.len() / 50, "{equal} of {} bytes equal", poly.len());
        }
        assert_eq!(keys.decrypt(&one, Sent::Slots).unwrap(), keys.decrypt(&other, Sent::Slots).unwrap());
    }

    /// A ciphertext that is noisier than the flooding provides for does not leave the server; until then
    /// every one decrypts.
    #[test]
    fn noise_beyond_the_flooding_is_refused() {
        let params = small_for(Scheme::Bfv, 1024, 20);
        let keys = BfvKeys::generate_insecure(&params).unwrap();
        let evaluator = BfvEvaluator::from_keys(&params, &keys.evaluation_keys(&[]).unwrap()).unwrap();
        let mut slots = vec![1; 1024];
        let mut sum = evaluator.load(&keys.encrypt(&slots).unwrap()).unwrap();
        for _ in 0..200 {
            match evaluator.store(&sum, Sent::Slots) {
                Ok(reply) => assert_eq!(keys.decrypt(&reply, Sent::Slots).unwrap(), slots),
                Err(BackendError::Noise { found, provided }) => {
                    assert!(found > provided && sum.estimated_noise_bits() == found);
                    return;
                }
                Err(other) => panic!("{other}"),
            }
            let copy = sum.clone();
            evaluator.add_assign(&mut sum, &copy);
            slots.iter_mut().for_each(|slot| *slot = *slot * 2 % params.plain_modulus);
        }
        panic!("never refused");
    }
}

#[cfg(feature = "fhe-rs")]
mod fhe_rs {
    use super::super::chosen;
    use super::{every_operation, refusals, small};
    use stria::backend::fhe_rs::{FheEvaluator, FheKeys};
    use stria::backend::{ClientKeys, Evaluator, SchemeParams, Sent};
    use stria::params::Scheme;

    #[test]
    fn operations() {
        for bits in [17, 26, 45] {
            let params = small(bits);
            let keys = FheKeys::generate_insecure(&params).unwrap();
            every_operation::<_, FheEvaluator>(&keys, &params, bits.min(8));
            refusals::<_, FheEvaluator>(&keys, &params);
        }
    }

    /// Two replies of one ciphertext share nothing: the second polynomial would show the weights.
    #[test]
    fn replies_are_fresh() {
        let params = small(17);
        let keys = FheKeys::generate_insecure(&params).unwrap();
        let evaluator = FheEvaluator::from_keys(&params, &keys.evaluation_keys(&[]).unwrap()).unwrap();
        let slots = vec![1; params.ring as usize];
        let ciphertext = evaluator.load(&keys.encrypt(&slots).unwrap()).unwrap();
        let (one, other) = (
            evaluator.store(&ciphertext, Sent::Slots).unwrap(),
            evaluator.store(&ciphertext, Sent::Slots).unwrap(),
        );
        let (first, second) = (14..one.len() / 2, one.len() / 2..one.len() - 16);
        for poly in [first, second] {
            let equal = one[poly.clone()].iter().zip(&other[poly.clone()]).filter(|(a, b)| a == b).count();
            assert!(equal < poly.len() / 50, "{equal} of {} bytes equal", poly.len());
        }
        assert_eq!(keys.decrypt(&one, Sent::Slots).unwrap(), keys.decrypt(&other, Sent::Slots).unwrap());
    }

    /// Primes of 62 bits leave room for 15 products before a reduction.
    #[test]
    fn longest_primes() {
        let params = SchemeParams { modulus_bits: vec![62; 3], ..small(20) };
        every_operation::<_, FheEvaluator>(&FheKeys::generate_insecure(&params).unwrap(), &params, 8);
    }

    #[test]
    fn the_secret_is_never_shown() {
        let params = chosen(Scheme::FheRs, 4096, 1000, None);
        let keys = FheKeys::generate(&params).unwrap();
        assert_eq!(format!("{keys:?}"), format!("FheKeys {{ params: {params:?}, .. }}"));
    }

    #[test]
    fn insecure_parameters_need_the_function_that_says_so() {
        assert!(FheKeys::generate(&small(17)).is_err());
        let long = SchemeParams { modulus_bits: vec![54; 4], ..chosen(Scheme::FheRs, 8192, 1000, None) };
        assert!(FheKeys::generate(&long).is_err(), "216 bits at N = 8192");
    }
}
