//! Questions about a segment that all who read instructions ask: operands, steps, batches.
//!
//! Nothing here trusts the segment: what lies outside of its lists is not there.

use super::{Inst, PlainId, Segment, Step, Turn, Value};
use std::ops::Range;

/// Sources that one batch of automorphisms turns: each key is read from memory once for all of them, and
/// their digits are held at the same time.
pub const BATCH: usize = 4;

impl Segment {
    /// The terms of a dot product; none if they are not all there.
    #[must_use]
    pub fn dot_terms(&self, first: u32, len: u32) -> &[(Value, PlainId)] {
        slice(&self.terms, first, len)
    }

    /// The summands of a sum of rotations; none if they are not all there.
    #[must_use]
    pub fn summands(&self, first: u32, len: u32) -> &[Turn] {
        slice(&self.turns, first, len)
    }

    /// The values that `inst` reads, each as often as it does.
    pub fn operands(&self, inst: Inst) -> impl Iterator<Item = Value> {
        let (terms, turns, pair) = match inst {
            Inst::Automorphism { src, .. } | Inst::Extended { src, .. } => {
                (&[][..], &[][..], [Some(src), None])
            }
            Inst::RotateSum { first, len } => (&[][..], self.summands(first, len), [None; 2]),
            Inst::Dot { first, len } => (self.dot_terms(first, len), &[][..], [None; 2]),
            Inst::Add(a, b) => (&[][..], &[][..], [Some(a), Some(b)]),
        };
        let listed = terms.iter().map(|&(value, _)| value).chain(turns.iter().map(|turn| turn.src));
        listed.chain(pair.into_iter().flatten())
    }

    /// The instruction that defines `value`; none for an input or what is not there.
    #[must_use]
    pub fn definition(&self, value: Value) -> Option<Inst> {
        let index = value.0.checked_sub(self.inputs)?;
        self.insts.get(index as usize).copied()
    }

    /// Whether `value` is left extended.
    #[must_use]
    pub fn is_extended(&self, value: Value) -> bool {
        matches!(self.definition(value), Some(Inst::Extended { .. }))
    }

    /// The steps of all automorphisms, each as often as it is done.
    pub fn steps(&self) -> impl Iterator<Item = Step> {
        self.insts.iter().flat_map(|&inst| {
            let (alone, turns) = match inst {
                Inst::Automorphism { step, .. } | Inst::Extended { step, .. } => (Some(step), &[][..]),
                Inst::RotateSum { first, len } => (None, self.summands(first, len)),
                Inst::Dot { .. } | Inst::Add(..) => (None, &[][..]),
            };
            alone.into_iter().chain(turns.iter().filter_map(|turn| turn.step))
        })
    }

    /// Which plaintexts multiply an extended value and need the special primes too, by id.
    #[must_use]
    pub fn extended_plains(&self) -> Vec<bool> {
        let mut extended = vec![false; self.plains as usize];
        for &(value, plain) in &self.terms {
            if self.is_extended(value)
                && let Some(slot) = extended.get_mut(plain.0 as usize)
            {
                *slot = true;
            }
        }
        extended
    }

    /// How often each value is read, outputs included.
    #[must_use]
    pub fn uses(&self) -> Vec<u32> {
        let mut uses = vec![0_u32; self.inputs as usize + self.insts.len()];
        let read = self.insts.iter().flat_map(|&inst| self.operands(inst));
        for value in read.chain(self.outputs.iter().copied()) {
            if let Some(n) = uses.get_mut(value.0 as usize) {
                *n += 1;
            }
        }
        uses
    }

    /// The instructions cut into what is done at a time: a batch of automorphisms, else one instruction.
    ///
    /// A batch is a run of automorphisms, all extended or none, of at most [`BATCH`] sources that are
    /// defined before it. The digits of each source are cut once: a source of a batch with its steps is a
    /// hoisted group.
    #[must_use]
    pub fn batches(&self) -> Vec<Range<u32>> {
        let mut batches: Vec<Range<u32>> = Vec::new();
        let mut sources: Vec<Value> = Vec::with_capacity(BATCH);
        let mut kind = None;
        for (index, inst) in (0..).zip(&self.insts) {
            let turned = match *inst {
                Inst::Automorphism { src, .. } => Some((src, false)),
                Inst::Extended { src, .. } => Some((src, true)),
                Inst::RotateSum { .. } | Inst::Dot { .. } | Inst::Add(..) => None,
            };
            let joined = match (turned, batches.last_mut()) {
                (Some((src, extended)), Some(batch))
                    if kind == Some(extended)
                        && src.0 < self.inputs.saturating_add(batch.start)
                        && (sources.contains(&src) || sources.len() < BATCH) =>
                {
                    batch.end = index + 1;
                    true
                }
                (Some(_) | None, Some(_) | None) => false,
            };
            if !joined {
                batches.push(index..index + 1);
                sources.clear();
            }
            kind = turned.map(|(_, extended)| extended);
            if let Some((src, _)) = turned
                && !sources.contains(&src)
            {
                sources.push(src);
            }
        }
        batches
    }

    /// What the instructions of `batch` read: of a batch of automorphisms each source once, in order of
    /// first use.
    #[must_use]
    pub fn batch_operands(&self, batch: &Range<u32>) -> Vec<Value> {
        let insts = self.insts.get(batch.start as usize..batch.end as usize).unwrap_or(&[]);
        if let [only] = insts {
            return self.operands(*only).collect();
        }
        let mut sources = Vec::with_capacity(BATCH);
        for value in insts.iter().flat_map(|&inst| self.operands(inst)) {
            if !sources.contains(&value) {
                sources.push(value);
            }
        }
        sources
    }
}

fn slice<T>(all: &[T], first: u32, len: u32) -> &[T] {
    let range = first.checked_add(len).map(|end| first as usize..end as usize);
    range.and_then(|range| all.get(range)).unwrap_or(&[])
}
