//! Convolution by output rotation: taps turn the inputs, channel diagonals turn the partial sums.
//!
//! ```text
//! p_d[u] = sum over inputs i and taps t:  w(i, t, d)[u] * rot_t(x_i)[u]      taps: internal
//! y      = sum_k rot_{k*block}(p_{0,k})  +  swap(sum_k rot_{k*block}(p_{1,k}))   diagonals: external
//! ```
//! External rotations of an output ciphertext: `D - 1 + log2(M / D)`, where `M = min(c_n, np2(C_in))` and
//! `D = min(M, np2(C_out))` (`alignment` says why). Internal rotations of an input ciphertext: one a tap,
//! none for a tap that needs no shift. Products whose plaintext is zero by declaration are not emitted, nor
//! rotations that only such products would read (`schedule`).

mod alignment;
mod plain;
mod schedule;

use super::chain::{rotated_sum, signed};
use super::taps::{self, TapPlan};
use super::{KernelError, check_ring, narrow};
use crate::circuit::{BlockGeometry, Builder, Segment, Value};
use crate::layout::{Halo, Image, Packing, Phase};
use crate::tensor::{ConvGeometry, MAX_ELEMENTS, Shape};
use alignment::Alignment;
use schedule::{Diagonal, Schedule, Term};

/// The most rows or columns of a kernel.
const MAX_KERNEL: usize = 1 << 10;

/// The output-rotation kernel of one convolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conv {
    alignment: Alignment,
    /// The largest tap step.
    reach: usize,
    input: Packing,
    output: Packing,
    schedule: Schedule,
}

impl Conv {
    pub(super) fn new(g: &ConvGeometry, ring: usize) -> Result<Self, KernelError> {
        check_ring(ring)?;
        check_sizes(g)?;
        let TapPlan { grid, phases, shifts, reach } = taps::plan(g, ring)?;
        let alignment = Alignment::new(g, grid, shifts);
        let schedule = Schedule::new(&alignment, phases.len())?;
        let out = g.out_size();
        let input = Packing::Image(Image {
            shape: (g.c_in, g.h, g.w),
            grid,
            spread: alignment.inputs.spread,
            stride: g.stride,
            phases,
            halo: Halo::Held,
        });
        let output = Packing::Image(Image {
            shape: (g.c_out, out.0, out.1),
            grid,
            spread: alignment.outputs.spread,
            stride: (1, 1),
            phases: vec![Phase { origin: (0, 0), size: out }],
            halo: Halo::None,
        });
        Ok(Self { alignment, reach, input, output, schedule })
    }

    pub(super) fn input(&self) -> &Packing {
        &self.input
    }

    pub(super) fn output(&self) -> &Packing {
        &self.output
    }

    pub(super) fn weight_shape(&self) -> Shape {
        let g = &self.alignment.geometry;
        Shape::of(&[g.c_out, self.alignment.columns(), g.kernel.0, g.kernel.1])
    }

    pub(super) fn emit(&self, layer: &str) -> Segment {
        let grid = self.alignment.grid;
        let geometry = BlockGeometry { block: narrow(grid.block), reach: narrow(self.reach) };
        let inputs = self.input.ciphertexts();
        let mut builder = Builder::new(layer, narrow(grid.ring), geometry, narrow(inputs));
        let mut turns = Turns::new(&self.schedule, inputs);
        for diagonals in self.schedule.diagonals.chunk_by(|a, b| a.output == b.output) {
            for term in diagonals.iter().flat_map(|d| self.schedule.terms_of(d)) {
                turns.emit(self, &mut builder, term.input);
            }
            let mut sum = None;
            for row in diagonals.chunk_by(|a, b| a.swap == b.swap) {
                let value = self.emit_row(&mut builder, row);
                sum = Some(match sum {
                    Some(sum) => builder.add(sum, value),
                    None => value,
                });
            }
            let sum = sum.expect("a chunk is not empty");
            let value = self.emit_fold(&mut builder, sum);
            builder.output(value);
        }
        builder.finish()
    }

    /// The sum over the diagonals of one output that agree in `swap`. Plaintexts are numbered as their
    /// terms are: `rotated_sum` keeps the order of diagonals.
    fn emit_row(&self, builder: &mut Builder, row: &[Diagonal]) -> Value {
        let parts: Vec<(usize, &Diagonal)> = row.iter().map(|d| (d.blocks, d)).collect();
        let sum = rotated_sum(builder, self.alignment.grid.block, &parts, |builder, diagonal| {
            let terms = self.schedule.terms_of(diagonal).iter();
            let operands: Vec<_> = terms.map(|&term| (self.turned(builder, term), builder.plain())).collect();
            builder.dot(operands)
        });
        if row.first().is_some_and(|d| d.swap == 1) { builder.swap_rows(sum) } else { sum }
    }

    /// Rotate and sum over the blocks that hold the same output channel.
    fn emit_fold(&self, builder: &mut Builder, mut value: Value) -> Value {
        let (grid, fold) = (self.alignment.grid, self.alignment.fold);
        let mut blocks = fold.diagonals;
        while blocks < fold.meet {
            let turned = if blocks < grid.blocks_per_row() {
                builder.rotate(value, signed(blocks * grid.block))
            } else {
                builder.swap_rows(value)
            };
            value = builder.add(value, turned);
            blocks *= 2;
        }
        value
    }

    fn turned(&self, builder: &mut Builder, term: Term) -> Value {
        let source = builder.input(term.input);
        builder.rotate(source, self.alignment.shifts[term.shift as usize].step)
    }
}

/// Emits the rotations of each input when it is first read, all together, so that they form one hoisted
/// group and inputs that only late outputs read are not turned early.
struct Turns {
    /// `(input, shift)`, sorted.
    wanted: Vec<(u32, u32)>,
    done: Vec<bool>,
}

impl Turns {
    fn new(schedule: &Schedule, inputs: usize) -> Self {
        let mut wanted: Vec<_> = schedule.terms.iter().map(|t| (t.input, t.shift)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        Self { wanted, done: vec![false; inputs] }
    }

    fn emit(&mut self, conv: &Conv, builder: &mut Builder, input: u32) {
        if std::mem::replace(&mut self.done[input as usize], true) {
            return;
        }
        let first = self.wanted.partition_point(|w| w.0 < input);
        let source = builder.input(input);
        for (_, shift) in self.wanted[first..].iter().take_while(|w| w.0 == input) {
            builder.rotate(source, conv.alignment.shifts[*shift as usize].step);
        }
    }
}

pub(super) fn check_sizes(g: &ConvGeometry) -> Result<(), KernelError> {
    let check = |what, found, fits: bool, expected| {
        if fits { Ok(()) } else { Err(KernelError::Size { what, found, expected }) }
    };
    for (what, found) in [
        ("input channels", g.c_in),
        ("output channels", g.c_out),
        ("height", g.h),
        ("width", g.w),
        ("row stride", g.stride.0),
        ("column stride", g.stride.1),
    ] {
        check(what, found, (1..=MAX_ELEMENTS).contains(&found), "1 to 2^31")?;
    }
    for (what, found) in [("kernel height", g.kernel.0), ("kernel width", g.kernel.1)] {
        check(what, found, (1..=MAX_KERNEL).contains(&found), "1 to 1024")?;
    }
    for (what, found) in [("row padding", g.pad.h), ("column padding", g.pad.w)] {
        check(what, found, found <= MAX_ELEMENTS, "at most 2^31")?;
    }
    let padded = "at most that of the padded image";
    check("kernel height", g.kernel.0, g.kernel.0 <= g.h + 2 * g.pad.h, padded)?;
    check("kernel width", g.kernel.1, g.kernel.1 <= g.w + 2 * g.pad.w, padded)?;
    let groups = g.groups.count();
    let divides = groups > 0 && g.c_in.is_multiple_of(groups) && g.c_out.is_multiple_of(groups);
    check("groups", groups, divides, "a divisor of both channel counts")?;
    let (out_h, out_w) = g.out_size();
    for (what, (c, h, w)) in
        [("input elements", (g.c_in, g.h, g.w)), ("output elements", (g.c_out, out_h, out_w))]
    {
        let elements = c.saturating_mul(h).saturating_mul(w);
        check(what, elements, elements <= MAX_ELEMENTS, "at most 2^31")?;
    }
    Ok(())
}
