//! The taps of a convolution on the grid: which phase each reads, by which shift, for which outputs.
//!
//! Output pixel `o` of one axis reads input pixel `stride * o + t - pad` through tap `t`: pixel `o + shift`
//! of phase `(t - pad) mod stride`, with `shift = floor((t - pad) / stride)`. Taps that meet no pixel are
//! left out here, so later stages never see them. A tap's plaintext is zero where it leaves the image, so
//! padding takes no slots.

use super::KernelError;
use super::chain::signed;
use crate::layout::{Grid, Phase, Tiles};
use crate::tensor::ConvGeometry;
use std::collections::BTreeMap;
use std::ops::Range;

/// A tap and the output pixels for which it meets the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tap {
    /// Row and column of the kernel.
    pub at: (usize, usize),
    pub rows: Range<usize>,
    pub columns: Range<usize>,
}

/// All taps of a phase that read the same slot offset; they differ in the outputs that they serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shift {
    /// Which phase of the input.
    pub phase: usize,
    /// By how many slots the input is turned left.
    pub step: i64,
    pub taps: Vec<Tap>,
}

/// A convolution laid on the grid.
pub(super) struct TapPlan {
    pub grid: Grid,
    pub phases: Vec<Phase>,
    pub shifts: Vec<Shift>,
    /// The largest `|step|`.
    pub reach: usize,
}

/// One tap of one axis.
struct AxisTap {
    index: usize,
    phase: usize,
    shift: i64,
    outputs: Range<usize>,
}

/// Lays the taps of `g`, whose sizes are checked, on a grid of `ring` slots.
pub(super) fn plan(g: &ConvGeometry, ring: usize) -> Result<TapPlan, KernelError> {
    let (out_h, out_w) = g.out_size();
    let rows = axis(g.h, g.kernel.0, g.stride.0, g.pad.h, out_h);
    let columns = axis(g.w, g.kernel.1, g.stride.1, g.pad.w, out_w);
    // A support tells apart the two halves of the output channels, no more.
    let ends = [0, g.c_out - 1];
    let live: Vec<(&AxisTap, &AxisTap)> = rows
        .iter()
        .flat_map(|r| columns.iter().map(move |c| (r, c)))
        .filter(|(r, c)| ends.iter().any(|&o| g.support.has((r.index, c.index), g.kernel, o, g.c_out)))
        .collect();
    if live.is_empty() {
        return Err(KernelError::NoTerm(0));
    }
    let phases = phases(&live);
    let grid = grid(ring, (out_h, out_w), &live, &phases)?;
    let step = |r: &AxisTap, c: &AxisTap| r.shift * signed(grid.pitch) + c.shift;
    let mut shifts: BTreeMap<(usize, i64), Shift> = BTreeMap::new();
    for (r, c) in &live {
        let tap = Tap { at: (r.index, c.index), rows: r.outputs.clone(), columns: c.outputs.clone() };
        let phase = phases.partition_point(|p| p.origin < (r.phase, c.phase));
        let shift = shifts
            .entry((phase, step(r, c).rem_euclid(signed(grid.half()))))
            .or_insert_with(|| Shift { phase, step: step(r, c), taps: Vec::new() });
        shift.taps.push(tap);
    }
    let reach = live.iter().map(|(r, c)| step(r, c).unsigned_abs()).max().unwrap_or(0);
    let shifts = shifts.into_values().collect();
    Ok(TapPlan { grid, phases, shifts, reach: usize::try_from(reach).unwrap_or(usize::MAX) })
}

/// The taps of an axis of `size` pixels that meet a pixel for some of `outputs` outputs.
fn axis(size: usize, kernel: usize, stride: usize, pad: usize, outputs: usize) -> Vec<AxisTap> {
    let mut taps = Vec::new();
    for index in 0..kernel.min(size + pad) {
        let first = pad.saturating_sub(index).div_ceil(stride);
        let end = outputs.min((size - 1 + pad - index) / stride + 1);
        if first < end {
            let offset = signed(index) - signed(pad);
            let stride = signed(stride);
            taps.push(AxisTap {
                index,
                phase: usize::try_from(offset.rem_euclid(stride)).unwrap_or(0),
                shift: offset.div_euclid(stride),
                outputs: first..end,
            });
        }
    }
    taps
}

/// The phases that `live` taps read, in order, each as far as it is read.
fn phases(live: &[(&AxisTap, &AxisTap)]) -> Vec<Phase> {
    let read = |t: &AxisTap| usize::try_from(signed(t.outputs.end) + t.shift).unwrap_or(0);
    let mut sizes: BTreeMap<(usize, usize), (usize, usize)> = BTreeMap::new();
    for (r, c) in live {
        let size = sizes.entry((r.phase, c.phase)).or_default();
        *size = (size.0.max(read(r)), size.1.max(read(c)));
    }
    sizes.into_iter().map(|(origin, size)| Phase { origin, size }).collect()
}

/// The smallest grid that holds the output and every phase; row tiles if it exceeds a row of slots.
fn grid(
    ring: usize,
    (out_h, out_w): (usize, usize),
    live: &[(&AxisTap, &AxisTap)],
    phases: &[Phase],
) -> Result<Grid, KernelError> {
    let half = ring / 2;
    let height = phases.iter().fold(out_h, |m, p| m.max(p.size.0));
    let pitch = phases.iter().fold(out_w, |m, p| m.max(p.size.1));
    let block = height.saturating_mul(pitch).next_power_of_two();
    if block <= half {
        return Ok(Grid { ring, block, pitch, tiles: None });
    }
    let least = live.iter().fold(0, |m, (r, _)| m.min(r.shift));
    let most = live.iter().fold(0, |m, (r, _)| m.max(r.shift));
    let lead = usize::try_from(-least).unwrap_or(0);
    let trail = usize::try_from(most).unwrap_or(0);
    let rows = (half / pitch).saturating_sub(lead + trail).min(out_h);
    if rows == 0 {
        return Err(KernelError::TileTooLarge { rows: lead + trail + 1, width: pitch, half });
    }
    let tiles = Tiles { count: out_h.div_ceil(rows), rows, lead, trail };
    Ok(Grid { ring, block: half, pitch, tiles: Some(tiles) })
}
