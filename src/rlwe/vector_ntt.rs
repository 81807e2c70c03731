//! The transform with AVX-512 IFMA, modulo primes below 2^49: bit for bit that of [`ntt`](super::ntt).
//!
//! Up to three levels are done between a load and a store, those inside of vectors after a transposition.
//! Values grow up to 8p and are
//! reduced in every second level only, which is what the prime's bound is for. Whatever carries above bit 52
//! is left there, because the multipliers do not read it, until a comparison needs it gone.
//!
//! A node of the recursion is a block of the coefficients with its number: 1 is all of them, the halves of
//! node i are 2i and 2i + 1, and the twiddle of node i is `w^brv(i)`.

use super::modulus::{Factor, MASK, Modulus};
use super::ntt::position;
use super::simd::{Block, load, splat, store};
use std::arch::x86_64::*;

/// Bits below which primes must lie: eight of them fit the multipliers' 52 bits.
pub(super) const BITS: u32 = 49;
/// Lengths from which on there is a level across vectors.
pub(super) const LEAST_RING: usize = 128;

/// Coefficients of 8 vectors.
const LEAF: usize = 64;
/// Vectors of a block that the nearest cache holds with its twiddles: 8 KiB.
const BLOCK: usize = 128;
/// The multiple of the prime that values stay below.
const MOST: u32 = 8;

type Vector = __m512i;
/// A twiddle factor and its quotient in every lane, or one in each.
type Twiddle = (Vector, Vector);

/// The twiddles inside of 8 vectors, transposed: factors and quotients.
type Leaf = [[Block; 2]; 7];

/// A direction's twiddles.
#[derive(Clone, Debug)]
struct Table {
    /// By node, of the levels across vectors.
    nodes: Vec<Factor>,
    /// For each 8 vectors, of the levels inside of them.
    leaves: Vec<Leaf>,
}

/// The twiddles of one prime and length, and proof that they are in range.
#[derive(Clone, Debug)]
pub(super) struct Twisted {
    modulus: Modulus,
    forward: Table,
    inverse: Table,
}

impl Table {
    /// Of the powers of `root`, which is of order 2 `ring`.
    fn new(modulus: Modulus, ring: usize, root: u64) -> Self {
        let log = ring.trailing_zeros();
        let mut powers = vec![1; ring];
        for e in 1..ring {
            powers[e] = modulus.mul(powers[e - 1], root);
        }
        // Bit reversal maps entry to exponent and back.
        let twiddle = |node: usize| modulus.factor(powers[position(2 * node + 1, log)]);
        let leaf = |leaf: usize| {
            std::array::from_fn(|i| {
                // Twiddle i is that of the (i + 1)-th node below a vector's.
                let of = |lane: usize| {
                    let vector = ring / 8 + 8 * leaf + lane;
                    twiddle(match i {
                        0 => vector,
                        1 | 2 => 2 * vector + i - 1,
                        _ => 4 * vector + i - 3,
                    })
                };
                [std::array::from_fn(|lane| of(lane).value), std::array::from_fn(|lane| of(lane).quotient)]
            })
        };
        Self { nodes: (0..ring / 8).map(twiddle).collect(), leaves: (0..ring / LEAF).map(leaf).collect() }
    }
}

impl Twisted {
    /// The twiddles for transforms of length `ring` modulo a prime with this root of order 2 `ring`, none if
    /// the prime is too large or the length too short.
    pub(super) fn new(modulus: Modulus, ring: usize, root: u64) -> Option<Self> {
        if modulus.bits() > BITS || ring < LEAST_RING {
            return None;
        }
        let forward = Table::new(modulus, ring, root);
        let inverse = Table::new(modulus, ring, modulus.invert(root));
        Some(Self { modulus, forward, inverse })
    }
}

/// A prime's constants in every lane.
#[derive(Clone, Copy)]
struct Constants {
    zero: Vector,
    mask: Vector,
    /// `2^52 - p`.
    negative: Vector,
    once: Vector,
    twice: Vector,
    fourfold: Vector,
}

/// `x` or `x - bound`, whichever is not negative; nothing may lie above bit 52.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn least(x: Vector, bound: Vector) -> Vector {
    _mm512_min_epu64(x, _mm512_sub_epi64(x, bound))
}

impl Constants {
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn new(m: Modulus) -> Self {
        Self {
            zero: _mm512_setzero_si512(),
            mask: splat(MASK),
            negative: splat((1 << 52) - m.value),
            once: splat(m.value),
            twice: splat(2 * m.value),
            fourfold: splat(4 * m.value),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn masked(&self, x: Vector) -> Vector {
        _mm512_and_si512(x, self.mask)
    }

    /// `accumulator + x * w`, where the product is below 2p, for any 52 bits of x.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn add_product(&self, accumulator: Vector, x: Vector, (w, quotient): Twiddle) -> Vector {
        let multiple = _mm512_madd52hi_epu64(self.zero, x, quotient);
        let sum = _mm512_madd52lo_epu64(accumulator, x, w);
        _mm512_madd52lo_epu64(sum, multiple, self.negative)
    }

    /// `(x + y w, x - y w)`; from below `MOST - 2` each result is below 2p more.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn forward(&self, x: &mut Vector, y: &mut Vector, w: Twiddle) {
        let sum = self.add_product(*x, *y, w);
        let both = _mm512_add_epi64(_mm512_add_epi64(*x, *x), self.twice);
        (*x, *y) = (sum, _mm512_sub_epi64(both, sum));
    }

    /// `(x + y, (x - y) w)` for y below `bound`; the second result is below 2p.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn inverse(&self, x: &mut Vector, y: &mut Vector, w: Twiddle, bound: Vector) {
        let difference = _mm512_sub_epi64(_mm512_add_epi64(*x, bound), *y);
        *x = _mm512_add_epi64(*x, *y);
        *y = self.add_product(self.zero, difference, w);
    }

    /// From below 8p to below 4p.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn below_fourfold(&self, x: Vector) -> Vector {
        least(self.masked(x), self.fourfold)
    }

    /// From below 4p to below 2p.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn below_twice(&self, x: Vector) -> Vector {
        least(self.masked(x), self.twice)
    }
}

/// Which values a level combines: first, second, which of the twiddles.
type Pairs = [(usize, usize, usize)];

const RADIX_2: [&Pairs; 1] = [&[(0, 1, 0)]];
const RADIX_4: [&Pairs; 2] = [&[(0, 2, 0), (1, 3, 0)], &[(0, 1, 1), (2, 3, 2)]];
const RADIX_8: [&Pairs; 3] = [
    &[(0, 4, 0), (1, 5, 0), (2, 6, 0), (3, 7, 0)],
    &[(0, 2, 1), (1, 3, 1), (4, 6, 2), (5, 7, 2)],
    &[(0, 1, 3), (2, 3, 4), (4, 5, 5), (6, 7, 6)],
];

/// The levels of a forward transform on N values below `BOUND * p`; the results are below `MOST * p`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn forward_levels<const N: usize, const LEVELS: usize, const BOUND: u32>(
    c: &Constants,
    x: &mut [Vector; N],
    w: &[Twiddle],
    levels: &[&Pairs; LEVELS],
) {
    let mut bound = BOUND;
    for pairs in levels {
        let reduced = bound + 2 > MOST;
        for &(i, j, twiddle) in *pairs {
            let (mut first, mut second) = (x[i], x[j]);
            if reduced {
                first = c.below_fourfold(first);
            }
            c.forward(&mut first, &mut second, w[twiddle]);
            (x[i], x[j]) = (first, second);
        }
        bound = if reduced { 6 } else { bound + 2 };
    }
}

/// The levels of an inverse transform on N values below 2p, as are the results.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn inverse_levels<const N: usize, const LEVELS: usize>(
    c: &Constants,
    x: &mut [Vector; N],
    w: &[Twiddle],
    levels: &[&Pairs; LEVELS],
) {
    let mut bounds = [2; N];
    for pairs in levels.iter().rev() {
        for &(i, j, twiddle) in *pairs {
            let (mut first, mut second) = (x[i], x[j]);
            c.inverse(&mut first, &mut second, w[twiddle], if bounds[j] == 2 { c.twice } else { c.fourfold });
            if bounds[i] + bounds[j] > 4 {
                first = c.below_fourfold(first);
            }
            (x[i], x[j]) = (first, second);
            (bounds[i], bounds[j]) = (4, 2);
        }
    }
    for (x, bound) in x.iter_mut().zip(bounds) {
        if bound > 2 {
            *x = c.below_twice(*x);
        }
    }
}

impl Table {
    /// The twiddles of `levels` levels from node `node` on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn below<const N: usize>(&self, node: usize) -> [Twiddle; N] {
        let mut twiddles = [(splat(0), splat(0)); N];
        let mut level = 0;
        while (1 << level) <= N {
            let count = 1 << level;
            for (w, factor) in twiddles[count - 1..].iter_mut().zip(&self.nodes[count * node..][..count]) {
                *w = (splat(factor.value), splat(factor.quotient));
            }
            level += 1;
        }
        twiddles
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn inside(leaf: &Leaf) -> [Twiddle; 7] {
    let mut twiddles = [(splat(0), splat(0)); 7];
    for (w, [value, quotient]) in twiddles.iter_mut().zip(leaf) {
        *w = (load(value), load(quotient));
    }
    twiddles
}

/// Lane i of vector j becomes lane j of vector i.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn transposed(v: [Vector; 8]) -> [Vector; 8] {
    const LOW: i32 = 0b01_00_01_00;
    const HIGH: i32 = 0b11_10_11_10;
    let even = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
    let odd = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
    // Rows of four vectors each: lanes 0 and 4 in row 0, 1 and 5 in row 1, ...
    let rows = |a: Vector, b: Vector, c: Vector, d: Vector| {
        let (ab0, ab1) = (_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
        let (cd0, cd1) = (_mm512_unpacklo_epi64(c, d), _mm512_unpackhi_epi64(c, d));
        [
            _mm512_permutex2var_epi64(ab0, even, cd0),
            _mm512_permutex2var_epi64(ab1, even, cd1),
            _mm512_permutex2var_epi64(ab0, odd, cd0),
            _mm512_permutex2var_epi64(ab1, odd, cd1),
        ]
    };
    let (first, second) = (rows(v[0], v[1], v[2], v[3]), rows(v[4], v[5], v[6], v[7]));
    [
        _mm512_shuffle_i64x2::<LOW>(first[0], second[0]),
        _mm512_shuffle_i64x2::<LOW>(first[1], second[1]),
        _mm512_shuffle_i64x2::<LOW>(first[2], second[2]),
        _mm512_shuffle_i64x2::<LOW>(first[3], second[3]),
        _mm512_shuffle_i64x2::<HIGH>(first[0], second[0]),
        _mm512_shuffle_i64x2::<HIGH>(first[1], second[1]),
        _mm512_shuffle_i64x2::<HIGH>(first[2], second[2]),
        _mm512_shuffle_i64x2::<HIGH>(first[3], second[3]),
    ]
}

/// How many levels to do at once where `left` are left above the blocks.
fn outer_levels(left: u32) -> u32 {
    if left == 4 { 2 } else { left.min(3) }
}

/// How many levels to do at once where `left` are left of a block.
fn inner_levels(left: u32) -> u32 {
    match left {
        1 => 1,
        3 | 6 => 3,
        _ => 2,
    }
}

/// The forward transform of values below `BOUND * p`.
#[target_feature(enable = "avx512f,avx512ifma")]
fn forward_node<const BOUND: u32>(c: &Constants, table: &Table, data: &mut [Block], node: usize) {
    if data.len() <= BLOCK {
        forward_block::<BOUND>(c, table, data, node);
        return;
    }
    let levels = outer_levels((data.len() / BLOCK).ilog2());
    forward_pass::<BOUND>(c, table, data, node, levels);
    let parts = 1 << levels;
    for (i, part) in data.chunks_exact_mut(data.len() / parts).enumerate() {
        forward_node::<MOST>(c, table, part, parts * node + i);
    }
}

/// The forward transform of a block that the nearest cache holds: level by level, so that neighbours do not
/// wait for each other.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn forward_block<const BOUND: u32>(c: &Constants, table: &Table, data: &mut [Block], node: usize) {
    let mut levels = inner_levels(data.len().ilog2());
    forward_pass::<BOUND>(c, table, data, node, levels);
    let mut parts = 1 << levels;
    while parts < data.len() {
        levels = inner_levels((data.len() / parts).ilog2());
        for (i, part) in data.chunks_exact_mut(data.len() / parts).enumerate() {
            forward_pass::<MOST>(c, table, part, parts * node + i, levels);
        }
        parts <<= levels;
    }
    let first = parts / 8 * node % table.leaves.len();
    for (leaf, data) in table.leaves[first..].iter().zip(data.as_chunks_mut().0) {
        forward_leaf(c, leaf, data);
    }
}

/// Some levels across a block.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn forward_pass<const BOUND: u32>(
    c: &Constants,
    table: &Table,
    data: &mut [Block],
    node: usize,
    levels: u32,
) {
    match levels {
        1 => forward_across::<2, 1, 1, BOUND>(c, &table.below(node), data, &RADIX_2),
        2 => forward_across::<4, 3, 2, BOUND>(c, &table.below(node), data, &RADIX_4),
        _ => forward_across::<8, 7, 3, BOUND>(c, &table.below(node), data, &RADIX_8),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn forward_across<const N: usize, const TWIDDLES: usize, const LEVELS: usize, const BOUND: u32>(
    c: &Constants,
    w: &[Twiddle; TWIDDLES],
    data: &mut [Block],
    levels: &[&Pairs; LEVELS],
) {
    let stride = data.len() / N;
    for i in 0..stride {
        let mut x = [c.zero; N];
        for (k, x) in x.iter_mut().enumerate() {
            *x = load(&data[k * stride + i]);
        }
        forward_levels::<N, LEVELS, BOUND>(c, &mut x, w, levels);
        for (k, &x) in x.iter().enumerate() {
            store(&mut data[k * stride + i], x);
        }
    }
}

/// The last three levels of a forward transform, and the reduction.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn forward_leaf(c: &Constants, leaf: &Leaf, data: &mut [Block; 8]) {
    let mut x = [c.zero; 8];
    for (x, block) in x.iter_mut().zip(&*data) {
        *x = load(block);
    }
    let mut x = transposed(x);
    forward_levels::<8, 3, MOST>(c, &mut x, &inside(leaf), &RADIX_8);
    for (x, block) in transposed(x).into_iter().zip(data) {
        store(block, least(least(c.below_fourfold(x), c.twice), c.once));
    }
}

/// The inverse transform; the results are below 2p, those of the root canonical.
#[target_feature(enable = "avx512f,avx512ifma")]
fn inverse_node(c: &Constants, table: &Table, data: &mut [Block], node: usize) {
    if data.len() <= BLOCK {
        inverse_block(c, table, data, node);
        return;
    }
    let levels = outer_levels((data.len() / BLOCK).ilog2());
    let parts = 1 << levels;
    for (i, part) in data.chunks_exact_mut(data.len() / parts).enumerate() {
        inverse_node(c, table, part, parts * node + i);
    }
    inverse_pass(c, table, data, node, levels);
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn inverse_block(c: &Constants, table: &Table, data: &mut [Block], node: usize) {
    let first = data.len() / 8 * node % table.leaves.len();
    for (leaf, data) in table.leaves[first..].iter().zip(data.as_chunks_mut().0) {
        inverse_leaf(c, leaf, data);
    }
    let mut parts = data.len();
    while parts > 1 {
        // The order of the forward transform, backwards: what is left to do is what it has done.
        let levels = inner_levels(parts.ilog2());
        parts >>= levels;
        for (i, part) in data.chunks_exact_mut(data.len() / parts).enumerate() {
            inverse_pass(c, table, part, parts * node + i, levels);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn inverse_pass(c: &Constants, table: &Table, data: &mut [Block], node: usize, levels: u32) {
    if node == 1 {
        inverse_bounded::<1>(c, table, data, node, levels);
    } else {
        inverse_bounded::<2>(c, table, data, node, levels);
    }
}

/// Some levels across a block; the results are below `BOUND * p`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn inverse_bounded<const BOUND: u32>(
    c: &Constants,
    table: &Table,
    data: &mut [Block],
    node: usize,
    levels: u32,
) {
    match levels {
        1 => inverse_across::<2, 1, 1, BOUND>(c, &table.below(node), data, &RADIX_2),
        2 => inverse_across::<4, 3, 2, BOUND>(c, &table.below(node), data, &RADIX_4),
        _ => inverse_across::<8, 7, 3, BOUND>(c, &table.below(node), data, &RADIX_8),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn inverse_across<const N: usize, const TWIDDLES: usize, const LEVELS: usize, const BOUND: u32>(
    c: &Constants,
    w: &[Twiddle; TWIDDLES],
    data: &mut [Block],
    levels: &[&Pairs; LEVELS],
) {
    let stride = data.len() / N;
    for i in 0..stride {
        let mut x = [c.zero; N];
        for (k, x) in x.iter_mut().enumerate() {
            *x = load(&data[k * stride + i]);
        }
        inverse_levels(c, &mut x, w, levels);
        for (k, &x) in x.iter().enumerate() {
            store(&mut data[k * stride + i], if BOUND == 1 { least(c.masked(x), c.once) } else { x });
        }
    }
}

/// The first three levels of an inverse transform.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn inverse_leaf(c: &Constants, leaf: &Leaf, data: &mut [Block; 8]) {
    let mut x = [c.zero; 8];
    for (x, block) in x.iter_mut().zip(&*data) {
        *x = load(block);
    }
    let mut x = transposed(x);
    inverse_levels(c, &mut x, &inside(leaf), &RADIX_8);
    for (x, block) in transposed(x).into_iter().zip(data) {
        store(block, x);
    }
}

/// Coefficients to values, canonical both.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn forward(twisted: &Twisted, data: &mut [u64]) {
    forward_node::<1>(&Constants::new(twisted.modulus), &twisted.forward, data.as_chunks_mut().0, 1);
}

/// Values to N times the coefficients, canonical both.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn inverse(twisted: &Twisted, data: &mut [u64]) {
    inverse_node(&Constants::new(twisted.modulus), &twisted.inverse, data.as_chunks_mut().0, 1);
}
