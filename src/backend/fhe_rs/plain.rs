//! Plaintexts: encoding slots, and the sum of products with them.

use super::{Scheme, failed};
use crate::backend::BackendError;
use fhe::bfv::Ciphertext;
use fhe_math::ntt::NttOperator;
use fhe_math::rq::traits::TryConvertFrom;
use fhe_math::rq::{Context, Poly, Representation};
use fhe_math::zq::Modulus;
use std::sync::Arc;

/// Encodes slots to polynomials whose coefficients lie between -t/2 and t/2.
pub(super) struct Encoder {
    context: Arc<Context>,
    modulus: u64,
    ntt: NttOperator,
    /// Where slot `i` lies in the NTT's order: powers of 3, then their negatives, bits reversed.
    position: Vec<usize>,
}

impl Encoder {
    pub(super) fn new(scheme: &Scheme) -> Result<Self, BackendError> {
        let ring = scheme.ring();
        let modulus = Modulus::new(scheme.params.plain_modulus).map_err(failed)?;
        let ntt = NttOperator::new(&modulus, ring).ok_or_else(|| failed("no NTT modulo t"))?;
        let mut position = vec![0; ring];
        let reversed = |exponent: usize| ((exponent - 1) / 2).reverse_bits() >> (ring.leading_zeros() + 1);
        let (top, bottom) = position.split_at_mut(ring / 2);
        let mut power = 1;
        for (top, bottom) in top.iter_mut().zip(bottom) {
            *top = reversed(power);
            *bottom = reversed(2 * ring - power);
            power = power * 3 % (2 * ring);
        }
        let context = scheme.bfv.context_at_level(0).map_err(failed)?.clone();
        Ok(Self { context, modulus: scheme.params.plain_modulus, ntt, position })
    }

    /// The polynomial of N slots, in the NTT domain of fresh ciphertexts.
    pub(super) fn encode(&self, slots: &[i64]) -> Result<Poly, BackendError> {
        if slots.len() != self.position.len() {
            let reason = format!("{} slots, the ring has {}", slots.len(), self.position.len());
            return Err(BackendError::Malformed { what: "slots", reason });
        }
        let modulus = self.modulus.cast_signed();
        let mut values = vec![0; slots.len()];
        for (&slot, &position) in slots.iter().zip(&self.position) {
            let reduced = match slot {
                0.. if slot < modulus => slot,
                ..0 if slot > -modulus => slot + modulus,
                _ => slot.rem_euclid(modulus),
            };
            values[position] = reduced.cast_unsigned();
        }
        self.ntt.backward(&mut values);
        let half = self.modulus / 2;
        let mut residues = Vec::with_capacity(values.len() * self.context.moduli().len());
        for &prime in self.context.moduli() {
            let offset = prime - self.modulus;
            residues.extend(values.iter().map(|&value| if value > half { value + offset } else { value }));
        }
        // Weights may be handled in variable time: the server is alone with them.
        let mut poly = Poly::try_convert_from(residues, &self.context, true, Representation::PowerBasis)
            .map_err(failed)?;
        poly.change_representation(Representation::Ntt);
        Ok(poly)
    }
}

/// A sum of ciphertexts times plaintexts, residue by residue, reduced only when 128 bits are full.
pub(super) struct Sum {
    context: Arc<Context>,
    degree: usize,
    parts: [Vec<u128>; 2],
    /// Products that 128 bits hold.
    capacity: u64,
    /// Products that still fit.
    room: u64,
}

impl Sum {
    pub(super) fn new(encoder: &Encoder) -> Self {
        let context = encoder.context.clone();
        let degree = encoder.position.len();
        let bits = context.moduli().iter().map(|q| u64::BITS - q.leading_zeros()).max().unwrap_or(0);
        let capacity = (1 << (128 - 2 * bits).min(32)) - 1;
        let len = context.moduli().len() * degree;
        Self { context, degree, parts: [vec![0; len], vec![0; len]], capacity, room: capacity }
    }

    pub(super) fn accumulate(
        &mut self,
        ciphertext: &Ciphertext,
        plaintext: &Poly,
    ) -> Result<(), BackendError> {
        if self.room == 0 {
            self.reduce();
        }
        self.room -= 1;
        let weights = plaintext.coefficients();
        let weights = weights.as_slice().ok_or_else(|| failed("a plaintext is not contiguous"))?;
        for (sums, poly) in self.parts.iter_mut().zip(ciphertext.iter()) {
            let residues = poly.coefficients();
            let residues = residues.as_slice().ok_or_else(|| failed("a ciphertext is not contiguous"))?;
            for ((sum, &residue), &weight) in sums.iter_mut().zip(residues).zip(weights) {
                *sum += u128::from(residue) * u128::from(weight);
            }
        }
        Ok(())
    }

    fn reduce(&mut self) {
        for part in &mut self.parts {
            for (row, modulus) in part.chunks_exact_mut(self.degree).zip(self.context.moduli_operators()) {
                row.iter_mut().for_each(|sum| *sum = u128::from(modulus.reduce_u128(*sum)));
            }
        }
        self.room = self.capacity;
    }

    /// The two polynomials of the sum.
    pub(super) fn finish(self) -> Result<Vec<Poly>, BackendError> {
        let Self { context, degree, parts, .. } = self;
        parts
            .into_iter()
            .map(|part| {
                let rows = part.chunks_exact(degree).zip(context.moduli_operators());
                let residues: Vec<u64> =
                    rows.flat_map(|(row, modulus)| row.iter().map(|&sum| modulus.reduce_u128(sum))).collect();
                Poly::try_convert_from(residues, &context, true, Representation::Ntt).map_err(failed)
            })
            .collect()
    }
}
