//! The products of a convolution, in the order in which they are emitted.
//!
//! A product joins a partial sum (an output ciphertext and a giant step), an input ciphertext and a baby
//! step. It is listed only if its plaintext has a weight: some output channel meets an input channel of
//! its group through a tap in its support, for a row of the tile. A sum or a rotation without products does
//! not exist. One walk serves the list and the counts.

use super::super::{KernelError, MAX_TERMS, narrow};
use super::alignment::{Alignment, Class};
use super::offsets::{Giant, Offsets};
use std::ops::Range;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    /// Output by output, in it in the order of giant steps.
    pub sums: Vec<Sum>,
    /// Sum by sum; a plaintext's id is its term's place here.
    pub terms: Vec<Term>,
}

/// The partial sum of output ciphertext `output` that giant step `giant` turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    pub output: usize,
    /// Its place in the list of giant steps.
    pub giant: usize,
    terms: Range<usize>,
}

/// A product: input ciphertext `input`, turned by baby step `baby`, in sum `sum`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Term {
    pub sum: u32,
    pub input: u32,
    pub baby: u32,
}

/// An output ciphertext as far as its products depend on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    /// Output phase and tile pair.
    pub phase: usize,
    pub pair: usize,
    pub profile: u32,
}

/// The products of one giant step with all input ciphertexts of one phase and class of a lane.
pub(super) struct Products<'a> {
    /// The giant step's place in the list.
    pub giant: usize,
    /// Input phase.
    pub phase: usize,
    pub class: Class,
    /// How many input ciphertexts there are.
    pub inputs: usize,
    /// Baby steps, rising; at least one.
    pub babies: &'a [u32],
}

impl Schedule {
    pub(super) fn new(a: &Alignment, offsets: &Offsets) -> Result<Self, KernelError> {
        let mut schedule = Self { sums: Vec::new(), terms: Vec::new() };
        let pairs = a.plan.grid.pairs();
        for output in 0..a.plan.outputs.len() * pairs * a.outputs.parts {
            let (phase, pair, part) = split(output, pairs, a.outputs.parts);
            let round = part / a.outputs.per_round;
            let target = Target { phase, pair, profile: a.profile_of[part] };
            let before = schedule.terms.len();
            walk(a, offsets, target, &mut |products| schedule.push(a, (output, pair, round), &products));
            if schedule.terms.len() == before {
                return Err(KernelError::NoTerm(output));
            }
            if schedule.terms.len() > MAX_TERMS {
                return Err(KernelError::TooLarge { limit: MAX_TERMS });
            }
        }
        Ok(schedule)
    }

    pub(super) fn terms_of(&self, sum: &Sum) -> &[Term] {
        &self.terms[sum.terms.clone()]
    }

    fn push(&mut self, a: &Alignment, (output, pair, round): (usize, usize, usize), products: &Products) {
        if self.sums.last().is_none_or(|sum| (sum.output, sum.giant) != (output, products.giant)) {
            let terms = self.terms.len()..self.terms.len();
            self.sums.push(Sum { output, giant: products.giant, terms });
        }
        let sum = narrow(self.sums.len() - 1);
        let first = match products.class {
            Class::Full => 0,
            Class::Last => a.inputs.per_round - products.inputs,
        };
        let set = products.phase * a.plan.grid.pairs() + pair;
        let base = set * a.inputs.parts + round * a.inputs.per_round + first;
        for input in base..base + products.inputs {
            let term = |&baby| Term { sum, input: narrow(input), baby };
            self.terms.extend(products.babies.iter().map(term));
        }
        if let Some(last) = self.sums.last_mut() {
            last.terms.end = self.terms.len();
        }
    }
}

/// Phase, tile pair and part of ciphertext `index`.
pub(super) fn split(index: usize, pairs: usize, parts: usize) -> (usize, usize, usize) {
    (index / parts / pairs, index / parts % pairs, index % parts)
}

/// Visits the products of `target`, giant step by giant step.
pub(super) fn walk(a: &Alignment, offsets: &Offsets, target: Target, visit: &mut dyn FnMut(Products)) {
    let mut babies: Vec<u32> = Vec::new();
    let mut seen = vec![0_u32; offsets.babies.len()];
    let mut mark = 0;
    for (index, &Giant { diagonal, .. }) in offsets.giants.iter().enumerate() {
        for phase in 0..a.plan.inputs.len() {
            let taps = offsets.taps(a, index, (phase, target.phase));
            for (class, inputs) in a.class_sizes() {
                if inputs == 0 || taps.is_empty() {
                    continue;
                }
                mark += 1;
                babies.clear();
                for d in 0..offsets.split.baby_diagonals {
                    let halves = a.halves(target.profile, class, diagonal + d);
                    for part in taps {
                        let baby = offsets.baby(d, part.shift);
                        let used = a.plan.taps[part.tap].halves & halves != 0;
                        if used && a.is_live(target.pair, part.tap) && seen[baby as usize] != mark {
                            seen[baby as usize] = mark;
                            babies.push(baby);
                        }
                    }
                }
                if !babies.is_empty() {
                    babies.sort_unstable();
                    visit(Products { giant: index, phase, class, inputs, babies: &babies });
                }
            }
        }
    }
}
