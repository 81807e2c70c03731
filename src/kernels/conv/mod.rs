//! Convolution by baby steps and giant steps.
//!
//! Each output slot reads input slots at offsets `d + t`, a diagonal of channels and a kernel tap. Every
//! offset is the sum of a baby step, which turns inputs, and a giant step, which turns partial sums:
//! ```text
//! y = sum_g rot_g( sum over inputs i and baby steps b:  rot_-g(w(i, g + b)) * rot_b(x_i) )
//! ```
//! That takes `(B - 1) n_i + (G - 1 + L) n_o` rotations, where `B * G = D * kh * kw` (`alignment` says what D
//! and L are), against `n_i (kh * kw - 1) + n_o (D - 1 + L)` of output rotation, where taps turn the inputs
//! and diagonals the sums, and `n_i (D * kh * kw - 1) + L n_o` of input rotation. All are splits of this one
//! kernel. Products whose plaintext is zero by declaration are not emitted, nor rotations that only such
//! products would read (`schedule`).
//!
//! Where maps are held as spectra ([`Blocks::Spectrum`], [`super::spectrum`]) all taps of a kernel are one
//! product and shift nothing, so `B * G = D`: the same schedule of one tap.

mod alignment;
mod choice;
mod choose;
mod emit;
mod offsets;
mod plain;
mod schedule;
mod tally;

pub use choice::{Arrangement, Choice, Operand, Split};
pub use choose::Candidate;
pub(super) use choose::{candidates, output_rotation};
pub use tally::Tally;

use super::spectrum::{Shifted, Spectra, Transform};
use super::taps::{self, Blocks};
use super::{KernelError, check_ring, narrow};
use crate::circuit::BlockGeometry;
use crate::layout::{Halo, Image, Packing};
use crate::tensor::{ConvGeometry, MAX_ELEMENTS, Shape};
use alignment::Alignment;
use offsets::Offsets;
use schedule::Schedule;

/// The most rows or columns of a kernel.
const MAX_KERNEL: usize = 1 << 10;
/// The most polyphase parts an axis.
const MAX_FRAGMENTS: usize = 8;

/// The packed algorithm of one convolution, or of a linear layer as the convolution of an image of one pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conv {
    choice: Choice,
    alignment: Alignment,
    offsets: Offsets,
    input: Packing,
    output: Packing,
    schedule: Schedule,
}

impl Conv {
    /// The kernel of `g` as `choice` has it.
    pub(super) fn new(g: &ConvGeometry, ring: usize, choice: Choice) -> Result<Self, KernelError> {
        check_ring(ring)?;
        check_sizes(g)?;
        let alignment = align(g, ring, choice.arrangement)?;
        check_split(&alignment, choice.split)?;
        let offsets = Offsets::new(&alignment, choice.split);
        let schedule = Schedule::new(&alignment, &offsets)?;
        let (plan, fragments) = (&alignment.plan, choice.arrangement.fragments);
        let out = g.out_size();
        let input = Packing::Image(Image {
            shape: (g.c_in, g.h, g.w),
            grid: plan.grid,
            spread: alignment.inputs.spread,
            stride: (g.stride.0 * fragments, g.stride.1 * fragments),
            phases: plan.inputs.clone(),
            halo: Halo::Held,
        });
        let output = Packing::Image(Image {
            shape: (g.c_out, out.0, out.1),
            grid: plan.grid,
            spread: alignment.outputs.spread,
            stride: (fragments, fragments),
            phases: plan.outputs.clone(),
            halo: Halo::None,
        });
        Ok(Self { choice, alignment, offsets, input, output, schedule })
    }

    /// How it is laid out and scheduled.
    #[must_use]
    pub fn choice(&self) -> Choice {
        self.choice
    }

    /// What it costs, by the same formulas as [`super::Kernel::candidates`].
    ///
    /// # Errors
    /// None that building the kernel would not have met.
    pub fn cost(&self) -> Result<Tally, KernelError> {
        tally_of(&self.alignment, self.choice.split)
    }

    pub(super) fn input(&self) -> &Packing {
        &self.input
    }

    pub(super) fn output(&self) -> &Packing {
        &self.output
    }

    /// How many plaintexts it has.
    pub(super) fn products(&self) -> usize {
        self.schedule.terms.len()
    }

    /// Rows and columns of the spectrum that a block holds, if it holds one.
    pub(super) fn spectrum(&self) -> Option<(usize, usize)> {
        let grid = self.alignment.plan.grid;
        let held = self.choice.arrangement.blocks == Blocks::Spectrum;
        held.then_some((grid.block / grid.pitch, grid.pitch))
    }

    /// The spectra of its kernels, one for each input phase.
    pub(super) fn spectra(&self, transform: &Transform) -> Vec<Spectra> {
        let plan = &self.alignment.plan;
        let of = |phase: usize| {
            let taps = plan.folded.iter().filter(|tap| tap.input == phase);
            let taps: Vec<Shifted> = taps.map(|tap| Shifted { at: tap.at, shift: tap.shift }).collect();
            Spectra::new(transform, &taps)
        };
        (0..plan.inputs.len()).map(of).collect()
    }

    pub(super) fn weight_shape(&self) -> Shape {
        let g = &self.alignment.geometry;
        Shape::of(&[g.c_out, self.alignment.columns(), g.kernel.0, g.kernel.1])
    }
}

/// Lays `g` out; sizes are checked.
fn align(g: &ConvGeometry, ring: usize, arrangement: Arrangement) -> Result<Alignment, KernelError> {
    let Arrangement { fragments, blocks, lanes, period, diagonals } = arrangement;
    check("fragments", fragments, (1..=MAX_FRAGMENTS).contains(&fragments), "1 to 8")?;
    let whole = fragments == 1 || blocks != Blocks::Spectrum;
    check("fragments of spectra", fragments, whole, "1")?;
    let plan = taps::plan(g, ring, fragments, blocks)?;
    let capacity = plan.capacity();
    let (fits, places) = match blocks {
        Blocks::PowerOfTwo | Blocks::Spectrum => (lanes.is_power_of_two(), capacity / lanes.max(1)),
        Blocks::Tight => (true, 1),
    };
    let fits = fits && (1..=capacity).contains(&lanes);
    check("lanes", lanes, fits, "up to the channel capacity, a power of two if blocks are")?;
    check("period", period, period.is_power_of_two() && period <= places, "a power of two within a lane")?;
    let fits = diagonals.is_power_of_two() && diagonals <= period;
    check("diagonals", diagonals, fits, "a power of two up to the period")?;
    Alignment::new(g, plan, arrangement)
}

fn tally_of(alignment: &Alignment, split: Split) -> Result<Tally, KernelError> {
    let offsets = Offsets::new(alignment, split);
    let block = alignment.plan.grid.block;
    tally::tally(alignment, &offsets, BlockGeometry { block: narrow(block), reach: narrow(offsets.reach) })
}

fn check_split(alignment: &Alignment, split: Split) -> Result<(), KernelError> {
    let baby = split.baby_diagonals;
    let fits = baby.is_power_of_two() && baby <= alignment.arrangement.diagonals;
    check("diagonals on inputs", baby, fits, "a power of two up to the diagonals")
}

fn check(what: &'static str, found: usize, fits: bool, expected: &'static str) -> Result<(), KernelError> {
    if fits { Ok(()) } else { Err(KernelError::Size { what, found, expected }) }
}

pub(super) fn check_sizes(g: &ConvGeometry) -> Result<(), KernelError> {
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
