//! Dot products of one job: over the same values, cut into pieces that run in parallel.
//!
//! Several are given to the backend at once where all their plaintexts are kept, or will be: then nothing is
//! held but what would be anyway. Otherwise each is summed up apart, its plaintexts made one after the other.
//! Results and counts are the same either way.

use super::Run;
use super::state::Held;
use crate::backend::{BackendError, Evaluator};
use crate::circuit::{Inst, PlainId, Value};
use rayon::prelude::*;
use std::sync::Arc;

/// Longer dot products are cut into pieces of this many terms, so that one may use all threads.
const PIECE: usize = 64;

type Terms<'a> = &'a [(Value, PlainId)];

impl<E: Evaluator> Run<'_, E> {
    /// The dot products of a job over its operands, in order.
    pub(super) fn dots(
        &self,
        insts: &[u32],
        operands: &[Held<E>],
    ) -> Result<Vec<E::Ciphertext>, BackendError> {
        let sums: Vec<Terms<'_>> = insts.iter().map(|&inst| self.terms(inst)).collect();
        if sums.len() == 1 || !self.keeps_all(&sums) {
            return sums.par_iter().map(|terms| self.dot(terms, operands)).collect();
        }
        if operands.len() <= PIECE || divides(operands) {
            return self.together(&sums, operands);
        }
        let pieces = (0..operands.len().div_ceil(PIECE)).into_par_iter().map(|piece| {
            let range = piece * PIECE..operands.len().min((piece + 1) * PIECE);
            let sums: Vec<Terms<'_>> = sums.iter().map(|terms| &terms[range.clone()]).collect();
            self.together(&sums, &operands[range])
        });
        let mut pieces = pieces.collect::<Result<Vec<_>, _>>()?.into_iter();
        let mut totals = pieces.next().expect("dot products have terms");
        for sums in pieces {
            totals.iter_mut().zip(&sums).for_each(|(total, sum)| self.evaluator.add_assign(total, sum));
        }
        Ok(totals)
    }

    fn terms(&self, inst: u32) -> Terms<'_> {
        match self.segment.insts[inst as usize] {
            Inst::Dot { first, len } => self.segment.dot_terms(first, len),
            Inst::Automorphism { .. } | Inst::Extended { .. } | Inst::RotateSum { .. } | Inst::Add(..) => &[],
        }
    }

    /// Whether all plaintexts of some sums are kept, or there is room for them.
    fn keeps_all(&self, sums: &[Terms<'_>]) -> bool {
        let plains = sums.iter().copied().flatten().map(|&(_, id)| id);
        self.kept.keeps_all(plains.map(|id| (id, self.evaluator.plaintext_bytes(self.schedule.basis(id)))))
    }

    /// Several sums at once.
    fn together(&self, sums: &[Terms<'_>], operands: &[Held<E>]) -> Result<Vec<E::Ciphertext>, BackendError> {
        let mut slots = Vec::new();
        let mut factors = |terms: &Terms<'_>| {
            terms.iter().map(|&(_, id)| self.plaintext(id, &mut slots)).collect::<Result<Vec<_>, _>>()
        };
        let factors = sums.iter().map(&mut factors).collect::<Result<Vec<_>, _>>()?;
        let operands: Vec<_> = operands.iter().map(Held::operand).collect();
        self.evaluator.dots(&operands, &factors)
    }

    /// A dot product, its pieces in parallel: the number of additions does not depend on them. One that
    /// divides its sum is not cut, or each piece would divide.
    fn dot(&self, terms: Terms<'_>, operands: &[Held<E>]) -> Result<E::Ciphertext, BackendError> {
        if terms.len() <= PIECE || divides(operands) {
            return self.piece(terms, operands);
        }
        let sums: Vec<_> = terms
            .par_chunks(PIECE)
            .zip(operands.par_chunks(PIECE))
            .map(|(terms, operands)| self.piece(terms, operands))
            .collect::<Result<_, _>>()?;
        let mut sums = sums.into_iter();
        let mut total = sums.next().expect("a dot product has terms");
        sums.for_each(|sum| self.evaluator.add_assign(&mut total, &sum));
        Ok(total)
    }

    fn piece(&self, terms: Terms<'_>, operands: &[Held<E>]) -> Result<E::Ciphertext, BackendError> {
        let mut slots = Vec::new();
        self.evaluator.dot(&mut terms.iter().zip(operands).map(|(&(_, id), held)| {
            let plaintext = self.plaintext(id, &mut slots)?;
            Ok((held.operand(), plaintext))
        }))
    }

    /// Plaintext `id`, kept or encoded from what is written to `slots`.
    fn plaintext(&self, id: PlainId, slots: &mut Vec<i64>) -> Result<Arc<E::Plaintext>, BackendError> {
        let basis = self.schedule.basis(id);
        self.kept.get(id, self.evaluator.plaintext_bytes(basis), || {
            slots.resize(self.evaluator.ring(), 0);
            self.plains.fill(id, slots);
            self.evaluator.encode(slots, basis)
        })
    }
}

/// Whether a dot product over them divides its sum.
fn divides<E: Evaluator>(operands: &[Held<E>]) -> bool {
    operands.iter().any(|held| matches!(held, Held::Extended(_)))
}
