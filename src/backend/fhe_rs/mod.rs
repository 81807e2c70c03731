//! BFV of the crate `fhe`: encrypted slots, real keys.
//!
//! Ciphertext primes are the largest of the given sizes that are 1 modulo 2N; error and secret have variance
//! 10; key switching has one digit a prime. A negative rotation is the left rotation by N/2 - k.
//! Plaintexts are encoded here, not by the library, because centred coefficients leave 6 bits less noise.
//!
//! A reply is re-randomised with a fresh encryption of zero under the client's public key, then rounded to
//! the fewest primes that still decrypt: the client, who knows his own randomness, would otherwise read the
//! weights off the second component. How well the rounding hides the noise of the circuit is
//! [`privacy_bits`](crate::params::privacy_bits).
//!
//! The library sees no foreign bytes: what arrives is unsealed, cut by the lengths that the parameters
//! imply, every residue compared with its prime, and only then wrapped in the library's own messages.
//! Knows no circuit.

mod client;
mod plain;
mod server;
mod wire;

pub use client::FheKeys;
pub use server::{FheCiphertext, FheEvaluator, FhePlaintext};

use super::wire::Envelope;
use super::{BackendError, SchemeParams};
use crate::params;
use fhe::bfv::{BfvParameters, BfvParametersBuilder};
use fhe_math::rq::Representation;
use rand_09::SeedableRng;
use rand_09::rngs::StdRng;
use std::sync::Arc;
use wire::PolyFormat;

const NAME: &str = "fhe-rs";

/// Variance of errors, of the secret and of the randomness of an encryption.
const VARIANCE: usize = 10;

/// What both sides share: the library's parameters and the formats of their polynomials.
struct Scheme {
    params: SchemeParams,
    bfv: Arc<BfvParameters>,
    envelope: Envelope,
    /// Polynomials of fresh ciphertexts.
    fresh: PolyFormat,
    /// Polynomials of replies.
    reply: PolyFormat,
    /// Polynomials of Galois keys.
    key: PolyFormat,
}

impl Scheme {
    fn new(params: &SchemeParams) -> Result<Self, BackendError> {
        params::validate(params).map_err(|error| refused(&error))?;
        if params.workload.encoding == params::Encoding::Coefficients {
            return Err(refused(&"this backend computes in slots; use --backend bfv or --encoding slots"));
        }
        let sizes: Vec<usize> = params.modulus_bits.iter().map(|&bits| bits as usize).collect();
        let bfv = BfvParametersBuilder::new()
            .set_degree(params.ring as usize)
            .set_plaintext_modulus(params.plain_modulus)
            .set_moduli_sizes(&sizes)
            .set_variance(VARIANCE)
            .build_arc()
            .map_err(|error| refused(&error))?;
        let reply_level = sizes.len() - params::reply_primes(params);
        let format = |level, representation| PolyFormat::new(&bfv, level, representation);
        Ok(Self {
            params: params.clone(),
            envelope: Envelope::new(NAME, params),
            fresh: format(0, Representation::Ntt)?,
            reply: format(reply_level, Representation::Ntt)?,
            key: format(0, Representation::NttShoup)?,
            bfv,
        })
    }

    fn ring(&self) -> usize {
        self.bfv.degree()
    }

    /// The exponent g of the automorphism X -> X^g that is `column` on the wire.
    fn exponent(&self, column: u32) -> u32 {
        let order = 2 * u64::from(self.params.ring);
        let exponent = match column {
            0 => order - 1,
            column => (0..column).fold(1, |power, _| power * 3 % order),
        };
        u32::try_from(exponent).expect("an exponent is below 2N, at most 2^17")
    }
}

fn refused(error: &impl std::fmt::Display) -> BackendError {
    BackendError::Parameters { backend: NAME, reason: error.to_string() }
}

fn failed(error: impl std::fmt::Display) -> BackendError {
    BackendError::Scheme { backend: NAME, reason: error.to_string() }
}

/// A generator seeded by the operating system.
fn os_rng() -> Result<StdRng, BackendError> {
    StdRng::try_from_os_rng().map_err(failed)
}
