//! The grid of an image layout: where pixel `(y, x)` of a block stands.
//!
//! ```text
//! row 0 | block 0 | block 1 | ...        block: pixel (y, x) at y * pitch + x
//! row 1 | block B | block B+1 | ...      B = floor((N/2) / block)
//! ```
//! A map that exceeds a row of slots is cut into tiles of whole pixel rows; then a block is a row of
//! slots, and the two blocks of a ciphertext hold tiles `2 * pair` and `2 * pair + 1` of one channel. The
//! grid is shared by a layer's input and output, so that a tap is the same shift everywhere.

use std::ops::Range;

/// Blocks of slots and the pixels in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Slots of a ciphertext.
    pub ring: usize,
    /// Slots of a block, at most N/2.
    pub block: usize,
    /// Slots from one pixel row to the next.
    pub pitch: usize,
    /// Row tiles, if a map exceeds a row of slots.
    pub tiles: Option<Tiles>,
}

/// How a map is cut into tiles of whole rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// How many tiles.
    pub count: usize,
    /// Output rows of a tile.
    pub rows: usize,
    /// Rows of halo before them.
    pub lead: usize,
    /// Rows of halo after them.
    pub trail: usize,
}

/// The pixel rows that a block may hold, and where they start: pixel row `y` is row `y + down - up` of
/// the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Output rows.
    pub rows: Range<usize>,
    /// Output rows with their halo.
    pub held: Range<usize>,
    down: usize,
    up: usize,
}

impl Window {
    /// The row of the block where pixel row `y` stands; `y` is one of `held`.
    #[must_use]
    pub fn local(&self, y: usize) -> usize {
        (y + self.down).saturating_sub(self.up)
    }

    /// The held pixel row that stands in row `local` of the block.
    #[must_use]
    pub fn pixel_row(&self, local: usize) -> Option<usize> {
        (local + self.up).checked_sub(self.down).filter(|y| self.held.contains(y))
    }
}

impl Grid {
    /// Slots of a row.
    #[must_use]
    pub fn half(&self) -> usize {
        self.ring / 2
    }

    /// Blocks of a row of slots.
    #[must_use]
    pub fn blocks_per_row(&self) -> usize {
        self.half() / self.block
    }

    /// Blocks of a ciphertext.
    #[must_use]
    pub fn blocks(&self) -> usize {
        2 * self.blocks_per_row()
    }

    /// How many ciphertexts the tiles of one channel take; 1 without tiles.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.tiles.map_or(1, |t| t.count.div_ceil(2))
    }

    /// The first slot of `block`.
    #[must_use]
    pub fn base(&self, block: usize) -> usize {
        let per_row = self.blocks_per_row();
        (block / per_row) * self.half() + (block % per_row) * self.block
    }

    /// The block of `slot` and the slot's place in it; none in the unused end of a row.
    #[must_use]
    pub fn locate(&self, slot: usize) -> Option<(usize, usize)> {
        let (row, within) = (slot / self.half(), slot % self.half());
        let (block, place) = (within / self.block, within % self.block);
        (block < self.blocks_per_row()).then_some((row * self.blocks_per_row() + block, place))
    }

    /// The block that `block` is turned from by `blocks` blocks within its row, rows exchanged if
    /// `swap` is 1.
    #[must_use]
    pub fn shifted(&self, block: usize, swap: usize, blocks: usize) -> usize {
        let per_row = self.blocks_per_row();
        ((block / per_row) ^ swap) * per_row + (block % per_row + blocks) % per_row
    }

    /// The pixel rows of `block` in ciphertext `pair` of a channel of `height` rows.
    #[must_use]
    pub fn window(&self, pair: usize, block: usize, height: usize) -> Window {
        let Some(t) = self.tiles else {
            return Window { rows: 0..height, held: 0..height, down: 0, up: 0 };
        };
        let tile = 2 * pair + block;
        if tile >= t.count {
            return Window { rows: 0..0, held: 0..0, down: 0, up: 0 };
        }
        let first = tile * t.rows;
        let cut = |y: usize| y.min(height);
        Window {
            rows: cut(first)..cut(first + t.rows),
            held: cut(first.saturating_sub(t.lead))..cut(first + t.rows + t.trail),
            down: t.lead,
            up: first,
        }
    }
}
