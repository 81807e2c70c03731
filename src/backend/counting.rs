//! Counts what an evaluator is really asked to do.
//!
//! The counts come from the calls, never from a circuit: comparing them with a circuit's own counts shows
//! that what ran is what was announced. A call that fails is not counted.

use super::{BackendError, Evaluator, SchemeParams, Sent, Term};
use crate::circuit::{BlockGeometry, Counts, Step};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

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

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Evaluator> Evaluator for Counting<E> {
    type Ciphertext = E::Ciphertext;
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

    fn encode(&self, slots: &[i64]) -> Result<E::Plaintext, BackendError> {
        self.inner.encode(slots)
    }

    fn plaintext_bytes(&self) -> u64 {
        self.inner.plaintext_bytes()
    }

    fn automorphisms(&self, src: &E::Ciphertext, steps: &[Step]) -> Result<Vec<E::Ciphertext>, BackendError> {
        let turned = self.inner.automorphisms(src, steps)?;
        let mut tally = self.tally();
        tally.counts.hoisted_groups += 1;
        for &step in steps {
            *tally.steps.entry(step).or_default() += 1;
            tally.seen.insert(step);
        }
        Ok(turned)
    }

    fn dot<'a>(
        &self,
        terms: &mut dyn Iterator<Item = Term<'a, E::Ciphertext, E::Plaintext>>,
    ) -> Result<E::Ciphertext, BackendError>
    where
        Self: 'a,
    {
        let mut mults = 0_u64;
        let sum = self.inner.dot(&mut terms.inspect(|_| mults += 1))?;
        let mut tally = self.tally();
        tally.counts.plain_mults += mults;
        tally.counts.adds += mults.saturating_sub(1);
        Ok(sum)
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
