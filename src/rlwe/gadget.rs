//! How a polynomial is cut into digits for a key switch, and the constants of it.
//!
//! With special primes of product P, a digit is the residue modulo a group of consecutive ciphertext
//! primes (RNS decomposition), and key switching ends with a division by P. Without, a digit is b bits
//! of one residue. Either way digits are cut from N times the coefficients, because inverse transforms
//! leave that factor; the gadget holds N^-1. Prepared keys further hold what the division by P needs, so
//! that no pass over the data multiplies by a constant alone:
//!
//! | prime | digit of the prime's group | other digits |
//! |---|---|---|
//! | ciphertext prime | `N * P^-1` (the digit is then the transform at hand, without the factor N) | `P^-1` |
//! | special prime p | `N^-1 * (P/p)^-1` | `N^-1 * (P/p)^-1` |

use super::error::RlweError;
use super::kernels::Digit;
use super::modulus::{Factor, Modulus};
use super::ntt::Limb;

/// Digits that one key switch may have.
pub(super) const MOST_DIGITS: usize = 64;

/// How key switching keeps its noise down: a choice of cost against noise.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum KeySwitch {
    /// Special primes, by whose product the noise is divided.
    Special {
        /// Bits of each special prime; their product should reach that of a digit's primes.
        bits: Vec<u32>,
        /// Ciphertext primes that make up a digit.
        primes_per_digit: usize,
    },
    /// No special prime: digits of this many bits of each residue.
    Digits {
        /// Bits of a digit.
        bits: u32,
    },
}

/// A group of ciphertext primes whose joint residue is one digit.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) first: usize,
    pub(super) len: usize,
    /// For each prime q of the group, `(D/q)^-1 mod q` with D the group's product.
    pub(super) inverses: Vec<Factor>,
    /// For each prime r of the parameters, for each prime q of the group: `D/q mod r`.
    pub(super) cofactors: Vec<Vec<Factor>>,
    /// For each prime r of the parameters: `D mod r`.
    pub(super) products: Vec<u64>,
}

/// One cut of the digits without special primes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// The ciphertext prime whose residue is cut.
    pub(super) prime: usize,
    pub(super) digit: Digit,
}

/// What a digit is.
#[derive(Clone, Debug)]
pub(super) enum Decomposition {
    Groups(Vec<Group>),
    Cuts(Vec<Cut>),
}

/// The constants of key switching for one set of parameters.
#[derive(Clone, Debug)]
pub(super) struct Gadget {
    pub(super) decomposition: Decomposition,
    /// For each ciphertext prime q, for each special prime p: `p^-1 mod q`.
    pub(super) special_inverses: Vec<Vec<Factor>>,
    /// `[prime][digit]`: what the key hides times the new secret.
    pub(super) values: Vec<Vec<u64>>,
    /// `[prime][digit]`: what turns a key's residues into prepared ones.
    pub(super) preparations: Vec<Vec<Factor>>,
}

/// `product of factors mod m`.
fn product(m: Modulus, factors: impl Iterator<Item = u64>) -> u64 {
    factors.fold(1, |acc, f| m.mul(acc, f % m.value))
}

impl Gadget {
    /// Constants for `primes`, of which the first `levels` are ciphertext primes.
    pub(super) fn new(
        key_switch: &KeySwitch,
        primes: &[Limb],
        levels: usize,
        ring: usize,
    ) -> Result<Self, RlweError> {
        let (own, special) = primes.split_at(levels);
        let decomposition = match *key_switch {
            KeySwitch::Special { primes_per_digit, .. } => {
                Decomposition::Groups(groups(primes, levels, primes_per_digit)?)
            }
            KeySwitch::Digits { bits } => Decomposition::Cuts(cuts(own, bits)?),
        };
        let mut gadget = Self {
            decomposition,
            special_inverses: Vec::new(),
            values: Vec::new(),
            preparations: Vec::new(),
        };
        let digits = gadget.digits();
        if digits > MOST_DIGITS {
            return Err(RlweError::Count { what: "digits", count: digits, least: 1, most: MOST_DIGITS });
        }
        let inverse = |m: Modulus, x: u64| m.factor(m.invert(x % m.value));
        let others = |p: Modulus| special.iter().map(|s| s.modulus.value).filter(move |&s| s != p.value);
        for (r, prime) in primes.iter().enumerate() {
            let m = prime.modulus;
            let is_special = r >= levels;
            if !is_special {
                let inverses = special.iter().map(|s| inverse(m, s.modulus.value)).collect();
                gadget.special_inverses.push(inverses);
            }
            let special_product = product(m, special.iter().map(|s| s.modulus.value));
            let n = ring as u64 % m.value;
            let common = if is_special {
                m.mul(prime.degree_inverse.value, m.invert(product(m, others(m))))
            } else {
                m.invert(special_product)
            };
            let common = m.mul(common, m.radix.value);
            let (mut values, mut preparations) = (Vec::new(), Vec::new());
            for j in 0..digits {
                let weight = gadget.weight(r, j).map(|w| m.mul(m.mul(w, special_product), n_inverse(prime)));
                values.push(weight.unwrap_or(0));
                let reused = gadget.reuses(r, j);
                preparations.push(m.factor(if reused { m.mul(common, n) } else { common }));
            }
            gadget.values.push(values);
            gadget.preparations.push(preparations);
        }
        Ok(gadget)
    }

    /// How many digits.
    pub(super) fn digits(&self) -> usize {
        match &self.decomposition {
            Decomposition::Groups(groups) => groups.len(),
            Decomposition::Cuts(cuts) => cuts.len(),
        }
    }

    /// How many digits a polynomial modulo the first `primes` primes has; none if a digit's primes would be
    /// divided.
    pub(super) fn digits_at(&self, primes: usize) -> Option<usize> {
        match &self.decomposition {
            Decomposition::Groups(groups) => {
                groups.iter().position(|g| g.first + g.len == primes).map(|last| last + 1)
            }
            Decomposition::Cuts(cuts) => Some(cuts.iter().filter(|cut| cut.prime < primes).count()),
        }
    }

    /// Whether digit `j` modulo prime `r` is the polynomial itself, whose transform is at hand.
    pub(super) fn reuses(&self, r: usize, j: usize) -> bool {
        match &self.decomposition {
            Decomposition::Groups(groups) => (groups[j].first..groups[j].first + groups[j].len).contains(&r),
            Decomposition::Cuts(_) => false,
        }
    }

    /// The weight of digit `j` modulo prime `r`, none where it is 0.
    fn weight(&self, r: usize, j: usize) -> Option<u64> {
        match &self.decomposition {
            Decomposition::Groups(_) => self.reuses(r, j).then_some(1),
            Decomposition::Cuts(cuts) => (cuts[j].prime == r).then(|| 1 << cuts[j].digit.shift),
        }
    }
}

fn n_inverse(prime: &Limb) -> u64 {
    prime.degree_inverse.value
}

fn groups(primes: &[Limb], levels: usize, size: usize) -> Result<Vec<Group>, RlweError> {
    if !(1..=levels).contains(&size) {
        return Err(RlweError::Count { what: "primes in a digit", count: size, least: 1, most: levels });
    }
    let group = |first: usize| {
        let len = size.min(levels - first);
        let members = || primes[first..first + len].iter().map(|l| l.modulus.value);
        let without = |m: Modulus, q: u64| product(m, members().filter(move |&other| other != q));
        Group {
            first,
            len,
            inverses: primes[first..first + len]
                .iter()
                .map(|l| l.modulus.factor(l.modulus.invert(without(l.modulus, l.modulus.value))))
                .collect(),
            cofactors: primes
                .iter()
                .map(|r| members().map(|q| r.modulus.factor(without(r.modulus, q))).collect())
                .collect(),
            products: primes.iter().map(|r| product(r.modulus, members())).collect(),
        }
    };
    Ok((0..levels).step_by(size).map(group).collect())
}

fn cuts(primes: &[Limb], bits: u32) -> Result<Vec<Cut>, RlweError> {
    let least_prime = primes.iter().map(|p| p.modulus.bits()).min().unwrap_or(0);
    if !(2..=least_prime).contains(&bits) {
        return Err(RlweError::Count {
            what: "bits in a digit",
            count: bits as usize,
            least: 2,
            most: least_prime as usize,
        });
    }
    let mut cuts = Vec::new();
    for (prime, limb) in primes.iter().enumerate() {
        // A centred residue is above -2^(width - 1), so the topmost digit needs that much offset only.
        let width = limb.modulus.bits();
        let count = width.div_ceil(bits);
        let half = |i: u32| 1u64 << if i + 1 == count { width - 1 - i * bits } else { bits - 1 };
        let offset = (0..count).map(|i| half(i) << (i * bits)).sum();
        for i in 0..count {
            let mask = if i + 1 == count { u64::MAX } else { (1 << bits) - 1 };
            cuts.push(Cut { prime, digit: Digit { offset, shift: i * bits, mask, half: half(i) } });
        }
    }
    Ok(cuts)
}
