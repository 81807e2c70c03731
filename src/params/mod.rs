//! Choice of ring degree, moduli and plaintext prime from bounds and security.
//!
//! Invariant: [`choose`] returns only parameters of 128 bits of security whose plaintext prime exceeds
//! twice the given bound; [`check`] says whether a circuit of given depth decrypts under them. Gets
//! numbers, knows no circuit.
//!
//! Limits on the bits of the ciphertext modulus: *Security Guidelines for Implementing Homomorphic
//! Encryption* (ePrint 2024/463), ternary secret, 128 bits against classical attacks. They are below those
//! of the 2018 standard at every ring. The crate `fhe` draws secret and errors from the centred binomial
//! distribution of variance 10, a wider secret than the ternary one that the limits assume.

mod noise;
mod prime;

pub use noise::{Depth, check, check_depth, noise_margin, privacy_bits, reply_primes};

use prime::{is_prime, smallest_prime};
use serde::{Deserialize, Serialize};

/// Parameters of a scheme, public to both parties.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemeParams {
    /// Ring degree N, a power of two.
    pub ring: u32,
    /// Plaintext prime t, 1 mod 2N.
    pub plain_modulus: u64,
    /// Bits of each ciphertext prime, special primes last.
    pub modulus_bits: Vec<u32>,
}

/// Parameters that cannot be had, or under which a circuit would not decrypt.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ParamsError {
    /// A ring degree without a limit in the security table.
    #[error("ring degree {0} is not one of 4096, 8192, 16384, 32768")]
    Ring(u32),
    /// The plaintext prime cannot hold the accumulators.
    #[error(
        "a plaintext prime of {bits} bits cannot hold accumulators up to {largest_accumulator}: \
         at least {needed} bits are needed"
    )]
    PlainTooSmall {
        /// Bits asked for.
        bits: u32,
        /// The bound on |accumulator|.
        largest_accumulator: u64,
        /// Bits that would do.
        needed: u32,
    },
    /// The plaintext prime would be too large for the ciphertext primes.
    #[error("a plaintext prime of {bits} bits is not possible at ring {ring}: at most {max}")]
    PlainTooLarge {
        /// Bits needed or asked for.
        bits: u32,
        /// The ring.
        ring: u32,
        /// Bits that are possible.
        max: u32,
    },
    /// The noise would reach the plaintext.
    #[error(
        "a circuit of {terms} products and {sums} rotated sums does not fit ring {ring} with a plaintext \
         prime of {plain_bits} bits: the noise margin is {margin:.1} bits, at least {required:.0} are \
         needed; use ring {}", ring * 2
    )]
    Noise {
        /// Products in one sum.
        terms: u64,
        /// Rotated sums in one output.
        sums: u64,
        /// The ring.
        ring: u32,
        /// Bits of t.
        plain_bits: u32,
        /// The estimated margin.
        margin: f64,
        /// The margin asked for.
        required: f64,
    },
    /// Parameters whose parts do not fit each other.
    #[error("invalid parameters: {0}")]
    Invalid(Invalid),
    /// Parameters below 128 bits of security.
    #[error("a modulus of {bits} bits at ring {ring} has less than 128 bits of security (at most {limit})")]
    Insecure {
        /// The ring.
        ring: u32,
        /// Bits of the ciphertext modulus.
        bits: u32,
        /// The most that 128 bits of security allow, 0 where the table has no such ring.
        limit: u32,
    },
}

/// What is wrong with a set of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Not a power of two in 16..=65536.
    #[error("the ring degree is no power of two between 16 and 65536")]
    Ring,
    /// Not 2 to 16 primes.
    #[error("the ciphertext modulus is not made of 2 to 16 primes")]
    PrimeCount,
    /// A prime of an impossible size.
    #[error("a ciphertext prime has not between {MIN_PRIME_BITS} and {MAX_PRIME_BITS} bits")]
    PrimeBits,
    /// t is no prime that is 1 modulo 2N.
    #[error("the plaintext modulus is no prime that is 1 modulo twice the ring degree")]
    PlainPrime,
    /// t is too large for the first ciphertext prime.
    #[error("the plaintext modulus is too large for the ciphertext primes")]
    PlainSize,
}

/// Bits that a ciphertext prime may have. Shorter ones grow scarce at large rings, longer ones overflow
/// the arithmetic of the crate `fhe`.
const MIN_PRIME_BITS: u32 = 30;
const MAX_PRIME_BITS: u32 = 62;
/// Bits that the first ciphertext prime has more than the plaintext prime: decryption computes 2t in it.
const PLAIN_GAP: u32 = 2;
const MAX_PLAIN_BITS: u32 = 50;
const MIN_PLAIN: u64 = 1 << 16;
const MAX_PRIMES: u32 = 16;

/// The depth that [`choose`] provides for: the largest dense layers of the usual networks, whose 4608
/// products are split over rotated inputs and rotated partial sums.
const REFERENCE: Depth = Depth { input_switches: 1, terms: 288, sums: 16, output_switches: 1 };

/// The bits of statistical privacy of a reply that [`choose`] aims at.
const PRIVACY: f64 = 40.0;

/// The most bits of the ciphertext modulus at `ring` for 128 bits of security.
fn modulus_limit(ring: u32) -> Option<u32> {
    match ring {
        4096 => Some(106),
        8192 => Some(214),
        16384 => Some(430),
        32768 => Some(868),
        _ => None,
    }
}

/// 128 if `params` reach it by the table of this module, else 0: nothing is claimed.
#[must_use]
pub fn security_bits(params: &SchemeParams) -> u32 {
    if require_security(params).is_ok() { 128 } else { 0 }
}

/// Refuses parameters below 128 bits of security.
///
/// # Errors
/// [`ParamsError::Insecure`].
pub fn require_security(params: &SchemeParams) -> Result<(), ParamsError> {
    let bits = params.modulus_bits.iter().fold(0_u32, |sum, &bits| sum.saturating_add(bits));
    let limit = modulus_limit(params.ring).unwrap_or(0);
    if bits <= limit { Ok(()) } else { Err(ParamsError::Insecure { ring: params.ring, bits, limit }) }
}

/// Refuses a plaintext prime that does not exceed twice `largest_accumulator`.
///
/// # Errors
/// [`ParamsError::PlainTooSmall`].
pub fn require_plain(params: &SchemeParams, largest_accumulator: u64) -> Result<(), ParamsError> {
    let doubled = largest_accumulator.saturating_mul(2);
    if params.plain_modulus > doubled {
        return Ok(());
    }
    let (bits, needed) = (bit_length(params.plain_modulus), bit_length(doubled));
    Err(ParamsError::PlainTooSmall { bits, largest_accumulator, needed })
}

/// Refuses parameters whose parts do not fit each other; says nothing about security.
///
/// # Errors
/// [`ParamsError::Invalid`].
pub fn validate(params: &SchemeParams) -> Result<(), ParamsError> {
    let primes = &params.modulus_bits;
    let t = params.plain_modulus;
    let wrong = if !params.ring.is_power_of_two() || !(16..=1 << 16).contains(&params.ring) {
        Invalid::Ring
    } else if !(2..=MAX_PRIMES as usize).contains(&primes.len()) {
        Invalid::PrimeCount
    } else if primes.iter().any(|bits| !(MIN_PRIME_BITS..=MAX_PRIME_BITS).contains(bits)) {
        Invalid::PrimeBits
    } else if t % (2 * u64::from(params.ring)) != 1 || !is_prime(t) {
        Invalid::PlainPrime
    } else if primes.iter().any(|&bits| bit_length(t) + PLAIN_GAP > bits) {
        Invalid::PlainSize
    } else {
        return Ok(());
    };
    Err(ParamsError::Invalid(wrong))
}

/// Parameters of 128 bits of security at `ring` (4096 to 32768) for accumulators up to
/// `largest_accumulator` in magnitude. t is the smallest prime that is 1 modulo 2N and exceeds twice the
/// bound and 2^16, or the smallest of `plain_bits` bits.
///
/// The ciphertext modulus is of equal primes: the fewest with which a large dense layer decrypts and its
/// noise drowns in the reply's rounding (see [`privacy_bits`]); where no choice does that, the one that
/// comes closest. Key switching has one digit a prime, so its time grows with the square of their number.
/// Small rings may not hold a given circuit: ask [`check_depth`].
///
/// # Errors
/// If the ring is not in the table or t does not fit.
pub fn choose(
    ring: u32,
    largest_accumulator: u64,
    plain_bits: Option<u32>,
) -> Result<SchemeParams, ParamsError> {
    let limit = modulus_limit(ring).ok_or(ParamsError::Ring(ring))?;
    let plain_modulus = plain_prime(ring, largest_accumulator, plain_bits)?;
    let candidates = (2..=MAX_PRIMES).filter_map(|primes| {
        let bits = (limit / primes).min(MAX_PRIME_BITS);
        let params = SchemeParams { ring, plain_modulus, modulus_bits: vec![bits; primes as usize] };
        validate(&params).is_ok().then_some(params)
    });
    let mut best: Option<(f64, f64, SchemeParams)> = None;
    for params in candidates {
        let privacy = privacy_bits(&params, REFERENCE);
        let margin = noise_margin(&params, REFERENCE);
        if privacy >= PRIVACY && check_depth(&params, REFERENCE).is_ok() {
            return Ok(shortest(params));
        }
        let score = (privacy.max(0.0), margin);
        if best.as_ref().is_none_or(|(p, m, _)| score > (*p, *m)) {
            best = Some((score.0, score.1, params));
        }
    }
    let too_large = || ParamsError::PlainTooLarge {
        bits: bit_length(plain_modulus),
        ring,
        max: (limit / 2).min(MAX_PRIME_BITS) - PLAIN_GAP,
    };
    best.map(|(_, _, params)| params).ok_or_else(too_large)
}

/// The same number of primes, as short as the goals of [`choose`] allow.
fn shortest(mut params: SchemeParams) -> SchemeParams {
    loop {
        let bits = params.modulus_bits[0] - 1;
        let shorter = SchemeParams { modulus_bits: vec![bits; params.modulus_bits.len()], ..params.clone() };
        let fits = validate(&shorter).is_ok()
            && privacy_bits(&shorter, REFERENCE) >= PRIVACY
            && check_depth(&shorter, REFERENCE).is_ok();
        if !fits {
            return params;
        }
        params = shorter;
    }
}

/// Parameters of any ring from 16 to 65536 without any security, for tests and for the clear backend:
/// four primes of 53 bits whatever the ring.
///
/// # Errors
/// If the ring is no power of two in that range or t does not fit.
pub fn choose_insecure(
    ring: u32,
    largest_accumulator: u64,
    plain_bits: Option<u32>,
) -> Result<SchemeParams, ParamsError> {
    if !ring.is_power_of_two() || !(16..=1 << 16).contains(&ring) {
        return Err(ParamsError::Invalid(Invalid::Ring));
    }
    let plain_modulus = plain_prime(ring, largest_accumulator, plain_bits)?;
    let params = SchemeParams { ring, plain_modulus, modulus_bits: vec![53; 4] };
    validate(&params)?;
    Ok(params)
}

fn plain_prime(ring: u32, largest_accumulator: u64, plain_bits: Option<u32>) -> Result<u64, ParamsError> {
    let too_large = |bits| ParamsError::PlainTooLarge { bits, ring, max: MAX_PLAIN_BITS };
    let doubled = largest_accumulator.checked_mul(2).ok_or(too_large(65))?;
    let floor = match plain_bits {
        None => doubled.max(MIN_PLAIN),
        Some(bits) if bits > MAX_PLAIN_BITS => return Err(too_large(bits)),
        Some(bits) => (1 << bits.max(1)) / 2,
    };
    if bit_length(floor) > MAX_PLAIN_BITS {
        return Err(too_large(bit_length(floor)));
    }
    let prime = smallest_prime(floor, 2 * u64::from(ring));
    let too_small = |bits| {
        let needed = bit_length(smallest_prime(doubled, 2 * u64::from(ring)));
        ParamsError::PlainTooSmall { bits, largest_accumulator, needed }
    };
    match plain_bits {
        Some(bits) if prime <= doubled || bit_length(prime) > bits => Err(too_small(bits)),
        Some(_) | None => Ok(prime),
    }
}

fn bit_length(n: u64) -> u32 {
    u64::BITS - n.leading_zeros()
}
