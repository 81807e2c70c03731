//! The modulus of additive shares: an odd number (the plaintext prime) or a power of two.
//!
//! All operations on residues take the same time for every residue: shares are secret.

use super::MpcError;

/// A modulus of shares; `x` is held as `client + server mod t`, and means the integer of least magnitude.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Modulus {
    value: u64,
    /// `floor(2^64 / value)`.
    reciprocal: u64,
}

/// The largest odd modulus, and the largest power of two.
const LIMITS: [u64; 2] = [1 << 48, 1 << 60];

impl Modulus {
    /// `value` is odd, 3 to 2^48, or a power of two, 4 to 2^60.
    ///
    /// # Errors
    /// If it is neither, or out of range.
    pub fn new(value: u64) -> Result<Self, MpcError> {
        let odd = value % 2 == 1 && (3..=LIMITS[0]).contains(&value);
        let power = value.is_power_of_two() && (4..=LIMITS[1]).contains(&value);
        if !odd && !power {
            return Err(MpcError::Modulus(value));
        }
        let floor = u64::MAX / value;
        let reciprocal = if value.is_power_of_two() { floor + 1 } else { floor };
        Ok(Self { value, reciprocal })
    }

    /// `2^bits`, for bits in 2..=60.
    pub(super) fn two_to(bits: u32) -> Result<Self, MpcError> {
        Self::new(1_u64.checked_shl(bits).unwrap_or(0))
    }

    /// The modulus itself.
    #[must_use]
    pub fn value(self) -> u64 {
        self.value
    }

    /// Bits of the largest residue; for an odd modulus also the bits of the modulus itself.
    #[must_use]
    pub fn bits(self) -> u32 {
        u64::BITS - (self.value - 1).leading_zeros()
    }

    /// Whether it is a power of two.
    #[must_use]
    pub fn is_power_of_two(self) -> bool {
        self.value.is_power_of_two()
    }

    /// The largest magnitude of a value whose sign [`super`] can tell: `(t - 3) / 2` for odd t, else
    /// `t / 2 - 1`.
    #[must_use]
    pub fn limit(self) -> u64 {
        if self.is_power_of_two() { self.value / 2 - 1 } else { (self.value - 3) / 2 }
    }

    /// `a + b` of residues.
    #[inline]
    pub(crate) fn add(self, a: u64, b: u64) -> u64 {
        let sum = a + b;
        sum.min(sum.wrapping_sub(self.value))
    }

    /// `a - b` of residues.
    #[inline]
    pub(crate) fn sub(self, a: u64, b: u64) -> u64 {
        let difference = a.wrapping_sub(b);
        difference.min(difference.wrapping_add(self.value))
    }

    /// `-a` of a residue, where the mask is all ones; `a` where it is 0.
    #[inline]
    pub(super) fn negate_if(self, mask: u64, a: u64) -> u64 {
        let negative = self.sub(0, a);
        a ^ ((a ^ negative) & mask)
    }

    /// `v mod t`.
    #[inline]
    pub(super) fn reduce(self, v: u64) -> u64 {
        let quotient = high(v, self.reciprocal);
        let r = v.wrapping_sub(quotient.wrapping_mul(self.value));
        r.min(r.wrapping_sub(self.value))
    }

    /// The residue of an integer of magnitude below 2^62.
    #[inline]
    pub(crate) fn residue(self, v: i64) -> u64 {
        let multiple = self.value * ((1 << 62) / self.value + 1);
        self.reduce(multiple.wrapping_add(v.cast_unsigned()))
    }

    /// `a * b` of residues.
    #[inline]
    pub(super) fn mul(self, a: u64, b: u64) -> u64 {
        let (upper, lower) = split(u128::from(a) * u128::from(b));
        // The upper word counts 2^64: four times 2^16, which for an odd modulus fits a word each time and
        // for a power of two loses only multiples of it.
        let upper = (0..4).fold(self.reduce(upper), |r, _| self.reduce(r << 16));
        self.add(upper, self.reduce(lower))
    }

    /// The integer of least magnitude; `-t/2` for that residue of an even modulus.
    #[inline]
    pub(crate) fn signed(self, a: u64) -> i64 {
        let negative = u64::from(a >= self.value.div_ceil(2)).wrapping_neg();
        a.wrapping_sub(self.value & negative).cast_signed()
    }

    /// A residue from 128 uniform bits: exactly uniform for a power of two; for odd t its distance from
    /// uniform is below `t / 2^128`.
    #[inline]
    pub(super) fn uniform(self, bits: u128) -> u64 {
        // floor(bits * t / 2^128).
        let (upper, lower) = split(bits);
        let wide = u128::from(upper) * u128::from(self.value);
        split(wide + u128::from(high(lower, self.value))).0
    }
}

/// The upper word of a product.
#[inline]
fn high(a: u64, b: u64) -> u64 {
    split(u128::from(a) * u128::from(b)).0
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the two words of a double word")]
fn split(wide: u128) -> (u64, u64) {
    ((wide >> 64) as u64, wide as u64)
}

/// `floor(a 2^m / t)` for residues of an odd t of m bits: where a residue lies on a circle of 2^m points.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    t: u64,
    bits: u32,
    /// `floor(2^(63 + m) / t)`.
    factor: u64,
}

impl Scale {
    pub(super) fn new(modulus: Modulus) -> Self {
        let (t, bits) = (modulus.value, modulus.bits());
        let factor = split((1_u128 << (63 + bits)) / u128::from(t)).1;
        Self { t, bits, factor }
    }

    #[inline]
    pub(super) fn apply(self, a: u64) -> u64 {
        let (upper, lower) = split(u128::from(a) * u128::from(self.factor));
        // The estimate is the quotient or one less.
        let estimate = upper << 1 | lower >> 63;
        let rest = (a << self.bits).wrapping_sub(estimate.wrapping_mul(self.t));
        estimate + u64::from(rest >= self.t)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: [u64; 8] = [3, 17, 257, 1 << 20, 1_032_193, 33_538_049, (1 << 40) - 87, 1 << 60];

    fn samples(t: u64) -> impl Iterator<Item = u64> {
        let spread = (0..200_u64).map(move |i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % t);
        [0, 1, t / 2, t / 2 + 1, t - 1].into_iter().map(move |v| v % t).chain(spread)
    }

    #[test]
    fn arithmetic_is_that_of_integers() {
        for value in VALUES {
            let t = Modulus::new(value).unwrap();
            let wide = i128::from(value);
            for a in samples(value) {
                for b in samples(value) {
                    assert_eq!(i128::from(t.add(a, b)), (i128::from(a) + i128::from(b)) % wide);
                    assert_eq!(i128::from(t.sub(a, b)), (i128::from(a) - i128::from(b)).rem_euclid(wide));
                    assert_eq!(i128::from(t.mul(a, b)), i128::from(a) * i128::from(b) % wide);
                }
                let signed = t.signed(a);
                assert_eq!(i128::from(signed).rem_euclid(wide), i128::from(a));
                assert!(2 * i128::from(signed).abs() <= wide);
                assert_eq!(t.residue(signed), a);
            }
            for v in [u64::MAX, 1 << 63, 12_345_678_901_234_567] {
                assert_eq!(t.reduce(v), v % value);
            }
            let far = (1_i64 << 62) - 1;
            for v in [far, -far] {
                assert_eq!(i128::from(t.residue(v)), i128::from(v).rem_euclid(wide));
            }
        }
    }

    #[test]
    fn scaling_is_a_floor_of_a_quotient() {
        for value in VALUES.into_iter().filter(|t| t % 2 == 1) {
            let t = Modulus::new(value).unwrap();
            let scale = Scale::new(t);
            for a in samples(value) {
                assert_eq!(u128::from(scale.apply(a)), (u128::from(a) << t.bits()) / u128::from(value));
            }
        }
    }

    #[test]
    fn moduli_are_odd_or_powers_of_two() {
        for value in [0, 1, 2, 6, 12, (1 << 48) + 1, 1 << 61, u64::MAX] {
            assert_eq!(Modulus::new(value), Err(MpcError::Modulus(value)));
        }
    }
}
