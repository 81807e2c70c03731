//! The non-linear steps as two-party computation on shares: neither party learns a value.
//!
//! A step of the network becomes stages, one after another; a stage is one or more steps of [`crate::mpc`]
//! that take its values in order. Values that an exact step cannot compare modulo t, because they lie too far
//! apart, are carried to a modulus of one bit more and back; activations that a max pool alone reads come in a
//! short modulus, in which it compares them. Both parties derive the same stages from public
//! numbers alone. Random transfers are made just before the part that uses them, so that memory stays bounded,
//! unless they were made ahead.

use super::nonlinear::{Function, Made, NonLinear, NonLinearError, Step};
use super::share::Share;
use crate::channel::Channel;
use crate::graph::{Interval, Requant};
use crate::layers::Pool;
use crate::mpc::ot::OtSetup;
use crate::mpc::{self, BATCH, Cost, Footprint, Material, Modulus, MpcError, Role, Wiped};
use crate::tensor::Shape;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// One party's half, with its half of a set-up of oblivious transfers.
pub struct TwoParty {
    role: Role,
    /// None after an error: the halves no longer agree.
    ots: Option<OtSetup>,
    ahead: VecDeque<Material>,
    made: Made,
}

impl TwoParty {
    /// Sets up oblivious transfers with the other party, which does the same.
    ///
    /// # Errors
    /// If the other party does not keep to the protocol, or there is no randomness.
    pub fn connect(role: Role, channel: &mut dyn Channel) -> Result<Self, NonLinearError> {
        let ots = match role {
            Role::Client => OtSetup::client(channel, 0),
            Role::Server => OtSetup::server(channel, 0),
        }?;
        Ok(Self::with(role, ots))
    }

    /// With a set-up that is there already.
    #[must_use]
    pub fn with(role: Role, ots: OtSetup) -> Self {
        Self { role, ots: Some(ots), ahead: VecDeque::new(), made: Made::default() }
    }

    /// Takes the set-up, leaving this half broken until it is put back.
    fn take(&mut self, step: u32) -> Result<OtSetup, NonLinearError> {
        self.ots.take().ok_or(NonLinearError::Broken(step))
    }

    fn make(
        &mut self,
        channel: &mut dyn Channel,
        ots: &mut OtSetup,
        part: &mpc::Step,
    ) -> Result<Material, MpcError> {
        let (started, before, transfers) = (Instant::now(), channel.traffic(), ots.made());
        let material = part.prepare(self.role, ots, channel)?;
        let traffic = channel.traffic() - before;
        self.made += Made { time: started.elapsed(), traffic, transfers: ots.made() - transfers };
        Ok(material)
    }

    fn run(
        &mut self,
        channel: &mut dyn Channel,
        ots: &mut OtSetup,
        step: &Step,
        mut values: Wiped,
    ) -> Result<Wiped, MpcError> {
        for stage in stages(step)? {
            let mut rest = values.as_slice();
            let mut result = Wiped::from(Vec::with_capacity(rest.len()));
            for part in stage {
                let short = MpcError::Shares { step: step.node, found: rest.len(), expected: part.values };
                let (mine, after) = rest.split_at_checked(part.values).ok_or(short)?;
                let material = match self.ahead.pop_front() {
                    Some(material) => material,
                    None => self.make(channel, ots, &part)?,
                };
                result.extend_from_slice(&Wiped::from(part.run(self.role, channel, material, mine)?));
                rest = after;
            }
            values = result;
        }
        Ok(values)
    }
}

impl NonLinear for TwoParty {
    fn prepare(
        &mut self,
        channel: &mut dyn Channel,
        step: &Step,
        mut room: usize,
    ) -> Result<usize, NonLinearError> {
        let mut ots = self.take(step.node)?;
        for part in stages(step)?.into_iter().flatten() {
            // What follows is made when it is needed, so that what is made ahead is used in order.
            if part.values > room {
                room = 0;
                break;
            }
            room -= part.values;
            let material = self.make(channel, &mut ots, &part)?;
            self.ahead.push_back(material);
        }
        self.ots = Some(ots);
        Ok(room)
    }

    fn apply(
        &mut self,
        channel: &mut dyn Channel,
        step: &Step,
        share: Share,
    ) -> Result<Share, NonLinearError> {
        let mut ots = self.take(step.node)?;
        let result = self.run(channel, &mut ots, step, share.data)?;
        self.ots = Some(ots);
        let shape = match step.function {
            Function::Requant(_) | Function::Poly { .. } | Function::MaxPool(_) => step.shape_out.clone(),
            Function::ArgMax => Shape::flat(result.len()),
        };
        let (found, expected) = (result.len(), shape.elements());
        Share::new(shape, result).ok_or(MpcError::Shares { step: step.node, found, expected }.into())
    }

    fn made(&self) -> Made {
        self.made
    }
}

/// What `step` costs in this form: transfers and bytes beforehand, bytes and rounds online.
///
/// # Errors
/// If its modulus cannot hold its values.
pub fn cost(step: &Step) -> Result<Cost, MpcError> {
    if let Function::MaxPool(pool) = step.function {
        return cost_of_pool(step, &pool);
    }
    let parts = stages(step)?.into_iter().flatten();
    parts.map(|part| part.cost()).try_fold(Cost::default(), sum)
}

/// What a pool costs, without a list of its windows.
fn cost_of_pool(step: &Step, pool: &Pool) -> Result<Cost, MpcError> {
    let (_, at, _) = pool_moduli(step)?;
    let [before, after] = carrying(step)?;
    let [full, rest] = groups(step, pool);
    let of_planes = |group: &Group| mpc::max_cost(at, &group.windows).times(group.times);
    let mut parts = before.iter().chain(&after).map(mpc::Step::cost);
    Ok(parts.try_fold(Cost::default(), sum)? + of_planes(&full) + of_planes(&rest))
}

/// Parts of a step that take the same of memory.
pub(super) struct Parts {
    /// Values of one.
    pub(super) values: usize,
    /// How many there are.
    pub(super) times: u64,
    /// What each takes.
    pub(super) footprint: Footprint,
}

/// What the parts of a step take, in order and without a list of windows.
///
/// # Errors
/// If a modulus cannot hold the values.
pub(super) fn footprints(step: &Step) -> Result<Vec<Parts>, MpcError> {
    let one = |part: &mpc::Step| {
        Ok::<_, MpcError>(Parts { values: part.values, times: 1, footprint: part.footprint()? })
    };
    let Function::MaxPool(pool) = step.function else {
        return stages(step)?.iter().flatten().map(one).collect();
    };
    let (_, at, _) = pool_moduli(step)?;
    let [before, after] = carrying(step)?;
    let pools = groups(step, &pool).map(|Group { values, times, windows }| {
        Ok(Parts { values, times, footprint: mpc::max_footprint(at, &windows) })
    });
    before.iter().map(one).chain(pools).chain(after.iter().map(one)).collect()
}

/// What carries the operand of a pool to the modulus of its comparisons, and its result back.
fn carrying(step: &Step) -> Result<[Vec<mpc::Step>; 2], MpcError> {
    let (from, at, to) = pool_moduli(step)?;
    let parts = |values: usize, from: Modulus, to: Modulus| match from == to {
        true => Vec::new(),
        false => in_parts(step, values, &carried(step.range, from, to)),
    };
    Ok([parts(step.shape_in.elements(), from, at), parts(step.shape_out.elements(), at, to)])
}

/// Groups of as many planes of a pool.
struct Group {
    /// Values of one.
    values: usize,
    /// How many groups there are.
    times: u64,
    /// Sizes of one's windows, `(size, how many)`.
    windows: Vec<(usize, usize)>,
}

/// The full groups of a pool's planes, and the rest.
fn groups(step: &Step, pool: &Pool) -> [Group; 2] {
    let (c, h, w) = step.shape_in.chw();
    let sizes = pool.windows((h, w)).sizes();
    let together = planes_together(pool, (h, w));
    [(together, c / together), (c % together, 1)].map(|(planes, times)| Group {
        values: planes.saturating_mul(h).saturating_mul(w),
        times: times as u64,
        windows: sizes.iter().map(|&(size, n)| (size, n.saturating_mul(planes))).collect(),
    })
}

fn sum(sum: Cost, cost: Result<Cost, MpcError>) -> Result<Cost, MpcError> {
    Ok(sum + cost?)
}

/// The same value modulo `to`.
fn carried(range: Interval, from: Modulus, to: Modulus) -> mpc::Function {
    mpc::Function::Requant { from, to, requant: Requant { shift: 0, lo: range.lo, hi: range.hi }, range }
}

/// The stages of `step`, none of which is empty; each takes the values that the one before left.
pub(super) fn stages(step: &Step) -> Result<Vec<Vec<mpc::Step>>, MpcError> {
    let [from, to] = [Modulus::new(step.from)?, Modulus::new(step.to)?];
    let (n, range) = (step.shape_in.elements(), step.range);
    Ok(match step.function {
        Function::Requant(requant) => {
            vec![in_parts(step, n, &mpc::Function::Requant { from, to, requant, range })]
        }
        Function::Poly { a, b, c, requant } => {
            let coefficients = [a, b, c];
            vec![in_parts(step, n, &mpc::Function::Poly { from, to, coefficients, requant, range })]
        }
        Function::MaxPool(pool) => {
            let (_, at, _) = pool_moduli(step)?;
            let [before, after] = carrying(step)?;
            let stages = [before, max_parts(step, &pool, at), after];
            stages.into_iter().filter(|stage| !stage.is_empty()).collect()
        }
        Function::ArgMax => {
            let whole = |modulus| {
                vec![mpc::Step { id: step.node, values: n, function: mpc::Function::ArgMax { modulus } }]
            };
            match comparable(from, range)? {
                None => vec![whole(from)],
                Some(wide) => vec![in_parts(step, n, &carried(range, from, wide)), whole(wide)],
            }
        }
    })
}

/// `function` of that many values, each by itself, in parts of at most a batch.
fn in_parts(step: &Step, values: usize, function: &mpc::Function) -> Vec<mpc::Step> {
    let part =
        |first| mpc::Step { id: step.node, values: BATCH.min(values - first), function: function.clone() };
    (0..values).step_by(BATCH).map(part).collect()
}

/// The moduli of a pool's operand, of its comparisons and of its result.
fn pool_moduli(step: &Step) -> Result<(Modulus, Modulus, Modulus), MpcError> {
    let [from, to] = [Modulus::new(step.from)?, Modulus::new(step.to)?];
    Ok((from, comparable(from, step.range)?.unwrap_or(from), to))
}

/// A modulus in which any two values of `range` compare; none if `t` will do.
fn comparable(t: Modulus, range: Interval) -> Result<Option<Modulus>, MpcError> {
    if range.hi.abs_diff(range.lo) <= t.limit() {
        return Ok(None);
    }
    Modulus::new(1 << (t.bits() + 1)).map(Some)
}

/// How many planes of a pool are worked on together: as many as have a batch of values and two of comparisons, at
/// least one. What is made for them is held at once, so memory is bounded by a batch or the largest plane.
fn planes_together(pool: &Pool, (h, w): (usize, usize)) -> usize {
    let windows = pool.windows((h, w));
    let (rows, columns) = windows.count();
    let comparisons = windows.pixels().saturating_sub(rows.saturating_mul(columns));
    let pixels = h.saturating_mul(w).max(comparisons / 2).max(1);
    (BATCH / pixels).max(1)
}

/// A pool, some planes after another: windows never cross planes.
fn max_parts(step: &Step, pool: &Pool, modulus: Modulus) -> Vec<mpc::Step> {
    let (c, h, w) = step.shape_in.chw();
    let together = planes_together(pool, (h, w));
    let full = windows(pool, &Shape::image(together.min(c), h, w));
    let part = |first| {
        let planes = together.min(c - first);
        // Parts of as many planes share one list.
        let windows = if planes == together.min(c) {
            Arc::clone(&full)
        } else {
            windows(pool, &Shape::image(planes, h, w))
        };
        let function = mpc::Function::Max { modulus, windows };
        mpc::Step { id: step.node, values: planes * h * w, function }
    };
    (0..c).step_by(together).map(part).collect()
}

/// The operands of each window of `pool` over an image, by position.
fn windows(pool: &Pool, shape: &Shape) -> Arc<[Vec<usize>]> {
    let (c, h, w) = shape.chw();
    let windows = pool.windows((h, w));
    let mut operands = Vec::new();
    for plane in 0..c {
        for (rows, columns) in windows.positions() {
            let row = |y: usize| columns.clone().map(move |x| (plane * h + y) * w + x);
            operands.push(rows.flat_map(row).collect());
        }
    }
    operands.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{PoolKind, Rounding};
    use crate::tensor::Pad;

    /// The cost from sizes is the cost of the listed windows.
    #[test]
    fn pools_cost_what_their_windows_do() {
        let t = 1_032_193;
        for (kernel, stride, pad, hi, from) in [
            ((3, 3), (2, 2), 1, 100, t),
            ((2, 3), (1, 2), 0, 400_000, t),
            ((4, 2), (3, 3), 1, 100, 256),
            ((3, 3), (1, 1), 1, 100, 256),
        ] {
            let pool = Pool {
                kind: PoolKind::Max,
                kernel,
                stride,
                pad: Pad { h: pad, w: pad },
                rounding: Rounding::Down,
            };
            let (rows, columns) = pool.windows((70, 90)).count();
            let step = Step {
                node: 3,
                function: Function::MaxPool(pool),
                shape_in: Shape::of(&[60, 70, 90]),
                shape_out: Shape::of(&[60, rows, columns]),
                from,
                to: t,
                range: Interval { lo: -hi, hi },
            };
            let parts: Vec<_> = stages(&step).unwrap().into_iter().flatten().collect();
            // Nothing is made for more than a batch of values, and for not many more comparisons.
            for part in &parts {
                let lanes: usize = part.batches().unwrap().iter().map(|batch| batch.lanes).sum();
                assert!(part.values <= BATCH && lanes <= 3 * BATCH, "{} values, {lanes} lanes", part.values);
            }
            let listed = parts.iter().fold(Cost::default(), |sum, part| sum + part.cost().unwrap());
            assert!(listed.transfers > 0 && parts.len() > 1);
            assert_eq!(cost(&step).unwrap(), listed, "{kernel:?}");
        }
    }
}
