//! Primes of 64 bits.

/// The smallest prime above `floor` that is 1 modulo `step`; `floor` stays far below 2^63.
pub(super) fn smallest_prime(floor: u64, step: u64) -> u64 {
    let mut candidate = floor / step * step + 1;
    while candidate <= floor || !is_prime(candidate) {
        candidate += step;
    }
    candidate
}

/// Whether `n` is prime: Miller and Rabin's test with the twelve bases that decide all 64-bit numbers
/// (Sorenson and Webster, 2015).
pub(super) fn is_prime(n: u64) -> bool {
    const BASES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];
    if n < 2 {
        return false;
    }
    if let Some(base) = BASES.iter().find(|&base| n.is_multiple_of(*base)) {
        return n == *base;
    }
    let twos = (n - 1).trailing_zeros();
    let odd = (n - 1) >> twos;
    BASES.iter().all(|&base| {
        let mut power = pow(base, odd, n);
        power == 1
            || (0..twos).any(|_| {
                let minus_one = power == n - 1;
                power = mul(power, power, n);
                minus_one
            })
    })
}

fn pow(mut base: u64, mut exponent: u64, modulus: u64) -> u64 {
    let mut power = 1;
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = mul(power, base, modulus);
        }
        base = mul(base, base, modulus);
        exponent >>= 1;
    }
    power
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder is below a 64-bit modulus")]
fn mul(a: u64, b: u64, modulus: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(modulus)) as u64
}

#[cfg(test)]
mod tests {
    use super::{is_prime, smallest_prime};

    #[test]
    fn agrees_with_trial_division() {
        for n in 0..20_000_u64 {
            let divides = |d: &u64| n.is_multiple_of(*d);
            let prime = n > 1 && !(2..).take_while(|d| d * d <= n).any(|d| divides(&d));
            assert_eq!(is_prime(n), prime, "{n}");
        }
    }

    #[test]
    fn known_large_numbers() {
        assert!(is_prime(4_611_686_018_326_724_609));
        assert!(is_prime(18_446_744_073_709_551_557));
        // A strong pseudoprime to the bases 2 to 23, and a square of a prime.
        assert!(!is_prime(3_825_123_056_546_413_051));
        assert!(!is_prime(4_294_967_291 * 4_294_967_291));
    }

    #[test]
    fn the_smallest_is_found() {
        assert_eq!(smallest_prime(65_536, 8192), 65_537);
        assert_eq!(smallest_prime(65_537, 8192), 114_689);
        assert_eq!(smallest_prime(65_537, 16_384), 114_689);
    }
}
