//! The loops over residues, each with one meaning and two implementations.
//!
//! `portable` is correct everywhere; `simd` is its AVX-512 twin, taken where the
//! processor has it. Both give the same bits, which the properties below check. All slices of one call
//! have the same length, a multiple of 8; residues are canonical on entry and on exit. Nothing here
//! knows rings, keys or ciphertexts.

use super::galois::Permutation;
use super::modulus::{Factor, Modulus};
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::simd;

/// Words of an accumulator for 8 coefficients of two polynomials: low and high half of each.
pub(super) const ACCUMULATOR: usize = 32;
/// How many sums [`sum_products`] makes at most: so many accumulators are registers.
pub(super) const SUMS: usize = 4;

/// Sums of products over the same operands, each with its own factors, modulo one prime.
#[derive(Clone, Copy, Debug)]
pub(super) struct SharedSums<'a> {
    /// The prime.
    pub(super) modulus: Modulus,
    /// Both polynomials of each operand.
    pub(super) operands: &'a [[&'a [u64]; 2]],
    /// For each operand, its packed factor in each sum.
    pub(super) factors: &'a [&'a [u64]],
}

/// Base-2^b digits of residues: which digit to take and how to balance it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digit {
    /// Added to the centred residue so that every digit becomes non-negative.
    pub(super) offset: u64,
    /// Position of the digit in bits.
    pub(super) shift: u32,
    /// Selects the digit after the shift: all ones for the topmost.
    pub(super) mask: u64,
    /// Subtracted from the digit: half its range.
    pub(super) half: u64,
}

/// What becomes of what the outputs of an inner product hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Onto {
    /// It is written over.
    #[default]
    Anything,
    /// The result is added to it.
    Sum,
}

/// What an inner product adds and subtracts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Addends<'a> {
    /// What the outputs hold before.
    pub(super) onto: Onto,
    /// Added to the first output before it is permuted.
    pub(super) base: Option<&'a [u64]>,
    /// Subtracted from the outputs after they are permuted; the whole ring.
    pub(super) minus: Option<[&'a [u64]; 2]>,
}

/// An inner product of digits with a key, over one prime: the heart of a key switch.
#[derive(Debug)]
pub(super) struct InnerProduct<'a> {
    /// The prime.
    pub(super) modulus: Modulus,
    /// One slice a digit.
    pub(super) digits: &'a [&'a [u64]],
    /// Packed: for each 8 coefficients, for each digit: 8 residues for the first output, 8 for the second;
    /// times 2^52 (Montgomery).
    pub(super) key: &'a [u64],
    /// Digits that the key has for each 8 coefficients: those of `digits`, then perhaps others.
    pub(super) key_digits: usize,
    /// What goes in besides the products.
    pub(super) addends: Addends<'a>,
    /// Where the result goes.
    pub(super) permutation: &'a Permutation,
    /// The first block of 8 of the slices: they may be a part of the ring.
    pub(super) first_block: usize,
}

macro_rules! dispatched {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?);)*) => {$(
        $(#[$doc])*
        pub(super) fn $name($($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            if let Some(simd) = simd::Avx512::detect() {
                return simd.$name($($arg),*);
            }
            portable::$name($($arg),*);
        }
    )*};
}

dispatched! {
    /// `a += b`.
    fn add(m: Modulus, a: &mut [u64], b: &[u64]);
    /// `a -= b`.
    fn sub(m: Modulus, a: &mut [u64], b: &[u64]);
    /// `a = b - a`.
    fn sub_from(m: Modulus, a: &mut [u64], b: &[u64]);
    /// `a *= w`; `a` need only be below 2^52.
    fn scale(m: Modulus, a: &mut [u64], w: Factor);
    /// `out = a * b`.
    fn multiply(m: Modulus, out: &mut [u64], a: &[u64], b: &[u64]);
    /// `out += a * b`.
    fn multiply_add(m: Modulus, out: &mut [u64], a: &[u64], b: &[u64]);
    /// `out -= a * b`.
    fn multiply_sub(m: Modulus, out: &mut [u64], a: &[u64], b: &[u64]);
    /// Residues mod `from`, taken in `-from/2..=from/2`, modulo `to`.
    fn lift(from: Modulus, to: Modulus, src: &[u64], out: &mut [u64]);
    /// `(src * w - [src > from/2])` modulo `to`: the lift times w, where `from * w = 1` modulo `to`.
    fn lift_scaled(from: Modulus, to: Modulus, w: Factor, src: &[u64], out: &mut [u64]);
    /// Signed integers of less than half the prime, as residues.
    fn lift_signed(m: Modulus, src: &[i64], out: &mut [u64]);
    /// One balanced digit of residues mod `from`, modulo `to`.
    fn digit(from: Modulus, to: Modulus, digit: Digit, src: &[u64], out: &mut [u64]);
    /// Packs residues; the output is as long as `packed_words` says.
    fn pack(m: Modulus, src: &[u64], out: &mut [u64]);
    /// Unpacks residues.
    fn unpack(m: Modulus, src: &[u64], out: &mut [u64]);
    /// Adds the products of one sum to both polynomials of an accumulator.
    fn accumulate(job: &SharedSums<'_>, accumulator: &mut [u64]);
    /// At most [`SUMS`] sums of 4096 products at most.
    fn sum_products(job: &SharedSums<'_>, outs: &mut [[&mut [u64]; 2]]);
    /// Reduces an accumulator's two polynomials.
    fn reduce(m: Modulus, accumulator: &[u64], out0: &mut [u64], out1: &mut [u64]);
    /// Reduces an accumulator's wide values in place, so that it can sum further terms.
    fn fold(m: Modulus, accumulator: &mut [u64]);
    /// The sum of packed residues times a residue each, of 4096 terms at most.
    fn combine(m: Modulus, terms: &[(&[u64], u64)], out: &mut [u64]);
    /// The sum of rows below 2^52 times a residue each, of 4096 terms at most.
    fn weigh(m: Modulus, terms: &[(&[u64], u64)], out: &mut [u64]);
    /// The inner product; the outputs span the whole ring.
    fn inner_product(job: &InnerProduct<'_>, out0: &mut [u64], out1: &mut [u64]);
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests;
