//! The plaintexts of a convolution: a weight in every slot whose output pixel its tap serves, turned back by
//! the giant step of its sum.

use super::super::chain::signed;
use super::super::taps::{Tap, half};
use super::Conv;
use super::schedule::split;
use crate::circuit::PlainId;

/// Where a plaintext's weights go before the giant step turns them back.
struct Target<'a> {
    /// Tile pair of the output.
    pair: usize,
    /// Rows are exchanged.
    swap: bool,
    /// Slots to the right within a row.
    turn: usize,
    slots: &'a mut [i64],
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
        let mut target = Target { pair, swap: swap == 1, turn, slots };
        let (_, lists) = &offsets.rows[sum.giant % offsets.rows.len()];
        let parts = &lists[to * a.plan.inputs.len() + from];
        for d in 0..offsets.split.baby_diagonals {
            for tap in parts.iter().filter(|p| offsets.baby(d, p.shift) == term.baby) {
                let tap = &a.plan.taps[tap.tap];
                self.fill_tap(weights, tap, (part, source, giant.diagonal + d), &mut target);
            }
        }
    }

    /// Writes the weights of `tap` for the channels that diagonal `d` joins.
    fn fill_tap(
        &self,
        weights: &[i8],
        tap: &Tap,
        (part, source, d): (usize, usize, usize),
        target: &mut Target,
    ) {
        let a = &self.alignment;
        let (g, (kh, kw)) = (&a.geometry, a.geometry.kernel);
        for block in 0..a.blocks() {
            let Some((group, index)) = a.computed(part, block) else { continue };
            let met = a.met_block(block, d);
            let Some((_, column)) = a.inputs.spread.member(g.c_in, source, met) else { continue };
            let o = g.groups.member(group, index, g.c_out);
            let weight = weights[((o * a.columns() + column) * kh + tap.at.0) * kw + tap.at.1];
            if weight == 0 || tap.halves & half(o, g.c_out) == 0 {
                continue;
            }
            if a.plan.grid.tiles.is_some() {
                self.fill_block(tap, 0, weight, target);
                self.fill_block(tap, 1, weight, target);
            } else {
                self.fill_block(tap, block, weight, target);
            }
        }
    }

    /// Writes `weight` for each output pixel in `block` that `tap` serves.
    fn fill_block(&self, tap: &Tap, block: usize, weight: i8, target: &mut Target) {
        let grid = self.alignment.plan.grid;
        let half = grid.half();
        let window = grid.window(target.pair, block, self.alignment.plan.outputs[tap.output].size.0);
        let base = grid.base(block);
        let row = (base / half ^ usize::from(target.swap)) * half;
        for y in tap.rows.start.max(window.rows.start)..tap.rows.end.min(window.rows.end) {
            let first = base % half + window.local(y) * grid.pitch + tap.columns.start + target.turn;
            let (first, len) = (first % half, tap.columns.len());
            let fits = len.min(half - first);
            target.slots[row + first..row + first + fits].fill(i64::from(weight));
            target.slots[row..row + len - fits].fill(i64::from(weight));
        }
    }
}
