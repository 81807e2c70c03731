//! Which output channel meets which input channel in which diagonal.
//!
//! Diagonal `d = (r, k)` joins output block `g` to input block `g + d` in the group `Z_2 x Z_B` of blocks
//! (row of slots, place in it). An output must meet `M = min(c_n, np2(C_in))` blocks; further input
//! ciphertexts are summed before any rotation. With fewer outputs, `D = np2(C_out) < M` diagonals are enough:
//! outputs repeat every D blocks, each replica meets its own D inputs, and `log2(M / D)`
//! rotate-and-sum steps join the replicas:
//! ```text
//! M = 4, D = 2    block g:      0      1      2      3
//!                 output:      y0     y1     y0     y1
//!                 d = 0 meets: x0     x1     x2     x3
//!                 d = 1 meets: x1     x2     x3     x0      fold by 2 blocks: y0 has met x0..x3
//! ```

use super::super::taps::Shift;
use crate::layout::{Grid, Spread};
use crate::tensor::ConvGeometry;

/// A convolution's channels in blocks, its taps as shifts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alignment {
    pub geometry: ConvGeometry,
    pub grid: Grid,
    pub inputs: Side,
    pub outputs: Side,
    pub fold: Fold,
    pub shifts: Vec<Shift>,
}

/// Channels of one side of the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Side {
    pub channels: usize,
    pub spread: Spread,
    /// Ciphertexts of one phase and tile pair.
    pub parts: usize,
}

/// `meet = M` blocks meet an output, `diagonals = D` of them one by one, the rest by rotate and sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fold {
    pub meet: usize,
    pub diagonals: usize,
}

impl Alignment {
    pub(super) fn new(g: &ConvGeometry, grid: Grid, shifts: Vec<Shift>) -> Self {
        let capacity = grid.blocks();
        let period = g.c_in.next_power_of_two();
        let (inputs, outputs, meet) = if grid.tiles.is_some() {
            (Spread::Tiled, Spread::Tiled, 1)
        } else if period < capacity {
            (Spread::Replicated { period }, Spread::Blocks, period)
        } else {
            (Spread::Blocks, Spread::Blocks, capacity)
        };
        let side =
            |channels, spread: Spread| Side { channels, spread, parts: spread.parts(channels, capacity) };
        Self {
            geometry: *g,
            grid,
            inputs: side(g.c_in, inputs),
            outputs: side(g.c_out, outputs),
            fold: Fold { meet, diagonals: meet.min(g.c_out.next_power_of_two()) },
            shifts,
        }
    }

    /// Input channels of a group: columns of the weight.
    pub(super) fn columns(&self) -> usize {
        self.geometry.c_in / self.geometry.groups.count()
    }

    /// The blocks in which output ciphertext `part` of a tile pair is computed, each with its channel.
    pub(super) fn wanted(&self, part: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let Fold { meet, diagonals } = self.fold;
        let capacity = self.grid.blocks();
        let folded = diagonals < meet;
        (0..if folded { meet } else { capacity }).filter_map(move |block| {
            let home = if folded { block % diagonals } else { block };
            let channel = self.outputs.spread.channel(self.outputs.channels, capacity, part, home)?;
            Some((block, channel))
        })
    }

    /// Which column of the weight joins output channel `o` to the channel in `block` of input `part`.
    pub(super) fn column(&self, o: usize, part: usize, block: usize) -> Option<usize> {
        let channel = self.inputs.spread.channel(self.inputs.channels, self.grid.blocks(), part, block)?;
        self.geometry.groups.column(o, channel, self.geometry.c_in, self.geometry.c_out)
    }

    /// Every diagonal `(r, k)`, by falling `k` in each row.
    pub(super) fn diagonals(&self) -> Vec<(usize, usize)> {
        let per_row = self.grid.blocks_per_row();
        let rows = self.fold.diagonals.div_ceil(per_row);
        let places = self.fold.diagonals.min(per_row);
        (0..rows).flat_map(|r| (0..places).rev().map(move |k| (r, k))).collect()
    }
}
