//! Choice of parameters, security limits, and the noise estimate against measured noise.

use stria::backend::SchemeParams;
use stria::params::{self, Depth, ParamsError};

const LIMITS: [(u32, u32); 4] = [(4096, 106), (8192, 214), (16384, 430), (32768, 868)];

fn is_prime(n: u64) -> bool {
    n > 1 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
}

#[test]
fn chosen_parameters_are_secure_and_hold_the_accumulators() {
    for (ring, limit) in LIMITS {
        for largest in [1, 1 << 16, 40_000_000] {
            let chosen = params::choose(ring, largest, None).unwrap();
            let t = chosen.plain_modulus;
            let step = 2 * u64::from(ring);
            assert!(is_prime(t) && t % step == 1, "{t}");
            assert!(t > 2 * largest && t > 1 << 16);
            let floor = (2 * largest).max(1 << 16);
            let smaller = (1..).map(|i| t - i * step).take_while(|&c| c > floor && c < t);
            assert!(!smaller.into_iter().any(is_prime), "the smallest that fits");
            assert!(chosen.modulus_bits.iter().sum::<u32>() <= limit, "{chosen:?}");
            assert_eq!(params::security_bits(&chosen), 128);
            params::validate(&chosen).unwrap();
        }
    }
}

#[test]
fn a_modulus_beyond_the_limit_has_no_security() {
    for (ring, limit) in LIMITS {
        let chosen = params::choose(ring, 1000, None).unwrap();
        let parts = limit / 2;
        let at = SchemeParams { modulus_bits: vec![parts, limit - parts], ..chosen.clone() };
        let above = SchemeParams { modulus_bits: vec![parts, limit - parts + 1], ..chosen };
        assert_eq!(params::security_bits(&at), 128);
        assert_eq!(params::security_bits(&above), 0);
        assert!(matches!(params::require_security(&above), Err(ParamsError::Insecure { .. })));
    }
    let small = params::choose_insecure(1024, 1000, None).unwrap();
    assert_eq!(params::security_bits(&small), 0);
}

#[test]
fn requests_that_do_not_fit_are_refused_with_numbers() {
    assert_eq!(params::choose(2048, 1, None), Err(ParamsError::Ring(2048)));
    assert_eq!(params::choose(12_000, 1, None), Err(ParamsError::Ring(12_000)));
    let small = params::choose(8192, 1 << 20, Some(20));
    assert!(matches!(small, Err(ParamsError::PlainTooSmall { bits: 20, needed: 22, .. })), "{small:?}");
    assert!(matches!(params::choose(8192, 1, Some(12)), Err(ParamsError::PlainTooSmall { .. })));
    assert!(matches!(params::choose(8192, 1, Some(60)), Err(ParamsError::PlainTooLarge { .. })));
    assert!(matches!(params::choose(8192, u64::MAX, None), Err(ParamsError::PlainTooLarge { .. })));
    assert!(matches!(params::choose(4096, 1 << 59, None), Err(ParamsError::PlainTooLarge { .. })));
    for bits in [17, 26, 32, 45] {
        let chosen = params::choose(8192, 1000, Some(bits)).unwrap();
        assert_eq!(u64::BITS - chosen.plain_modulus.leading_zeros(), bits);
    }
    let good = params::choose(8192, 1000, None).unwrap();
    let wrong = [
        SchemeParams { ring: 8191, ..good.clone() },
        SchemeParams { ring: 1 << 20, ..good.clone() },
        SchemeParams { plain_modulus: good.plain_modulus + 2, ..good.clone() },
        SchemeParams { modulus_bits: vec![], ..good.clone() },
        SchemeParams { modulus_bits: vec![40; 17], ..good.clone() },
        SchemeParams { modulus_bits: vec![63, 40], ..good.clone() },
        SchemeParams {
            plain_modulus: params::choose(8192, 1000, Some(39)).unwrap().plain_modulus,
            modulus_bits: vec![40; 2],
            ..good
        },
    ];
    for params in wrong {
        assert!(matches!(params::validate(&params), Err(ParamsError::Invalid(_))), "{params:?}");
    }
}

#[test]
fn a_circuit_beyond_the_margin_is_refused_and_a_larger_ring_advised() {
    let small = params::choose(4096, 1000, Some(26)).unwrap();
    let error = params::check(&small, 576, 8).unwrap_err();
    assert!(matches!(error, ParamsError::Noise { terms: 576, sums: 8, ring: 4096, plain_bits: 26, .. }));
    assert!(error.to_string().ends_with("use ring 8192"), "{error}");
    // Without rotated inputs the same circuit fits.
    params::check_depth(&small, Depth { input_switches: 0, terms: 576, sums: 8, output_switches: 1 })
        .unwrap();
    params::check(&params::choose(8192, 1000, Some(26)).unwrap(), 576, 8).unwrap();
    params::check(&params::choose(16384, 1000, Some(30)).unwrap(), 4608, 128).unwrap();
}

#[test]
fn the_margin_shrinks_with_depth() {
    let params = params::choose(8192, 1000, Some(26)).unwrap();
    let depth = Depth { input_switches: 1, terms: 64, sums: 4, output_switches: 1 };
    let margin = params::noise_margin(&params, depth);
    for deeper in
        [Depth { input_switches: 2, ..depth }, Depth { terms: 128, ..depth }, Depth { sums: 8, ..depth }]
    {
        assert!(params::noise_margin(&params, deeper) < margin, "{deeper:?}");
        assert!(params::privacy_bits(&params, deeper) < params::privacy_bits(&params, depth));
    }
}

#[cfg(feature = "fhe-rs")]
mod measured {
    use crate::backends::{Random, Weights, steps};
    use stria::backend::fhe_rs::{FheEvaluator, FheKeys};
    use stria::backend::{ClientKeys, Evaluator, SchemeParams};
    use stria::circuit::{BlockGeometry, Builder, Segment};
    use stria::exec;
    use stria::params::{self, Depth};

    /// Bits by which an estimate may be too careful.
    const SLACK: u32 = 5;

    /// `inputs` ciphertexts, all turned by the same `taps` steps; `sums` dot products over all of them,
    /// each turned and added up.
    fn layer(ring: u32, inputs: u32, taps: i64, sums: i64) -> (Segment, Depth) {
        let mut builder = Builder::new("layer", ring, BlockGeometry { block: 64, reach: 9 }, inputs);
        let mut turned = Vec::new();
        for i in 0..inputs {
            let input = builder.input(i);
            turned.extend((0..taps).map(|tap| builder.rotate(input, tap)));
        }
        let mut total = None;
        for giant in 0..sums {
            let terms: Vec<_> = turned.iter().map(|&value| (value, builder.plain())).collect();
            let part = builder.dot(terms);
            let part = builder.rotate(part, 64 * giant);
            total = Some(total.map_or(part, |total| builder.add(total, part)));
        }
        builder.output(total.unwrap());
        let switches = |n| u32::from(n > 1);
        let depth = Depth {
            input_switches: switches(taps),
            terms: turned.len() as u64,
            sums: sums.cast_unsigned(),
            output_switches: switches(sums),
        };
        (builder.finish(), depth)
    }

    /// Doubles a real result, and with it its noise: it must decrypt after as many doublings as the
    /// estimate gives bits, and no more after `SLACK` further ones.
    fn brackets(params: &SchemeParams, segment: &Segment, weight_bits: u32, estimate: f64) {
        let t = params.plain_modulus;
        let random = &mut Random(21);
        let keys = FheKeys::generate_insecure(params).unwrap();
        let evaluator =
            FheEvaluator::from_keys(params, &keys.evaluation_keys(&steps(segment)).unwrap()).unwrap();
        let load = |_| {
            let (mine, yours) = (random.slots(params), random.slots(params));
            let mut input = evaluator.load(&keys.encrypt(&mine).unwrap()).unwrap();
            evaluator.add_plain(&mut input, &yours).unwrap();
            input
        };
        let inputs = (0..segment.inputs).map(load).collect();
        let weights = Weights { params: params.clone(), seed: 9, bits: weight_bits };
        let mut result = exec::run(&evaluator, segment, &weights, inputs, &|_| ()).unwrap().remove(0);
        let mut expected = keys.decrypt(&evaluator.store(&result)).unwrap();
        let mut double = |times: u32| {
            for _ in 0..times {
                let copy = result.clone();
                evaluator.add_assign(&mut result, &copy);
                expected.iter_mut().for_each(|slot| *slot = *slot * 2 % t);
            }
            keys.decrypt(&evaluator.store(&result)).unwrap() == expected
        };
        let bits = (0..).take_while(|&n| f64::from(n + 1) <= estimate).count();
        assert!(double(u32::try_from(bits).unwrap()), "{params:?}: more noise than estimated");
        assert!(!double(SLACK), "{params:?}: far less noise than estimated");
    }

    #[test]
    fn noise_never_exceeds_its_estimate() {
        let small = params::choose_insecure(1024, 1000, Some(20)).unwrap();
        let cases = [
            (small.clone(), 1, 1, 1),
            (small.clone(), 1, 1, 8),
            (small.clone(), 1, 9, 1),
            (small.clone(), 16, 2, 1),
            (small.clone(), 4, 4, 8),
            (SchemeParams { modulus_bits: vec![40; 5], ..small.clone() }, 2, 9, 2),
            (SchemeParams { modulus_bits: vec![62, 40, 40], ..small }, 2, 9, 2),
            (params::choose_insecure(1024, 1000, Some(45)).unwrap(), 2, 9, 2),
            (params::choose(4096, 1000, None).unwrap(), 2, 5, 2),
            (params::choose(4096, 1000, Some(26)).unwrap(), 2, 1, 4),
            (params::choose(8192, 1000, Some(26)).unwrap(), 2, 4, 2),
        ];
        for (params, inputs, taps, sums) in cases {
            let (segment, depth) = layer(params.ring, inputs, taps, sums);
            let estimate = params::noise_margin(&params, depth);
            for weight_bits in [1, 8] {
                brackets(&params, &segment, weight_bits, estimate);
            }
        }
    }
}
