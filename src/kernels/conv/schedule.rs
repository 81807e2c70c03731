//! The products of a convolution, in the order in which they are emitted.
//!
//! A product joins an output ciphertext, a diagonal, an input ciphertext and a shift. It is listed only if
//! its plaintext has a weight: some output block meets an input channel of its group through a tap in its
//! support, for a row of the tile. An output, a diagonal or a rotation without products does not exist.

use super::super::taps::Tap;
use super::super::{KernelError, MAX_TERMS, narrow};
use super::alignment::Alignment;
use std::ops::Range;

/// The most combinations of blocks and shifts that are looked at while terms are listed.
const MAX_WORK: usize = 1 << 30;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    /// Output by output, in it by rows of slots, in them by falling distance.
    pub diagonals: Vec<Diagonal>,
    /// Diagonal by diagonal; a plaintext's id is its term's place here.
    pub terms: Vec<Term>,
}

/// The partial sum `p_{swap,blocks}` of output ciphertext `output`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Diagonal {
    pub output: usize,
    pub swap: usize,
    pub blocks: usize,
    terms: Range<usize>,
}

/// A product: input ciphertext `input`, turned by shift `shift`, in diagonal `diagonal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Term {
    pub diagonal: u32,
    pub input: u32,
    pub shift: u32,
}

impl Schedule {
    /// Lists the products of `alignment`, whose input has `phases` phases.
    pub(super) fn new(alignment: &Alignment, phases: usize) -> Result<Self, KernelError> {
        check_work(alignment, phases)?;
        let mut schedule = Self { diagonals: Vec::new(), terms: Vec::new() };
        for pair in 0..alignment.grid.pairs() {
            let live = live(alignment, pair);
            for part in 0..alignment.outputs.parts {
                let output = pair * alignment.outputs.parts + part;
                let before = schedule.terms.len();
                for (swap, blocks) in alignment.diagonals() {
                    let first = schedule.terms.len();
                    schedule.list(alignment, &live, (pair, part), (swap, blocks));
                    let terms = first..schedule.terms.len();
                    if schedule.terms.len() > MAX_TERMS {
                        return Err(KernelError::TooLarge { limit: MAX_TERMS });
                    }
                    if !terms.is_empty() {
                        schedule.diagonals.push(Diagonal { output, swap, blocks, terms });
                    }
                }
                if schedule.terms.len() == before {
                    return Err(KernelError::NoTerm(output));
                }
            }
        }
        Ok(schedule)
    }

    pub(super) fn terms_of(&self, diagonal: &Diagonal) -> &[Term] {
        &self.terms[diagonal.terms.clone()]
    }

    /// Lists the terms of one diagonal of one output ciphertext.
    fn list(
        &mut self,
        a: &Alignment,
        live: &[(usize, Vec<&Tap>)],
        (pair, part): (usize, usize),
        (swap, blocks): (usize, usize),
    ) {
        let (g, diagonal) = (&a.geometry, narrow(self.diagonals.len()));
        for source in 0..a.inputs.parts {
            let meets = |&(block, o): &(usize, usize)| {
                a.column(o, source, a.grid.shifted(block, swap, blocks)).is_some()
            };
            let met: Vec<usize> = a.wanted(part).filter(meets).map(|(_, o)| o).collect();
            for (shift, taps) in live {
                let used = |tap: &&Tap| met.iter().any(|&o| g.support.has(tap.at, g.kernel, o, g.c_out));
                if taps.iter().any(used) {
                    let set = a.shifts[*shift].phase * a.grid.pairs() + pair;
                    let input = narrow(set * a.inputs.parts + source);
                    self.terms.push(Term { diagonal, input, shift: narrow(*shift) });
                }
            }
        }
    }
}

/// The taps, shift by shift, that serve some output row of tile pair `pair`.
fn live(a: &Alignment, pair: usize) -> Vec<(usize, Vec<&Tap>)> {
    let height = a.geometry.out_size().0;
    let windows = [0, 1].map(|row| a.grid.window(pair, row, height).rows);
    let serves = |tap: &&Tap| windows.iter().any(|w| w.start.max(tap.rows.start) < w.end.min(tap.rows.end));
    let shifts = a.shifts.iter().enumerate();
    shifts.map(|(index, shift)| (index, shift.taps.iter().filter(serves).collect())).collect()
}

fn check_work(a: &Alignment, phases: usize) -> Result<(), KernelError> {
    let blocks = a.outputs.channels.min(a.grid.blocks());
    let factors = [a.grid.pairs(), a.outputs.parts, a.fold.diagonals, a.inputs.parts, blocks, a.shifts.len()];
    let work = factors.into_iter().fold(1, usize::saturating_mul);
    let inputs = phases.saturating_mul(a.grid.pairs()).saturating_mul(a.inputs.parts);
    if work > MAX_WORK || inputs > MAX_TERMS {
        return Err(KernelError::TooLarge { limit: MAX_TERMS });
    }
    Ok(())
}
