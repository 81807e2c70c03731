//! Shift and clamp, `clamp((x + 2^(k-1)) >> k, lo, hi)`, exact for every x in its range.
//!
//! [`Plan`] chooses among three ways by what is public, the range of x above all:
//!
//! - [`Wrap::Half`]: an offset makes every x non-negative and at most t/2, so that the sign is known and no
//!   comparison modulo t is needed.
//! - [`Wrap::Relu`]: for lo = 0. The sign is compared while x is shifted as if it were not negative; where it
//!   is negative the result is not used.
//! - [`Wrap::Both`]: shifted both ways, the sign selects.
//!
//! The shifted value is short; the clamp compares it modulo a small power of two.

use super::carry::And;
use super::modulus::Modulus;
use super::party::Party;
use super::product::{Mux, Weighted};
use super::sign::Sign;
use super::trunc::{Carrying, Known, Selecting, Shift, Shifting};
use super::usage::Usage;
use super::wiped::Wiped;
use super::{MpcError, Role};
use crate::graph::{Interval, Requant};

/// How the shares' wrap is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrap {
    Half,
    Relu,
    Both,
}

impl Wrap {
    fn known(self) -> &'static [Known] {
        match self {
            Self::Half | Self::Relu => &[Known::NotNegative],
            Self::Both => &[Known::NotNegative, Known::Negative],
        }
    }
}

/// One shift and clamp, all that is public.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    wrap: Wrap,
    shift: Shift,
    /// What is added to x: rounding and offset.
    add: i64,
    /// What that offset has become after the shift.
    offset: i64,
    /// The lower bound, where it can bind.
    lo: Option<i64>,
    /// The upper bound, where it can bind.
    hi: Option<i64>,
    /// Where the clamp compares; none if it is not needed.
    short: Option<Modulus>,
    /// A result that is the same for every x.
    constant: Option<i64>,
}

impl Plan {
    /// For x in `range` shared modulo `from`, the result to be shared modulo `to`.
    pub(super) fn new(
        from: Modulus,
        to: Modulus,
        requant: Requant,
        range: Interval,
    ) -> Result<Self, MpcError> {
        let Requant { shift: k, lo, hi } = requant;
        let rounding = if k == 0 { 0 } else { 1_i64.checked_shl(k - 1).unwrap_or(i64::MAX) };
        let [least, most] = [range.lo, range.hi].map(|v| v.saturating_add(rounding));
        let limit = from.limit().cast_signed();
        let magnitude = Interval { lo: least, hi: most }.magnitude();
        if k >= 62 || lo > hi || least > most || magnitude > from.limit() {
            return Err(MpcError::Range { magnitude, modulus: from.value() });
        }
        let (ylo, yhi) = (least >> k, most >> k);
        let constant = if lo >= yhi || hi <= ylo { Some(requant.apply(range.lo)) } else { None };
        let (lo, hi) = ((lo > ylo).then_some(lo), (hi < yhi).then_some(hi));
        let steps = if least < 0 { -ylo } else { 0 };
        let half = (steps << k).checked_add(most).is_some_and(|most| most <= limit);
        let wrap = match lo {
            _ if half => Wrap::Half,
            Some(0) => Wrap::Relu,
            Some(_) | None => Wrap::Both,
        };
        let offset = if wrap == Wrap::Half { steps } else { 0 };
        let shortest = if wrap == Wrap::Relu { 0 } else { ylo };
        let ends = [
            lo.filter(|_| wrap != Wrap::Relu).map(|lo| [shortest - lo, yhi - lo]),
            hi.map(|hi| [shortest - hi - 1, yhi - hi - 1]),
        ];
        let bits = ends.iter().flatten().flatten().map(|&v| signed_bits(v)).max();
        let short = bits.map(Modulus::two_to).transpose()?;
        let mut moduli = vec![to];
        moduli.extend(short.filter(|short| !(to.is_power_of_two() && to.bits() >= short.bits())));
        let shift = Shift { from, k, to: moduli };
        Ok(Self { wrap, shift, add: rounding + (offset << k), offset, lo, hi, short, constant })
    }

    fn to(&self) -> Modulus {
        self.shift.to.first().copied().unwrap_or(self.shift.from)
    }

    pub(super) fn usage(&self) -> Usage {
        if self.constant.is_some() {
            return Usage::default();
        }
        let side_by_side = |usages: Vec<Usage>| usages.into_iter().fold(Usage::default(), Usage::beside);
        let sign = || Sign::usage(self.shift.from);
        let shift = side_by_side(vec![self.shift.usage(); self.wrap.known().len()]);
        let compares = usize::from(self.compares_below()) + usize::from(self.hi.is_some());
        let compare = side_by_side(vec![self.short.map(Sign::usage).unwrap_or_default(); compares]);
        let usage = match self.wrap {
            Wrap::Half => shift.then(compare),
            Wrap::Both => {
                let select = self.shift.to.iter().map(|&t| Mux::usage(t)).collect();
                shift.beside(sign()).then(side_by_side(select)).then(compare)
            }
            Wrap::Relu => {
                let both = shift.then(compare).beside(sign());
                if self.hi.is_some() { both.then(And::usage()) } else { both }
            }
        };
        let to = self.to();
        match (self.lo, self.hi) {
            (None, None) => usage,
            (Some(_), None) | (None, Some(_)) => usage.then(Mux::usage(to)),
            (Some(_), Some(_)) => usage.then(Mux::usage(to).beside(Weighted::usage(Role::Server, to))),
        }
    }

    fn compares_below(&self) -> bool {
        self.lo.is_some() && self.wrap != Wrap::Relu
    }

    /// My shares of the result, from my shares of x, in lanes.
    pub(super) fn run(&self, party: &mut Party<'_>, share: &[u64]) -> Result<Wiped, MpcError> {
        let role = party.role;
        if let Some(constant) = self.constant {
            let mine = if role == Role::Client { self.to().residue(constant) } else { 0 };
            return Ok(vec![mine; share.len()].into());
        }
        let x = added(role, self.shift.from, share, self.add);
        let mut sign = (self.wrap != Wrap::Half).then(|| Sign::new(self.shift.from, &x));
        let mut values = self.shifted(party, &x, &mut sign)?;
        for (value, &t) in values.iter_mut().zip(&self.shift.to) {
            *value = added(role, t, value, -self.offset);
        }
        self.clamped(party, &values, sign)
    }

    /// Shares of the shifted value in each modulus. The sign goes along, and is used up if it selects.
    fn shifted(
        &self,
        party: &mut Party<'_>,
        x: &[u64],
        sign: &mut Option<Sign>,
    ) -> Result<Vec<Wiped>, MpcError> {
        let open = |&known| Selecting::open(party, &self.shift, known, x);
        let selecting = self.wrap.known().iter().map(open).collect::<Result<Vec<_>, _>>()?;
        open_along(party, sign)?;
        party.exchange()?;
        let mut shifting =
            selecting.into_iter().map(|one| one.close(party)).collect::<Result<Vec<Shifting<'_>>, _>>()?;
        close_along(party, sign)?;
        while !shifting.iter().all(Shifting::is_done) {
            for carry in shifting.iter_mut().filter_map(|one| one.carry.as_mut()) {
                carry.open(party)?;
            }
            open_along(party, sign)?;
            party.exchange()?;
            for carry in shifting.iter_mut().filter_map(|one| one.carry.as_mut()) {
                carry.close(party)?;
            }
            close_along(party, sign)?;
        }
        let open = |one| Carrying::open(party, one);
        let carrying = shifting.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let carries = self.shift.k > 0;
        if carries {
            open_along(party, sign)?;
            party.exchange()?;
        }
        let close = |one: Carrying<'_>| one.close(party);
        let mut values = carrying.into_iter().map(close).collect::<Result<Vec<_>, _>>()?.into_iter();
        if carries {
            close_along(party, sign)?;
        }
        let first = values.next().unwrap_or_default();
        match values.next() {
            None => Ok(first),
            Some(second) => self.selected(party, sign, [first, second]),
        }
    }

    /// The second of both values where the sign is negative, else the first.
    fn selected(
        &self,
        party: &mut Party<'_>,
        sign: &mut Option<Sign>,
        [first, second]: [Vec<Wiped>; 2],
    ) -> Result<Vec<Wiped>, MpcError> {
        let bit = finished(party, sign)?.unwrap_or_default();
        let mut muxes = Vec::new();
        for ((a, b), &t) in first.iter().zip(&second).zip(&self.shift.to) {
            let difference: Wiped = a.iter().zip(b.iter()).map(|(&a, &b)| t.sub(b, a)).collect();
            muxes.push(Mux::open(party, t, &bit, &difference)?);
        }
        party.exchange()?;
        let mut selected = first;
        for ((value, mux), &t) in selected.iter_mut().zip(muxes).zip(&self.shift.to) {
            for (v, d) in value.iter_mut().zip(mux.close(party)?.iter()) {
                *v = t.add(*v, *d);
            }
        }
        Ok(selected)
    }

    fn clamped(
        &self,
        party: &mut Party<'_>,
        values: &[Wiped],
        mut sign: Option<Sign>,
    ) -> Result<Wiped, MpcError> {
        let (role, to) = (party.role, self.to());
        let [mut below, mut not_above] = self.compared(party, values, &mut sign)?;
        let negative = finished(party, &mut sign)?;
        if self.wrap == Wrap::Relu {
            below = negative;
        }
        let value = values.first().map(|value| value.as_slice()).unwrap_or_default();
        let (lo, hi) = (self.lo.unwrap_or(0), self.hi.unwrap_or(0));
        let (inside, reference, outside) = match (below, not_above.take()) {
            (None, None) => return Ok(value.to_vec().into()),
            (Some(below), None) => (complement(role, &below), lo, None),
            (None, Some(not_above)) => (not_above, hi, None),
            (Some(below), Some(not_above)) if self.wrap == Wrap::Relu => {
                let and = And::open(party, complement(role, &below), not_above)?;
                party.exchange()?;
                (and.close(party)?, hi, Some(below))
            }
            (Some(below), Some(not_above)) => {
                let inside = below.iter().zip(not_above.iter()).map(|(b, a)| b ^ a).collect();
                (inside, hi, Some(below))
            }
        };
        let mux = Mux::open(party, to, &inside, &added(role, to, value, -reference))?;
        let weight = to.residue(lo - hi);
        let outside = outside.map(|bit| Weighted::open(party, Role::Server, to, &bit, weight)).transpose()?;
        party.exchange()?;
        let mut result = added(role, to, &mux.close(party)?, reference);
        if let Some(outside) = outside {
            for (r, v) in result.iter_mut().zip(outside.close(party)?.iter()) {
                *r = to.add(*r, *v);
            }
        }
        Ok(result)
    }

    /// Whether the value is below the lower bound, and whether it is not above the upper, as far as asked.
    fn compared(
        &self,
        party: &mut Party<'_>,
        values: &[Wiped],
        sign: &mut Option<Sign>,
    ) -> Result<[Option<Wiped>; 2], MpcError> {
        let Some(short) = self.short else { return Ok([None, None]) };
        let role = party.role;
        let value: Wiped =
            values.last().map(|v| v.iter().map(|&v| v & (short.value() - 1)).collect()).unwrap_or_default();
        let compare = |bound: i64| Sign::new(short, &added(role, short, &value, -bound));
        let mut below = self.lo.filter(|_| self.compares_below()).map(compare);
        let mut above = self.hi.map(|hi| compare(hi + 1));
        while [&below, &above].into_iter().flatten().any(|compare| !compare.is_done()) {
            open_along(party, &mut below)?;
            open_along(party, &mut above)?;
            open_along(party, sign)?;
            party.exchange()?;
            close_along(party, &mut below)?;
            close_along(party, &mut above)?;
            close_along(party, sign)?;
        }
        Ok([below, above].map(|compare| compare.map(|compare| compare.into_bit(role))))
    }
}

/// Bits of a two's complement number, at least 2.
fn signed_bits(v: i64) -> u32 {
    let magnitude = v ^ v >> 63;
    (u64::BITS - magnitude.leading_zeros() + 1).max(2)
}

/// The client adds a public integer to its share.
fn added(role: Role, t: Modulus, share: &[u64], v: i64) -> Wiped {
    let v = if role == Role::Client { t.residue(v) } else { 0 };
    share.iter().map(|&s| t.add(s, v)).collect()
}

/// The other bit, by the client.
fn complement(role: Role, plane: &[u64]) -> Wiped {
    let flip = if role == Role::Client { u64::MAX } else { 0 };
    plane.iter().map(|word| word ^ flip).collect()
}

fn open_along(party: &mut Party<'_>, sign: &mut Option<Sign>) -> Result<(), MpcError> {
    sign.as_mut().map_or(Ok(()), |sign| sign.open(party))
}

fn close_along(party: &mut Party<'_>, sign: &mut Option<Sign>) -> Result<(), MpcError> {
    sign.as_mut().map_or(Ok(()), |sign| sign.close(party))
}

/// The sign's bit, after the exchanges that it still lacks.
fn finished(party: &mut Party<'_>, sign: &mut Option<Sign>) -> Result<Option<Wiped>, MpcError> {
    let Some(mut sign) = sign.take() else { return Ok(None) };
    super::sign::finish(party, &mut [&mut sign])?;
    Ok(Some(sign.into_bit(party.role)))
}
