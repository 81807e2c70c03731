//! Arithmetic modulo one prime below 2^50.
//!
//! All constants are in radix 2^52, the width of the AVX-512 multipliers, so that the portable and the
//! vector kernels share them. Residues are canonical (`0..p`) unless a name says `lazy`. A wide value is
//! a pair `(lo, hi)` that stands for `lo + hi * 2^52`, where neither half need be below 2^52: sums of
//! products keep both halves apart and are reduced once.

/// Bits of a limb of the vector multipliers.
pub(super) const RADIX_BITS: u32 = 52;
/// The low 52 bits.
pub(super) const MASK: u64 = (1 << RADIX_BITS) - 1;
/// Bits that a prime may have.
pub(super) const MOST_BITS: u32 = 50;
/// How many products a wide value may sum before its low half could overflow.
pub(super) const MOST_TERMS: usize = 1 << 12;

/// A factor with its precomputed quotient: `x * factor` costs three multiplications and no division.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Factor {
    /// The residue.
    pub(super) value: u64,
    /// `floor(value * 2^52 / p)`.
    pub(super) quotient: u64,
}

/// A prime below 2^50 with its constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Modulus {
    /// The prime p.
    pub(super) value: u64,
    /// `floor(2^52 / p)`.
    pub(super) ratio: u64,
    /// `p^-1 mod 2^52`.
    pub(super) inverse: u64,
    /// `2^52 mod p`.
    pub(super) radix: Factor,
    /// `2^104 mod p`.
    pub(super) radix_squared: Factor,
}

/// The low 64 bits.
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
pub(super) fn low(x: u128) -> u64 {
    x as u64
}

/// An index that is known to be below 2^32, as word sizes and counts of the engine are.
#[expect(clippy::cast_possible_truncation, reason = "indices are below 2^32 by the limits on parameters")]
pub(super) fn index(x: u64) -> usize {
    x as usize
}

/// The product's high part, above 52 bits, of factors below 2^52.
#[inline(always)]
pub(super) fn high52(a: u64, b: u64) -> u64 {
    low((u128::from(a) * u128::from(b)) >> RADIX_BITS)
}

/// With how many of `p, 2p, 4p, ...` a Montgomery reduction of a sum of `terms` products must be compared:
/// before, it is below `p * (1 + terms/4)`.
#[inline(always)]
pub(super) const fn montgomery_comparisons(terms: usize) -> u32 {
    let mut comparisons = 1;
    while (4 << comparisons) < 4 + terms {
        comparisons += 1;
    }
    comparisons
}

impl Modulus {
    /// Constants of an odd prime `value` below 2^50.
    pub(super) fn new(value: u64) -> Self {
        debug_assert!(value % 2 == 1 && value >> MOST_BITS == 0);
        let mut inverse = value;
        for _ in 0..5 {
            inverse = inverse.wrapping_mul(2u64.wrapping_sub(value.wrapping_mul(inverse)));
        }
        let quotient = |v: u64| low((u128::from(v) << RADIX_BITS) / u128::from(value));
        let radix = (1 << RADIX_BITS) % value;
        let square = low(u128::from(radix) * u128::from(radix) % u128::from(value));
        Self {
            value,
            ratio: (1 << RADIX_BITS) / value,
            inverse: inverse & MASK,
            radix: Factor { value: radix, quotient: quotient(radix) },
            radix_squared: Factor { value: square, quotient: quotient(square) },
        }
    }

    /// Bits of the prime.
    pub(super) fn bits(self) -> u32 {
        64 - self.value.leading_zeros()
    }

    /// `value`, below p, prepared as a factor.
    pub(super) fn factor(self, value: u64) -> Factor {
        let value = value % self.value;
        Factor { value, quotient: low((u128::from(value) << RADIX_BITS) / u128::from(self.value)) }
    }

    /// `a` or `a - bound`, whichever is not negative.
    #[inline(always)]
    pub(super) fn least(a: u64, bound: u64) -> u64 {
        a.min(a.wrapping_sub(bound))
    }

    /// `a + b` of residues.
    #[inline(always)]
    pub(super) fn add(self, a: u64, b: u64) -> u64 {
        Self::least(a + b, self.value)
    }

    /// `a - b` of residues.
    #[inline(always)]
    pub(super) fn sub(self, a: u64, b: u64) -> u64 {
        let d = a.wrapping_sub(b);
        d.min(d.wrapping_add(self.value))
    }

    /// `x * w` in `0..2p`, for any `x` below 2^52.
    #[inline(always)]
    pub(super) fn scale_lazy(self, x: u64, w: Factor) -> u64 {
        x.wrapping_mul(w.value).wrapping_sub(high52(x, w.quotient).wrapping_mul(self.value))
    }

    /// `x * w`, for any `x` below 2^52.
    #[inline(always)]
    pub(super) fn scale(self, x: u64, w: Factor) -> u64 {
        Self::least(self.scale_lazy(x, w), self.value)
    }

    /// `x` modulo p in `0..2p`, for `x` below 2^52.
    #[inline(always)]
    pub(super) fn reduce_lazy(self, x: u64) -> u64 {
        x.wrapping_sub(high52(x, self.ratio).wrapping_mul(self.value))
    }

    /// `x` modulo p, for `x` below 2^52.
    #[inline(always)]
    pub(super) fn reduce(self, x: u64) -> u64 {
        Self::least(self.reduce_lazy(x), self.value)
    }

    /// A wide value modulo p; `hi` below 2^62.
    #[inline(always)]
    pub(super) fn reduce_wide(self, lo: u64, hi: u64) -> u64 {
        let hi = hi + (lo >> RADIX_BITS);
        let sum = self.reduce_lazy(lo & MASK)
            + self.scale_lazy(hi & MASK, self.radix)
            + self.scale_lazy(hi >> RADIX_BITS, self.radix_squared);
        let sum = Self::least(sum, 4 * self.value);
        Self::least(Self::least(sum, 2 * self.value), self.value)
    }

    /// A wide value times 2^-52 modulo p (Montgomery); the value is a sum of `terms` products.
    #[inline(always)]
    pub(super) fn reduce_montgomery(self, lo: u64, hi: u64, terms: usize) -> u64 {
        let hi = hi + (lo >> RADIX_BITS);
        let m = (lo & MASK).wrapping_mul(self.inverse) & MASK;
        let mut sum = hi + self.value - high52(m, self.value);
        for i in (0..montgomery_comparisons(terms)).rev() {
            sum = Self::least(sum, self.value << i);
        }
        sum
    }

    /// `a * b` of residues.
    #[inline(always)]
    pub(super) fn mul(self, a: u64, b: u64) -> u64 {
        let product = u128::from(a) * u128::from(b);
        self.reduce_wide(low(product) & MASK, low(product >> RADIX_BITS))
    }

    /// `base^exponent`.
    pub(super) fn pow(self, base: u64, mut exponent: u64) -> u64 {
        let (mut base, mut power) = (base % self.value, 1);
        while exponent > 0 {
            if exponent & 1 == 1 {
                power = self.mul(power, base);
            }
            base = self.mul(base, base);
            exponent >>= 1;
        }
        power
    }

    /// The inverse of `a`, which is not 0 modulo p.
    pub(super) fn invert(self, a: u64) -> u64 {
        self.pow(a, self.value - 2)
    }

    /// The residue of a signed integer.
    #[inline(always)]
    pub(super) fn residue(self, x: i64) -> u64 {
        let r = x.unsigned_abs() % self.value;
        if x < 0 { self.sub(0, r) } else { r }
    }

    /// The representative in `-p/2..p/2` of a residue.
    #[cfg(test)]
    pub(super) fn centre(self, x: u64) -> i64 {
        if x > self.value / 2 { -((self.value - x).cast_signed()) } else { x.cast_signed() }
    }
}
