//! The table of one activation: what a programmable bootstrap looks up, for any point of the torus.
//!
//! A blind rotation reads `T[p]` at position `p` of `2 N`, and `-T[p - N]` beyond N. So the table holds the
//! activation around the middle of its values, `y - mid`, over half a turn of accumulators around the middle of
//! its ramp:
//!
//! ```text
//!  y - mid    ____            positions 0..N: from the table
//!            /    \           N..2N: the same, turned over,
//!      _____/      \____      which for a clamp is right again: it stays saturated
//!      0    ramp   N   2N     until the ramp comes back, a whole turn later
//! ```
//!
//! So a clamp is right on a whole turn less one ramp, and any other function on half a turn.

use super::params::{POSITIONS_LOG, RING};
use crate::graph::Requant;

/// An activation as a function of its accumulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Shift and clamp.
    Clamp(Requant),
    /// `requant(a x^2 + b x + c)`.
    Poly {
        /// Of `x^2`.
        a: i64,
        /// Of `x`.
        b: i64,
        /// Constant.
        c: i64,
        /// What follows.
        requant: Requant,
    },
}

impl Activation {
    /// Its value, saturating far outside of what networks hold.
    #[must_use]
    pub fn apply(self, x: i64) -> i64 {
        match self {
            Self::Clamp(requant) => {
                let limit = 1_i64 << 61;
                requant.apply(x.clamp(-limit, limit))
            }
            Self::Poly { a, b, c, requant } => {
                let wide = i128::from(a) * i128::from(x) * i128::from(x) + i128::from(b) * i128::from(x);
                let limit = 1_i128 << 61;
                let value = (wide + i128::from(c)).clamp(-limit, limit);
                requant.apply(i64::try_from(value).unwrap_or(0))
            }
        }
    }

    /// The accumulators between which the value changes, as far as they are in `lo..=hi`: the first at which
    /// it is not its least, and the first at which it is its greatest. For a polynomial, `lo` and `hi`.
    #[must_use]
    pub fn ramp(self, (lo, hi): (i64, i64)) -> (i64, i64) {
        let Self::Clamp(requant) = self else { return (lo, hi) };
        let half = if requant.shift == 0 { 0 } else { 1_i64 << (requant.shift - 1) };
        let first = |value: i64| {
            let shifted = i128::from(value) << requant.shift;
            let limit = i128::from(i64::MAX / 4);
            i64::try_from(shifted.clamp(-limit, limit)).unwrap_or(0).saturating_sub(half)
        };
        let (from, to) = (first(requant.lo.saturating_add(1)), first(requant.hi));
        (from.clamp(lo, hi), to.clamp(lo, hi))
    }

    /// Accumulators a step of the value: how much noise makes the next value of the exact one.
    #[must_use]
    pub fn units_a_step(self, (lo, hi): (i64, i64)) -> f64 {
        match self {
            Self::Clamp(requant) => 2_f64.powi(i32::try_from(requant.shift).unwrap_or(62)),
            Self::Poly { .. } => {
                let values = (lo..=hi).step_by(usize::try_from((hi - lo) / 4096 + 1).unwrap_or(1));
                let values: Vec<i64> = values.map(|x| self.apply(x)).collect();
                let moved: u64 = values.windows(2).map(|pair| pair[0].abs_diff(pair[1])).sum();
                (hi - lo) as f64 / (moved.max(1) as f64)
            }
        }
    }
}

/// What a bootstrap looks up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// `y - mid` at each position of the first half turn, on the torus.
    pub values: Vec<u64>,
    /// Added to the accumulator before the look-up: the middle of the ramp comes to the middle of the table.
    pub before: u64,
    /// Added to the result: `mid`.
    pub after: u64,
}

impl Table {
    /// The table of `activation` for accumulators `reach`, of `step_in` on the torus a unit, with results of
    /// `step_out`. Beyond `reach` it is saturated. `step_out` is even.
    #[must_use]
    pub fn new(activation: Activation, reach: (i64, i64), step_in: u64, step_out: u64) -> Self {
        let (from, to) = activation.ramp(reach);
        let ends = (activation.apply(from.min(reach.1)), activation.apply(to));
        let ends = match activation {
            Activation::Clamp(_) => (activation.apply(from.saturating_sub(1).max(reach.0)), ends.1),
            Activation::Poly { .. } => ends,
        };
        let twice_middle = ends.0 + ends.1;
        // In half units, so that the middle of the ramp is a whole number of them.
        let centre = (i128::from(from) + i128::from(to) - 1) * i128::from(step_in / 2);
        let quarter = 1_u64 << 62;
        let value = |position: usize| {
            let turn = (i128::try_from(position).unwrap_or(0) << (64 - POSITIONS_LOG)) - i128::from(quarter);
            // The accumulator at the position, rounded: accumulators are whole.
            let unit = i128::from(step_in.max(1));
            let x = (turn + centre + unit / 2).div_euclid(unit);
            let x = i64::try_from(x).unwrap_or(0).clamp(reach.0, reach.1);
            let y = activation.apply(x);
            let halves = i128::from(2 * y - twice_middle) * i128::from(step_out / 2);
            wrap(halves)
        };
        Self {
            values: (0..RING).map(value).collect(),
            before: quarter.wrapping_sub(wrap(centre)),
            after: wrap(i128::from(twice_middle) * i128::from(step_out / 2)),
        }
    }

    /// What a bootstrap of `phase`, noise and all, gives before its own noise.
    #[must_use]
    pub fn at(&self, phase: u64) -> u64 {
        let turned = phase.wrapping_add(self.before);
        let rounded = turned.wrapping_add(1 << (63 - POSITIONS_LOG)) >> (64 - POSITIONS_LOG);
        let position = usize::try_from(rounded).unwrap_or(0);
        let value = match self.values.get(position) {
            Some(value) => *value,
            None => self.values.get(position - RING).copied().unwrap_or(0).wrapping_neg(),
        };
        value.wrapping_add(self.after)
    }
}

/// Modulo 2^64.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the torus is the residues mod 2^64"
)]
fn wrap(value: i128) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requant(shift: u32, lo: i64, hi: i64) -> Activation {
        Activation::Clamp(Requant { shift, lo, hi })
    }

    /// Every accumulator of the reach looks up its exact value, also far beyond half a turn.
    #[test]
    fn a_clamp_is_exact_on_a_turn_less_its_ramp() {
        for (activation, reach) in [
            (requant(4, 0, 15), (-400, 500)),
            (requant(0, -8, 7), (-60, 40)),
            (requant(3, 0, 15), (-10, 60)),
            (requant(5, 0, 15), (-900, -300)),
        ] {
            let (from, to) = activation.ramp(reach);
            let centre = (from + to) / 2;
            let turn = 2 * (centre - reach.0).max(reach.1 - centre) + (to - from) + 8;
            let step_in = u64::try_from((1_u128 << 64) / u128::try_from(turn).unwrap()).unwrap();
            let step_out = 1 << 50;
            let table = Table::new(activation, reach, step_in, step_out);
            for x in reach.0..=reach.1 {
                let found = table.at(wrap(i128::from(x) * i128::from(step_in)));
                let wanted = activation.apply(x).clamp(activation.apply(reach.0), activation.apply(reach.1));
                assert_eq!(found, wrap(i128::from(wanted) << 50), "{activation:?} at {x}");
            }
        }
    }

    #[test]
    fn a_polynomial_is_exact_on_half_a_turn() {
        let activation = Activation::Poly { a: 1, b: -3, c: 2, requant: Requant { shift: 2, lo: -7, hi: 7 } };
        let reach = (-8, 9);
        let step_in = (1_u64 << 63) / 19;
        let table = Table::new(activation, reach, step_in, 1 << 40);
        for x in reach.0..=reach.1 {
            let found = table.at(wrap(i128::from(x) * i128::from(step_in)));
            assert_eq!(found, wrap(i128::from(activation.apply(x)) << 40), "at {x}");
        }
    }
}
