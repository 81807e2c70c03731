//! Transposition of 128 x 128 bits, in place, by swapping ever smaller off-diagonal squares (Warren, Hacker's
//! Delight, section 7-3). Lanes are pairs of words, so that the compiler can use vectors.

#[cfg(target_arch = "x86_64")]
use crate::rlwe::aes::Vaes;

/// 128 bits, low word first.
pub(super) type Row = [u64; 2];

/// As many rows as bits.
pub(super) type Square = [Row; 128];

/// Makes bit j of row i the bit i of row j.
pub(super) fn transpose(rows: &mut Square) {
    #[cfg(target_arch = "x86_64")]
    if let Some(vaes) = Vaes::detect() {
        return vaes.transpose(rows);
    }
    portable(rows);
}

fn portable(rows: &mut Square) {
    let (upper, lower) = rows.split_at_mut(64);
    for (a, b) in upper.iter_mut().zip(lower) {
        std::mem::swap(&mut a[1], &mut b[0]);
    }
    stage::<32>(rows, 0x0000_0000_ffff_ffff);
    stage::<16>(rows, 0x0000_ffff_0000_ffff);
    stage::<8>(rows, 0x00ff_00ff_00ff_00ff);
    stage::<4>(rows, 0x0f0f_0f0f_0f0f_0f0f);
    stage::<2>(rows, 0x3333_3333_3333_3333);
    stage::<1>(rows, 0x5555_5555_5555_5555);
}

/// Swaps the high half of each square's upper rows with the low half of its lower rows.
#[inline(always)]
fn stage<const SIDE: usize>(rows: &mut Square, low: u64) {
    for square in rows.chunks_exact_mut(2 * SIDE) {
        let (upper, lower) = square.split_at_mut(SIDE);
        for (a, b) in upper.iter_mut().zip(lower) {
            for lane in 0..2 {
                let swap = ((a[lane] >> SIDE) ^ b[lane]) & low;
                b[lane] ^= swap;
                a[lane] ^= swap << SIDE;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    #[test]
    fn every_bit_goes_to_its_place() {
        let mut random = ChaCha20Rng::seed_from_u64(2);
        let before: Square = std::array::from_fn(|_| [random.next_u64(), random.next_u64()]);
        let bit = |rows: &Square, i: usize, j: usize| rows[i][j / 64] >> (j % 64) & 1;
        for transpose in [transpose, portable] {
            let mut after = before;
            transpose(&mut after);
            for i in 0..128 {
                for j in 0..128 {
                    assert_eq!(bit(&before, i, j), bit(&after, j, i), "{i} {j}");
                }
            }
        }
    }
}
