//! The plaintexts of a convolution: a weight in every slot whose output pixel its tap serves.

use super::super::taps::Tap;
use super::Conv;
use crate::circuit::PlainId;

impl Conv {
    /// Writes the weights of plaintext `id` into `slots`, which are zero.
    pub(in super::super) fn fill(&self, weights: &[i8], id: PlainId, slots: &mut [i64]) {
        let Some(term) = self.schedule.terms.get(id.0 as usize) else { return };
        let a = &self.alignment;
        let diagonal = &self.schedule.diagonals[term.diagonal as usize];
        let (pair, part) = (diagonal.output / a.outputs.parts, diagonal.output % a.outputs.parts);
        let source = term.input as usize % a.inputs.parts;
        let taps = &a.shifts[term.shift as usize].taps;
        let (g, (kh, kw)) = (&a.geometry, a.geometry.kernel);
        for (block, o) in a.wanted(part) {
            let met = a.grid.shifted(block, diagonal.swap, diagonal.blocks);
            let Some(column) = a.column(o, source, met) else { continue };
            for tap in taps.iter().filter(|t| g.support.has(t.at, g.kernel, o, g.c_out)) {
                let at = ((o * a.columns() + column) * kh + tap.at.0) * kw + tap.at.1;
                if weights[at] != 0 {
                    self.fill_tap(tap, (pair, met), i64::from(weights[at]), slots);
                }
            }
        }
    }

    /// Writes `weight` for each output pixel in `block` of tile pair `pair` that `tap` serves.
    fn fill_tap(&self, tap: &Tap, (pair, block): (usize, usize), weight: i64, slots: &mut [i64]) {
        let grid = self.alignment.grid;
        let window = grid.window(pair, block, self.alignment.geometry.out_size().0);
        let base = grid.base(block);
        for y in tap.rows.start.max(window.rows.start)..tap.rows.end.min(window.rows.end) {
            let row = base + window.local(y) * grid.pitch;
            slots[row + tap.columns.start..row + tap.columns.end].fill(weight);
        }
    }
}
