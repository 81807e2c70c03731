//! Steps on vectors of shares: what each needs beforehand, what it costs, and its run.
//!
//! A step works in batches of at most [`BATCH`] lanes, so that memory stays bounded; the exchanges of one batch
//! follow those of the other.

use super::carry::Carry;
use super::modulus::Modulus;
use super::ot::OtSetup;
use super::product::Mux;
use super::requant::Plan;
use super::run::{Run, less, relu};
use super::sign::Sign;
use super::stock::Stock;
use super::usage::Batch;
use super::{MpcError, Role, max, square};
use crate::channel::{Channel, FRAME_BYTES};
use crate::graph::{Interval, Requant};
use std::sync::Arc;

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
        windows: Arc<[Vec<usize>]>,
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
            Function::Max { modulus, windows } => (
                max::usage(*modulus, None),
                max::pairs_of_stages(windows.iter().map(|window| (window.len(), 1))),
                BATCH,
            ),
            Function::ArgMax { modulus } => {
                let indices = index_modulus(self.values)?;
                (max::usage(*modulus, Some(indices)), max::pairs_of_stages([(self.values, 1)]), BATCH)
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
        if run.batches.next().is_some() { Err(MpcError::Material(self.id)) } else { Ok(result.into_vec()) }
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
pub(super) fn index_modulus(n: usize) -> Result<Modulus, MpcError> {
    let bits = usize::BITS - n.saturating_sub(1).leading_zeros();
    Modulus::two_to(bits.max(2))
}

/// What [`Function::Max`] costs over windows of which only the sizes are told, `(size, how many)` each: no
/// list of them is made.
#[must_use]
pub fn max_cost(modulus: Modulus, windows: &[(usize, usize)]) -> Cost {
    let usage = max::usage(modulus, None);
    let of = |lanes: usize| if lanes == 0 { Cost::default() } else { Cost::of(&Batch::new(lanes, &usage)) };
    let stages = max::pairs_of_stages(windows.iter().copied());
    stages
        .iter()
        .fold(Cost::default(), |sum, pairs| sum + of(BATCH).times((pairs / BATCH) as u64) + of(pairs % BATCH))
}

/// What [`Function::Max`] takes of memory over windows of which only the sizes are told.
#[must_use]
pub fn max_footprint(modulus: Modulus, windows: &[(usize, usize)]) -> Footprint {
    let usage = max::usage(modulus, None);
    let of = |lanes: usize| Footprint::of(&Batch::new(lanes, &usage));
    let (full, mut all) = (of(BATCH), Footprint::default());
    for pairs in max::pairs_of_stages(windows.iter().copied()) {
        let rest = of(pairs % BATCH);
        let batches = (pairs / BATCH) as u64;
        let held = full.held_bytes.saturating_mul(batches).saturating_add(rest.held_bytes);
        all.held_bytes = all.held_bytes.saturating_add(held);
        all.lanes = all.lanes.max(if batches > 0 { full.lanes } else { rest.lanes });
    }
    all
}

/// What a step takes of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes that both parties hold of its transfers once they are made.
    pub held_bytes: u64,
    /// Values that are worked on together at most.
    pub lanes: u64,
}

impl Footprint {
    fn of(batch: &Batch) -> Self {
        Self { held_bytes: batch.held_bytes(), lanes: batch.lanes as u64 }
    }
}

/// `n` in parts of at most `most`.
fn chunks(n: usize, most: usize) -> impl Iterator<Item = usize> {
    (0..n.div_ceil(most)).map(move |i| most.min(n - i * most))
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
            transfers: self.transfers.saturating_add(o.transfers),
            offline_bytes: self.offline_bytes.saturating_add(o.offline_bytes),
            offline_rounds: self.offline_rounds.saturating_add(o.offline_rounds),
            online_bytes: self.online_bytes.saturating_add(o.online_bytes),
            rounds: self.rounds.saturating_add(o.rounds),
        }
    }
}

impl Cost {
    fn of(batch: &Batch) -> Self {
        Self {
            transfers: (batch.lane.transfers() * batch.lanes) as u64,
            offline_bytes: batch.offline_bytes(),
            offline_rounds: batch.offline_rounds(),
            online_bytes: batch.online_bytes(),
            rounds: batch.rounds as u64,
        }
    }

    /// Of `n` steps like this one.
    #[must_use]
    pub fn times(self, n: u64) -> Self {
        Self {
            transfers: self.transfers.saturating_mul(n),
            offline_bytes: self.offline_bytes.saturating_mul(n),
            offline_rounds: self.offline_rounds.saturating_mul(n),
            online_bytes: self.online_bytes.saturating_mul(n),
            rounds: self.rounds.saturating_mul(n),
        }
    }
}

impl Step {
    /// What the step takes of memory.
    ///
    /// # Errors
    /// If a modulus cannot hold the values.
    pub fn footprint(&self) -> Result<Footprint, MpcError> {
        let sum = |sum: Footprint, batch: &Batch| {
            let Footprint { held_bytes, lanes } = Footprint::of(batch);
            Footprint { held_bytes: sum.held_bytes.saturating_add(held_bytes), lanes: sum.lanes.max(lanes) }
        };
        Ok(self.batches()?.iter().fold(Footprint::default(), sum))
    }

    /// What the step costs.
    ///
    /// # Errors
    /// If a modulus cannot hold the values.
    pub fn cost(&self) -> Result<Cost, MpcError> {
        let batches = self.batches()?;
        let mut cost = batches.iter().map(Cost::of).fold(Cost::default(), |sum, cost| sum + cost);
        if matches!(self.function, Function::ArgMax { .. }) && self.values > 0 {
            cost.online_bytes += FRAME_BYTES + 8;
        }
        Ok(cost)
    }
}
