//! The client's side: the secret key.

use super::{NAME, Shared, automorphism, failed, refused};
use crate::backend::wire::{self, Envelope, Kind};
use crate::backend::{BackendError, ClientKeys, SchemeParams};
use crate::circuit::Step;
use crate::params;
use crate::rlwe::{Randomness, Reply, SecretKey, SeededCiphertext, Sent};
use rayon::prelude::*;
use std::fmt;

/// Galois keys that are made at a time.
const BATCH: usize = 16;

/// The client's keys. The secret is zeroised when dropped and never shown.
pub struct BfvKeys {
    shared: Shared,
    secret: SecretKey,
}

impl fmt::Debug for BfvKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BfvKeys").field("params", &self.shared.params).finish_non_exhaustive()
    }
}

impl BfvKeys {
    /// Keys under parameters of any security, as small rings in tests.
    ///
    /// # Errors
    /// If the parameters do not fit each other.
    pub fn generate_insecure(params: &SchemeParams) -> Result<Self, BackendError> {
        let shared = Shared::new(params)?;
        let secret = SecretKey::generate(&shared.engine, &mut randomness()?);
        Ok(Self { shared, secret })
    }

    /// log2 of the largest noise coefficient of a ciphertext that decrypts.
    ///
    /// # Errors
    /// If it is of other parameters.
    pub fn noise_bits(&self, ciphertext: &super::BfvCiphertext) -> Result<f64, BackendError> {
        self.secret.noise_bits(&ciphertext.inner).map_err(failed)
    }

    fn galois_key(&self, column: u32) -> Result<Vec<u8>, BackendError> {
        let step = match column {
            0 => Step::SwapRows,
            column => Step::Rotate(i32::try_from(column).map_err(|error| refused(&error))?),
        };
        Ok(self.secret.galois_keys(&[automorphism(step)], &mut randomness()?).to_bytes())
    }
}

/// Each use draws from the operating system anew, so that threads share nothing.
pub(super) fn randomness() -> Result<Randomness, BackendError> {
    Randomness::from_os().map_err(failed)
}

/// Appends a part and its length before it.
fn put(body: &mut Vec<u8>, part: &[u8]) -> Result<(), BackendError> {
    body.extend_from_slice(&length(part.len())?.to_le_bytes());
    body.extend_from_slice(part);
    Ok(())
}

fn length(n: usize) -> Result<u32, BackendError> {
    u32::try_from(n).map_err(|error| BackendError::Scheme { backend: NAME, reason: error.to_string() })
}

impl ClientKeys for BfvKeys {
    fn generate(params: &SchemeParams) -> Result<Self, BackendError> {
        params::require_security(params).map_err(|error| refused(&error))?;
        Self::generate_insecure(params)
    }

    fn evaluation_keys(&self, steps: &[Step]) -> Result<Vec<u8>, BackendError> {
        let columns = wire::columns(self.shared.engine.ring(), steps)?;
        let public = self.secret.public_key(&mut randomness()?).to_bytes();
        let mut bytes = self.shared.envelope.head(Kind::Keys, 0);
        put(&mut bytes, &public)?;
        bytes.extend_from_slice(&length(columns.len())?.to_le_bytes());
        for (done, batch) in columns.chunks(BATCH).enumerate() {
            let keys: Vec<Vec<u8>> =
                batch.par_iter().map(|&column| self.galois_key(column)).collect::<Result<_, _>>()?;
            // All keys are as long as the first, and all of them are many bytes: nothing is moved later.
            let key = keys.first().map_or(0, Vec::len) + size_of::<u32>();
            bytes.reserve_exact((columns.len() - done * BATCH) * key + wire::OVERHEAD);
            keys.iter().try_for_each(|key| put(&mut bytes, key))?;
        }
        Ok(Envelope::sealed(bytes))
    }

    fn encrypt(&self, slots: &[u64]) -> Result<Vec<u8>, BackendError> {
        wire::check_slots(slots, self.shared.engine.ring(), self.shared.params.plain_modulus)?;
        let fresh = self.secret.encrypt(slots, self.shared.packing(), &mut randomness()?).map_err(failed)?;
        Ok(self.shared.envelope.seal(Kind::Fresh, &fresh.to_bytes()))
    }

    fn decrypt(&self, ciphertext: &[u8], sent: Sent<'_>) -> Result<Vec<u64>, BackendError> {
        let Shared { engine, envelope, params, .. } = &self.shared;
        let positions = wire::positions(params, sent)?;
        let kind = envelope.kind(ciphertext, &[Kind::Reply, Kind::Fresh])?;
        let body = envelope.open(kind, ciphertext)?;
        match kind {
            Kind::Fresh | Kind::Keys => {
                let fresh = SeededCiphertext::from_bytes(engine, body).map_err(failed)?;
                self.secret.decrypt(&fresh.expand(), self.shared.packing()).map_err(failed)
            }
            Kind::Reply => {
                let reply = Reply::from_bytes(engine, sent, body).map_err(failed)?;
                let values = self.secret.open(&reply, sent).map_err(failed)?;
                Ok(wire::scatter(engine.ring(), positions, values))
            }
        }
    }
}
