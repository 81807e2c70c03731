//! Runs one segment on a backend, in parallel.
//!
//! The unit of work is a job: a hoisted group, a dot product, an addition. A job is ready when its
//! operands exist; of all ready jobs the one that comes first in the segment runs first, so memory
//! follows the order in which the kernel emitted. A ciphertext is dropped after its last use, a plaintext
//! as soon as it is multiplied: never more of them live than the running dot products hold. Does not know
//! which backend, and trusts no segment: operands are checked before anything runs.

mod kept;

pub use kept::Kept;

use crate::backend::{BackendError, Evaluator};
use crate::circuit::{Inst, PlainId, PlainSource, Segment, Value};
use rayon::prelude::*;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Longer dot products are cut into pieces of this many terms, so that one may use all threads.
const PIECE: usize = 64;

/// A segment that cannot run, or a backend that failed.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The backend failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// Another number of ciphertexts than the segment takes.
    #[error("the segment takes {expected} ciphertexts, got {found}")]
    Inputs {
        /// What it takes.
        expected: u32,
        /// What it got.
        found: usize,
    },
    /// An operand or output that is not defined before its use.
    #[error("{value:?} is used where only {defined} values are defined")]
    Undefined {
        /// The operand.
        value: Value,
        /// Values defined there.
        defined: u32,
    },
    /// A dot product over no terms, or over terms that the segment lacks.
    #[error("dot product over terms {first}..{first}+{len} of {available}")]
    Terms {
        /// First term.
        first: u32,
        /// How many.
        len: u32,
        /// Terms of the segment.
        available: usize,
    },
    /// More than 2^32 values.
    #[error("a segment of {0} instructions is too long")]
    TooLong(usize),
}

/// A segment's results, and what running it took.
#[derive(Debug)]
pub struct Executed<C> {
    /// The segment's outputs in order.
    pub outputs: Vec<C>,
    /// The most ciphertexts that were held at one moment, inputs among them.
    pub peak_live: usize,
}

/// Runs `segment` on `inputs` and returns its outputs. `progress` is told, from any thread, how many
/// instructions were just finished.
///
/// # Errors
/// If the segment is malformed or the backend fails.
pub fn run<E: Evaluator>(
    evaluator: &E,
    segment: &Segment,
    plains: &dyn PlainSource,
    inputs: Vec<E::Ciphertext>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<E::Ciphertext>, ExecError> {
    run_measured(evaluator, segment, plains, inputs, progress).map(|executed| executed.outputs)
}

/// As [`run`], with plaintexts that earlier runs of the same segment have `kept`.
///
/// # Errors
/// If the segment is malformed or the backend fails.
pub fn run_kept<E: Evaluator>(
    evaluator: &E,
    segment: &Segment,
    (plains, kept): (&dyn PlainSource, &Kept<E::Plaintext>),
    inputs: Vec<E::Ciphertext>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<E::Ciphertext>, ExecError> {
    execute(evaluator, segment, (plains, kept), inputs, progress).map(|executed| executed.outputs)
}

/// As [`run`], and says how many ciphertexts were live at once.
///
/// # Errors
/// If the segment is malformed or the backend fails.
pub fn run_measured<E: Evaluator>(
    evaluator: &E,
    segment: &Segment,
    plains: &dyn PlainSource,
    inputs: Vec<E::Ciphertext>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Executed<E::Ciphertext>, ExecError> {
    execute(evaluator, segment, (plains, &Kept::none()), inputs, progress)
}

fn execute<E: Evaluator>(
    evaluator: &E,
    segment: &Segment,
    (plains, kept): (&dyn PlainSource, &Kept<E::Plaintext>),
    inputs: Vec<E::Ciphertext>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Executed<E::Ciphertext>, ExecError> {
    let schedule = Schedule::new(segment)?;
    if inputs.len() != segment.inputs as usize {
        return Err(ExecError::Inputs { expected: segment.inputs, found: inputs.len() });
    }
    let (state, ready) = State::new(&schedule, inputs);
    let run =
        Run { evaluator, segment, plains, kept, progress, schedule: &schedule, state: Mutex::new(state) };
    rayon::scope(|scope| {
        for _ in 0..ready {
            scope.spawn(|scope| run.next_job(scope));
        }
    });
    let mut state = run.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = state.error.take() {
        return Err(error.into());
    }
    let outputs = segment.outputs.iter().map(|&value| Arc::unwrap_or_clone(state.operand(value))).collect();
    Ok(Executed { outputs, peak_live: state.peak })
}

/// What depends on what, computed once.
struct Schedule {
    /// Instructions of each job, consecutive.
    jobs: Vec<Range<u32>>,
    /// Operands of each job that other jobs define, each as often as it is used.
    pending: Vec<u32>,
    /// How often each value is used, outputs included.
    uses: Vec<u32>,
    /// The jobs that use value `v` are `consumers[first[v]..first[v + 1]]`.
    first: Vec<usize>,
    consumers: Vec<u32>,
}

impl Schedule {
    fn new(segment: &Segment) -> Result<Self, ExecError> {
        let values = u32::try_from(segment.insts.len())
            .ok()
            .and_then(|n| n.checked_add(segment.inputs))
            .ok_or(ExecError::TooLong(segment.insts.len()))?;
        let jobs = jobs(segment)?;
        let mut pending = vec![0; jobs.len()];
        let mut uses = vec![0_u32; values as usize];
        let mut first = vec![0; values as usize + 1];
        for (job, insts) in jobs.iter().enumerate() {
            for value in operands(segment, insts.start) {
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
            for value in operands(segment, insts.start) {
                let slot = &mut free[value.0 as usize];
                consumers[*slot] = job;
                *slot += 1;
            }
        }
        for value in &segment.outputs {
            defined_before(*value, values)?;
            uses[value.0 as usize] += 1;
        }
        Ok(Self { jobs, pending, uses, first, consumers })
    }

    fn consumers(&self, value: usize) -> &[u32] {
        &self.consumers[self.first[value]..self.first[value + 1]]
    }
}

/// Cuts the instructions into jobs and checks their operands.
fn jobs(segment: &Segment) -> Result<Vec<Range<u32>>, ExecError> {
    let mut jobs: Vec<Range<u32>> = Vec::new();
    let mut hoisted = None;
    for (index, inst) in (0..).zip(&segment.insts) {
        let defined = segment.inputs + index;
        let source = match *inst {
            Inst::Automorphism { src, .. } => Some(src),
            Inst::Dot { first, len } => {
                let end =
                    first.checked_add(len).filter(|&end| len > 0 && end as usize <= segment.terms.len());
                end.ok_or(ExecError::Terms { first, len, available: segment.terms.len() })?;
                None
            }
            Inst::Add(..) => None,
        };
        for value in operands(segment, index) {
            defined_before(value, defined)?;
        }
        match jobs.last_mut() {
            Some(group) if source.is_some() && source == hoisted => group.end += 1,
            Some(_) | None => jobs.push(index..index + 1),
        }
        hoisted = source;
    }
    Ok(jobs)
}

fn defined_before(value: Value, defined: u32) -> Result<(), ExecError> {
    if value.0 < defined { Ok(()) } else { Err(ExecError::Undefined { value, defined }) }
}

/// The operands of the job that starts at instruction `index`: a hoisted group has one.
fn operands(segment: &Segment, index: u32) -> impl Iterator<Item = Value> {
    let (terms, pair) = match segment.insts[index as usize] {
        Inst::Automorphism { src, .. } => (&[][..], [Some(src), None]),
        Inst::Dot { first, len } => (&segment.terms[first as usize..][..len as usize], [None, None]),
        Inst::Add(a, b) => (&[][..], [Some(a), Some(b)]),
    };
    terms.iter().map(|&(value, _)| value).chain(pair.into_iter().flatten())
}

/// What changes while a segment runs.
struct State<C> {
    ready: BinaryHeap<Reverse<u32>>,
    pending: Vec<u32>,
    uses: Vec<u32>,
    values: Vec<Option<Arc<C>>>,
    live: usize,
    peak: usize,
    error: Option<BackendError>,
}

impl<C> State<C> {
    /// The state before the first job, and how many jobs are ready.
    fn new(schedule: &Schedule, inputs: Vec<C>) -> (Self, usize) {
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
            state.define(value, input);
        }
        (state, jobs)
    }

    fn define(&mut self, value: usize, ciphertext: C) {
        self.live += 1;
        self.peak = self.peak.max(self.live);
        if self.uses[value] == 0 {
            self.live -= 1;
        } else {
            self.values[value] = Some(Arc::new(ciphertext));
        }
    }

    /// Takes one use of `value`; the last one takes the value itself.
    fn operand(&mut self, value: Value) -> Arc<C> {
        let slot = value.0 as usize;
        self.uses[slot] -= 1;
        let held = if self.uses[slot] == 0 { self.values[slot].take() } else { self.values[slot].clone() };
        held.expect("a value is defined before its job is ready and kept until its last use")
    }
}

/// A job with its operands, of which `last_uses` leave the store with it.
struct Work<C> {
    insts: Range<u32>,
    operands: Vec<Arc<C>>,
    last_uses: usize,
}

struct Run<'a, E: Evaluator> {
    evaluator: &'a E,
    segment: &'a Segment,
    plains: &'a dyn PlainSource,
    kept: &'a Kept<E::Plaintext>,
    progress: &'a (dyn Fn(u64) + Sync),
    schedule: &'a Schedule,
    state: Mutex<State<E::Ciphertext>>,
}

impl<E: Evaluator> Run<'_, E> {
    /// Runs the first ready job. There are always as many calls under way or queued as ready jobs, so a
    /// call never waits for another one.
    fn next_job<'s>(&'s self, scope: &rayon::Scope<'s>) {
        let Some(work) = self.take() else { return };
        let insts = work.insts.clone();
        let last_uses = work.last_uses;
        match self.execute(work) {
            Ok(results) => {
                for _ in 0..self.publish(&insts, results, last_uses) {
                    scope.spawn(|scope| self.next_job(scope));
                }
                (self.progress)(u64::from(insts.end - insts.start));
            }
            Err(error) => self.state().error = Some(error),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<E::Ciphertext>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Work<E::Ciphertext>> {
        let mut state = self.state();
        if state.error.is_some() {
            return None;
        }
        let Reverse(job) = state.ready.pop()?;
        let insts = self.schedule.jobs[job as usize].clone();
        let mut last_uses = 0;
        let operands = operands(self.segment, insts.start)
            .map(|value| {
                let operand = state.operand(value);
                last_uses += usize::from(state.uses[value.0 as usize] == 0);
                operand
            })
            .collect();
        Some(Work { insts, operands, last_uses })
    }

    /// Stores a job's results and returns how many jobs became ready.
    fn publish(&self, insts: &Range<u32>, results: Vec<E::Ciphertext>, last_uses: usize) -> usize {
        let mut state = self.state();
        let mut ready = 0;
        for (inst, result) in insts.clone().zip(results) {
            let value = (self.segment.inputs + inst) as usize;
            state.define(value, result);
            for &job in self.schedule.consumers(value) {
                state.pending[job as usize] -= 1;
                if state.pending[job as usize] == 0 {
                    state.ready.push(Reverse(job));
                    ready += 1;
                }
            }
        }
        state.live -= last_uses;
        ready
    }

    fn execute(&self, work: Work<E::Ciphertext>) -> Result<Vec<E::Ciphertext>, BackendError> {
        let insts = &self.segment.insts[work.insts.start as usize..work.insts.end as usize];
        let mut operands = work.operands.into_iter();
        let mut next = || operands.next().expect("a job has the operands of its instruction");
        match insts[0] {
            Inst::Automorphism { .. } => {
                let steps: Vec<_> = insts
                    .iter()
                    .filter_map(|inst| match *inst {
                        Inst::Automorphism { step, .. } => Some(step),
                        Inst::Dot { .. } | Inst::Add(..) => None,
                    })
                    .collect();
                self.evaluator.automorphisms(&next(), &steps)
            }
            Inst::Dot { first, len } => {
                let terms = &self.segment.terms[first as usize..][..len as usize];
                let operands: Vec<_> = operands.collect();
                Ok(vec![self.dot(terms, &operands)?])
            }
            Inst::Add(..) => {
                let (mut a, mut b) = (next(), next());
                if Arc::get_mut(&mut a).is_none() {
                    std::mem::swap(&mut a, &mut b);
                }
                let mut sum = Arc::unwrap_or_clone(a);
                self.evaluator.add_assign(&mut sum, &b);
                Ok(vec![sum])
            }
        }
    }

    /// A dot product, its pieces in parallel. The number of additions does not depend on the pieces.
    fn dot(
        &self,
        terms: &[(Value, PlainId)],
        operands: &[Arc<E::Ciphertext>],
    ) -> Result<E::Ciphertext, BackendError> {
        if terms.len() <= PIECE {
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

    fn piece(
        &self,
        terms: &[(Value, PlainId)],
        operands: &[Arc<E::Ciphertext>],
    ) -> Result<E::Ciphertext, BackendError> {
        let mut slots = vec![0; self.evaluator.ring()];
        self.evaluator.dot(&mut terms.iter().zip(operands).map(|(&(_, id), ciphertext)| {
            let plaintext = self.kept.get(id, || {
                self.plains.fill(id, &mut slots);
                self.evaluator.encode(&slots)
            })?;
            Ok((&**ciphertext, plaintext))
        }))
    }
}
