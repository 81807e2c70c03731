//! Parameters of the engine: the moduli under which a circuit decrypts and its replies hide it.
//!
//! Noise is the engine's own estimate, a bound that no coefficient exceeds but with probability 2^-64 and
//! that does not depend on the weights: in slots a plaintext may be any, in coefficients it has so many
//! weights of 8 bits. Sums of products count as independent, for their plaintexts
//! differ; results that are added up count as dependent. The flooding of a reply is for the largest noise
//! that the workload allows, so that all replies are of one length.

use super::{Depth, Encoding, KeySwitching, SchemeParams, Workload, validate};
use crate::rlwe::{FactorNorm, Hiding, KeySwitch, Noise, ParameterSpec, Parameters, RlweError};
use std::cell::RefCell;
use std::sync::Arc;

/// Primes stay below 2^50, where transforms are quickest.
const MOST_PRIME_BITS: u32 = 50;
const LEAST_PRIME_BITS: u32 = 30;
const MOST_PRIMES: u32 = 16;
/// Bits of a digit where there is no special prime.
const DIGIT_BITS: u32 = 25;

/// The largest magnitude of a weight.
const LARGEST_WEIGHT: u64 = 128;

/// The most words of tables that engines hold while they are kept.
const KEPT_WORDS: usize = 1 << 25;
/// Words of an engine for each coefficient and prime, about.
const TABLES: usize = 8;

/// Engines with the words that they hold.
type Kept = Vec<(ParameterSpec, usize, Arc<Parameters>)>;

thread_local! {
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

/// Runs `search`, which asks for parameters many times over: the engines behind the answers are built once and
/// dropped afterwards.
pub(crate) fn keeping_engines<T>(search: impl FnOnce() -> T) -> T {
    KEPT.set(Some(Vec::new()));
    let found = search();
    KEPT.set(None);
    found
}

/// The engine's constants for `params`, of any security.
pub(crate) fn engine(params: &SchemeParams) -> Result<Arc<Parameters>, RlweError> {
    let spec = spec(params);
    KEPT.with_borrow_mut(|kept| {
        let Some(kept) = kept else { return Parameters::insecure_for_tests(spec) };
        if let Some((.., engine)) = kept.iter().find(|(known, ..)| *known == spec) {
            return Ok(Arc::clone(engine));
        }
        let engine = Parameters::insecure_for_tests(spec.clone())?;
        kept.push((spec, TABLES * params.ring as usize * params.modulus_bits.len(), Arc::clone(&engine)));
        while kept.len() > 1 && kept.iter().map(|(_, words, _)| words).sum::<usize>() > KEPT_WORDS {
            kept.remove(0);
        }
        Ok(engine)
    })
}

fn spec(params: &SchemeParams) -> ParameterSpec {
    let bits = &params.modulus_bits;
    let (own, key_switch) = match params.key_switch {
        KeySwitching::Special { special, primes_per_digit } => {
            let (own, special) = bits.split_at(bits.len().saturating_sub(special as usize));
            let primes_per_digit = primes_per_digit as usize;
            (own, KeySwitch::Special { bits: special.to_vec(), primes_per_digit })
        }
        KeySwitching::Digits { bits: digit } => (&bits[..], KeySwitch::Digits { bits: digit }),
        KeySwitching::Primes => {
            (&bits[..], KeySwitch::Digits { bits: bits.iter().copied().min().unwrap_or(0) })
        }
    };
    ParameterSpec {
        ring: params.ring as usize,
        plain_modulus: params.plain_modulus,
        prime_bits: own.to_vec(),
        key_switch,
    }
}

/// The noise of a result of a circuit of `depth` in `encoding`, both parties' shares and masks included.
#[must_use]
pub fn output_noise(engine: &Parameters, encoding: Encoding, depth: Depth) -> Noise {
    let switched = |noise: Noise, times: u32| (0..times).fold(noise, |noise, _| noise.rotated(engine));
    let times = |n: u64| usize::try_from(n.max(1)).unwrap_or(usize::MAX);
    let input = switched(Noise::fresh().plus_plain(), depth.input_switches);
    let dot = match depth.terms {
        0 => input,
        terms => {
            let factor = match encoding {
                Encoding::Slots => FactorNorm::of_slots(engine),
                Encoding::Coefficients => FactorNorm::of_coefficients(1, LARGEST_WEIGHT),
            };
            input.times(factor).summed(times(terms))
        }
    };
    let sums = times(depth.sums);
    switched(dot, depth.output_switches).summed(sums.saturating_mul(sums)).plus_plain()
}

/// log2 of the noise of a result of a circuit of `depth` in slots under `params`: an order of depths. Infinite
/// for parameters that cannot be built.
#[must_use]
pub fn noise_bits(params: &SchemeParams, depths: &[Depth]) -> Vec<f64> {
    let engine = engine(params).ok();
    let bits = |depth: &Depth| {
        engine.as_ref().map_or(f64::INFINITY, |engine| {
            output_noise(engine, params.workload.encoding, *depth).bits(engine)
        })
    };
    depths.iter().map(bits).collect()
}

/// What hides the noise of a circuit of `workload`.
pub(crate) fn hiding(engine: &Parameters, workload: &Workload) -> Hiding {
    let noises = workload.depths.iter().map(|&depth| output_noise(engine, workload.encoding, depth));
    let noise = noises.max_by(|a, b| a.bits(engine).total_cmp(&b.bits(engine)));
    Hiding { noise: noise.unwrap_or_else(Noise::fresh), values_sent: workload.values_sent }
}

/// Key switches with `primes` ciphertext primes, by the number of transforms of a rotation: special primes
/// take (digits + 2)(primes + special), digits without them primes (digits + 1). In coefficients nothing is
/// switched, so no prime is special.
fn key_switches(primes: u32, encoding: Encoding) -> Vec<KeySwitching> {
    if encoding == Encoding::Coefficients {
        return vec![KeySwitching::Digits { bits: DIGIT_BITS }];
    }
    let special = |special: u32| KeySwitching::Special { special, primes_per_digit: special };
    let digits = primes * MOST_PRIME_BITS.div_ceil(DIGIT_BITS);
    let mut all = vec![((primes + 2) * (primes + 1), special(1))];
    if primes >= 4 {
        all.push(((primes.div_ceil(2) + 2) * (primes + 2), special(2)));
    }
    all.push((primes * (digits + 1), KeySwitching::Digits { bits: DIGIT_BITS }));
    all.sort_by_key(|&(transforms, _)| transforms);
    all.into_iter().map(|(_, key_switch)| key_switch).collect()
}

/// The moduli for [`super::choose`]: the fewest primes, then the fewest transforms, then the shortest.
pub(super) fn choose(ring: u32, plain_modulus: u64, workload: &Workload, limit: u32) -> Option<SchemeParams> {
    let mut closest: Option<(f64, SchemeParams)> = None;
    for (primes, key_switch) in
        (2..=MOST_PRIMES).flat_map(|n| key_switches(n, workload.encoding).into_iter().map(move |k| (n, k)))
    {
        let special = match key_switch {
            KeySwitching::Special { special, .. } => special,
            KeySwitching::Digits { .. } | KeySwitching::Primes => 0,
        };
        let of = |bits: u32| {
            let modulus_bits = vec![bits; (primes + special) as usize];
            SchemeParams { ring, plain_modulus, modulus_bits, key_switch, workload: workload.clone() }
        };
        let longest = (limit / (primes + special)).min(MOST_PRIME_BITS);
        let params = of(longest);
        match spare_bits(&params) {
            Some(spare) if spare > 0.0 => {
                return Some(of(shortest(longest, |bits| spare_bits(&of(bits)) > Some(0.0))));
            }
            Some(spare) if closest.as_ref().is_none_or(|(most, _)| spare > *most) => {
                closest = Some((spare, params));
            }
            Some(_) | None => {}
        }
    }
    closest.map(|(_, params)| params)
}

/// The fewest bits, at most `longest`, which do: `does` holds for `longest` and from some number on.
fn shortest(longest: u32, does: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (LEAST_PRIME_BITS.min(longest), longest);
    while low < high {
        let middle = low.midpoint(high);
        if does(middle) { high = middle } else { low = middle + 1 }
    }
    high
}

/// Bits between noise with flooding and what decrypts, not positive where it does not; none for parameters
/// that cannot be built.
fn spare_bits(params: &SchemeParams) -> Option<f64> {
    validate(params).ok()?;
    let engine = engine(params).ok()?;
    match hiding(&engine, &params.workload).reply_bits(&engine, engine.top()) {
        Ok(_) => Some(1.0),
        Err(RlweError::Flood { needed, room }) => Some((room - needed).min(0.0)),
        Err(_) => None,
    }
}
