//! AES-128 with AVX-512, four blocks at a time, and what the extension of oblivious transfers does with it: sums
//! of streams of blocks, transposition of 128 x 128 bits, hashes of rows.
//!
//! The extension (`mpc::ot`) has the same for other processors by the crate `aes`, bit for bit. Round keys are wiped
//! when they are dropped.

use std::arch::x86_64::*;
use zeroize::Zeroize;

/// 128 bits, low word first.
type Row = [u64; 2];
/// As many rows as bits.
type Square = [Row; 128];

/// Rows of a vector.
const ROWS: usize = 4;
/// Vectors that are worked on together.
const TOGETHER: usize = 4;
/// Blocks that [`Vaes::sums`] makes together.
pub(crate) const BLOCKS: usize = ROWS * TOGETHER;
/// Bits of a leaf's number.
const DEPTH: usize = 4;
/// Rounds of AES-128, and the key before them.
const ROUND_KEYS: usize = 11;

/// Proof that the processor has AVX-512 F and AES on vectors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vaes(());

/// An AES-128 key, spread over the rounds.
pub(crate) struct RoundKeys([Row; ROUND_KEYS]);

impl Drop for RoundKeys {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

macro_rules! entered {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block)*) => {
        impl Vaes {$(
            $(#[$doc])*
            pub(crate) fn $name(self, $($arg: $type),*) $(-> $result)? {
                #[target_feature(enable = "avx512f,aes,vaes")]
                fn entered($($arg: $type),*) $(-> $result)? $body
                // SAFETY: `self` proves that the processor has the features.
                unsafe { entered($($arg),*) }
            }
        )*}
    };
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(rows: &[Row; ROWS]) -> __m512i {
    // SAFETY: the reference is to 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(rows.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(rows: &mut [Row; ROWS], x: __m512i) {
    // SAFETY: the reference is to 64 writable bytes; the store needs no alignment.
    unsafe { _mm512_storeu_si512(rows.as_mut_ptr().cast(), x) }
}

/// A row in all four places.
#[inline]
#[target_feature(enable = "avx512f")]
fn broadcast([low, high]: Row) -> __m512i {
    _mm512_broadcast_i32x4(_mm_set_epi64x(high.cast_signed(), low.cast_signed()))
}

/// `a ^ b ^ c`.
#[inline]
#[target_feature(enable = "avx512f")]
fn sum(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<0x96>(a, b, c)
}

/// `a` where the mask is 1, `b` where it is 0.
#[inline]
#[target_feature(enable = "avx512f")]
fn select(mask: __m512i, a: __m512i, b: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<0xca>(mask, a, b)
}

/// Encrypts vectors, each under the key of its number.
#[inline]
#[target_feature(enable = "avx512f,vaes")]
fn encrypt<const N: usize, const KEYS: usize>(keys: [&RoundKeys; KEYS], mut x: [__m512i; N]) -> [__m512i; N] {
    let each = N / KEYS;
    for round in 0..ROUND_KEYS {
        for (of, key) in keys.iter().enumerate() {
            let key = broadcast(key.0[round]);
            for x in &mut x[of * each..(of + 1) * each] {
                *x = match round {
                    0 => _mm512_xor_si512(*x, key),
                    10 => _mm512_aesenclast_epi128(*x, key),
                    _ => _mm512_aesenc_epi128(*x, key),
                };
            }
        }
    }
    x
}

/// Four rows of each of four vectors to four vectors of one row of each.
#[inline]
#[target_feature(enable = "avx512f")]
fn regroup([a, b, c, d]: [__m512i; ROWS]) -> [__m512i; ROWS] {
    let (ab_low, ab_high) = (_mm512_shuffle_i64x2::<0x44>(a, b), _mm512_shuffle_i64x2::<0xee>(a, b));
    let (cd_low, cd_high) = (_mm512_shuffle_i64x2::<0x44>(c, d), _mm512_shuffle_i64x2::<0xee>(c, d));
    [
        _mm512_shuffle_i64x2::<0x88>(ab_low, cd_low),
        _mm512_shuffle_i64x2::<0xdd>(ab_low, cd_low),
        _mm512_shuffle_i64x2::<0x88>(ab_high, cd_high),
        _mm512_shuffle_i64x2::<0xdd>(ab_high, cd_high),
    ]
}

/// Swaps the high half of the squares' upper rows with the low half of their lower rows.
#[inline]
#[target_feature(enable = "avx512f")]
fn exchange<const SIDE: u32>(a: &mut __m512i, b: &mut __m512i, low: u64) {
    let low = _mm512_set1_epi64(low.cast_signed());
    let (upper, lower) = (*a, *b);
    *a = select(low, upper, _mm512_slli_epi64::<SIDE>(lower));
    *b = select(low, _mm512_srli_epi64::<SIDE>(upper), lower);
}

/// As [`exchange`], of rows within a vector: those that `lower` marks are the lower ones, `x` has them first.
#[inline]
#[target_feature(enable = "avx512f")]
fn within(x: __m512i, exchanged: __m512i, side: i64, low: u64, lower: u8) -> __m512i {
    let low = _mm512_set1_epi64(low.cast_signed());
    let all = _mm512_set1_epi64(-1);
    let mask = _mm512_mask_xor_epi64(low, lower, low, all);
    let turns = _mm512_mask_set1_epi64(_mm512_set1_epi64(side), lower, 64 - side);
    select(mask, x, _mm512_rolv_epi64(exchanged, turns))
}

entered! {
    /// The round keys of an AES-128 key.
    fn key(bytes: [u8; 16]) -> RoundKeys {
        let [low, high] = [0, 8].map(|at| i64::from_le_bytes(std::array::from_fn(|i| bytes[at + i])));
        let mut key = _mm_set_epi64x(high, low);
        let mut keys = RoundKeys([[0; 2]; ROUND_KEYS]);
        let words = |x: __m128i| [_mm_cvtsi128_si64(x), _mm_cvtsi128_si64(_mm_unpackhi_epi64(x, x))];
        let (mut constant, last) = (1_u32, keys.0.len() - 1);
        for (round, out) in keys.0.iter_mut().enumerate() {
            *out = words(key).map(i64::cast_unsigned);
            if round == last {
                break;
            }
            // The last word, turned and substituted, with the round's constant; then sums from the first word on.
            let substituted = _mm_aeskeygenassist_si128::<0>(key);
            let turned = _mm_shuffle_epi32::<0xff>(substituted);
            let added = _mm_xor_si128(turned, _mm_set1_epi32(constant.cast_signed()));
            let sums = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
            let sums = _mm_xor_si128(sums, _mm_slli_si128::<8>(sums));
            key = _mm_xor_si128(sums, added);
            constant = (constant << 1) ^ if constant & 0x80 == 0 { 0 } else { 0x11b };
        }
        keys
    }

    /// The streams of 16 leaves: block i of each is the encryption of `counter + i`. Row `first + bit` of `weighted`
    /// becomes the sum of those whose number has the bit, `plain` that of all, by block.
    fn sums(keys: &[RoundKeys; 1 << DEPTH], counter: u64, first: usize, weighted: &mut [Square], plain: &mut [Row]) {
        let zero = _mm512_setzero_si512();
        let lanes = _mm512_set_epi64(0, 3, 0, 2, 0, 1, 0, 0);
        let blocks = weighted.as_chunks_mut::<BLOCKS>().0.iter_mut().zip(plain.as_chunks_mut::<BLOCKS>().0);
        for ((weighted, plain), counter) in blocks.zip((counter..).step_by(BLOCKS)) {
            let counter = _mm512_add_epi64(lanes, broadcast([counter, 0]));
            let counters: [__m512i; TOGETHER] = {
                let mut counters = [counter; TOGETHER];
                for i in 1..TOGETHER {
                    counters[i] = _mm512_add_epi64(counters[i - 1], broadcast([ROWS as u64, 0]));
                }
                counters
            };
            let mut all = [zero; TOGETHER];
            let mut sums = [[zero; DEPTH]; TOGETHER];
            for (pair, [even, odd]) in keys.as_chunks::<2>().0.iter().enumerate() {
                let mut both = [zero; 2 * TOGETHER];
                both[..TOGETHER].copy_from_slice(&counters);
                both[TOGETHER..].copy_from_slice(&counters);
                let both = encrypt([even, odd], both);
                for i in 0..TOGETHER {
                    let (even, odd) = (both[i], both[TOGETHER + i]);
                    all[i] = sum(all[i], even, odd);
                    let [first, others @ ..] = &mut sums[i];
                    *first = _mm512_xor_si512(*first, odd);
                    for (bit, other) in others.iter_mut().enumerate() {
                        if pair >> bit & 1 == 1 {
                            *other = sum(*other, even, odd);
                        }
                    }
                }
            }
            for (i, plain) in plain.as_chunks_mut().0.iter_mut().enumerate() {
                store(plain, all[i]);
                let regrouped = regroup(sums[i]);
                for (square, rows) in weighted[ROWS * i..].iter_mut().zip(regrouped) {
                    store(&mut square.as_chunks_mut().0[first / ROWS], rows);
                }
            }
        }
    }

    /// Adds to each row whose bit in `delta` is 1 its entry of `addends`, one for every four rows.
    fn correct(rows: &mut Square, addends: &[Row; 32], delta: Row) {
        let bits = _mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0);
        for (at, (rows, addend)) in rows.as_chunks_mut().0.iter_mut().zip(addends).enumerate() {
            let four = delta[at / 16] >> (4 * (at % 16)) & 15;
            let shifted = _mm512_srlv_epi64(_mm512_set1_epi64(four.cast_signed()), bits);
            let mask = _mm512_test_epi64_mask(shifted, _mm512_set1_epi64(1));
            let x = load(rows);
            store(rows, _mm512_mask_xor_epi64(x, mask, x, broadcast(*addend)));
        }
    }

    /// Makes bit j of row i the bit i of row j.
    fn transpose(rows: &mut Square) {
        let rows = rows.as_chunks_mut::<ROWS>().0;
        let mut x = [_mm512_setzero_si512(); 128 / ROWS];
        for (x, rows) in x.iter_mut().zip(&*rows) {
            *x = load(rows);
        }
        let (upper, lower) = x.split_at_mut(16);
        for (a, b) in upper.iter_mut().zip(lower) {
            (*a, *b) = (_mm512_unpacklo_epi64(*a, *b), _mm512_unpackhi_epi64(*a, *b));
        }
        for half in x.chunks_exact_mut(16) {
            let (upper, lower) = half.split_at_mut(8);
            for (a, b) in upper.iter_mut().zip(lower) {
                exchange::<32>(a, b, 0x0000_0000_ffff_ffff);
            }
        }
        for (x, rows) in x.as_chunks_mut::<8>().0.iter_mut().zip(rows.as_chunks_mut::<8>().0) {
            let (upper, lower) = x.split_at_mut(4);
            for (a, b) in upper.iter_mut().zip(lower) {
                exchange::<16>(a, b, 0x0000_ffff_0000_ffff);
            }
            for quarter in x.chunks_exact_mut(4) {
                let (upper, lower) = quarter.split_at_mut(2);
                for (a, b) in upper.iter_mut().zip(lower) {
                    exchange::<8>(a, b, 0x00ff_00ff_00ff_00ff);
                }
            }
            for [a, b] in x.as_chunks_mut::<2>().0 {
                exchange::<4>(a, b, 0x0f0f_0f0f_0f0f_0f0f);
            }
            for (x, rows) in x.iter().zip(rows) {
                let x = within(*x, _mm512_shuffle_i64x2::<0x4e>(*x, *x), 2, 0x3333_3333_3333_3333, 0xf0);
                let x = within(x, _mm512_shuffle_i64x2::<0xb1>(x, x), 1, 0x5555_5555_5555_5555, 0xcc);
                store(rows, x);
            }
        }
    }

    /// `E(x) + x`, x being `rows[i] + offset + first + i`: sums are exclusive or, but for that of numbers.
    fn hash(key: &RoundKeys, rows: &Square, offset: Row, first: u64, hashes: &mut Square) {
        const AT_ONCE: usize = 8;
        let offset = broadcast(offset);
        let step = broadcast([ROWS as u64, 0]);
        let mut number = _mm512_add_epi64(_mm512_set_epi64(0, 3, 0, 2, 0, 1, 0, 0), broadcast([first, 0]));
        let rows = rows.as_chunks::<ROWS>().0.as_chunks::<AT_ONCE>().0;
        for (rows, hashes) in rows.iter().zip(hashes.as_chunks_mut::<ROWS>().0.as_chunks_mut::<AT_ONCE>().0) {
            let mut tweaked = [offset; AT_ONCE];
            for (tweaked, rows) in tweaked.iter_mut().zip(rows) {
                *tweaked = sum(load(rows), offset, number);
                number = _mm512_add_epi64(number, step);
            }
            let encrypted = encrypt([key], tweaked);
            for (i, hash) in hashes.iter_mut().enumerate() {
                store(hash, _mm512_xor_si512(encrypted[i], tweaked[i]));
            }
        }
    }

    /// Bits 0 of the rows, then their bits 1.
    fn low_bits(rows: &Square) -> [[u64; 2]; 2] {
        let lows = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0);
        let mut bits = [[0; 2]; 2];
        for (at, [a, b]) in rows.as_chunks::<ROWS>().0.as_chunks::<2>().0.iter().enumerate() {
            let words = _mm512_permutex2var_epi64(load(a), lows, load(b));
            for (bit, bits) in bits.iter_mut().enumerate() {
                let mask = _mm512_test_epi64_mask(words, _mm512_set1_epi64(1 << bit));
                bits[at / 8] |= u64::from(mask) << (8 * (at % 8));
            }
        }
        bits
    }
}

impl Vaes {
    /// The proof, where there is one.
    pub(crate) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("vaes");
        has.then_some(Self(()))
    }
}
