//! What of a segment depends on what, computed once before it runs; here its operands are checked.

use super::ExecError;
use crate::backend::Basis;
use crate::circuit::{Inst, PlainId, Segment, Value};
use std::ops::Range;

#[derive(Debug)]
pub(super) struct Schedule {
    /// Instructions of each job, consecutive.
    pub(super) jobs: Vec<Range<u32>>,
    /// Operands of each job that other jobs define, each as often as it is used.
    pub(super) pending: Vec<u32>,
    /// How often each value is used, outputs included.
    pub(super) uses: Vec<u32>,
    /// The jobs that use value `v` are `consumers[first[v]..first[v + 1]]`.
    first: Vec<usize>,
    consumers: Vec<u32>,
    /// Whether a plaintext multiplies an extended value.
    extended: Vec<bool>,
}

impl Schedule {
    pub(super) fn new(segment: &Segment) -> Result<Self, ExecError> {
        let values = u32::try_from(segment.insts.len())
            .ok()
            .and_then(|n| n.checked_add(segment.inputs))
            .ok_or(ExecError::TooLong(segment.insts.len()))?;
        check(segment, values)?;
        let jobs = segment.batches();
        let mut pending = vec![0; jobs.len()];
        let mut uses = vec![0_u32; values as usize];
        let mut first = vec![0; values as usize + 1];
        for (job, insts) in jobs.iter().enumerate() {
            for value in segment.batch_operands(insts) {
                uses[value.0 as usize] += 1;
                first[value.0 as usize + 1] += 1;
                pending[job] += u32::from(value.0 >= segment.inputs);
            }
        }
        for v in 1..first.len() {
            first[v] += first[v - 1];
        }
        let mut free = first.clone();
        let mut consumers = vec![0; first.last().copied().unwrap_or(0)];
        for (job, insts) in (0..).zip(&jobs) {
            for value in segment.batch_operands(insts) {
                let slot = &mut free[value.0 as usize];
                consumers[*slot] = job;
                *slot += 1;
            }
        }
        segment.outputs.iter().for_each(|value| uses[value.0 as usize] += 1);
        Ok(Self { jobs, pending, uses, first, consumers, extended: segment.extended_plains() })
    }

    pub(super) fn consumers(&self, value: usize) -> &[u32] {
        &self.consumers[self.first[value]..self.first[value + 1]]
    }

    /// Which primes plaintext `id` has to cover.
    pub(super) fn basis(&self, id: PlainId) -> Basis {
        match self.extended.get(id.0 as usize) {
            Some(true) => Basis::Extended,
            Some(false) | None => Basis::Ciphertext,
        }
    }
}

/// Operands are there, defined before their use, and extended only where they may be.
fn check(segment: &Segment, values: u32) -> Result<(), ExecError> {
    for (index, &inst) in (0..).zip(&segment.insts) {
        match inst {
            Inst::RotateSum { first, len } if segment.summands(first, len).is_empty() => {
                return Err(ExecError::Turns { first, len, available: segment.turns.len() });
            }
            Inst::Dot { first, len } if segment.dot_terms(first, len).is_empty() => {
                return Err(ExecError::Terms { first, len, available: segment.terms.len() });
            }
            Inst::Automorphism { .. }
            | Inst::Extended { .. }
            | Inst::RotateSum { .. }
            | Inst::Dot { .. }
            | Inst::Add(..) => {}
        }
        for value in segment.operands(inst) {
            defined_before(value, segment.inputs + index)?;
            if segment.is_extended(value) && !matches!(inst, Inst::Dot { .. }) {
                return Err(ExecError::Extended(value));
            }
        }
    }
    segment.outputs.iter().try_for_each(|&value| {
        defined_before(value, values)?;
        if segment.is_extended(value) { Err(ExecError::Extended(value)) } else { Ok(()) }
    })
}

fn defined_before(value: Value, defined: u32) -> Result<(), ExecError> {
    if value.0 < defined { Ok(()) } else { Err(ExecError::Undefined { value, defined }) }
}
