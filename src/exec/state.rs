//! What changes while a segment runs: values and ready jobs.

use super::schedule::Schedule;
use crate::backend::{BackendError, Evaluator, Operand};
use crate::circuit::Value;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// A value that other jobs may hold too.
pub(super) enum Held<E: Evaluator> {
    Ciphertext(Arc<E::Ciphertext>),
    Extended(Arc<E::Extended>),
}

impl<E: Evaluator> Clone for Held<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Ciphertext(value) => Self::Ciphertext(Arc::clone(value)),
            Self::Extended(value) => Self::Extended(Arc::clone(value)),
        }
    }
}

/// What the schedule has checked.
const CHECKED: &str = "only dot products read extended values";

impl<E: Evaluator> Held<E> {
    /// As a dot product reads it.
    pub(super) fn operand(&self) -> Operand<'_, E> {
        match self {
            Self::Ciphertext(value) => Operand::Ciphertext(&**value),
            Self::Extended(value) => Operand::Extended(&**value),
        }
    }

    pub(super) fn ciphertext(&self) -> &E::Ciphertext {
        let whole = match self {
            Self::Ciphertext(value) => Some(value),
            Self::Extended(_) => None,
        };
        whole.expect(CHECKED)
    }

    pub(super) fn into_ciphertext(self) -> Arc<E::Ciphertext> {
        let whole = match self {
            Self::Ciphertext(value) => Some(value),
            Self::Extended(_) => None,
        };
        whole.expect(CHECKED)
    }
}

pub(super) struct State<E: Evaluator> {
    pub(super) ready: BinaryHeap<Reverse<u32>>,
    pub(super) pending: Vec<u32>,
    pub(super) uses: Vec<u32>,
    values: Vec<Option<Held<E>>>,
    pub(super) live: usize,
    pub(super) peak: usize,
    pub(super) error: Option<BackendError>,
}

impl<E: Evaluator> State<E> {
    /// The state before the first job, and how many jobs are ready.
    pub(super) fn new(schedule: &Schedule, inputs: Vec<E::Ciphertext>) -> (Self, usize) {
        let ready: BinaryHeap<_> =
            (0..).zip(&schedule.pending).filter(|&(_, &n)| n == 0).map(|(job, _)| Reverse(job)).collect();
        let jobs = ready.len();
        let mut state = Self {
            ready,
            pending: schedule.pending.clone(),
            uses: schedule.uses.clone(),
            values: vec![None; schedule.uses.len()],
            live: 0,
            peak: 0,
            error: None,
        };
        for (value, input) in inputs.into_iter().enumerate() {
            state.define(value, Held::Ciphertext(Arc::new(input)));
        }
        (state, jobs)
    }

    pub(super) fn define(&mut self, value: usize, held: Held<E>) {
        self.live += 1;
        self.peak = self.peak.max(self.live);
        if self.uses[value] == 0 {
            self.live -= 1;
        } else {
            self.values[value] = Some(held);
        }
    }

    /// Takes one use of `value`; the last one takes the value itself.
    pub(super) fn operand(&mut self, value: Value) -> Held<E> {
        let slot = value.0 as usize;
        self.uses[slot] -= 1;
        let held = if self.uses[slot] == 0 { self.values[slot].take() } else { self.values[slot].clone() };
        held.expect("a value is defined before its job is ready and kept until its last use")
    }
}
