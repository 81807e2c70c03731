//! Runs one segment on a backend, in parallel.
//!
//! The unit of work is a job: a batch of automorphisms, a few dot products over the same values, else one
//! instruction. A job is ready when its operands exist; of all ready jobs the one that comes first in the
//! segment runs first, so memory follows the order in which the kernel emitted. A ciphertext is dropped
//! after its last use, a plaintext that is not kept as soon as it is multiplied: never more of them live
//! than the running dot products hold. Does not know which backend, and trusts no segment: operands are
//! checked before anything runs.

mod dots;
mod kept;
mod schedule;
mod state;

pub use kept::Kept;

use crate::backend::{BackendError, Evaluator};
use crate::circuit::{Inst, PlainSource, Segment, Value};
use schedule::{Grouping, Schedule};
use state::{Held, State};
use std::cmp::Reverse;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// A sum of rotations over no summands, or over summands that the segment lacks.
    #[error("sum of rotations over {first}..{first}+{len} of {available}")]
    Turns {
        /// First summand.
        first: u32,
        /// How many.
        len: u32,
        /// Summands of the segment.
        available: usize,
    },
    /// An extended value where only ciphertexts can stand.
    #[error("{0:?} is extended, and only dot products may read it")]
    Extended(Value),
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
    let grouping = match kept.keeps() {
        true => Grouping::Shared { threads: rayon::current_num_threads() },
        false => Grouping::Single,
    };
    let schedule = Schedule::new(segment, grouping)?;
    if inputs.len() != segment.inputs as usize {
        return Err(ExecError::Inputs { expected: segment.inputs, found: inputs.len() });
    }
    let (state, ready) = State::<E>::new(&schedule, inputs);
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
    let output = |&value: &Value| Arc::unwrap_or_clone(state.operand(value).into_ciphertext());
    let outputs = segment.outputs.iter().map(output).collect();
    Ok(Executed { outputs, peak_live: state.peak })
}

/// A job with its operands, of which `last_uses` leave the store with it.
struct Work<'a, E: Evaluator> {
    insts: &'a [u32],
    operands: Vec<Held<E>>,
    last_uses: usize,
}

struct Run<'a, E: Evaluator> {
    evaluator: &'a E,
    segment: &'a Segment,
    plains: &'a dyn PlainSource,
    kept: &'a Kept<E::Plaintext>,
    progress: &'a (dyn Fn(u64) + Sync),
    schedule: &'a Schedule,
    state: Mutex<State<E>>,
}

impl<E: Evaluator> Run<'_, E> {
    /// Runs the first ready job. There are always as many calls under way or queued as ready jobs, so a
    /// call never waits for another one.
    fn next_job<'s>(&'s self, scope: &rayon::Scope<'s>) {
        let Some(work) = self.take() else { return };
        let insts = work.insts;
        let last_uses = work.last_uses;
        match self.execute(work) {
            Ok(results) => {
                for _ in 0..self.publish(insts, results, last_uses) {
                    scope.spawn(|scope| self.next_job(scope));
                }
                (self.progress)(insts.len() as u64);
            }
            Err(error) => self.state().error = Some(error),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Work<'_, E>> {
        let mut state = self.state();
        if state.error.is_some() {
            return None;
        }
        let Reverse(job) = state.ready.pop()?;
        let insts = &self.schedule.jobs[job as usize][..];
        let mut last_uses = 0;
        let operands = schedule::operands(self.segment, insts).into_iter().map(|value| {
            let operand = state.operand(value);
            last_uses += usize::from(state.uses[value.0 as usize] == 0);
            operand
        });
        let operands = operands.collect();
        Some(Work { insts, operands, last_uses })
    }

    /// Stores a job's results and returns how many jobs became ready.
    fn publish(&self, insts: &[u32], results: Vec<Held<E>>, last_uses: usize) -> usize {
        let mut state = self.state();
        let mut ready = 0;
        for (inst, result) in insts.iter().zip(results) {
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

    fn execute(&self, work: Work<'_, E>) -> Result<Vec<Held<E>>, BackendError> {
        let whole = |ciphertext: E::Ciphertext| vec![Held::Ciphertext(Arc::new(ciphertext))];
        match self.segment.insts[work.insts[0] as usize] {
            Inst::Automorphism { .. } | Inst::Extended { .. } => self.batch(&work),
            Inst::RotateSum { first, len } => {
                let turns = self.segment.summands(first, len).iter();
                let summands: Vec<_> =
                    turns.zip(&work.operands).map(|(turn, held)| (held.ciphertext(), turn.step)).collect();
                Ok(whole(self.evaluator.rotate_sum(&summands)?))
            }
            Inst::Dot { .. } => {
                let sums = self.dots(work.insts, &work.operands)?;
                Ok(sums.into_iter().flat_map(whole).collect())
            }
            Inst::Add(..) => {
                let mut operands = work.operands.into_iter().map(Held::into_ciphertext);
                let mut next = || operands.next().expect("an addition has two operands");
                let (mut a, mut b) = (next(), next());
                if Arc::get_mut(&mut a).is_none() {
                    std::mem::swap(&mut a, &mut b);
                }
                let mut sum = Arc::unwrap_or_clone(a);
                self.evaluator.add_assign(&mut sum, &b);
                Ok(whole(sum))
            }
        }
    }

    /// A batch of automorphisms, whose operands are its sources in order of first use.
    fn batch(&self, work: &Work<'_, E>) -> Result<Vec<Held<E>>, BackendError> {
        let places = schedule::operands(self.segment, work.insts);
        let sources: Vec<_> = work.operands.iter().map(Held::ciphertext).collect();
        let mut extended = false;
        let mut steps = Vec::with_capacity(work.insts.len());
        for &inst in work.insts {
            let (src, step) = match self.segment.insts[inst as usize] {
                Inst::Automorphism { src, step } => (src, step),
                Inst::Extended { src, step } => {
                    extended = true;
                    (src, step)
                }
                Inst::RotateSum { .. } | Inst::Dot { .. } | Inst::Add(..) => continue,
            };
            let place = places.iter().position(|&place| place == src);
            steps.push((place.expect("a batch reads the sources of its automorphisms"), step));
        }
        if extended {
            let turned = self.evaluator.extended(&sources, &steps)?;
            Ok(turned.into_iter().map(|value| Held::Extended(Arc::new(value))).collect())
        } else {
            let turned = self.evaluator.automorphisms(&sources, &steps)?;
            Ok(turned.into_iter().map(|value| Held::Ciphertext(Arc::new(value))).collect())
        }
    }
}
