//! Exact shifts: shares of `x >> k`, in one or more moduli, of a number whose sign is known.
//!
//! With both shares as signed integers, a + b differs from x by the modulus only if both are negative (x not
//! negative) or neither is (x negative). So the server knows b's two possible corrected values, and which of
//! them holds depends on the sign of a alone, a bit of the client's: one product of that bit with the
//! difference of the shifted values, one with the XOR of their low bits. What remains is the carry of k bits.
//! Proven in [`crate::docs::two_party`].

use super::carry::Carry;
use super::modulus::Modulus;
use super::party::Party;
use super::product::{self, OneWay, Weighted};
use super::ring::Ring;
use super::slice::{plane, slice};
use super::usage::Usage;
use super::wiped::Wiped;
use super::{MpcError, Role};
use zeroize::Zeroizing;

/// What is known of the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// 0 to `(t - 1) / 2`; for even t to `t / 2 - 1`.
    NotNegative,
    /// `-(t - 1) / 2` to -1; for even t from `-t / 2`.
    Negative,
}

/// What is shifted, by how much, and the moduli of the result.
#[derive(Clone, Debug)]
pub(super) struct Shift {
    pub(super) from: Modulus,
    pub(super) k: u32,
    pub(super) to: Vec<Modulus>,
}

impl Shift {
    /// Whether the low bits of b depend on its correction.
    fn selects(&self) -> bool {
        self.k > 0 && !self.from.value().is_multiple_of(1 << self.k)
    }

    pub(super) fn usage(&self) -> Usage {
        let sums = |chooser| {
            let products = self.to.iter().map(move |&t| product::usage(chooser, Ring::Sum(t)));
            products.fold(Usage::default(), Usage::beside)
        };
        let mut usage = sums(Role::Client);
        if self.selects() {
            usage = usage.beside(product::usage(Role::Client, Ring::Xor(self.k)));
        }
        if self.k > 0 { usage.then(Carry::usage(self.k)).then(sums(Role::Server)) } else { usage }
    }
}

/// The products with the client's sign, under way.
pub(super) struct Selecting<'s> {
    shift: &'s Shift,
    /// My part of the shifted value, an integer a lane.
    own: Zeroizing<Vec<i64>>,
    sums: Vec<OneWay>,
    low: Option<OneWay>,
    /// My low bits where the sign of a is not negative.
    low_own: Wiped,
}

/// After the selection: the carry of the low bits, and the rest of the result.
pub(super) struct Shifting<'s> {
    shift: &'s Shift,
    pub(super) carry: Option<Carry>,
    sums: Vec<Wiped>,
}

impl<'s> Selecting<'s> {
    /// `share` is my share of x, in lanes.
    pub(super) fn open(
        party: &mut Party<'_>,
        shift: &'s Shift,
        known: Known,
        share: &[u64],
    ) -> Result<Self, MpcError> {
        let (from, k) = (shift.from, shift.k);
        let low_mask = (1_u64 << k) - 1;
        let signed = share.iter().map(|&v| from.signed(v));
        // The two values of the server's side: for a not negative, and for a negative.
        let t = from.value().cast_signed();
        let pairs: Zeroizing<Vec<(i64, i64)>> = Zeroizing::new(match (party.role, known) {
            (Role::Client, _) => signed.map(|a| (a, a)).collect(),
            (Role::Server, Known::NotNegative) => signed.map(|b| (b, b + (t & b >> 63))).collect(),
            (Role::Server, Known::Negative) => signed.map(|b| (b - (t & !(b >> 63)), b)).collect(),
        });
        let sign = match party.role {
            Role::Client => plane(share, |v| from.signed(v) < 0),
            Role::Server => Wiped::default(),
        };
        let mut sums = Vec::with_capacity(shift.to.len());
        for &to in &shift.to {
            let words = || pairs.iter().map(|&(b0, b1)| to.residue((b1 >> k) - (b0 >> k))).collect();
            sums.push(OneWay::open(party, Role::Client, Ring::Sum(to), &sign, words)?);
        }
        let low = if shift.selects() {
            let words = || pairs.iter().map(|&(b0, b1)| (b0 ^ b1).cast_unsigned() & low_mask).collect();
            Some(OneWay::open(party, Role::Client, Ring::Xor(k), &sign, words)?)
        } else {
            None
        };
        let low_own = pairs.iter().map(|&(b0, _)| b0.cast_unsigned() & low_mask).collect();
        let own = Zeroizing::new(pairs.iter().map(|&(b0, _)| b0 >> k).collect());
        Ok(Self { shift, own, sums, low, low_own })
    }

    pub(super) fn close(self, party: &mut Party<'_>) -> Result<Shifting<'s>, MpcError> {
        let Self { shift, own, sums, low, low_own } = self;
        let bits = shift.k as usize;
        let add = |(one_way, &to): (OneWay, &Modulus)| {
            let mut sum = one_way.close(party)?;
            for (s, &v) in sum.iter_mut().zip(own.iter()) {
                *s = to.add(*s, to.residue(v));
            }
            Ok(sum)
        };
        let sums = sums.into_iter().zip(&shift.to).map(add).collect::<Result<_, MpcError>>()?;
        let across = low.map(|one_way| one_way.close(party)).transpose()?;
        if bits == 0 {
            return Ok(Shifting { shift, carry: None, sums });
        }
        let width = party.width();
        let across = across.map(|lanes| slice(&lanes, bits)).unwrap_or_else(|| Wiped::zeros(bits * width));
        let mine = slice(&low_own, bits);
        let carry = match party.role {
            Role::Client => Carry::shared(width, Some(mine), across),
            Role::Server => {
                Carry::shared(width, None, mine.iter().zip(across.iter()).map(|(a, b)| a ^ b).collect())
            }
        };
        Ok(Shifting { shift, carry: Some(carry), sums })
    }
}

impl Shifting<'_> {
    pub(super) fn is_done(&self) -> bool {
        self.carry.as_ref().is_none_or(Carry::is_done)
    }
}

/// The carry on its way into the result.
pub(super) struct Carrying<'s> {
    shift: &'s Shift,
    sums: Vec<Wiped>,
    weighted: Vec<Weighted>,
}

impl<'s> Carrying<'s> {
    /// Once the carry is done.
    pub(super) fn open(party: &mut Party<'_>, shifting: Shifting<'s>) -> Result<Self, MpcError> {
        let Shifting { shift, carry, sums } = shifting;
        let mut weighted = Vec::with_capacity(shift.to.len());
        if let Some(carry) = carry {
            let bit = carry.into_bit(party.role);
            for &to in &shift.to {
                weighted.push(Weighted::open(party, Role::Server, to, &bit, 1)?);
            }
        }
        Ok(Self { shift, sums, weighted })
    }

    /// My shares, in the order of the moduli.
    pub(super) fn close(self, party: &mut Party<'_>) -> Result<Vec<Wiped>, MpcError> {
        let Self { shift, mut sums, weighted } = self;
        for ((one, sum), &to) in weighted.into_iter().zip(&mut sums).zip(&shift.to) {
            for (s, v) in sum.iter_mut().zip(one.close(party)?.iter()) {
                *s = to.add(*s, *v);
            }
        }
        Ok(sums)
    }
}
