//! The number-theoretic transform: the only place that knows what computes it, which is a library, or its
//! AVX-512 twin `vector_ntt` where processor and prime allow.
//!
//! Contract of a transform modulo p, whatever computes it: `forward` maps coefficients in natural order
//! to values where entry `i` is the value at `w^(2*brv(i) + 1)`, for one primitive 2N-th root w and the
//! bit reversal brv over log2 N bits; `inverse` undoes it up to a factor N, which callers fold into
//! constants they multiply by anyway. Both keep residues canonical.

use super::modulus::{Factor, Modulus};
use super::prime::is_prime;
#[cfg(target_arch = "x86_64")]
use super::{simd::Avx512, vector_ntt::Twisted};
use std::sync::OnceLock;

/// Lengths from which on there is a transform.
const LEAST_RING: usize = 16;

/// A prime with its transform of length N.
#[derive(Clone, Debug)]
pub(super) struct Limb {
    /// The prime.
    pub(super) modulus: Modulus,
    /// `N^-1 mod p`.
    pub(super) degree_inverse: Factor,
    ring: usize,
    /// Made for the first transform: estimates of noise build many parameters that transform nothing.
    transform: OnceLock<Transform>,
}

/// What computes a transform, with its twiddles.
#[derive(Clone, Debug)]
enum Transform {
    Library(tfhe_ntt::prime64::Plan),
    #[cfg(target_arch = "x86_64")]
    Vectors(Twisted, Avx512),
}

impl Transform {
    /// For a prime that is 1 mod 2 `ring`.
    fn new(ring: usize, modulus: Modulus) -> Self {
        let plan = tfhe_ntt::prime64::Plan::try_new(ring, modulus.value);
        let plan = plan.expect("a limb's prime and length have a transform");
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = Avx512::detect() {
            let mut values = vec![0; ring];
            values[1] = 1;
            plan.fwd(&mut values);
            if let Some(twisted) = Twisted::new(modulus, ring, values[0]) {
                return Self::Vectors(twisted, simd);
            }
        }
        Self::Library(plan)
    }
}

impl Limb {
    /// The transform of length `ring` (a power of two, 16 at least) modulo a prime that is 1 mod 2 `ring`,
    /// or none if `prime` is not such a prime.
    pub(super) fn new(ring: usize, prime: u64) -> Option<Self> {
        let fits = ring.is_power_of_two() && ring >= LEAST_RING && prime % (2 * ring as u64) == 1;
        if !fits || !is_prime(prime) {
            return None;
        }
        let modulus = Modulus::new(prime);
        let degree_inverse = modulus.factor(modulus.invert(ring as u64));
        Some(Self { modulus, degree_inverse, ring, transform: OnceLock::new() })
    }

    fn transform(&self) -> &Transform {
        self.transform.get_or_init(|| Transform::new(self.ring, self.modulus))
    }

    /// Coefficients to values.
    pub(super) fn forward(&self, data: &mut [u64]) {
        match self.transform() {
            Transform::Library(plan) => plan.fwd(data),
            #[cfg(target_arch = "x86_64")]
            Transform::Vectors(twisted, simd) => simd.forward_transform(twisted, data),
        }
    }

    /// Values to N times the coefficients.
    pub(super) fn inverse(&self, data: &mut [u64]) {
        match self.transform() {
            Transform::Library(plan) => plan.inv(data),
            #[cfg(target_arch = "x86_64")]
            Transform::Vectors(twisted, simd) => simd.inverse_transform(twisted, data),
        }
    }
}

/// The exponent of the root at which entry `i` of a transform of length `2^log` is a value.
pub(super) fn exponent(i: usize, log: u32) -> usize {
    2 * (i.reverse_bits() >> (usize::BITS - log)) + 1
}

/// The entry that holds the value at the root's odd power `e < 2^(log + 1)`.
pub(super) fn position(e: usize, log: u32) -> usize {
    (e >> 1).reverse_bits() >> (usize::BITS - log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_in_the_contracts_order() {
        for ring in [16usize, 64, 1024] {
            let log = ring.trailing_zeros();
            for prime in super::super::prime::choose(&[50, 30], 2 * ring, &[]).unwrap() {
                let limb = Limb::new(ring, prime).unwrap();
                let mut data = vec![0; ring];
                data[1] = 1;
                limb.forward(&mut data);
                let root = data[0];
                for (i, &value) in data.iter().enumerate() {
                    assert_eq!(value, limb.modulus.pow(root, exponent(i, log) as u64));
                    assert_eq!(position(exponent(i, log), log), i);
                }
            }
        }
    }

    #[test]
    fn inverse_undoes_forward_up_to_the_degree() {
        let limb = Limb::new(64, super::super::prime::choose(&[50], 128, &[]).unwrap()[0]).unwrap();
        let data: Vec<u64> = (0..64).map(|i| limb.modulus.pow(3, i)).collect();
        let mut turned = data.clone();
        limb.forward(&mut turned);
        limb.inverse(&mut turned);
        let back: Vec<u64> = turned.iter().map(|&x| limb.modulus.scale(x, limb.degree_inverse)).collect();
        assert_eq!(back, data);
    }

    /// The vector transform against the library's, on random residues and on the largest.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_twin_agrees_bit_for_bit() {
        for ring in (7..=14).map(|log| 1usize << log) {
            for prime in super::super::prime::choose(&[49, 49, 40, 25], 2 * ring, &[]).unwrap() {
                let limb = Limb::new(ring, prime).unwrap();
                assert!(matches!(limb.transform(), Transform::Vectors(..)));
                let plan = tfhe_ntt::prime64::Plan::try_new(ring, prime).unwrap();
                let powers: Vec<u64> = (0..ring as u64).map(|i| limb.modulus.pow(3, 1000 + i)).collect();
                for data in [powers, vec![prime - 1; ring]] {
                    let (mut ours, mut theirs) = (data.clone(), data);
                    limb.forward(&mut ours);
                    plan.fwd(&mut theirs);
                    assert_eq!(ours, theirs, "forward, {ring} {prime}");
                    limb.inverse(&mut ours);
                    plan.inv(&mut theirs);
                    assert_eq!(ours, theirs, "inverse, {ring} {prime}");
                }
            }
        }
    }
}
