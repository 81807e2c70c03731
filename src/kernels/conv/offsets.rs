//! Offsets of a convolution, each the sum of a baby step and a giant step.
//!
//! An output slot reads an input slot that lies a diagonal, kernel rows and kernel columns away. The split
//! assigns each of the three to the inputs or to the sums (a part of the diagonals to either). Baby
//! steps of one value are one rotation, also where their parts differ: 9 taps of a 2x2 map have 7 steps.

use super::super::chain::signed;
use super::alignment::Alignment;
use super::choice::{Operand, Split};
use std::collections::{BTreeMap, BTreeSet};

/// A rotation of inputs: first the rows are exchanged, then turned left by `step`, in `-N/4 < step <= N/4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Baby {
    pub swap: bool,
    pub step: i64,
}

/// A rotation of partial sums: by diagonal `diagonal`, kernel rows and columns `shift`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Giant {
    pub diagonal: usize,
    pub shift: (i64, i64),
}

/// Every offset under one split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offsets {
    pub split: Split,
    pub babies: Vec<Baby>,
    /// In the order in which they are emitted.
    pub giants: Vec<Giant>,
    /// Distinct shifts of babies.
    shifts: Vec<(i64, i64)>,
    /// `diagonal * shifts + shift` to the index of a baby.
    baby_of: Vec<u32>,
    /// The taps by what they leave to the sums, in the order of giant steps.
    groups: Vec<TapGroup>,
    /// The largest step that aligns taps alone.
    pub reach: usize,
}

/// The taps that leave one shift to the sums.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TapGroup {
    shift: (i64, i64),
    /// Output phase by output phase, in it by input phases.
    taps: Vec<Vec<TapPart>>,
}

/// A tap, and the shift that is left to the inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TapPart {
    pub tap: usize,
    pub shift: usize,
}

impl Offsets {
    pub(super) fn new(a: &Alignment, split: Split) -> Self {
        let pitch = signed(a.plan.grid.pitch);
        let parts = |shift: (i64, i64)| {
            let side = |operand, value| match operand {
                Operand::Inputs => (value, 0),
                Operand::Sums => (0, value),
            };
            let ((br, gr), (bc, gc)) = (side(split.rows, shift.0), side(split.columns, shift.1));
            ((br, bc), (gr, gc))
        };
        let shifts: BTreeSet<_> = a.plan.taps.iter().map(|t| parts(t.shift).0).collect();
        let shifts: Vec<(i64, i64)> = shifts.into_iter().collect();
        let phases = a.plan.inputs.len() * a.plan.outputs.len();
        let mut groups: BTreeMap<[(bool, i64); 2], TapGroup> = BTreeMap::new();
        for (tap, t) in a.plan.taps.iter().enumerate() {
            let (baby, giant) = parts(t.shift);
            let group = groups
                .entry([falling(giant.0), falling(giant.1)])
                .or_insert_with(|| TapGroup { shift: giant, taps: vec![Vec::new(); phases] });
            let shift = shifts.partition_point(|s| *s < baby);
            group.taps[t.output * a.plan.inputs.len() + t.input].push(TapPart { tap, shift });
        }
        let groups: Vec<TapGroup> = groups.into_values().collect();
        let step = |(r, c): (i64, i64)| r * pitch + c;
        let taps = shifts.iter().map(|&s| step(s));
        let sums = groups.iter().flat_map(|group| [group.shift.0 * pitch, group.shift.1]);
        let reach = taps.chain(sums).map(i64::unsigned_abs).max().unwrap_or(0);
        let mut offsets = Self {
            split,
            babies: Vec::new(),
            giants: Vec::new(),
            shifts,
            baby_of: Vec::new(),
            groups,
            reach: usize::try_from(reach).unwrap_or(usize::MAX),
        };
        offsets.list_babies(a, step);
        offsets.list_giants(a);
        offsets
    }

    /// The baby that turns by diagonal `d`, below the split's, and shift `shift`.
    pub(super) fn baby(&self, d: usize, shift: usize) -> u32 {
        self.baby_of[d * self.shifts.len() + shift]
    }

    /// The taps of giant step `giant` from input phase `from` to output phase `to`.
    pub(super) fn taps(&self, a: &Alignment, giant: usize, (from, to): (usize, usize)) -> &[TapPart] {
        let group = &self.groups[giant % self.groups.len()];
        &group.taps[to * a.plan.inputs.len() + from]
    }

    fn list_babies(&mut self, a: &Alignment, step: impl Fn((i64, i64)) -> i64) {
        let grid = a.plan.grid;
        let row = signed(grid.half());
        let unit = signed(a.arrangement.lanes * grid.block);
        let mut values = Vec::new();
        for d in 0..self.split.baby_diagonals {
            let (swap, k) = a.diagonal(d);
            let value = |&shift: &(i64, i64)| (swap, (signed(k) * unit + step(shift)).rem_euclid(row));
            values.extend(self.shifts.iter().map(value));
        }
        let mut distinct = values.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let index = |value: &(usize, i64)| super::narrow(distinct.partition_point(|v| v < value));
        self.baby_of = values.iter().map(index).collect();
        let baby = |&(swap, step): &(usize, i64)| Baby {
            swap: swap == 1,
            step: if step > row / 2 { step - row } else { step },
        };
        self.babies = distinct.iter().map(baby).collect();
    }

    /// Row by row of slots, in it by falling distance.
    fn list_giants(&mut self, a: &Alignment) {
        let mut diagonals: Vec<usize> =
            (0..a.arrangement.diagonals).step_by(self.split.baby_diagonals).collect();
        diagonals.sort_by_key(|&d| {
            let (swap, k) = a.diagonal(d);
            (swap, std::cmp::Reverse(k))
        });
        for diagonal in diagonals {
            self.giants.extend(self.groups.iter().map(|group| Giant { diagonal, shift: group.shift }));
        }
    }
}

/// Orders steps as sums take them: those to the left by falling distance, then those to the right.
fn falling(step: i64) -> (bool, i64) {
    (step < 0, if step < 0 { step } else { -step })
}
