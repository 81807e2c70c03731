//! Spectra of maps: what the taps of a kernel do to a map is one product of spectra, without any shift.
//!
//! A block of `rows x columns` slots, powers of two, holds instead of the pixels of a map their
//! two-dimensional number-theoretic transform modulo the plaintext prime t, whose order of the multiplicative
//! group these sizes divide. The transform is linear, so either party applies it to its own share, and takes
//! the inverse of what it gets; nothing is sent for it, and all is exact modulo t (ENSEI, CVPR 2020).
//! ```text
//! y[o] = sum_s w_s x[o + s]     =>     Y[u] = X[u] * sum_s w_s r^(-us),     r of order rows, or columns
//! ```
//! The block is cyclic: it is so large that what comes around falls on zeros or on pixels that nobody reads.
//! Frequencies stand in bit-reversed order.

use super::chain::signed;

/// Moduli below this take 32-bit quotients, whose products vector units have.
const NARROW: u64 = 1 << 31;

/// A factor and its quotient: `floor(value * 2^32 / t)` for narrow moduli, `floor(value * 2^64 / t)` for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Factor {
    value: u64,
    quotient: u64,
}

/// Arithmetic modulo a prime below 2^62.
#[derive(Clone, Copy, Debug)]
struct Prime {
    value: u64,
    /// `floor(2^64 / t)`.
    ratio: u64,
}

/// The transform of one axis of a block, by stages from the widest to the narrowest.
#[derive(Clone, Debug)]
struct Axis {
    len: usize,
    /// Powers of the root, in order.
    powers: Vec<u64>,
    forward: Vec<Vec<Factor>>,
    inverse: Vec<Vec<Factor>>,
}

/// The transform of blocks of one size modulo one prime.
#[derive(Clone, Debug)]
pub(super) struct Transform {
    prime: Prime,
    rows: Axis,
    columns: Axis,
    /// One over the slots of a block.
    scale: Factor,
}

impl Prime {
    fn mul(self, a: u64, b: u64) -> u64 {
        low(u128::from(a) * u128::from(b) % u128::from(self.value))
    }

    fn pow(self, base: u64, mut exponent: u64) -> u64 {
        let (mut power, mut result) = (base, 1);
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = self.mul(result, power);
            }
            power = self.mul(power, power);
            exponent >>= 1;
        }
        result
    }

    fn factor(self, value: u64) -> Factor {
        let shift = if self.value < NARROW { 32 } else { 64 };
        Factor { value, quotient: low((u128::from(value) << shift) / u128::from(self.value)) }
    }

    /// A root of unity of order `len`, a power of two that divides t - 1: that of the least number that gives one.
    fn root(self, len: usize) -> u64 {
        let power = (self.value - 1) / len as u64;
        let root = (2..self.value).map(|x| self.pow(x, power));
        let wanted = |root: &u64| len < 2 || self.pow(*root, len as u64 / 2) == self.value - 1;
        root.into_iter().find(wanted).unwrap_or(1)
    }

    /// `x mod t`.
    fn reduce(self, x: u64) -> u64 {
        let quotient = low((u128::from(x) * u128::from(self.ratio)) >> 64);
        let rest = x.wrapping_sub(quotient.wrapping_mul(self.value));
        if rest >= self.value { rest - self.value } else { rest }
    }
}

impl Axis {
    fn new(prime: Prime, len: usize) -> Self {
        let root = prime.root(len);
        let powers: Vec<u64> =
            std::iter::successors(Some(1), |&p| Some(prime.mul(p, root))).take(len).collect();
        let stages = |sign: fn(usize, usize) -> usize| {
            let halves =
                std::iter::successors(Some(len / 2), |half| Some(half / 2)).take_while(|&half| half > 0);
            let stage = |half: usize| {
                let step = len / (2 * half);
                (0..half).map(|k| prime.factor(powers[sign(k * step, len)])).collect()
            };
            halves.map(stage).collect()
        };
        let (forward, inverse) = (stages(|k, _| k), stages(|k, len| (len - k) % len));
        Self { len, powers, forward, inverse }
    }

    /// Of each frequency, in the order of slots, the root to the power of `-frequency * shift`.
    fn turned(&self, shift: i64) -> Vec<u64> {
        let len = signed(self.len);
        let power = |frequency: usize| {
            let exponent = (-signed(frequency) * shift).rem_euclid(len);
            self.powers[usize::try_from(exponent).unwrap_or(0)]
        };
        (0..self.len).map(|place| power(self.frequency(place))).collect()
    }

    /// The frequency in place `place`.
    fn frequency(&self, place: usize) -> usize {
        let bits = self.len.trailing_zeros();
        if bits == 0 { 0 } else { place.reverse_bits() >> (usize::BITS - bits) }
    }
}

impl Transform {
    /// That of blocks of `rows x columns` slots modulo `t`: powers of two that divide t - 1, `t` a prime below
    /// 2^62.
    pub(super) fn new((rows, columns): (usize, usize), t: u64) -> Self {
        let prime = Prime { value: t, ratio: low((1 << 64) / u128::from(t)) };
        let slots = (rows * columns) as u64 % t;
        let scale = prime.factor(prime.pow(slots, t - 2));
        Self { prime, rows: Axis::new(prime, rows), columns: Axis::new(prime, columns), scale }
    }

    /// Slots of a block.
    fn block(&self) -> usize {
        self.rows.len * self.columns.len
    }

    /// Pixels to spectra, in every block of `slots`, residues modulo t.
    pub(super) fn forward(&self, slots: &mut [u64]) {
        if self.prime.value < NARROW {
            self.forward_by(slots, narrow_product);
        } else {
            self.forward_by(slots, wide_product);
        }
    }

    /// Spectra to pixels.
    pub(super) fn inverse(&self, slots: &mut [u64]) {
        if self.prime.value < NARROW {
            self.inverse_by(slots, narrow_product);
        } else {
            self.inverse_by(slots, wide_product);
        }
    }

    #[inline(always)]
    fn forward_by(&self, slots: &mut [u64], product: impl Fn(u64, Factor, u64) -> u64 + Copy) {
        let t = self.prime.value;
        let fall = |a: &mut u64, b: &mut u64, w: Factor| {
            let (x, y) = (*a, *b);
            *a = least(x + y, t);
            *b = product(x + t - y, w, t);
        };
        for block in slots.chunks_exact_mut(self.block()) {
            for (stage, half) in self.rows.forward.iter().zip(halves(self.rows.len)) {
                across(block, self.columns.len, half, stage, fall);
            }
            for (stage, half) in self.columns.forward.iter().zip(halves(self.columns.len)) {
                along(block, half, stage, fall);
            }
        }
    }

    #[inline(always)]
    fn inverse_by(&self, slots: &mut [u64], product: impl Fn(u64, Factor, u64) -> u64 + Copy) {
        let t = self.prime.value;
        let rise = |a: &mut u64, b: &mut u64, w: Factor| {
            let (x, y) = (*a, product(*b, w, t));
            *a = least(x + y, t);
            *b = least(x + t - y, t);
        };
        for block in slots.chunks_exact_mut(self.block()) {
            for (stage, half) in self.columns.inverse.iter().zip(halves(self.columns.len)).rev() {
                along(block, half, stage, rise);
            }
            for (stage, half) in self.rows.inverse.iter().zip(halves(self.rows.len)).rev() {
                across(block, self.columns.len, half, stage, rise);
            }
            block.iter_mut().for_each(|x| *x = product(*x, self.scale, t));
        }
    }
}

/// Distances of the stages, from the widest.
fn halves(len: usize) -> impl ExactSizeIterator<Item = usize> + DoubleEndedIterator {
    (0..len.trailing_zeros()).map(move |stage| len >> (stage + 1))
}

/// Butterflies between rows.
#[inline(always)]
fn across(
    block: &mut [u64],
    columns: usize,
    half: usize,
    stage: &[Factor],
    butterfly: impl Fn(&mut u64, &mut u64, Factor),
) {
    for part in block.chunks_exact_mut(2 * half * columns) {
        let (upper, lower) = part.split_at_mut(half * columns);
        let rows = upper.chunks_exact_mut(columns).zip(lower.chunks_exact_mut(columns));
        for ((upper, lower), &w) in rows.zip(stage) {
            upper.iter_mut().zip(lower).for_each(|(a, b)| butterfly(a, b, w));
        }
    }
}

/// Butterflies within rows.
#[inline(always)]
fn along(block: &mut [u64], half: usize, stage: &[Factor], butterfly: impl Fn(&mut u64, &mut u64, Factor)) {
    for part in block.chunks_exact_mut(2 * half) {
        let (upper, lower) = part.split_at_mut(half);
        upper.iter_mut().zip(lower).zip(stage).for_each(|((a, b), &w)| butterfly(a, b, w));
    }
}

/// `x` or `x - t`.
#[inline(always)]
fn least(x: u64, t: u64) -> u64 {
    x.min(x.wrapping_sub(t))
}

/// `x * w mod t` for `x` below 2^32.
#[inline(always)]
fn narrow_product(x: u64, w: Factor, t: u64) -> u64 {
    let quotient = (x * w.quotient) >> 32;
    least(x * w.value - quotient * t, t)
}

/// `x * w mod t` for any `x`.
#[inline(always)]
fn wide_product(x: u64, w: Factor, t: u64) -> u64 {
    let quotient = low((u128::from(x) * u128::from(w.quotient)) >> 64);
    least(x.wrapping_mul(w.value).wrapping_sub(quotient.wrapping_mul(t)), t)
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
fn low(x: u128) -> u64 {
    x as u64
}

/// A tap of a kernel and the shift that it makes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shifted {
    /// Row and column of the kernel.
    pub at: (usize, usize),
    /// Rows and columns by which it shifts.
    pub shift: (i64, i64),
}

/// Spectra of kernels of one phase of the input.
#[derive(Clone, Debug)]
pub(super) struct Spectra {
    prime: Prime,
    /// Kernel rows with the factors of their shift.
    rows: Vec<(usize, Vec<u64>)>,
    /// Kernel columns with theirs.
    columns: Vec<(usize, Vec<u64>)>,
}

impl Spectra {
    /// Those of kernels with `taps`, a rectangle of them.
    pub(super) fn new(transform: &Transform, taps: &[Shifted]) -> Self {
        let axis = |axis: &Axis, of: fn(&Shifted) -> (usize, i64)| {
            let mut found: Vec<(usize, i64)> = taps.iter().map(of).collect();
            found.sort_unstable();
            found.dedup();
            found.into_iter().map(|(tap, shift)| (tap, axis.turned(shift))).collect()
        };
        Self {
            prime: transform.prime,
            rows: axis(&transform.rows, |tap| (tap.at.0, tap.shift.0)),
            columns: axis(&transform.columns, |tap| (tap.at.1, tap.shift.1)),
        }
    }

    /// Writes the spectrum of the kernel whose weight at row and column is `weight` into `block`, centred.
    pub(super) fn write(
        &self,
        weight: impl Fn(usize, usize) -> i8,
        scratch: &mut Vec<u64>,
        block: &mut [i64],
    ) {
        let columns = self.columns.first().map_or(1, |(_, factors)| factors.len());
        scratch.clear();
        scratch.resize(self.rows.len() * columns, 0);
        for ((row, _), sums) in self.rows.iter().zip(scratch.chunks_exact_mut(columns)) {
            for (column, factors) in &self.columns {
                let weight = weight(*row, *column);
                if weight != 0 {
                    self.add(weight, factors, sums);
                }
            }
            if self.prime.value < NARROW {
                sums.iter_mut().for_each(|sum| *sum = self.prime.reduce(*sum));
            }
        }
        if self.prime.value < NARROW {
            self.narrow(scratch, block);
        } else {
            self.wide(scratch, block);
        }
    }

    /// Adds `weight * factors`, not reduced for narrow moduli: a kernel row has at most 2^10 terms below 2^38.
    fn add(&self, weight: i8, factors: &[u64], sums: &mut [u64]) {
        let t = self.prime.value;
        let size = u64::from(weight.unsigned_abs());
        for (sum, &factor) in sums.iter_mut().zip(factors) {
            let factor = if weight < 0 { t - factor } else { factor };
            *sum =
                if t < NARROW { *sum + size * factor } else { least(*sum + self.prime.mul(size, factor), t) };
        }
    }

    /// The spectrum from the sums of kernel rows, three rows at a time: so many products below 2^62 fit.
    fn narrow(&self, sums: &[u64], block: &mut [i64]) {
        let (prime, t) = (self.prime, self.prime.value);
        let columns = sums.len() / self.rows.len().max(1);
        let centre = |x: u64| x.cast_signed() - if x > t / 2 { t.cast_signed() } else { 0 };
        for (place, out) in block.chunks_exact_mut(columns.max(1)).enumerate() {
            let term = |row: usize| match self.rows.get(row) {
                Some((_, factors)) => (factors[place], &sums[row * columns..][..columns]),
                None => (0, &sums[..columns]),
            };
            for first in (0..self.rows.len()).step_by(3) {
                let [(f, a), (g, b), (h, c)] = [term(first), term(first + 1), term(first + 2)];
                let last = first + 3 >= self.rows.len();
                let sums = a.iter().zip(b).zip(c);
                for (out, ((a, b), c)) in out.iter_mut().zip(sums) {
                    let before = if first > 0 { out.cast_unsigned() } else { 0 };
                    let sum = prime.reduce(before + f * a + g * b + h * c);
                    *out = if last { centre(sum) } else { sum.cast_signed() };
                }
            }
        }
    }

    /// The same for any modulus.
    fn wide(&self, sums: &[u64], block: &mut [i64]) {
        let t = self.prime.value;
        let columns = sums.len() / self.rows.len().max(1);
        for (place, out) in block.chunks_exact_mut(columns.max(1)).enumerate() {
            for (j, out) in out.iter_mut().enumerate() {
                let rows = self.rows.iter().zip(sums.chunks_exact(columns));
                let products = rows.map(|((_, factors), sums)| self.prime.mul(factors[place], sums[j]));
                let sum = products.fold(0, |sum, product| least(sum + product, t));
                *out = sum.cast_signed() - if sum > t / 2 { t.cast_signed() } else { 0 };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(t: u64, n: usize) -> Vec<u64> {
        let mut state = 7_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 5) % t
        };
        (0..n).map(|_| next()).collect()
    }

    fn is_prime(t: u64) -> bool {
        let prime = Prime { value: t, ratio: 0 };
        (2..40).all(|base| prime.pow(base, t - 1) == 1)
    }

    /// What comes back is what went in, and the product of spectra is the cyclic convolution.
    #[test]
    fn products_of_spectra_are_cyclic_convolutions() {
        let wide = (1..).map(|k| (1 << 58) - k * (1 << 18) + 1).find(|&t| is_prime(t)).unwrap();
        for t in [65537, 998_244_353, wide] {
            assert!(is_prime(t) && t % (1 << 14) == 1, "{t}");
            for (rows, columns) in [(1, 1), (1, 8), (8, 1), (4, 8), (16, 4)] {
                let transform = Transform::new((rows, columns), t);
                let pixels = numbers(t, 2 * rows * columns);
                let mut spectra = pixels.clone();
                transform.forward(&mut spectra);
                let mut back = spectra.clone();
                transform.inverse(&mut back);
                assert_eq!(back, pixels);

                let taps = [(0, 0), (0, 1), (1, 0), (1, 1)];
                let shifts = [[-1, 2], [0, -3]];
                let taps = taps.map(|(a, b)| Shifted { at: (a, b), shift: (shifts[0][a], shifts[1][b]) });
                let weights = [[3_i8, -128], [0, 127]];
                let mut spectrum = vec![0; rows * columns];
                let spectra_of = Spectra::new(&transform, &taps);
                spectra_of.write(|a, b| weights[a][b], &mut Vec::new(), &mut spectrum);
                let wide = |x: u64| i128::from(x);
                let modulus = wide(t);
                for (x, place) in spectra.iter_mut().zip((0..rows * columns).cycle()) {
                    let product = wide(*x) * i128::from(spectrum[place]);
                    *x = u64::try_from(product.rem_euclid(modulus)).unwrap();
                }
                transform.inverse(&mut spectra);
                for (place, &found) in spectra.iter().enumerate() {
                    let (block, place) = (place / (rows * columns), place % (rows * columns));
                    let at = |shift: (i64, i64)| {
                        let row = (signed(place / columns) + shift.0).rem_euclid(signed(rows));
                        let column = (signed(place % columns) + shift.1).rem_euclid(signed(columns));
                        usize::try_from(row).unwrap() * columns + usize::try_from(column).unwrap()
                    };
                    let sum: i128 = taps
                        .iter()
                        .map(|tap| {
                            let pixel = pixels[block * rows * columns + at(tap.shift)];
                            i128::from(weights[tap.at.0][tap.at.1]) * wide(pixel)
                        })
                        .sum();
                    assert_eq!(wide(found), sum.rem_euclid(modulus), "{rows}x{columns} mod {t}");
                }
            }
        }
    }
}
