//! BFV of Stria's own engine: encrypted slots or coefficients, hoisted rotations, flooded replies.
//!
//! Fresh ciphertexts and keys are half seeds. A reply is re-randomised, flooded for the largest noise that
//! the workload of the parameters allows, switched to one prime and cut to the bits that matter, so it
//! tells the client the masked message and nothing of the circuit, but with statistical distance 2^-40
//! over an inference. The evaluator follows the estimated noise of every ciphertext and refuses to send
//! one that the flooding does not cover.
//!
//! Bytes are the engine's own, checked by its deserialisers, in the envelope of all backends, whose
//! checksum finds damage. Evaluation keys: the public key, how many Galois keys there are, each by itself;
//! every part with its length before it. Knows no circuit.

mod client;
mod dot;
mod server;

pub use client::BfvKeys;
pub use server::{BfvCiphertext, BfvEvaluator, BfvExtended, BfvPlaintext};

use super::wire::Envelope;
use super::{BackendError, SchemeParams};
use crate::circuit::Step;
use crate::params::{self, Encoding};
use crate::rlwe::{Automorphism, Hiding, Packing, Parameters, RlweError};
use std::sync::Arc;

const NAME: &str = "bfv";

/// What both sides share.
#[derive(Debug)]
struct Shared {
    params: SchemeParams,
    engine: Arc<Parameters>,
    envelope: Envelope,
    hiding: Hiding,
}

impl Shared {
    fn new(params: &SchemeParams) -> Result<Self, BackendError> {
        params::validate(params).map_err(|error| refused(&error))?;
        let engine = params::engine(params).map_err(|error| refused(&error))?;
        let hiding = params::hiding(&engine, &params.workload);
        Ok(Self { params: params.clone(), envelope: Envelope::new(NAME, params), engine, hiding })
    }

    /// Where values stand.
    fn packing(&self) -> Packing {
        match self.params.workload.encoding {
            Encoding::Slots => Packing::Slots,
            Encoding::Coefficients => Packing::Coefficients,
        }
    }
}

fn automorphism(step: Step) -> Automorphism {
    match step {
        Step::Rotate(k) => Automorphism::Rotate(k),
        Step::SwapRows => Automorphism::SwapRows,
    }
}

fn refused(error: &impl std::fmt::Display) -> BackendError {
    BackendError::Parameters { backend: NAME, reason: error.to_string() }
}

/// An error of the engine, about `what` if it comes from bytes.
fn failed(error: RlweError) -> BackendError {
    if let RlweError::Malformed { what, flaw } = error {
        return BackendError::Malformed { what, reason: flaw.to_string() };
    }
    BackendError::Scheme { backend: NAME, reason: error.to_string() }
}
