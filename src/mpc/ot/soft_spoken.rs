//! OT extension: `SoftSpokenOT` for parties that follow the protocol (Roy, CRYPTO 2022, figure 8 with the
//! repetition code), k = 4.
//!
//! For each of 32 trees both parties expand the leaves, numbered by x in GF(16), to one bit r(x) a transfer:
//!
//! ```text
//! receiver, knows all leaves   u = sum r(x)   v = sum x r(x)
//! sender, lacks leaf D                        w = sum (x + D) r(x) = v + D u, whatever stands for r(D)
//! ```
//!
//! The first tree's u are the choice bits c; for the other 31 the receiver sends u + c and the sender adds
//! D (u + c). Then w = v + D c in all trees: the sender's row of 128 bits is the receiver's plus c times the
//! secret D of 128 bits. Hashes of w and w + D are the two messages, of which the hash of v is the chosen one.
//! As the r are bits, products with x are selections: no field multiplication is left.
//!
//! Cost of a transfer: 31 bits sent by the receiver; 32 * 16 bits of leaves, that is 4 AES blocks, for either
//! party; 2 blocks of hashing for the sender and 1 for the receiver. A tile is what 64 blocks of each leaf
//! give; a chunk is one message.

use super::cipher::{Leaves, STEP, add, correct, low_bits, to_block, to_row};
use super::hash::{BATCH, Hash, Hashes};
use super::session::{Direction, Session};
use super::transpose::{Row, Square, transpose};
use super::tree::{self, SUMS_BYTES, TREES};
use super::{Bits, MpcError};
use rand_chacha::ChaCha20Rng;
use rayon::prelude::*;
use std::ops::Range;
use zeroize::Zeroize;

/// Blocks of each leaf in a tile.
const TILE_BLOCKS: usize = 64;
/// Transfers in a tile.
const TILE: usize = TILE_BLOCKS * BATCH;
/// Transfers in a chunk.
const CHUNK: usize = 8 * TILE;

/// What a message of the extension holds.
const CORRECTIONS: &str = "corrections of the OT extension";

/// The expanded leaves of all trees, and how far their streams have been used.
struct Streams {
    leaves: Leaves,
    session: Session,
    direction: Direction,
    position: u64,
}

/// The sums of one tile: of each block of the streams a square, see [`Leaves::sums`].
struct Tile {
    weighted: Vec<Square>,
    /// Tree by tree, block by block.
    plain: Vec<Row>,
}

impl Drop for Tile {
    fn drop(&mut self) {
        wipe(&mut self.weighted, [[0; 2]; BATCH]);
        wipe(&mut self.plain, [0; 2]);
    }
}

impl Tile {
    /// The blocks of each tree's sum of all streams.
    fn trees(&mut self) -> impl Iterator<Item = &mut [Row]> {
        self.plain.chunks_exact_mut(self.weighted.len())
    }
}

/// Overwrites what is not needed any more, at the speed of memory.
fn wipe<T: Copy>(words: &mut [T], with: T) {
    words.fill(with);
    std::hint::black_box(words);
}

impl Streams {
    fn new(session: Session, direction: Direction, leaves: &[u128]) -> Self {
        Self { leaves: Leaves::new(leaves), session, direction, position: 0 }
    }

    /// The next `n` transfers, at most a chunk, in tiles: the hash, and each tile's place in stream and chunk.
    fn advance(&mut self, n: usize) -> (Hash, Vec<(u64, Range<usize>)>) {
        let start = self.position;
        self.position += n.div_ceil(BATCH) as u64;
        let tile = |first: usize| (start + (first / BATCH) as u64, first..n.min(first + TILE));
        (Hash::new(&self.session, self.direction, start), (0..n).step_by(TILE).map(tile).collect())
    }

    /// Expands what `n` transfers, at least 1, take of every leaf from `position` on, or a little more.
    fn expand(&self, position: u64, n: usize) -> Tile {
        let blocks = n.div_ceil(BATCH).next_multiple_of(STEP);
        let mut tile = Tile { weighted: vec![[[0; 2]; BATCH]; blocks], plain: vec![[0; 2]; TREES * blocks] };
        self.leaves.sums(position, &mut tile.weighted, &mut tile.plain);
        tile
    }
}

/// The party with all leaves: the transfers' receiver.
pub(super) struct Receiver {
    streams: Streams,
}

impl Receiver {
    /// From both messages of each base transfer; also the message with the trees' sums.
    pub(super) fn new(
        session: Session,
        direction: Direction,
        base: &[[u128; 2]],
        random: &mut ChaCha20Rng,
    ) -> (Self, [u8; SUMS_BYTES]) {
        let (leaves, message) = tree::grow(&session, direction, base, random);
        (Self { streams: Streams::new(session, direction, &leaves) }, message)
    }

    /// The next `n` transfers: choices and what `output` takes from the hashes. Each chunk's corrections go
    /// to `send`.
    pub(super) fn extend<T: Copy + Default + Send>(
        &mut self,
        n: usize,
        output: impl Fn(&Hashes, &mut Vec<T>) + Sync,
        mut send: impl FnMut(&[u8]) -> Result<(), MpcError>,
    ) -> Result<(Bits, Vec<T>), MpcError> {
        let (mut choice, mut got) = (Bits { words: Vec::new(), len: n }, Vec::new());
        for first in (0..n).step_by(CHUNK) {
            let len = CHUNK.min(n - first);
            let (hash, tiles) = self.streams.advance(len);
            let streams = &self.streams;
            let mut message = vec![0; message_bytes(len)];
            let tile = |((position, range), corrections): ((u64, Range<usize>), &mut [u8])| {
                receive_tile(streams, (&hash, position), range, corrections, &output)
            };
            let corrections = message.par_chunks_mut(correction_bytes(TILE));
            let tiles: Vec<Received<T>> = tiles.into_par_iter().zip(corrections).map(tile).collect();
            if first == 0 {
                choice.words.reserve_exact(n.next_multiple_of(BATCH) / 64);
                reserve(&mut got, tiles.iter().map(|tile| tile.got.len()).sum(), n);
            }
            for mut tile in tiles {
                choice.words.extend(&tile.choice);
                got.extend(&tile.got);
                wipe(&mut tile.choice, 0);
                wipe(&mut tile.got, T::default());
            }
            send(&message)?;
        }
        choice.trim();
        Ok((choice, got))
    }
}

/// Room for all of `n` transfers, of which the first chunk gives so many words: what is secret does not move.
fn reserve<T>(words: &mut Vec<T>, of_first: usize, n: usize) {
    words.reserve_exact(of_first * n.div_ceil(CHUNK));
}

struct Received<T> {
    choice: Vec<u64>,
    got: Vec<T>,
}

/// One tile of `range.len()` transfers, at least 1; its corrections are written.
fn receive_tile<T>(
    streams: &Streams,
    (hash, position): (&Hash, u64),
    range: Range<usize>,
    corrections: &mut [u8],
    output: impl Fn(&Hashes, &mut Vec<T>),
) -> Received<T> {
    let n = range.len();
    let (bytes, blocks) = (n.div_ceil(8), n.div_ceil(BATCH));
    let mut tile = streams.expand(position, n);
    let mut trees = tile.trees();
    let choice = &*trees.next().unwrap_or_default();
    for (out, plain) in corrections.chunks_exact_mut(bytes).zip(trees) {
        let mut blocks = plain.iter().zip(choice).map(|(&plain, &choice)| to_block(add(plain, choice)));
        let (whole, part) = out.as_chunks_mut::<16>();
        whole.iter_mut().zip(&mut blocks).for_each(|(out, block)| *out = block.into());
        if let Some(block) = blocks.next() {
            part.copy_from_slice(&block[..part.len()]);
        }
        if let (Some(last), used @ 1..) = (out.last_mut(), n % 8) {
            *last &= (1 << used) - 1;
        }
    }
    let choice = choice[..blocks].as_flattened().to_vec();
    let mut got = Vec::new();
    let squares = tile.weighted[..blocks].iter_mut();
    for (rows, first) in squares.zip((range.start as u64..).step_by(BATCH)) {
        transpose(rows);
        output(&hash.batch(rows, [0; 2], first), &mut got);
    }
    Received { choice, got }
}

/// The party that lacks one leaf of each tree: the transfers' sender.
pub(super) struct Sender {
    streams: Streams,
    delta: Row,
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.delta.zeroize();
    }
}

impl Sender {
    /// From the choices of the base transfers and their messages, and the trees' sums.
    pub(super) fn new(
        session: Session,
        direction: Direction,
        choices: u128,
        base: &[u128],
        message: &[u8; SUMS_BYTES],
    ) -> Self {
        let leaves = tree::puncture(&session, direction, choices, base, message);
        let delta = to_row(&(!choices).to_le_bytes().into());
        Self { streams: Streams::new(session, direction, &leaves), delta }
    }

    /// The next `n` transfers: what `output` takes from the hashes of both messages. Each chunk's corrections
    /// come from `receive`, which is told how many bytes there must be.
    pub(super) fn extend<T: Copy + Default + Send>(
        &mut self,
        step: u32,
        n: usize,
        output: impl Fn(&Hashes, &mut Vec<T>) + Sync,
        mut receive: impl FnMut(&'static str, usize) -> Result<Vec<u8>, MpcError>,
    ) -> Result<[Vec<T>; 2], MpcError> {
        let [mut zero, mut one] = [Vec::new(), Vec::new()];
        for first in (0..n).step_by(CHUNK) {
            let len = CHUNK.min(n - first);
            let (hash, tiles) = self.streams.advance(len);
            let message = receive(CORRECTIONS, message_bytes(len))?;
            let tiles: Vec<_> = tiles.into_iter().zip(message.chunks(correction_bytes(TILE))).collect();
            let tile = |((position, range), corrections)| {
                let corrections = Corrections::read(step, range, corrections)?;
                Ok(self.send_tile(&hash, position, &corrections, &output))
            };
            let tiles: Vec<Result<[Vec<T>; 2], MpcError>> = tiles.into_par_iter().map(tile).collect();
            let tiles = tiles.into_iter().collect::<Result<Vec<_>, _>>()?;
            if first == 0 {
                let words = tiles.iter().map(|[zero, _]| zero.len()).sum();
                [&mut zero, &mut one].into_iter().for_each(|all| reserve(all, words, n));
            }
            for mut tile in tiles {
                zero.extend(&tile[0]);
                one.extend(&tile[1]);
                tile.iter_mut().for_each(|words| wipe(words, T::default()));
            }
        }
        Ok([zero, one])
    }

    fn send_tile<T>(
        &self,
        hash: &Hash,
        position: u64,
        corrections: &Corrections<'_>,
        output: impl Fn(&Hashes, &mut Vec<T>),
    ) -> [Vec<T>; 2] {
        let range = &corrections.range;
        let mut tile = self.streams.expand(position, range.len());
        for (plain, row) in tile.trees().skip(1).zip(&corrections.rows) {
            let (whole, part) = row.as_chunks::<16>();
            let mut last = [0; 16];
            last[..part.len()].copy_from_slice(part);
            for (plain, bits) in plain.iter_mut().zip(whole.iter().chain([&last])) {
                *plain = add(*plain, to_row(&(*bits).into()));
            }
        }
        let Tile { weighted, plain } = &mut tile;
        let blocks = weighted.len();
        let [mut zero, mut one] = [Vec::new(), Vec::new()];
        let squares = weighted[..range.len().div_ceil(BATCH)].iter_mut().enumerate();
        for ((at, rows), first) in squares.zip((range.start as u64..).step_by(BATCH)) {
            let addends = std::array::from_fn(|tree| plain[blocks * tree + at]);
            correct(rows, &addends, self.delta);
            transpose(rows);
            output(&hash.batch(rows, [0; 2], first), &mut zero);
            output(&hash.batch(rows, self.delta, first), &mut one);
        }
        [zero, one]
    }
}

/// One tile of a message of corrections: a row of bits for each tree but the first.
struct Corrections<'a> {
    range: Range<usize>,
    rows: Vec<&'a [u8]>,
}

impl<'a> Corrections<'a> {
    fn read(step: u32, range: Range<usize>, bytes: &'a [u8]) -> Result<Self, MpcError> {
        let rows: Vec<&[u8]> = bytes.chunks_exact(range.len().div_ceil(8)).collect();
        for (row, bytes) in rows.iter().enumerate() {
            if let (Some(last), used @ 1..) = (bytes.last(), range.len() % 8)
                && last >> used != 0
            {
                return Err(MpcError::Padding { step, what: CORRECTIONS, row });
            }
        }
        Ok(Self { range, rows })
    }
}

/// Bytes of the corrections of a tile of `n` transfers.
pub(super) fn correction_bytes(n: usize) -> usize {
    (TREES - 1) * n.div_ceil(8)
}

/// Messages with the corrections of `n` transfers.
pub(super) fn messages(n: usize) -> usize {
    n.div_ceil(CHUNK)
}

/// Bytes of the corrections of `n` transfers.
pub(super) fn message_bytes(n: usize) -> usize {
    n / TILE * correction_bytes(TILE) + correction_bytes(n % TILE)
}

/// Takes one bit of each hash.
pub(super) fn take_bits(hashes: &Hashes, out: &mut Vec<u64>) {
    out.extend(low_bits(hashes)[0]);
}

/// Takes two bits of each hash: a word of first bits, then one of second bits, for each 64 hashes.
pub(super) fn take_pairs(hashes: &Hashes, out: &mut Vec<u64>) {
    let [[a, b], [c, d]] = low_bits(hashes);
    out.extend([a, c, b, d]);
}

/// Takes a word of each hash, through a mask.
pub(super) fn take_words(mask: u64) -> impl Fn(&Hashes, &mut Vec<u64>) + Sync {
    move |hashes, out| out.extend(hashes.iter().map(|hash| hash[0] & mask))
}

/// Takes what `map` makes of the whole of each hash.
pub(super) fn take_mapped(map: impl Fn(u128) -> u64 + Sync) -> impl Fn(&Hashes, &mut Vec<u64>) + Sync {
    let whole = |[low, high]: Row| u128::from(low) | u128::from(high) << 64;
    move |hashes, out| out.extend(hashes.iter().map(|&hash| map(whole(hash))))
}

/// Takes the whole of each hash.
pub(super) fn take_blocks(hashes: &Hashes, out: &mut Vec<u128>) {
    out.extend(hashes.iter().map(|&[low, high]| u128::from(low) | u128::from(high) << 64));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_add_up() {
        for n in [0, 1, 8, 9, TILE - 1, TILE, TILE + 1, CHUNK, 3 * CHUNK + 5] {
            let tiles: usize = (0..n).step_by(TILE).map(|first| correction_bytes(TILE.min(n - first))).sum();
            assert_eq!(message_bytes(n), tiles);
        }
    }
}
