//! What noise a circuit of one multiplication leaves, estimated without keys.
//!
//! The model is the crate `fhe`: error and secret of variance 10, key switching with one digit in
//! `0..q_i` a prime and no special prime, plaintexts encoded centred. Noise is followed as the variance
//! of a coefficient, terms taken as independent, weights as random in coefficient form but of the largest
//! mean square, `(t/2)^2`:
//!
//! ```text
//! fresh    10 + 4                      error, and the rounding of the two parties' shares
//! switch   k N q^2 / 3 * 10            k digits of mean square q^2/3 times errors
//! dot      n N (t/2)^2 (fresh + input_switches * switch)
//! output   sums * (dot + output_switches * switch)
//! ```
//!
//! The largest coefficient is taken as [`TAIL`] standard deviations, which one of 2^15 coefficients
//! exceeds with probability below 2^-64. Decryption is right while it is below Q / 2t.

use super::{
    KeySwitching, MAX_PRIME_BITS, MAX_PRIMES, PRIVACY, ParamsError, SchemeParams, Workload, bit_length,
    validate,
};

/// Variance of the coefficients of errors and of the secret.
const VARIANCE: f64 = 10.0;
const FRESH: f64 = VARIANCE + 4.0;
/// Standard deviations that hold all coefficients but for a probability of 2^-64.
const TAIL: f64 = 10.6;
/// Margin below which a circuit is refused, in bits.
const REQUIRED: f64 = 8.0;

/// What happens on the noisiest path from an input to an output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Key switches between an input and its multiplication.
    pub input_switches: u32,
    /// Products in one dot product; one with a sum of k inputs counts k^2 times. In coefficients: weights in
    /// the plaintexts of one dot product.
    pub terms: u64,
    /// Dot products that are added up in one output.
    pub sums: u64,
    /// Key switches between a dot product and the output.
    pub output_switches: u32,
}

impl Depth {
    /// Whether no number exceeds that of `other`.
    pub(super) fn within(&self, other: &Self) -> bool {
        self.input_switches <= other.input_switches
            && self.terms <= other.terms
            && self.sums <= other.sums
            && self.output_switches <= other.output_switches
    }
}

/// How many bits lie between the largest noise of a circuit of `depth` and the noise at which decryption
/// fails, by this module's estimate. Negative where it would fail.
#[must_use]
pub fn noise_margin(params: &SchemeParams, depth: Depth) -> f64 {
    log_modulus(&params.modulus_bits) - log_plain(params) - 1.0 - noise_bits(params, depth)
}

/// log2 of the largest noise coefficient.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn noise_bits(params: &SchemeParams, depth: Depth) -> f64 {
    let ring = f64::from(params.ring);
    let largest = params.modulus_bits.iter().copied().max().unwrap_or(0);
    let digit = f64::from(largest).exp2();
    let switch = params.modulus_bits.len() as f64 * ring * digit * digit / 3.0 * VARIANCE;
    let half_plain = params.plain_modulus as f64 / 2.0;
    let input = FRESH + f64::from(depth.input_switches) * switch;
    let dot = depth.terms as f64 * ring * half_plain * half_plain * input;
    let output = depth.sums as f64 * (dot + f64::from(depth.output_switches) * switch);
    output.log2() / 2.0 + TAIL.log2()
}

/// log2 of what rounding to a shorter modulus adds: half a unit, and half a unit times the secret.
fn rounding_bits(params: &SchemeParams) -> f64 {
    ((1.0 + VARIANCE * f64::from(params.ring)) / 12.0).log2() / 2.0 + TAIL.log2()
}

/// How many of the primes a reply keeps: the fewest under which it decrypts with a margin to spare.
#[must_use]
pub fn reply_primes(params: &SchemeParams) -> usize {
    let needed = log_plain(params) + 1.0 + rounding_bits(params) + REQUIRED;
    let all = params.modulus_bits.len();
    (1..all).find(|&kept| log_modulus(&params.modulus_bits[..kept]) >= needed).unwrap_or(all)
}

/// How well a reply hides the noise of a circuit of `depth`, and with it the weights, in bits: minus log2
/// of the statistical distance of one reply from one whose noise does not depend on the circuit.
///
/// A reply is re-randomised by an encryption of zero and rounded to [`reply_primes`]. After that the noise
/// shows only where it moves a coefficient across a rounding boundary: in each of N coefficients with
/// probability `2 noise Q'/Q`. Not positive: nothing is hidden.
#[must_use]
pub fn privacy_bits(params: &SchemeParams, depth: Depth) -> f64 {
    let dropped = log_modulus(&params.modulus_bits[reply_primes(params)..]);
    dropped - noise_bits(params, depth) - f64::from(params.ring).log2() - 1.0
}

/// Refuses a circuit of `depth` whose margin is under 8 bits.
///
/// # Errors
/// [`ParamsError::Noise`], with the numbers.
pub fn check_depth(params: &SchemeParams, depth: Depth) -> Result<(), ParamsError> {
    let margin = noise_margin(params, depth);
    if margin >= REQUIRED {
        return Ok(());
    }
    Err(ParamsError::Noise {
        terms: depth.terms,
        sums: depth.sums,
        ring: params.ring,
        plain_bits: bit_length(params.plain_modulus),
        margin,
        required: REQUIRED,
    })
}

/// The moduli for [`super::choose`]: equal primes, the fewest whose rounding hides, then the shortest.
pub(super) fn choose(ring: u32, plain_modulus: u64, workload: &Workload, limit: u32) -> Option<SchemeParams> {
    let of = |bits: u32, primes: u32| {
        let modulus_bits = vec![bits; primes as usize];
        let key_switch = KeySwitching::Primes;
        let params =
            SchemeParams { ring, plain_modulus, modulus_bits, key_switch, workload: workload.clone() };
        validate(&params).is_ok().then_some(params)
    };
    let least =
        |of: &dyn Fn(Depth) -> f64| workload.depths.iter().map(|&d| of(d)).fold(f64::INFINITY, f64::min);
    let privacy = |params: &SchemeParams| least(&|depth| privacy_bits(params, depth));
    let margin = |params: &SchemeParams| least(&|depth| noise_margin(params, depth));
    let holds = |params: &SchemeParams| privacy(params) >= PRIVACY && margin(params) >= REQUIRED;
    let mut best: Option<((f64, f64), SchemeParams)> = None;
    for primes in 2..=MAX_PRIMES {
        let longest = (limit / primes).min(MAX_PRIME_BITS);
        let Some(params) = of(longest, primes) else { continue };
        if holds(&params) {
            let shorter = (1..longest).rev().map_while(|bits| of(bits, primes).filter(holds));
            return Some(shorter.last().unwrap_or(params));
        }
        let score = (privacy(&params).max(0.0), margin(&params));
        if best.as_ref().is_none_or(|(most, _)| score > *most) {
            best = Some((score, params));
        }
    }
    best.map(|(_, params)| params)
}

fn log_modulus(bits: &[u32]) -> f64 {
    bits.iter().map(|&bits| f64::from(bits)).sum()
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn log_plain(params: &SchemeParams) -> f64 {
    (params.plain_modulus as f64).log2()
}
