//! The sign of a shared number by one comparison.
//!
//! Modulo 2^n the sign is the top bit of the sum of both shares: the top bits and the carry of the rest.
//! Modulo an odd t of m bits each party first scales its share to a circle of 2^m points, rounding down, and
//! one is added: the sum of both lies in the upper half exactly if the number is negative, for every number
//! but `(t - 1) / 2`. Proven in [`crate::docs::two_party`].

use super::carry::{Carry, CarryIn};
use super::modulus::{Modulus, Scale};
use super::party::Party;
use super::slice::slice;
use super::usage::Usage;
use super::wiped::Wiped;
use super::{MpcError, Role};

/// A sign under way: XOR shares of whether the number is negative.
pub(super) struct Sign {
    carry: Carry,
    top: Wiped,
}

impl Sign {
    pub(super) fn usage(modulus: Modulus) -> Usage {
        Carry::usage(modulus.bits() - 1)
    }

    /// The sign of what `share` is my share of, in lanes.
    pub(super) fn new(modulus: Modulus, share: &[u64]) -> Self {
        let bits = modulus.bits() as usize;
        let (mut planes, carry_in) = if modulus.is_power_of_two() {
            (slice(share, bits), CarryIn::Zero)
        } else {
            let scale = Scale::new(modulus);
            let points: Wiped = share.iter().map(|&a| scale.apply(a)).collect();
            (slice(&points, bits), CarryIn::One)
        };
        let width = planes.len() / bits;
        let top = planes.split_off((bits - 1) * width).into();
        Self { carry: Carry::private(width, planes, carry_in), top }
    }

    pub(super) fn is_done(&self) -> bool {
        self.carry.is_done()
    }

    pub(super) fn open(&mut self, party: &mut Party<'_>) -> Result<(), MpcError> {
        self.carry.open(party)
    }

    pub(super) fn close(&mut self, party: &mut Party<'_>) -> Result<(), MpcError> {
        self.carry.close(party)
    }

    /// My share of the sign, once done: a plane.
    pub(super) fn into_bit(self, role: Role) -> Wiped {
        let mut bit = self.carry.into_bit(role);
        for (b, t) in bit.iter_mut().zip(self.top.iter()) {
            *b ^= t;
        }
        bit
    }
}

/// Runs signs side by side to their end.
pub(super) fn finish(party: &mut Party<'_>, signs: &mut [&mut Sign]) -> Result<(), MpcError> {
    while signs.iter().any(|sign| !sign.is_done()) {
        for sign in &mut *signs {
            sign.open(party)?;
        }
        party.exchange()?;
        for sign in &mut *signs {
            sign.close(party)?;
        }
    }
    Ok(())
}
