//! Primes that are 1 modulo 2N, so that the ring splits into N slots modulo each.

use super::error::RlweError;
use super::modulus::MOST_BITS;

/// Bits that a ciphertext prime may have at least.
pub(super) const LEAST_BITS: u32 = 20;

/// The largest primes of the given sizes that are 1 modulo `cycle`, distinct and none of `taken`.
///
/// # Errors
/// If a size is outside what the engine computes with, or its primes run out.
pub(super) fn choose(bits: &[u32], cycle: usize, taken: &[u64]) -> Result<Vec<u64>, RlweError> {
    let mut chosen: Vec<u64> = Vec::with_capacity(bits.len());
    for &b in bits {
        if !(LEAST_BITS..=MOST_BITS).contains(&b) {
            return Err(RlweError::PrimeBits { bits: b, least: LEAST_BITS, most: MOST_BITS });
        }
        let free = |p: &u64| !taken.contains(p) && !chosen.contains(p);
        let prime = below(b, cycle).find(free).ok_or(RlweError::OutOfPrimes { bits: b, cycle })?;
        chosen.push(prime);
    }
    Ok(chosen)
}

/// The largest prime of `bits` bits (at most 50) that is 1 modulo 2 `ring`: for plaintext moduli.
///
/// # Errors
/// If there is none.
pub fn plain_prime(bits: u32, ring: usize) -> Result<u64, RlweError> {
    let cycle = ring.saturating_mul(2);
    if !(2..=MOST_BITS).contains(&bits) {
        return Err(RlweError::PrimeBits { bits, least: 2, most: MOST_BITS });
    }
    below(bits, cycle).next().ok_or(RlweError::OutOfPrimes { bits, cycle })
}

/// Primes of exactly `bits` bits that are 1 modulo `cycle`, in descending order.
fn below(bits: u32, cycle: usize) -> impl Iterator<Item = u64> {
    let (least, cycle) = (1u64 << (bits - 1), (cycle as u64).max(2));
    let top = ((1u64 << bits) - 1) / cycle;
    (0..=top).rev().map(move |i| i * cycle + 1).take_while(move |&p| p > least).filter(|&p| is_prime(p))
}

/// Miller-Rabin with the bases that decide every number below 2^64.
pub(super) fn is_prime(n: u64) -> bool {
    const BASES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];
    if n < 2 || BASES.iter().any(|&b| n.is_multiple_of(b)) {
        return BASES.contains(&n);
    }
    let twos = (n - 1).trailing_zeros();
    let odd = (n - 1) >> twos;
    BASES.iter().all(|&base| {
        let mut x = power(base, odd, n);
        if x == 1 || x == n - 1 {
            return true;
        }
        (1..twos).any(|_| {
            x = multiply(x, x, n);
            x == n - 1
        })
    })
}

fn multiply(a: u64, b: u64, n: u64) -> u64 {
    super::modulus::low(u128::from(a) * u128::from(b) % u128::from(n))
}

fn power(base: u64, mut exponent: u64, n: u64) -> u64 {
    let (mut base, mut result) = (base % n, 1);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = multiply(result, base, n);
        }
        base = multiply(base, base, n);
        exponent >>= 1;
    }
    result
}
