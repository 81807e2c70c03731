//! The instructions of a convolution.
//!
//! Sums are nested by the coordinates of their giant steps, `rows of slots (places (kernel rows (kernel
//! columns)))`, so that every coordinate is turned by few Galois keys (`chain`) and no more rotations are made
//! than sums exist beyond the first.

use super::super::chain::{rotated_sum, signed};
use super::Conv;
use super::narrow;
use super::schedule::{Schedule, Sum};
use crate::circuit::{BlockGeometry, Builder, Segment, Value};

impl Conv {
    pub(in super::super) fn emit(&self, layer: &str) -> Segment {
        let grid = self.alignment.plan.grid;
        let geometry = BlockGeometry { block: narrow(grid.block), reach: narrow(self.offsets.reach) };
        let inputs = self.input.ciphertexts();
        let mut builder = Builder::new(layer, narrow(grid.ring), geometry, narrow(inputs));
        let mut emitter = Emitter { conv: self, turned: vec![Vec::new(); inputs] };
        let wanted = wanted(&self.schedule);
        for sums in self.schedule.sums.chunk_by(|a, b| a.output == b.output) {
            for term in sums.iter().flat_map(|sum| self.schedule.terms_of(sum)) {
                emitter.turn(&mut builder, &wanted, term.input);
            }
            let value = emitter.rows_of_slots(&mut builder, sums);
            let value = emitter.fold(&mut builder, value);
            builder.output(value);
        }
        builder.finish()
    }
}

/// `(input, baby)` of every rotation of an input, sorted.
fn wanted(schedule: &Schedule) -> Vec<(u32, u32)> {
    let mut wanted: Vec<_> = schedule.terms.iter().map(|t| (t.input, t.baby)).collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

struct Emitter<'a> {
    conv: &'a Conv,
    /// Of each input that has been read, its baby steps and what they gave, sorted.
    turned: Vec<Vec<(u32, Value)>>,
}

impl Emitter<'_> {
    /// Emits the rotations of `input` when it is first read, all together, so that they form hoisted
    /// groups and inputs that only late outputs read are not turned early.
    fn turn(&mut self, builder: &mut Builder, wanted: &[(u32, u32)], input: u32) {
        let turned = &mut self.turned[input as usize];
        if !turned.is_empty() {
            return;
        }
        let source = builder.input(input);
        let first = wanted.partition_point(|w| w.0 < input);
        let babies = &self.conv.offsets.babies;
        for &(_, index) in wanted[first..].iter().take_while(|w| w.0 == input) {
            let baby = babies[index as usize];
            let source = if baby.swap { builder.swap_rows(source) } else { source };
            turned.push((index, builder.rotate(source, baby.step)));
        }
    }

    fn rows_of_slots(&self, builder: &mut Builder, sums: &[Sum]) -> Value {
        let mut total = None;
        for row in sums.chunk_by(|a, b| self.place(a).0 == self.place(b).0) {
            let mut value = self.places(builder, row);
            if self.place(&row[0]).0 == 1 {
                value = builder.swap_rows(value);
            }
            total = Some(match total {
                Some(total) => builder.add(total, value),
                None => value,
            });
        }
        total.expect("an output has a sum")
    }

    fn places(&self, builder: &mut Builder, sums: &[Sum]) -> Value {
        let a = &self.conv.alignment;
        let baby = self.conv.choice.split.baby_diagonals.min(a.places_per_row());
        let unit = baby * a.arrangement.lanes * a.plan.grid.block;
        let of = |sum: &Sum| self.place(sum).1 / baby;
        let parts: Vec<(usize, &[Sum])> =
            sums.chunk_by(|a, b| of(a) == of(b)).map(|sums| (of(&sums[0]), sums)).collect();
        rotated_sum(builder, unit, &parts, |builder, sums| self.kernel_rows(builder, sums))
    }

    fn kernel_rows(&self, builder: &mut Builder, sums: &[Sum]) -> Value {
        self.axis(builder, sums, self.conv.alignment.plan.grid.pitch, |shift| shift.0, Self::kernel_columns)
    }

    fn kernel_columns(&self, builder: &mut Builder, sums: &[Sum]) -> Value {
        self.axis(builder, sums, 1, |shift| shift.1, Self::dot)
    }

    /// The sum over the steps of one kernel axis, in units of `unit` slots: those to the left and those
    /// to the right each from the output's place outwards.
    fn axis(
        &self,
        builder: &mut Builder,
        sums: &[Sum],
        unit: usize,
        of: impl Fn((i64, i64)) -> i64,
        inner: fn(&Self, &mut Builder, &[Sum]) -> Value,
    ) -> Value {
        let step = |sum: &Sum| of(self.conv.offsets.giants[sum.giant].shift);
        let row = self.conv.alignment.plan.grid.half();
        let mut total = None;
        for side in sums.chunk_by(|a, b| (step(a) < 0) == (step(b) < 0)) {
            let unit = if step(&side[0]) < 0 { row - unit } else { unit };
            let distance = |sum: &Sum| usize::try_from(step(sum).unsigned_abs()).unwrap_or(0);
            let parts: Vec<(usize, &[Sum])> =
                side.chunk_by(|a, b| step(a) == step(b)).map(|sums| (distance(&sums[0]), sums)).collect();
            let value = rotated_sum(builder, unit, &parts, |builder, sums| inner(self, builder, sums));
            total = Some(match total {
                Some(total) => builder.add(total, value),
                None => value,
            });
        }
        total.expect("an axis has a step")
    }

    /// The products of one sum. Plaintexts are numbered as their terms are: sums are emitted in order.
    fn dot(&self, builder: &mut Builder, sums: &[Sum]) -> Value {
        let terms = sums.iter().flat_map(|sum| self.conv.schedule.terms_of(sum));
        let operands: Vec<_> = terms
            .map(|term| {
                let turned = &self.turned[term.input as usize];
                let place = turned.partition_point(|(baby, _)| *baby < term.baby);
                (turned[place].1, builder.plain())
            })
            .collect();
        builder.dot(operands)
    }

    /// Rotate and sum over the places that hold the same output channel.
    fn fold(&self, builder: &mut Builder, mut value: Value) -> Value {
        let a = &self.conv.alignment;
        let mut places = a.arrangement.diagonals;
        while places < a.arrangement.period {
            let turned = if places < a.places_per_row() {
                builder.rotate(value, signed(places * a.arrangement.lanes * a.plan.grid.block))
            } else {
                builder.swap_rows(value)
            };
            value = builder.add(value, turned);
            places *= 2;
        }
        value
    }

    /// Exchange of rows and distance in places of a sum.
    fn place(&self, sum: &Sum) -> (usize, usize) {
        let giant = self.conv.offsets.giants[sum.giant];
        self.conv.alignment.diagonal(giant.diagonal)
    }
}
