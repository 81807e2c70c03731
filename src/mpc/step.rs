//! Steps on vectors of shares: what each needs beforehand, what it costs, and its run.
//!
//! A step works in batches of at most [`BATCH`] lanes, so that memory stays bounded; the exchanges of one batch
//! follow those of the other.

use super::carry::{Carry, CarryIn};
use super::max::{self, Side};
use super::modulus::Modulus;
use super::ot::OtSetup;
use super::party::Party;
use super::product::Mux;
use super::requant::Plan;
use super::sign::{Sign, finish};
use super::slice::{WORD, slice};
use super::stock::Stock;
use super::usage::Batch;
use super::{MpcError, Role, square};
use crate::channel::{Channel, FRAME_BYTES, Tag};
use crate::graph::{Interval, Requant};

/// Lanes that are worked on together: 2^18 take at most about 60 MB of transfers for a ReLU.
pub const BATCH: usize = 1 << 18;

/// Lanes that are worked on together where each takes a transfer of a word a bit.
const SQUARE_BATCH: usize = 1 << 16;

/// A function of shared values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Function {
    /// Whether the client's private number is below the server's, as XOR shares 0 or 1.
    Less {
        /// Bits of both numbers, 1 to 60.
        bits: u32,
    },
    /// `max(x, 0)`, for x of magnitude up to [`Modulus::limit`].
    Relu {
        /// Of operand and result.
        modulus: Modulus,
    },
    /// Shift and clamp.
    Requant {
        /// Of the operand.
        from: Modulus,
        /// Of the result, whose bounds it must hold.
        to: Modulus,
        /// Shift and bounds.
        requant: Requant,
        /// What the operand may be.
        range: Interval,
    },
    /// `requant(a x^2 + b x + c)`.
    Poly {
        /// Of the operand, and of the polynomial's values, which it must hold.
        from: Modulus,
        /// Of the result.
        to: Modulus,
        /// a, b and c.
        coefficients: [i64; 3],
        /// Shift and bounds.
        requant: Requant,
        /// What the operand may be.
        range: Interval,
    },
    /// The greatest value of each window. Differences within a window must not exceed [`Modulus::limit`].
    Max {
        /// Of operand and result.
        modulus: Modulus,
        /// Each window's operands, by position; none is empty.
        windows: Vec<Vec<usize>>,
    },
    /// The position of the greatest value, ties to the lowest: told to the client alone.
    ArgMax {
        /// Of the operand.
        modulus: Modulus,
    },
}

/// One step: a function of a vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number in messages.
    pub id: u32,
    /// How many operands.
    pub values: usize,
    /// What of them.
    pub function: Function,
}

/// What was made ahead for one step. Used once.
#[derive(Debug)]
pub struct Material {
    step: u32,
    batches: Vec<(Batch, Stock)>,
}

impl Step {
    /// The batches in order: lanes, transfers a lane, exchanges.
    ///
    /// # Errors
    /// If a modulus cannot hold the values.
    pub fn batches(&self) -> Result<Vec<Batch>, MpcError> {
        let requant =
            || Ok::<_, MpcError>(self.function.plan()?.map(|plan| plan.usage()).unwrap_or_default());
        let (usage, sizes, most) = match &self.function {
            Function::Less { bits } => (Carry::usage(*bits), vec![self.values], BATCH),
            Function::Relu { modulus } => {
                (Sign::usage(*modulus).then(Mux::usage(*modulus)), vec![self.values], BATCH)
            }
            Function::Requant { .. } => (requant()?, vec![self.values], BATCH),
            Function::Poly { from, .. } => {
                (square::usage(*from).then(requant()?), vec![self.values], SQUARE_BATCH)
            }
            Function::Max { modulus, windows } => {
                (max::usage(*modulus, None), max::pairs_of_stages(windows.iter().map(Vec::len)), BATCH)
            }
            Function::ArgMax { modulus } => {
                let indices = index_modulus(self.values)?;
                (max::usage(*modulus, Some(indices)), max::pairs_of_stages([self.values]), BATCH)
            }
        };
        let batches = sizes.into_iter().flat_map(|n| chunks(n, most));
        Ok(batches.map(|n| Batch::new(n, &usage)).collect())
    }

    /// Makes the transfers that the step needs, with the other party, which does the same.
    ///
    /// # Errors
    /// If the other party does not keep to the protocol, or the step's modulus cannot hold its values.
    pub fn prepare(
        &self,
        role: Role,
        ots: &mut OtSetup,
        channel: &mut dyn Channel,
    ) -> Result<Material, MpcError> {
        let make = |batch: Batch| {
            let stock = Stock::prepare(role, ots, channel, self.id, &batch)?;
            Ok((batch, stock))
        };
        let batches = self.batches()?.into_iter().map(make).collect::<Result<_, MpcError>>()?;
        Ok(Material { step: self.id, batches })
    }

    /// My shares of the result, from my shares of the operand. Of [`Function::ArgMax`] the client gets the
    /// position and the server nothing.
    ///
    /// # Errors
    /// If the other party does not keep to the protocol, or shares or material are not those of the step.
    pub fn run(
        &self,
        role: Role,
        channel: &mut dyn Channel,
        material: Material,
        share: &[u64],
    ) -> Result<Vec<u64>, MpcError> {
        let bound = self.function.bound();
        if share.len() != self.values || share.iter().any(|&v| v >= bound) {
            return Err(MpcError::Shares { step: self.id, found: share.len(), expected: self.values });
        }
        if material.step != self.id {
            return Err(MpcError::Material(self.id));
        }
        let mut run = Run { role, step: self.id, channel, batches: material.batches.into_iter() };
        let result = match &self.function {
            Function::Less { bits } => run.elementwise(share, |party, x| less(party, *bits, x)),
            Function::Relu { modulus } => run.elementwise(share, |party, x| relu(party, *modulus, x)),
            Function::Requant { .. } => {
                let Some(plan) = self.function.plan()? else { return Err(MpcError::Material(self.id)) };
                run.elementwise(share, |party, x| plan.run(party, x))
            }
            Function::Poly { from, coefficients, .. } => {
                let Some(plan) = self.function.plan()? else { return Err(MpcError::Material(self.id)) };
                run.elementwise(share, |party, x| {
                    let value = square::polynomial(party, *from, *coefficients, x)?;
                    plan.run(party, &value)
                })
            }
            Function::Max { modulus, windows } => run.max(*modulus, windows, share),
            Function::ArgMax { modulus } => run.arg_max(*modulus, share),
        }?;
        if run.batches.next().is_some() { Err(MpcError::Material(self.id)) } else { Ok(result) }
    }
}

impl Function {
    /// What every share must be below.
    fn bound(&self) -> u64 {
        match self {
            Self::Less { bits } => 1_u64.checked_shl(*bits).unwrap_or(u64::MAX),
            Self::Relu { modulus } | Self::Max { modulus, .. } | Self::ArgMax { modulus } => modulus.value(),
            Self::Requant { from, .. } | Self::Poly { from, .. } => from.value(),
        }
    }

    /// The shift and clamp in it.
    fn plan(&self) -> Result<Option<Plan>, MpcError> {
        match self {
            Self::Less { .. } | Self::Relu { .. } | Self::Max { .. } | Self::ArgMax { .. } => Ok(None),
            Self::Requant { from, to, requant, range } => Plan::new(*from, *to, *requant, *range).map(Some),
            Self::Poly { from, to, coefficients, requant, range } => {
                let range = polynomial_range(*coefficients, *range)
                    .ok_or(MpcError::Range { magnitude: u64::MAX, modulus: from.value() })?;
                Plan::new(*from, *to, *requant, range).map(Some)
            }
        }
    }
}

/// The values of `a x^2 + b x + c` for x in `range`; none if they leave 64 bits.
fn polynomial_range([a, b, c]: [i64; 3], range: Interval) -> Option<Interval> {
    let value = |x: i64| a.checked_mul(x)?.checked_add(b)?.checked_mul(x)?.checked_add(c);
    let turn = b.checked_neg()?.checked_div(a.checked_mul(2)?).unwrap_or(0);
    let near = [turn.saturating_sub(1), turn, turn.saturating_add(1)];
    let points = near.into_iter().chain([range.lo, range.hi]).map(|x| x.clamp(range.lo, range.hi));
    let values = points.map(value).collect::<Option<Vec<_>>>()?;
    Some(Interval { lo: *values.iter().min()?, hi: *values.iter().max()? })
}

/// The modulus of the positions of `n` values.
fn index_modulus(n: usize) -> Result<Modulus, MpcError> {
    let bits = usize::BITS - n.saturating_sub(1).leading_zeros();
    Modulus::two_to(bits.max(2))
}

/// `n` in parts of at most `most`.
fn chunks(n: usize, most: usize) -> impl Iterator<Item = usize> {
    (0..n.div_ceil(most)).map(move |i| most.min(n - i * most))
}

fn less(party: &mut Party<'_>, bits: u32, share: &[u64]) -> Result<Vec<u64>, MpcError> {
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

fn relu(party: &mut Party<'_>, t: Modulus, share: &[u64]) -> Result<Vec<u64>, MpcError> {
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
struct Run<'c> {
    role: Role,
    step: u32,
    channel: &'c mut dyn Channel,
    batches: std::vec::IntoIter<(Batch, Stock)>,
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

    fn elementwise(
        &mut self,
        share: &[u64],
        work: impl Fn(&mut Party<'_>, &[u64]) -> Result<Vec<u64>, MpcError>,
    ) -> Result<Vec<u64>, MpcError> {
        let mut result = Vec::with_capacity(share.len());
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

    fn max(&mut self, t: Modulus, windows: &[Vec<usize>], share: &[u64]) -> Result<Vec<u64>, MpcError> {
        let malformed = |(window, found): (usize, usize)| MpcError::Window { step: self.step, window, found };
        let at = |&i: &usize| share.get(i).copied().ok_or(i);
        let gather = |(number, window): (usize, &Vec<usize>)| match window.iter().map(at).collect() {
            Ok(values) if !window.is_empty() => Ok(values),
            Ok::<Vec<u64>, usize>(_) => Err((number, 0)),
            Err(found) => Err((number, found)),
        };
        let windows = windows.iter().enumerate().map(gather).collect::<Result<Vec<_>, _>>();
        let mut windows = windows.map_err(malformed)?;
        while windows.iter().any(|window| window.len() > 1) {
            let pairs = || windows.iter().flat_map(|window| window.as_chunks::<2>().0);
            let earlier = Side { values: pairs().map(|pair| pair[0]).collect(), indices: Vec::new() };
            let later = Side { values: pairs().map(|pair| pair[1]).collect(), indices: Vec::new() };
            let mut winners = self.stage(t, None, &earlier, &later)?.values.into_iter();
            for window in &mut windows {
                let (pairs, odd) = (window.len() / 2, window.len() % 2);
                let last = window.last().copied().filter(|_| odd == 1);
                *window = winners.by_ref().take(pairs).chain(last).collect();
            }
        }
        Ok(windows.iter().filter_map(|window| window.first().copied()).collect())
    }

    fn arg_max(&mut self, t: Modulus, share: &[u64]) -> Result<Vec<u64>, MpcError> {
        let modulus = index_modulus(share.len())?;
        let first = if self.role == Role::Client { 0..share.len() as u64 } else { 0..0 };
        let mut indices: Vec<u64> = first.collect();
        indices.resize(share.len(), 0);
        let mut field = Side { values: share.to_vec(), indices };
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
        let Some(&mine) = field.indices.first() else { return Ok(Vec::new()) };
        match self.role {
            Role::Server => {
                self.channel.send(self.step, Tag::NonLinear, &mine.to_le_bytes())?;
                Ok(Vec::new())
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
                Ok(vec![modulus.add(mine, theirs)])
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

/// Filled up with zeros to a multiple of 64 lanes.
fn padded(lanes: &[u64]) -> Vec<u64> {
    let mut padded = lanes.to_vec();
    padded.resize(lanes.len().next_multiple_of(WORD), 0);
    padded
}

/// What a step costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Transfers made ahead, of all kinds and both directions.
    pub transfers: u64,
    /// Bytes that both parties send while those are made, frames included.
    pub offline_bytes: u64,
    /// How often the client receives after it has sent while those are made.
    pub offline_rounds: u64,
    /// Bytes that both parties send while the step runs, frames included.
    pub online_bytes: u64,
    /// Exchanges while the step runs, as the channel counts them: the server's last message of
    /// [`Function::ArgMax`] answers nothing and is none.
    pub rounds: u64,
}

impl std::ops::Add for Cost {
    type Output = Self;

    fn add(self, o: Self) -> Self {
        Self {
            transfers: self.transfers + o.transfers,
            offline_bytes: self.offline_bytes + o.offline_bytes,
            offline_rounds: self.offline_rounds + o.offline_rounds,
            online_bytes: self.online_bytes + o.online_bytes,
            rounds: self.rounds + o.rounds,
        }
    }
}

impl Step {
    /// What the step costs.
    ///
    /// # Errors
    /// If a modulus cannot hold the values.
    pub fn cost(&self) -> Result<Cost, MpcError> {
        let mut cost = Cost::default();
        for batch in self.batches()? {
            cost.transfers += (batch.lane.transfers() * batch.lanes) as u64;
            cost.offline_bytes += batch.offline_bytes();
            cost.offline_rounds += batch.offline_rounds();
            cost.online_bytes += batch.online_bytes();
            cost.rounds += batch.rounds as u64;
        }
        if matches!(self.function, Function::ArgMax { .. }) && self.values > 0 {
            cost.online_bytes += FRAME_BYTES + 8;
        }
        Ok(cost)
    }
}
