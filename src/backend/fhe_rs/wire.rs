//! Polynomials and ciphertexts as bytes: packed residues, and around them the library's messages.
//!
//! Only the residues travel. Their length follows from the parameters; the rest of a message is the same
//! for all polynomials of a context and is taken from one that the library wrote.

use super::failed;
use crate::backend::wire::{Kind, Reader};
use crate::backend::{BackendError, SEED};
use fhe::bfv::BfvParameters;
use fhe::proto::bfv::Ciphertext as CiphertextMessage;
use fhe_math::rq::{Poly, Representation};
use fhe_traits::Serialize;
use std::sync::Arc;

/// The message's flag that computations may take time that depends on the (public) polynomial.
const VARIABLE_TIME: [u8; 2] = [0x20, 1];

/// The format of the polynomials of one level and representation.
pub(super) struct PolyFormat {
    level: u32,
    degree: usize,
    moduli: Vec<u64>,
    /// The library's message before the residues.
    head: Vec<u8>,
    /// Bytes of the residues.
    len: usize,
}

impl PolyFormat {
    pub(super) fn new(
        bfv: &Arc<BfvParameters>,
        level: usize,
        representation: Representation,
    ) -> Result<Self, BackendError> {
        let context = bfv.context_at_level(level).map_err(failed)?;
        let moduli = context.moduli().to_vec();
        let degree = bfv.degree();
        let len = moduli.iter().map(|&modulus| row_len(degree, modulus)).sum();
        let mut head = Poly::zero(context, representation).to_bytes();
        head.truncate(head.len().saturating_sub(len));
        Ok(Self { level: u32::try_from(level).map_err(failed)?, degree, moduli, head, len })
    }

    pub(super) fn level(&self) -> usize {
        self.level as usize
    }

    /// Bytes of a polynomial.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The residues in a message that the library wrote.
    pub(super) fn residues<'a>(&self, message: &'a [u8]) -> &'a [u8] {
        let start = self.head.len().min(message.len());
        &message[start..message.len().min(start + self.len)]
    }

    /// Takes a polynomial, refuses residues that are not below their prime, and wraps it for the library.
    pub(super) fn read(&self, kind: Kind, reader: &mut Reader<'_>) -> Result<Vec<u8>, BackendError> {
        let residues = reader.take(self.len)?;
        let mut rest = residues;
        for &modulus in &self.moduli {
            let (row, next) = rest.split_at(row_len(self.degree, modulus));
            if !all_below(row, modulus) {
                return Err(kind.malformed(format!("a residue is not below its prime {modulus}")));
            }
            rest = next;
        }
        Ok([&self.head, residues, &VARIABLE_TIME].concat())
    }

    /// Takes a ciphertext of one polynomial and a seed.
    pub(super) fn read_seeded(
        &self,
        kind: Kind,
        reader: &mut Reader<'_>,
    ) -> Result<CiphertextMessage, BackendError> {
        let c = vec![self.read(kind, reader)?];
        Ok(CiphertextMessage { c, seed: reader.take(SEED)?.to_vec(), level: self.level })
    }

    /// Takes a ciphertext of two polynomials.
    pub(super) fn read_pair(
        &self,
        kind: Kind,
        reader: &mut Reader<'_>,
    ) -> Result<CiphertextMessage, BackendError> {
        let c = vec![self.read(kind, reader)?, self.read(kind, reader)?];
        Ok(CiphertextMessage { c, seed: Vec::new(), level: self.level })
    }

    /// Appends the polynomials of a ciphertext, and its seed if it has one.
    pub(super) fn write(&self, ciphertext: &CiphertextMessage, body: &mut Vec<u8>) {
        for message in &ciphertext.c {
            body.extend_from_slice(self.residues(message));
        }
        body.extend_from_slice(&ciphertext.seed);
    }
}

fn bits(modulus: u64) -> u32 {
    u64::BITS - (modulus - 1).leading_zeros()
}

/// Bytes of `degree` packed residues; the degree is a multiple of 8, so no bits are left over.
fn row_len(degree: usize, modulus: u64) -> usize {
    degree / 8 * bits(modulus) as usize
}

/// Whether all numbers packed in `row`, least significant bits first, are below `modulus`.
fn all_below(row: &[u8], modulus: u64) -> bool {
    let width = bits(modulus);
    let mask = (1_u128 << width) - 1;
    let (mut pool, mut filled) = (0_u128, 0);
    row.iter().all(|&byte| {
        pool |= u128::from(byte) << filled;
        filled += 8;
        if filled < width {
            return true;
        }
        let below = pool & mask < u128::from(modulus);
        pool >>= width;
        filled -= width;
        below
    })
}
