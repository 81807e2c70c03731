//! The plaintexts of a convolution: a weight in every slot whose output pixel its tap serves, turned back by
//! the giant step of its sum.

use super::super::chain::signed;
use super::super::taps::{Tap, half};
use super::Conv;
use super::choice::Arrangement;
use super::schedule::split;
use crate::circuit::PlainId;
use crate::layout::Window;

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
}

impl Conv {
    /// Writes the weights of plaintext `id` into `slots`, which are zero.
    pub(in super::super) fn fill(&self, weights: &[i8], id: PlainId, slots: &mut [i64]) {
        let Some(term) = self.schedule.terms.get(id.0 as usize) else { return };
        let (a, offsets) = (&self.alignment, &self.offsets);
        let sum = &self.schedule.sums[term.sum as usize];
        let giant = offsets.giants[sum.giant];
        let pairs = a.plan.grid.pairs();
        let (to, pair, part) = split(sum.output, pairs, a.outputs.parts);
        let (from, _, source) = split(term.input as usize, pairs, a.inputs.parts);
        let (swap, k) = a.diagonal(giant.diagonal);
        let blocks = signed(k * a.arrangement.lanes * a.plan.grid.block);
        let turn = blocks + giant.shift.0 * signed(a.plan.grid.pitch) + giant.shift.1;
        let turn = usize::try_from(turn.rem_euclid(signed(a.plan.grid.half()))).unwrap_or(0);
        let mut target = Target { pair, swap: swap == 1, turn, half: a.plan.grid.half(), slots };
        let parts = offsets.taps(a, sum.giant, (from, to));
        for d in 0..offsets.split.baby_diagonals {
            for tap in parts.iter().filter(|p| offsets.baby(d, p.shift) == term.baby) {
                let tap = &a.plan.taps[tap.tap];
                self.fill_tap(weights, tap, (part, source, giant.diagonal + d), &mut target);
            }
        }
    }

    /// Writes the weights of `tap` for the channels that diagonal `d` joins: place by place of a lane, and in
    /// each lane by lane.
    fn fill_tap(
        &self,
        weights: &[i8],
        tap: &Tap,
        (part, source, d): (usize, usize, usize),
        target: &mut Target,
    ) {
        let a = &self.alignment;
        let (g, groups) = (&a.geometry, a.geometry.groups.count());
        let (columns, rows) = (a.columns(), g.c_out / groups);
        let Arrangement { lanes, period, .. } = a.arrangement;
        let (round, part) = (part / a.outputs.per_round, part % a.outputs.per_round);
        let first = part * a.outputs.spread.per_ciphertext;
        let first_column = source % a.inputs.per_round * period;
        let (swap, k) = a.diagonal(d);
        let per_row = a.places_per_row();
        let (runs, starts) = self.runs(tap, target.pair);
        for (place, index) in a.homes().enumerate() {
            let (row, within) = if place < per_row { (0, place) } else { (1, place - per_row) };
            let turned = if within + k < per_row { within + k } else { within + k - per_row };
            let met = (row ^ swap) * per_row + turned;
            let (index, column) = (first + index, first_column + (met & (period - 1)));
            if index >= rows || column >= columns {
                continue;
            }
            for lane in 0..lanes.min(groups - round * lanes) {
                let o = g.groups.member(round * lanes + lane, index, g.c_out);
                let at = (o * columns + column) * g.kernel.0 + tap.at.0;
                let weight = weights[at * g.kernel.1 + tap.at.1];
                if weight != 0 && tap.halves & half(o, g.c_out) != 0 {
                    for (runs, start) in runs.iter().zip(&starts[place * lanes + lane..]) {
                        target.fill(runs, *start, i64::from(weight));
                    }
                }
            }
        }
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
