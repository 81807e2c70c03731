//! Packed residues, and the kernels that stream them: eight residues of b bits are the b bytes from one place
//! on, which a permutation of bytes, a shift and a mask spread to the lanes.

use super::{Block, Wide, halves, load, splat, store};
use crate::rlwe::galois::LANES;
use crate::rlwe::kernels::{ACCUMULATOR, SharedSums};
use crate::rlwe::modulus::{MOST_BITS, Modulus};
use std::arch::x86_64::*;

/// How many groups of eight ahead of their use factors are asked for. There are too many streams of them for
/// the processor's own prefetching.
const AHEAD: usize = 8;

/// For each number of bits, the byte that each byte of the lanes takes.
static SPREAD: [[u8; 64]; MOST_BITS as usize + 1] = {
    let mut tables = [[0; 64]; MOST_BITS as usize + 1];
    let mut bits = 0;
    while bits < tables.len() {
        let mut at = 0;
        while at < 64 {
            #[expect(clippy::cast_possible_truncation, reason = "at most 50 * 7 / 8 + 7")]
            let from = (bits * (at / 8) / 8 + at % 8) as u8;
            tables[bits][at] = from;
            at += 1;
        }
        bits += 1;
    }
    tables
};

#[inline]
#[target_feature(enable = "avx512f,avx512ifma,avx512vbmi")]
fn bytes(table: &[u8; 64]) -> __m512i {
    // SAFETY: the reference is to 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(table.as_ptr().cast()) }
}

/// How residues of one prime are packed, in every lane.
#[derive(Clone, Copy)]
pub(super) struct Packing {
    spread: __m512i,
    shifts: __m512i,
    mask: __m512i,
    /// Bytes of eight residues.
    pub(super) stride: usize,
}

impl Packing {
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma,avx512vbmi")]
    pub(super) fn new(m: Modulus) -> Self {
        let bits = m.bits();
        let lanes: Block = std::array::from_fn(|lane| lane as u64 * u64::from(bits) % 8);
        Self {
            spread: bytes(&SPREAD[bits as usize]),
            shifts: load(&lanes),
            mask: splat((1 << bits) - 1),
            stride: bits as usize,
        }
    }

    /// Whether `groups` groups of eight can be loaded from `packed`.
    #[inline]
    pub(super) fn fits(&self, packed: &[u64], groups: usize) -> bool {
        groups == 0 || self.stride * (groups - 1) + 64 <= size_of_val(packed)
    }

    /// The eight residues that begin at byte `at`.
    ///
    /// # Safety
    /// From there on, 64 bytes of `packed` must follow.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma,avx512vbmi")]
    pub(super) unsafe fn load(&self, packed: &[u64], at: usize) -> __m512i {
        debug_assert!(at + 64 <= size_of_val(packed));
        // SAFETY: the caller keeps within the slice; the load needs no alignment.
        let raw = unsafe { _mm512_loadu_si512(packed.as_ptr().cast::<u8>().add(at).cast()) };
        let spread = _mm512_permutexvar_epi8(self.spread, raw);
        _mm512_and_si512(_mm512_srlv_epi64(spread, self.shifts), self.mask)
    }
}

/// Which byte of the shifted lanes each packed byte takes, from lanes of one parity.
fn gathered(bits: usize, parity: usize) -> ([u8; 64], u64) {
    let (mut table, mut mask) = ([0; 64], 0);
    for lane in (parity..LANES).step_by(2) {
        let (first, end) = (bits * lane / 8, (bits * (lane + 1)).div_ceil(8));
        for (byte, from) in table[first..end].iter_mut().zip((0..).skip(8 * lane)) {
            *byte = from;
        }
        mask |= ((1 << (end - first)) - 1) << first;
    }
    (table, mask)
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma,avx512vbmi")]
pub(super) fn pack(m: Modulus, src: &[u64], out: &mut [u64]) {
    let packing = Packing::new(m);
    let [(even, evens), (odd, odds)] = [0, 1].map(|parity| gathered(packing.stride, parity));
    let (even, odd) = (bytes(&even), bytes(&odd));
    let blocks = src.as_chunks::<LANES>().0;
    assert!(packing.fits(out, blocks.len()), "packed residues with their padding");
    let written = packing.stride * blocks.len() / 8;
    out[written..].fill(0);
    for (i, block) in blocks.iter().enumerate() {
        // Lanes of one parity share no byte; each store overwrites the zeros behind the one before.
        let shifted = _mm512_sllv_epi64(load(block), packing.shifts);
        let first = _mm512_maskz_permutexvar_epi8(evens, even, shifted);
        let second = _mm512_maskz_permutexvar_epi8(odds, odd, shifted);
        let both = _mm512_or_si512(first, second);
        // SAFETY: `fits` says that 64 bytes follow the beginning of each group; no alignment is needed.
        unsafe {
            _mm512_storeu_si512(out.as_mut_ptr().cast::<u8>().add(packing.stride * i).cast(), both);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma,avx512vbmi")]
pub(super) fn unpack(m: Modulus, src: &[u64], out: &mut [u64]) {
    let packing = Packing::new(m);
    let blocks = out.as_chunks_mut::<LANES>().0;
    assert!(packing.fits(src, blocks.len()), "packed residues with their padding");
    for (i, block) in blocks.iter_mut().enumerate() {
        // SAFETY: `fits` says that 64 bytes follow the beginning of each group.
        store(block, unsafe { packing.load(src, packing.stride * i) });
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma,avx512vbmi")]
pub(super) fn combine(m: Modulus, terms: &[(&[u64], u64)], out: &mut [u64]) {
    let (wide, packing) = (Wide::new(m), Packing::new(m));
    let blocks = out.as_chunks_mut::<LANES>().0;
    assert!(terms.iter().all(|(values, _)| packing.fits(values, blocks.len())), "packed residues");
    for (i, out) in blocks.iter_mut().enumerate() {
        let (mut lo, mut hi) = (_mm512_setzero_si512(), _mm512_setzero_si512());
        for (values, factor) in terms {
            // SAFETY: `fits` says that 64 bytes follow the beginning of each group.
            let x = unsafe { packing.load(values, packing.stride * i) };
            lo = _mm512_madd52lo_epu64(lo, x, splat(*factor));
            hi = _mm512_madd52hi_epu64(hi, x, splat(*factor));
        }
        store(out, wide.reduce_wide(lo, hi));
    }
}

/// Low and high halves of both polynomials of a sum.
type Sums = [__m512i; 4];

/// The operands as vectors, and the factors of S sums for each of them, checked to be long enough.
struct Streams<'a, const S: usize> {
    packing: Packing,
    operands: &'a [[&'a [u64]; 2]],
    factors: &'a [[&'a [u64]; S]],
    blocks: usize,
}

impl<'a, const S: usize> Streams<'a, S> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma,avx512vbmi")]
    fn new(job: &'a SharedSums<'_>, len: usize) -> Self {
        let packing = Packing::new(job.modulus);
        let (factors, rest) = job.factors.as_chunks::<S>();
        let (operands, blocks) = (job.operands, len / LANES);
        assert!(rest.is_empty() && factors.len() == operands.len(), "a factor for each operand and sum");
        assert!(operands.as_flattened().iter().all(|x| x.len() >= len), "operands of the sums' length");
        assert!(factors.as_flattened().iter().all(|f| packing.fits(f, blocks)), "packed residues");
        Self { packing, operands, factors, blocks }
    }

    /// Adds the products of block `i`, and asks for factors that come later.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma,avx512vbmi")]
    fn add(&self, i: usize, sums: &mut [Sums; S]) {
        debug_assert!(i < self.blocks);
        let at = self.packing.stride * i;
        let ahead = at + self.packing.stride * AHEAD;
        for ([x, y], factors) in self.operands.iter().zip(self.factors) {
            // SAFETY: `new` has checked that the operands hold block i.
            let (x, y) = unsafe { (*x.as_ptr().cast::<Block>().add(i), *y.as_ptr().cast::<Block>().add(i)) };
            let (x, y) = (load(&x), load(&y));
            for (sum, factor) in sums.iter_mut().zip(factors) {
                _mm_prefetch::<_MM_HINT_T1>(factor.as_ptr().cast::<i8>().wrapping_add(ahead));
                // SAFETY: `new` has checked that 64 bytes follow the beginning of each group.
                let f = unsafe { self.packing.load(factor, at) };
                let [lo0, hi0, lo1, hi1] = *sum;
                *sum = [
                    _mm512_madd52lo_epu64(lo0, x, f),
                    _mm512_madd52hi_epu64(hi0, x, f),
                    _mm512_madd52lo_epu64(lo1, y, f),
                    _mm512_madd52hi_epu64(hi1, y, f),
                ];
            }
        }
    }
}

/// `accumulate`, for one sum.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma,avx512vbmi")]
pub(super) fn accumulate(job: &SharedSums<'_>, accumulator: &mut [u64]) {
    let streams = Streams::<1>::new(job, accumulator.len() / ACCUMULATOR * LANES);
    for (i, held) in accumulator.as_chunks_mut::<ACCUMULATOR>().0.iter_mut().enumerate() {
        let mut sums = [halves(held).map(|half| load(half))];
        streams.add(i, &mut sums);
        for (block, half) in held.as_chunks_mut::<LANES>().0.iter_mut().zip(sums[0]) {
            store(block, half);
        }
    }
}

/// `sum_products` of exactly S sums.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma,avx512vbmi")]
pub(super) fn sum_products<const S: usize>(job: &SharedSums<'_>, outs: &mut [[&mut [u64]; 2]; S]) {
    let (m, len) = (Wide::new(job.modulus), outs[0][0].len());
    let streams = Streams::<S>::new(job, len);
    for i in 0..len / LANES {
        let mut sums = [[_mm512_setzero_si512(); 4]; S];
        streams.add(i, &mut sums);
        for ([out0, out1], [lo0, hi0, lo1, hi1]) in outs.iter_mut().zip(sums) {
            store(&mut out0.as_chunks_mut().0[i], m.reduce_wide(lo0, hi0));
            store(&mut out1.as_chunks_mut().0[i], m.reduce_wide(lo1, hi1));
        }
    }
}
