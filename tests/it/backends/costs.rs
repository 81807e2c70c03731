//! Estimated costs, sizes and depth.

use super::{chosen, random_segment, small};
use stria::backend::bfv::{BfvEvaluator, BfvKeys};
use stria::backend::clear::{ClearEvaluator, ClearKeys};
use stria::backend::{ClientKeys, Evaluator, SchemeParams, Sent};
use stria::circuit::{BlockGeometry, Builder, Counts, Segment, Step, Turn};
use stria::cost::{self, CostFile, CostFileError, CostTable, Effort, Means, OpCosts, Sizes};
use stria::params::{Depth, KeySwitching, Scheme};

/// Every predicted size is the number of bytes that the backend makes.
fn sizes_are_exact<K: ClientKeys, E: Evaluator>(keys: &K, params: &SchemeParams, sizes: Sizes) {
    let fresh = keys.encrypt(&vec![1; params.ring as usize]).unwrap();
    assert_eq!(fresh.len() as u64, sizes.fresh);
    for steps in [&[][..], &[Step::Rotate(1)], &[Step::Rotate(-1), Step::Rotate(5), Step::SwapRows]] {
        let bytes = keys.evaluation_keys(steps).unwrap();
        assert_eq!(bytes.len() as u64, sizes.key_bytes(steps.len() as u64));
        let evaluator = E::from_keys(params, &bytes).unwrap();
        let reply = evaluator.store(&evaluator.load(&fresh).unwrap(), Sent::Slots).unwrap();
        assert_eq!(reply.len() as u64, sizes.reply);
    }
    let counts = Counts { ciphertexts_in: 3, ciphertexts_out: 2, ..Counts::default() };
    assert_eq!(sizes.bytes_up(&counts), 3 * fresh.len() as u64);
    assert_eq!(sizes.bytes_down(&counts), 2 * sizes.reply);
}

#[test]
fn clear_sizes() {
    let params = small(17);
    let keys = ClearKeys::generate(&params).unwrap();
    sizes_are_exact::<_, ClearEvaluator>(&keys, &params, Sizes::clear(&params));
}

#[test]
fn bfv_sizes() {
    for (ring, bits) in [(8192, 17), (8192, 24), (16384, 35)] {
        let params = chosen(Scheme::Bfv, ring, 1000, Some(bits));
        let keys = BfvKeys::generate(&params).unwrap();
        sizes_are_exact::<_, BfvEvaluator>(&keys, &params, Sizes::bfv(&params).unwrap());
    }
}

#[cfg(feature = "fhe-rs")]
#[test]
fn fhe_rs_sizes() {
    use stria::backend::fhe_rs::{FheEvaluator, FheKeys};
    for (ring, bits) in [(4096, 17), (8192, 26), (8192, 45)] {
        let params = chosen(Scheme::FheRs, ring, 1000, Some(bits));
        let keys = FheKeys::generate(&params).unwrap();
        sizes_are_exact::<_, FheEvaluator>(&keys, &params, Sizes::fhe_rs(&params));
    }
}

#[test]
fn a_measurement_is_positive() {
    let costs = OpCosts::measure::<ClearKeys, ClearEvaluator>(&small(17), Effort::QUICK).unwrap();
    let measured = [
        costs.rotate,
        costs.encode,
        costs.extended_encode,
        costs.add,
        costs.load,
        costs.store,
        costs.decrypt,
    ];
    assert!(measured.iter().all(|&seconds| seconds > 0.0), "{costs:?}");
    assert_eq!((costs.ring, costs.primes), (1024, 4));
}

#[test]
fn estimates_add_up_and_scale() {
    let table = CostTable::shipped(Scheme::FheRs);
    let params = chosen(Scheme::FheRs, 8192, 1 << 24, None);
    let row = table.costs(&params).unwrap();
    assert_eq!(row, *table.rows.iter().find(|row| (row.ring, row.primes) == (8192, 4)).unwrap());
    let counts = Counts { hoisted_groups: 2, key_switches: 5, plain_mults: 7, adds: 6, ..Counts::default() };
    let expected = 2.0 * row.rotate + 3.0 * row.hoisted + 7.0 * (row.mult + row.encode) + 6.0 * row.add;
    assert!((row.server_seconds(&counts) - expected).abs() < 1e-12);
    // Two sources turned three times for dot products, four rotations summed up in two sums.
    let together = Counts {
        hoisted_groups: 2 + 4,
        key_switches: 3 + 4,
        extended_rotations: 3,
        sum_rotations: 4,
        rotate_sums: 2,
        extended_dots: 1,
        extended_mults: 5,
        plain_mults: 7,
        ..Counts::default()
    };
    let expected = 2.0 * (row.rotate - row.hoisted)
        + 3.0 * row.extended
        + 4.0 * row.sum_rotation
        + 3.0 * row.division
        + 2.0 * (row.mult + row.encode)
        + 5.0 * (row.extended_mult + row.extended_encode);
    assert!((row.server_seconds(&together) - expected).abs() < 1e-12);

    let doubled = SchemeParams { modulus_bits: vec![50; 8], ..params.clone() };
    let scaled = row.scaled(8192, 8);
    assert!((scaled.rotate / row.rotate - 4.0).abs() < 1e-9, "key switching is quadratic");
    assert!((scaled.add / row.add - 2.0).abs() < 1e-9, "additions are linear");
    assert!(table.costs(&doubled).unwrap().server_seconds(&counts) > row.server_seconds(&counts));
    let every = Counts { ciphertexts_in: 1, ciphertexts_out: 1, plain_adds: 1, ..counts };
    assert!(row.server_seconds(&every) > row.server_seconds(&counts));
    assert!((row.client_seconds(&every) - row.encrypt - row.decrypt).abs() < 1e-12);
    let spectra = row.of_spectra();
    assert!(spectra.encode > row.encode && spectra.encrypt > row.encrypt && spectra.decrypt > row.decrypt);
    assert_eq!(spectra.rotate, row.rotate);
    assert!(
        CostTable { name: String::new(), rows: Vec::new(), transfers: Default::default() }
            .costs(&params)
            .is_none()
    );
}

/// A row of the same form of key switch is taken before one of as many primes.
#[test]
fn costs_are_looked_up_by_key_switch() {
    let special = KeySwitching::Special { special: 1, primes_per_digit: 1 };
    let row = CostTable::shipped(Scheme::Bfv).rows[0];
    let special = OpCosts { ring: 8192, primes: 4, key_switch: special, ..row };
    let digits = OpCosts { primes: 2, key_switch: KeySwitching::Digits { bits: 25 }, ..special };
    let table = CostTable { name: String::new(), rows: vec![special, digits], transfers: Default::default() };
    let params = chosen(Scheme::Bfv, 8192, 1000, Some(20));
    let of = |key_switch, primes: usize| {
        let params = SchemeParams { key_switch, modulus_bits: vec![49; primes], ..params.clone() };
        table.costs(&params).unwrap()
    };
    assert_eq!(of(digits.key_switch, 2), digits);
    assert_eq!(of(digits.key_switch, 3), digits.scaled(8192, 3));
    assert_eq!(of(special.key_switch, 4), special);
    assert_eq!(of(special.key_switch, 2), special.scaled(8192, 2));
}

#[test]
fn a_table_survives_yaml() {
    let table = CostTable::shipped(Scheme::Bfv);
    let text = CostFile::measured(Scheme::Bfv, table.rows.clone(), table.transfers).to_yaml().unwrap();
    let read = CostFile::from_yaml(text.as_bytes()).unwrap();
    assert_eq!(read.table(Scheme::Bfv, "shipped").unwrap(), table);
    assert!(matches!(read.table(Scheme::FheRs, ""), Err(CostFileError::Backend { .. })));
}

#[test]
fn depth_follows_the_noisiest_path() {
    let mut builder = Builder::new("depth", 1024, BlockGeometry { block: 64, reach: 9 }, 2);
    let turned = builder.rotate(builder.input(0), 1);
    let both = builder.add(turned, builder.input(1));
    let plains = [builder.plain(), builder.plain(), builder.plain()];
    let wide = builder.dot([(both, plains[0]), (builder.input(0), plains[1])]);
    let narrow = builder.dot([(builder.input(1), plains[2])]);
    let wide = builder.swap_rows(wide);
    let wide = builder.rotate(wide, 64);
    let sum = builder.add(wide, narrow);
    let sum = builder.add(sum, narrow);
    builder.output(sum);
    let expected = Depth { input_switches: 1, terms: 5, sums: 3, output_switches: 2 };
    assert_eq!(cost::depth(&builder.finish()), Some(expected));
}

#[test]
fn a_second_multiplication_has_no_depth() {
    let mut builder = Builder::new("deep", 1024, BlockGeometry { block: 64, reach: 9 }, 1);
    let plains = [builder.plain(), builder.plain()];
    let first = builder.dot([(builder.input(0), plains[0])]);
    let second = builder.dot([(first, plains[1])]);
    builder.output(second);
    assert_eq!(cost::depth(&builder.finish()), None);
    let segment = random_segment(&mut super::Random(1), 1024, 3, 12);
    assert!(cost::depth(&segment).is_some());
}

/// Forty rotations that a sum of rotations reads live together, one after the other they do not; extended
/// values have the special primes, too, and kept plaintexts count up to their budget.
#[test]
fn memory_follows_the_circuit() {
    let params = chosen(Scheme::Bfv, 8192, 1000, Some(20));
    let KeySwitching::Special { special, .. } = params.key_switch else { panic!("{params:?}") };
    let poly = 8 * 8192;
    let all = params.modulus_bits.len() as u64;
    let (whole, extended) = (2 * poly * (all - u64::from(special)), 2 * poly * all);
    let geometry = BlockGeometry { block: 64, reach: 9 };
    let peak = |segment: Segment, kept: u64| {
        cost::peak_memory(Scheme::Bfv, &[&segment], &params, 40, Means { kept, threads: 1 })
    };
    let builder = || Builder::new("memory", 8192, geometry, 1);
    let mut one_by_one = builder();
    let mut together = builder();
    let mut left_extended = builder();
    let step = |k: i32| Step::Rotate(64 * k);
    let sum = (1..=40).fold(one_by_one.input(0), |sum, k| {
        let turned = one_by_one.automorphism(sum, step(k));
        one_by_one.add(sum, turned)
    });
    one_by_one.output(sum);
    let turned: Vec<_> = (1..=40).map(|k| together.automorphism(together.input(0), step(k))).collect();
    let sum = together.rotate_sum(turned.iter().map(|&src| Turn { src, step: Some(step(1)) }));
    together.output(sum);
    let turned: Vec<_> = (1..=40).map(|k| left_extended.extended(left_extended.input(0), step(k))).collect();
    let terms: Vec<_> = turned.iter().map(|&value| (value, left_extended.plain())).collect();
    let sum = left_extended.dot(terms);
    left_extended.output(sum);

    assert_eq!(peak(one_by_one.finish(), 0).ciphertexts, 3 * whole);
    assert_eq!(peak(together.finish(), 0).ciphertexts, 41 * whole, "the input is read before the sum");
    let segment = left_extended.finish();
    assert_eq!(peak(segment.clone(), 0).ciphertexts, 40 * extended + whole);
    let [none, some, every] = [0, 5 * poly, u64::MAX].map(|kept| peak(segment.clone(), kept).plaintexts);
    let packed: u64 = params.modulus_bits.iter().map(|&bits| 8192 / 8 * u64::from(bits) + 64).sum();
    assert_eq!((some - none, every - none), (5 * poly, 40 * packed), "plaintexts are packed");
    assert!(40 * packed < 40 * poly * all);
    assert!(peak(segment.clone(), 0).total() < peak(segment, u64::MAX).total());
}
