//! Circuit passes: rewrites of one segment that give the same slots for less work.
//!
//! Kernels emit rotations, dot products and additions one by one; here rotations that are summed up come to
//! share the division by P, and those that share a key are brought together. Every pass keeps the outputs
//! slot for slot, the counts of rotations, products and additions, and is idempotent; the verifier runs after
//! each and blames the pass. A circuit depends on nothing but its kernels: no pass looks at times measured
//! on a machine, nor at moduli, which are chosen later.

mod batch;
mod drop_zeros;
mod extend;
mod rotate_sums;

pub use drop_zeros::drop_zeros;

use crate::circuit::{Builder, CircuitError, Inst, Segment, Turn, Value, verify};

/// A rewrite of a segment.
#[derive(Clone, Copy, Debug)]
pub struct CircuitPass {
    /// A stable name.
    pub name: &'static str,
    /// Applies it to a verified segment of a ring of that degree; gives the number of changes.
    pub run: fn(&mut Segment, u32) -> usize,
}

/// The passes in order: sums take the rotations that nothing else reads, dot products theirs, then what is
/// left is ordered.
pub const CIRCUIT_PASSES: &[CircuitPass] = &[
    CircuitPass { name: "rotate-sums", run: rotate_sums::run },
    CircuitPass { name: "extend", run: extend::run },
    CircuitPass { name: "batch", run: batch::run },
];

/// A pass broke a segment: a fault of this program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("after pass {pass}: {error}")]
pub struct CircuitPassError {
    /// The pass.
    pub pass: &'static str,
    /// What the verifier says.
    pub error: CircuitError,
}

/// Runs all circuit passes on a verified segment of a ring of degree `ring`.
///
/// # Errors
/// If a pass breaks the segment.
pub fn run_circuit(segment: &mut Segment, ring: u32) -> Result<(), CircuitPassError> {
    for pass in CIRCUIT_PASSES {
        (pass.run)(segment, ring);
        verify(segment, ring).map_err(|error| CircuitPassError { pass: pass.name, error })?;
    }
    Ok(())
}

/// A segment being written anew: where each old value went.
struct Rewrite<'a> {
    old: &'a Segment,
    builder: Builder,
    moved: Vec<Value>,
}

impl<'a> Rewrite<'a> {
    fn new(old: &'a Segment, ring: u32) -> Self {
        // A value that has not moved yet is never asked for: definitions come before uses.
        let moved = (0..old.inputs + index(old.insts.len())).map(Value).collect();
        Self { builder: Builder::like(old, ring), moved, old }
    }

    /// Where an old value is now.
    fn at(&self, old: Value) -> Value {
        self.moved[old.0 as usize]
    }

    /// The value that instruction `inst` defines.
    fn value(&self, inst: usize) -> Value {
        Value(self.old.inputs + index(inst))
    }

    fn turn(&self, turn: Turn) -> Turn {
        Turn { src: self.at(turn.src), step: turn.step }
    }

    /// Says that an old value is now `new`.
    fn define(&mut self, old: Value, new: Value) {
        self.moved[old.0 as usize] = new;
    }

    /// Copies instruction `inst` with its operands where they are now.
    fn copy(&mut self, inst: usize) {
        let new = match self.old.insts[inst] {
            Inst::Automorphism { src, step } => {
                let src = self.at(src);
                self.builder.automorphism(src, step)
            }
            Inst::Extended { src, step } => {
                let src = self.at(src);
                self.builder.extended(src, step)
            }
            Inst::RotateSum { first, len } => {
                let turns: Vec<_> = self.old.summands(first, len).iter().map(|&t| self.turn(t)).collect();
                self.builder.rotate_sum(turns)
            }
            Inst::Dot { first, len } => {
                let terms = self.old.dot_terms(first, len).iter();
                let terms: Vec<_> = terms.map(|&(value, plain)| (self.at(value), plain)).collect();
                self.builder.dot(terms)
            }
            Inst::Add(a, b) => {
                let (a, b) = (self.at(a), self.at(b));
                self.builder.add(a, b)
            }
        };
        self.define(self.value(inst), new);
    }

    fn finish(mut self) -> Segment {
        for &output in &self.old.outputs {
            let output = self.at(output);
            self.builder.output(output);
        }
        self.builder.finish()
    }
}

fn index(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
