//! The taps of a convolution on the grid: which phase each reads for which phase, by which shift.
//!
//! With stride s and F fragments an axis, output pixel `F*o + p` reads input pixel `s*F*o + s*p + t - pad`
//! through tap `t`: pixel `o + shift` of input phase `(s*p + t - pad) mod sF`, with
//! `shift = floor((s*p + t - pad) / sF)`; `o` counts within output phase `p`. Taps that meet no pixel are left
//! out here, so later stages never see them. A tap's plaintext is zero where it leaves the image, so
//! padding takes no slots. Where blocks hold spectra, all taps between two phases are one that shifts nothing;
//! there padding takes the zeros that make a block cyclic.

use super::KernelError;
use super::chain::signed;
use crate::layout::{Grid, Phase, Tiles};
use crate::tensor::ConvGeometry;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

/// A tap from an input phase to an output phase, and the output pixels for which it meets the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tap {
    /// Row and column of the kernel.
    pub at: (usize, usize),
    pub input: usize,
    pub output: usize,
    /// Rows and columns by which the input is shifted.
    pub shift: (i64, i64),
    pub rows: Range<usize>,
    pub columns: Range<usize>,
    /// The halves of the output channels whose support has it, as [`half`] marks them.
    pub halves: u8,
}

/// A convolution laid on the grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TapPlan {
    pub grid: Grid,
    pub inputs: Vec<Phase>,
    pub outputs: Vec<Phase>,
    pub taps: Vec<Tap>,
    /// Of spectra, what their taps were on pixels.
    pub folded: Vec<Tap>,
}

impl TapPlan {
    /// Blocks that hold different channels: 1 where a channel is cut into tiles.
    pub(super) fn capacity(&self) -> usize {
        if self.grid.tiles.is_some() { 1 } else { self.grid.blocks() }
    }
}

/// How large the blocks of the grid are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Blocks {
    /// The next power of two, so that channels can be shifted by blocks.
    PowerOfTwo,
    /// As large as the map; more fit.
    Tight,
    /// Powers of two along either axis that hold a map with its padding; they hold its spectrum, and a kernel
    /// of any size turns nothing.
    Spectrum,
}

/// One tap of one axis.
struct AxisTap {
    index: usize,
    input: usize,
    output: usize,
    shift: i64,
    outputs: Range<usize>,
}

/// Output channel `o` of `c_out` as a mark: 1 in the first half, 2 in the second. A support tells the two
/// halves apart, no more.
pub(super) fn half(o: usize, c_out: usize) -> u8 {
    if o < c_out / 2 { 1 } else { 2 }
}

/// Lays the taps of `g`, whose sizes are checked, on a grid of `ring` slots, both sides of the layer in
/// `fragments` phases an axis beyond those that the stride makes.
pub(super) fn plan(
    g: &ConvGeometry,
    ring: usize,
    fragments: usize,
    blocks: Blocks,
) -> Result<TapPlan, KernelError> {
    let (out_h, out_w) = g.out_size();
    let rows = axis(g.h, g.kernel.0, (g.stride.0, g.pad.h), out_h, fragments);
    let columns = axis(g.w, g.kernel.1, (g.stride.1, g.pad.w), out_w, fragments);
    let halves = |at| {
        [0, g.c_out - 1]
            .into_iter()
            .filter(|&o| g.support.has(at, g.kernel, o, g.c_out))
            .fold(0, |all, o| all | half(o, g.c_out))
    };
    let pairs = rows.iter().flat_map(|r| columns.iter().map(move |c| (r, c)));
    let live: Vec<(&AxisTap, &AxisTap)> = pairs.filter(|(r, c)| halves((r.index, c.index)) != 0).collect();
    if live.is_empty() {
        return Err(KernelError::NoTerm(0));
    }
    let inputs = inputs(&live);
    let outputs = outputs((out_h, out_w), fragments);
    let grid = match blocks {
        Blocks::PowerOfTwo | Blocks::Tight => grid(ring, &live, (&inputs, &outputs), blocks)?,
        Blocks::Spectrum => cyclic(ring, &live, (&inputs, &outputs))?,
    };
    let place = |phases: &[Phase], origin: (usize, usize)| phases.partition_point(|p| p.origin < origin);
    let tap = |(r, c): &(&AxisTap, &AxisTap)| Tap {
        at: (r.index, c.index),
        input: place(&inputs, (r.input, c.input)),
        output: place(&outputs, (r.output, c.output)),
        shift: (r.shift, c.shift),
        rows: r.outputs.clone(),
        columns: c.outputs.clone(),
        halves: halves((r.index, c.index)),
    };
    let taps: Vec<Tap> = live.iter().map(tap).collect();
    let (taps, folded) = match blocks {
        Blocks::PowerOfTwo | Blocks::Tight => (taps, Vec::new()),
        Blocks::Spectrum => (merged(&taps), taps),
    };
    Ok(TapPlan { grid, inputs, outputs, taps, folded })
}

/// All taps between the same two phases as one without shift.
fn merged(taps: &[Tap]) -> Vec<Tap> {
    let mut all: BTreeMap<(usize, usize), Tap> = BTreeMap::new();
    for tap in taps {
        let one = all.entry((tap.output, tap.input)).or_insert_with(|| Tap { shift: (0, 0), ..tap.clone() });
        one.rows = one.rows.start.min(tap.rows.start)..one.rows.end.max(tap.rows.end);
        one.columns = one.columns.start.min(tap.columns.start)..one.columns.end.max(tap.columns.end);
        one.halves |= tap.halves;
    }
    all.into_values().collect()
}

/// The taps of an axis of `size` pixels that meet a pixel for some of `outputs` outputs.
fn axis(
    size: usize,
    kernel: usize,
    (stride, pad): (usize, usize),
    outputs: usize,
    fragments: usize,
) -> Vec<AxisTap> {
    let mut taps = Vec::new();
    let period = signed(stride) * signed(fragments);
    for output in 0..fragments.min(outputs) {
        let count = (outputs - output).div_ceil(fragments);
        for index in 0..kernel {
            let offset = signed(stride) * signed(output) + signed(index) - signed(pad);
            let first = usize::try_from((period - 1 - offset).div_euclid(period)).unwrap_or(0);
            let end = (signed(size) - 1 - offset).div_euclid(period) + 1;
            let end = usize::try_from(end).unwrap_or(0).min(count);
            if first < end {
                taps.push(AxisTap {
                    index,
                    input: usize::try_from(offset.rem_euclid(period)).unwrap_or(0),
                    output,
                    shift: offset.div_euclid(period),
                    outputs: first..end,
                });
            }
        }
    }
    taps
}

/// The input phases that `live` taps read, in order, each as far as it is read.
fn inputs(live: &[(&AxisTap, &AxisTap)]) -> Vec<Phase> {
    let read = |t: &AxisTap| usize::try_from(signed(t.outputs.end) + t.shift).unwrap_or(0);
    let mut sizes: BTreeMap<(usize, usize), (usize, usize)> = BTreeMap::new();
    for (r, c) in live {
        let size = sizes.entry((r.input, c.input)).or_default();
        *size = (size.0.max(read(r)), size.1.max(read(c)));
    }
    sizes.into_iter().map(|(origin, size)| Phase { origin, size }).collect()
}

/// The phases of the output, in order.
fn outputs((height, width): (usize, usize), fragments: usize) -> Vec<Phase> {
    let axis = |size: usize| (0..fragments.min(size)).map(move |p| (p, (size - p).div_ceil(fragments)));
    let phase = |(y, h): (usize, usize), (x, w): (usize, usize)| Phase { origin: (y, x), size: (h, w) };
    axis(height).flat_map(|row| axis(width).map(move |column| phase(row, column))).collect()
}

/// The smallest grid that holds every phase; row tiles if it exceeds a row of slots.
fn grid(
    ring: usize,
    live: &[(&AxisTap, &AxisTap)],
    (inputs, outputs): (&[Phase], &[Phase]),
    blocks: Blocks,
) -> Result<Grid, KernelError> {
    let half = ring / 2;
    let (height, pitch) =
        inputs.iter().chain(outputs).fold((0, 0), |m, p| (m.0.max(p.size.0), m.1.max(p.size.1)));
    let pixels = height.saturating_mul(pitch);
    let block = match blocks {
        Blocks::PowerOfTwo | Blocks::Spectrum => pixels.next_power_of_two(),
        Blocks::Tight => pixels,
    };
    if block <= half {
        return Ok(Grid { ring, block, pitch, tiles: None });
    }
    tiled(ring, pitch, reach(live.iter().map(|(r, _)| r.shift)), outputs)
}

/// Blocks of a power of two of rows and of columns, so large that a shift around them meets zeros wherever it
/// meets no pixel; row tiles if that exceeds a row of slots.
fn cyclic(
    ring: usize,
    live: &[(&AxisTap, &AxisTap)],
    (inputs, outputs): (&[Phase], &[Phase]),
) -> Result<Grid, KernelError> {
    let size = |(lead, trail): (usize, usize), of: fn(&Phase) -> usize| {
        let most = |phases: &[Phase], more: usize| phases.iter().map(of).max().unwrap_or(0) + more;
        most(inputs, lead).max(most(outputs, trail)).next_power_of_two()
    };
    let rows = reach(live.iter().map(|(r, _)| r.shift));
    let height = size(rows, |phase| phase.size.0);
    let pitch = size(reach(live.iter().map(|(_, c)| c.shift)), |phase| phase.size.1);
    if height.saturating_mul(pitch) <= ring / 2 {
        return Ok(Grid { ring, block: height * pitch, pitch, tiles: None });
    }
    tiled(ring, pitch, rows, outputs)
}

/// How far `shifts` go back and forth.
fn reach(shifts: impl Iterator<Item = i64>) -> (usize, usize) {
    let (back, forth) = shifts.fold((0, 0), |(back, forth): (i64, i64), s| (back.min(s), forth.max(s)));
    let size = |shift: i64| usize::try_from(shift.unsigned_abs()).unwrap_or(usize::MAX);
    (size(back), size(forth))
}

/// Row tiles of `pitch` slots a row, `lead` rows of halo before them and `trail` after.
fn tiled(
    ring: usize,
    pitch: usize,
    (lead, trail): (usize, usize),
    outputs: &[Phase],
) -> Result<Grid, KernelError> {
    let half = ring / 2;
    let out_h = outputs.iter().fold(0, |m, p| m.max(p.size.0));
    let rows = (half / pitch).saturating_sub(lead + trail).min(out_h);
    if rows == 0 {
        return Err(KernelError::TileTooLarge { rows: lead + trail + 1, width: pitch, half });
    }
    let tiles = Tiles { count: out_h.div_ceil(rows), rows, lead, trail };
    Ok(Grid { ring, block: half, pitch, tiles: Some(tiles) })
}
