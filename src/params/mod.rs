//! Choice of plaintext prime and moduli from bounds and security.
//!
//! Invariant: [`choose`] returns only parameters of 128 bits of security; [`fit`] says whether a circuit
//! decrypts under them and how much its replies hide. The plaintext prime follows from the network alone
//! ([`plain_prime`]), the moduli also from the scheme that is to run it. Gets numbers, knows no circuit.
//!
//! Limits on the bits of the ciphertext modulus: *Security Guidelines for Implementing Homomorphic
//! Encryption* (ePrint 2024/463), ternary secret, 128 bits against classical attacks. They are below those
//! of the 2018 standard at every ring. The crate `fhe` draws secret and errors from the centred binomial
//! distribution of variance 10, a wider secret than the ternary one that the limits assume.

mod bfv;
mod fit;
mod noise;
mod prime;

pub(crate) use bfv::{engine, hiding, keeping_engines};
pub use bfv::{noise_bits, output_noise};
pub use fit::{Fit, fit};
pub use noise::{Depth, check_depth, noise_margin, privacy_bits, reply_primes};

use prime::{is_prime, smallest_prime};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Who computes BFV: the moduli that a circuit needs depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// The engine of [`rlwe`](crate::rlwe).
    #[default]
    Bfv,
    /// The crate `fhe`.
    FheRs,
}

impl Scheme {
    /// Its backend's word on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bfv => "bfv",
            Self::FheRs => "fhe-rs",
        }
    }
}

/// Where values stand in the polynomials of plaintexts and ciphertexts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Two rows of N/2 slots: products are slot by slot.
    #[default]
    Slots,
    /// The N coefficients: products are negacyclic convolutions.
    Coefficients,
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slots => "slots",
            Self::Coefficients => "coefficients",
        })
    }
}

/// Parameters of a scheme, public to both parties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemeParams {
    /// Ring degree N, a power of two.
    pub ring: u32,
    /// Plaintext prime t, 1 mod 2N.
    pub plain_modulus: u64,
    /// Bits of each ciphertext prime, special primes last.
    pub modulus_bits: Vec<u32>,
    /// How key switching keeps its noise down.
    pub key_switch: KeySwitching,
    /// What the parameters provide for.
    pub workload: Workload,
}

/// The parameters of a network: one set an encoding that it uses, under keys of its own.
#[derive(Clone, Copy, Debug)]
pub struct Sets<'a> {
    /// For layers in slots, if there are any.
    pub slots: Option<&'a SchemeParams>,
    /// For layers in coefficients, if there are any.
    pub coefficients: Option<&'a SchemeParams>,
}

impl<'a> Sets<'a> {
    /// The plaintext prime, which both sets have.
    #[must_use]
    pub fn plain_modulus(self) -> Option<u64> {
        self.slots.or(self.coefficients).map(|set| set.plain_modulus)
    }

    /// The set of an encoding.
    #[must_use]
    pub fn of(self, encoding: Encoding) -> Option<&'a SchemeParams> {
        match encoding {
            Encoding::Slots => self.slots,
            Encoding::Coefficients => self.coefficients,
        }
    }
}

/// How key switching keeps its noise down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum KeySwitching {
    /// One digit a prime, no special prime: the crate `fhe`.
    Primes,
    /// Special primes, by whose product the noise is divided.
    Special {
        /// How many of the moduli, the last ones, are special.
        special: u32,
        /// Ciphertext primes that make up a digit.
        primes_per_digit: u32,
    },
    /// Digits of so many bits of each residue, no special prime.
    Digits {
        /// Bits of a digit.
        bits: u32,
    },
}

impl fmt::Display for KeySwitching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Primes => f.write_str("one digit a prime"),
            Self::Special { special: 1, primes_per_digit: 1 } => f.write_str("one special prime"),
            Self::Special { special, primes_per_digit } => {
                write!(f, "{special} special primes, {primes_per_digit} primes a digit")
            }
            Self::Digits { bits } => write!(f, "digits of {bits} bits"),
        }
    }
}

impl KeySwitching {
    fn fits(self, primes: &[u32]) -> bool {
        match self {
            Self::Primes => true,
            Self::Special { special, primes_per_digit } => {
                let own = primes.len().saturating_sub(special as usize);
                special > 0 && own > 0 && (1..=own).contains(&(primes_per_digit as usize))
            }
            Self::Digits { bits } => (2..=MIN_PRIME_BITS).contains(&bits),
        }
    }
}

/// What parameters must provide for: the noise of a circuit, and how much of it is sent in an inference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Depths of layers; none that another one exceeds in every number need be there.
    pub depths: Vec<Depth>,
    /// Values in all replies of an inference.
    pub values_sent: u64,
    /// Where the values stand: how far a product raises noise depends on it.
    pub encoding: Encoding,
}

impl Workload {
    /// The largest dense layers of the usual networks, whose 4608 products are split over rotated inputs
    /// and rotated partial sums, and the replies of a hundred ciphertexts of 2^13 slots.
    #[must_use]
    pub fn reference() -> Self {
        let depth = Depth { input_switches: 1, terms: 288, sums: 16, output_switches: 1 };
        Self { depths: vec![depth], values_sent: 100 << 13, encoding: Encoding::Slots }
    }

    /// What layers of `depths` need, in slots, that send so many values together.
    #[must_use]
    pub fn of(depths: impl IntoIterator<Item = Depth>, values_sent: u64) -> Self {
        let mut deepest: Vec<Depth> = Vec::new();
        for depth in depths {
            if !deepest.iter().any(|other| depth.within(other)) {
                deepest.retain(|other| !other.within(&depth));
                deepest.push(depth);
            }
        }
        Self { depths: deepest, values_sent, encoding: Encoding::Slots }
    }

    /// The same in `encoding`.
    #[must_use]
    pub fn encoded(self, encoding: Encoding) -> Self {
        Self { encoding, ..self }
    }
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
    /// Noise and flooding would reach the plaintext.
    #[error(
        "a circuit of {} products and {} rotated sums does not fit ring {ring} with a plaintext prime of \
         {plain_bits} bits: its noise, and the flooding that hides it in replies, take {needed:.0} bits, the \
         modulus leaves {room:.0}; use ring {}", depth.terms, depth.sums, ring * 2
    )]
    Flood {
        /// The circuit's depth.
        depth: Depth,
        /// The ring.
        ring: u32,
        /// Bits of t.
        plain_bits: u32,
        /// Bits of noise and flooding.
        needed: f64,
        /// Bits that still decrypt.
        room: f64,
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
    /// Coefficients on a backend that has only slots.
    #[error("layers in coefficients do not run on {}; use --backend bfv or --encoding slots", scheme.name())]
    Encoding {
        /// Whose parameters were asked for.
        scheme: Scheme,
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

impl ParamsError {
    /// Bits by which a circuit goes beyond its parameters; 0 for other errors.
    #[must_use]
    pub fn excess(&self) -> f64 {
        match self {
            Self::Noise { margin, required, .. } => required - margin,
            Self::Flood { needed, room, .. } => needed - room,
            Self::Ring(_)
            | Self::PlainTooSmall { .. }
            | Self::PlainTooLarge { .. }
            | Self::Invalid(_)
            | Self::Encoding { .. }
            | Self::Insecure { .. } => 0.0,
        }
    }
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
    /// Special primes or digits that do not fit the moduli.
    #[error("special primes or digits do not fit the moduli")]
    KeySwitch,
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
/// What the two-party steps reach.
const MAX_PLAIN_BITS: u32 = 48;
const MIN_PLAIN: u64 = 1 << 16;
const MAX_PRIMES: u32 = 16;
/// Bits of the modulus that tests have at any ring.
const INSECURE_LIMIT: u32 = 800;

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

/// Refuses a plaintext prime t that does not leave `largest_accumulator` at or below (t - 3)/2.
///
/// # Errors
/// [`ParamsError::PlainTooSmall`].
pub fn require_plain(plain_modulus: u64, largest_accumulator: u64) -> Result<(), ParamsError> {
    let doubled = largest_accumulator.saturating_mul(2).saturating_add(2);
    if plain_modulus > doubled {
        return Ok(());
    }
    let (bits, needed) = (bit_length(plain_modulus), bit_length(doubled));
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
    } else if !params.key_switch.fits(primes) {
        Invalid::KeySwitch
    } else if primes.iter().any(|&bits| bit_length(t) + PLAIN_GAP > bits) {
        Invalid::PlainSize
    } else {
        return Ok(());
    };
    Err(ParamsError::Invalid(wrong))
}

/// Parameters of 128 bits of security under which `scheme` runs a circuit of `workload` at `ring` (4096 to
/// 32768): the cheapest that decrypt and hide, and if none does, those that come closest. [`fit`] tells
/// which.
///
/// - [`Scheme::Bfv`]: the fewest primes of at most 50 bits, with the key switch of fewest transforms, as
///   short as they may be, so that the flooding of replies fits below the modulus.
/// - [`Scheme::FheRs`]: the fewest equal primes so that the noise drowns in a reply's rounding (see
///   [`privacy_bits`]). Key switching has one digit a prime.
///
/// # Errors
/// If the ring is not in the table or t does not fit.
pub fn choose(
    scheme: Scheme,
    ring: u32,
    plain_modulus: u64,
    workload: &Workload,
) -> Result<SchemeParams, ParamsError> {
    let limit = modulus_limit(ring).ok_or(ParamsError::Ring(ring))?;
    require_encoding(scheme, workload)?;
    if plain_modulus % (2 * u64::from(ring)) != 1 || !is_prime(plain_modulus) {
        return Err(ParamsError::Invalid(Invalid::PlainPrime));
    }
    let chosen = match scheme {
        Scheme::Bfv => bfv::choose(ring, plain_modulus, workload, limit),
        Scheme::FheRs => noise::choose(ring, plain_modulus, workload, limit),
    };
    chosen.ok_or_else(|| ParamsError::PlainTooLarge {
        bits: bit_length(plain_modulus),
        ring,
        max: (limit / 2).min(MAX_PLAIN_BITS) - PLAIN_GAP,
    })
}

/// The crate `fhe` is used for slots alone.
fn require_encoding(scheme: Scheme, workload: &Workload) -> Result<(), ParamsError> {
    match (scheme, workload.encoding) {
        (Scheme::FheRs, Encoding::Coefficients) => Err(ParamsError::Encoding { scheme }),
        (Scheme::FheRs | Scheme::Bfv, _) => Ok(()),
    }
}

/// Parameters of any ring from 16 to 65536 without any security, for tests: for [`Scheme::Bfv`] as if the
/// ring allowed 800 bits, for [`Scheme::FheRs`] four primes of 50 bits.
///
/// # Errors
/// If the ring is no power of two in that range or t does not fit.
pub fn choose_insecure(
    scheme: Scheme,
    ring: u32,
    plain_modulus: u64,
    workload: &Workload,
) -> Result<SchemeParams, ParamsError> {
    require_encoding(scheme, workload)?;
    let params = match scheme {
        Scheme::Bfv => bfv::choose(ring, plain_modulus, workload, INSECURE_LIMIT)
            .ok_or(ParamsError::Invalid(Invalid::PlainSize))?,
        Scheme::FheRs => SchemeParams {
            ring,
            plain_modulus,
            modulus_bits: vec![50; 4],
            key_switch: KeySwitching::Primes,
            workload: workload.clone(),
        },
    };
    validate(&params)?;
    Ok(params)
}

/// The smallest prime t that is 1 modulo 2N, exceeds 2^16 and leaves `largest_accumulator` at or below
/// (t - 3)/2, or the smallest such of `plain_bits` bits. (t - 1)/2 is the one value whose sign the two-party
/// comparison gets wrong.
///
/// # Errors
/// If the accumulators would not stay below that, or it would have more than 48 bits.
pub fn plain_prime(ring: u32, largest_accumulator: u64, plain_bits: Option<u32>) -> Result<u64, ParamsError> {
    if !ring.is_power_of_two() || !(16..=1 << 16).contains(&ring) {
        return Err(ParamsError::Ring(ring));
    }
    let too_large = |bits| ParamsError::PlainTooLarge { bits, ring, max: MAX_PLAIN_BITS };
    let doubled = largest_accumulator.checked_mul(2).and_then(|d| d.checked_add(2)).ok_or(too_large(65))?;
    let floor = match plain_bits {
        None => doubled.max(MIN_PLAIN),
        Some(bits) if bits > MAX_PLAIN_BITS => return Err(too_large(bits)),
        Some(bits) => ((1 << bits.max(1)) / 2).max(doubled),
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
        Some(bits) if bit_length(prime) > bits => Err(too_small(bits)),
        Some(_) | None => Ok(prime),
    }
}

fn bit_length(n: u64) -> u32 {
    u64::BITS - n.leading_zeros()
}
