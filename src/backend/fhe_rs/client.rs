//! The client's side: the secret key.

use super::wire::PolyFormat;
use super::{Scheme, failed, os_rng, refused};
use crate::backend::wire::{self, Kind, Reader};
use crate::backend::{BackendError, ClientKeys, SEED, SchemeParams, Sent};
use crate::circuit::Step;
use crate::params;
use fhe::bfv::traits::TryConvertFrom;
use fhe::bfv::{Ciphertext, Encoding, EvaluationKeyBuilder, Plaintext, SecretKey};
use fhe::proto::bfv::{
    Ciphertext as CiphertextMessage, EvaluationKey as KeysMessage, GaloisKey as GaloisMessage,
};
use fhe_traits::{FheDecoder, FheDecrypter, FheEncoder, FheEncrypter};
use rayon::prelude::*;
use std::fmt;

/// Galois keys that are made at a time on one thread: the library's form of a key takes five times its
/// bytes.
const BATCH: usize = 8;

/// The client's keys. The secret is zeroised when dropped and never shown.
pub struct FheKeys {
    scheme: Scheme,
    secret: SecretKey,
}

impl fmt::Debug for FheKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FheKeys").field("params", &self.scheme.params).finish_non_exhaustive()
    }
}

impl FheKeys {
    /// Keys under parameters of any security, as small rings in tests.
    ///
    /// # Errors
    /// If the parameters do not fit each other.
    pub fn generate_insecure(params: &SchemeParams) -> Result<Self, BackendError> {
        let scheme = Scheme::new(params)?;
        let secret = SecretKey::random(&scheme.bfv, &mut os_rng()?);
        Ok(Self { scheme, secret })
    }

    fn write_encryption(&self, plaintext: &Plaintext) -> Result<Vec<u8>, BackendError> {
        let ciphertext: Ciphertext = self.secret.try_encrypt(plaintext, &mut os_rng()?).map_err(failed)?;
        let mut body = Vec::new();
        self.scheme.fresh.write(&CiphertextMessage::from(&ciphertext), &mut body);
        Ok(body)
    }

    /// The Galois keys of `columns` as the library's messages, in that order.
    fn galois_keys(&self, columns: &[u32]) -> Result<Vec<GaloisMessage>, BackendError> {
        let mut builder = EvaluationKeyBuilder::new(&self.secret).map_err(failed)?;
        for &column in columns {
            match column {
                0 => builder.enable_row_rotation(),
                column => builder.enable_column_rotation(column as usize),
            }
            .map_err(failed)?;
        }
        let keys = builder.build(&mut os_rng()?).map_err(failed)?;
        let mut made = KeysMessage::from(&keys).gk;
        columns
            .iter()
            .map(|&column| {
                let exponent = self.scheme.exponent(column);
                let found = made.iter().position(|key| key.exponent == exponent);
                found.map(|key| made.swap_remove(key)).ok_or_else(|| failed("a Galois key was not made"))
            })
            .collect()
    }

    fn write_galois(format: &PolyFormat, column: u32, key: &GaloisMessage) -> Result<Vec<u8>, BackendError> {
        let key = key.ksk.as_ref().ok_or_else(|| failed("a Galois key is empty"))?;
        let mut bytes = Vec::with_capacity(4 + SEED + key.c0.len() * format.len());
        bytes.extend_from_slice(&column.to_le_bytes());
        bytes.extend_from_slice(&key.seed);
        for poly in &key.c0 {
            bytes.extend_from_slice(format.residues(poly));
        }
        Ok(bytes)
    }
}

impl ClientKeys for FheKeys {
    fn generate(params: &SchemeParams) -> Result<Self, BackendError> {
        params::require_security(params).map_err(|error| refused(&error))?;
        Self::generate_insecure(params)
    }

    fn evaluation_keys(&self, steps: &[Step]) -> Result<Vec<u8>, BackendError> {
        let columns = wire::columns(self.scheme.ring(), steps)?;
        let zero = Plaintext::zero(Encoding::simd(), &self.scheme.bfv).map_err(failed)?;
        let mut body = self.write_encryption(&zero)?;
        body.extend_from_slice(&u32::try_from(columns.len()).map_err(failed)?.to_le_bytes());
        let batches = columns
            .par_chunks(BATCH)
            .map(|batch| {
                let keys = self.galois_keys(batch)?;
                let written =
                    batch.iter().zip(&keys).map(|(&c, key)| Self::write_galois(&self.scheme.key, c, key));
                Ok(written.collect::<Result<Vec<_>, _>>()?.concat())
            })
            .collect::<Result<Vec<_>, BackendError>>()?;
        batches.iter().for_each(|batch| body.extend_from_slice(batch));
        Ok(self.scheme.envelope.seal(Kind::Keys, &body))
    }

    fn encrypt(&self, slots: &[u64]) -> Result<Vec<u8>, BackendError> {
        wire::check_slots(slots, self.scheme.ring(), self.scheme.params.plain_modulus)?;
        let plaintext = Plaintext::try_encode(slots, Encoding::simd(), &self.scheme.bfv).map_err(failed)?;
        Ok(self.scheme.envelope.seal(Kind::Fresh, &self.write_encryption(&plaintext)?))
    }

    fn decrypt(&self, ciphertext: &[u8], sent: Sent<'_>) -> Result<Vec<u64>, BackendError> {
        wire::positions(&self.scheme.params, sent)?;
        let kind = self.scheme.envelope.kind(ciphertext, &[Kind::Reply, Kind::Fresh])?;
        let mut reader = Reader::new(kind, self.scheme.envelope.open(kind, ciphertext)?);
        let (format, message) = match kind {
            Kind::Fresh | Kind::Keys => {
                (&self.scheme.fresh, self.scheme.fresh.read_seeded(kind, &mut reader)?)
            }
            Kind::Reply => (&self.scheme.reply, self.scheme.reply.read_pair(kind, &mut reader)?),
        };
        reader.finish()?;
        let ciphertext = Ciphertext::try_convert_from(&message, &self.scheme.bfv).map_err(failed)?;
        let plaintext = self.secret.try_decrypt(&ciphertext).map_err(failed)?;
        let encoding = Encoding::simd_at_level(format.level());
        Vec::<u64>::try_decode(&plaintext, encoding).map_err(failed)
    }
}
