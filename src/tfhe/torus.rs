//! The inner loops on words of the torus: multiply-add, and key switches of several ciphertexts at once.
//!
//! All arithmetic wraps. Loops are compiled for the vector units that the machine has; their results do not
//! depend on it.

use super::params::{LWE_DIMENSION, RING, SWITCH_LEVELS};
use ::tfhe::core_crypto::prelude::*;

/// Words of a ciphertext under the large key.
pub(super) const LARGE: usize = RING + 1;

/// Words of a ciphertext under the small key.
pub(super) const SMALL: usize = LWE_DIMENSION + 1;

#[inline(always)]
fn multiply_add(sum: &mut [u64], x: &[u64], weight: u64) {
    for (sum, &x) in sum.iter_mut().zip(x) {
        *sum = sum.wrapping_add(x.wrapping_mul(weight));
    }
}

/// Adds `weight * x` for each pair to `sum`.
pub(super) fn combine<'a>(sum: &mut [u64], terms: impl Iterator<Item = (&'a [u64], i64)>) {
    pulp::Arch::new().dispatch(|| {
        for (x, weight) in terms {
            multiply_add(sum, x, weight.cast_unsigned());
        }
    });
}

/// Adds `weight * X^-offset * x` for each triple to `sum`, polynomials modulo `X^N + 1`.
pub(super) fn combine_turned<'a>(sum: &mut [u64], terms: impl Iterator<Item = (&'a [u64], usize, i64)>) {
    pulp::Arch::new().dispatch(|| {
        for (x, offset, weight) in terms {
            let (low, high) = x.split_at(offset.min(x.len()));
            let (start, end) = sum.split_at_mut(high.len());
            multiply_add(start, high, weight.cast_unsigned());
            multiply_add(end, low, weight.wrapping_neg().cast_unsigned());
        }
    });
}

/// Switches ciphertexts from the large to the small key. Each block of the key is read once for all of them.
/// The mean of what rounding the mask to its digits adds is taken off, as [`centre`] does.
pub(super) fn switch_keys(key: &[u64], large: &[u64], small: &mut [u64]) {
    let (base, levels) = super::keys::switch_levels();
    let decomposer = SignedDecomposer::<u64>::new(base, levels);
    small.fill(0);
    for (large, small) in large.chunks_exact(LARGE).zip(small.chunks_exact_mut(SMALL)) {
        let error = |a: &u64| a.wrapping_sub(decomposer.closest_representable(*a)).cast_signed();
        let errors: i64 = large[..RING].iter().map(error).sum();
        small[LWE_DIMENSION] = large[RING].wrapping_sub((errors / 2).cast_unsigned());
    }
    pulp::Arch::new().dispatch(|| {
        for (index, block) in key.chunks_exact(SMALL * SWITCH_LEVELS).enumerate() {
            for (large, small) in large.chunks_exact(LARGE).zip(small.chunks_exact_mut(SMALL)) {
                let digits = decomposer.decompose(large[index]);
                for (row, digit) in block.chunks_exact(SMALL).zip(digits) {
                    multiply_add(small, row, digit.value().wrapping_neg());
                }
            }
        }
    });
}

/// Takes the mean off what rounding the mask to the positions of a blind rotation will add, and adds `before`.
/// The key is binary, so that half of every rounding error is expected: the other half is all that is left.
pub(super) fn centre(small: &mut [u64], before: u64) {
    for sample in small.chunks_exact_mut(SMALL) {
        let Some((body, mask)) = sample.split_last_mut() else { continue };
        let shift = 64 - super::params::POSITIONS_LOG;
        let error =
            |a: &u64| (a.wrapping_add(1 << (shift - 1)) >> shift << shift).wrapping_sub(*a).cast_signed();
        let errors: i64 = mask.iter().map(error).sum();
        *body = body.wrapping_add((errors / 2).cast_unsigned()).wrapping_add(before);
    }
}
