//! Rotations that only dot products read stay extended where that saves divisions by P.
//!
//! Rotations and the dot products that read them fall into connected parts. A part of `R` rotations, `D`
//! dot products and `T` terms divides `R` times; left extended, `D` times, and each term's plaintext and
//! product take one prime more. In transforms, with `k` ciphertext primes:
//! ```text
//! saved  (R - D) (2k + 2)  -  T (1 + 1/6)        one transform more to encode, a product is 1/6 of one
//! ```
//! It is counted with two ciphertext primes, where a division saves least, so the choice holds for all
//! moduli. A dot product that divides anyway costs nothing more. Depthwise and grouped convolutions gain
//! (eight rotations a dot product), dense ones whose rotated inputs meet many diagonals do not.

use super::Rewrite;
use crate::circuit::{Inst, Segment, Value};

/// Six times the transforms of a division with two ciphertext primes.
const DIVISION: u64 = 6 * 6;
/// Six times the transforms by which an extended term is dearer.
const TERM: u64 = 7;

pub(super) fn run(segment: &mut Segment, ring: u32) -> usize {
    let chosen = chosen(segment);
    let count = chosen.iter().filter(|&&c| c).count();
    if count == 0 {
        return 0;
    }
    let mut rewrite = Rewrite::new(segment, ring);
    for (inst, op) in segment.insts.iter().enumerate() {
        match *op {
            Inst::Automorphism { src, step } if chosen[inst] => {
                let src = rewrite.at(src);
                let extended = rewrite.builder.extended(src, step);
                rewrite.define(rewrite.value(inst), extended);
            }
            Inst::Automorphism { .. }
            | Inst::Extended { .. }
            | Inst::RotateSum { .. }
            | Inst::Dot { .. }
            | Inst::Add(..) => rewrite.copy(inst),
        }
    }
    *segment = rewrite.finish();
    count
}

/// What a connected part holds.
#[derive(Clone, Copy, Default)]
struct Part {
    rotations: u64,
    dots: u64,
    terms: u64,
}

/// Which instructions are rotations to be left extended.
fn chosen(segment: &Segment) -> Vec<bool> {
    let candidates = candidates(segment);
    let index = |value: Value| value.0.checked_sub(segment.inputs).map(|i| i as usize);
    let candidate = |value: Value| index(value).filter(|&i| candidates[i]);
    let mut parts = Parts::new(segment.insts.len());
    for (inst, op) in segment.insts.iter().enumerate() {
        if let Inst::Dot { first, len } = *op {
            let read = segment.dot_terms(first, len).iter();
            read.filter_map(|&(value, _)| candidate(value)).for_each(|i| parts.join(i, inst));
        }
    }
    let mut sums = vec![Part::default(); segment.insts.len()];
    for (inst, op) in segment.insts.iter().enumerate() {
        let part = &mut sums[parts.root(inst)];
        match *op {
            Inst::Dot { first, len } => {
                let terms = segment.dot_terms(first, len);
                let read = terms.iter().filter(|&&(value, _)| candidate(value).is_some()).count() as u64;
                let divides = terms.iter().any(|&(value, _)| segment.is_extended(value));
                part.terms += read;
                part.dots += u64::from(read > 0 && !divides);
            }
            Inst::Automorphism { .. } => part.rotations += u64::from(candidates[inst]),
            Inst::Extended { .. } | Inst::RotateSum { .. } | Inst::Add(..) => {}
        }
    }
    (0..segment.insts.len())
        .map(|inst| {
            let Part { rotations, dots, terms } = sums[parts.root(inst)];
            candidates[inst] && rotations.saturating_sub(dots) * DIVISION > terms * TERM
        })
        .collect()
}

/// Which instructions are rotations that dot products read and nothing else.
fn candidates(segment: &Segment) -> Vec<bool> {
    let mut candidates: Vec<bool> =
        segment.insts.iter().map(|inst| matches!(inst, Inst::Automorphism { .. })).collect();
    let mut exclude = |value: Value| {
        if let Some(i) = value.0.checked_sub(segment.inputs) {
            candidates[i as usize] = false;
        }
    };
    for &inst in &segment.insts {
        if !matches!(inst, Inst::Dot { .. }) {
            segment.operands(inst).for_each(&mut exclude);
        }
    }
    segment.outputs.iter().copied().for_each(exclude);
    candidates
}

/// Disjoint sets of instructions.
struct Parts {
    parent: Vec<usize>,
}

impl Parts {
    fn new(count: usize) -> Self {
        Self { parent: (0..count).collect() }
    }

    fn root(&mut self, mut i: usize) -> usize {
        while self.parent[i] != i {
            self.parent[i] = self.parent[self.parent[i]];
            i = self.parent[i];
        }
        i
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b)] = a.min(b);
    }
}
