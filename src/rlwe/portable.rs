//! The kernels in plain Rust: the meaning that the vector versions are checked against.

use super::galois::LANES;
use super::kernels::{ACCUMULATOR, Digit, InnerProduct, Onto, SharedSums};
use super::modulus::{Factor, MASK, Modulus, RADIX_BITS, low};
use super::packed::residue;

pub(super) fn add(m: Modulus, a: &mut [u64], b: &[u64]) {
    for (a, &b) in a.iter_mut().zip(b) {
        *a = m.add(*a, b);
    }
}

pub(super) fn sub(m: Modulus, a: &mut [u64], b: &[u64]) {
    for (a, &b) in a.iter_mut().zip(b) {
        *a = m.sub(*a, b);
    }
}

pub(super) fn sub_from(m: Modulus, a: &mut [u64], b: &[u64]) {
    for (a, &b) in a.iter_mut().zip(b) {
        *a = m.sub(b, *a);
    }
}

pub(super) fn scale(m: Modulus, a: &mut [u64], w: Factor) {
    for a in a {
        *a = m.scale(*a, w);
    }
}

pub(super) fn multiply(m: Modulus, out: &mut [u64], a: &[u64], b: &[u64]) {
    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *out = m.mul(a, b);
    }
}

pub(super) fn multiply_add(m: Modulus, out: &mut [u64], a: &[u64], b: &[u64]) {
    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *out = m.add(*out, m.mul(a, b));
    }
}

pub(super) fn multiply_sub(m: Modulus, out: &mut [u64], a: &[u64], b: &[u64]) {
    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *out = m.sub(*out, m.mul(a, b));
    }
}

pub(super) fn lift(from: Modulus, to: Modulus, src: &[u64], out: &mut [u64]) {
    let half = from.value / 2;
    if half < to.value {
        // Already reduced: only the upper half moves, by the difference of the primes.
        let shift = to.value.wrapping_sub(from.value);
        for (out, &x) in out.iter_mut().zip(src) {
            *out = x.wrapping_add(if x > half { shift } else { 0 });
        }
        return;
    }
    let wrap = to.reduce(from.value);
    for (out, &x) in out.iter_mut().zip(src) {
        *out = to.sub(to.reduce(x), if x > half { wrap } else { 0 });
    }
}

pub(super) fn lift_scaled(from: Modulus, to: Modulus, w: Factor, src: &[u64], out: &mut [u64]) {
    let half = from.value / 2;
    for (out, &x) in out.iter_mut().zip(src) {
        *out = to.sub(to.scale(x, w), u64::from(x > half));
    }
}

#[inline(always)]
pub(super) fn lift_signed(m: Modulus, src: &[i64], out: &mut [u64]) {
    for (out, &x) in out.iter_mut().zip(src) {
        let x = x.cast_unsigned();
        *out = x.min(x.wrapping_add(m.value));
    }
}

#[inline(always)]
pub(super) fn digit(from: Modulus, to: Modulus, digit: Digit, src: &[u64], out: &mut [u64]) {
    let half = from.value / 2;
    for (out, &x) in out.iter_mut().zip(src) {
        let centred = if x > half { x.wrapping_sub(from.value) } else { x };
        let cut = (centred.wrapping_add(digit.offset) >> digit.shift) & digit.mask;
        let balanced = cut.wrapping_sub(digit.half);
        *out = balanced.min(balanced.wrapping_add(to.value));
    }
}

pub(super) fn pack(m: Modulus, src: &[u64], out: &mut [u64]) {
    let (mut pending, mut filled, mut words) = (0u128, 0, out.iter_mut());
    for &x in src {
        pending |= u128::from(x) << filled;
        filled += m.bits();
        if filled >= 64 {
            words.by_ref().take(1).for_each(|word| *word = low(pending));
            pending >>= 64;
            filled -= 64;
        }
    }
    for word in words {
        *word = low(pending);
        pending = 0;
    }
}

pub(super) fn unpack(m: Modulus, src: &[u64], out: &mut [u64]) {
    for (i, out) in out.iter_mut().enumerate() {
        *out = residue(m, src, i);
    }
}

/// Low and high half of `sum` and a product.
fn plus_product((lo, hi): (u64, u64), a: u64, b: u64) -> (u64, u64) {
    let product = u128::from(a) * u128::from(b);
    (lo + (low(product) & MASK), hi + low(product >> RADIX_BITS))
}

pub(super) fn accumulate(job: &SharedSums<'_>, accumulator: &mut [u64]) {
    for (block, sums) in accumulator.as_chunks_mut::<ACCUMULATOR>().0.iter_mut().enumerate() {
        for (operands, factor) in job.operands.iter().zip(job.factors) {
            for lane in 0..LANES {
                let at = block * LANES + lane;
                let factor = residue(job.modulus, factor, at);
                for (half, operand) in [0, 2].into_iter().zip(operands) {
                    let (lo, hi) = (half * LANES + lane, (half + 1) * LANES + lane);
                    (sums[lo], sums[hi]) = plus_product((sums[lo], sums[hi]), operand[at], factor);
                }
            }
        }
    }
}

pub(super) fn sum_products(job: &SharedSums<'_>, outs: &mut [[&mut [u64]; 2]]) {
    let count = outs.len();
    for (s, out) in outs.iter_mut().enumerate() {
        for (half, out) in out.iter_mut().enumerate() {
            for (i, out) in out.iter_mut().enumerate() {
                let mut sum = (0, 0);
                for (operand, factors) in job.operands.iter().zip(job.factors.chunks_exact(count)) {
                    sum = plus_product(sum, operand[half][i], residue(job.modulus, factors[s], i));
                }
                *out = job.modulus.reduce_wide(sum.0, sum.1);
            }
        }
    }
}

pub(super) fn reduce(m: Modulus, accumulator: &[u64], out0: &mut [u64], out1: &mut [u64]) {
    let blocks = accumulator.as_chunks::<ACCUMULATOR>().0;
    let outs = out0.as_chunks_mut::<LANES>().0.iter_mut().zip(out1.as_chunks_mut::<LANES>().0);
    for (sums, (out0, out1)) in blocks.iter().zip(outs) {
        for lane in 0..LANES {
            out0[lane] = m.reduce_wide(sums[lane], sums[LANES + lane]);
            out1[lane] = m.reduce_wide(sums[2 * LANES + lane], sums[3 * LANES + lane]);
        }
    }
}

pub(super) fn fold(m: Modulus, accumulator: &mut [u64]) {
    for sums in accumulator.as_chunks_mut::<ACCUMULATOR>().0 {
        for lane in 0..LANES {
            for half in [0, 2] {
                let (lo, hi) = (half * LANES + lane, (half + 1) * LANES + lane);
                (sums[lo], sums[hi]) = (m.reduce_wide(sums[lo], sums[hi]), 0);
            }
        }
    }
}

pub(super) fn combine(m: Modulus, terms: &[(&[u64], u64)], out: &mut [u64]) {
    for (i, out) in out.iter_mut().enumerate() {
        let add = |sum, (values, factor): &(&[u64], u64)| plus_product(sum, residue(m, values, i), *factor);
        let (lo, hi) = terms.iter().fold((0, 0), add);
        *out = m.reduce_wide(lo, hi);
    }
}

pub(super) fn weigh(m: Modulus, terms: &[(&[u64], u64)], out: &mut [u64]) {
    for (i, out) in out.iter_mut().enumerate() {
        let add = |sum, (row, factor): &(&[u64], u64)| plus_product(sum, row[i], *factor);
        let (lo, hi) = terms.iter().fold((0, 0), add);
        *out = m.reduce_wide(lo, hi);
    }
}

pub(super) fn inner_product(job: &InnerProduct<'_>, out0: &mut [u64], out1: &mut [u64]) {
    let (m, terms) = (job.modulus, job.digits.len());
    let blocks = job.digits.first().map_or(0, |digit| digit.len() / LANES);
    for (block, target) in job.permutation.targets(job.first_block).take(blocks).enumerate() {
        let at = block * LANES;
        for lane in 0..LANES {
            let mut sums = [(0, 0); 2];
            for (j, digit) in job.digits.iter().enumerate() {
                let first = (block * job.key_digits + j) * 2 * LANES + lane;
                for (sum, i) in sums.iter_mut().zip([first, first + LANES]) {
                    *sum = plus_product(*sum, digit[at + lane], residue(m, job.key, i));
                }
            }
            let [first, second] = sums.map(|(lo, hi)| m.reduce_montgomery(lo, hi, terms));
            let to = target.block * LANES + target.lane(lane);
            let first = m.add(first, job.addends.base.map_or(0, |base| base[at + lane]));
            let [minus0, minus1] = job.addends.minus.map_or([0, 0], |minus| minus.map(|values| values[to]));
            let [held0, held1] = match job.addends.onto {
                Onto::Anything => [0, 0],
                Onto::Sum => [out0[to], out1[to]],
            };
            out0[to] = m.add(held0, m.sub(first, minus0));
            out1[to] = m.add(held1, m.sub(second, minus1));
        }
    }
}
