//! Counts what an evaluator is really asked to do.
//!
//! The counts come from the calls, never from a circuit: comparing them with a circuit's own counts shows
//! that what ran is what was announced. A call that fails is not counted.

use super::{BackendError, Basis, BatchStep, Evaluator, Operand, SchemeParams, Sent, Term};
use crate::circuit::{BlockGeometry, Counts, Step};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An evaluator that counts its calls.
#[derive(Debug)]
pub struct Counting<E> {
    inner: E,
    tally: Mutex<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    /// All but the rotations, whose kinds need a geometry.
    counts: Counts,
    steps: BTreeMap<Step, u64>,
    /// Distinct automorphisms since the start.
    seen: BTreeSet<Step>,
}

impl Tally {
    fn step(&mut self, step: Step) {
        *self.steps.entry(step).or_default() += 1;
        self.seen.insert(step);
    }

    /// A sum of so many products, some with extended operands.
    fn dot(&mut self, mults: u64, extended: u64) {
        self.counts.plain_mults += mults;
        self.counts.extended_mults += extended;
        self.counts.extended_dots += u64::from(extended > 0);
        self.counts.adds += mults.saturating_sub(1);
    }
}

fn uncounted<E: Evaluator>(operand: Operand<'_, Counting<E>>) -> Operand<'_, E> {
    match operand {
        Operand::Ciphertext(ciphertext) => Operand::Ciphertext(ciphertext),
        Operand::Extended(turned) => Operand::Extended(turned),
    }
}

impl<E> Counting<E> {
    /// Counts the calls of `inner`.
    pub fn new(inner: E) -> Self {
        Self { inner, tally: Mutex::default() }
    }

    /// What was called since the last `take`; `geometry` is that of the segment which ran since then,
    /// from which the kinds of its rotations follow.
    pub fn take(&self, geometry: BlockGeometry) -> Counts {
        let mut tally = self.tally();
        let tally = (std::mem::take(&mut tally.counts), std::mem::take(&mut tally.steps));
        let (mut counts, steps) = tally;
        for (step, times) in steps {
            for _ in 0..times {
                counts.rotation(geometry, step);
            }
        }
        counts
    }

    /// How many distinct automorphisms were called since the start: the Galois keys in use.
    pub fn galois_keys(&self) -> u64 {
        self.tally().seen.len() as u64
    }

    /// Counts a batch and keeps the tally.
    fn batch(&self, sources: usize, steps: &[BatchStep]) -> MutexGuard<'_, Tally> {
        let mut tally = self.tally();
        tally.counts.hoisted_groups += sources as u64;
        steps.iter().for_each(|&(_, step)| tally.step(step));
        tally
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Evaluator> Evaluator for Counting<E> {
    type Ciphertext = E::Ciphertext;
    type Extended = E::Extended;
    type Plaintext = E::Plaintext;

    fn from_keys(params: &SchemeParams, keys: &[u8]) -> Result<Self, BackendError> {
        E::from_keys(params, keys).map(Self::new)
    }

    fn ring(&self) -> usize {
        self.inner.ring()
    }

    fn load(&self, bytes: &[u8]) -> Result<E::Ciphertext, BackendError> {
        let loaded = self.inner.load(bytes)?;
        self.tally().counts.ciphertexts_in += 1;
        Ok(loaded)
    }

    fn store(&self, ciphertext: &E::Ciphertext, sent: Sent<'_>) -> Result<Vec<u8>, BackendError> {
        let bytes = self.inner.store(ciphertext, sent)?;
        self.tally().counts.ciphertexts_out += 1;
        Ok(bytes)
    }

    fn encode(&self, slots: &[i64], basis: Basis) -> Result<E::Plaintext, BackendError> {
        self.inner.encode(slots, basis)
    }

    fn plaintext_bytes(&self, basis: Basis) -> u64 {
        self.inner.plaintext_bytes(basis)
    }

    fn automorphisms(
        &self,
        sources: &[&E::Ciphertext],
        steps: &[BatchStep],
    ) -> Result<Vec<E::Ciphertext>, BackendError> {
        let turned = self.inner.automorphisms(sources, steps)?;
        drop(self.batch(sources.len(), steps));
        Ok(turned)
    }

    fn extended(
        &self,
        sources: &[&E::Ciphertext],
        steps: &[BatchStep],
    ) -> Result<Vec<E::Extended>, BackendError> {
        let turned = self.inner.extended(sources, steps)?;
        self.batch(sources.len(), steps).counts.extended_rotations += steps.len() as u64;
        Ok(turned)
    }

    fn rotate_sum(&self, summands: &[(&E::Ciphertext, Option<Step>)]) -> Result<E::Ciphertext, BackendError> {
        let sum = self.inner.rotate_sum(summands)?;
        let mut tally = self.tally();
        for step in summands.iter().filter_map(|&(_, step)| step) {
            tally.step(step);
            tally.counts.sum_rotations += 1;
            tally.counts.hoisted_groups += 1;
        }
        tally.counts.rotate_sums += 1;
        tally.counts.adds += (summands.len() as u64).saturating_sub(1);
        Ok(sum)
    }

    fn dot<'a>(&self, terms: &mut dyn Iterator<Item = Term<'a, Self>>) -> Result<E::Ciphertext, BackendError>
    where
        Self: 'a,
    {
        let (mut mults, mut extended) = (0_u64, 0_u64);
        let sum = self.inner.dot(&mut terms.map(|term| {
            let (operand, plaintext) = term?;
            mults += 1;
            extended += u64::from(matches!(operand, Operand::Extended(_)));
            Ok((uncounted(operand), plaintext))
        }))?;
        self.tally().dot(mults, extended);
        Ok(sum)
    }

    fn dots<'a>(
        &self,
        operands: &[Operand<'a, Self>],
        factors: &[Vec<Arc<E::Plaintext>>],
    ) -> Result<Vec<E::Ciphertext>, BackendError>
    where
        Self: 'a,
    {
        let inner: Vec<_> = operands.iter().copied().map(uncounted).collect();
        let sums = self.inner.dots(&inner, factors)?;
        let mut tally = self.tally();
        for factors in factors {
            let read = operands.iter().take(factors.len());
            let extended = read.filter(|operand| matches!(operand, Operand::Extended(_))).count();
            tally.dot(factors.len() as u64, extended as u64);
        }
        Ok(sums)
    }

    fn add_assign(&self, a: &mut E::Ciphertext, b: &E::Ciphertext) {
        self.inner.add_assign(a, b);
        self.tally().counts.adds += 1;
    }

    fn add_plain(&self, a: &mut E::Ciphertext, slots: &[u64]) -> Result<(), BackendError> {
        self.inner.add_plain(a, slots)?;
        self.tally().counts.plain_adds += 1;
        Ok(())
    }
}
