//! What of a segment depends on what, computed once before it runs; here its operands are checked.
//!
//! Dot products over the same values in the same order can be done together: each value is then read from
//! memory once for all of them. They need not be neighbours, for what the first one reads exists before
//! it; but a dot product over other values ends a group, so few results wait for their use.

use super::ExecError;
use crate::backend::Basis;
use crate::circuit::{Inst, PlainId, Segment, Value};

/// Dot products of one job at most: the values that they share are read from memory once for all of them,
/// while all their results are held.
const DOTS: usize = 16;

/// How dot products over the same values are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grouping {
    /// One by one.
    Single,
    /// Several in a job, so that this many threads have work.
    Shared {
        /// Threads.
        threads: usize,
    },
}

#[derive(Debug)]
pub(super) struct Schedule {
    /// Instructions of each job in order: a batch of automorphisms, dot products over the same values,
    /// else one. Jobs stand in the order of their first instructions.
    pub(super) jobs: Vec<Vec<u32>>,
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
    pub(super) fn new(segment: &Segment, grouping: Grouping) -> Result<Self, ExecError> {
        let values = u32::try_from(segment.insts.len())
            .ok()
            .and_then(|n| n.checked_add(segment.inputs))
            .ok_or(ExecError::TooLong(segment.insts.len()))?;
        check(segment, values)?;
        let jobs = jobs(segment, grouping);
        let mut pending = vec![0; jobs.len()];
        let mut uses = vec![0_u32; values as usize];
        let mut first = vec![0; values as usize + 1];
        for (job, insts) in jobs.iter().enumerate() {
            for value in operands(segment, insts) {
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
            for value in operands(segment, insts) {
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

/// What a job reads: dot products their values once for all of them, else see [`Segment::batch_operands`].
pub(super) fn operands(segment: &Segment, job: &[u32]) -> Vec<Value> {
    let (Some(&first), Some(&last)) = (job.first(), job.last()) else { return Vec::new() };
    match segment.insts[first as usize] {
        dot @ Inst::Dot { .. } => segment.operands(dot).collect(),
        Inst::Automorphism { .. } | Inst::Extended { .. } | Inst::RotateSum { .. } | Inst::Add(..) => {
            segment.batch_operands(&(first..last + 1))
        }
    }
}

fn jobs(segment: &Segment, grouping: Grouping) -> Vec<Vec<u32>> {
    let mut jobs: Vec<Vec<u32>> = segment.batches().into_iter().map(Iterator::collect).collect();
    let Grouping::Shared { threads } = grouping else { return jobs };
    let is_dot = |inst: u32| matches!(segment.insts[inst as usize], Inst::Dot { .. });
    let dots: Vec<u32> = jobs.iter().map(|job| job[0]).filter(|&inst| is_dot(inst)).collect();
    jobs.retain(|job| !is_dot(job[0]));
    let read = |inst: u32| segment.operands(segment.insts[inst as usize]);
    for alike in dots.chunk_by(|&a, &b| read(a).eq(read(b))) {
        let most = alike.len().div_ceil(threads).min(DOTS);
        let groups = alike.len().div_ceil(most);
        jobs.extend(alike.chunks(alike.len().div_ceil(groups)).map(<[u32]>::to_vec));
    }
    jobs.sort_unstable_by_key(|job| job[0]);
    jobs
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circuit::{BlockGeometry, Builder, Step};

    fn groups(segment: &Segment, grouping: Grouping) -> Vec<Vec<u32>> {
        Schedule::new(segment, grouping).unwrap().jobs
    }

    /// Dot products over both inputs, a rotation after each; then one over the first input alone.
    fn segment(dots: u32) -> Segment {
        let mut builder = Builder::new("layer", 16, BlockGeometry { block: 4, reach: 1 }, 2);
        let (a, b) = (builder.input(0), builder.input(1));
        let mut term = |value| (value, builder.plain());
        let terms: Vec<_> = (0..dots).map(|_| vec![term(a), term(b)]).collect();
        let last = vec![term(a)];
        for terms in terms {
            let dot = builder.dot(terms);
            let turned = builder.automorphism(dot, Step::Rotate(1));
            builder.output(turned);
        }
        let last = builder.dot(last);
        builder.output(last);
        builder.finish()
    }

    #[test]
    fn dots_over_the_same_values_are_one_job_wherever_they_stand() {
        let jobs = groups(&segment(17), Grouping::Shared { threads: 1 });
        let dots: Vec<Vec<u32>> = jobs.iter().filter(|job| job[0] % 2 == 0).cloned().collect();
        let expected = [(0..18).step_by(2).collect(), (18..34).step_by(2).collect(), vec![34]];
        assert_eq!(dots, expected, "two jobs of about the same length, not of sixteen and one");
        assert_eq!(jobs.len(), 3 + 17, "a rotation after each");
    }

    #[test]
    fn groups_leave_work_for_all_threads() {
        for (dots, threads, longest, count) in [(4, 2, 2, 2), (3, 2, 2, 2), (16, 2, 8, 2), (8, 16, 1, 8)] {
            let jobs = groups(&segment(dots), Grouping::Shared { threads });
            let shared: Vec<_> = jobs.iter().filter(|job| job[0] % 2 == 0 && job[0] < 2 * dots).collect();
            assert_eq!(shared.len(), count, "{dots} dot products, {threads} threads");
            assert_eq!(shared.iter().map(|job| job.len()).max(), Some(longest));
        }
    }

    #[test]
    fn other_values_or_another_order_end_a_group() {
        let mut builder = Builder::new("layer", 16, BlockGeometry { block: 4, reach: 1 }, 2);
        let (a, b) = (builder.input(0), builder.input(1));
        for values in [[a, b], [b, a], [a, b], [a, b]] {
            let terms: Vec<_> = values.into_iter().map(|value| (value, builder.plain())).collect();
            let dot = builder.dot(terms);
            builder.output(dot);
        }
        let segment = builder.finish();
        let jobs = groups(&segment, Grouping::Shared { threads: 1 });
        assert_eq!(jobs, [&[0][..], &[1], &[2, 3]]);
        assert_eq!(groups(&segment, Grouping::Single).len(), 4);
    }
}
