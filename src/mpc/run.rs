//! The batches of a step, one after another, and the tournaments that are made of them.

use super::carry::{Carry, CarryIn};
use super::max::{self, Side};
use super::modulus::Modulus;
use super::party::Party;
use super::product::Mux;
use super::sign::{Sign, finish};
use super::slice::{WORD, slice};
use super::step::index_modulus;
use super::stock::Stock;
use super::usage::Batch;
use super::wiped::Wiped;
use super::{MpcError, Role};
use crate::channel::{Channel, Tag};

pub(super) fn less(party: &mut Party<'_>, bits: u32, share: &[u64]) -> Result<Wiped, MpcError> {
    // u < v is the carry of !u + v.
    let ones = if party.role == Role::Client { u64::MAX } else { 0 };
    let planes = slice(share, bits as usize).iter().map(|word| word ^ ones).collect();
    let mut carry = Carry::private(party.width(), planes, CarryIn::Zero);
    while !carry.is_done() {
        carry.open(party)?;
        party.exchange()?;
        carry.close(party)?;
    }
    let bit = carry.into_bit(party.role);
    Ok((0..share.len()).map(|j| bit[j / WORD] >> (j % WORD) & 1).collect())
}

pub(super) fn relu(party: &mut Party<'_>, t: Modulus, share: &[u64]) -> Result<Wiped, MpcError> {
    let mut sign = Sign::new(t, share);
    finish(party, &mut [&mut sign])?;
    let mut kept = sign.into_bit(party.role);
    if party.role == Role::Client {
        kept.iter_mut().for_each(|word| *word = !*word);
    }
    let mux = Mux::open(party, t, &kept, share)?;
    party.exchange()?;
    mux.close(party)
}

/// A step under way.
pub(super) struct Run<'c> {
    pub(super) role: Role,
    pub(super) step: u32,
    pub(super) channel: &'c mut dyn Channel,
    pub(super) batches: std::vec::IntoIter<(Batch, Stock)>,
}

impl Run<'_> {
    /// Works on the next batch, whose transfers must fit and be used up.
    fn batch<T>(
        &mut self,
        values: usize,
        work: impl FnOnce(&mut Party<'_>) -> Result<T, MpcError>,
    ) -> Result<T, MpcError> {
        let (batch, stock) = self.batches.next().ok_or(MpcError::Material(self.step))?;
        if batch.lanes != values.next_multiple_of(WORD) {
            return Err(MpcError::Material(self.step));
        }
        let mut party = Party::new(self.role, &mut *self.channel, self.step, stock);
        let result = work(&mut party)?;
        if party.stock.is_used_up() { Ok(result) } else { Err(MpcError::Material(self.step)) }
    }

    /// How many values the next batch takes of `left`.
    fn next_of(&self, left: usize) -> usize {
        self.batches.as_slice().first().map_or(left, |(batch, _)| batch.lanes.min(left)).max(1).min(left)
    }

    pub(super) fn elementwise(
        &mut self,
        share: &[u64],
        work: impl Fn(&mut Party<'_>, &[u64]) -> Result<Wiped, MpcError>,
    ) -> Result<Wiped, MpcError> {
        let mut result = Wiped::from(Vec::with_capacity(share.len()));
        let mut rest = share;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(self.next_of(rest.len()));
            let lanes = padded(part);
            let values = self.batch(part.len(), |party| work(party, &lanes))?;
            result.extend_from_slice(values.get(..part.len()).unwrap_or_default());
            rest = after;
        }
        Ok(result)
    }

    pub(super) fn max(
        &mut self,
        t: Modulus,
        windows: &[Vec<usize>],
        share: &[u64],
    ) -> Result<Wiped, MpcError> {
        let step = self.step;
        let mut sizes = Vec::with_capacity(windows.len());
        let mut values = Wiped::from(Vec::with_capacity(windows.iter().map(Vec::len).sum()));
        for (number, window) in windows.iter().enumerate() {
            let missing = |found| MpcError::Window { step, window: number, found };
            if window.is_empty() {
                return Err(missing(0));
            }
            sizes.push(window.len());
            for &operand in window {
                values.push(*share.get(operand).ok_or_else(|| missing(operand))?);
            }
        }
        while sizes.iter().any(|&size| size > 1) {
            let [earlier, later] = [0, 1].map(|which| {
                let mut side = Wiped::from(Vec::with_capacity(values.len() / 2));
                for window in parted(&values, &sizes) {
                    side.extend(window.as_chunks::<2>().0.iter().map(|pair| pair[which]));
                }
                Side { values: side, indices: Wiped::default() }
            });
            let won = self.stage(t, None, &earlier, &later)?.values;
            let mut winners = won.iter().copied();
            let mut left = Wiped::from(Vec::with_capacity(values.len()));
            for window in parted(&values, &sizes) {
                let (pairs, odd) = window.as_chunks::<2>();
                left.extend(winners.by_ref().take(pairs.len()).chain(odd.iter().copied()));
            }
            values = left;
            sizes.iter_mut().for_each(|size| *size = size.div_ceil(2));
        }
        Ok(values)
    }

    pub(super) fn arg_max(&mut self, t: Modulus, share: &[u64]) -> Result<Wiped, MpcError> {
        let modulus = index_modulus(share.len())?;
        let first = if self.role == Role::Client { 0..share.len() as u64 } else { 0..0 };
        let mut indices: Wiped = first.collect();
        indices.resize(share.len(), 0);
        let mut field = Side { values: share.to_vec().into(), indices };
        while field.values.len() > 1 {
            let pick =
                |lanes: &[u64], which: usize| lanes.as_chunks::<2>().0.iter().map(|p| p[which]).collect();
            let side =
                |which| Side { values: pick(&field.values, which), indices: pick(&field.indices, which) };
            let mut next = self.stage(t, Some(modulus), &side(0), &side(1))?;
            if field.values.len() % 2 == 1 {
                next.values.extend(field.values.last());
                next.indices.extend(field.indices.last());
            }
            field = next;
        }
        let Some(&mine) = field.indices.first() else { return Ok(Wiped::default()) };
        match self.role {
            Role::Server => {
                self.channel.send(self.step, Tag::NonLinear, &mine.to_le_bytes())?;
                Ok(Wiped::default())
            }
            Role::Client => {
                let payload = self.channel.receive(self.step, Tag::NonLinear, 8)?;
                let (step, found) = (self.step, payload.len());
                let bytes: [u8; 8] = payload.try_into().map_err(|_| MpcError::Length {
                    step,
                    what: "position",
                    found,
                    expected: 8,
                })?;
                let theirs = u64::from_le_bytes(bytes);
                if theirs >= modulus.value() {
                    return Err(MpcError::Residue { step, found: theirs, modulus: modulus.value() });
                }
                Ok(vec![modulus.add(mine, theirs)].into())
            }
        }
    }

    /// One stage of a tournament, in batches.
    fn stage(
        &mut self,
        t: Modulus,
        indices: Option<Modulus>,
        earlier: &Side,
        later: &Side,
    ) -> Result<Side, MpcError> {
        let mut won = Side::default();
        let mut from = 0;
        while from < earlier.values.len() {
            let to = from + self.next_of(earlier.values.len() - from);
            let part = |lanes: &[u64]| padded(lanes.get(from..to).unwrap_or_default());
            let side = |side: &Side| Side { values: part(&side.values), indices: part(&side.indices) };
            let (a, b) = (side(earlier), side(later));
            let winners = self.batch(to - from, |party| max::winners(party, t, indices, &a, &b))?;
            won.values.extend(winners.values.get(..to - from).unwrap_or_default());
            won.indices.extend(winners.indices.get(..to - from).unwrap_or_default());
            from = to;
        }
        Ok(won)
    }
}

/// `values` in parts of those sizes.
fn parted<'v>(mut values: &'v [u64], sizes: &'v [usize]) -> impl Iterator<Item = &'v [u64]> {
    sizes.iter().map(move |&size| {
        let (part, rest) = values.split_at(size.min(values.len()));
        values = rest;
        part
    })
}

/// Filled up with zeros to a multiple of 64 lanes.
fn padded(lanes: &[u64]) -> Wiped {
    let mut padded = Wiped::zeros(lanes.len().next_multiple_of(WORD));
    padded[..lanes.len()].copy_from_slice(lanes);
    padded
}
