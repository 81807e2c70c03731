//! The backends in coefficients: operations by their definition, what is sent, noise, sizes, refusals.

use crate::backends::Random;
use std::sync::Arc;
use stria::backend::bfv::{BfvEvaluator, BfvKeys};
use stria::backend::clear::{ClearEvaluator, ClearKeys};
use stria::backend::{BackendError, Basis, ClientKeys, Evaluator, Operand, SchemeParams, Sent};
use stria::circuit::{Axis, Builder, Places};
use stria::cost::{self, Effort, OpCosts, Sizes, parameter_sets};
use stria::exec;
use stria::params::{self, Depth, Encoding, KeySwitching, ParamsError, Scheme, Workload};

fn depth(weights: u64) -> Depth {
    Depth { input_switches: 0, terms: weights, sums: 1, output_switches: 0 }
}

fn workload(weights: u64, sent: u64) -> Workload {
    Workload::of([depth(weights)], sent).encoded(Encoding::Coefficients)
}

fn small(ring: u32, plain_bits: u32, weights: u64) -> SchemeParams {
    let t = params::plain_prime(ring, 1000, Some(plain_bits)).unwrap();
    params::choose_insecure(Scheme::Bfv, ring, t, &workload(weights, u64::from(ring))).unwrap()
}

/// `count` weights of 8 bits, the least one among them, in random places.
fn weights(random: &mut Random, ring: u32, count: u64) -> Vec<i64> {
    let mut weights = vec![0; ring as usize];
    for _ in 0..count {
        let place = usize::try_from(random.below(u64::from(ring))).unwrap();
        weights[place] = random.below(255).cast_signed() - 128;
    }
    weights
}

/// `sum + a * w` modulo X^N + 1 and t.
fn multiply_add(sum: &mut [u64], a: &[u64], w: &[i64], t: u64) {
    let (ring, t) = (sum.len(), i128::from(t));
    for (i, &w) in w.iter().enumerate().filter(|&(_, &w)| w != 0) {
        for (j, &a) in a.iter().enumerate() {
            let product = i128::from(a) * i128::from(w);
            let (place, product) = if i + j < ring { (i + j, product) } else { (i + j - ring, -product) };
            sum[place] = u64::try_from((i128::from(sum[place]) + product).rem_euclid(t)).unwrap();
        }
    }
}

fn every_operation<K: ClientKeys, E: Evaluator>(keys: &K, params: &SchemeParams, seed: u64) {
    let (random, t) = (&mut Random(seed), params.plain_modulus);
    let evaluator = E::from_keys(params, &keys.evaluation_keys(&[]).unwrap()).unwrap();
    let all: Vec<u32> = (0..params.ring).collect();
    let open = |ciphertext: &E::Ciphertext, sent: &[u32]| {
        let sent = Sent::Coefficients(sent);
        keys.decrypt(&evaluator.store(ciphertext, sent).unwrap(), sent).unwrap()
    };
    let mut sum = vec![0; params.ring as usize];
    let (mut ciphertexts, mut plaintexts) = (Vec::new(), Vec::new());
    for _ in 0..6 {
        let (mine, yours) = (random.slots(params), random.slots(params));
        let weights = weights(random, params.ring, 20);
        let mut ciphertext = evaluator.load(&keys.encrypt(&mine).unwrap()).unwrap();
        evaluator.add_plain(&mut ciphertext, &yours).unwrap();
        let both: Vec<u64> = mine.iter().zip(&yours).map(|(a, b)| (a + b) % t).collect();
        assert_eq!(open(&ciphertext, &all), both);
        multiply_add(&mut sum, &both, &weights, t);
        ciphertexts.push(ciphertext);
        plaintexts.push(Arc::new(evaluator.encode(&weights, Basis::Ciphertext).unwrap()));
    }
    let mut terms =
        ciphertexts.iter().zip(&plaintexts).map(|(c, p)| Ok((Operand::Ciphertext(c), Arc::clone(p))));
    let result = evaluator.dot(&mut terms).unwrap();
    assert_eq!(open(&result, &all), sum);
    let wanted = [3, 7, 8, params.ring - 1];
    let part = open(&result, &wanted);
    for (place, &value) in (0..).zip(&part) {
        assert_eq!(value, if wanted.contains(&place) { sum[place as usize] } else { 0 }, "{place}");
    }

    let fresh = keys.encrypt(&sum).unwrap();
    assert_eq!(keys.decrypt(&fresh, Sent::Coefficients(&wanted)).unwrap(), sum);
    let malformed = |result: Result<(), BackendError>| {
        assert!(matches!(result, Err(BackendError::Malformed { .. })), "{result:?}");
    };
    malformed(evaluator.store(&result, Sent::Slots).map(drop));
    malformed(evaluator.store(&result, Sent::Coefficients(&[params.ring])).map(drop));
    malformed(keys.decrypt(&fresh, Sent::Slots).map(drop));
    let reply = evaluator.store(&result, Sent::Coefficients(&wanted)).unwrap();
    assert!(keys.decrypt(&reply, Sent::Coefficients(&wanted[1..])).is_err(), "other values than were sent");
    assert!(keys.decrypt(&reply, Sent::Coefficients(&all)).is_err());
}

#[test]
fn operations_equal_their_definition() {
    for (ring, bits, seed) in [(64, 17, 1), (256, 30, 2), (1024, 38, 3)] {
        let params = small(ring, bits, 120);
        every_operation::<_, ClearEvaluator>(&ClearKeys::generate(&params).unwrap(), &params, seed);
        every_operation::<_, BfvEvaluator>(&BfvKeys::generate_insecure(&params).unwrap(), &params, seed);
    }
    let t = params::plain_prime(4096, 1000, Some(20)).unwrap();
    let secure = params::choose(Scheme::Bfv, 4096, t, &workload(120, 1 << 12)).unwrap();
    every_operation::<_, BfvEvaluator>(&BfvKeys::generate(&secure).unwrap(), &secure, 4);
}

/// Beyond what words hold the clear backend reduces each product.
#[test]
fn large_plaintext_primes_do_not_overflow() {
    let small = small(64, 45, 120);
    let plain_modulus = (1 << 60) - 1;
    let params = SchemeParams { plain_modulus, ..small };
    every_operation::<_, ClearEvaluator>(&ClearKeys::generate(&params).unwrap(), &params, 5);
}

#[test]
fn small_networks_take_two_primes_and_no_special_one() {
    for (bits, weights, sent) in [(20, 576, 1_u32 << 17), (22, 1152, 1 << 14), (20, 4608, 1 << 16)] {
        let t = params::plain_prime(4096, 1000, Some(bits)).unwrap();
        let chosen = params::choose(Scheme::Bfv, 4096, t, &workload(weights, sent.into())).unwrap();
        assert_eq!((chosen.ring, chosen.modulus_bits.len()), (4096, 2), "{chosen:?}");
        assert!(matches!(chosen.key_switch, KeySwitching::Digits { .. }));
        assert_eq!(params::security_bits(&chosen), 128);
        let fit = params::fit(Scheme::Bfv, &chosen, &chosen.workload).unwrap();
        let flood = fit.flood_bits.unwrap();
        assert!(fit.noise_bits + 40.0 + f64::log2(f64::from(sent)) <= flood && flood < fit.room_bits);
    }
    let t = params::plain_prime(4096, 1000, Some(40)).unwrap();
    let closest = params::choose(Scheme::Bfv, 4096, t, &workload(576, 1 << 17)).unwrap();
    let error = params::fit(Scheme::Bfv, &closest, &closest.workload).unwrap_err();
    assert!(matches!(error, ParamsError::Flood { ring: 4096, plain_bits: 40, .. }), "{error:?}");
    let foreign = params::choose(Scheme::FheRs, 4096, t, &workload(576, 1 << 17));
    assert_eq!(foreign, Err(ParamsError::Encoding { scheme: Scheme::FheRs }));
}

/// The noise that the secret key measures, what the evaluator follows, and what replies are flooded for.
#[test]
fn noise_is_below_its_estimate_and_near() {
    for (ring, terms, per_plaintext) in [(1024, 1, 9), (1024, 16, 27), (4096, 3, 450), (4096, 64, 9)] {
        for bits in [17, 24, 34] {
            let mut builder = Builder::in_coefficients("layer", ring, per_plaintext, terms);
            let products: Vec<_> = (0..terms).map(|i| (builder.input(i), builder.plain())).collect();
            let sum = builder.dot(products);
            builder.output_places(sum, Places { first: 5, axes: [Axis { count: 1, step: 1 }; 3] });
            let segment = builder.finish();
            let depth = cost::depth(&segment).unwrap();
            assert_eq!(depth.terms, u64::from(terms * per_plaintext));
            let workload = Workload::of([depth], u64::from(ring)).encoded(Encoding::Coefficients);
            let t = params::plain_prime(ring, 1000, Some(bits)).unwrap();
            let params = params::choose_insecure(Scheme::Bfv, ring, t, &workload).unwrap();
            let estimate = params::fit(Scheme::Bfv, &params, &workload).unwrap().noise_bits;
            let keys = BfvKeys::generate_insecure(&params).unwrap();
            let bytes = keys.evaluation_keys(&[]).unwrap();
            let evaluator = BfvEvaluator::from_keys(&params, &bytes).unwrap();
            let random = &mut Random(23);
            let mut load = || {
                let mut input = evaluator.load(&keys.encrypt(&random.slots(&params)).unwrap()).unwrap();
                evaluator.add_plain(&mut input, &random.slots(&params)).unwrap();
                input
            };
            let inputs = (0..terms).map(|_| load()).collect();
            // All weights as large as a weight can be: the bound is nearly reached.
            let plains = Largest { count: per_plaintext as usize };
            let result = exec::run(&evaluator, &segment, &plains, inputs, &|_| ()).unwrap().remove(0);
            let measured = keys.noise_bits(&result).unwrap();
            let followed = result.estimated_noise_bits();
            let case = format!("{ring} {terms} {bits}: {measured:.1}, {followed:.1}, {estimate:.1}");
            assert!(measured <= followed && followed <= estimate, "{case}");
            assert!(estimate <= measured + 6.0, "{case}");
        }
    }
}

/// Weights of -128 and 127 in every third place.
struct Largest {
    count: usize,
}

impl stria::circuit::PlainSource for Largest {
    fn fill(&self, id: stria::circuit::PlainId, values: &mut [i64]) {
        values.fill(0);
        for i in 0..self.count {
            values[3 * i] = if (i + id.0 as usize).is_multiple_of(2) { -128 } else { 127 };
        }
    }
}

/// More weights than were announced raise the noise beyond what replies are flooded for.
#[test]
fn more_weights_than_announced_are_not_sent() {
    let params = small(1024, 20, 4);
    let keys = BfvKeys::generate_insecure(&params).unwrap();
    let evaluator = BfvEvaluator::from_keys(&params, &keys.evaluation_keys(&[]).unwrap()).unwrap();
    let ciphertext = evaluator.load(&keys.encrypt(&vec![1; 1024]).unwrap()).unwrap();
    let store = |weights: &[i64]| {
        let plaintext = Arc::new(evaluator.encode(weights, Basis::Ciphertext).unwrap());
        let product =
            evaluator.dot(&mut std::iter::once(Ok((Operand::Ciphertext(&ciphertext), plaintext)))).unwrap();
        evaluator.store(&product, Sent::Coefficients(&[0])).map(drop)
    };
    let mut weights = vec![0; 1024];
    weights[..4].fill(-128);
    store(&weights).unwrap();
    weights[4] = 1;
    assert!(matches!(store(&weights), Err(BackendError::Noise { .. })));
}

/// Every predicted size is the number of bytes that the backend makes.
#[test]
fn sizes_are_exact() {
    let set = |bits, sent| {
        let t = params::plain_prime(4096, 1000, Some(bits)).unwrap();
        params::choose(Scheme::Bfv, 4096, t, &workload(576, sent)).unwrap()
    };
    for params in [set(17, 1 << 12), set(20, 1 << 17), set(22, 1 << 13)] {
        let sizes = Sizes::bfv(&params).unwrap();
        let keys = BfvKeys::generate(&params).unwrap();
        let bytes = keys.evaluation_keys(&[]).unwrap();
        assert_eq!(bytes.len() as u64, sizes.key_bytes(0));
        let fresh = keys.encrypt(&vec![1; 4096]).unwrap();
        assert_eq!(fresh.len() as u64, sizes.fresh);
        let evaluator = BfvEvaluator::from_keys(&params, &bytes).unwrap();
        let ciphertext = evaluator.load(&fresh).unwrap();
        let axes = |counts: [u32; 3]| {
            let steps = counts.into_iter().zip([700, 33, 2]);
            let axes: Vec<_> = steps.map(|(count, step)| Axis { count, step }).collect();
            Places { first: 11, axes: axes.try_into().unwrap() }
        };
        for places in [axes([1, 1, 1]), axes([3, 5, 7]), axes([5, 20, 16])] {
            let mut builder = Builder::in_coefficients("layer", 4096, 1, 1);
            let input = builder.input(0);
            builder.output_places(input, places);
            let wanted: Vec<u32> = places.iter().collect();
            let reply = evaluator.store(&ciphertext, Sent::Coefficients(&wanted)).unwrap();
            assert_eq!(reply.len() as u64, sizes.replies(&builder.finish()), "{places}");
        }
    }
}

/// Calibration has a set for coefficients, whose costs are all those that there are.
#[test]
fn coefficients_are_measured() {
    let sets = parameter_sets(Scheme::Bfv);
    let in_coefficients = |p: &&SchemeParams| p.workload.encoding == Encoding::Coefficients;
    let rings: Vec<_> = sets.iter().filter(in_coefficients).map(|p| (p.ring, p.modulus_bits.len())).collect();
    assert_eq!(rings[0], (4096, 2));
    assert!(parameter_sets(Scheme::FheRs).iter().all(|p| p.workload.encoding == Encoding::Slots));
    let params = small(64, 17, 9);
    let costs = OpCosts::measure::<ClearKeys, ClearEvaluator>(&params, Effort::QUICK).unwrap();
    assert_eq!((costs.encoding, costs.rotate, costs.keygen), (Encoding::Coefficients, 0.0, 0.0));
    assert!(costs.encode > 0.0 && costs.store > 0.0 && costs.decrypt > 0.0, "{costs:?}");
    let text =
        cost::CostFile::measured(Scheme::Bfv, vec![costs], cost::TransferCosts::default()).to_yaml().unwrap();
    let read = cost::CostFile::from_yaml(text.as_bytes()).unwrap().table(Scheme::Bfv, "x").unwrap();
    assert_eq!(read.costs(&params), Some(costs));
    let slots = SchemeParams { workload: Workload::reference(), ..params };
    assert_eq!(read.costs(&slots), None, "no row in slots");
}
