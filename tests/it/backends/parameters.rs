//! Choice of parameters, security limits, and the noise estimate against measured noise.

use super::{Random, Weights, chosen, small, steps};
use stria::backend::SchemeParams;
use stria::backend::bfv::{BfvEvaluator, BfvKeys};
use stria::backend::{ClientKeys, Evaluator};
use stria::circuit::{BlockGeometry, Builder, Segment};
use stria::exec;
use stria::params::{self, Depth, KeySwitching, ParamsError, Scheme, Workload};

const LIMITS: [(u32, u32); 4] = [(4096, 106), (8192, 214), (16384, 430), (32768, 868)];

fn is_prime(n: u64) -> bool {
    n > 1 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
}

#[test]
fn chosen_parameters_are_secure_and_hold_the_accumulators() {
    for (ring, limit) in LIMITS {
        for largest in [1, 1 << 16, 40_000_000] {
            let chosen = super::chosen(Scheme::FheRs, ring, largest, None);
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
        let chosen = super::chosen(Scheme::FheRs, ring, 1000, None);
        let parts = limit / 2;
        let at = SchemeParams { modulus_bits: vec![parts, limit - parts], ..chosen.clone() };
        let above = SchemeParams { modulus_bits: vec![parts, limit - parts + 1], ..chosen };
        assert_eq!(params::security_bits(&at), 128);
        assert_eq!(params::security_bits(&above), 0);
        assert!(matches!(params::require_security(&above), Err(ParamsError::Insecure { .. })));
    }
    let small = small(17);
    assert_eq!(params::security_bits(&small), 0);
}

#[test]
fn requests_that_do_not_fit_are_refused_with_numbers() {
    for scheme in [Scheme::Bfv, Scheme::FheRs] {
        let refused = params::choose(scheme, 2048, 786_433, &Workload::reference());
        assert_eq!(refused, Err(ParamsError::Ring(2048)));
        let composite = params::choose(scheme, 8192, 16385, &Workload::reference());
        assert!(matches!(composite, Err(ParamsError::Invalid(_))), "{composite:?}");
    }
    assert_eq!(params::plain_prime(12_000, 1, None), Err(ParamsError::Ring(12_000)));
    let small = params::plain_prime(8192, 1 << 20, Some(20));
    assert!(matches!(small, Err(ParamsError::PlainTooSmall { bits: 20, needed: 22, .. })), "{small:?}");
    assert!(matches!(params::plain_prime(8192, 1, Some(12)), Err(ParamsError::PlainTooSmall { .. })));
    assert!(matches!(params::plain_prime(8192, 1, Some(60)), Err(ParamsError::PlainTooLarge { .. })));
    assert!(matches!(params::plain_prime(8192, u64::MAX, None), Err(ParamsError::PlainTooLarge { .. })));
    assert!(matches!(params::plain_prime(4096, 1 << 59, None), Err(ParamsError::PlainTooLarge { .. })));
    for bits in [17, 26, 32, 45] {
        let chosen = super::chosen(Scheme::FheRs, 8192, 1000, Some(bits));
        assert_eq!(u64::BITS - chosen.plain_modulus.leading_zeros(), bits);
    }
    let good = chosen(Scheme::FheRs, 8192, 1000, None);
    let wrong = [
        SchemeParams { ring: 8191, ..good.clone() },
        SchemeParams { ring: 1 << 20, ..good.clone() },
        SchemeParams { plain_modulus: good.plain_modulus + 2, ..good.clone() },
        SchemeParams { modulus_bits: vec![], ..good.clone() },
        SchemeParams { modulus_bits: vec![40; 17], ..good.clone() },
        SchemeParams { modulus_bits: vec![63, 40], ..good.clone() },
        SchemeParams {
            plain_modulus: chosen(Scheme::FheRs, 8192, 1000, Some(39)).plain_modulus,
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
    let small = chosen(Scheme::FheRs, 4096, 1000, Some(26));
    let deep = |terms, sums| Depth { input_switches: 1, terms, sums, output_switches: 1 };
    let error = params::check_depth(&small, deep(576, 8)).unwrap_err();
    assert!(matches!(error, ParamsError::Noise { terms: 576, sums: 8, ring: 4096, plain_bits: 26, .. }));
    assert!(error.to_string().ends_with("use ring 8192"), "{error}");
    // Without rotated inputs the same circuit fits.
    params::check_depth(&small, Depth { input_switches: 0, terms: 576, sums: 8, output_switches: 1 })
        .unwrap();
    params::check_depth(&chosen(Scheme::FheRs, 8192, 1000, Some(26)), deep(576, 8)).unwrap();
    params::check_depth(&chosen(Scheme::FheRs, 16384, 1000, Some(30)), deep(4608, 128)).unwrap();
}

#[test]
fn the_margin_shrinks_with_depth() {
    let params = chosen(Scheme::FheRs, 8192, 1000, Some(26));
    let depth = Depth { input_switches: 1, terms: 64, sums: 4, output_switches: 1 };
    let margin = params::noise_margin(&params, depth);
    for deeper in
        [Depth { input_switches: 2, ..depth }, Depth { terms: 128, ..depth }, Depth { sums: 8, ..depth }]
    {
        assert!(params::noise_margin(&params, deeper) < margin, "{deeper:?}");
        assert!(params::privacy_bits(&params, deeper) < params::privacy_bits(&params, depth));
    }
}

#[test]
fn the_engine_gets_the_fewest_primes_that_decrypt_and_hide() {
    let depth = |sums| Depth { input_switches: 1, terms: 64, sums, output_switches: 1 };
    let mut primes = 0;
    for (bits, sums) in [(20, 1), (24, 8), (26, 16)] {
        let t = params::plain_prime(8192, 1000, Some(bits)).unwrap();
        let workload = Workload::of([depth(sums), depth(1)], 50 << 13);
        assert_eq!(workload.depths, [depth(sums)], "the deeper one holds the other");
        let chosen = params::choose(Scheme::Bfv, 8192, t, &workload).unwrap();
        assert_eq!(params::security_bits(&chosen), 128);
        assert!(chosen.modulus_bits.iter().all(|&b| b <= 50), "{chosen:?}");
        assert!(chosen.modulus_bits.len() >= primes, "deeper circuits take no fewer primes");
        primes = chosen.modulus_bits.len();
        let fit = params::fit(Scheme::Bfv, &chosen, &workload).unwrap();
        let flood = fit.flood_bits.unwrap();
        assert!(fit.noise_bits + 40.0 + f64::log2(f64::from(50 << 13)) <= flood && flood < fit.room_bits);
        assert!(fit.hidden_bits >= 40.0 && fit.reply_bits.unwrap() < chosen.modulus_bits[0]);
        // Neither shorter primes nor fewer of them do.
        let shorter = chosen.modulus_bits.iter().map(|b| b - 1).collect();
        let mut fewer = chosen.modulus_bits.clone();
        fewer.pop();
        for modulus_bits in [shorter, fewer] {
            let less = SchemeParams { modulus_bits, ..chosen.clone() };
            let refused = params::fit(Scheme::Bfv, &less, &workload);
            assert!(matches!(refused, Err(ParamsError::Flood { .. })), "{refused:?}");
        }
    }
}

#[test]
fn a_circuit_that_cannot_be_hidden_is_refused() {
    let t = params::plain_prime(4096, 1000, Some(26)).unwrap();
    let workload = Workload::reference();
    let closest = params::choose(Scheme::Bfv, 4096, t, &workload).unwrap();
    let error = params::fit(Scheme::Bfv, &closest, &workload).unwrap_err();
    assert!(matches!(error, ParamsError::Flood { ring: 4096, plain_bits: 26, .. }), "{error:?}");
    assert!(error.to_string().ends_with("use ring 8192"), "{error}");
    assert!(error.excess() > 0.0);
    let more =
        SchemeParams { key_switch: KeySwitching::Special { special: 2, primes_per_digit: 1 }, ..closest };
    let more = SchemeParams { modulus_bits: vec![50; 2], ..more };
    assert!(matches!(params::validate(&more), Err(ParamsError::Invalid(_))), "only special primes");
}

/// `inputs` ciphertexts, all turned by the same `taps` steps; `sums` dot products over all of them, each
/// turned and added up.
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

/// The engine's noise as the secret key measures it, against the bound that replies are flooded for.
#[test]
fn noise_is_below_its_estimate_and_near() {
    let cases = [
        (1024, 1, 1, 1),
        (1024, 1, 1, 8),
        (1024, 1, 9, 1),
        (1024, 16, 2, 1),
        (2048, 4, 4, 8),
        (8192, 2, 4, 2),
    ];
    for (ring, inputs, taps, sums) in cases {
        for bits in [17, 24, 34] {
            let (segment, depth) = layer(ring, inputs, taps, sums);
            let workload = Workload::of([depth], u64::from(ring));
            let t = params::plain_prime(ring, 1000, Some(bits)).unwrap();
            let params = params::choose_insecure(Scheme::Bfv, ring, t, &workload).unwrap();
            let estimate = params::fit(Scheme::Bfv, &params, &workload).unwrap().noise_bits;
            let keys = BfvKeys::generate_insecure(&params).unwrap();
            let bytes = keys.evaluation_keys(&steps(&segment)).unwrap();
            let evaluator = BfvEvaluator::from_keys(&params, &bytes).unwrap();
            let random = &mut Random(21);
            let mut load = || {
                let mut input = evaluator.load(&keys.encrypt(&random.slots(&params)).unwrap()).unwrap();
                evaluator.add_plain(&mut input, &random.slots(&params)).unwrap();
                input
            };
            let inputs = (0..segment.inputs).map(|_| load()).collect();
            let weights = Weights { params: params.clone(), seed: 9, bits: 8 };
            let result = exec::run(&evaluator, &segment, &weights, inputs, &|_| ()).unwrap().remove(0);
            let measured = keys.noise_bits(&result).unwrap();
            let followed = result.estimated_noise_bits();
            let case = format!("{params:?}, {depth:?}: {measured:.1}, {followed:.1}, {estimate:.1}");
            assert!(measured <= followed && followed <= estimate, "{case}");
            assert!(estimate <= measured + 8.0, "{case}");
        }
    }
}

#[cfg(feature = "fhe-rs")]
mod measured {
    use super::layer;
    use crate::backends::{Random, Weights, chosen, small, steps};
    use stria::backend::fhe_rs::{FheEvaluator, FheKeys};
    use stria::backend::{ClientKeys, Evaluator, SchemeParams, Sent};
    use stria::circuit::Segment;
    use stria::exec;
    use stria::params;
    use stria::params::Scheme;

    /// Bits by which an estimate may be too careful.
    const SLACK: u32 = 5;

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
        let mut expected =
            keys.decrypt(&evaluator.store(&result, Sent::Slots).unwrap(), Sent::Slots).unwrap();
        let mut double = |times: u32| {
            for _ in 0..times {
                let copy = result.clone();
                evaluator.add_assign(&mut result, &copy);
                expected.iter_mut().for_each(|slot| *slot = *slot * 2 % t);
            }
            keys.decrypt(&evaluator.store(&result, Sent::Slots).unwrap(), Sent::Slots).unwrap() == expected
        };
        let bits = (0..).take_while(|&n| f64::from(n + 1) <= estimate).count();
        assert!(double(u32::try_from(bits).unwrap()), "{params:?}: more noise than estimated");
        assert!(!double(SLACK), "{params:?}: far less noise than estimated");
    }

    #[test]
    fn noise_never_exceeds_its_estimate() {
        let short = small(20);
        let cases = [
            (short.clone(), 1, 1, 1),
            (short.clone(), 1, 1, 8),
            (short.clone(), 1, 9, 1),
            (short.clone(), 16, 2, 1),
            (short.clone(), 4, 4, 8),
            (SchemeParams { modulus_bits: vec![40; 5], ..short.clone() }, 2, 9, 2),
            (SchemeParams { modulus_bits: vec![62, 40, 40], ..short }, 2, 9, 2),
            (small(45), 2, 9, 2),
            (chosen(Scheme::FheRs, 4096, 1000, None), 2, 5, 2),
            (chosen(Scheme::FheRs, 4096, 1000, Some(26)), 2, 1, 4),
            (chosen(Scheme::FheRs, 8192, 1000, Some(26)), 2, 4, 2),
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
