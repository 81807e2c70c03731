//! What a scheme must offer to run circuits, split by role.
//!
//! The client's side ([`ClientKeys`]) holds the secret key; the server's ([`Evaluator`]) cannot:
//! it is made from the bytes of the evaluation keys alone. Ciphertexts cross as bytes. Implementations:
//! [`bfv`] (Stria's own engine), [`clear`] (plain slots, the definition of every operation), `fhe_rs` (BFV
//! of the crate `fhe`, by other hands, behind the feature of that name); [`Counting`] wraps any. No backend
//! knows circuits or tensors.

pub mod bfv;
pub mod clear;
mod counting;
#[cfg(feature = "fhe-rs")]
pub mod fhe_rs;
mod wire;

pub use crate::params::SchemeParams;
pub use crate::rlwe::{Basis, Sent};
pub use counting::Counting;

use crate::circuit::Step;
use std::sync::Arc;

/// Bytes that the envelope of a ciphertext or of keys adds.
pub(crate) const ENVELOPE: usize = wire::OVERHEAD;
/// Bytes of a slot of the clear backend.
pub(crate) const CLEAR_SLOT: usize = 8;
/// Bytes of the seed that stands for a uniform polynomial.
pub(crate) const SEED: usize = 32;

/// An error of a backend; carries the numbers that matter.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// Parameters that the scheme cannot be built with.
    #[error("parameters refused by the {backend} backend: {reason}")]
    Parameters {
        /// Which backend.
        backend: &'static str,
        /// Why.
        reason: String,
    },
    /// A Galois key is missing.
    #[error("no Galois key for {0:?}")]
    MissingKey(Step),
    /// Bytes that are no ciphertext or key of these parameters.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// Ciphertext, keys.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// A ciphertext whose noise would show in a reply.
    #[error("a result has {found:.1} bits of noise, the parameters provide for {provided:.1}")]
    Noise {
        /// Estimated bits of noise.
        found: f64,
        /// What replies are flooded for.
        provided: f64,
    },
    /// The scheme's library failed.
    #[error("{backend}: {reason}")]
    Scheme {
        /// Which backend.
        backend: &'static str,
        /// The library's words.
        reason: String,
    },
}

/// The client's side: keys, encryption, decryption. Plaintexts are N values in `0..t`: slots row by row, or
/// coefficients, as the workload of the parameters says.
pub trait ClientKeys: Send + Sync + Sized {
    /// Fresh keys from the operating system's randomness.
    ///
    /// # Errors
    /// If the parameters are refused.
    fn generate(params: &SchemeParams) -> Result<Self, BackendError>;

    /// The evaluation keys for exactly `steps` (sorted, distinct), for the server.
    ///
    /// # Errors
    /// If the library fails.
    fn evaluation_keys(&self, steps: &[Step]) -> Result<Vec<u8>, BackendError>;

    /// Encrypts N values.
    ///
    /// # Errors
    /// If the library fails.
    fn encrypt(&self, values: &[u64]) -> Result<Vec<u8>, BackendError>;

    /// Decrypts to N values, 0 where none was `sent`.
    ///
    /// # Errors
    /// If the bytes are no ciphertext of these parameters with these values.
    fn decrypt(&self, ciphertext: &[u8], sent: Sent<'_>) -> Result<Vec<u64>, BackendError>;
}

/// What a dot product multiplies.
#[derive(Debug)]
pub enum Operand<'a, E: Evaluator> {
    /// A ciphertext, by a plaintext of either basis.
    Ciphertext(&'a E::Ciphertext),
    /// A rotation that is left extended, by a plaintext of [`Basis::Extended`].
    Extended(&'a E::Extended),
}

impl<E: Evaluator> Clone for Operand<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E: Evaluator> Copy for Operand<'_, E> {}

/// A term of a dot product: what is multiplied and the encoded plaintext that multiplies it.
pub type Term<'a, E> = Result<(Operand<'a, E>, Arc<<E as Evaluator>::Plaintext>), BackendError>;

/// One automorphism of a batch: which of its sources, by how much.
pub type BatchStep = (usize, Step);

/// The server's side: evaluation without any secret. Plaintexts hold what the workload of the parameters
/// says: slots, whose products are slot by slot, or coefficients, whose products are negacyclic.
pub trait Evaluator: Send + Sync + Sized {
    /// A ciphertext of N values.
    type Ciphertext: Clone + Send + Sync;
    /// A rotated ciphertext before the division by the special primes; where there is no such division,
    /// after its key switch.
    type Extended: Clone + Send + Sync;
    /// A plaintext encoded for multiplication.
    type Plaintext: Send + Sync;

    /// The server's half from the parameters and the client's evaluation keys.
    ///
    /// # Errors
    /// If the bytes are no keys of these parameters.
    fn from_keys(params: &SchemeParams, keys: &[u8]) -> Result<Self, BackendError>;

    /// The ring degree N: how many values a ciphertext has.
    fn ring(&self) -> usize;

    /// Reads a ciphertext sent by the client.
    ///
    /// # Errors
    /// If the bytes are none of these parameters.
    fn load(&self, bytes: &[u8]) -> Result<Self::Ciphertext, BackendError>;

    /// Writes the values `sent` of a ciphertext for the client.
    ///
    /// # Errors
    /// If its noise is beyond what the parameters provide for, `sent` does not fit them, or the library fails.
    fn store(&self, ciphertext: &Self::Ciphertext, sent: Sent<'_>) -> Result<Vec<u8>, BackendError>;

    /// Encodes N signed integers (taken mod t) for multiplication.
    ///
    /// # Errors
    /// If the library fails.
    fn encode(&self, values: &[i64], basis: Basis) -> Result<Self::Plaintext, BackendError>;

    /// Bytes of memory that an encoded plaintext takes.
    fn plaintext_bytes(&self, basis: Basis) -> u64;

    /// Automorphisms of some sources, in the order of `steps`. Each is a key switch; the steps of one source
    /// are a hoisted group, equal steps of several sources share the reading of their key. No step refers
    /// beyond `sources`, no source is without step.
    ///
    /// # Errors
    /// If a Galois key is missing.
    fn automorphisms(
        &self,
        sources: &[&Self::Ciphertext],
        steps: &[BatchStep],
    ) -> Result<Vec<Self::Ciphertext>, BackendError>;

    /// As [`automorphisms`](Self::automorphisms), left extended.
    ///
    /// # Errors
    /// If a Galois key is missing.
    fn extended(
        &self,
        sources: &[&Self::Ciphertext],
        steps: &[BatchStep],
    ) -> Result<Vec<Self::Extended>, BackendError>;

    /// The sum of ciphertexts, rotated where there is a step, divided once. There is at least one.
    ///
    /// # Errors
    /// If a Galois key is missing.
    fn rotate_sum(
        &self,
        summands: &[(&Self::Ciphertext, Option<Step>)],
    ) -> Result<Self::Ciphertext, BackendError>;

    /// The sum of products, fused. Terms arrive one by one so that plaintexts need not all be held;
    /// there is at least one. A cached plaintext is shared, one made on the fly is dropped after use.
    /// Products with extended operands are summed up apart and divided once.
    ///
    /// # Errors
    /// The first error of an item, or the library's.
    fn dot<'a>(
        &self,
        terms: &mut dyn Iterator<Item = Term<'a, Self>>,
    ) -> Result<Self::Ciphertext, BackendError>
    where
        Self: 'a;

    /// A sum of products for each list of `factors`, all with the same operands in the same order: the
    /// plaintexts are held, the operands may be read once for all sums. Else as [`dot`](Self::dot) of each.
    ///
    /// # Errors
    /// The library's.
    fn dots<'a>(
        &self,
        operands: &[Operand<'a, Self>],
        factors: &[Vec<Arc<Self::Plaintext>>],
    ) -> Result<Vec<Self::Ciphertext>, BackendError>
    where
        Self: 'a,
    {
        let term = |(&operand, factor): (&Operand<'a, Self>, &Arc<_>)| Ok((operand, Arc::clone(factor)));
        factors.iter().map(|factors| self.dot(&mut operands.iter().zip(factors).map(term))).collect()
    }

    /// `a += b`.
    fn add_assign(&self, a: &mut Self::Ciphertext, b: &Self::Ciphertext);

    /// Adds N plain values in `0..t`.
    ///
    /// # Errors
    /// If the library fails.
    fn add_plain(&self, a: &mut Self::Ciphertext, values: &[u64]) -> Result<(), BackendError>;
}
