//! Bit slicing: 64 lanes become one word a bit position, and back.
//!
//! Plane i holds bit i of all lanes; planes lie one after another, each of `lanes / 64` words. The same
//! layout is the wire format of residues, so that none takes more bits than it needs.

use super::wiped::Wiped;

/// Lanes of a word.
pub(super) const WORD: usize = 64;

/// The planes `0..bits` of `lanes`, whose number is a multiple of 64.
pub(super) fn slice(lanes: &[u64], bits: usize) -> Wiped {
    let width = lanes.len() / WORD;
    let mut planes = Wiped::zeros(bits * width);
    let mut square = [0; WORD];
    for (block, chunk) in lanes.chunks_exact(WORD).enumerate() {
        square.copy_from_slice(chunk);
        transpose(&mut square);
        for (plane, row) in planes.chunks_exact_mut(width).zip(&square) {
            plane[block] = *row;
        }
    }
    planes
}

/// The lanes of planes of `width` words.
pub(super) fn unslice(planes: &[u64], width: usize) -> Wiped {
    let mut lanes = Wiped::zeros(width * WORD);
    for (block, chunk) in lanes.chunks_exact_mut(WORD).enumerate() {
        let mut square = [0; WORD];
        for (row, plane) in square.iter_mut().zip(planes.chunks_exact(width)) {
            *row = plane[block];
        }
        transpose(&mut square);
        chunk.copy_from_slice(&square);
    }
    lanes
}

/// One plane: the bit that `of` gives for each lane.
pub(super) fn plane(lanes: &[u64], of: impl Fn(u64) -> bool) -> Wiped {
    let pack = |chunk: &[u64]| chunk.iter().rev().fold(0, |word, &lane| word << 1 | u64::from(of(lane)));
    lanes.chunks(WORD).map(pack).collect()
}

/// Bit `j` of a plane, as a mask.
#[inline]
pub(super) fn mask(word: u64, j: usize) -> u64 {
    (word >> j & 1).wrapping_neg()
}

/// Row i, bit j becomes row j, bit i.
fn transpose(square: &mut [u64; WORD]) {
    let mut keep = u64::MAX;
    for size in [32, 16, 8, 4, 2, 1] {
        keep ^= keep << size;
        for block in square.chunks_exact_mut(2 * size) {
            let (upper, lower) = block.split_at_mut(size);
            for (a, b) in upper.iter_mut().zip(lower) {
                let swap = (*a >> size ^ *b) & keep;
                *a ^= swap << size;
                *b ^= swap;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_hold_the_bits_of_the_lanes() {
        let lanes: Vec<u64> = (0..192_u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20).collect();
        let planes = slice(&lanes, 44);
        for (i, plane) in planes.chunks(3).enumerate() {
            for (j, lane) in lanes.iter().enumerate() {
                assert_eq!(plane[j / 64] >> (j % 64) & 1, lane >> i & 1, "bit {i} of lane {j}");
            }
        }
        assert_eq!(*unslice(&planes, 3), lanes);
        assert_eq!(plane(&lanes, |v| v & 1 == 1)[..], planes[..3]);
    }
}
