//! AES-128 as the extension uses it: sums of the streams of leaves, and hashes of rows.
//!
//! With vectors of AES where the processor has them, else by the crate `aes`; bit for bit the same. What is the
//! same for every cipher but gains as much from vectors stands here too: bits of hashes, and corrections.

use super::transpose::{Row, Square};
use super::tree::{DEPTH, LEAVES, TREES};
#[cfg(target_arch = "x86_64")]
use crate::rlwe::aes::{BLOCKS, RoundKeys, Vaes};
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Block};

/// Blocks of a leaf that are made together: a call makes a multiple of them.
#[cfg(not(target_arch = "x86_64"))]
const BLOCKS: usize = 16;
/// How many blocks of a leaf are asked for at once: a multiple, for there is no end to a stream.
pub(super) const STEP: usize = BLOCKS;

/// A key.
pub(super) enum Cipher {
    #[cfg(target_arch = "x86_64")]
    Vectors(Vaes, RoundKeys),
    Library(Aes128Enc),
}

impl Cipher {
    pub(super) fn new(key: [u8; 16]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(vaes) = Vaes::detect() {
            return Self::Vectors(vaes, vaes.key(key));
        }
        Self::library(key)
    }

    fn library(key: [u8; 16]) -> Self {
        Self::Library(Aes128Enc::new(&key.into()))
    }

    /// `E(x) + x`, x being `rows[i] + offset + first + i`.
    pub(super) fn hash(&self, rows: &Square, offset: Row, first: u64) -> Square {
        let mut hashes = [[0; 2]; 128];
        let cipher = match self {
            #[cfg(target_arch = "x86_64")]
            Self::Vectors(vaes, key) => {
                vaes.hash(key, rows, offset, first, &mut hashes);
                return hashes;
            }
            Self::Library(cipher) => cipher,
        };
        let mut blocks = [Block::default(); 128];
        for ((block, row), number) in blocks.iter_mut().zip(rows).zip(first..) {
            *block = to_block([row[0] ^ offset[0] ^ number, row[1] ^ offset[1]]);
        }
        cipher.encrypt_blocks(&mut blocks);
        for (((hash, block), row), number) in hashes.iter_mut().zip(&blocks).zip(rows).zip(first..) {
            let [low, high] = to_row(block);
            *hash = [low ^ row[0] ^ offset[0] ^ number, high ^ row[1] ^ offset[1]];
        }
        hashes
    }
}

/// The leaves of all trees, tree by tree.
pub(super) enum Leaves {
    #[cfg(target_arch = "x86_64")]
    Vectors(Vaes, Vec<RoundKeys>),
    Library(Vec<Aes128Enc>),
}

impl Leaves {
    pub(super) fn new(leaves: &[u128]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(vaes) = Vaes::detect() {
            return Self::Vectors(vaes, leaves.iter().map(|leaf| vaes.key(leaf.to_le_bytes())).collect());
        }
        Self::library(leaves)
    }

    fn library(leaves: &[u128]) -> Self {
        Self::Library(leaves.iter().map(|leaf| Aes128Enc::new(&leaf.to_le_bytes().into())).collect())
    }

    /// The streams of all leaves from `position` on, as many blocks as `weighted` has, a multiple of [`STEP`]. Row
    /// `DEPTH * tree + bit` of a block becomes the sum of the streams of the tree whose leaf's number has the bit;
    /// `plain`, tree by tree, the sum of all.
    pub(super) fn sums(&self, position: u64, weighted: &mut [Square], plain: &mut [Row]) {
        let plain = plain.chunks_exact_mut(weighted.len().max(1));
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Vectors(vaes, keys) => {
                for ((tree, keys), plain) in keys.as_chunks::<LEAVES>().0.iter().enumerate().zip(plain) {
                    vaes.sums(keys, position, DEPTH * tree, weighted, plain);
                }
            }
            Self::Library(ciphers) => {
                for ((tree, ciphers), plain) in ciphers.as_chunks::<LEAVES>().0.iter().enumerate().zip(plain)
                {
                    sums_of_tree(ciphers, position, DEPTH * tree, weighted, plain);
                }
            }
        }
    }
}

/// One tree's, whose rows start at `first`.
fn sums_of_tree(
    ciphers: &[Aes128Enc; LEAVES],
    position: u64,
    first: usize,
    weighted: &mut [Square],
    plain: &mut [Row],
) {
    let mut streams = [[Block::default(); STEP]; LEAVES];
    let steps = weighted.chunks_exact_mut(STEP).zip(plain.chunks_exact_mut(STEP));
    for ((weighted, plain), position) in steps.zip((position..).step_by(STEP)) {
        for (cipher, stream) in ciphers.iter().zip(&mut streams) {
            for (block, counter) in stream.iter_mut().zip(position..) {
                *block = to_block([counter, 0]);
            }
            cipher.encrypt_blocks(stream);
        }
        for (at, (weighted, plain)) in weighted.iter_mut().zip(plain).enumerate() {
            let (rows, all) = sums(std::array::from_fn(|leaf| to_row(&streams[leaf][at])));
            weighted[first..][..DEPTH].copy_from_slice(&rows);
            *plain = all;
        }
    }
    streams.as_flattened_mut().fill(Block::default());
    std::hint::black_box(&mut streams);
}

/// For each bit, the sum of those rows whose number has it; and the sum of all.
#[inline]
fn sums(mut rows: [Row; LEAVES]) -> ([Row; DEPTH], Row) {
    let mut weighted = [[0; 2]; DEPTH];
    for (bit, weighted) in weighted.iter_mut().enumerate() {
        for pair in 0..LEAVES >> (bit + 1) {
            *weighted = add(*weighted, rows[2 * pair + 1]);
            rows[pair] = add(rows[2 * pair], rows[2 * pair + 1]);
        }
    }
    (weighted, rows[0])
}

#[inline]
pub(super) fn add(a: Row, b: Row) -> Row {
    [a[0] ^ b[0], a[1] ^ b[1]]
}

/// Adds to each row whose bit in `delta` is 1 its tree's entry of `addends`.
pub(super) fn correct(rows: &mut Square, addends: &[Row; TREES], delta: Row) {
    #[cfg(target_arch = "x86_64")]
    if let Some(vaes) = Vaes::detect() {
        return vaes.correct(rows, addends, delta);
    }
    correct_by_words(rows, addends, delta);
}

fn correct_by_words(rows: &mut Square, addends: &[Row; TREES], delta: Row) {
    for (row, value) in rows.iter_mut().enumerate() {
        let mask = 0u64.wrapping_sub(delta[row / 64] >> (row % 64) & 1);
        *value = add(*value, addends[row / DEPTH].map(|word| word & mask));
    }
}

/// Bits 0 of the rows, then their bits 1.
pub(super) fn low_bits(rows: &Square) -> [[u64; 2]; 2] {
    #[cfg(target_arch = "x86_64")]
    if let Some(vaes) = Vaes::detect() {
        return vaes.low_bits(rows);
    }
    low_bits_by_words(rows)
}

fn low_bits_by_words(rows: &Square) -> [[u64; 2]; 2] {
    let (words, _) = rows.as_chunks::<64>();
    [0, 1].map(|bit| {
        [0, 1].map(|word: usize| {
            let rows = words[word].iter().enumerate();
            rows.fold(0, |bits, (i, row)| bits | (row[0] >> bit & 1) << i)
        })
    })
}

#[inline]
pub(super) fn to_block([low, high]: Row) -> Block {
    (u128::from(low) | u128::from(high) << 64).to_le_bytes().into()
}

#[inline]
pub(super) fn to_row(block: &Block) -> Row {
    let (halves, _) = block.as_chunks::<8>();
    [u64::from_le_bytes(halves[0]), u64::from_le_bytes(halves[1])]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    fn rows<const N: usize>(random: &mut ChaCha20Rng) -> [Row; N] {
        std::array::from_fn(|_| [random.next_u64(), random.next_u64()])
    }

    /// x times a bit is a selection, so sums over GF(16) are exclusive ors of numbers.
    #[test]
    fn sums_are_those_over_the_field() {
        let streams: [Row; LEAVES] =
            std::array::from_fn(|i| [0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(i as u64 + 1), !(i as u64) << 7]);
        let (weighted, plain) = sums(streams);
        for at in 0..128 {
            let bit = |row: Row| row[at / 64] >> (at % 64) & 1;
            let v =
                (0..LEAVES as u64).fold(0, |sum, x| sum ^ (x * bit(streams[usize::try_from(x).unwrap()])));
            let u = streams.iter().fold(0, |sum, &row| sum ^ bit(row));
            assert_eq!((0..DEPTH).map(|b| bit(weighted[b]) << b).sum::<u64>(), v);
            assert_eq!(bit(plain), u);
        }
    }

    /// Where the processor has vectors, they compute what the crate does.
    #[test]
    fn ciphers_agree() {
        let random = &mut ChaCha20Rng::seed_from_u64(7);
        for blocks in [STEP, 4 * STEP] {
            let seeds: Vec<u128> =
                rows::<512>(random).iter().map(|row| u128::from(row[0]) | u128::from(row[1]) << 64).collect();
            let position = random.next_u64() >> 1;
            let made = [Leaves::new(&seeds), Leaves::library(&seeds)].map(|leaves| {
                let (mut weighted, mut plain) = (vec![[[0; 2]; 128]; blocks], vec![[0; 2]; TREES * blocks]);
                leaves.sums(position, &mut weighted, &mut plain);
                (weighted, plain)
            });
            assert!(made[0] == made[1] && made[0].1.iter().all(|row| *row != [0; 2]));
        }
        for first in [0, 1000, u64::from(u32::MAX)] {
            let (square, [key, offset]) = (rows::<128>(random), rows::<2>(random));
            let key = (u128::from(key[0]) | u128::from(key[1]) << 64).to_le_bytes();
            let hashes = Cipher::new(key).hash(&square, offset, first);
            assert_eq!(hashes, Cipher::library(key).hash(&square, offset, first));
            assert_eq!(low_bits(&hashes), low_bits_by_words(&hashes));
        }
    }

    #[test]
    fn corrections_go_where_the_secret_has_a_bit() {
        let random = &mut ChaCha20Rng::seed_from_u64(8);
        let (square, addends, [delta]) = (rows::<128>(random), rows::<TREES>(random), rows::<1>(random));
        let (mut fast, mut slow) = (square, square);
        correct(&mut fast, &addends, delta);
        correct_by_words(&mut slow, &addends, delta);
        assert_eq!(fast, slow);
        let changed = (0..128).filter(|&i| slow[i] != square[i]).count();
        assert_eq!(changed, (delta[0].count_ones() + delta[1].count_ones()) as usize);
    }
}
