//! The plaintexts of a convolution: a weight in every slot whose output pixel its tap serves, or the spectrum of
//! a kernel in every block of its output channel, turned back by the giant step of its sum.

use super::super::chain::signed;
use super::super::spectrum::Spectra;
use super::super::taps::{Tap, half};
use super::Conv;
use super::choice::Arrangement;
use super::schedule::{Term, split};
use crate::circuit::PlainId;
use crate::layout::Window;
use std::ops::Range;

/// Where a plaintext's weights go: they are turned back by the giant step of its sum.
struct Target<'a> {
    /// Tile pair of the output.
    pair: usize,
    /// Rows of slots are exchanged.
    swap: bool,
    /// Slots to the right within a row.
    turn: usize,
    /// Slots of a row.
    half: usize,
    slots: &'a mut [i64],
}

/// The output pixels of a block that a tap serves, as runs of slots from the block's first slot.
struct Runs {
    first: usize,
    len: usize,
    count: usize,
    pitch: usize,
}

impl Runs {
    fn new(tap: &Tap, window: &Window, pitch: usize) -> Self {
        let (from, to) = (tap.rows.start.max(window.rows.start), tap.rows.end.min(window.rows.end));
        let first = window.local(from) * pitch + tap.columns.start;
        Self { first, len: tap.columns.len(), count: to.saturating_sub(from), pitch }
    }
}

impl Target<'_> {
    /// Writes `weight` into `runs` of a block that starts `within` slots into row `row`.
    fn fill(&mut self, runs: &Runs, (row, within): (usize, usize), weight: i64) {
        let row = (row ^ usize::from(self.swap)) * self.half;
        let mut first = within + runs.first + self.turn;
        for _ in 0..runs.count {
            if first >= self.half {
                first -= self.half;
            }
            let fits = runs.len.min(self.half - first);
            self.slots[row + first..][..fits].fill(weight);
            if fits < runs.len {
                self.slots[row..][..runs.len - fits].fill(weight);
            }
            first += runs.pitch;
        }
    }

    /// The slots of a block that starts `within` slots into row `row`; blocks are turned by whole ones.
    fn block(&self, (row, within): (usize, usize), len: usize) -> Range<usize> {
        let first = (row ^ usize::from(self.swap)) * self.half + (within + self.turn) % self.half;
        first..first + len
    }
}

/// A pair of channels that a diagonal joins.
struct Joined {
    /// Output channel: row of the weight.
    output: usize,
    /// Input channel of the group: column of the weight.
    column: usize,
    /// The block of the output channel, the first of two that hold tiles.
    block: usize,
}

/// What tells the channels of a plaintext: output ciphertext of a phase, input ciphertext of a phase, diagonal.
#[derive(Clone, Copy)]
struct Channels {
    part: usize,
    source: usize,
    diagonal: usize,
}

impl Conv {
    /// Writes the weights of plaintext `id` into `slots`, which are zero.
    pub(in super::super) fn fill(&self, weights: &[i8], id: PlainId, spectra: &[Spectra], slots: &mut [i64]) {
        let Some(term) = self.schedule.terms.get(id.0 as usize) else { return };
        let a = &self.alignment;
        let sum = &self.schedule.sums[term.sum as usize];
        let giant = self.offsets.giants[sum.giant];
        let (_, pair, _) = split(sum.output, a.plan.grid.pairs(), a.outputs.parts);
        let (swap, k) = a.diagonal(giant.diagonal);
        let blocks = signed(k * a.arrangement.lanes * a.plan.grid.block);
        let turn = blocks + giant.shift.0 * signed(a.plan.grid.pitch) + giant.shift.1;
        let turn = usize::try_from(turn.rem_euclid(signed(a.plan.grid.half()))).unwrap_or(0);
        let mut target = Target { pair, swap: swap == 1, turn, half: a.plan.grid.half(), slots };
        self.each_tap(term, |tap, channels| match spectra.get(tap.input) {
            Some(spectra) => self.fill_spectra(weights, spectra, channels, &mut target),
            None => self.fill_tap(weights, tap, channels, &mut target),
        });
    }

    /// Whether plaintext `id` is zero under `weights`.
    pub(in super::super) fn is_zero(&self, weights: &[i8], id: PlainId) -> bool {
        let Some(term) = self.schedule.terms.get(id.0 as usize) else { return true };
        let (g, plan) = (&self.alignment.geometry, &self.alignment.plan);
        let mut zero = true;
        self.each_tap(term, |tap, channels| {
            let folded = plan.folded.iter().filter(|t| (t.input, t.output) == (tap.input, tap.output));
            let taps: Vec<&Tap> = if plan.folded.is_empty() { vec![tap] } else { folded.collect() };
            zero = zero
                && self.joined(channels, &mut |joined| {
                    taps.iter().all(|tap| {
                        tap.halves & half(joined.output, g.c_out) == 0
                            || weights[self.place(&joined, tap.at)] == 0
                    })
                });
        });
        zero
    }

    /// Each tap of a product with the channels that it joins.
    fn each_tap(&self, term: &Term, mut visit: impl FnMut(&Tap, Channels)) {
        let (a, offsets) = (&self.alignment, &self.offsets);
        let sum = &self.schedule.sums[term.sum as usize];
        let giant = offsets.giants[sum.giant];
        let pairs = a.plan.grid.pairs();
        let (to, _, part) = split(sum.output, pairs, a.outputs.parts);
        let (from, _, source) = split(term.input as usize, pairs, a.inputs.parts);
        let parts = offsets.taps(a, sum.giant, (from, to));
        for d in 0..offsets.split.baby_diagonals {
            for tap in parts.iter().filter(|p| offsets.baby(d, p.shift) == term.baby) {
                visit(&a.plan.taps[tap.tap], Channels { part, source, diagonal: giant.diagonal + d });
            }
        }
    }

    /// Where the weight of a pair of channels at row and column `at` of the kernel stands.
    fn place(&self, joined: &Joined, at: (usize, usize)) -> usize {
        let (a, kernel) = (&self.alignment, self.alignment.geometry.kernel);
        ((joined.output * a.columns() + joined.column) * kernel.0 + at.0) * kernel.1 + at.1
    }

    /// Writes the weights of `tap`.
    fn fill_tap(&self, weights: &[i8], tap: &Tap, channels: Channels, target: &mut Target) {
        let (runs, starts) = self.runs(tap, target.pair);
        let c_out = self.alignment.geometry.c_out;
        self.joined(channels, &mut |joined| {
            let weight = weights[self.place(&joined, tap.at)];
            if weight != 0 && tap.halves & half(joined.output, c_out) != 0 {
                for (runs, start) in runs.iter().zip(&starts[joined.block..]) {
                    target.fill(runs, *start, i64::from(weight));
                }
            }
            true
        });
    }

    /// Writes the spectra of kernels into whole blocks, of both tiles where a channel is cut.
    fn fill_spectra(&self, weights: &[i8], spectra: &Spectra, channels: Channels, target: &mut Target) {
        let a = &self.alignment;
        let g = &a.geometry;
        let tiles = if a.plan.grid.tiles.is_some() { 2 } else { 1 };
        let mut scratch = Vec::new();
        let mut first: Option<Range<usize>> = None;
        self.joined(channels, &mut |joined| {
            let weight = |row, column| {
                let at = (row, column);
                let declared = g.support.has(at, g.kernel, joined.output, g.c_out);
                if declared { weights[self.place(&joined, at)] } else { 0 }
            };
            for &start in &a.starts[joined.block..joined.block + tiles] {
                let block = target.block(start, a.plan.grid.block);
                match first.clone().filter(|_| tiles > 1) {
                    Some(written) => target.slots.copy_within(written, block.start),
                    None => spectra.write(weight, &mut scratch, &mut target.slots[block.clone()]),
                }
                first = first.take().or(Some(block));
            }
            true
        });
    }

    /// The channels that a diagonal joins: place by place of a lane, and in each lane by lane, until `visit` says
    /// to stop. Gives what the last visit gave.
    fn joined(&self, channels: Channels, visit: &mut dyn FnMut(Joined) -> bool) -> bool {
        let a = &self.alignment;
        let (g, groups) = (&a.geometry, a.geometry.groups.count());
        let (columns, rows) = (a.columns(), g.c_out / groups);
        let Arrangement { lanes, period, .. } = a.arrangement;
        let (round, part) = (channels.part / a.outputs.per_round, channels.part % a.outputs.per_round);
        let first = part * a.outputs.spread.per_ciphertext;
        let first_column = channels.source % a.inputs.per_round * period;
        let (swap, k) = a.diagonal(channels.diagonal);
        let per_row = a.places_per_row();
        for (place, index) in a.homes().enumerate() {
            let (row, within) = if place < per_row { (0, place) } else { (1, place - per_row) };
            let turned = if within + k < per_row { within + k } else { within + k - per_row };
            let met = (row ^ swap) * per_row + turned;
            let (index, column) = (first + index, first_column + (met & (period - 1)));
            if index >= rows || column >= columns {
                continue;
            }
            for lane in 0..lanes.min(groups - round * lanes) {
                let output = g.groups.member(round * lanes + lane, index, g.c_out);
                if !visit(Joined { output, column, block: place * lanes + lane }) {
                    return false;
                }
            }
        }
        true
    }

    /// The runs of `tap` in a block, or in each of the two tiles of a channel, and where blocks start: row of
    /// slots, slot in it.
    fn runs(&self, tap: &Tap, pair: usize) -> (Vec<Runs>, &[(usize, usize)]) {
        let grid = self.alignment.plan.grid;
        let height = self.alignment.plan.outputs[tap.output].size.0;
        let tiles = if grid.tiles.is_some() { 2 } else { 1 };
        let runs = (0..tiles).map(|tile| Runs::new(tap, &grid.window(pair, tile, height), grid.pitch));
        (runs.collect(), &self.alignment.starts)
    }
}
