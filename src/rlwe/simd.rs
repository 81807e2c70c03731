//! The kernels with AVX-512 IFMA: eight residues at a time, 52-bit multipliers.
//!
//! The only unsafe code of the crate. An [`Avx512`] can be had only where the processor has the
//! instructions, and the methods that enter them need one. Each does what its namesake in
//! `portable` does, bit for bit.
#![expect(
    unsafe_code,
    reason = "vector instructions: entered behind detection, loads and stores of whole arrays"
)]

use super::galois::LANES;
use super::kernels::{ACCUMULATOR, Digit, InnerProduct, Onto, SharedSums};
use super::modulus::{Factor, MASK, Modulus, RADIX_BITS, montgomery_comparisons};
use super::portable;
use super::vector_ntt::{self, Twisted};
use packed::Packing;
use std::arch::x86_64::*;

pub(crate) mod aes;
mod packed;

/// The words of a vector.
pub(super) type Block = [u64; LANES];

/// Proof that the processor has AVX-512 F, IFMA and VBMI, which came together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512(());

impl Avx512 {
    /// The proof, where there is one.
    #[inline(always)]
    pub(super) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512ifma")
            && is_x86_feature_detected!("avx512vbmi");
        has.then_some(Self(()))
    }
}

macro_rules! entered {
    ($(fn $name:ident($($arg:ident: $type:ty),* $(,)?) $body:block)*) => {
        impl Avx512 {$(
            #[inline(always)]
            pub(super) fn $name(self, $($arg: $type),*) {
                #[target_feature(enable = "avx512f,avx512ifma,avx512vbmi")]
                fn entered($($arg: $type),*) $body
                // SAFETY: `self` proves that the processor has the features.
                unsafe { entered($($arg),*) }
            }
        )*}
    };
}

/// A prime's constants in every lane.
#[derive(Clone, Copy)]
struct Wide {
    value: __m512i,
    ratio: __m512i,
    mask: __m512i,
    modulus: Modulus,
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn load(block: &Block) -> __m512i {
    // SAFETY: the reference is to 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(block.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn store(block: &mut Block, x: __m512i) {
    // SAFETY: the reference is to 64 writable bytes; the store needs no alignment.
    unsafe { _mm512_storeu_si512(block.as_mut_ptr().cast(), x) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn splat(x: u64) -> __m512i {
    _mm512_set1_epi64(x.cast_signed())
}

/// `a` or `a - bound`, whichever is not negative.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn least(a: __m512i, bound: __m512i) -> __m512i {
    _mm512_min_epu64(a, _mm512_sub_epi64(a, bound))
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn high52(a: __m512i, b: __m512i) -> __m512i {
    _mm512_madd52hi_epu64(_mm512_setzero_si512(), a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn low52(a: __m512i, b: __m512i) -> __m512i {
    _mm512_madd52lo_epu64(_mm512_setzero_si512(), a, b)
}

impl Wide {
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn new(modulus: Modulus) -> Self {
        Self { value: splat(modulus.value), ratio: splat(modulus.ratio), mask: splat(MASK), modulus }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn add(&self, a: __m512i, b: __m512i) -> __m512i {
        least(_mm512_add_epi64(a, b), self.value)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn sub(&self, a: __m512i, b: __m512i) -> __m512i {
        let d = _mm512_sub_epi64(a, b);
        _mm512_min_epu64(d, _mm512_add_epi64(d, self.value))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn reduce_lazy(&self, x: __m512i) -> __m512i {
        let multiple = low52(high52(x, self.ratio), self.value);
        _mm512_and_si512(_mm512_sub_epi64(x, multiple), self.mask)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn scale_lazy(&self, x: __m512i, value: __m512i, quotient: __m512i) -> __m512i {
        let multiple = low52(high52(x, quotient), self.value);
        _mm512_and_si512(_mm512_sub_epi64(low52(x, value), multiple), self.mask)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn scale(&self, x: __m512i, w: Factor) -> __m512i {
        least(self.scale_lazy(x, splat(w.value), splat(w.quotient)), self.value)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn reduce_wide(&self, lo: __m512i, hi: __m512i) -> __m512i {
        let hi = _mm512_add_epi64(hi, _mm512_srli_epi64::<RADIX_BITS>(lo));
        let top = _mm512_srli_epi64::<RADIX_BITS>(hi);
        let (radix, square) = (self.modulus.radix, self.modulus.radix_squared);
        // The multipliers and the masked subtraction read the low 52 bits only.
        let sum = self.reduce_lazy(_mm512_and_si512(lo, self.mask));
        let sum = _mm512_add_epi64(sum, self.scale_lazy(hi, splat(radix.value), splat(radix.quotient)));
        let sum = _mm512_add_epi64(sum, self.scale_lazy(top, splat(square.value), splat(square.quotient)));
        let twice = _mm512_add_epi64(self.value, self.value);
        let sum = least(sum, _mm512_add_epi64(twice, twice));
        least(least(sum, twice), self.value)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn reduce_montgomery<const TERMS: usize>(&self, lo: __m512i, hi: __m512i, inverse: __m512i) -> __m512i {
        let hi = _mm512_add_epi64(hi, _mm512_srli_epi64::<RADIX_BITS>(lo));
        let multiple = high52(low52(lo, inverse), self.value);
        let mut sum = _mm512_sub_epi64(_mm512_add_epi64(hi, self.value), multiple);
        for i in (0..montgomery_comparisons(TERMS)).rev() {
            sum = least(sum, splat(self.modulus.value << i));
        }
        sum
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn multiply(&self, a: __m512i, b: __m512i) -> __m512i {
        let radix = self.modulus.radix;
        let high = self.scale_lazy(high52(a, b), splat(radix.value), splat(radix.quotient));
        let sum = _mm512_add_epi64(self.reduce_lazy(low52(a, b)), high);
        least(least(sum, _mm512_add_epi64(self.value, self.value)), self.value)
    }
}

entered! {
    fn add(m: Modulus, a: &mut [u64], b: &[u64]) {
        let m = Wide::new(m);
        for (a, b) in a.as_chunks_mut().0.iter_mut().zip(b.as_chunks().0) {
            store(a, m.add(load(a), load(b)));
        }
    }

    fn sub(m: Modulus, a: &mut [u64], b: &[u64]) {
        let m = Wide::new(m);
        for (a, b) in a.as_chunks_mut().0.iter_mut().zip(b.as_chunks().0) {
            store(a, m.sub(load(a), load(b)));
        }
    }

    fn sub_from(m: Modulus, a: &mut [u64], b: &[u64]) {
        let m = Wide::new(m);
        for (a, b) in a.as_chunks_mut().0.iter_mut().zip(b.as_chunks().0) {
            store(a, m.sub(load(b), load(a)));
        }
    }

    fn scale(m: Modulus, a: &mut [u64], w: Factor) {
        let m = Wide::new(m);
        for a in a.as_chunks_mut().0 {
            store(a, m.scale(load(a), w));
        }
    }

    fn multiply(m: Modulus, out: &mut [u64], a: &[u64], b: &[u64]) {
        let m = Wide::new(m);
        let factors = a.as_chunks().0.iter().zip(b.as_chunks().0);
        for (out, (a, b)) in out.as_chunks_mut().0.iter_mut().zip(factors) {
            store(out, m.multiply(load(a), load(b)));
        }
    }

    fn multiply_add(m: Modulus, out: &mut [u64], a: &[u64], b: &[u64]) {
        let m = Wide::new(m);
        let factors = a.as_chunks().0.iter().zip(b.as_chunks().0);
        for (out, (a, b)) in out.as_chunks_mut().0.iter_mut().zip(factors) {
            store(out, m.add(load(out), m.multiply(load(a), load(b))));
        }
    }

    fn multiply_sub(m: Modulus, out: &mut [u64], a: &[u64], b: &[u64]) {
        let m = Wide::new(m);
        let factors = a.as_chunks().0.iter().zip(b.as_chunks().0);
        for (out, (a, b)) in out.as_chunks_mut().0.iter_mut().zip(factors) {
            store(out, m.sub(load(out), m.multiply(load(a), load(b))));
        }
    }

    fn lift(from: Modulus, to: Modulus, src: &[u64], out: &mut [u64]) {
        let half = splat(from.value / 2);
        if from.value / 2 < to.value {
            let shift = splat(to.value.wrapping_sub(from.value));
            for (out, x) in out.as_chunks_mut().0.iter_mut().zip(src.as_chunks().0) {
                let x = load(x);
                store(out, _mm512_mask_add_epi64(x, _mm512_cmpgt_epu64_mask(x, half), x, shift));
            }
            return;
        }
        let wrap = splat(to.reduce(from.value));
        let m = Wide::new(to);
        for (out, x) in out.as_chunks_mut().0.iter_mut().zip(src.as_chunks().0) {
            let x = load(x);
            let above = _mm512_maskz_mov_epi64(_mm512_cmpgt_epu64_mask(x, half), wrap);
            store(out, m.sub(least(m.reduce_lazy(x), m.value), above));
        }
    }

    fn lift_scaled(from: Modulus, to: Modulus, w: Factor, src: &[u64], out: &mut [u64]) {
        let (half, one) = (splat(from.value / 2), splat(1));
        let m = Wide::new(to);
        for (out, x) in out.as_chunks_mut().0.iter_mut().zip(src.as_chunks().0) {
            let x = load(x);
            let above = _mm512_maskz_mov_epi64(_mm512_cmpgt_epu64_mask(x, half), one);
            store(out, m.sub(m.scale(x, w), above));
        }
    }

    fn lift_signed(m: Modulus, src: &[i64], out: &mut [u64]) {
        portable::lift_signed(m, src, out);
    }

    fn digit(from: Modulus, to: Modulus, digit: Digit, src: &[u64], out: &mut [u64]) {
        portable::digit(from, to, digit, src, out);
    }

    fn pack(m: Modulus, src: &[u64], out: &mut [u64]) {
        packed::pack(m, src, out);
    }

    fn unpack(m: Modulus, src: &[u64], out: &mut [u64]) {
        packed::unpack(m, src, out);
    }

    fn accumulate(job: &SharedSums<'_>, accumulator: &mut [u64]) {
        packed::accumulate(job, accumulator);
    }

    fn sum_products(job: &SharedSums<'_>, outs: &mut [[&mut [u64]; 2]]) {
        if let Ok(outs) = <&mut [_; 4]>::try_from(&mut *outs) {
            packed::sum_products(job, outs);
        } else if let Ok(outs) = <&mut [_; 3]>::try_from(&mut *outs) {
            packed::sum_products(job, outs);
        } else if let Ok(outs) = <&mut [_; 2]>::try_from(&mut *outs) {
            packed::sum_products(job, outs);
        } else if let Ok(outs) = <&mut [_; 1]>::try_from(&mut *outs) {
            packed::sum_products(job, outs);
        } else {
            portable::sum_products(job, outs);
        }
    }

    fn reduce(m: Modulus, accumulator: &[u64], out0: &mut [u64], out1: &mut [u64]) {
        let m = Wide::new(m);
        let outs = out0.as_chunks_mut().0.iter_mut().zip(out1.as_chunks_mut().0);
        for (sums, (out0, out1)) in accumulator.as_chunks::<ACCUMULATOR>().0.iter().zip(outs) {
            let [lo0, hi0, lo1, hi1] = halves(sums);
            store(out0, m.reduce_wide(load(lo0), load(hi0)));
            store(out1, m.reduce_wide(load(lo1), load(hi1)));
        }
    }

    fn combine(m: Modulus, terms: &[(&[u64], u64)], out: &mut [u64]) {
        packed::combine(m, terms, out);
    }

    fn weigh(m: Modulus, terms: &[(&[u64], u64)], out: &mut [u64]) {
        let m = Wide::new(m);
        for (i, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
            let (mut lo, mut hi) = (_mm512_setzero_si512(), _mm512_setzero_si512());
            for (row, factor) in terms {
                let (x, factor) = (load(&row.as_chunks().0[i]), splat(*factor));
                lo = _mm512_madd52lo_epu64(lo, x, factor);
                hi = _mm512_madd52hi_epu64(hi, x, factor);
            }
            store(out, m.reduce_wide(lo, hi));
        }
    }

    fn fold(m: Modulus, accumulator: &mut [u64]) {
        portable::fold(m, accumulator);
    }

    fn forward_transform(twisted: &Twisted, data: &mut [u64]) {
        vector_ntt::forward(twisted, data);
    }

    fn inverse_transform(twisted: &Twisted, data: &mut [u64]) {
        vector_ntt::inverse(twisted, data);
    }

    fn inner_product(job: &InnerProduct<'_>, out0: &mut [u64], out1: &mut [u64]) {
        fn exactly<'a, const D: usize>(digits: &[&'a [u64]]) -> [&'a [Block]; D] {
            std::array::from_fn(|i| digits[i].as_chunks().0)
        }
        match job.digits.len() {
            1 => turned_sums(job, &exactly::<1>(job.digits), out0, out1),
            2 => turned_sums(job, &exactly::<2>(job.digits), out0, out1),
            3 => turned_sums(job, &exactly::<3>(job.digits), out0, out1),
            4 => turned_sums(job, &exactly::<4>(job.digits), out0, out1),
            5 => turned_sums(job, &exactly::<5>(job.digits), out0, out1),
            6 => turned_sums(job, &exactly::<6>(job.digits), out0, out1),
            7 => turned_sums(job, &exactly::<7>(job.digits), out0, out1),
            8 => turned_sums(job, &exactly::<8>(job.digits), out0, out1),
            _ => portable::inner_product(job, out0, out1),
        }
    }
}

fn halves(sums: &[u64; ACCUMULATOR]) -> [&Block; 4] {
    let blocks = sums.as_chunks::<LANES>().0;
    std::array::from_fn(|i| &blocks[i])
}

/// `inner_product` of exactly D digits.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma,avx512vbmi")]
fn turned_sums<const D: usize>(
    job: &InnerProduct<'_>,
    digits: &[&[Block]; D],
    out0: &mut [u64],
    out1: &mut [u64],
) {
    let m = Wide::new(job.modulus);
    let inverse = splat(job.modulus.inverse);
    let (out0, out1) = (out0.as_chunks_mut::<LANES>().0, out1.as_chunks_mut::<LANES>().0);
    let packing = Packing::new(job.modulus);
    let blocks = digits.iter().map(|digit| digit.len()).min().unwrap_or(0);
    assert!(D <= job.key_digits && packing.fits(job.key, 2 * job.key_digits * blocks), "digits of the key");
    let base = job.addends.base.map(|base| base.as_chunks::<LANES>().0);
    let minus = job.addends.minus.map(|minus| minus.map(|values| values.as_chunks::<LANES>().0));
    for (i, target) in job.permutation.targets(job.first_block).take(blocks).enumerate() {
        let zero = _mm512_setzero_si512();
        let (mut lo0, mut hi0, mut lo1, mut hi1) = (zero, zero, zero, zero);
        for (j, digit) in digits.iter().enumerate() {
            let at = packing.stride * 2 * (i * job.key_digits + j);
            // SAFETY: `fits` says that 64 bytes follow the beginning of each group.
            let keys = unsafe { [packing.load(job.key, at), packing.load(job.key, at + packing.stride)] };
            let (x, [k0, k1]) = (load(&digit[i]), keys);
            lo0 = _mm512_madd52lo_epu64(lo0, x, k0);
            hi0 = _mm512_madd52hi_epu64(hi0, x, k0);
            lo1 = _mm512_madd52lo_epu64(lo1, x, k1);
            hi1 = _mm512_madd52hi_epu64(hi1, x, k1);
        }
        let mut first = m.reduce_montgomery::<D>(lo0, hi0, inverse);
        let second = m.reduce_montgomery::<D>(lo1, hi1, inverse);
        if let Some(base) = base {
            first = m.add(first, load(&base[i]));
        }
        let lanes = load(target.lanes);
        let mut first = _mm512_permutexvar_epi64(lanes, first);
        let mut second = _mm512_permutexvar_epi64(lanes, second);
        if let Some([minus0, minus1]) = minus {
            first = m.sub(first, load(&minus0[target.block]));
            second = m.sub(second, load(&minus1[target.block]));
        }
        let (out0, out1) = (&mut out0[target.block], &mut out1[target.block]);
        if job.addends.onto == Onto::Sum {
            first = m.add(first, load(out0));
            second = m.add(second, load(out1));
        }
        store(out0, first);
        store(out1, second);
    }
}
